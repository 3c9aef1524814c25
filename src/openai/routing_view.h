// RoutingView: what a gateway asks of a request body, without building a tree: the model, whether it streams, the text
// or tokens of the prompt (for prefix hashing and load), and the fields that steer queues. Values that have a wrong
// type are left out: the engine that gets the body says what is wrong with it. Thread rule: one RoutingReader a thread.
// Ownership: views live until the reader's next Read. Cost: about 1 ns a byte.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "codec/json/reader.h"

namespace sluice::openai {

struct PromptPart {
  std::string_view role;  // of a message; empty for a completion's prompt
  std::string_view text;
};

struct RoutingView {
  std::optional<std::string_view> model;
  bool stream = false;
  bool is_chat = false;               // has `messages`
  std::vector<PromptPart> parts;      // texts in order; images and other parts are not here
  std::vector<int32_t> tokens;        // a completion's prompt given as token ids (one prompt, or all joined)
  size_t prompts = 1;                 // a completion's list of prompts
  size_t text_bytes = 0;              // of all parts
  bool has_tools = false;             // they come first in most templates, so they part the prefixes
  std::optional<int64_t> max_tokens;  // max_completion_tokens, else max_tokens
  int64_t n = 1;
  int64_t priority = 0;
  std::string_view cache_salt;
  std::string_view session_id;
  std::string_view user;
  bool has_kv_transfer_params = false;  // a client's own must not be passed on
};

class RoutingReader {
 public:
  explicit RoutingReader(codec::JsonReader::Options options) : reader_(options) {}
  // kInvalidArgument with the byte when the body is not JSON or no object.
  Result<RoutingView> Read(std::string_view body);

 private:
  codec::JsonReader reader_;
};

}  // namespace sluice::openai
