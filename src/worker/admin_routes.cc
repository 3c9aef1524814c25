// Routes that ask about the worker itself: models, health, version, load, metrics, the prefix cache, KV event sources.
#include <array>

#include "codec/json/write.h"
#include "openai/error_body.h"
#include "worker/worker_context.h"

namespace sluice::worker {

using net::Header;
using net::ServerExchange;
using runtime::Task;

Task<> HandleModels(WorkerContext& context, ServerExchange& exchange, RequestRecord& /*record*/) {
  const ModelInfo& model = context.engine.Model();
  std::vector<openai::ModelCard> cards;
  for (const std::string& name : context.limits.names) {
    openai::ModelCard card{name, model.path, {}, openai::MakeId("modelperm-", "", context.rng)};
    for (const LoraModule& lora : model.loras) {
      if (lora.name != name) continue;
      card.root = lora.path;
      card.parent = context.model_name;
    }
    cards.push_back(std::move(card));
  }
  co_await RespondJson(exchange, 200, openai::ModelsBody(cards, context.started, model.max_model_len));
}

Task<> HandleHealth(WorkerContext& context, ServerExchange& exchange, RequestRecord& /*record*/) {
  const bool well = context.engine.Healthy() && !context.draining;
  co_await exchange.Respond(well ? 200 : 503, {}, "");
}

Task<> HandleVersion(WorkerContext& context, ServerExchange& exchange, RequestRecord& /*record*/) {
  std::string body;
  codec::JsonWriter(body).BeginObject().Field("version", context.options.version).EndObject();
  co_await RespondJson(exchange, 200, std::move(body));
}

Task<> HandleLoad(WorkerContext& context, ServerExchange& exchange, RequestRecord& /*record*/) {
  std::string body;
  codec::JsonWriter(body).BeginObject().Field("server_load", context.generating).EndObject();
  co_await RespondJson(exchange, 200, std::move(body));
}

Task<> HandleMetrics(WorkerContext& context, ServerExchange& exchange, RequestRecord& /*record*/) {
  static constexpr std::array<Header, 1> kHeaders = {
      Header{"content-type", "text/plain; version=0.0.4; charset=utf-8"}};
  const std::string text = context.metrics.Render(context.engine.Stats(), context.loop.UnixSeconds());
  co_await exchange.Respond(200, kHeaders, text);
}

Task<> HandleResetPrefixCache(WorkerContext& context, ServerExchange& exchange, RequestRecord& /*record*/) {
  std::string body;
  codec::JsonWriter(body).BeginObject().Field("success", context.engine.ResetPrefixCache()).EndObject();
  co_await RespondJson(exchange, 200, std::move(body));
}

Task<> HandleKvEventSources(WorkerContext& context, ServerExchange& exchange, RequestRecord& /*record*/) {
  const kvindex::PublisherOptions& events = context.options.kv_events;
  std::string body;
  codec::JsonWriter writer(body);
  writer.BeginObject();
  if (events.enable_kv_cache_events) {
    writer.Key("0").BeginObject().Field("enable_kv_cache_events", true).Field("publisher", events.publisher);
    writer.Field("endpoint", events.endpoint).Key("replay_endpoint");
    if (events.replay_endpoint.empty())
      writer.Null();
    else
      writer.String(events.replay_endpoint);
    writer.Field("buffer_steps", events.buffer_steps).Field("hwm", events.hwm);
    writer.Field("max_queue_size", events.max_queue_size).Field("topic", events.topic).EndObject();
  }
  writer.EndObject();
  co_await RespondJson(exchange, 200, std::move(body));
}

}  // namespace sluice::worker
