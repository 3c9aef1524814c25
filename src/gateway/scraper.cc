#include "gateway/scraper.h"

#include <algorithm>

#include "observe/log.h"

namespace sluice::gateway {

using observe::Level;
using observe::Log;
using runtime::Task;

namespace {

constexpr std::string_view kModule = "pool";
constexpr size_t kScrapeBytesMax = size_t{8} << 20;
constexpr size_t kModelsMax = 1000;  // of one endpoint
constexpr Duration kScrapeTimeout = std::chrono::seconds(1);
constexpr Duration kModelsInterval = std::chrono::seconds(5);

}  // namespace

struct Scraper::Watched {
  Watched(runtime::Loop& loop, model::EndpointId endpoint_id, const model::Endpoint& endpoint)
      : id(endpoint_id), name(endpoint.name), address{endpoint.address, endpoint.port}, tasks(loop) {}

  model::EndpointId id;
  std::string name;
  net::Address address;
  std::vector<ServedModel> models;
  bool models_known = false;
  TimePoint models_due{};
  runtime::TaskScope tasks;  // last: its task refers to the rest
};

Scraper::Scraper(runtime::Loop& loop, net::HttpClient& client, GatewayMetrics& metrics, pool::EndpointSet& set,
                 Options options)
    : loop_(loop), client_(client), metrics_(metrics), set_(set), options_(std::move(options)), rng_(EntropySeed()) {}

Scraper::~Scraper() = default;

Status Scraper::Use(const schedule::LoadedConfig& config) {
  std::vector<std::string> warnings;
  auto dialects = pool::BuildDialects(config.metrics.empty() ? nullptr : config.metrics.front().extractor, &warnings);
  if (!dialects) return tl::unexpected(dialects.error());
  for (const std::string& warning : warnings) {
    Log(Level::kWarn, kModule, "metrics mapping", {{"pool", options_.pool}, {"warning", warning}});
  }
  dialects_ = std::move(*dialects);
  bindings_ = config.metrics;
  policy_ = config.policy;
  return {};
}

void Scraper::Add(model::EndpointId id) {
  const model::Endpoint* endpoint = set_.Find(id);
  if (endpoint == nullptr) return;
  if (watched_.size() <= id.slot) watched_.resize(id.slot + 1);
  watched_[id.slot] = std::make_unique<Watched>(loop_, id, *endpoint);
  if (started_) watched_[id.slot]->tasks.Spawn(Watch(watched_[id.slot].get()));
}

void Scraper::Remove(model::EndpointId id) {
  Watched* gone = Find(id);
  if (gone == nullptr) return;
  metrics_.ForgetEndpoint(options_.pool, gone->name);
  client_.Forget(gone->address);
  watched_[id.slot].reset();
  ++models_version_;
}

void Scraper::Start() {
  started_ = true;
  for (const auto& watched : watched_) {
    if (watched != nullptr) watched->tasks.Spawn(Watch(watched.get()));
  }
}

Task<> Scraper::Watch(Watched* endpoint) {
  TimePoint next = loop_.Now();
  for (;;) {
    Status ok;
    if (loop_.Now() >= endpoint->models_due) {
      ok = co_await ScrapeModels(endpoint);
      if (ok) endpoint->models_due = loop_.Now() + kModelsInterval;
    }
    if (ok) ok = co_await ScrapeMetrics(endpoint);
    if (ok) {
      NoteSuccess(*endpoint);
    } else {
      NoteFailure(*endpoint, ok.error());
    }
    const pool::EndpointHealth* health = set_.Health(endpoint->id);
    next = std::max(next + options_.interval, loop_.Now());
    if (!health->in_rotation()) next = std::max(next, health->next_probe());
    co_await runtime::SleepFor(loop_, next - loop_.Now());
  }
}

Task<Status> Scraper::ScrapeMetrics(Watched* endpoint) {
  if (bindings_.empty()) co_return Status{};
  const schedule::MetricsBinding binding = bindings_.front();
  const std::shared_ptr<const schedule::Policy> keep = policy_;  // it may be exchanged while this waits
  net::Address address = endpoint->address;
  if (binding.source->port != 0) address.port = binding.source->port;
  const auto response =
      co_await client_.Fetch({.address = address, .target = binding.source->path}, kScrapeTimeout, kScrapeBytesMax);
  if (!response) co_return tl::unexpected(response.error());
  if (response->status != 200) {
    metrics_.ScrapeFailed("metrics-data-source");
    co_return Status{};  // it answers, so it lives; the numbers keep their age
  }
  if (binding.extractor == nullptr) co_return Status{};
  const pool::Dialect& dialect = dialects_.For(*set_.Find(endpoint->id));
  const TimePoint now = loop_.Now();
  set_.Update(endpoint->id, [&](model::EndpointState& state) { pool::Extract(response->body, dialect, now, state); });
  co_return Status{};
}

Task<Status> Scraper::ScrapeModels(Watched* endpoint) {
  const auto response =
      co_await client_.Fetch({.address = endpoint->address, .target = "/v1/models"}, kScrapeTimeout, kScrapeBytesMax);
  if (!response) co_return tl::unexpected(response.error());
  const auto root =
      response->status == 200 ? reader_.Parse(response->body) : Result<codec::JsonValue>(Fail(Code::kBadGateway, ""));
  const auto data = root ? root->Find("data") : std::nullopt;
  if (!data) {
    metrics_.ScrapeFailed("models-data-source");
    co_return Fail(Code::kBadGateway, endpoint->address.ToString() + " has no list of models at /v1/models (status " +
                                          std::to_string(response->status) + ")");
  }
  std::vector<ServedModel> models;
  data->ForEachElement([&](codec::JsonValue model) {
    const auto id = model.Find("id");
    if (id && id->String()) models.push_back({std::string(*id->String()), model.ToJson()});
    return models.size() < kModelsMax;
  });
  endpoint->models = std::move(models);
  endpoint->models_known = true;
  ++models_version_;
  co_return Status{};
}

void Scraper::NoteFailure(Watched& endpoint, const Error& error) {
  metrics_.ScrapeFailed("endpoint");
  if (set_.ReportConnectFailure(endpoint.id, loop_.Now(), rng_)) {
    Log(Level::kWarn, kModule, "endpoint left the rotation",
        {{"pool", options_.pool}, {"endpoint", endpoint.address.ToString()}, {"reason", error.message}});
    client_.Forget(endpoint.address);
    endpoint.models_due = TimePoint{};  // it may come back with others
  }
}

void Scraper::NoteSuccess(Watched& endpoint) {
  if (set_.ReportSuccess(endpoint.id)) {
    Log(Level::kInfo, kModule, "endpoint is back in the rotation",
        {{"pool", options_.pool}, {"endpoint", endpoint.address.ToString()}});
  }
}

Scraper::Watched* Scraper::Find(model::EndpointId id) const {
  if (id.slot >= watched_.size() || watched_[id.slot] == nullptr || watched_[id.slot]->id != id) return nullptr;
  return watched_[id.slot].get();
}

void Scraper::Failed(model::EndpointId id, const Error& error) {
  if (Watched* endpoint = Find(id)) NoteFailure(*endpoint, error);
}

void Scraper::Answered(model::EndpointId id) {
  if (Watched* endpoint = Find(id)) NoteSuccess(*endpoint);
}

const std::vector<ServedModel>* Scraper::ModelsOf(model::EndpointId id) const {
  const Watched* endpoint = Find(id);
  return endpoint == nullptr || !endpoint->models_known ? nullptr : &endpoint->models;
}

}  // namespace sluice::gateway
