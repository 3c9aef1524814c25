#include "serving/debug_routes.h"

#include <cmath>

#include "codec/json/write.h"
#include "net/query.h"
#include "openai/error_body.h"
#include "schedule/receipt_text.h"
#include "schedule/shadow.h"

namespace sluice::serving {
namespace {

void WriteErrors(codec::JsonWriter& json, std::string_view key, const latency::ErrorReport& report) {
  json.Key(key).BeginObject().Field("samples", report.samples).Field("mape", report.mape).EndObject();
}

}  // namespace

bool WantsTable(std::string_view query) { return net::QueryValue(query, "format") == "table"; }

std::optional<HttpReply> DebugRoutes::Get(std::string_view path, std::string_view query) const {
  constexpr std::string_view kDecisions = "/debug/decisions/";
  const bool table = WantsTable(query);
  if (path == "/metrics") return Metrics();
  if (path == "/debug/endpoints") return Endpoints();
  if (path == "/debug/policy") return Policy(table);
  if (path == "/debug/latency") return Latency();
  if (path == "/debug/cache") return Cache(table);
  if (path.starts_with(kDecisions)) return Decision(path.substr(kDecisions.size()), table);
  return std::nullopt;
}

HttpReply DebugRoutes::Metrics() const {
  for (const auto& pool : pools_.all()) {
    metrics_.Pool(pool->name(), *pool->View(), loop_.Now());
    metrics_.Latency(pool->name(), pool->scheduler().latency().model().Describe());
  }
  return {.body = registry_.Render(), .type = "text/plain; version=0.0.4; charset=utf-8"};
}

// {"pools":[{"name","endpoints":[{"name","namespace","address","scheme","in_rotation","waiting","running","kv_usage","models",
// "data_age_ms"}]}]}; data_age_ms is null before the first scrape.
HttpReply DebugRoutes::Endpoints() const {
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
      json.Field("address", endpoint.host_port()).Field("scheme", model::Name(endpoint.scheme));
      json.Field("in_rotation", view.in_rotation[row] != 0);
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
  return {.body = std::move(body)};
}

HttpReply DebugRoutes::Decision(std::string_view request_id, bool table) const {
  const model::Receipt* receipt = receipts_.Find(request_id);
  if (receipt == nullptr) {
    return {.status = 404,
            .body = openai::ErrorBody({Code::kNotFound,
                                       "no decision with the request id '" + std::string(request_id) +
                                           "' is kept (the last " + std::to_string(receipts_.size()) +
                                           " are); the id is in the x-request-id header",
                                       ""})};
  }
  if (table) return {.body = schedule::ReceiptTable(*receipt), .type = kText};
  return {.body = schedule::ReceiptJson(*receipt)};
}

// {"pools":[{"name","live","promotion","shadows":[...]}]} (schedule/shadow.h), or the tables one after another.
HttpReply DebugRoutes::Policy(bool table) const {
  std::string text;
  if (table) {
    for (const auto& pool : pools_.all()) {
      if (pools_.all().size() > 1) text += "pool " + pool->name() + "\n";
      text += schedule::ShadowReportTable(pool->scheduler().Report());
    }
    return {.body = std::move(text), .type = kText};
  }
  codec::JsonWriter json(text);
  json.BeginObject().Key("pools").BeginArray();
  for (const auto& pool : pools_.all()) {
    json.BeginObject().Field("name", pool->name()).Key("policy");
    json.Raw(schedule::ShadowReportJson(pool->scheduler().Report())).EndObject();
  }
  json.EndArray().EndObject();
  return {.body = std::move(text)};
}

// {"pools":[{"name","kinds":[{"kind","prefill_tokens_per_s","overhead_ms","step_ms",...,"ttft":{samples,mape},"itl"}]}]}
HttpReply DebugRoutes::Latency() const {
  std::string text;
  codec::JsonWriter json(text);
  json.BeginObject().Key("pools").BeginArray();
  for (const auto& pool : pools_.all()) {
    json.BeginObject().Field("name", pool->name()).Key("kinds").BeginArray();
    for (const latency::KindDescription& kind : pool->scheduler().latency().model().Describe()) {
      if (kind.ttft.samples == 0 && kind.itl.samples == 0) continue;
      json.BeginObject().Field("kind", kind.name).Field("prefill_tokens_per_s", kind.prefill_tokens_per_s);
      json.Field("overhead_ms", kind.overhead_ms).Field("step_ms", kind.step_ms);
      json.Field("step_ms_per_sequence", kind.step_ms_per_sequence);
      json.Field("step_ms_per_1k_resident", kind.step_ms_per_1k_resident);
      json.Field("attention_ms_per_16k", kind.attention_ms_per_16k);
      WriteErrors(json, "ttft", kind.ttft);
      WriteErrors(json, "itl", kind.itl);
      json.EndObject();
    }
    json.EndArray().EndObject();
  }
  json.EndArray().EndObject();
  return {.body = std::move(text)};
}

// {"pools":[{"name","indexes":[...]}]} (cache_report.cc), or the tables one after another.
HttpReply DebugRoutes::Cache(bool table) const {
  std::string text;
  if (table) {
    for (const auto& pool : pools_.all()) text += pool->cache().Table();
    if (text.empty()) text = "no policy reads KV events: none has a precise-prefix-cache-producer\n";
    return {.body = std::move(text), .type = kText};
  }
  codec::JsonWriter json(text);
  json.BeginObject().Key("pools").BeginArray();
  for (const auto& pool : pools_.all()) {
    json.BeginObject().Field("name", pool->name()).Key("indexes");
    pool->cache().Write(json);
    json.EndObject();
  }
  json.EndArray().EndObject();
  return {.body = std::move(text)};
}

}  // namespace sluice::serving
