#include "model/decision.h"

namespace sluice::model {

size_t Receipt::ByteSize() const {
  size_t bytes =
      sizeof(Receipt) + request_id.capacity() + model.capacity() + target_model.capacity() + token_source.capacity();
  for (const ProfileReceipt& profile : profiles) {
    bytes += sizeof(ProfileReceipt) + profile.candidates.capacity() * sizeof(ReceiptCandidate) +
             profile.scores.capacity() * sizeof(float);
  }
  for (const std::string& note : notes) bytes += sizeof(std::string) + note.capacity();
  if (error) bytes += error->message.capacity() + error->param.capacity();
  if (observed) bytes += observed->served_by.capacity();
  return bytes;
}

}  // namespace sluice::model
