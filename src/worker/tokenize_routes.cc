// /tokenize and /detokenize.
#include "openai/tokenize_request.h"
#include "worker/generation_route.h"

namespace sluice::worker {

using net::ServerExchange;
using runtime::Task;

namespace {

// How byte-level BPE vocabularies spell a byte ("Ġ" is a space): printable Latin-1 stays, the rest moves to U+0100 on.
// vLLM shows tokens in this spelling.
std::string VocabularySpelling(std::string_view bytes) {
  std::string out;
  const auto printable = [](unsigned c) { return (c >= 33 && c <= 126) || (c >= 161 && c <= 172) || c >= 174; };
  for (const char raw : bytes) {
    const auto byte = static_cast<unsigned char>(raw);
    unsigned point = byte;
    if (!printable(byte)) {
      point = 256;
      for (unsigned c = 0; c < byte; ++c) point += printable(c) ? 0 : 1;
    }
    if (point < 0x80) {
      out += static_cast<char>(point);
    } else {
      out += static_cast<char>(0xC0 | point >> 6);
      out += static_cast<char>(0x80 | (point & 0x3F));
    }
  }
  return out;
}

// On the pool.
Result<std::string> Tokenize(const WorkerContext& context, const std::string& body) {
  auto request = openai::ParseTokenizeRequest(body, context.limits);
  if (!request) return tl::unexpected<Error>(std::move(request.error()));
  const tokenize::Tokenizer& tokenizer = context.engine.Tokens();
  std::vector<TokenId> tokens;
  if (request->conversation) {
    auto rendered = TokenizeConversation(context, *request->conversation, /*parallel_tool_calls=*/true);
    if (!rendered) return tl::unexpected<Error>(std::move(rendered.error()));
    tokens = std::move(*rendered);
  } else {
    tokens = tokenizer.Encode(request->prompt, request->add_special_tokens, /*parse_special=*/true);
  }
  std::vector<std::string> texts;
  if (request->return_token_strs) {
    for (const TokenId token : tokens) {
      const std::string piece = tokenizer.Piece(token, /*special=*/true);
      texts.push_back(tokenizer.IsSpecial(token) ? piece : VocabularySpelling(piece));
    }
  }
  return openai::TokenizeBody(tokens, context.limits.max_model_len, texts);
}

// On the pool.
Result<std::string> Detokenize(const WorkerContext& context, const std::string& body) {
  auto request = openai::ParseDetokenizeRequest(body, context.limits);
  if (!request) return tl::unexpected<Error>(std::move(request.error()));
  return openai::DetokenizeBody(context.engine.Tokens().Decode(request->tokens, /*skip_special=*/false));
}

Task<> RunOnPool(WorkerContext& context, ServerExchange& exchange,
                 Result<std::string> (*convert)(const WorkerContext&, const std::string&)) {
  const auto prepare = [&context, convert](const std::string& body) { return convert(context, body); };
  auto out = co_await PrepareOnPool(context, exchange, prepare);
  if (!out) co_return;
  co_await RespondJson(exchange, 200, std::move(*out));
}

}  // namespace

Task<> HandleTokenize(WorkerContext& context, ServerExchange& exchange, RequestRecord& /*record*/) {
  return RunOnPool(context, exchange, &Tokenize);
}

Task<> HandleDetokenize(WorkerContext& context, ServerExchange& exchange, RequestRecord& /*record*/) {
  return RunOnPool(context, exchange, &Detokenize);
}

}  // namespace sluice::worker
