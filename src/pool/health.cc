#include "pool/health.h"

#include <algorithm>

namespace sluice::pool {

bool EndpointHealth::OnSuccess() {
  const bool back = !in_rotation_;
  in_rotation_ = true;
  failures_ = 0;
  delay_ = Duration(0);
  return back;
}

bool EndpointHealth::OnConnectFailure(TimePoint now, Rng& rng) {
  failures_ = std::min(failures_ + 1, 1'000'000);
  if (in_rotation_ && failures_ < options_->failures_to_eject) return false;
  if (!in_rotation_ && now < next_probe_) return false;  // a late report from before the ejection: no longer a wait
  const bool out = in_rotation_;
  in_rotation_ = false;
  delay_ = out ? options_->probe_initial : std::min(delay_ * 2, options_->probe_max);
  const double spread = 1 + options_->jitter * (rng.Uniform() - 0.5);
  next_probe_ = now + FromSeconds(Seconds(delay_) * spread);
  return out;
}

}  // namespace sluice::pool
