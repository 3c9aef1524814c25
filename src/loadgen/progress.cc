#include "loadgen/progress.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>

namespace sluice::loadgen {

std::string ProgressLine(const Progress& p) {
  char buffer[256];
  double share = 0;
  if (p.requests > 0) share = static_cast<double>(p.finished) / static_cast<double>(p.requests);
  if (p.seconds_max > 0) share = std::max(share, p.seconds / p.seconds_max);
  const double per_second = p.seconds > 0 ? 1 / p.seconds : 0;
  std::string of = p.requests > 0 ? " of " + std::to_string(p.requests) : "";
  std::snprintf(buffer, sizeof(buffer),
                "%s%3.0f %%  %lld%s · %lld running · %.1f requests/s · %.0f tokens/s · %lld failed · %.0f s",
                p.warming_up ? "warming up " : "", std::min(share, 1.0) * 100, static_cast<long long>(p.finished),
                of.c_str(), static_cast<long long>(p.sent - p.finished), static_cast<double>(p.finished) * per_second,
                static_cast<double>(p.output_tokens) * per_second, static_cast<long long>(p.failed), p.seconds);
  return buffer;
}

ProgressPrinter::ProgressPrinter() : terminal_(isatty(STDERR_FILENO) == 1) {}

ProgressPrinter::~ProgressPrinter() {
  if (drawn_) std::fputc('\n', stderr);
}

void ProgressPrinter::Show(const Progress& progress) {
  if (!terminal_) return;
  drawn_ = true;
  // Back to the first column, and what is left of a longer line before is erased.
  std::fprintf(stderr, "\r\033[K%s", ProgressLine(progress).c_str());
  std::fflush(stderr);
}

}  // namespace sluice::loadgen
