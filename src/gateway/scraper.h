// Scraper: asks every endpoint of a pool for its metrics and its models, writes what it learns into the EndpointSet and
// reports to the endpoints' health. It knows nothing of policies but the data sources and extractors that one names.
// Thread rule: the loop's thread. Ownership: borrows loop, client, metrics and set; its tasks end with it.
// Cost: one request an endpoint a scrape interval.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/rng.h"
#include "codec/json/reader.h"
#include "gateway/gateway_metrics.h"
#include "net/http_client.h"
#include "pool/dialect.h"
#include "pool/endpoint_set.h"
#include "schedule/config.h"

namespace sluice::gateway {

struct ServedModel {
  std::string id;
  std::string json;  // the endpoint's own entry of /v1/models
};

class Scraper {
 public:
  struct Options {
    std::string pool;  // for logs and metrics
    Duration interval;
  };

  Scraper(runtime::Loop& loop, net::HttpClient& client, GatewayMetrics& metrics, pool::EndpointSet& set,
          Options options);
  ~Scraper();
  Scraper(const Scraper&) = delete;

  // What to ask and how to read it: from the next round on. Called at start and when the configuration is exchanged;
  // on failure everything stays as it was. Keeps the policy, whose plugins it reads, alive.
  Status Use(const schedule::LoadedConfig& config);

  // Endpoints of the set that came or went. Nothing is asked before Start().
  void Add(model::EndpointId id);
  void Remove(model::EndpointId id);
  void Start();

  // What a request met at an endpoint; counts like a scrape's outcome.
  void Failed(model::EndpointId id, const Error& error);
  void Answered(model::EndpointId id);

  // Null while the endpoint has not told its models.
  const std::vector<ServedModel>* ModelsOf(model::EndpointId id) const;
  // Grows whenever some endpoint's models change, come or go.
  uint64_t models_version() const { return models_version_; }

 private:
  // An endpoint with the task that watches it; gone together.
  struct Watched;

  runtime::Task<> Watch(Watched* endpoint);
  runtime::Task<Status> ScrapeMetrics(Watched* endpoint);
  runtime::Task<Status> ScrapeModels(Watched* endpoint);
  void NoteFailure(Watched& endpoint, const Error& error);
  void NoteSuccess(Watched& endpoint);
  Watched* Find(model::EndpointId id) const;

  runtime::Loop& loop_;
  net::HttpClient& client_;
  GatewayMetrics& metrics_;
  pool::EndpointSet& set_;
  Options options_;
  std::shared_ptr<const schedule::Policy> policy_;  // owns what `bindings_` points to
  std::vector<schedule::MetricsBinding> bindings_;
  pool::DialectTable dialects_;
  Rng rng_;
  codec::JsonReader reader_;
  std::vector<std::unique_ptr<Watched>> watched_;  // by slot; null: nobody
  uint64_t models_version_ = 0;
  bool started_ = false;
};

}  // namespace sluice::gateway
