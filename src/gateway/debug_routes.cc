// The gateway's routes under /debug/: why it decides as it does.
#include <array>

#include "codec/json/write.h"
#include "gateway/gateway.h"
#include "net/query.h"
#include "openai/error_body.h"
#include "schedule/receipt_text.h"
#include "schedule/shadow.h"

namespace sluice::gateway {

namespace {

constexpr std::string_view kText = "text/plain; charset=utf-8";

bool WantsTable(std::string_view query) { return net::QueryValue(query, "format") == "table"; }

void WriteErrors(codec::JsonWriter& json, std::string_view key, const latency::ErrorReport& report) {
  json.Key(key).BeginObject().Field("samples", report.samples).Field("mape", report.mape).EndObject();
}

}  // namespace

Gateway::Reply Gateway::Decision(std::string_view request_id, std::string_view query) {
  const model::Receipt* receipt = receipts_.Find(request_id);
  if (receipt == nullptr) {
    return {.status = 404,
            .body = openai::ErrorBody({Code::kNotFound,
                                       "no decision with the request id '" + std::string(request_id) +
                                           "' is kept (the last " + std::to_string(receipts_.size()) +
                                           " are); the id is in the answer's x-request-id header",
                                       ""})};
  }
  if (WantsTable(query)) return {.body = schedule::ReceiptTable(*receipt), .type = kText};
  return {.body = schedule::ReceiptJson(*receipt)};
}

// {"pools":[{"name","live","promotion","shadows":[...]}]} (schedule/shadow.h), or the tables one after another.
Gateway::Reply Gateway::PolicyReport(std::string_view query) {
  std::string text;
  if (WantsTable(query)) {
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
Gateway::Reply Gateway::LatencyReport() {
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
Gateway::Reply Gateway::CacheReport(std::string_view query) {
  std::string text;
  if (WantsTable(query)) {
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

// A policy is changed from this machine only: the port that clients talk to has no accounts of its own.
Gateway::Reply Gateway::Promote(std::string_view query, const net::Address& peer) {
  const auto failed = [](const Error& error) {
    return Reply{.status = Info(error.code).http_status, .body = openai::ErrorBody(error)};
  };
  if (!peer.IsLoopback()) {
    return failed({Code::kPermissionDenied, "policies are promoted from the gateway's own machine only", ""});
  }
  const auto pool = pools_.Find(net::QueryValue(query, "pool"));
  if (!pool) return failed(pool.error());
  const std::string before = (*pool)->scheduler().live_name();
  const std::string policy = net::QueryValue(query, "policy");
  if (const Status promoted = (*pool)->Promote(policy); !promoted) return failed(promoted.error());
  std::string text;
  codec::JsonWriter(text).BeginObject().Field("live", policy).Field("shadow", before).EndObject();
  return {.body = std::move(text)};
}

// POST /debug/decide?path=/v1/chat/completions: where this body would go. Nothing is sent and nothing is remembered.
runtime::Task<> Gateway::Ask(net::ServerExchange& exchange, std::string_view request_id) {
  const std::string_view query = exchange.head().query();
  std::string path = net::QueryValue(query, "path");
  if (path.empty()) path = "/v1/chat/completions";
  const auto body = co_await exchange.ReadBody();
  const auto route = pools_.RouteOf(path);
  Error error;
  if (!body) {
    error = body.error();
  } else if (!route) {
    error = route.error();
  } else {
    InferenceCall call(parts_, exchange, *route, request_id);
    const auto receipt = co_await call.Ask(*body, path);
    if (receipt) {
      const bool table = WantsTable(query);
      const std::string text = table ? schedule::ReceiptTable(**receipt) : schedule::ReceiptJson(**receipt);
      const std::array<net::Header, 2> headers = {
          net::Header{"content-type", table ? kText : std::string_view("application/json")},
          net::Header{"x-request-id", request_id}};
      co_await exchange.Respond(200, headers, text);
      co_return;
    }
    error = receipt.error();
  }
  if (!exchange.client_gone()) co_await RespondError(exchange, error, request_id);
}

}  // namespace sluice::gateway
