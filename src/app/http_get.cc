#include "app/http_get.h"

namespace sluice::app {
namespace {

runtime::Task<> Ask(runtime::Loop* loop, net::HttpClient* client, net::Address address, std::string_view target,
                    Result<net::FetchResponse>* out) {
  *out = co_await client->Fetch({.address = address, .target = target}, std::chrono::seconds(5), size_t{64} << 20);
  loop->Stop();
}

}  // namespace

Result<net::FetchResponse> GetOnce(std::string_view url, std::string_view target) {
  std::string_view text = url;
  if (text.starts_with("http://")) text.remove_prefix(7);
  while (text.ends_with('/')) text.remove_suffix(1);
  const auto address = net::Address::Parse(text);
  if (!address) return tl::unexpected(address.error());
  runtime::Loop loop;
  net::HttpClient client(loop, {});
  Result<net::FetchResponse> out = Fail(Code::kInternal, "");
  runtime::TaskScope scope(loop);
  scope.Spawn(Ask(&loop, &client, *address, target, &out));
  loop.Run();
  if (!out && out.error().code == Code::kUnavailable) {
    return Fail(Code::kUnavailable,
                "nothing answers at http://" + address->ToString() + "; start it with `sluice up` or give its --url");
  }
  return out;
}

}  // namespace sluice::app
