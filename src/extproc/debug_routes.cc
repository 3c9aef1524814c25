// The picker's metrics port: /metrics, and /debug/ for why it decides as it does.
#include <array>

#include "codec/json/write.h"
#include "extproc/picker.h"
#include "net/query.h"
#include "openai/error_body.h"
#include "schedule/receipt_text.h"
#include "schedule/shadow.h"

namespace sluice::extproc {

namespace {
constexpr std::string_view kText = "text/plain; charset=utf-8";
}  // namespace

runtime::Task<> Picker::Handle(net::ServerExchange& exchange) {
  const net::MessageHead& head = exchange.head();
  Reply reply{.status = 405, .body = openai::DetailBody("Method Not Allowed")};
  if (head.method == "GET" || head.method == "HEAD") reply = Route(head.path(), head.query());
  const std::array<net::Header, 1> headers = {net::Header{"content-type", reply.type}};
  co_await exchange.Respond(reply.status, headers, reply.body);
}

Picker::Reply Picker::Route(std::string_view path, std::string_view query) {
  constexpr std::string_view kDecisions = "/debug/decisions/";
  const bool table = net::QueryValue(query, "format") == "table";
  if (path == "/metrics") {
    metrics_.Pool(pool_->name(), *pool_->View(), loop_.Now());
    return {.body = registry_.Render(), .type = "text/plain; version=0.0.4; charset=utf-8"};
  }
  if (path == "/debug/endpoints") return {.body = EndpointsBody()};
  if (path == "/debug/policy") return PolicyReport(table);
  if (path.starts_with(kDecisions)) return Decision(path.substr(kDecisions.size()), table);
  return {.status = 404, .body = openai::DetailBody("Not Found")};
}

Picker::Reply Picker::Decision(std::string_view request_id, bool table) const {
  const model::Receipt* receipt = receipts_.Find(request_id);
  if (receipt == nullptr) {
    return {.status = 404,
            .body = openai::ErrorBody({Code::kNotFound,
                                       "no decision with the request id '" + std::string(request_id) +
                                           "' is kept (the last " + std::to_string(receipts_.size()) +
                                           " are); the id is in the request's x-request-id header",
                                       ""})};
  }
  if (table) return {.body = schedule::ReceiptTable(*receipt), .type = kText};
  return {.body = schedule::ReceiptJson(*receipt)};
}

Picker::Reply Picker::PolicyReport(bool table) const {
  const schedule::ShadowReport report = pool_->scheduler().Report();
  if (table) return {.body = schedule::ShadowReportTable(report), .type = kText};
  return {.body = schedule::ShadowReportJson(report)};
}

// {"pools":[{"name","endpoints":[{"name","address","in_rotation","waiting","running","kv_usage","models"}]}]}, as the
// gateway's.
std::string Picker::EndpointsBody() {
  const std::shared_ptr<const model::PoolView> view = pool_->View();
  std::string body;
  codec::JsonWriter json(body);
  json.BeginObject().Key("pools").BeginArray().BeginObject().Field("name", pool_->name());
  json.Key("endpoints").BeginArray();
  for (size_t row = 0; row < view->size(); ++row) {
    json.BeginObject().Field("name", view->endpoint(row).name).Field("address", view->endpoint(row).host_port());
    json.Field("in_rotation", view->in_rotation[row] != 0).Field("waiting", view->waiting[row]);
    json.Field("running", view->running[row]).Field("kv_usage", view->kv_usage[row]).Key("models").BeginArray();
    if (const auto* models = pool_->ModelsOf(view->id(row))) {
      for (const auto& model : *models) json.String(model.id);
    }
    json.EndArray().EndObject();
  }
  json.EndArray().EndObject().EndArray().EndObject();
  return body;
}

}  // namespace sluice::extproc
