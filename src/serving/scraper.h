// Scraper: asks every endpoint of a pool for its metrics and its models, writes what it learns into the EndpointSet and
// reports to the endpoints' health. It knows nothing of policies but the data sources and extractors that one names.
//
// An endpoint's sources are asked one after another, each within a second, over connections of their own that are kept.
// What goes wrong (no connection, silence, a status other than 200, a page that is too large, broken off or not HTTP, a
// page without the engine's metrics, a value that makes no sense) is counted by source and extractor, logged when it
// begins and when it ends, and leaves the former values with their age.
//
// All endpoints of a tick are asked together and their answers are collected together a few milliseconds later, so an
// idle scrape is one send and one recv, and a tick two wake-ups. The age of numbers counts from the asking.
// Scraping takes at most `cpu_share_max` of the thread; when that is not enough for the interval, the period grows, and
// a log line and a gauge say to what.
//
// Thread rule: the loop's thread. Ownership: borrows loop, client, metrics and set; its tasks end with it.
// Cost: docs/perf/scrape.md. Limits: kRunningMax questions at a time, 8 MiB a page, 1,000 models an endpoint.
#pragma once

#include <deque>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/rng.h"
#include "codec/json/reader.h"
#include "net/http_client.h"
#include "net/wire.h"
#include "pool/dialect.h"
#include "pool/endpoint_set.h"
#include "schedule/config.h"
#include "serving/router_metrics.h"

namespace sluice::serving {

struct ServedModel {
  std::string id;
  std::string json;  // the endpoint's own entry of /v1/models
};

class Scraper {
 public:
  struct Options {
    std::string pool;                            // for logs and metrics
    Duration interval;                           // of sources that do not set one
    double cpu_share_max = 0.25;                 // of the loop's thread
    Duration timeout = std::chrono::seconds(1);  // of one source
    size_t page_bytes_max = size_t{8} << 20;
  };
  static constexpr size_t kRunningMax = 2048;

  Scraper(runtime::Loop& loop, net::HttpClient& client, RouterMetrics& metrics, pool::EndpointSet& set,
          Options options);
  ~Scraper();
  Scraper(const Scraper&) = delete;

  // Encrypts what is asked of https endpoints, but of sources that name a scheme themselves. `name`: that endpoints'
  // certificates must have; empty: their address. Before such an endpoint is added.
  void UseTls(std::shared_ptr<const net::TlsContext> tls, std::string name) {
    tls_ = std::move(tls);
    tls_name_ = std::move(name);
  }
  // What to ask and how to read it: from each endpoint's next round on. Called at start and when the configuration is
  // exchanged; on failure everything stays as it was. Keeps the policy, whose plugins it reads, alive.
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
  // Grows whenever the names of some endpoint's models change, come or go.
  uint64_t models_version() const { return models_version_; }

 private:
  struct Plan;  // what a configuration asks for
  struct Connection;
  struct Poll;     // one source at one endpoint
  struct Watched;  // an endpoint with its polls and the task that runs them
  struct Page {
    int status = 0;
    std::string_view body;  // until the next wait
    TimePoint asked;
  };
  struct Meter;  // charges the time of its life to the budget
  enum class Step : uint8_t { kWait, kDone, kFailed };

  // When to ask: one timer for all endpoints.
  runtime::Task<> Tick();
  runtime::Task<> Collect();
  void QueueDue(TimePoint now);
  void StartQueued(TimePoint now);
  void ReportPeriod(TimePoint now);

  // Asking.
  runtime::Task<> Watch(Watched* endpoint);
  Result<std::shared_ptr<const net::TlsContext>> TlsOf(const schedule::MetricsDataSource& source) const;
  runtime::Task<Result<net::Wire>> Connect(const Connection& connection, runtime::Source& expired);
  runtime::Task<Result<Page>> Ask(Watched* endpoint, Poll* poll);
  runtime::Task<Result<Page>> AskOnce(Watched* endpoint, Poll* poll, bool collect);
  Status Send(Poll& poll);
  Step Receive(Watched& endpoint, Poll& poll, Page& page, Error& error);
  void MakePolls(Watched& endpoint);
  void Close(Connection& connection);
  void GiveBuffer(std::string buffer);

  // Reading. Each returns what was wrong with the page, empty when nothing.
  std::string Read(Watched& endpoint, Poll& poll, const Page& page);
  std::string ReadMetrics(Watched& endpoint, Poll& poll, const Page& page);
  std::string ReadDcgm(Watched& endpoint, Poll& poll, const Page& page);
  std::string ReadModels(Watched& endpoint, const Page& page);
  void Complain(Watched& endpoint, Poll& poll, std::string problem);

  void NoteFailure(Watched& endpoint, const Error& error);
  void NoteSuccess(Watched& endpoint);
  Watched* Find(model::EndpointId id) const;

  runtime::Loop& loop_;
  net::HttpClient& client_;
  std::shared_ptr<const net::TlsContext> tls_;
  std::string tls_name_;
  RouterMetrics& metrics_;
  pool::EndpointSet& set_;
  Options options_;
  SystemClock clock_;
  Rng rng_;
  codec::JsonReader reader_;
  std::shared_ptr<const Plan> plan_;
  std::set<std::string> recognised_;  // engines whose recognition was said

  std::deque<model::EndpointId> queue_;  // due, not yet asked
  std::vector<model::EndpointId> sent_;  // asked, answers not yet collected
  std::vector<model::EndpointId> collecting_;
  std::vector<std::string> buffers_;  // of pages that came in pieces
  std::vector<std::string_view> pieces_;
  size_t running_ = 0;
  size_t open_ = 0;  // connections; over half of the process's descriptors, answered ones are closed
  size_t open_max_;
  TimePoint next_tick_{};
  TimePoint refilled_{};
  Duration budget_{0};
  Duration spent_{0};  // since `cost_` was last measured, by `rounds_` rounds
  int64_t rounds_ = 0;
  Duration cost_ = std::chrono::microseconds(20);  // of one round
  Duration late_{0};                               // summed over `late_rounds_` since `period_from_`
  int64_t late_rounds_ = 0;
  TimePoint period_from_{};
  TimePoint warn_again_{};
  runtime::Timer tick_timer_;
  runtime::Timer collect_timer_;
  bool collect_armed_ = false;

  std::vector<std::unique_ptr<Watched>> watched_;  // by slot; null: nobody
  uint64_t models_version_ = 0;
  bool started_ = false;
  runtime::TaskScope tasks_;  // last: its tasks refer to the rest
};

}  // namespace sluice::serving
