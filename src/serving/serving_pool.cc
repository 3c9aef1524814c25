#include "serving/serving_pool.h"

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <set>

#include "base/read_file.h"
#include "base/text.h"
#include "observe/log.h"
#include "pool/endpoint_file.h"
#include "schedule/decision_log.h"

namespace sluice::serving {

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
constexpr Duration kSaveInterval = std::chrono::seconds(30);

}  // namespace

Result<std::unique_ptr<ServingPool>> ServingPool::Open(runtime::Loop& loop, net::HttpClient& client,
                                                       RouterMetrics& metrics, PoolOptions options) {
  PolicyFiles files({.pool = options.name,
                     .config_path = options.config_path,
                     .objects_path = options.objects_path,
                     .shadows = options.shadows,
                     .allow_experimental_plugins = options.allow_experimental_plugins});
  auto config = files.LoadConfig();
  if (!config) return tl::unexpected(config.error());
  auto shadows = files.LoadShadows();
  if (!shadows) return tl::unexpected(shadows.error());
  auto objects = files.LoadObjects();
  if (!objects) return tl::unexpected(objects.error());
  auto parsers = parse::ParserTable::Build(config->parsers);
  if (!parsers) return tl::unexpected(parsers.error());
  if (options.seed == 0) options.seed = EntropySeed();
  std::unique_ptr<ServingPool> pool(new ServingPool(loop, client, metrics, std::move(options), std::move(files),
                                                    std::move(*config), std::move(*parsers)));
  pool->objects_ = std::move(*objects);
  for (PolicyFiles::Change& shadow : *shadows) {
    if (const Status put = pool->scheduler_.Put(shadow.lane, std::move(shadow.config)); !put) {
      return Fail(put.error().code, "--shadow: " + put.error().message);
    }
  }
  if (pool->options_.scheme == model::Scheme::kHttps) {
    if (const Status opened = pool->OpenTls(); !opened) return tl::unexpected(opened.error());
  }
  pool->RestoreState();
  if (const Status log = pool->OpenDecisionLog(); !log) return tl::unexpected(log.error());
  if (const Status used = pool->scraper_.Use(pool->config()); !used) return tl::unexpected(used.error());
  if (const Status tokens = pool->OpenTokens(); !tokens) return tl::unexpected(tokens.error());
  if (pool->endpoints_path_.empty()) {
    if (const Status opened = pool->OpenNames(); !opened) return tl::unexpected(opened.error());
  }
  const Status loaded = pool->LoadEndpoints(/*first=*/true);
  if (!loaded) return tl::unexpected(loaded.error());
  return pool;
}

ServingPool::ServingPool(runtime::Loop& loop, net::HttpClient& client, RouterMetrics& metrics, PoolOptions options,
                         PolicyFiles files, schedule::LoadedConfig config, parse::ParserTable parsers)
    : loop_(loop),
      client_(client),
      options_(std::move(options)),
      metrics_(metrics),
      files_(std::move(files)),
      parsers_(std::move(parsers)),
      cache_(std::make_shared<CacheFeed>(options_.name, metrics.cache(), clock_, options_.cache_memory)),
      scheduler_(std::move(config), clock_, {.state = {.caches = cache_}, .seed = options_.seed}),
      set_({.endpoints_max = kEndpointsMax, .health = {.probe_max = kProbeMax}}),
      scraper_(loop, client, metrics, set_, {.pool = options_.name, .interval = options_.scrape_interval}),
      watcher_(loop) {
  endpoints_path_ = options_.endpoints_path;
  if (endpoints_path_.empty() && this->config().discovery != nullptr) endpoints_path_ = this->config().discovery->path;
  scheduler_.on_revert = [this](const std::string& what) {
    Log(Level::kWarn, kModule, "promotion taken back", {{"pool", name()}, {"what", what}});
    metrics_.PolicyChanged(name(), "reverted");
    UseLivePolicy();
  };
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

const net::ClientTransport* ServingPool::TransportTo(const model::Endpoint& endpoint) const {
  if (endpoint.scheme == model::Scheme::kHttps) return &*tls_;
  return endpoint.scheme == model::Scheme::kH2c ? &h2c_ : nullptr;
}

Status ServingPool::OpenTls() {
  if (tls_) return {};
  auto context = net::TlsContext::MakeClient(options_.tls);
  if (!context) return tl::unexpected(context.error());
  net::TlsContext::ClientOptions scraping = options_.tls;
  scraping.protocols = {"http/1.1"};
  auto for_scraper = net::TlsContext::MakeClient(scraping);
  if (!for_scraper) return tl::unexpected(for_scraper.error());
  tls_.emplace(net::ClientTransport::Tls(std::move(*context), options_.tls_name));
  scraper_.UseTls(std::make_shared<const net::TlsContext>(std::move(*for_scraper)), options_.tls_name);
  return {};
}

// Endpoints that are written down, and names: of the command line, else of the configuration.
Status ServingPool::OpenNames() {
  listed_ = options_.endpoints;
  std::vector<EndpointName> names = options_.names;
  if (listed_.empty() && names.empty()) {
    if (const auto* discovery = config().static_discovery) {
      auto endpoints = pool::ReadEndpoints(discovery->endpoints, discovery->path);
      if (!endpoints) return tl::unexpected(endpoints.error());
      listed_ = std::move(*endpoints);
    }
    if (const auto* discovery = config().dns_discovery) {
      names.push_back({discovery->host, discovery->port, discovery->interval, discovery->scheme});
    }
  }
  if (names == names_in_use_) return {};
  names_in_use_ = names;
  names_.reset();
  if (names.empty()) return {};
  names_ = std::make_unique<NameDiscovery>(
      loop_, metrics_,
      NameDiscovery::Options{.pool = options_.name, .names = std::move(names), .resolver = options_.resolver}, [this] {
        if (const Status applied = ApplyListed(); !applied) {
          Log(Level::kError, kModule, "addresses refused, keeping the endpoints it had",
              {{"pool", name()}, {"error", applied.error().message}});
        }
      });
  if (started_) names_->Start();
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
  for (model::Endpoint& endpoint : endpoints) {
    if (endpoint.scheme == model::Scheme::kOfPool) endpoint.scheme = options_.scheme;
    if (endpoint.scheme != model::Scheme::kHttps) continue;
    if (const Status opened = OpenTls(); !opened) return opened;
  }
  const auto change = set_.Replace(std::move(endpoints));
  if (!change) return tl::unexpected(change.error());
  for (const model::EndpointId id : change->removed) {
    scraper_.Remove(id);
    cache_->Remove(id);
  }
  for (const model::EndpointId id : change->added) {
    const model::Endpoint* endpoint = set_.Find(id);
    Log(Level::kInfo, kModule, "endpoint added",
        {{"pool", name()},
         {"endpoint", endpoint->host_port()},
         {"name", endpoint->name},
         {"scheme", model::Name(endpoint->scheme)}});
    scraper_.Add(id);
    cache_->Add(id, *endpoint);
  }
  for (const model::EndpointId id : change->updated) cache_->Update(id, *set_.Find(id));
  return {};
}

void ServingPool::Start() {
  scraper_.Start();
  if (names_ != nullptr) names_->Start();
  started_ = true;
  watcher_.Spawn(WatchFiles());
  if (prompt_tokens_ != nullptr) watcher_.Spawn(PromptTokens::WarmUp(prompt_tokens_));
}

// Exact tokens as the live policy's token-producer says. What it had stays when the new one cannot be opened.
Status ServingPool::OpenTokens() {
  schedule::TokenSource source = schedule::TokenProducer::SourceOf(*config().policy);
  if (source.mode == schedule::TokenSource::Mode::kEstimate) {
    prompt_tokens_.reset();
    return {};
  }
  if (prompt_tokens_ != nullptr && prompt_tokens_->source() == source) return {};
  auto opened = PromptTokens::Open(loop_, client_, metrics_, name(), std::move(source));
  if (!opened) return tl::unexpected(opened.error());
  prompt_tokens_ = std::move(*opened);
  if (started_) watcher_.Spawn(PromptTokens::WarmUp(prompt_tokens_));
  return {};
}

int32_t ServingPool::PriorityOf(std::string_view objective) const {
  if (objective.empty()) return 0;
  if (const int32_t priority = objects_.PriorityOf(objective); priority != 0) return priority;
  if (EqualsIgnoreCase(objective, "sheddable")) return -1;
  return EqualsIgnoreCase(objective, "critical") ? 1 : 0;
}

Status ServingPool::OpenDecisionLog() {
  if (options_.decision_log_path.empty()) return {};
  decision_log_.open(options_.decision_log_path, std::ios::binary | std::ios::trunc);
  if (!decision_log_) {
    return Fail(Code::kInvalidArgument, "cannot write " + options_.decision_log_path + " (--decision-log)");
  }
  // Headers and media addresses are in it: the owner's to read.
  std::error_code ignored;
  std::filesystem::permissions(options_.decision_log_path,
                               std::filesystem::perms::owner_read | std::filesystem::perms::owner_write, ignored);
  scheduler_.SetLog(std::make_unique<schedule::DecisionLog>(
      [this](std::string_view lines) { decision_log_.write(lines.data(), static_cast<std::streamsize>(lines.size())); },
      options_.seed, EntropySeed(), options_.decision_log_bytes_max));
  return {};
}

void ServingPool::RestoreState() {
  if (options_.state_path.empty()) return;
  const auto text = ReadFile(options_.state_path, latency::Model::kStateBytesMax);
  if (!text && text.error().code == Code::kNotFound) return;  // the first start
  const Status restored = text ? scheduler_.RestoreLatency(*text) : Status(tl::unexpected(text.error()));
  if (restored) return;
  Log(Level::kWarn, kModule, "the latency model starts anew",
      {{"pool", name()}, {"file", options_.state_path}, {"reason", restored.error().message}});
}

void ServingPool::SaveState() {
  decision_log_.flush();
  if (options_.state_path.empty()) return;
  // Beside and renamed: a crash leaves the old one or the new one.
  const std::string fresh = options_.state_path + ".new";
  std::ofstream file(fresh, std::ios::binary | std::ios::trunc);
  file << scheduler_.latency().model().Save();
  file.close();
  if (!file || std::rename(fresh.c_str(), options_.state_path.c_str()) != 0) {
    Log(Level::kError, kModule, "what the latency model learned could not be kept",
        {{"pool", name()}, {"file", options_.state_path}});
  }
}

// What outside of the scheduler comes from the configuration of the live policy.
void ServingPool::UseLivePolicy() {
  auto parsers = parse::ParserTable::Build(config().parsers);
  if (parsers) parsers_ = std::move(*parsers);
  if (const Status used = scraper_.Use(config()); !used) {
    Log(Level::kError, kModule, "metrics are read as before", {{"pool", name()}, {"error", used.error().message}});
  }
  if (const Status tokens = OpenTokens(); !tokens) {
    Log(Level::kError, kModule, "tokens are made as before", {{"pool", name()}, {"error", tokens.error().message}});
  }
  if (options_.endpoints_path.empty() && config().discovery != nullptr) endpoints_path_ = config().discovery->path;
  if (!endpoints_path_.empty() || (config().static_discovery == nullptr && config().dns_discovery == nullptr)) return;
  Status listed = OpenNames();
  if (listed && names_ == nullptr) listed = ApplyListed();  // names apply themselves once they are answered
  if (!listed) {
    Log(Level::kError, kModule, "endpoints stay as they were", {{"pool", name()}, {"error", listed.error().message}});
  }
}

Status ServingPool::ApplyPolicy(PolicyFiles::Change change) {
  const auto parsers = parse::ParserTable::Build(change.config.parsers);
  if (!parsers) return tl::unexpected(parsers.error());
  if (const Status put = scheduler_.Put(change.lane, std::move(change.config)); !put) return put;
  const bool live = change.lane == scheduler_.live_name();
  if (live) UseLivePolicy();
  metrics_.PolicyChanged(name(), "reloaded");
  Log(Level::kInfo, kModule, live ? "policy reloaded" : "shadow policy reloaded",
      {{"pool", name()}, {"policy", change.lane}, {"file", change.path}});
  return {};
}

Status ServingPool::Promote(std::string_view policy) {
  if (const Status promoted = scheduler_.Promote(policy); !promoted) return promoted;
  UseLivePolicy();
  metrics_.PolicyChanged(name(), "promoted");
  Log(Level::kInfo, kModule, "policy promoted", {{"pool", name()}, {"policy", policy}});
  return {};
}

void ServingPool::LookAtEndpoints(std::string& last_problem) {
  const bool watched =
      !options_.endpoints_path.empty() || (config().discovery != nullptr && config().discovery->watch_file);
  if (!watched) return;
  const Status loaded = LoadEndpoints(/*first=*/false);
  const std::string problem = loaded ? std::string() : loaded.error().message;
  if (problem != last_problem && !problem.empty()) {
    Log(Level::kError, kModule, "endpoint file refused, keeping the endpoints it had",
        {{"pool", name()}, {"error", problem}});
  }
  last_problem = problem;
}

Task<> ServingPool::WatchFiles() {
  const PolicyFiles::Handlers handlers{
      .apply = [this](PolicyFiles::Change change) { return ApplyPolicy(std::move(change)); },
      .objects =
          [this](pool::InferenceObjects objects) {
            objects_ = std::move(objects);
            Log(Level::kInfo, kModule, "objectives and rewrites reloaded", {{"pool", name()}});
          },
      .refused =
          [this](const std::string& path, const std::string& error) {
            metrics_.PolicyChanged(name(), "refused");
            Log(Level::kError, kModule, "changed file refused, everything stays as it was",
                {{"pool", name()}, {"file", path}, {"error", error}});
          }};
  std::string endpoints_problem;
  TimePoint save_at = loop_.Now() + kSaveInterval;
  for (;;) {
    co_await runtime::SleepFor(loop_, kFileInterval);
    LookAtEndpoints(endpoints_problem);
    files_.Look(handlers);
    cache_->Look();
    decision_log_.flush();
    if (loop_.Now() < save_at) continue;
    save_at = loop_.Now() + kSaveInterval;
    SaveState();
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

bool ServingPool::Serves(std::string_view model, std::vector<model::EndpointId>& excluded) const {
  const ModelUse& use = UseOf(model);
  if (use.served) excluded.insert(excluded.end(), use.others.begin(), use.others.end());
  return use.served;
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

}  // namespace sluice::serving
