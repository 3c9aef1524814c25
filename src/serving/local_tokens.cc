#include "serving/local_tokens.h"

#include <filesystem>
#include <limits>

#include "codec/json/reader.h"
#include "openai/chat_request.h"

namespace sluice::serving {
namespace {

constexpr size_t kBodyBytesMax = size_t{64} << 20;

tl::unexpected<Error> NotKnown(std::string why) { return Fail(Code::kUnimplemented, std::move(why)); }

}  // namespace

Result<std::unique_ptr<LocalTokens>> LocalTokens::Open(const std::string& path, size_t cache_bytes) {
  std::unique_ptr<LocalTokens> out(new LocalTokens());
  const std::filesystem::path given(path);
  const Status opened = given.extension() == ".gguf" ? out->OpenGguf(path)
                        : given.filename() == "tokenizer.json"
                            ? out->OpenHf(given.has_parent_path() ? given.parent_path().string() : ".")
                            : out->OpenHf(path);
  if (!opened) return tl::unexpected(opened.error());
  const tokenize::Tokenizer& tokenizer =
      out->gguf_ != nullptr ? static_cast<const tokenize::Tokenizer&>(*out->gguf_) : *out->hf_.tokenizer;
  out->cache_ = std::make_unique<tokenize::PrefixCache>(tokenizer, cache_bytes);
  return out;
}

Status LocalTokens::OpenGguf(const std::string& path) {
  auto tokenizer = tokenize::GgufTokenizer::Open(path);
  if (!tokenizer) return tl::unexpected(tokenizer.error());
  gguf_ = std::move(*tokenizer);
  auto chat = tokenize::ChatTemplate::Load(gguf_->FileChatTemplate(), gguf_->BosText(), gguf_->EosText());
  if (chat) {
    gguf_chat_ = std::move(*chat);
  } else {
    chat_problem_ = chat.error().message;
  }
  return {};
}

Status LocalTokens::OpenHf(const std::string& folder) {
  auto model = tokenize::OpenHfModel(folder);
  if (!model) return tl::unexpected(model.error());
  hf_ = std::move(*model);
  chat_problem_ = hf_.chat_problem;
  return {};
}

Result<LocalTokens::Made> LocalTokens::Make(parse::Api api, std::string_view body, std::string_view model) {
  if (api == parse::Api::kChat) return MakeChat(body, model);
  if (api == parse::Api::kCompletions) return MakeCompletions(body);
  return NotKnown("only chats and completions are tokenized in process");
}

void LocalTokens::Add(std::string_view text, bool add_special, Made& made) {
  const auto encoded = cache_->Encode(text, add_special);
  made.prompts.emplace_back(encoded.tokens.begin(), encoded.tokens.end());
  made.reused_bytes += encoded.bytes_reused;
}

// As worker/ does it: the same parser and the same template.
Result<tokenize::VllmChat::Prompt> LocalTokens::RenderForWorker(std::string_view body, std::string_view model) const {
  openai::ModelLimits limits;
  limits.names = {std::string(model)};
  limits.max_model_len = std::numeric_limits<int>::max();
  limits.vocab_size = gguf_->VocabSize();
  const auto request = openai::ParseChatRequest(body, limits);
  if (!request) return tl::unexpected(request.error());
  if (request->generation.truncate_prompt_tokens) return NotKnown("the request has 'truncate_prompt_tokens'");
  const openai::Conversation& conversation = request->conversation;
  auto text = gguf_chat_->Render({.messages_json = conversation.messages,
                                  .tools_json = conversation.tools,
                                  .add_generation_prompt = conversation.add_generation_prompt,
                                  .continue_final_message = conversation.continue_final_message,
                                  .parallel_tool_calls = request->parallel_tool_calls,
                                  .template_kwargs = conversation.template_kwargs});
  if (!text) return tl::unexpected(text.error());
  return tokenize::VllmChat::Prompt{.text = std::move(*text), .add_special_tokens = conversation.add_special_tokens};
}

Result<LocalTokens::Made> LocalTokens::MakeChat(std::string_view body, std::string_view model) {
  if (!chat_problem_.empty()) return NotKnown(chat_problem_);
  const auto prompt = gguf_ != nullptr ? RenderForWorker(body, model) : hf_.chat->Render(body);
  if (!prompt) return tl::unexpected(prompt.error());
  Made made;
  Add(prompt->text, prompt->add_special_tokens, made);
  return made;
}

Result<LocalTokens::Made> LocalTokens::MakeCompletions(std::string_view body) {
  codec::JsonReader reader({.bytes_max = kBodyBytesMax});
  const auto root = reader.Parse(body);
  if (!root) return tl::unexpected(root.error());
  if (const auto cut = root->Find("truncate_prompt_tokens"); cut && cut->type() != codec::JsonValue::Type::kNull) {
    return NotKnown("the request has 'truncate_prompt_tokens'");
  }
  const auto special = root->Find("add_special_tokens");
  const bool add_special = special ? special->Bool().value_or(true) : true;
  const auto prompt = root->Find("prompt");
  if (!prompt) return NotKnown("the request has no prompt of text");
  Made made;
  if (const auto text = prompt->String()) Add(*text, add_special, made);
  bool texts_only = true;
  prompt->ForEachElement([&](codec::JsonValue element) {
    const auto text = element.String();
    texts_only = text.has_value();
    if (text) Add(*text, add_special, made);
    return texts_only;
  });
  if (!texts_only || made.prompts.empty()) return NotKnown("the prompt is not text");
  return made;
}

}  // namespace sluice::serving
