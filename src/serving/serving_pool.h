// ServingPool: one pool of endpoints and the policy that chooses among them: endpoints from a file (reloaded on
// change), or given at start. The Scraper asks them for metrics and models and keeps their health; the pool asks the
// Scraper. Thread rule: the loop's thread. Ownership: borrows loop and client; its tasks end with it. Cost: the
// scraper's; a snapshot of about 40 bytes an endpoint a change.
#pragma once

#include <fstream>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "net/http_client.h"
#include "parse/parser_table.h"
#include "pool/endpoint_set.h"
#include "schedule/config.h"
#include "schedule/scheduler.h"
#include "serving/cache_feed.h"
#include "serving/name_discovery.h"
#include "serving/policy_files.h"
#include "serving/prompt_tokens.h"
#include "serving/router_metrics.h"
#include "serving/scraper.h"

namespace sluice::serving {

struct PoolOptions {
  std::string name = "default";
  std::string config_path;                 // EndpointPickerConfig; empty: upstream's default
  std::string endpoints_path;              // overrides the configuration's file-discovery; empty: that one's
  std::vector<model::Endpoint> endpoints;  // given on the command line
  std::vector<EndpointName> names;         // likewise, as DNS names
  net::Resolver::Options resolver;
  model::Scheme scheme = model::Scheme::kHttp;  // of endpoints that do not say theirs
  net::TlsContext::ClientOptions tls;           // with https
  std::string tls_name;                         // that their certificates must have; empty: their address
  Duration scrape_interval = std::chrono::milliseconds(50);
  bool allow_experimental_plugins = false;
  std::string objects_path;                                  // InferenceObjectives and InferenceModelRewrites
  std::vector<std::pair<std::string, std::string>> shadows;  // name and EndpointPickerConfig of each shadow policy
  std::string decision_log_path;                             // empty: none is written
  uint64_t decision_log_bytes_max = uint64_t{256} << 20;
  std::string state_path;  // what the latency model learned, kept over a restart; empty: it is not kept
  std::shared_ptr<kvindex::MemoryBudget> cache_memory;  // of the KV indexes of all pools; null: a limit of its own
  uint64_t seed = 0;                                    // of the policies' random numbers; 0: the system's
};

class ServingPool {
 public:
  // Reads the configuration and the endpoint file; what is wrong with either is the error.
  static Result<std::unique_ptr<ServingPool>> Open(runtime::Loop& loop, net::HttpClient& client, RouterMetrics& metrics,
                                                   PoolOptions options);
  ~ServingPool();
  ServingPool(const ServingPool&) = delete;

  // Begins scraping and watching.
  void Start();
  // Makes a shadow policy the live one (schedule::Scheduler::Promote).
  Status Promote(std::string_view policy);
  // How an endpoint of View() is spoken to; null: HTTP/1.1 in clear text.
  const net::ClientTransport* TransportTo(const model::Endpoint& endpoint) const;
  // Writes what is kept over a restart.
  void SaveState();

  const std::string& name() const { return options_.name; }
  const schedule::LoadedConfig& config() const { return scheduler_.config(); }
  schedule::Scheduler& scheduler() { return scheduler_; }
  const CacheFeed& cache() const { return *cache_; }
  const pool::InferenceObjects& objects() const { return objects_; }
  // Of an objective's name: what its InferenceObjective says; without one, the criticality names that came before
  // objectives stand for priorities (critical 1, sheddable -1), anything else for 0.
  int32_t PriorityOf(std::string_view objective) const;
  // Null: the configuration does not ask for exact tokens.
  const std::shared_ptr<PromptTokens>& prompt_tokens() const { return prompt_tokens_; }
  // Of the configuration's request parsers.
  const parse::ParserTable& parsers() const { return parsers_; }
  // The endpoints and their latest numbers. In a pool of more than 1,000, numbers may be a few milliseconds older than
  // what the last scrape said (1 ms for each 1,000 endpoints): a snapshot costs as much as a decision there.
  std::shared_ptr<const model::PoolView> View();

  // Whether an endpoint serves `model`; endpoints that have not said yet are not counted. Then `excluded` gets those
  // that are known not to serve it.
  bool Serves(std::string_view model, std::vector<model::EndpointId>& excluded) const;
  bool AnyModelKnown() const;
  // At least one endpoint is in rotation and has told its models.
  bool Ready() const;
  bool AllReady() const;  // every one

  // What a request met at the endpoint.
  void Failed(model::EndpointId id, const Error& error) { scraper_.Failed(id, error); }
  void Answered(model::EndpointId id) { scraper_.Answered(id); }

  // Null while the endpoint has not told them.
  const std::vector<ServedModel>* ModelsOf(model::EndpointId id) const { return scraper_.ModelsOf(id); }
  // The union over endpoints in rotation, by name.
  std::map<std::string, std::string> Models() const;

 private:
  // Where a model is served; remembered until some endpoint's models change.
  struct ModelUse {
    bool any_known = false;
    bool served = false;
    std::vector<model::EndpointId> others;  // known not to serve it
  };

  ServingPool(runtime::Loop& loop, net::HttpClient& client, RouterMetrics& metrics, PoolOptions options,
              PolicyFiles files, schedule::LoadedConfig config, parse::ParserTable parsers);
  Status LoadEndpoints(bool first);
  Status OpenNames();
  Status OpenTls();
  Status ApplyListed();
  Status Apply(std::vector<model::Endpoint> endpoints);
  runtime::Task<> WatchFiles();
  void LookAtEndpoints(std::string& last_problem);
  Status OpenDecisionLog();
  void RestoreState();
  // Carries out a new configuration of a policy.
  Status ApplyPolicy(PolicyFiles::Change change);
  void UseLivePolicy();
  Status OpenTokens();
  const ModelUse& UseOf(std::string_view model) const;
  bool IsReady(model::EndpointId id) const;

  runtime::Loop& loop_;
  const net::ClientTransport h2c_ = net::ClientTransport::H2c();
  std::optional<net::ClientTransport> tls_;  // once an endpoint is https
  net::HttpClient& client_;
  PoolOptions options_;
  RouterMetrics& metrics_;
  PolicyFiles files_;
  parse::ParserTable parsers_;
  SystemClock clock_;
  std::shared_ptr<CacheFeed> cache_;
  schedule::Scheduler scheduler_;
  pool::InferenceObjects objects_;
  std::ofstream decision_log_;
  pool::EndpointSet set_;
  TimePoint viewed_at_{};
  Scraper scraper_;
  mutable std::map<std::string, ModelUse, std::less<>> uses_;
  mutable uint64_t uses_models_version_ = 0;
  std::string endpoints_path_;           // empty: none is watched
  std::string endpoints_text_;           // as last read
  std::vector<model::Endpoint> listed_;  // on the command line or in the configuration
  std::vector<EndpointName> names_in_use_;
  std::unique_ptr<NameDiscovery> names_;  // null: no names
  std::shared_ptr<PromptTokens> prompt_tokens_;
  bool started_ = false;
  runtime::TaskScope watcher_;  // last: its task refers to the rest
};

}  // namespace sluice::serving
