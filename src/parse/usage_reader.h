// UsageReader: the token counts of an answer, read as its bytes pass by, split anywhere.
// What it knows: `usage` of OpenAI's chat, completions and embeddings (alone, in the last event, or in each), of the
// Responses API (`response.usage`) and of vLLM's generate; Anthropic's message_start and message_delta, whose prompt is
// input_tokens and what was read from or written to its cache; SGLang's `meta_info` (of a list of answers, the sum);
// gRPC's GenerateResponse and EmbedResponse of vLLM, and HttpBody of Vertex AI around OpenAI's. A later count replaces
// an earlier one. Text that a model writes cannot be taken for a count: it is inside of a string.
// Thread rule: one owner. Cost: about 1.5 instructions a byte of events without counts, 10 to 20 of others. Memory:
// fixed; for gRPC at most one message of kGrpcMessageMax.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "parse/answer_lexer.h"
#include "parse/proto_reader.h"

namespace sluice::parse {

struct Usage {
  int64_t prompt_tokens = 0;
  int64_t completion_tokens = 0;
  int64_t cached_tokens = 0;
};

enum class UsageStyle : uint8_t { kNone, kText, kVllmGrpc, kVertexGrpc };

class UsageReader {
 public:
  static constexpr size_t kGrpcMessageMax = size_t{1} << 20;

  explicit UsageReader(UsageStyle style = UsageStyle::kText) : style_(style) {}
  void Append(std::string_view piece);
  // What has been seen so far; nothing when no count of the prompt was.
  std::optional<Usage> Find() const;
  // Events with data, without [DONE]; messages of a gRPC answer.
  uint64_t events() const { return style_ == UsageStyle::kVllmGrpc ? messages_ : lexer_.events(); }

  // For the lexer.
  void OnString(const JsonLexer&, bool) {}
  void OnScalar(const JsonLexer& json, std::string_view text);
  void OnEnd() {}

 private:
  // As the engine said them.
  struct Counts {
    std::optional<int64_t> prompt, input, completion, cached, cache_read, cache_creation;
  };

  void AppendText(std::string_view piece);
  void ReadVllmResponse(std::string_view message);
  void Set(std::optional<int64_t>& count, int64_t value, bool summed);

  UsageStyle style_;
  AnswerLexer lexer_;
  GrpcFrames frames_{kGrpcMessageMax};
  uint64_t messages_ = 0;
  Counts counts_;
};

}  // namespace sluice::parse
