#include "parse/parser_table.h"

#include <algorithm>
#include <array>
#include <optional>

#include "base/byte_block.h"
#include "base/check.h"
#include "base/text.h"

namespace sluice::parse {
namespace {

constexpr std::string_view kDefaultPath = "/v1/completions";

constexpr ClaimedPath kOpenAi[] = {
    {"chat/completions", Api::kChat},
    {"completions", Api::kCompletions},
    {"embeddings", Api::kEmbeddings},
    {"responses", Api::kResponses},
    {"conversations", Api::kConversations},
    {"chat/completions/render", Api::kChat},
    {"completions/render", Api::kCompletions},
    {"responses/render", Api::kResponses},
    {"images/generations", Api::kImages},
    // Beside the OpenAI API, vLLM's and our worker's:
    {"tokenize", Api::kModelOnly, /*whole=*/true},
    {"detokenize", Api::kModelOnly, /*whole=*/true},
};
constexpr ClaimedPath kAnthropic[] = {
    {"messages", Api::kMessages}, {"messages/render", Api::kMessages}, {"messages/count_tokens", Api::kModelOnly}};
constexpr ClaimedPath kVllmHttp[] = {{"inference/v1/generate", Api::kVllmGenerate}};
constexpr ClaimedPath kSglang[] = {{"generate", Api::kSglangGenerate, /*whole=*/true}};
constexpr ClaimedPath kVllmGrpc[] = {{"vllm.grpc.engine.VllmEngine/Generate", Api::kVllmGrpcGenerate},
                                     {"vllm.grpc.engine.VllmEngine/Embed", Api::kVllmGrpcEmbed}};
constexpr ClaimedPath kVertex[] = {{"PredictionService/ChatCompletions", Api::kVertexChat},
                                   {"PredictionService/RawPredict", Api::kVertexRaw},
                                   {"PredictionService/StreamRawPredict", Api::kVertexStreamRaw}};

constexpr Parser kParsers[] = {
    {.type = "openai-parser", .paths = kOpenAi, .can_rewrite_model = true, .usage = UsageStyle::kText},
    {.type = "anthropic-parser", .paths = kAnthropic, .can_rewrite_model = true, .usage = UsageStyle::kText},
    {.type = "vllmhttp-parser", .paths = kVllmHttp, .can_rewrite_model = true, .usage = UsageStyle::kText},
    {.type = "sglanghttp-parser", .paths = kSglang, .usage = UsageStyle::kText},
    {.type = "vllmgrpc-parser", .paths = kVllmGrpc, .http = false, .usage = UsageStyle::kVllmGrpc},
    {.type = "vertexai-parser", .paths = kVertex, .http = false, .usage = UsageStyle::kVertexGrpc},
    {.type = "passthrough-parser", .paths = {}},
};

int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  const char lower = static_cast<char>(c | 0x20);
  return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

// Percent signs resolved.
std::string Decoded(std::string_view path) {
  std::string out;
  out.reserve(path.size());
  for (size_t i = 0; i < path.size(); ++i) {
    if (path[i] == '%' && i + 2 < path.size() && HexDigit(path[i + 1]) >= 0 && HexDigit(path[i + 2]) >= 0) {
      out += static_cast<char>(HexDigit(path[i + 1]) * 16 + HexDigit(path[i + 2]));
      i += 2;
    } else {
      out += path[i];
    }
  }
  return out;
}

}  // namespace

std::span<const Parser> AllParsers() { return kParsers; }

// Of the path without query and without slashes at its ends.
std::optional<Route> ParserTable::Longest(std::string_view path) const {
  std::string decoded;
  if (FindByte(path, [](ByteBlock c) { return (c == '?') | (c == '#') | (c == '%'); }) < path.size()) {
    path = path.substr(0, path.find_first_of("?#"));
    path = decoded = Decoded(path);
  }
  const size_t first = path.find_first_not_of('/');
  if (first == std::string_view::npos) return std::nullopt;
  path = path.substr(first, path.find_last_not_of('/') - first + 1);
  for (const Claim& claim : claims_) {
    const std::string_view suffix = claim.path->suffix;
    if (suffix.size() > path.size() || path.back() != suffix.back()) continue;
    if (claim.path->whole ? path == suffix : path.ends_with(suffix)) return Route{claim.parser, claim.path->api};
  }
  return std::nullopt;
}

Result<ParserTable> ParserTable::Build(std::span<const std::string> types) {
  ParserTable table;
  for (const std::string& type : types) {
    const auto parser = std::find_if(std::begin(kParsers), std::end(kParsers),
                                     [&](const Parser& candidate) { return candidate.type == type; });
    if (parser == std::end(kParsers)) {
      std::vector<std::string> known;
      for (const Parser& candidate : kParsers) known.emplace_back(candidate.type);
      return Fail(Code::kInvalidArgument, "there is no parser '" + type + "'" + DidYouMean(type, known), "parsers");
    }
    if (parser->paths.empty()) {
      table.fallback_ = parser;
      break;
    }
    const bool twice = std::any_of(table.claims_.begin(), table.claims_.end(),
                                   [&](const Claim& claim) { return claim.parser == parser; });
    if (twice) continue;
    for (const ClaimedPath& path : parser->paths) {
      const auto shorter = std::find_if(table.claims_.begin(), table.claims_.end(), [&](const Claim& claim) {
        return claim.path->suffix.size() < path.suffix.size();
      });
      table.claims_.insert(shorter, {&path, parser});
    }
  }
  return table;
}

ParserTable ParserTable::Default() {
  static const std::array<std::string, 4> kTypes = {"openai-parser", "anthropic-parser", "vllmhttp-parser",
                                                    "passthrough-parser"};
  auto table = Build(kTypes);
  SLUICE_CHECK(table.has_value(), "the default parsers exist");
  return std::move(*table);
}

Result<Route> ParserTable::For(std::string_view path) const {
  if (path.empty()) path = kDefaultPath;
  if (const auto route = Longest(path)) return *route;
  if (fallback_ != nullptr) return Route{fallback_, Api::kOpaque};
  return Fail(Code::kInvalidArgument, "no parser registered matching path suffix for: " + std::string(path));
}

bool ParserTable::Claims(std::string_view path) const {
  return Longest(path.empty() ? kDefaultPath : path).has_value();
}

std::string_view PathOf(const model::Request& request) {
  for (const std::string_view name : {":path", "x-original-path", "x-forwarded-path"}) {
    if (const std::string_view path = request.Header(name); !path.empty()) return path;
  }
  return kDefaultPath;
}

}  // namespace sluice::parse
