#include "schedule/plugins/produce/token_producer.h"

#include <algorithm>
#include <cstring>
#include <filesystem>

#include "kvindex/approx_prefix_index.h"
#include "schedule/policy.h"

namespace sluice::schedule {
namespace {

constexpr ParamSpec kParams[] = {
    {.name = "estimate",
     .type = ParamType::kNode,
     .help = "four bytes a token, the default; `image` and `video` say how many tokens these stand for"},
    {.name = "vllm",
     .type = ParamType::kNode,
     .help = "exact, by vLLM's render endpoints: `url` (http://localhost:8000), `timeout` (5s), `mmTimeout` (30s, when "
             "content is a list of parts)"},
    {.name = "tokenizer",
     .type = ParamType::kNode,
     .help =
         "exact, in this process (an extension): `path` of a folder with a tokenizer.json and a chat template, or of "
         "a .gguf file; `prefixCacheBytes` (67108864) for the texts whose tokens are remembered"},
    {.name = "udsTokenizerConfig", .type = ParamType::kNode, .help = "tokenize by a sidecar; refused"},
    {.name = "modelName", .type = ParamType::kString, .help = "model of the vllm mode, as vLLM knows it"},
};
constexpr std::string_view kModes[] = {"estimate", "vllm", "tokenizer", "udsTokenizerConfig"};

// Appends pieces of text as tokens: their bytes one after another, four a token, little-endian.
class TextPacker {
 public:
  explicit TextPacker(std::vector<uint32_t>& tokens) : tokens_(tokens) {}
  // Makes room for `bytes` more.
  void Reserve(size_t bytes) {
    begin_ = tokens_.size();
    tokens_.resize(begin_ + (bytes + 3) / 4);
    if (bytes > 0) tokens_.back() = 0;  // the last is padded with zeros
    used_ = 0;
  }
  void Append(std::string_view piece) {
    if (piece.empty()) return;
    std::memcpy(reinterpret_cast<char*>(tokens_.data() + begin_) + used_, piece.data(), piece.size());
    used_ += piece.size();
  }

 private:
  std::vector<uint32_t>& tokens_;
  size_t begin_ = 0;
  size_t used_ = 0;
};

}  // namespace

constinit const PluginInfo TokenProducer::kInfo = {
    .type = "token-producer",
    .help = "Gives the prompt as tokens: exact ones from an engine or a tokenizer, else four bytes stand for one.",
    .params = kParams,
    .make = MakeChecked<TokenProducer>};

TokenProducer::TokenProducer(const PluginInfo& info, std::string name, const Params& params,
                             codec::yaml::Problems& problems)
    : Plugin(info, std::move(name)) {
  int modes = 0;
  for (const std::string_view mode : kModes) modes += params.IsSet(mode);
  if (modes > 1) {
    problems.Error(params.line(), params.path(),
                   "only one of estimate, vllm, tokenizer and udsTokenizerConfig may be set");
  }
  if (params.IsSet("udsTokenizerConfig")) {
    problems.Error(params.Node("udsTokenizerConfig"), params.path() + ".udsTokenizerConfig",
                   "the sidecar's protocol is deprecated upstream and not spoken here; use vllm or tokenizer");
  }
  if (params.IsSet("modelName") && !params.IsSet("vllm")) {
    problems.Warn(params.line(), params.path() + ".modelName", "has no effect without vllm");
  }
  if (params.IsSet("vllm")) ReadVllm(params, problems);
  if (params.IsSet("tokenizer")) ReadTokenizer(params, problems);
  if (!params.IsSet("estimate")) return;
  codec::yaml::MapReader estimate(params.Node("estimate"), params.path() + ".estimate", problems);
  media_.Read(estimate);
  estimate.Finish();
}

void TokenProducer::ReadVllm(const Params& params, codec::yaml::Problems& problems) {
  codec::yaml::MapReader vllm(params.Node("vllm"), params.path() + ".vllm", problems);
  source_ = {.mode = TokenSource::Mode::kVllm,
             .path = {},
             .cache_bytes = 0,
             .url = vllm.String("url", "http://localhost:8000"),
             .model_name = params.String("modelName"),
             .timeout = vllm.DurationOf("timeout", std::chrono::seconds(5)),
             .media_timeout = vllm.DurationOf("mmTimeout", std::chrono::seconds(30))};
  if (source_.model_name.empty()) {
    problems.Error(params.line(), params.path() + ".modelName", "is needed with vllm: the model as vLLM knows it");
  }
  if (!source_.url.starts_with("http://")) vllm.Error("url", "must be http://HOST:PORT");
  vllm.Finish();
}

void TokenProducer::ReadTokenizer(const Params& params, codec::yaml::Problems& problems) {
  codec::yaml::MapReader tokenizer(params.Node("tokenizer"), params.path() + ".tokenizer", problems);
  std::filesystem::path path = tokenizer.RequiredString("path");
  if (path.is_relative() && !params.folder().empty()) path = params.folder() / path;
  source_.mode = TokenSource::Mode::kTokenizer;
  source_.path = path.string();
  source_.cache_bytes = tokenizer.Int("prefixCacheBytes", 64 << 20, {.min = 0, .max = int64_t{1} << 36});
  tokenizer.Finish();
}

TokenSource TokenProducer::SourceOf(const Policy& policy) {
  for (const auto& plugin : policy.plugins) {
    if (&plugin->info() != &kInfo) continue;
    const TokenSource& source = static_cast<const TokenProducer&>(*plugin).source();
    if (source.mode != TokenSource::Mode::kEstimate) return source;
  }
  return {};
}

void TokenProducer::AppendEstimate(const model::Prompt& prompt, const VideoHeaders& headers, uint32_t& media_left,
                                   TokenizedPrompt& out) const {
  TextPacker packer(out.tokens);
  const std::span<const std::string_view> text = prompt.text;
  size_t piece = 0;
  const auto text_until = [&](size_t end) {
    size_t bytes = 0;
    for (size_t i = piece; i < end; ++i) bytes += text[i].size();
    packer.Reserve(bytes);
    for (; piece < end; ++piece) packer.Append(text[piece]);
  };
  for (const model::Media& media : prompt.media) {
    text_until(std::clamp<size_t>(media.before_text, piece, text.size()));
    const uint64_t hash = kvindex::ContentHash(media.content);
    const uint32_t length = std::min(media_.TokensOf(media, headers), std::max(1u, media_left));
    media_left -= std::min(media_left, length);
    out.media.push_back(
        {.hash = hash, .begin = static_cast<uint32_t>(out.tokens.size()), .length = length, .kind = media.kind});
    out.tokens.insert(out.tokens.end(), length, static_cast<uint32_t>(hash));
  }
  text_until(text.size());
}

Status TokenProducer::Produce(const DecisionInput& in, const Candidates&, Data& out) const {
  auto& data = static_cast<TokenizedPrompt&>(out);
  data.tokens.clear();
  data.prompt_end.clear();
  data.media.clear();
  data.estimated = false;
  uint32_t media_left = kMediaTokensMax;
  VideoHeaders headers;
  for (const model::Prompt& prompt : in.request.prompts) {
    if (prompt.tokens.empty()) {
      data.estimated = true;
      if (!prompt.media.empty()) headers = VideoHeaders::Of(in.request);
      AppendEstimate(prompt, headers, media_left, data);
    } else {
      // What stands for media is among the ids already, where only the engine knows; `content` is its name of each.
      for (const model::Media& media : prompt.media) {
        data.media.push_back({.hash = kvindex::ContentHash(media.content),
                              .name = std::string(media.content),
                              .begin = static_cast<uint32_t>(data.tokens.size()) + media.token_begin,
                              .length = media.token_length,
                              .kind = media.kind});
      }
      data.tokens.insert(data.tokens.end(), prompt.tokens.begin(), prompt.tokens.end());
    }
    data.prompt_end.push_back(static_cast<uint32_t>(data.tokens.size()));
  }
  return {};
}

}  // namespace sluice::schedule
