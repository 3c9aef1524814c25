// Replay: repeats a decision log. Every decision is made again from the log's inputs and compared bit for bit with what
// was recorded. With another configuration, that one decides beside it as a shadow: what would have gone elsewhere, and
// what times the latency model expects of the difference.
// Thread rule: pure but for the registry's plugins; any thread. Cost: that of the decisions; one line is read at a
// time. Limits: lines of at most kLineMax bytes.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "schedule/config.h"
#include "schedule/registry.h"
#include "schedule/shadow.h"

namespace sluice::schedule {

class Replay {
 public:
  static constexpr size_t kLineMax = size_t{256} << 20;
  static constexpr size_t kExamplesMax = 10;

  struct Difference {
    std::string request_id;
    std::string recorded;  // "ip:port", or "refused"
    std::string other;
  };
  struct Outcome {
    uint64_t decisions = 0;
    uint64_t equal = 0;                 // bit for bit
    uint64_t inexact = 0;               // recorded without all of their input; not counted as unequal
    bool full = false;                  // the log ended at its limit, before the process did
    std::vector<Difference> unequal;    // the first ones
    std::vector<Difference> elsewhere;  // with the other configuration: the first ones
    ShadowReport shadows;
  };

  // `other_config`: empty, or the text of an EndpointPickerConfig to compare with.
  Replay(const Registry& registry, std::string other_config, bool allow_experimental_plugins);
  ~Replay();

  // One line of the log, without its newline. kInvalidArgument when it is no line of a log, or of another version.
  Status Line(std::string_view line);
  // After the last line.
  Outcome Finish();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::schedule
