// ServingPool: one pool of endpoints and the policy that chooses among them: endpoints from a file (reloaded on change)
// or given at start, metrics and model names scraped from each, health kept from scrapes and from what requests met.
// Thread rule: the loop's thread. Ownership: borrows loop and client; its tasks end with it.
// Cost: one request an endpoint a scrape interval; a snapshot of about 40 bytes an endpoint a change.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/rng.h"
#include "codec/json/reader.h"
#include "gateway/gateway_metrics.h"
#include "net/http_client.h"
#include "parse/parser_table.h"
#include "pool/dialect.h"
#include "pool/endpoint_set.h"
#include "schedule/config.h"
#include "schedule/decide.h"

namespace sluice::gateway {

struct PoolOptions {
  std::string name = "default";
  std::string config_path;                 // EndpointPickerConfig; empty: upstream's default
  std::string endpoints_path;              // overrides the configuration's file-discovery; empty: that one's
  std::vector<model::Endpoint> endpoints;  // given on the command line
  Duration scrape_interval = std::chrono::milliseconds(50);
  bool allow_experimental_plugins = false;
};

class ServingPool {
 public:
  // Reads the configuration and the endpoint file; what is wrong with either is the error.
  static Result<std::unique_ptr<ServingPool>> Open(runtime::Loop& loop, net::HttpClient& client,
                                                   GatewayMetrics& metrics, PoolOptions options);
  ~ServingPool();
  ServingPool(const ServingPool&) = delete;

  // Begins scraping and watching.
  void Start();

  const std::string& name() const { return options_.name; }
  const schedule::LoadedConfig& config() const { return config_; }
  // Of the configuration's request parsers.
  const parse::ParserTable& parsers() const { return parsers_; }
  schedule::PolicyState& state() { return state_; }
  std::shared_ptr<const model::PoolView> View() { return set_.View(); }

  // Whether an endpoint serves `model`; endpoints that have not said yet are not counted.
  bool Serves(std::string_view model) const;
  // Endpoints that are known not to serve `model`.
  void ExcludeOthers(std::string_view model, std::vector<model::EndpointId>& excluded) const;
  bool AnyModelKnown() const;
  // At least one endpoint is in rotation and has told its models.
  bool Ready() const;
  bool AllReady() const;  // every one

  // What a request met at the endpoint.
  void Failed(model::EndpointId id, const Error& error);
  void Answered(model::EndpointId id);

  struct ServedModel {
    std::string id;
    std::string json;  // the endpoint's own entry of /v1/models
  };
  const std::vector<ServedModel>* ModelsOf(model::EndpointId id) const;
  // The union over endpoints in rotation, by name.
  std::map<std::string, std::string> Models() const;

 private:
  // An endpoint with the tasks that watch it; gone together.
  struct Watched;

  ServingPool(runtime::Loop& loop, net::HttpClient& client, GatewayMetrics& metrics, PoolOptions options,
              schedule::LoadedConfig config, parse::ParserTable parsers, pool::DialectTable dialects);
  Status LoadEndpoints(bool first);
  Status Apply(std::vector<model::Endpoint> endpoints);
  runtime::Task<> WatchFile();
  runtime::Task<> Watch(Watched* endpoint);
  runtime::Task<Status> ScrapeMetrics(Watched* endpoint);
  runtime::Task<Status> ScrapeModels(Watched* endpoint);
  void NoteFailure(Watched& endpoint, const Error& error);
  void NoteSuccess(Watched& endpoint);
  Watched* Find(model::EndpointId id) const;
  bool IsReady(const Watched& endpoint) const;

  runtime::Loop& loop_;
  net::HttpClient& client_;
  GatewayMetrics& metrics_;
  PoolOptions options_;
  schedule::LoadedConfig config_;
  parse::ParserTable parsers_;
  pool::DialectTable dialects_;
  schedule::PolicyState state_;
  pool::EndpointSet set_;
  Rng rng_;
  std::string endpoints_path_;  // empty: none is watched
  std::string endpoints_text_;  // as last read
  codec::JsonReader reader_;
  std::vector<std::unique_ptr<Watched>> watched_;
  bool started_ = false;
  runtime::TaskScope watcher_;  // last: its task refers to the rest
};

}  // namespace sluice::gateway
