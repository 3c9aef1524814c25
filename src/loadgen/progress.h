// Progress: what a running bench says about itself, and the one line that people watch. Thread rule: pure, except
// ProgressPrinter, which writes to a terminal on the caller's thread.
#pragma once

#include <cstdint>
#include <string>

namespace sluice::loadgen {

struct Progress {
  bool warming_up = false;
  double seconds = 0;    // since this part began
  int64_t sent = 0;      // requests of this part
  int64_t finished = 0;  // answered or failed
  int64_t failed = 0;
  int64_t output_tokens = 0;
  int64_t requests = 0;    // to send in this part; 0: until the time is over
  double seconds_max = 0;  // 0: until the requests are sent
};

// "  41 %  410 of 1000 · 8 running · 24.1 requests/s · 6180 tokens/s · 2 failed · 17 s"
std::string ProgressLine(const Progress& progress);

// Redraws one line on stderr when that is a terminal; otherwise prints nothing, so that logs stay short.
class ProgressPrinter {
 public:
  ProgressPrinter();
  ~ProgressPrinter();  // ends the line
  ProgressPrinter(const ProgressPrinter&) = delete;
  ProgressPrinter& operator=(const ProgressPrinter&) = delete;
  void Show(const Progress& progress);

 private:
  bool terminal_;
  bool drawn_ = false;
};

}  // namespace sluice::loadgen
