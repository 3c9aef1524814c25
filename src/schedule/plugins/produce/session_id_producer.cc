#include "schedule/plugins/produce/session_id_producer.h"

#include "base/text.h"

namespace sluice::schedule {
namespace {

constexpr ParamSpec kParams[] = {
    {.name = "headerName", .type = ParamType::kString, .help = "request header that names the session"},
    {.name = "cookieName", .type = ParamType::kString, .help = "cookie that names the session"},
};

// HTTP/2 lets a client send each cookie as a header of its own, so all of them are looked through; the first wins.
std::string_view CookieOf(const model::Request& request, std::string_view name) {
  for (const auto& [header, value] : request.headers) {
    if (!EqualsIgnoreCase(header, "cookie")) continue;
    for (const std::string_view pair : Split(value, ';')) {
      const size_t equals = pair.find('=');
      if (equals != std::string_view::npos && TrimSpace(pair.substr(0, equals)) == name) return pair.substr(equals + 1);
    }
  }
  return {};
}

}  // namespace

constinit const PluginInfo SessionIdProducer::kInfo = {
    .type = "session-id-producer",
    .help = "The session that a request belongs to, from a header or a cookie: exactly one of the two is set.",
    .params = kParams,
    .make = MakeChecked<SessionIdProducer>};

SessionIdProducer::SessionIdProducer(const PluginInfo& info, std::string name, const Params& params,
                                     codec::yaml::Problems& problems)
    : Plugin(info, std::move(name)),
      header_(TrimSpace(params.String("headerName"))),
      cookie_(TrimSpace(params.String("cookieName"))) {
  if (header_.empty() == cookie_.empty()) {
    problems.Error(params.line(), params.path(), "exactly one of headerName and cookieName must be set");
  }
}

Status SessionIdProducer::Produce(const DecisionInput& in, const Candidates&, Data& out) const {
  const std::string_view value = header_.empty() ? CookieOf(in.request, cookie_) : in.request.Header(header_);
  static_cast<SessionId&>(out).value = TrimSpace(value);
  return {};
}

}  // namespace sluice::schedule
