#include "model/decision.h"

namespace sluice::model {

std::string_view CacheShare::Name(Way way) {
  static constexpr std::array<std::string_view, kWays> kNames = {"gpu",   "cpu",         "disk",    "shared",
                                                                 "other", "speculative", "history", "guess"};
  return kNames[way];
}

size_t Receipt::ByteSize() const {
  size_t bytes =
      sizeof(Receipt) + request_id.capacity() + model.capacity() + target_model.capacity() + token_source.capacity();
  for (const ProfileReceipt& profile : profiles) {
    bytes += sizeof(ProfileReceipt) + profile.candidates.capacity() * sizeof(ReceiptCandidate) +
             profile.scores.capacity() * sizeof(float) + profile.cached.capacity() * sizeof(CacheShare);
  }
  for (const std::string& note : notes) bytes += sizeof(std::string) + note.capacity();
  if (error) bytes += error->message.capacity() + error->param.capacity();
  if (observed) bytes += observed->served_by.capacity();
  return bytes;
}

}  // namespace sluice::model
