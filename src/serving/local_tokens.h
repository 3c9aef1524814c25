// LocalTokens: a request's prompts to token ids in this process: with a Hugging Face folder as vLLM does it, with a
// .gguf file as our own worker does it. Thread rule: immutable after Open but for its cache, any thread. Cost: the
// tokenizer's, less what the cache knows.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "parse/parser_table.h"
#include "tokenize/chat_template.h"
#include "tokenize/gguf_tokenizer.h"
#include "tokenize/hf_model.h"
#include "tokenize/prefix_cache.h"

namespace sluice::serving {

class LocalTokens {
 public:
  // `path`: a folder with tokenizer.json, that file, or a .gguf file.
  static Result<std::unique_ptr<LocalTokens>> Open(const std::string& path, size_t cache_bytes);

  struct Made {
    std::vector<std::vector<uint32_t>> prompts;
    uint64_t reused_bytes = 0;  // of their text
  };
  // Of a body of that form; `model`: as it names it. An error says why the ids cannot be known to be the engine's.
  Result<Made> Make(parse::Api api, std::string_view body, std::string_view model);

  const std::string& chat_problem() const { return chat_problem_; }  // empty: chats can be tokenized
  const tokenize::PrefixCache& cache() const { return *cache_; }

 private:
  LocalTokens() = default;
  Status OpenGguf(const std::string& path);
  Status OpenHf(const std::string& folder);
  Result<Made> MakeChat(std::string_view body, std::string_view model);
  Result<Made> MakeCompletions(std::string_view body);
  Result<tokenize::VllmChat::Prompt> RenderForWorker(std::string_view body, std::string_view model) const;
  void Add(std::string_view text, bool add_special, Made& made);

  tokenize::HfModel hf_;
  std::unique_ptr<tokenize::GgufTokenizer> gguf_;  // null: hf_
  std::unique_ptr<tokenize::ChatTemplate> gguf_chat_;
  std::string chat_problem_;
  std::unique_ptr<tokenize::PrefixCache> cache_;  // last: borrows a tokenizer
};

}  // namespace sluice::serving
