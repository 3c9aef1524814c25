#include "serving/render_client.h"

#include <algorithm>
#include <array>
#include <charconv>

#include "codec/json/write.h"
#include "parse/json_edit.h"

namespace sluice::serving {

using codec::JsonValue;
using runtime::Task;

namespace {

constexpr Duration kAddressKept = std::chrono::seconds(30);
constexpr Duration kRetryAfter = std::chrono::seconds(1);
constexpr size_t kErrorShown = 200;

std::string_view TargetOf(parse::Api api) {
  switch (api) {
    case parse::Api::kChat:
      return "/v1/chat/completions/render";
    case parse::Api::kCompletions:
      return "/v1/completions/render";
    case parse::Api::kResponses:
      return "/v1/responses/render";
    case parse::Api::kMessages:
      return "/v1/messages/render";
    default:
      return {};
  }
}

// Some message's content is a list of parts: it may hold media, which take their time.
bool HasParts(std::string_view body) {
  for (size_t at = body.find("\"content\""); at != std::string_view::npos; at = body.find("\"content\"", at + 9)) {
    size_t next = body.find_first_not_of(" \t\r\n", at + 9);
    if (next == std::string_view::npos || body[next] != ':') continue;
    next = body.find_first_not_of(" \t\r\n", next + 1);
    if (next != std::string_view::npos && body[next] == '[') return true;
  }
  return false;
}

model::Media::Kind KindOf(std::string_view modality) {
  if (modality == "video") return model::Media::Kind::kVideo;
  return modality == "audio" ? model::Media::Kind::kAudio : model::Media::Kind::kImage;
}

uint32_t Number(const JsonValue& object, std::string_view name) {
  const auto value = object.Find(name);
  return static_cast<uint32_t>(std::clamp<int64_t>(value ? value->Int().value_or(0) : 0, 0, UINT32_MAX));
}

void ReadFeatures(const JsonValue& features, std::vector<RenderClient::Placeholder>& out) {
  const auto hashes = features.Find("mm_hashes");
  if (hashes) {
    hashes->ForEachMember([&](std::string_view modality, JsonValue list) {
      std::vector<RenderClient::Placeholder> found;
      list.ForEachElement([&](JsonValue hash) {
        found.push_back({KindOf(modality), std::string(hash.String().value_or("")), 0, 0});
        return true;
      });
      const auto ranges = features.Find("mm_placeholders");
      const auto of_modality = ranges ? ranges->Find(modality) : std::nullopt;
      size_t i = 0;
      if (of_modality) {
        of_modality->ForEachElement([&](JsonValue range) {
          if (i == found.size()) return false;
          found[i].begin = Number(range, "offset");
          found[i++].length = Number(range, "length");
          return true;
        });
      }
      out.insert(out.end(), found.begin(), found.end());
      return true;
    });
  }
  std::sort(out.begin(), out.end(), [](const auto& a, const auto& b) { return a.begin < b.begin; });
}

bool ReadPrompt(const JsonValue& object, std::vector<RenderClient::Prompt>& out) {
  const auto ids = object.Find("token_ids");
  if (!ids || !ids->IsArray()) return false;
  RenderClient::Prompt& prompt = out.emplace_back();
  bool ok = true;
  ids->ForEachElement([&](JsonValue id) {
    const auto number = id.Int();
    ok = number && *number >= 0 && *number <= int64_t{UINT32_MAX};
    if (ok) prompt.tokens.push_back(static_cast<uint32_t>(*number));
    return ok;
  });
  if (const auto features = object.Find("features"); features && features->IsObject()) {
    ReadFeatures(*features, prompt.media);
  }
  return ok;
}

}  // namespace

Result<std::unique_ptr<RenderClient>> RenderClient::Open(runtime::Loop& loop, net::HttpClient& client,
                                                         schedule::TokenSource source) {
  std::string_view rest = source.url;
  const auto wrong = [&] {
    return Fail(Code::kInvalidArgument, "token-producer: vllm.url '" + source.url + "' is not http://HOST:PORT");
  };
  if (!rest.starts_with("http://")) return wrong();
  rest.remove_prefix(7);
  while (rest.ends_with('/')) rest.remove_suffix(1);
  const size_t colon = rest.rfind(':');
  const bool has_port = colon != std::string_view::npos && rest.find(']', colon) == std::string_view::npos;
  const std::string text = std::string(rest) + (has_port ? "" : ":80");
  if (auto literal = net::Address::Parse(text)) {
    return std::unique_ptr<RenderClient>(
        new RenderClient(loop, client, std::move(source), literal->host, literal->port));
  }
  const size_t at = text.rfind(':');
  uint16_t port = 0;
  const auto [end, error] = std::from_chars(text.data() + at + 1, text.data() + text.size(), port);
  if (error != std::errc{} || end != text.data() + text.size() || port == 0) return wrong();
  const std::string host = text.substr(0, at);
  if (!net::Resolver::IsName(host)) return wrong();
  return std::unique_ptr<RenderClient>(new RenderClient(loop, client, std::move(source), host, port));
}

RenderClient::RenderClient(runtime::Loop& loop, net::HttpClient& client, schedule::TokenSource source, std::string host,
                           uint16_t port)
    : loop_(loop),
      client_(client),
      source_(std::move(source)),
      host_(std::move(host)),
      port_(port),
      resolver_(loop, {}),
      reader_({.bytes_max = kAnswerBytesMax}) {}

Task<Result<net::Address>> RenderClient::Find() {
  if (host_ == "localhost" || !net::Resolver::IsName(host_)) co_return net::Address{host_, port_};
  if (found_.empty() || loop_.Now() >= found_until_) {
    auto answer = co_await resolver_.Resolve(host_);
    if (!answer) co_return tl::unexpected(answer.error());
    found_ = answer->addresses.front();
    found_until_ = loop_.Now() + kAddressKept;
  }
  co_return net::Address{found_, port_};
}

Task<Result<std::vector<RenderClient::Prompt>>> RenderClient::Post(std::string_view target, std::string_view body,
                                                                   Duration timeout) {
  if (loop_.Now() < retry_at_) co_return Fail(Code::kUnavailable, last_failure_);
  auto address = co_await Find();
  Result<net::FetchResponse> response = Fail(Code::kUnavailable, "");
  if (address) {
    const std::array<net::Header, 1> headers = {net::Header{"content-type", "application/json"}};
    net::ClientRequest request{
        .address = *address, .method = "POST", .target = target, .headers = headers, .body = body, .host = {}};
    response = co_await client_.Fetch(request, timeout, kAnswerBytesMax);
  } else {
    response = tl::unexpected(address.error());
  }
  if (!response) {
    last_failure_ = source_.url + std::string(target) + ": " + response.error().message;
    retry_at_ = loop_.Now() + kRetryAfter;
    co_return Fail(response.error().code, last_failure_);
  }
  if (response->status != 200) {
    const Code code = response->status >= 500 ? Code::kBadGateway : Code::kInvalidArgument;
    co_return Fail(code, source_.url + std::string(target) + " answered " + std::to_string(response->status) + ": " +
                             response->body.substr(0, kErrorShown));
  }
  co_return Read(response->body);
}

Result<std::vector<RenderClient::Prompt>> RenderClient::Read(std::string_view answer) {
  const auto root = reader_.Parse(answer);
  if (!root) return Fail(Code::kBadGateway, source_.url + ": the answer is not JSON: " + root.error().message);
  std::vector<Prompt> prompts;
  bool ok = true;
  if (root->IsArray()) {
    root->ForEachElement([&](JsonValue one) { return ok = ReadPrompt(one, prompts); });
  } else {
    ok = ReadPrompt(*root, prompts);
  }
  if (!ok || prompts.empty()) return Fail(Code::kBadGateway, source_.url + ": the answer has no token_ids");
  return prompts;
}

Task<Result<std::vector<RenderClient::Prompt>>> RenderClient::Render(parse::Api api, std::string_view body) {
  const std::string_view target = TargetOf(api);
  if (target.empty()) co_return Fail(Code::kUnimplemented, "vLLM does not render this kind of request");
  const auto renamed = parse::RewriteModel(body, source_.model_name);
  if (!renamed) co_return tl::unexpected(renamed.error());
  const Duration timeout = HasParts(body) ? source_.media_timeout : source_.timeout;
  auto prompts = co_await Post(target, *renamed, timeout);
  co_return prompts;
}

Task<Status> RenderClient::WarmUp() {
  std::string body;
  codec::JsonWriter(body).BeginObject().Field("model", source_.model_name).Field("prompt", "warm up").EndObject();
  auto prompts = co_await Post("/v1/completions/render", body, source_.timeout);
  if (!prompts) co_return tl::unexpected(prompts.error());
  co_return Status{};
}

}  // namespace sluice::serving
