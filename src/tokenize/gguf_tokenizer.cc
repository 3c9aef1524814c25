#include "tokenize/gguf_tokenizer.h"

#include <llama.h>
#include <log.h>

#include <atomic>
#include <cstdio>
#include <filesystem>
#include <mutex>

#include "tokenize/cut_tokens.h"

namespace sluice::tokenize {

namespace {

void StderrSink(int level, std::string_view line) {
  if (level >= GGML_LOG_LEVEL_ERROR)
    std::fprintf(stderr, "llama.cpp: %.*s\n", static_cast<int>(line.size()), line.data());
}

std::atomic<LlamaLogSink> log_sink{&StderrSink};

// llama.cpp sends pieces of lines (level CONT); errors come whole.
void OnLlamaLog(ggml_log_level level, const char* text, void*) {
  if (level != GGML_LOG_LEVEL_WARN && level != GGML_LOG_LEVEL_ERROR) return;
  std::string_view line(text);
  while (!line.empty() && line.back() == '\n') line.remove_suffix(1);
  if (!line.empty()) log_sink.load()(level, line);
}

}  // namespace

void SetLlamaLog(LlamaLogSink sink) { log_sink.store(sink == nullptr ? &StderrSink : sink); }

void InitLlama() {
  static std::once_flag once;
  std::call_once(once, [] {
    llama_log_set(&OnLlamaLog, nullptr);
    common_log_set_verbosity_thold(LOG_LEVEL_OUTPUT - 1);  // common/ reports through exceptions; its log is noise
    llama_backend_init();
  });
}

GgufTokenizer::GgufTokenizer(const llama_vocab* vocab) : vocab_(vocab) {
  for (TokenId t = 0; t < llama_vocab_n_tokens(vocab_); ++t) {
    if (llama_vocab_is_eog(vocab_, t)) end_tokens_.push_back(t);
  }
}

GgufTokenizer::~GgufTokenizer() {
  if (owned_ != nullptr) llama_model_free(owned_);
}

Result<std::unique_ptr<GgufTokenizer>> GgufTokenizer::Open(const std::string& path) {
  InitLlama();
  std::error_code ec;
  if (!std::filesystem::is_regular_file(path, ec)) {
    return Fail(Code::kNotFound, "tokenizer: there is no file '" + path + "'; give the path of a GGUF model");
  }
  llama_model_params params = llama_model_default_params();
  params.vocab_only = true;
  llama_model* model = nullptr;
  try {
    model = llama_model_load_from_file(path.c_str(), params);
  } catch (const std::exception&) {
  }
  if (model == nullptr) {
    return Fail(Code::kInvalidArgument,
                "tokenizer: '" + path + "' is not a GGUF file with a vocabulary, or is damaged");
  }
  auto out = std::make_unique<GgufTokenizer>(llama_model_get_vocab(model));
  out->owned_ = model;
  if (const char* t = llama_model_chat_template(model, nullptr)) out->chat_template_ = t;
  return out;
}

std::vector<TokenId> GgufTokenizer::Encode(std::string_view text, bool add_special, bool parse_special) const {
  std::vector<TokenId> out(text.size() / 3 + 16);
  const auto length = static_cast<int32_t>(text.size());
  int32_t n = llama_tokenize(vocab_, text.data(), length, out.data(), static_cast<int32_t>(out.size()), add_special,
                             parse_special);
  if (n < 0) {
    out.resize(static_cast<size_t>(-n));
    n = llama_tokenize(vocab_, text.data(), length, out.data(), static_cast<int32_t>(out.size()), add_special,
                       parse_special);
  }
  out.resize(static_cast<size_t>(std::max(n, 0)));
  return out;
}

std::string GgufTokenizer::Decode(const std::vector<TokenId>& tokens, bool skip_special) const {
  std::string out(tokens.size() * 8 + 16, '\0');
  const auto count = static_cast<int32_t>(tokens.size());
  int32_t n = llama_detokenize(vocab_, tokens.data(), count, out.data(), static_cast<int32_t>(out.size()), false,
                               !skip_special);
  if (n < 0) {
    out.resize(static_cast<size_t>(-n));
    n = llama_detokenize(vocab_, tokens.data(), count, out.data(), static_cast<int32_t>(out.size()), false,
                         !skip_special);
  }
  out.resize(static_cast<size_t>(std::max(n, 0)));
  return out;
}

std::string GgufTokenizer::Piece(TokenId token, bool special) const {
  if (token < 0 || token >= VocabSize()) return {};
  std::string out(32, '\0');
  int32_t n = llama_token_to_piece(vocab_, token, out.data(), static_cast<int32_t>(out.size()), 0, special);
  if (n < 0) {
    out.resize(static_cast<size_t>(-n));
    n = llama_token_to_piece(vocab_, token, out.data(), static_cast<int32_t>(out.size()), 0, special);
  }
  out.resize(static_cast<size_t>(std::max(n, 0)));
  return out;
}

int GgufTokenizer::VocabSize() const { return llama_vocab_n_tokens(vocab_); }

bool GgufTokenizer::IsSpecial(TokenId token) const {
  return token >= 0 && token < VocabSize() &&
         (llama_vocab_is_control(vocab_, token) || llama_vocab_is_eog(vocab_, token));
}

// Control tokens among all that llama.cpp looks for in a text.
std::vector<std::string> GgufTokenizer::CutTokens() const {
  std::vector<std::string> wanted, all;
  constexpr int kSearched = LLAMA_TOKEN_ATTR_CONTROL | LLAMA_TOKEN_ATTR_USER_DEFINED | LLAMA_TOKEN_ATTR_UNKNOWN;
  for (TokenId t = 0; t < VocabSize(); ++t) {
    const auto attributes = static_cast<int>(llama_vocab_get_attr(vocab_, t));
    if ((attributes & kSearched) == 0) continue;
    all.emplace_back(llama_vocab_get_text(vocab_, t));
    if ((attributes & LLAMA_TOKEN_ATTR_CONTROL) != 0) wanted.push_back(all.back());
  }
  return WithoutOverlaps(std::move(wanted), all);
}

TokenId GgufTokenizer::Eos() const { return llama_vocab_eos(vocab_); }
TokenId GgufTokenizer::Bos() const { return llama_vocab_bos(vocab_); }
std::string GgufTokenizer::BosText() const { return Bos() < 0 ? std::string() : Piece(Bos(), true); }
std::string GgufTokenizer::EosText() const { return Eos() < 0 ? std::string() : Piece(Eos(), true); }

}  // namespace sluice::tokenize
