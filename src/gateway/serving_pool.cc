#include "gateway/serving_pool.h"

#include <algorithm>
#include <set>

#include "base/read_file.h"
#include "observe/log.h"
#include "pool/endpoint_file.h"

namespace sluice::gateway {

using observe::Level;
using observe::Log;
using runtime::Task;

namespace {

constexpr std::string_view kModule = "pool";
constexpr size_t kEndpointsMax = 20'000;
constexpr size_t kLargePool = 1000;
constexpr size_t kUsesMax = 64;  // models whose endpoints are remembered between two changes
constexpr Duration kProbeMax =
    std::chrono::seconds(1);  // a probe is one small request: a worker that is back is used soon
constexpr Duration kFileInterval = std::chrono::milliseconds(250);

}  // namespace

Result<std::unique_ptr<ServingPool>> ServingPool::Open(runtime::Loop& loop, net::HttpClient& client,
                                                       GatewayMetrics& metrics, PoolOptions options) {
  std::string text(schedule::DefaultConfigText());
  if (!options.config_path.empty()) {
    auto read = ReadFile(options.config_path, schedule::kConfigBytesMax);
    if (!read) return tl::unexpected(read.error());
    text = std::move(*read);
  }
  const schedule::Registry registry = schedule::BuiltinRegistry();
  auto config =
      schedule::LoadConfig(text, registry, {.allow_experimental_plugins = options.allow_experimental_plugins});
  if (!config) {
    Error error = config.error();
    if (!options.config_path.empty()) error.message = options.config_path + ": " + error.message;
    return tl::unexpected(std::move(error));
  }
  for (const std::string& warning : config->warnings) {
    Log(Level::kWarn, kModule, "configuration", {{"pool", options.name}, {"warning", warning}});
  }
  auto parsers = parse::ParserTable::Build(config->parsers);
  if (!parsers) return tl::unexpected(parsers.error());
  std::unique_ptr<ServingPool> pool(
      new ServingPool(loop, client, metrics, std::move(options), std::move(*config), std::move(*parsers)));
  if (const Status used = pool->scraper_.Use(pool->config_); !used) return tl::unexpected(used.error());
  if (pool->endpoints_path_.empty()) {
    if (const Status opened = pool->OpenNames(metrics); !opened) return tl::unexpected(opened.error());
  }
  const Status loaded = pool->LoadEndpoints(/*first=*/true);
  if (!loaded) return tl::unexpected(loaded.error());
  return pool;
}

ServingPool::ServingPool(runtime::Loop& loop, net::HttpClient& client, GatewayMetrics& metrics, PoolOptions options,
                         schedule::LoadedConfig config, parse::ParserTable parsers)
    : loop_(loop),
      options_(std::move(options)),
      config_(std::move(config)),
      parsers_(std::move(parsers)),
      state_(config_.policy),
      set_({.endpoints_max = kEndpointsMax, .health = {.probe_max = kProbeMax}}),
      scraper_(loop, client, metrics, set_, {.pool = options_.name, .interval = options_.scrape_interval}),
      watcher_(loop) {
  endpoints_path_ = options_.endpoints_path;
  if (endpoints_path_.empty() && config_.discovery != nullptr) endpoints_path_ = config_.discovery->path;
}

ServingPool::~ServingPool() = default;

Status ServingPool::LoadEndpoints(bool first) {
  if (endpoints_path_.empty()) {
    if (listed_.empty() && names_ == nullptr) {
      return Fail(Code::kInvalidArgument,
                  "pool '" + options_.name +
                      "' has no endpoints: give --endpoint HOST:PORT, --endpoints-file FILE or the plugin "
                      "file-discovery, static-discovery or dns-discovery in the configuration");
    }
    return ApplyListed();
  }
  auto text = ReadFile(endpoints_path_, pool::EndpointFile::kBytesMax);
  if (!text) return tl::unexpected(text.error());
  if (!first && *text == endpoints_text_) return {};
  endpoints_text_ = *text;
  if (first) {
    auto endpoints = pool::ParseInitialEndpointFile(*text);
    if (!endpoints) return Fail(endpoints.error().code, endpoints_path_ + ": " + endpoints.error().message);
    return Apply(std::move(*endpoints));
  }
  auto file = pool::ParseEndpointFile(*text);
  if (!file) return Fail(file.error().code, endpoints_path_ + ": " + file.error().message);
  for (const std::string& skipped : file->skipped) {
    Log(Level::kError, kModule, "endpoint skipped", {{"pool", name()}, {"file", endpoints_path_}, {"reason", skipped}});
  }
  return Apply(std::move(file->endpoints));
}

// Endpoints that are written down, and names: of the command line, else of the configuration.
Status ServingPool::OpenNames(GatewayMetrics& metrics) {
  listed_ = options_.endpoints;
  std::vector<EndpointName> names = options_.names;
  if (listed_.empty() && names.empty()) {
    if (const auto* discovery = config_.static_discovery) {
      auto endpoints = pool::ReadEndpoints(discovery->endpoints, discovery->path);
      if (!endpoints) return tl::unexpected(endpoints.error());
      listed_ = std::move(*endpoints);
    }
    if (const auto* discovery = config_.dns_discovery) {
      names.push_back({discovery->host, discovery->port, discovery->interval});
    }
  }
  if (names.empty()) return {};
  names_ = std::make_unique<NameDiscovery>(
      loop_, metrics,
      NameDiscovery::Options{.pool = options_.name, .names = std::move(names), .resolver = options_.resolver}, [this] {
        if (const Status applied = ApplyListed(); !applied) {
          Log(Level::kError, kModule, "addresses refused, keeping the endpoints it had",
              {{"pool", name()}, {"error", applied.error().message}});
        }
      });
  return {};
}

Status ServingPool::ApplyListed() {
  std::vector<model::Endpoint> endpoints = listed_;
  std::set<std::string> ids;
  for (const model::Endpoint& endpoint : endpoints) ids.insert(endpoint.id);
  if (names_ != nullptr) {
    for (model::Endpoint& endpoint : names_->Endpoints()) {
      if (ids.insert(endpoint.id).second) endpoints.push_back(std::move(endpoint));
    }
  }
  return Apply(std::move(endpoints));
}

Status ServingPool::Apply(std::vector<model::Endpoint> endpoints) {
  const auto change = set_.Replace(std::move(endpoints));
  if (!change) return tl::unexpected(change.error());
  for (const model::EndpointId id : change->removed) scraper_.Remove(id);
  for (const model::EndpointId id : change->added) {
    const model::Endpoint* endpoint = set_.Find(id);
    Log(Level::kInfo, kModule, "endpoint added",
        {{"pool", name()}, {"endpoint", endpoint->host_port()}, {"name", endpoint->name}});
    scraper_.Add(id);
  }
  return {};
}

void ServingPool::Start() {
  scraper_.Start();
  if (names_ != nullptr) names_->Start();
  const bool watch_file =
      !options_.endpoints_path.empty() || (config_.discovery != nullptr && config_.discovery->watch_file);
  if (watch_file) watcher_.Spawn(WatchFile());
}

Task<> ServingPool::WatchFile() {
  std::string last_problem;
  for (;;) {
    co_await runtime::SleepFor(loop_, kFileInterval);
    const Status loaded = LoadEndpoints(/*first=*/false);
    const std::string problem = loaded ? std::string() : loaded.error().message;
    if (problem != last_problem && !problem.empty()) {
      Log(Level::kError, kModule, "endpoint file refused, keeping the endpoints it had",
          {{"pool", name()}, {"error", problem}});
    }
    last_problem = problem;
  }
}

std::shared_ptr<const model::PoolView> ServingPool::View() {
  const bool recent = set_.size() > kLargePool && loop_.Now() - viewed_at_ < std::chrono::microseconds(set_.size());
  if (recent) return set_.RecentView();
  viewed_at_ = loop_.Now();
  return set_.View();
}

const ServingPool::ModelUse& ServingPool::UseOf(std::string_view model) const {
  if (uses_models_version_ != scraper_.models_version()) {
    uses_.clear();
    uses_models_version_ = scraper_.models_version();
  }
  if (const auto found = uses_.find(model); found != uses_.end()) return found->second;
  if (uses_.size() >= kUsesMax) uses_.clear();  // names are the clients' to choose
  ModelUse use;
  for (const model::EndpointId id : set_.Ids()) {
    const std::vector<ServedModel>* models = scraper_.ModelsOf(id);
    if (models == nullptr) continue;
    use.any_known = true;
    const bool serves =
        std::any_of(models->begin(), models->end(), [&](const ServedModel& m) { return m.id == model; });
    use.served |= serves;
    if (!serves) use.others.push_back(id);
  }
  return uses_.emplace(model, std::move(use)).first->second;
}

bool ServingPool::Serves(std::string_view model) const { return UseOf(model).served; }

void ServingPool::ExcludeOthers(std::string_view model, std::vector<model::EndpointId>& excluded) const {
  const ModelUse& use = UseOf(model);
  excluded.insert(excluded.end(), use.others.begin(), use.others.end());
}

bool ServingPool::AnyModelKnown() const { return UseOf("").any_known; }

bool ServingPool::IsReady(model::EndpointId id) const {
  return scraper_.ModelsOf(id) != nullptr && set_.Health(id)->in_rotation();
}

bool ServingPool::Ready() const {
  const auto ids = set_.Ids();
  return std::any_of(ids.begin(), ids.end(), [this](model::EndpointId id) { return IsReady(id); });
}

bool ServingPool::AllReady() const {
  if (names_ != nullptr && !names_->Asked()) return false;
  const auto ids = set_.Ids();
  return std::all_of(ids.begin(), ids.end(), [this](model::EndpointId id) { return IsReady(id); });
}

std::map<std::string, std::string> ServingPool::Models() const {
  std::map<std::string, std::string> all;
  for (const model::EndpointId id : set_.Ids()) {
    const std::vector<ServedModel>* models = scraper_.ModelsOf(id);
    if (models == nullptr || !set_.Health(id)->in_rotation()) continue;
    for (const ServedModel& model : *models) all.emplace(model.id, model.json);
  }
  return all;
}

}  // namespace sluice::gateway
