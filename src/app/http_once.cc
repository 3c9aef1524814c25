#include "app/http_once.h"

#include <array>

#include "codec/json/reader.h"

namespace sluice::app {
namespace {

constexpr size_t kAnswerMax = size_t{64} << 20;
constexpr Duration kTimeout = std::chrono::seconds(5);

runtime::Task<> Ask(runtime::Loop* loop, net::HttpClient* client, net::ClientRequest request,
                    Result<net::FetchResponse>* out) {
  *out = co_await client->Fetch(request, kTimeout, kAnswerMax);
  loop->Stop();
}

Result<net::FetchResponse> Once(std::string_view url, net::ClientRequest request) {
  if (url.starts_with("http://")) url.remove_prefix(7);
  while (url.ends_with('/')) url.remove_suffix(1);
  const auto address = net::Address::Parse(url);
  if (!address) return tl::unexpected(address.error());
  request.address = *address;
  runtime::Loop loop;
  net::HttpClient client(loop, {});
  Result<net::FetchResponse> out = Fail(Code::kInternal, "");
  runtime::TaskScope scope(loop);
  scope.Spawn(Ask(&loop, &client, request, &out));
  loop.Run();
  if (!out && out.error().code == Code::kUnavailable) {
    return Fail(Code::kUnavailable,
                "nothing answers at http://" + address->ToString() + "; start it with `sluice up` or give its --url");
  }
  return out;
}

}  // namespace

Result<net::FetchResponse> GetOnce(std::string_view url, std::string_view target) {
  return Once(url, {.target = target});
}

Result<net::FetchResponse> PostOnce(std::string_view url, std::string_view target, std::string_view body) {
  const std::array<net::Header, 1> headers = {net::Header{"content-type", "application/json"}};
  return Once(url, {.method = "POST", .target = target, .headers = headers, .body = body});
}

Result<std::string> BodyOf(Result<net::FetchResponse> response) {
  if (!response) return tl::unexpected(response.error());
  if (response->status == 200) return std::move(response->body);
  codec::JsonReader reader;
  const auto root = reader.Parse(response->body);
  const auto error = root ? root->Find("error") : std::nullopt;
  const auto message = error ? error->Find("message") : std::nullopt;
  const auto text = message ? message->String() : std::nullopt;
  return Fail(CodeFromHttp(response->status), std::string(text.value_or(response->body)));
}

}  // namespace sluice::app
