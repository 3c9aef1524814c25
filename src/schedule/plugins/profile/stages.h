// Stages: what the profile handlers of disaggregated serving share. A request is decoded on one endpoint; its prefill,
// and the encoding of its media, may run on endpoints of their own when a decider says so. Which profile stands for
// which stage is by name; the endpoint of one stage is the peer of the next, so that topology plugins keep them near.
// Thread rule: immutable after binding. Ownership: a member of its handler; deciders belong to the policy.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "schedule/plugin.h"

namespace sluice::schedule {

class Stages {
 public:
  enum class Order : uint8_t { kDecodeFirst, kPrefillFirst };
  struct Stage {
    std::string profile;  // name
    std::string decider;  // plugin; empty: none
    std::optional<uint32_t> index = std::nullopt;
    const Decider* decides = nullptr;
  };

  Order order = Order::kDecodeFirst;
  Stage decode{.profile = "decode", .decider = ""};
  Stage prefill{.profile = "prefill", .decider = ""};
  Stage encode{.profile = "encode", .decider = ""};

  Status BindProfiles(std::span<const std::string> names);
  // Finds the deciders. Stages that can never run are warned about.
  void BindDeciders(const PluginFinder& find, const std::string& path, codec::yaml::Problems& problems);

  void Next(const DecisionInput& in, const ProfileResults& results, std::vector<ProfileRun>& next) const;
  Result<uint32_t> Primary(const ProfileResults& results) const;

 private:
  static bool Wanted(const Stage& stage, const DecisionInput& in, const model::Target* endpoint);
  std::vector<std::string> idle_profiles_;  // of the configuration, of no stage
};

// Sets what the sidecar reads: x-prefiller-host-port to the prefill profile's first endpoint, x-encoder-hosts-ports to
// all of the encode profile's. Both are taken off first, whoever set them, also when there was no such stage.
void WriteStageHeaders(const model::Decision& decision, std::string_view prefill_profile,
                       std::string_view encode_profile, Ticket& ticket);

// Replaces a header that another plugin set.
void SetHeader(Ticket& ticket, std::string_view name, std::string value);

// Sets x-data-parallel-host-port to the endpoint and sends the request to `primary_port` of its address, where the rank
// is looked up. 0: only takes the header off.
void WriteDataParallelHeader(const model::Endpoint& endpoint, uint16_t primary_port, Ticket& ticket);

}  // namespace sluice::schedule
