// Request: what choosing an endpoint needs to know. The gateway fills it from the parsed body; views point into that
// body, which must outlive Decide and OnDispatch.
// Thread rule: one owner. Cost: no copy of the prompt.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/text.h"
#include "model/endpoint.h"

namespace sluice::model {

// An image, a video or a sound within a prompt.
struct Media {
  enum class Kind : uint8_t { kImage, kVideo, kAudio };
  Kind kind = Kind::kImage;
  std::string_view content;   // as in the body: an URL, a data URL, or base64 data
  uint32_t before_text = 0;   // index into Prompt::text of the piece that it stands before
  uint32_t token_begin = 0;   // with token ids: where among them the placeholders stand that are it
  uint32_t token_length = 0;  // 0: not known
};

// One prompt. Token ids win when they are there; otherwise the pieces of text, in order and without separators, stand
// for it. For chat the pieces are: the tools' JSON, then for each message its role and its text blocks.
struct Prompt {
  std::vector<std::string_view> text;
  std::vector<uint32_t> tokens;
  std::vector<Media> media;  // in order
};

// Where the token ids of a request's prompts came from; for the receipt.
struct TokenOrigin {
  std::string source;         // "tokenizer", "vllm", "request", "estimate"
  uint64_t tokenize_us = 0;   // what making them took, waiting included
  uint64_t reused_bytes = 0;  // of the prompts' text, whose ids were remembered from an earlier turn
  std::string missing;        // why ids were wanted and could not be had; empty: they are there, or were not wanted
};

struct Request {
  std::string id;
  std::string model;            // as the client named it
  std::string target_model;     // after rewriting; what the engine will be asked for
  std::vector<Prompt> prompts;  // several only for /v1/completions with a list
  TokenOrigin tokens;
  uint64_t body_bytes = 0;
  bool streaming = false;
  int32_t priority = 0;     // below 0: sheddable
  std::string objective;    // name of the InferenceObjective; empty: none
  std::string fairness_id;  // tenant; empty until schedule::ReadHeaders
  std::string session_id;   // set by whoever knows the conversation; empty: not known
  std::string cache_salt;
  std::optional<uint32_t> output_tokens_max;                           // max_tokens and its relatives
  std::vector<std::pair<std::string_view, std::string_view>> headers;  // views into the request's head

  // Where the caller limits the choice. `subset`: only endpoints with one of these addresses (the port is ignored, as
  // in the endpoint picker protocol); absent: all; empty: none. `excluded`: tried already, in this request.
  std::optional<std::vector<std::string>> subset;
  std::vector<EndpointId> excluded;

  // The header's last value, or empty. Names are compared without case.
  std::string_view Header(std::string_view name) const {
    for (auto it = headers.rbegin(); it != headers.rend(); ++it) {
      if (EqualsIgnoreCase(it->first, name)) return it->second;
    }
    return {};
  }
};

}  // namespace sluice::model
