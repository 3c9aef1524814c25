#include "loadgen/answer.h"

#include <algorithm>

#include "codec/json/write.h"

namespace sluice::loadgen {
namespace {

using codec::JsonValue;

constexpr size_t kFailureTextMax = 200;

// "error" of OpenAI and vLLM is an object with a message; others send a string.
std::string_view ErrorMessage(const JsonValue& error) {
  if (const auto text = error.String()) return *text;
  const auto message = error.Find("message");
  return message ? message->String().value_or("") : "";
}

bool NotEmpty(const JsonValue& object, std::string_view key) {
  const auto value = object.Find(key);
  if (!value) return false;
  if (value->IsArray()) return value->Count() > 0;
  const auto text = value->String();
  return text && !text->empty();
}

// Whether a choice carries a piece of the answer: text of a completion, or any content of a chat delta.
bool CarriesText(const JsonValue& choice) {
  if (NotEmpty(choice, "text")) return true;
  const auto delta = choice.Find("delta");
  if (!delta) return false;
  for (const std::string_view key : {"content", "reasoning", "reasoning_content", "refusal", "tool_calls"}) {
    if (NotEmpty(*delta, key)) return true;
  }
  return false;
}

}  // namespace

void SetFailure(Sample& sample, Failure failure, std::string_view text) {
  sample.failure = failure;
  text = text.substr(0, std::min(text.size(), kFailureTextMax));
  sample.failure_text = std::string(text.substr(0, codec::ValidUtf8Prefix(text)));
}

void SetHttpFailure(Sample& sample, int status, std::string_view body, codec::JsonReader& json) {
  Failure failure = Failure::kMalformed;
  if (status == 429) {
    failure = Failure::kHttp429;
  } else if (status >= 400 && status < 500) {
    failure = Failure::kHttp4xx;
  } else if (status >= 500) {
    failure = Failure::kHttp5xx;
  }
  std::string text = "status " + std::to_string(status);
  if (const auto root = json.Parse(body)) {
    std::string_view message;
    if (const auto error = root->Find("error")) message = ErrorMessage(*error);
    if (const auto detail = root->Find("detail"); message.empty() && detail) message = detail->String().value_or("");
    if (!message.empty()) text += ": " + std::string(message);
  }
  SetFailure(sample, failure, text);
}

void AnswerReader::Fault(Failure failure, std::string_view text) {
  if (sample_.failure == Failure::kNone) SetFailure(sample_, failure, text);
}

bool AnswerReader::Feed(std::string_view bytes, double since_start_s) {
  const Status status = sse_.Feed(bytes, [&](const codec::SseEvent& event) { Event(event.data, since_start_s); });
  if (!status) Fault(Failure::kMalformed, status.error().message);
  return sample_.failure == Failure::kNone;
}

void AnswerReader::Event(std::string_view data, double since_start_s) {
  if (done_seen_ || sample_.failure != Failure::kNone) return;
  if (data == "[DONE]") {
    done_seen_ = true;
    return;
  }
  const auto chunk = json_.Parse(data);
  if (!chunk) return Fault(Failure::kMalformed, chunk.error().message);
  if (const auto error = chunk->Find("error"); error && error->type() != JsonValue::Type::kNull) {
    return Fault(Failure::kStream, ErrorMessage(*error));
  }
  if (const auto choices = chunk->Find("choices")) {
    choices->ForEachElement([&](const JsonValue& choice) {
      if (CarriesText(choice)) Text(since_start_s);
      if (const auto reason = choice.Find("finish_reason"); reason && reason->String()) {
        finish_seen_ = true;
        // vLLM ends streams so when it is paused or reset; the answer is not whole.
        if (*reason->String() == "abort") Fault(Failure::kStream, "finish_reason abort");
      }
      return true;
    });
  }
  if (const auto usage = chunk->Find("usage"); usage && usage->IsObject()) Usage(*usage);
}

void AnswerReader::Text(double since_start_s) {
  if (pieces_++ == 0) {
    sample_.ttft_s = since_start_s;
  } else {
    sample_.itl_s.push_back(static_cast<float>(since_start_s - last_text_s_));
  }
  last_text_s_ = since_start_s;
}

void AnswerReader::Usage(const JsonValue& usage) {
  const auto number = [](const JsonValue& object, std::string_view key) -> std::optional<int64_t> {
    const auto value = object.Find(key);
    const auto count = value ? value->Int() : std::nullopt;
    return count && *count >= 0 ? count : std::nullopt;
  };
  sample_.prompt_tokens = number(usage, "prompt_tokens").value_or(sample_.prompt_tokens);
  if (const auto output = number(usage, "completion_tokens")) {
    sample_.output_tokens = *output;
    usage_seen_ = true;
  }
  if (const auto details = usage.Find("prompt_tokens_details")) {
    sample_.cached_tokens = number(*details, "cached_tokens").value_or(sample_.cached_tokens);
  }
}

void AnswerReader::End(double since_start_s) {
  sample_.e2e_s = since_start_s;
  if (!usage_seen_) sample_.output_tokens = pieces_;
  if (!done_seen_ || !finish_seen_) {
    Fault(Failure::kCut, done_seen_ ? "the stream ended without a finish_reason" : "the stream ended without [DONE]");
  }
}

}  // namespace sluice::loadgen
