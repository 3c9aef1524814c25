// Endpoint: one model server address that requests can be sent to, and EndpointState: what its metrics last said.
// Thread rule: plain values; an Endpoint is immutable once it is in an endpoint set and shared by pointer.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"

namespace sluice::model {

// Names an endpoint within the process. `slot` is small and reused, so per-endpoint state can sit in arrays;
// `generation` grows with each reuse, so that a late answer of a removed endpoint is never charged to its successor.
struct EndpointId {
  uint32_t slot = 0;
  uint32_t generation = 0;
  bool operator==(const EndpointId&) const = default;
};

// How an endpoint is spoken to: HTTP/1.1 or HTTP/2 in clear text, or TLS, where it chooses between the two.
enum class Scheme : uint8_t { kOfPool, kHttp, kH2c, kHttps };
inline constexpr std::array<std::string_view, 3> kSchemes = {"http", "h2c", "https"};
// The name's place in kSchemes; kOfPool: it is not there.
Scheme SchemeOf(std::string_view name);
std::string_view Name(Scheme scheme);

struct Endpoint {
  std::string id;    // "namespace/name", "namespace/pod-rank-0": stable over restarts; what people see
  std::string name;  // pod or process name
  std::string ns = "default";
  std::string address;  // IP literal
  uint16_t port = 0;
  Scheme scheme = Scheme::kOfPool;  // in a pool's set it is one of the others
  std::map<std::string, std::string> labels;

  std::string host_port() const;  // "10.0.0.1:8000", "[::1]:8000"
  bool operator==(const Endpoint&) const = default;
};

// Adapters as the engine reported them.
struct LoraState {
  std::vector<std::string> active;
  std::vector<std::string> waiting;
  uint32_t max = 0;
  bool operator==(const LoraState&) const = default;
};

// A number that an endpoint has beyond the fixed ones, from a custom metric or an extractor. The key is
// "<name>/<extractor's instance>", as plugins refer to it.
struct ScalarAttribute {
  std::string key;
  float value = 0;
  bool operator==(const ScalarAttribute&) const = default;
};

// Before the first scrape everything is zero and `scraped_at` is kNever: the endpoint can be chosen nevertheless.
struct EndpointState {
  static constexpr TimePoint kNever = TimePoint::min();

  float waiting = 0;
  float running = 0;
  float kv_usage = 0;                     // 0..1
  uint32_t block_size = 0;                // tokens; 0: not known
  uint32_t num_blocks = 0;                // 0: not known
  std::shared_ptr<const LoraState> lora;  // null: none reported
  std::vector<ScalarAttribute> attributes;
  TimePoint scraped_at = kNever;
};

}  // namespace sluice::model

template <>
struct std::hash<sluice::model::EndpointId> {
  size_t operator()(const sluice::model::EndpointId& id) const {
    return std::hash<uint64_t>{}(uint64_t{id.generation} << 32 | id.slot);
  }
};
