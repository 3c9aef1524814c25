// The gateway's own GET routes: what it serves and in what state its endpoints are.
#include <cmath>

#include "codec/json/write.h"
#include "gateway/gateway.h"

namespace sluice::gateway {

std::string Gateway::ModelsBody() {
  std::map<std::string, std::string> all;
  for (const auto& pool : pools_.all()) {
    for (auto& [id, json] : pool->Models()) all.emplace(id, json);
  }
  std::string body = R"({"object":"list","data":[)";
  bool first = true;
  for (const auto& [id, json] : all) {
    if (!first) body += ',';
    first = false;
    body += json;
  }
  body += "]}";
  return body;
}

bool Gateway::Ready(bool all_endpoints) {
  if (server_.draining()) return false;
  for (const auto& pool : pools_.all()) {
    if (!(all_endpoints ? pool->AllReady() : pool->Ready())) return false;
  }
  return true;
}

// {"pools":[{"name","endpoints":[{"name","namespace","address","in_rotation","waiting","running","kv_usage","models",
// "data_age_ms"}]}]}; data_age_ms is null before the first scrape.
std::string Gateway::EndpointsBody() {
  std::string body;
  codec::JsonWriter json(body);
  json.BeginObject().Key("pools").BeginArray();
  for (const auto& pool : pools_.all()) {
    const std::shared_ptr<const model::PoolView> shared = pool->View();
    const model::PoolView& view = *shared;
    json.BeginObject().Field("name", pool->name()).Key("endpoints").BeginArray();
    for (size_t row = 0; row < view.size(); ++row) {
      const model::Endpoint& endpoint = view.endpoint(row);
      json.BeginObject().Field("name", endpoint.name).Field("namespace", endpoint.ns);
      json.Field("address", endpoint.host_port()).Field("in_rotation", view.in_rotation[row] != 0);
      json.Field("waiting", view.waiting[row])
          .Field("running", view.running[row])
          .Field("kv_usage", std::round(view.kv_usage[row] * 1e4) / 1e4);
      json.Key("models").BeginArray();
      if (const auto* models = pool->ModelsOf(view.id(row))) {
        for (const auto& model : *models) json.String(model.id);
      }
      json.EndArray().Key("data_age_ms");
      if (view.scraped_at[row] == model::EndpointState::kNever) {
        json.Null();
      } else {
        json.Double(Seconds(loop_.Now() - view.scraped_at[row]) * 1e3);
      }
      json.EndObject();
    }
    json.EndArray().EndObject();
  }
  json.EndArray().EndObject();
  return body;
}

}  // namespace sluice::gateway
