// No body may crash the readers; every refusal has a message and a body that is JSON; what is accepted is within
// limits.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "codec/json/dom.h"
#include "openai/chat_request.h"
#include "openai/completion_request.h"
#include "openai/embedding_request.h"
#include "openai/error_body.h"
#include "openai/tokenize_request.h"

namespace {

template <class T>
void Check(const sluice::Result<T>& result) {
  if (result) return;
  const std::string body = sluice::openai::ErrorBody(result.error());
  if (result.error().message.empty() || !sluice::codec::CheckJson(body, {})) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view body(reinterpret_cast<const char*>(data), size);
  sluice::openai::ModelLimits limits;
  limits.names = {"m"};
  limits.max_model_len = 64;
  limits.vocab_size = 100;
  const auto chat = sluice::openai::ParseChatRequest(body, limits);
  Check(chat);
  if (chat && (chat->generation.n < 1 || chat->generation.n > limits.n_max)) std::abort();
  const auto completion = sluice::openai::ParseCompletionRequest(body, limits);
  Check(completion);
  if (completion && completion->prompts.empty()) std::abort();
  Check(sluice::openai::ParseEmbeddingRequest(body, limits));
  Check(sluice::openai::ParseTokenizeRequest(body, limits));
  Check(sluice::openai::ParseDetokenizeRequest(body, limits));
  return 0;
}
