#include "serving/cache_feed.h"

#include <algorithm>

#include "base/text.h"
#include "observe/log.h"
#include "serving/cache_index.h"

namespace sluice::serving {

using kvindex::Subscriber;
using kvindex::Trust;
using observe::Level;
using observe::Log;

namespace {

constexpr std::string_view kModule = "cache";
constexpr Duration kMaintainEvery = std::chrono::seconds(1);
constexpr double kTellAfterSeconds = 1;  // a replay that takes less is nothing to talk about

uint16_t PortLabel(const model::Endpoint& endpoint, std::string_view label) {
  const auto found = endpoint.labels.find(std::string(label));
  if (found == endpoint.labels.end()) return 0;
  return ParseNumber<uint16_t>(found->second).value_or(0);
}

std::string TcpAt(const model::Endpoint& endpoint, uint16_t port) {
  model::Endpoint at = endpoint;
  at.port = port;
  return "tcp://" + at.host_port();
}

}  // namespace

uint16_t RankOf(const model::Endpoint& endpoint) {
  constexpr std::string_view kRank = "-rank-";
  const size_t at = endpoint.id.rfind(kRank);
  if (at == std::string::npos) return 0;
  return ParseNumber<uint16_t>(std::string_view(endpoint.id).substr(at + kRank.size())).value_or(0);
}

kvindex::EventSource SourceOf(const model::Endpoint& endpoint, model::EndpointId id,
                              const schedule::CacheEvents& events) {
  kvindex::EventSource source = kvindex::PodSource(endpoint, id, events.port, events.replay_port, RankOf(endpoint));
  if (!events.discover_pods) {
    source.endpoint.clear();
    source.replay_endpoint.clear();
    return source;
  }
  if (const uint16_t port = PortLabel(endpoint, kEventsPortLabel); port != 0) source.endpoint = TcpAt(endpoint, port);
  if (const uint16_t port = PortLabel(endpoint, kReplayPortLabel); port != 0) {
    source.replay_endpoint = TcpAt(endpoint, port);
  }
  return source;
}

CacheFeed::CacheFeed(std::string pool, CacheMetrics& metrics, const Clock& clock,
                     std::shared_ptr<kvindex::MemoryBudget> memory)
    : pool_(std::move(pool)),
      metrics_(metrics),
      clock_(clock),
      memory_(memory != nullptr ? std::move(memory) : std::make_shared<kvindex::MemoryBudget>(kCacheBytesMax)) {}

CacheFeed::~CacheFeed() = default;

std::shared_ptr<schedule::CacheIndex> CacheFeed::Open(const schedule::CacheSettings& settings) {
  for (const auto& feed : feeds_) {
    if (feed->settings == settings) return feed->index;
  }
  if (!memory_->Take(kvindex::PrefixIndex::FixedBytes(Index::OptionsOf(settings, memory_.get())))) {
    Log(Level::kError, kModule, "no memory for one more index of KV caches, caches are not known",
        {{"pool", pool_}, {"bytes_max", memory_->Max()}, {"bytes", memory_->Used()}, {"raise", "--cache-index-bytes"}});
    return nullptr;
  }
  if (settings.bytes_max > memory_->Max()) {
    Log(Level::kWarn, kModule, "the index may be larger than all indexes of the process together: their limit holds",
        {{"pool", pool_},
         {"size", settings.bytes_max},
         {"bytes_max", memory_->Max()},
         {"raise", "--cache-index-bytes"}});
  }
  auto feed = std::make_unique<Feed>();
  feed->settings = settings;
  feed->index = std::make_shared<Index>(settings, clock_, memory_, pool_, metrics_);
  OpenSubscribers(*feed);
  for (const auto& [id, endpoint] : endpoints_) Subscribe(*feed, id, endpoint);
  feeds_.push_back(std::move(feed));
  return feeds_.back()->index;
}

// One that binds when there is an address to bind, else one for each thread that is wanted.
void CacheFeed::OpenSubscribers(Feed& feed) {
  const schedule::CacheEvents& events = feed.settings.events;
  const size_t count = events.bind_endpoint.empty() ? events.concurrency : 1;
  for (size_t i = 0; i < count; ++i) {
    auto opened = Subscriber::Open(
        {.bind_endpoint = events.bind_endpoint,
         .topic_filter = events.topic_filter,
         .keys = feed.index->keys.options(),
         .feed = {.engine = events.sglang ? kvindex::EngineType::kSglang : kvindex::EngineType::kVllm}},
        feed.index->index, clock_);
    if (!opened) {
      feed.problem = opened.error().message;
      Log(Level::kError, kModule, "KV events cannot be received, caches are not known",
          {{"pool", pool_}, {"error", feed.problem}});
      return;
    }
    feed.subscribers.push_back(std::move(*opened));
    feed.stats.emplace_back();
  }
}

Subscriber* CacheFeed::SubscriberOf(Feed& feed, std::string_view host_port) {
  if (feed.subscribers.empty()) return nullptr;
  return feed.subscribers[kvindex::ShardOf(host_port, static_cast<uint32_t>(feed.subscribers.size()))].get();
}

void CacheFeed::Subscribe(Feed& feed, model::EndpointId id, const model::Endpoint& endpoint) {
  Seen seen{.endpoint = endpoint, .source = SourceOf(endpoint, id, feed.settings.events)};
  seen.status.id = id;
  seen.status.host_port = endpoint.host_port();
  Subscriber* const subscriber = SubscriberOf(feed, seen.status.host_port);
  if (subscriber == nullptr) {
    seen.problem = feed.problem;
  } else if (const Status added = subscriber->Add(seen.source); !added) {
    seen.problem = added.error().message;
    Log(Level::kError, kModule, "endpoint cannot be subscribed to, its cache is not known",
        {{"pool", pool_}, {"endpoint", seen.status.host_port}, {"error", seen.problem}});
  } else {
    metrics_.Subscribers(1);
  }
  feed.seen.insert_or_assign(endpoint.host_port(), std::move(seen));
}

void CacheFeed::Add(model::EndpointId id, const model::Endpoint& endpoint) {
  endpoints_.emplace_back(id, endpoint);
  for (const auto& feed : feeds_) Subscribe(*feed, id, endpoint);
}

void CacheFeed::Remove(model::EndpointId id) {
  std::erase_if(endpoints_, [&](const auto& known) { return known.first == id; });
  for (const auto& feed : feeds_) {
    feed->index->Forget(id);
    const auto found =
        std::ranges::find_if(feed->seen, [&](const auto& entry) { return entry.second.status.id == id; });
    if (found == feed->seen.end()) continue;
    if (found->second.problem.empty()) {
      SubscriberOf(*feed, found->first)->Remove(id);
      metrics_.Subscribers(-1);
    }
    metrics_.ForgetEndpoint(pool_, found->first);
    feed->seen.erase(found);
  }
}

void CacheFeed::Update(model::EndpointId id, const model::Endpoint& endpoint) {
  const bool moved = std::ranges::any_of(feeds_, [&](const auto& feed) {
    const auto found = feed->seen.find(endpoint.host_port());
    if (found == feed->seen.end()) return true;
    const kvindex::EventSource source = SourceOf(endpoint, id, feed->settings.events);
    return source.endpoint != found->second.source.endpoint ||
           source.replay_endpoint != found->second.source.replay_endpoint;
  });
  if (moved) {
    Remove(id);
    return Add(id, endpoint);
  }
  for (auto& known : endpoints_) {
    if (known.first == id) known.second = endpoint;
  }
}

void CacheFeed::Look() {
  // Nobody but the feed has it: its policy was replaced.
  std::erase_if(feeds_, [&](const std::unique_ptr<Feed>& feed) {
    if (feed->index.use_count() > 1) return false;
    for (const auto& [host_port, seen] : feed->seen) {
      if (seen.problem.empty()) metrics_.Subscribers(-1);
      metrics_.ForgetEndpoint(pool_, host_port);
    }
    return true;
  });
  const TimePoint now = clock_.Now();
  const bool maintain = now - maintained_at_ >= kMaintainEvery;
  if (maintain) maintained_at_ = now;
  for (const auto& feed : feeds_) {
    if (maintain) feed->index->index.Maintain();
    LookAt(*feed);
  }
}

void CacheFeed::LookAt(Feed& feed) {
  for (size_t i = 0; i < feed.subscribers.size(); ++i) {
    const kvindex::SubscriberStats stats = feed.subscribers[i]->Stats();
    metrics_.Sockets(feed.stats[i], stats);
    feed.stats[i] = stats;
    for (const kvindex::FeedStatus& status : feed.subscribers[i]->Statuses()) {
      const auto found = feed.seen.find(status.host_port);
      if (found != feed.seen.end() && found->second.status.id == status.id) LookAt(feed, found->second, status);
    }
  }
  const kvindex::PrefixIndex::Stats stats = feed.index->index.Read();
  metrics_.Index(pool_, feed.index_stats, stats);
  feed.index_stats = stats;
}

void CacheFeed::LookAt(Feed& feed, Seen& seen, const kvindex::FeedStatus& status) {
  if (status.feed.batches != seen.status.feed.batches) seen.heard = clock_.Now();
  if (status.feed.restarts > seen.status.feed.restarts) {
    Log(Level::kWarn, kModule, "the engine restarted, its cache begins anew",
        {{"pool", pool_}, {"endpoint", status.host_port}, {"restarts", status.feed.restarts}});
  }
  metrics_.Events(pool_, seen.status, status);
  if (status.trust == Trust::kExact && seen.status.trust != Trust::kExact) {
    // What was presumed while its events were not all heard is void: from here on they say everything.
    feed.index->index.ForgetHistory(status.id);
  }
  seen.status = status;
  if (status.trust != seen.told && (status.trust == Trust::kExact || status.trust_seconds >= kTellAfterSeconds)) {
    Tell(feed, seen);
  }
}

void CacheFeed::Tell(const Feed& feed, Seen& seen) const {
  const bool exact = seen.status.trust == Trust::kExact;
  seen.told = seen.status.trust;
  Log(exact ? Level::kInfo : Level::kWarn, kModule,
      exact ? "the endpoint's cache is exactly known" : "the endpoint's cache is not exactly known",
      {{"pool", pool_},
       {"endpoint", seen.status.host_port},
       {"why", Name(seen.status.trust)},
       {"events", seen.source.endpoint.empty() ? feed.settings.events.bind_endpoint : seen.source.endpoint},
       {"blocks", seen.status.held},
       {"gaps", seen.status.feed.gaps},
       {"restarts", seen.status.feed.restarts}});
}

}  // namespace sluice::serving
