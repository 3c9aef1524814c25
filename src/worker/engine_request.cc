#include "worker/engine_request.h"

#include <algorithm>

#include "tokenize/grammar.h"

namespace sluice::worker {
namespace {

openai::TokenText TextOf(TokenId token, double logprob, const tokenize::Tokenizer& tokens) {
  return {token, tokens.Piece(token, /*special=*/true), logprob};
}

openai::TokenLogprobs ToApi(const TokenLogprob& entry, const tokenize::Tokenizer& tokens) {
  openai::TokenLogprobs out{TextOf(entry.token, entry.logprob, tokens), {}};
  out.top.reserve(entry.top.size());
  for (const TopLogprob& top : entry.top) out.top.push_back(TextOf(top.token, top.logprob, tokens));
  return out;
}

// One of several fixed texts, as GBNF.
std::string ChoiceGrammar(const std::vector<std::string>& choices) {
  std::string out = "root ::= ";
  for (size_t i = 0; i < choices.size(); ++i) {
    out += i > 0 ? " | \"" : "\"";
    for (const char c : choices[i]) {
      switch (c) {
        case '"':
          out += "\\\"";
          break;
        case '\\':
          out += "\\\\";
          break;
        case '\n':
          out += "\\n";
          break;
        case '\r':
          out += "\\r";
          break;
        case '\t':
          out += "\\t";
          break;
        default:
          out += c;
      }
    }
    out += '"';
  }
  return out + "\n";
}

Result<Grammar> Wrap(Result<std::string> text) {
  if (!text) return tl::unexpected<Error>(std::move(text.error()));
  return Grammar{std::move(*text), false, {}};
}

}  // namespace

GenerateRequest ToEngineRequest(const openai::Generation& g, int choice) {
  GenerateRequest out;
  out.sampling.temperature = g.temperature;
  out.sampling.top_p = g.top_p;
  out.sampling.top_k = g.top_k;
  out.sampling.min_p = g.min_p;
  out.sampling.presence_penalty = g.presence_penalty;
  out.sampling.frequency_penalty = g.frequency_penalty;
  out.sampling.repetition_penalty = g.repetition_penalty;
  if (g.seed) out.sampling.seed = static_cast<uint64_t>(*g.seed) + static_cast<uint64_t>(choice);
  out.sampling.logit_bias = g.logit_bias;
  out.min_tokens = g.min_tokens;
  out.ignore_eos = g.ignore_eos;
  out.stop = g.stop;
  out.stop_token_ids = g.stop_token_ids;
  out.include_stop_in_output = g.include_stop_str_in_output;
  out.skip_special_tokens = g.skip_special_tokens;
  out.logprobs = g.logprobs.value_or(-1);
  out.prompt_logprobs = g.prompt_logprobs.value_or(-1);
  out.cache_salt = g.cache_salt;
  out.priority = static_cast<int>(std::clamp<int64_t>(g.priority, INT32_MIN, INT32_MAX));
  return out;
}

Result<Grammar> ConstraintGrammar(const openai::Constraint& constraint) {
  using Kind = openai::Constraint::Kind;
  switch (constraint.kind) {
    case Kind::kNone:
      return Grammar{};
    case Kind::kJsonObject:
      return Wrap(tokenize::JsonObjectGrammar());
    case Kind::kJsonSchema:
      return Wrap(tokenize::JsonSchemaGrammar(constraint.text));
    case Kind::kChoice:
      return Grammar{ChoiceGrammar(constraint.choices), false, {}};
    case Kind::kGrammar:
      return Grammar{constraint.text, false, {}};
  }
  return Grammar{};
}

Result<Grammar> ChatGrammar(const openai::ChatRequest& request) {
  using openai::ToolChoice;
  // A form that was asked for goes before tools that may or may not be called.
  const bool constrained = request.generation.constraint.kind != openai::Constraint::Kind::kNone;
  if (request.tool_choice == ToolChoice::kNone || (request.tool_choice == ToolChoice::kAuto && constrained)) {
    return ConstraintGrammar(request.generation.constraint);
  }
  const auto choice =
      request.tool_choice == ToolChoice::kAuto ? tokenize::ToolChoice::kAuto : tokenize::ToolChoice::kRequired;
  // Who names a tool wants that call; a small model given room for more repeats it until max_tokens cuts the last.
  const bool several = request.parallel_tool_calls && request.tool_choice != ToolChoice::kNamed;
  auto made = tokenize::ToolCallGrammar(request.conversation.tools, choice, request.tool_name, several);
  if (!made) return tl::unexpected<Error>(std::move(made.error()));
  return Grammar{std::move(made->grammar), made->lazy, std::move(made->triggers)};
}

Result<std::string> RenderConversation(const tokenize::ChatTemplate& chat_template,
                                       const openai::Conversation& conversation, bool parallel_tool_calls) {
  tokenize::ChatInput input;
  input.messages_json = conversation.messages;
  input.tools_json = conversation.tools;
  input.add_generation_prompt = conversation.add_generation_prompt;
  input.continue_final_message = conversation.continue_final_message;
  input.parallel_tool_calls = parallel_tool_calls;
  input.template_kwargs = conversation.template_kwargs;
  return chat_template.Render(input);
}

std::vector<openai::TokenLogprobs> ToApi(const std::vector<TokenLogprob>& logprobs, const tokenize::Tokenizer& tokens) {
  std::vector<openai::TokenLogprobs> out;
  out.reserve(logprobs.size());
  for (const TokenLogprob& entry : logprobs) out.push_back(ToApi(entry, tokens));
  return out;
}

openai::PromptLogprobs ToApi(const std::vector<std::optional<TokenLogprob>>& logprobs,
                             const tokenize::Tokenizer& tokens) {
  openai::PromptLogprobs out;
  out.reserve(logprobs.size());
  for (const auto& entry : logprobs) {
    if (entry)
      out.emplace_back(ToApi(*entry, tokens));
    else
      out.emplace_back();
  }
  return out;
}

openai::Finish ToApi(const Output& output) {
  openai::Finish finish{"stop", output.stop_reason, output.stop_token};
  switch (output.finish) {
    case FinishReason::kLength:
      finish.reason = "length";
      break;
    case FinishReason::kAbort:
      finish.reason = "abort";
      break;
    case FinishReason::kError:
      finish.reason = "error";
      break;
    default:
      break;
  }
  return finish;
}

}  // namespace sluice::worker
