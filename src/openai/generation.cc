#include "openai/generation.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "base/text.h"
#include "codec/json/dom.h"
#include "openai/error_body.h"
#include "openai/field_reader.h"

namespace sluice::openai {
namespace {

tl::unexpected<Error> Refuse(std::string message) { return Fail(Code::kInvalidArgument, std::move(message)); }
tl::unexpected<Error> RefuseParameter(std::string what, std::string_view parameter, std::string_view value = {}) {
  return tl::unexpected<Error>(ParameterError(std::move(what), parameter, value));
}

// Fields that would change the answer and that this server does not carry out: refused, not ignored.
constexpr std::array<std::string_view, 9> kRefused = {
    "allowed_token_ids",    "bad_words", "logprob_token_ids", "prompt_embeds",
    "repetition_detection", "suffix",    "use_beam_search",   "thinking_token_budget",
    "watermarking"};
// Fields that this server knows and that change nothing here: the client's own kv_transfer_params and
// ec_transfer_params are dropped (a malformed one ends a vLLM engine), the rest belongs to features that models without
// images or reasoning do not have, or to OpenAI's accounting.
constexpr std::array<std::string_view, 21> kInert = {"kv_transfer_params",
                                                     "ec_transfer_params",
                                                     "spaces_between_special_tokens",
                                                     "length_penalty",
                                                     "vllm_xargs",
                                                     "mm_processor_kwargs",
                                                     "media_io_kwargs",
                                                     "mm_payload",
                                                     "return_mm_kwargs",
                                                     "routed_experts_prompt_start",
                                                     "return_token_offsets",
                                                     "return_prompt_text",
                                                     "include_reasoning",
                                                     "reasoning_effort",
                                                     "service_tier",
                                                     "store",
                                                     "metadata",
                                                     "stream_interval",
                                                     "best_of",
                                                     "prompt_cache_key",
                                                     "safety_identifier"};

bool AsksNothing(const Json& value) {
  return value.is_null() || value == false || ((value.is_array() || value.is_string()) && value.empty());
}

Status ReadRefusedAndInert(FieldReader& fields) {
  for (const std::string_view name : kRefused) {
    if (const Json* value = fields.Any(name); value != nullptr && !AsksNothing(*value)) {
      return RefuseParameter(std::string(name) + " is not supported by this server.", name);
    }
  }
  for (const std::string_view name : kInert) fields.Any(name);
  return {};
}

int Clamped(std::optional<int64_t> value, int absent) {
  if (!value) return absent;
  return static_cast<int>(std::clamp<int64_t>(*value, INT32_MIN, INT32_MAX));
}

void ReadSampling(FieldReader& fields, Generation& out) {
  out.n = Clamped(fields.Integer("n"), 1);
  out.temperature = fields.Number("temperature").value_or(1.0);
  out.top_p = fields.Number("top_p").value_or(1.0);
  out.top_k = Clamped(fields.Integer("top_k"), 0);
  out.min_p = fields.Number("min_p").value_or(0.0);
  out.presence_penalty = fields.Number("presence_penalty").value_or(0.0);
  out.frequency_penalty = fields.Number("frequency_penalty").value_or(0.0);
  out.repetition_penalty = fields.Number("repetition_penalty").value_or(1.0);
  out.seed = fields.Integer("seed");
}

Status ReadLogitBias(FieldReader& fields, const ModelLimits& limits, Generation& out) {
  const Json* bias = fields.Object("logit_bias");
  if (bias == nullptr) return {};
  if (bias->size() > static_cast<size_t>(limits.logit_bias_max)) {
    return RefuseParameter("logit_bias has " + std::to_string(bias->size()) + " entries; at most " +
                               std::to_string(limits.logit_bias_max) + " are accepted.",
                           "logit_bias");
  }
  for (const auto& [key, value] : bias->items()) {
    const auto token = ParseNumber<int64_t>(key);
    if (!token) {
      return RefuseParameter("Found token_id " + PyQuoted(key) +
                                 " in logit_bias, but token_id must be an integer or string representing an integer",
                             "logit_bias");
    }
    if (*token < 0 || *token >= limits.vocab_size) {
      return RefuseParameter(
          "token_id(s) [" + std::to_string(*token) +
              "] in logit_bias contain out-of-vocab token ids. Vocabulary size: " + std::to_string(limits.vocab_size),
          "logit_bias", "[" + std::to_string(*token) + "]");
    }
    if (!value.is_number()) {
      fields.Fault("float_type", "logit_bias." + key, "Input should be a valid number", value);
      continue;
    }
    out.logit_bias[static_cast<TokenId>(*token)] = static_cast<float>(std::clamp(value.get<double>(), -100.0, 100.0));
  }
  return {};
}

void ReadLengthsAndStops(FieldReader& fields, const ModelLimits& limits, Generation& out) {
  out.min_tokens = Clamped(fields.Integer("min_tokens"), 0);
  out.ignore_eos = fields.Bool("ignore_eos").value_or(false);
  out.stop = fields.StringOrStrings("stop", static_cast<size_t>(limits.stop_max)).value_or(std::vector<std::string>{});
  if (const auto ids = fields.Integers("stop_token_ids")) {
    for (const int64_t id : *ids) out.stop_token_ids.push_back(Clamped(id, 0));
  }
  out.include_stop_str_in_output = fields.Bool("include_stop_str_in_output").value_or(false);
  out.skip_special_tokens = fields.Bool("skip_special_tokens").value_or(true);
  if (const auto keep = fields.Integer("truncate_prompt_tokens")) {
    out.truncate_prompt_tokens = Clamped(keep, 0);
    if (*keep < -1) {
      fields.Fault("greater_than_equal", "truncate_prompt_tokens", "Input should be greater than or equal to -1",
                   Json(*keep));
    }
  }
  if (const auto side = fields.String("truncation_side")) {
    out.truncate_from_right = *side == "right";
    if (*side != "left" && *side != "right") {
      fields.Fault("literal_error", "truncation_side", "Input should be 'left' or 'right'", Json(*side));
    }
  }
}

Status ReadStream(FieldReader& fields, Generation& out, FormFaults& faults) {
  out.stream = fields.Bool("stream").value_or(false);
  const Json* options = fields.Any("stream_options");
  if (options == nullptr) return {};
  if (!out.stream) return RefuseParameter("Stream options can only be defined when `stream=True`.", "stream_options");
  if (!options->is_object()) {
    fields.Fault("model_attributes_type", "stream_options",
                 "Input should be a valid dictionary or object to extract fields from", *options);
    return {};
  }
  FieldReader reader(*options, fields.At("stream_options"), faults);
  out.include_usage = reader.Bool("include_usage").value_or(false);
  out.continuous_usage = out.include_usage && reader.Bool("continuous_usage_stats").value_or(false);
  return {};
}

Status ReadIdentity(FieldReader& fields, Generation& out) {
  if (const Json* salt = fields.Any("cache_salt")) {
    if (!salt->is_string() || salt->get_ref<const std::string&>().empty()) {
      return RefuseParameter("Parameter 'cache_salt' must be a non-empty string if provided.", "cache_salt");
    }
    out.cache_salt = salt->get<std::string>();
    if (out.cache_salt.size() > 1024) {
      fields.Fault("string_too_long", "cache_salt", "String should have at most 1024 characters", *salt);
    }
  }
  out.priority = fields.Integer("priority").value_or(0);
  out.session_id = fields.String("session_id").value_or("");
  out.request_id = fields.String("request_id").value_or("");
  out.user = fields.String("user").value_or("");
  out.return_token_ids = fields.Bool("return_token_ids").value_or(false);
  out.return_tokens_as_token_ids = fields.Bool("return_tokens_as_token_ids").value_or(false);
  for (const auto& [name, value] :
       {std::pair{"session_id", &out.session_id}, std::pair{"request_id", &out.request_id}}) {
    if (value->size() > 256)
      fields.Fault("string_too_long", name, "String should have at most 256 characters", Json(*value));
  }
  return {};
}

Status ReadResponseFormat(FieldReader& fields, Generation& out) {
  const Json* format = fields.Object("response_format");
  if (format == nullptr) return {};
  const auto type = format->find("type");
  if (type == format->end() || !type->is_string()) {
    fields.Missing("response_format.type");
    return {};
  }
  const auto& name = type->get_ref<const std::string&>();
  if (name == "text") return {};
  if (name == "json_object") {
    out.constraint.kind = Constraint::Kind::kJsonObject;
    return {};
  }
  if (name == "json_schema") {
    const auto outer = format->find("json_schema");
    if (outer == format->end() || !outer->is_object() || !outer->contains("schema") ||
        !(*outer)["schema"].is_object()) {
      return Refuse("response_format of type json_schema needs `json_schema` with an object `schema`.");
    }
    out.constraint.kind = Constraint::Kind::kJsonSchema;
    out.constraint.text = codec::Dump((*outer)["schema"]);
    return {};
  }
  static constexpr std::array<std::string_view, 3> kKnown = {"text", "json_object", "json_schema"};
  return Refuse("response_format type " + PyQuoted(name) +
                " is not supported by this server; supported are text, json_object and json_schema" +
                DidYouMean(name, kKnown) + ".");
}

Status ReadStructuredOutputs(FieldReader& fields, Generation& out, FormFaults& faults) {
  const Json* wanted = fields.Object("structured_outputs");
  if (wanted == nullptr) return {};
  FieldReader reader(*wanted, fields.At("structured_outputs"), faults);
  Constraint found;
  int kinds = 0;
  if (const Json* schema = reader.Any("json")) {
    ++kinds;
    found.kind = Constraint::Kind::kJsonSchema;
    found.text = schema->is_string() ? schema->get<std::string>() : codec::Dump(*schema);
  }
  if (reader.Bool("json_object").value_or(false)) {
    ++kinds;
    found.kind = Constraint::Kind::kJsonObject;
  }
  if (reader.Any("choice") != nullptr) {
    ++kinds;
    found.kind = Constraint::Kind::kChoice;
    found.choices = reader.StringOrStrings("choice", 1024).value_or(std::vector<std::string>{});
    if (found.choices.empty()) return Refuse("structured_outputs.choice must be a non-empty list of strings.");
  }
  if (const auto grammar = reader.String("grammar")) {
    ++kinds;
    found.kind = Constraint::Kind::kGrammar;
    found.text = *grammar;
  }
  for (const std::string_view name : {"regex", "structural_tag"}) {
    if (reader.Any(name) != nullptr) {
      return Refuse("structured_outputs." + std::string(name) +
                    " is not supported by this server; supported are json, json_object, choice and grammar.");
    }
  }
  if (kinds > 1) {
    return Refuse(
        "You can only use one kind of constraint for structured outputs ('json', 'json_object', 'choice' or "
        "'grammar') but multiple are specified.");
  }
  if (kinds == 1) out.constraint = std::move(found);
  return {};
}

}  // namespace

Status ReadGeneration(FieldReader& fields, const ModelLimits& limits, Generation& out) {
  FormFaults& faults = fields.Faults();
  if (Status status = ReadStream(fields, out, faults); !status) return status;
  if (Status status = ReadIdentity(fields, out); !status) return status;
  ReadSampling(fields, out);
  ReadLengthsAndStops(fields, limits, out);
  if (const auto count = fields.Integer("prompt_logprobs")) out.prompt_logprobs = Clamped(count, 0);
  if (Status status = ReadLogitBias(fields, limits, out); !status) return status;
  if (Status status = ReadResponseFormat(fields, out); !status) return status;
  if (Status status = ReadStructuredOutputs(fields, out, faults); !status) return status;
  return ReadRefusedAndInert(fields);
}

namespace {

Status CheckSampling(const Generation& g) {
  if (g.presence_penalty < -2 || g.presence_penalty > 2) {
    return Refuse("presence_penalty must be in [-2, 2], got " + PyFloat(g.presence_penalty) + ".");
  }
  if (g.frequency_penalty < -2 || g.frequency_penalty > 2) {
    return Refuse("frequency_penalty must be in [-2, 2], got " + PyFloat(g.frequency_penalty) + ".");
  }
  if (!(g.repetition_penalty > 0)) {
    return Refuse("repetition_penalty must be greater than zero, got " + PyFloat(g.repetition_penalty) + ".");
  }
  if (!(g.temperature >= 0)) {
    return RefuseParameter("temperature must be non-negative, got " + PyFloat(g.temperature) + ".", "temperature",
                           PyFloat(g.temperature));
  }
  if (!(g.top_p > 0 && g.top_p <= 1)) {
    return RefuseParameter("top_p must be in (0, 1], got " + PyFloat(g.top_p) + ".", "top_p", PyFloat(g.top_p));
  }
  if (g.top_k < -1) {
    return Refuse("top_k must be 0 (disable), or at least 1, got " + std::to_string(g.top_k) + ".");
  }
  if (!(g.min_p >= 0 && g.min_p <= 1)) return Refuse("min_p must be in [0, 1], got " + PyFloat(g.min_p) + ".");
  return {};
}

Status CheckCount(std::string_view what, std::string_view parameter, const std::optional<int>& count, int limit) {
  if (!count) return {};
  const std::string shown = std::to_string(*count);
  if (*count < 0) {
    return RefuseParameter(std::string(parameter) + " must be non-negative, got " + shown + ".", parameter, shown);
  }
  if (*count > limit) {
    return RefuseParameter("Requested " + std::string(what) + " logprobs of " + shown +
                               ", which is greater than max allowed: " + std::to_string(limit),
                           parameter, shown);
  }
  return {};
}

}  // namespace

Status CheckGeneration(const Generation& g, const ModelLimits& limits) {
  if (g.n < 1) return Refuse("n must be at least 1, got " + std::to_string(g.n) + ".");
  if (g.n > limits.n_max) {
    return Refuse("n must be at most " + std::to_string(limits.n_max) + ", got " + std::to_string(g.n) + ".");
  }
  if (Status status = CheckSampling(g); !status) return status;
  if (g.max_tokens && *g.max_tokens < 1) {
    const std::string shown = std::to_string(*g.max_tokens);
    return RefuseParameter("max_tokens must be at least 1, got " + shown + ".", "max_tokens", shown);
  }
  if (g.min_tokens < 0) {
    return Refuse("min_tokens must be greater than or equal to 0, got " + std::to_string(g.min_tokens) + ".");
  }
  if (g.max_tokens && g.min_tokens > *g.max_tokens) {
    return Refuse("min_tokens must be less than or equal to max_tokens=" + std::to_string(*g.max_tokens) + ", got " +
                  std::to_string(g.min_tokens) + ".");
  }
  if (Status status = CheckCount("sample", "logprobs", g.logprobs, limits.max_logprobs); !status) return status;
  if (Status status = CheckCount("prompt", "prompt_logprobs", g.prompt_logprobs, limits.max_logprobs); !status)
    return status;
  if (g.prompt_logprobs && g.stream) {
    return RefuseParameter("`prompt_logprobs` are not available when `stream=True`.", "prompt_logprobs");
  }
  for (const std::string& stop : g.stop) {
    if (stop.empty()) return Refuse("stop cannot contain an empty string.");
    if (stop.size() > static_cast<size_t>(limits.stop_bytes_max)) {
      return RefuseParameter("A stop string has " + std::to_string(stop.size()) + " bytes; at most " +
                                 std::to_string(limits.stop_bytes_max) + " are accepted.",
                             "stop");
    }
  }
  return CheckTokenIds(g.stop_token_ids, limits);
}

Result<std::string> CheckModel(const std::optional<std::string>& model, const ModelLimits& limits) {
  if (!model) return limits.names.front();
  for (const std::string& name : limits.names) {
    if (name == *model) return name;
  }
  std::string valid;
  for (const std::string& name : limits.names) valid += (valid.empty() ? "" : ", ") + name;
  const std::string shown = model->size() <= 256 ? *model : model->substr(0, 256) + "...";
  return Fail(Code::kNotFound, "The model `" + shown + "` does not exist. Valid aliases: " + valid + ".", "model");
}

Result<int> MaxTokens(const Generation& g, size_t prompt_tokens, const ModelLimits& limits) {
  const auto context = static_cast<size_t>(limits.max_model_len);
  const std::string length = std::to_string(prompt_tokens);
  const std::string model_says =
      "This model's maximum context length is " + std::to_string(context) + " tokens. However, ";
  if (g.max_tokens && *g.max_tokens > limits.max_model_len) {
    const std::string shown = std::to_string(*g.max_tokens);
    return RefuseParameter("max_tokens=" + shown + " cannot be greater than max_model_len=" + std::to_string(context) +
                               ". Please request fewer output tokens.",
                           "max_tokens", shown);
  }
  if (prompt_tokens == 0) return Refuse("The decoder prompt cannot be empty");
  if (prompt_tokens >= context) {
    return RefuseParameter(
        model_says + "your prompt contains at least " + length +
            " input tokens, which exceeds this limit even without any output tokens. Please reduce the length "
            "of the input prompt.",
        "input_tokens", length);
  }
  const size_t left = context - prompt_tokens;
  if (!g.max_tokens) return static_cast<int>(left);
  const auto wanted = static_cast<size_t>(*g.max_tokens);
  if (wanted > left) {
    return RefuseParameter(
        model_says + "you requested " + std::to_string(wanted) +
            " output tokens and your prompt contains at "
            "least " +
            length + " input tokens, for a total of at least " + std::to_string(wanted + prompt_tokens) +
            " tokens. Please reduce the length of the input prompt or the number of requested output tokens.",
        "input_tokens", length);
  }
  return *g.max_tokens;
}

Status CheckTokenIds(const std::vector<TokenId>& tokens, const ModelLimits& limits) {
  for (const TokenId token : tokens) {
    if (token < 0 || token >= limits.vocab_size) {
      return Refuse("Token id " + std::to_string(token) + " is out of vocabulary");
    }
  }
  return {};
}

void TruncatePrompt(const Generation& g, const ModelLimits& limits, std::vector<TokenId>& tokens) {
  if (!g.truncate_prompt_tokens) return;
  const int keep = *g.truncate_prompt_tokens == -1 ? limits.max_model_len : *g.truncate_prompt_tokens;
  const auto size = static_cast<size_t>(std::max(keep, 0));
  if (tokens.size() <= size) return;
  if (g.truncate_from_right)
    tokens.resize(size);
  else
    tokens.erase(tokens.begin(), tokens.end() - static_cast<std::ptrdiff_t>(size));
}

}  // namespace sluice::openai
