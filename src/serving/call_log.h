// What a front door writes to the log about one request: its scores, what was missing, its access line. Thread rule:
// the loop's thread. Cost: nothing where the level is off.
#pragma once

#include <optional>
#include <string_view>

#include "model/decision.h"
#include "model/request.h"
#include "observe/log.h"
#include "parse/usage_reader.h"
#include "serving/relay_report.h"
#include "serving/router_metrics.h"

namespace sluice::serving {

// The line "Got pod scores" of a decision, as upstream's scorer writes it.
void LogScores(std::string_view pool, const model::Receipt& receipt);

// Counts a decision that was made without all of its data, and says so as often as `every` allows.
void CountIncomplete(RouterMetrics& metrics, observe::Every& every, std::string_view module, std::string_view pool,
                     const model::Receipt& receipt);

struct Access {
  observe::Level level = observe::Level::kInfo;
  std::string_view what = "request";
  const model::Request& request;
  std::string_view path;
  int status = 0;
  std::string_view endpoint;
  int tries = 1;
  const RelayReport& report;
  TimePoint received;
  TimePoint now;
  std::string_view error;
};
void LogAccess(const Access& access);

}  // namespace sluice::serving
