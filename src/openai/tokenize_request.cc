#include "openai/tokenize_request.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "openai/field_reader.h"
#include "openai/request_body.h"

namespace sluice::openai {

Result<TokenizeRequest> ParseTokenizeRequest(std::string_view body, const ModelLimits& limits) {
  auto tree = ParseBody(body);
  if (!tree) return tl::unexpected<Error>(std::move(tree.error()));
  FormFaults faults;
  FieldReader fields(*tree, "body", faults);
  TokenizeRequest out;
  const auto model = fields.String("model");
  out.return_token_strs = fields.Bool("return_token_strs").value_or(false);
  Status meaning;
  if (fields.Has("messages")) {
    auto conversation = ReadConversation(fields, model.value_or(limits.names.front()), nullptr);
    if (conversation) {
      out.add_special_tokens = conversation->add_special_tokens;
      out.conversation = std::move(*conversation);
    } else {
      meaning = tl::unexpected<Error>(std::move(conversation.error()));
    }
  } else {
    if (fields.Any("prompt") == nullptr) fields.Missing("prompt");
    out.prompt = fields.String("prompt").value_or("");
    out.add_special_tokens = fields.Bool("add_special_tokens").value_or(true);
  }
  if (!faults.Empty()) return tl::unexpected<Error>(faults.ToError());
  if (auto served = CheckModel(model, limits); !served) return tl::unexpected<Error>(std::move(served.error()));
  if (!meaning) return tl::unexpected<Error>(std::move(meaning.error()));
  return out;
}

Result<DetokenizeRequest> ParseDetokenizeRequest(std::string_view body, const ModelLimits& limits) {
  auto tree = ParseBody(body);
  if (!tree) return tl::unexpected<Error>(std::move(tree.error()));
  FormFaults faults;
  FieldReader fields(*tree, "body", faults);
  DetokenizeRequest out;
  const auto model = fields.String("model");
  if (fields.Any("tokens") == nullptr) fields.Missing("tokens");
  const auto ids = fields.Integers("tokens");
  if (!faults.Empty()) return tl::unexpected<Error>(faults.ToError());
  if (auto served = CheckModel(model, limits); !served) return tl::unexpected<Error>(std::move(served.error()));
  for (const int64_t id : *ids) out.tokens.push_back(static_cast<TokenId>(std::clamp<int64_t>(id, -1, INT32_MAX)));
  if (Status status = CheckTokenIds(out.tokens, limits); !status)
    return tl::unexpected<Error>(std::move(status.error()));
  return out;
}

}  // namespace sluice::openai
