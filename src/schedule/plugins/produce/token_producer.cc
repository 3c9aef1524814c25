#include "schedule/plugins/produce/token_producer.h"

#include <algorithm>
#include <cstring>

#include "kvindex/approx_prefix_index.h"

namespace sluice::schedule {
namespace {

constexpr ParamSpec kParams[] = {
    {.name = "estimate",
     .type = ParamType::kNode,
     .help = "four bytes a token, the default; `image` and `video` say how many tokens these stand for"},
    {.name = "vllm", .type = ParamType::kNode, .help = "tokenize by an engine's render endpoint"},
    {.name = "udsTokenizerConfig", .type = ParamType::kNode, .help = "tokenize by a sidecar"},
    {.name = "modelName", .type = ParamType::kString, .help = "model of the vllm mode"},
};

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
    .help = "Gives the prompt as tokens; in estimate mode four bytes stand for one.",
    .params = kParams,
    .make = MakeChecked<TokenProducer>};

TokenProducer::TokenProducer(const PluginInfo& info, std::string name, const Params& params,
                             codec::yaml::Problems& problems)
    : Plugin(info, std::move(name)) {
  const int modes = params.IsSet("estimate") + params.IsSet("vllm") + params.IsSet("udsTokenizerConfig");
  if (modes > 1)
    problems.Error(params.line(), params.path(), "only one of estimate, vllm and udsTokenizerConfig may be set");
  for (const std::string_view mode : {"vllm", "udsTokenizerConfig"}) {
    if (!params.IsSet(mode)) continue;
    problems.Error(params.Node(mode), params.path() + "." + std::string(mode),
                   "is not carried out by this version; remove it to estimate tokens from bytes");
  }
  if (params.IsSet("modelName")) {
    problems.Warn(params.line(), params.path() + ".modelName", "has no effect in estimate mode");
  }
  if (!params.IsSet("estimate")) return;
  codec::yaml::MapReader estimate(params.Node("estimate"), params.path() + ".estimate", problems);
  media_.Read(estimate);
  estimate.Finish();
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
      // What stands for media is among the ids already, where is not known; `content` is the engine's name of each.
      for (const model::Media& media : prompt.media) {
        data.media.push_back({.hash = kvindex::ContentHash(media.content),
                              .begin = static_cast<uint32_t>(data.tokens.size()),
                              .length = 0,
                              .kind = media.kind});
      }
      data.tokens.insert(data.tokens.end(), prompt.tokens.begin(), prompt.tokens.end());
    }
    data.prompt_end.push_back(static_cast<uint32_t>(data.tokens.size()));
  }
  return {};
}

}  // namespace sluice::schedule
