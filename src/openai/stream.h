// Streamed answers: each call appends one server-sent event. Fields and order are vLLM's; the part that never changes
// is written once a stream. Thread rule: one owner a stream. Cost: about 0.3 us and 250 bytes an event, no tree.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "openai/response.h"
#include "openai/tool_parser.h"

namespace sluice::openai {

// What one event says of one choice. Empty content without tool calls and with a finish is the empty delta.
struct StreamDelta {
  int index = 0;
  std::string_view content;
  std::span<const ToolDelta> tool_calls;
  const Finish* finish = nullptr;                          // set in a choice's last event
  std::optional<std::span<const TokenLogprobs>> logprobs;  // when asked for
  std::optional<std::span<const TokenId>> token_ids;       // with return_token_ids
  const std::vector<TokenId>* prompt_token_ids = nullptr;  // completions: with a choice's first event, when asked for
  const Usage* usage = nullptr;                            // with continuous_usage_stats: so far
  bool last = false;  // the stream's last choice event, when no usage event follows: carries the fingerprint
};

class ChatStream {
 public:
  ChatStream(const ResponseHead& head, TokenStyle style);
  // The choice's first event: the role.
  void AppendRole(std::string& out, int index, const std::vector<TokenId>* prompt_token_ids, const Usage* usage) const;
  void AppendDelta(std::string& out, const StreamDelta& delta) const;
  void AppendUsageEvent(std::string& out, const Usage& usage) const;

 private:
  std::string prefix_;  // `data: {"id":…,"choices":[`
  std::string fingerprint_;
  TokenStyle style_;
};

class CompletionStream {
 public:
  CompletionStream(const ResponseHead& head, TokenStyle style, size_t choices);
  // tool_calls are not read.
  void AppendDelta(std::string& out, const StreamDelta& delta);
  // The whole of a prompt that is echoed, with its log-probabilities when asked for, as a choice's first text.
  void AppendEcho(std::string& out, const StreamDelta& delta, const TokenText& first_token,
                  const PromptLogprobs& prompt);
  void AppendUsageEvent(std::string& out, const Usage& usage) const;

 private:
  void AppendChoice(std::string& out, const StreamDelta& delta, std::string_view logprobs) const;

  std::string prefix_;
  std::string fingerprint_;
  std::vector<LegacyLogprobs> legacy_;  // one a choice: offsets go on from chunk to chunk
};

// An error after the stream has begun: `data: {"error":…}`. The caller ends the stream with codec::kSseDone.
void AppendErrorEvent(std::string& out, const Error& error);

}  // namespace sluice::openai
