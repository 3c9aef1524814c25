#include "gateway/serving_pool.h"

#include <algorithm>
#include <fstream>
#include <sstream>

#include "observe/log.h"
#include "pool/endpoint_file.h"

namespace sluice::gateway {

using observe::Level;
using observe::Log;
using runtime::AnyOf;
using runtime::Task;

namespace {

constexpr std::string_view kModule = "pool";
constexpr size_t kConfigBytesMax = size_t{1} << 20;
constexpr size_t kScrapeBytesMax = size_t{8} << 20;
constexpr size_t kModelsMax = 1000;  // of one endpoint
constexpr size_t kEndpointsMax = 20'000;
constexpr Duration kScrapeTimeout = std::chrono::seconds(1);
constexpr Duration kModelsInterval = std::chrono::seconds(5);
constexpr Duration kProbeMax =
    std::chrono::seconds(1);  // a probe is one small request: a worker that is back is used soon
constexpr Duration kFileInterval = std::chrono::milliseconds(250);

Result<std::string> ReadFile(const std::string& path, size_t bytes_max) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return Fail(Code::kNotFound, "cannot read " + path + "; does it exist, and may this user read it?");
  std::string text(bytes_max + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<size_t>(file.gcount()));
  if (text.size() > bytes_max) {
    return Fail(Code::kTooLarge, path + " is over " + std::to_string(bytes_max) + " bytes");
  }
  return text;
}

}  // namespace

struct ServingPool::Watched {
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

Result<std::unique_ptr<ServingPool>> ServingPool::Open(runtime::Loop& loop, net::HttpClient& client,
                                                       GatewayMetrics& metrics, PoolOptions options) {
  std::string text(schedule::DefaultConfigText());
  if (!options.config_path.empty()) {
    auto read = ReadFile(options.config_path, kConfigBytesMax);
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
  std::vector<std::string> warnings;
  const schedule::CoreMetricsExtractor* extractor =
      config->metrics.empty() ? nullptr : config->metrics.front().extractor;
  auto dialects = pool::BuildDialects(extractor, &warnings);
  if (!dialects) return tl::unexpected(dialects.error());
  for (const std::string& warning : warnings) {
    Log(Level::kWarn, kModule, "metrics mapping", {{"pool", options.name}, {"warning", warning}});
  }
  std::unique_ptr<ServingPool> pool(new ServingPool(loop, client, metrics, std::move(options), std::move(*config),
                                                    std::move(*parsers), std::move(*dialects)));
  const Status loaded = pool->LoadEndpoints(/*first=*/true);
  if (!loaded) return tl::unexpected(loaded.error());
  return pool;
}

ServingPool::ServingPool(runtime::Loop& loop, net::HttpClient& client, GatewayMetrics& metrics, PoolOptions options,
                         schedule::LoadedConfig config, parse::ParserTable parsers, pool::DialectTable dialects)
    : loop_(loop),
      client_(client),
      metrics_(metrics),
      options_(std::move(options)),
      config_(std::move(config)),
      parsers_(std::move(parsers)),
      dialects_(std::move(dialects)),
      state_(config_.policy),
      set_({.endpoints_max = kEndpointsMax, .health = {.probe_max = kProbeMax}}),
      rng_(EntropySeed()),
      watcher_(loop) {
  endpoints_path_ = options_.endpoints_path;
  if (endpoints_path_.empty() && config_.discovery != nullptr) endpoints_path_ = config_.discovery->path;
}

ServingPool::~ServingPool() = default;

Status ServingPool::LoadEndpoints(bool first) {
  if (endpoints_path_.empty()) {
    if (options_.endpoints.empty()) {
      return Fail(Code::kInvalidArgument,
                  "pool '" + options_.name +
                      "' has no endpoints: give --endpoint IP:PORT, --endpoints-file FILE or the "
                      "plugin file-discovery in the configuration");
    }
    return Apply(options_.endpoints);
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

Status ServingPool::Apply(std::vector<model::Endpoint> endpoints) {
  const auto change = set_.Replace(std::move(endpoints));
  if (!change) return tl::unexpected(change.error());
  for (const model::EndpointId id : change->removed) {
    const auto gone = std::find_if(watched_.begin(), watched_.end(), [&](const auto& w) { return w->id == id; });
    if (gone == watched_.end()) continue;
    Log(Level::kInfo, kModule, "endpoint removed", {{"pool", name()}, {"endpoint", (*gone)->address.ToString()}});
    metrics_.ForgetEndpoint(name(), (*gone)->name);
    client_.Forget((*gone)->address);
    watched_.erase(gone);
  }
  for (const model::EndpointId id : change->added) {
    const model::Endpoint* endpoint = set_.Find(id);
    Log(Level::kInfo, kModule, "endpoint added",
        {{"pool", name()}, {"endpoint", endpoint->host_port()}, {"name", endpoint->name}});
    Watched& watched = *watched_.emplace_back(std::make_unique<Watched>(loop_, id, *endpoint));
    if (started_) watched.tasks.Spawn(Watch(&watched));
  }
  return {};
}

void ServingPool::Start() {
  started_ = true;
  for (const auto& watched : watched_) watched->tasks.Spawn(Watch(watched.get()));
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

Task<> ServingPool::Watch(Watched* endpoint) {
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
    next = std::max(next + options_.scrape_interval, loop_.Now());
    if (!health->in_rotation()) next = std::max(next, health->next_probe());
    co_await runtime::SleepFor(loop_, next - loop_.Now());
  }
}

Task<Status> ServingPool::ScrapeMetrics(Watched* endpoint) {
  if (config_.metrics.empty()) co_return Status{};
  const schedule::MetricsBinding& binding = config_.metrics.front();
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

Task<Status> ServingPool::ScrapeModels(Watched* endpoint) {
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
  co_return Status{};
}

void ServingPool::NoteFailure(Watched& endpoint, const Error& error) {
  metrics_.ScrapeFailed("endpoint");
  if (set_.ReportConnectFailure(endpoint.id, loop_.Now(), rng_)) {
    Log(Level::kWarn, kModule, "endpoint left the rotation",
        {{"pool", name()}, {"endpoint", endpoint.address.ToString()}, {"reason", error.message}});
    client_.Forget(endpoint.address);
    endpoint.models_due = TimePoint{};  // it may come back with others
  }
}

void ServingPool::NoteSuccess(Watched& endpoint) {
  if (set_.ReportSuccess(endpoint.id)) {
    Log(Level::kInfo, kModule, "endpoint is back in the rotation",
        {{"pool", name()}, {"endpoint", endpoint.address.ToString()}});
  }
}

ServingPool::Watched* ServingPool::Find(model::EndpointId id) const {
  for (const auto& watched : watched_) {
    if (watched->id == id) return watched.get();
  }
  return nullptr;
}

void ServingPool::Failed(model::EndpointId id, const Error& error) {
  if (Watched* endpoint = Find(id)) NoteFailure(*endpoint, error);
}

void ServingPool::Answered(model::EndpointId id) {
  if (Watched* endpoint = Find(id)) NoteSuccess(*endpoint);
}

bool ServingPool::Serves(std::string_view model) const {
  return std::any_of(watched_.begin(), watched_.end(), [&](const auto& watched) {
    return std::any_of(watched->models.begin(), watched->models.end(),
                       [&](const ServedModel& m) { return m.id == model; });
  });
}

void ServingPool::ExcludeOthers(std::string_view model, std::vector<model::EndpointId>& excluded) const {
  for (const auto& watched : watched_) {
    if (!watched->models_known) continue;
    const bool serves = std::any_of(watched->models.begin(), watched->models.end(),
                                    [&](const ServedModel& m) { return m.id == model; });
    if (!serves) excluded.push_back(watched->id);
  }
}

bool ServingPool::AnyModelKnown() const {
  return std::any_of(watched_.begin(), watched_.end(), [](const auto& watched) { return watched->models_known; });
}

bool ServingPool::IsReady(const Watched& endpoint) const {
  return endpoint.models_known && set_.Health(endpoint.id)->in_rotation();
}

bool ServingPool::Ready() const {
  return std::any_of(watched_.begin(), watched_.end(), [this](const auto& watched) { return IsReady(*watched); });
}

bool ServingPool::AllReady() const {
  return std::all_of(watched_.begin(), watched_.end(), [this](const auto& watched) { return IsReady(*watched); });
}

const std::vector<ServingPool::ServedModel>* ServingPool::ModelsOf(model::EndpointId id) const {
  const Watched* endpoint = Find(id);
  return endpoint == nullptr ? nullptr : &endpoint->models;
}

std::map<std::string, std::string> ServingPool::Models() const {
  std::map<std::string, std::string> all;
  for (const auto& watched : watched_) {
    if (!set_.Health(watched->id)->in_rotation()) continue;
    for (const ServedModel& model : watched->models) all.emplace(model.id, model.json);
  }
  return all;
}

}  // namespace sluice::gateway
