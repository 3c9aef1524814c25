#include "schedule/plugins/produce/token_producer.h"

#include <cstring>

namespace sluice::schedule {
namespace {

constexpr ParamSpec kParams[] = {
    {.name = "estimate", .type = ParamType::kNode, .help = "four bytes a token; the default"},
    {.name = "vllm", .type = ParamType::kNode, .help = "tokenize by an engine's render endpoint"},
    {.name = "udsTokenizerConfig", .type = ParamType::kNode, .help = "tokenize by a sidecar"},
    {.name = "modelName", .type = ParamType::kString, .help = "model of the vllm mode"},
};

// The pieces' bytes, four a token, little-endian, the last padded with zeros.
void AppendEstimate(const model::Prompt& prompt, std::vector<uint32_t>& tokens) {
  size_t bytes = 0;
  for (const std::string_view piece : prompt.text) bytes += piece.size();
  const size_t begin = tokens.size();
  tokens.resize(begin + (bytes + 3) / 4);
  if (bytes == 0) return;
  tokens.back() = 0;
  char* out = reinterpret_cast<char*>(tokens.data() + begin);
  for (const std::string_view piece : prompt.text) {
    if (piece.empty()) continue;
    std::memcpy(out, piece.data(), piece.size());
    out += piece.size();
  }
}

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
  for (const std::string_view media : {"image", "video"}) {
    estimate.NotCarriedOut(media, "is not carried out by this version; media count as nothing");
  }
  estimate.Finish();
}

Status TokenProducer::Produce(const DecisionInput& in, const Candidates&, Data& out) const {
  auto& data = static_cast<TokenizedPrompt&>(out);
  data.tokens.clear();
  data.prompt_end.clear();
  data.estimated = false;
  for (const model::Prompt& prompt : in.request.prompts) {
    if (prompt.tokens.empty()) {
      data.estimated = true;
      AppendEstimate(prompt, data.tokens);
    } else {
      data.tokens.insert(data.tokens.end(), prompt.tokens.begin(), prompt.tokens.end());
    }
    data.prompt_end.push_back(static_cast<uint32_t>(data.tokens.size()));
  }
  return {};
}

}  // namespace sluice::schedule
