#include "serving/scraper.h"

#include <sys/resource.h>

#include <algorithm>

#include "net/socket.h"
#include "observe/log.h"
#include "serving/scraper_state.h"

namespace sluice::serving {

using observe::Level;
using observe::Log;
using runtime::AnyOf;
using runtime::Task;
using schedule::MetricsDataSource;

namespace {

constexpr std::string_view kModule = "pool";
constexpr Duration kModelsInterval = std::chrono::seconds(5);
constexpr Duration kCollectAfter = std::chrono::milliseconds(5);
constexpr Duration kSlice = std::chrono::milliseconds(5);  // between two batches of questions that one tick needs
constexpr size_t kBatch = 64;                              // questions at once; bounds how long requests wait
constexpr size_t kBuffersKept = 16;
constexpr Duration kPeriodWindow = std::chrono::seconds(10);
constexpr Duration kPeriodWarnAgain = std::chrono::seconds(60);

size_t DescriptorsMax() {
  rlimit limit{};
  return getrlimit(RLIMIT_NOFILE, &limit) == 0 ? static_cast<size_t>(limit.rlim_cur) : 1024;
}

int64_t Milliseconds(Duration d) { return d.count() / 1'000'000; }

}  // namespace

Scraper::Scraper(runtime::Loop& loop, net::HttpClient& client, RouterMetrics& metrics, pool::EndpointSet& set,
                 Options options)
    : loop_(loop),
      client_(client),
      metrics_(metrics),
      set_(set),
      options_(std::move(options)),
      rng_(EntropySeed()),
      open_max_(DescriptorsMax() / 2),
      tick_timer_(loop),
      collect_timer_(loop),
      tasks_(loop) {}

Scraper::~Scraper() = default;

// How a source is asked that says so itself.
Result<std::shared_ptr<const net::TlsContext>> Scraper::TlsOf(const MetricsDataSource& source) const {
  if (source.scheme != "https") return nullptr;
  auto context = net::TlsContext::MakeClient({.ca_path = source.ca_cert_path,
                                              .verify = !source.skip_verify,
                                              .certificate_path = source.client_cert_path,
                                              .key_path = source.client_key_path,
                                              .protocols = {"http/1.1"}});
  if (!context) return tl::unexpected(context.error());
  return std::make_shared<const net::TlsContext>(std::move(*context));
}

Status Scraper::Use(const schedule::LoadedConfig& config) {
  auto plan = std::make_shared<Plan>();
  plan->policy = config.policy;
  plan->tick = options_.interval;
  for (const schedule::MetricsBinding& binding : config.metrics) {
    const MetricsDataSource& source = *binding.source;
    const bool models = source.kind == MetricsDataSource::Kind::kModels;
    const Duration interval = source.interval > Duration::zero()
                                  ? std::max<Duration>(source.interval, options_.interval)
                              : models ? kModelsInterval
                                       : options_.interval;
    Plan::Source row{.kind = source.kind,
                     .type = std::string(source.info().type),
                     .path = source.path,
                     .port = source.port,
                     .own_scheme = !source.scheme.empty(),
                     .tls = nullptr,
                     .interval = interval,
                     .extractor = binding.extractor,
                     .dcgm = binding.dcgm,
                     .dialects = {}};
    auto tls = TlsOf(source);
    if (!tls) return tl::unexpected(tls.error());
    row.tls = std::move(*tls);
    if (binding.extractor != nullptr) {
      std::vector<std::string> warnings;
      auto dialects = pool::BuildDialects(binding.extractor, &warnings);
      if (!dialects) return tl::unexpected(dialects.error());
      for (const std::string& warning : warnings) {
        Log(Level::kWarn, kModule, "metrics mapping", {{"pool", options_.pool}, {"warning", warning}});
      }
      row.dialects = std::move(*dialects);
    }
    plan->sources.insert(models ? plan->sources.begin() : plan->sources.end(), std::move(row));
  }
  const auto is_models = [](const Plan::Source& source) { return source.kind == MetricsDataSource::Kind::kModels; };
  if (std::none_of(plan->sources.begin(), plan->sources.end(), is_models)) {
    plan->sources.insert(plan->sources.begin(), Plan::Source{.kind = MetricsDataSource::Kind::kModels,
                                                             .type = std::string(MetricsDataSource::kModels.type),
                                                             .path = "/v1/models",
                                                             .tls = nullptr,
                                                             .interval = kModelsInterval,
                                                             .dialects = {}});
  }
  plan_ = std::move(plan);
  return {};
}

void Scraper::Add(model::EndpointId id) {
  const model::Endpoint* endpoint = set_.Find(id);
  if (endpoint == nullptr) return;
  if (watched_.size() <= id.slot) watched_.resize(id.slot + 1);
  watched_[id.slot] = std::make_unique<Watched>(loop_, id, *endpoint);
  watched_[id.slot]->tasks.Spawn(Watch(watched_[id.slot].get()));
  if (!started_) return;
  // At once, not with the next tick: until it has told its models it gets no requests.
  watched_[id.slot]->state = Watched::State::kQueued;
  queue_.push_front(id);
  tick_timer_.Set(loop_.Now());
}

void Scraper::Remove(model::EndpointId id) {
  Watched* gone = Find(id);
  if (gone == nullptr) return;
  metrics_.ForgetEndpoint(options_.pool, gone->name);
  client_.Forget(gone->address);
  if (gone->state == Watched::State::kRunning) --running_;
  for (const auto& connection : gone->connections) Close(*connection);
  watched_[id.slot].reset();
  ++models_version_;
}

void Scraper::Start() {
  if (started_) return;
  started_ = true;
  next_tick_ = refilled_ = period_from_ = loop_.Now();
  tick_timer_.Set(next_tick_);
  tasks_.Spawn(Tick());
  tasks_.Spawn(Collect());
}

Task<> Scraper::Tick() {
  for (;;) {
    co_await AnyOf(tick_timer_);
    const TimePoint now = loop_.Now();
    const Duration full = FromSeconds(options_.cpu_share_max * std::max(Seconds(plan_->tick), 0.05));
    budget_ = std::min(full, budget_ + FromSeconds(options_.cpu_share_max * Seconds(now - refilled_)));
    refilled_ = now;
    if (now >= next_tick_) {
      QueueDue(now);
      ReportPeriod(now);
      next_tick_ = std::max(next_tick_ + plan_->tick, now);
    }
    StartQueued(now);
    tick_timer_.Set(queue_.empty() ? next_tick_ : std::min(next_tick_, now + (budget_ > cost_ ? Duration(0) : kSlice)));
  }
}

void Scraper::QueueDue(TimePoint now) {
  const TimePoint until = now + plan_->tick / 2;  // a tick that comes a moment early is that tick
  for (const auto& endpoint : watched_) {
    if (endpoint == nullptr) continue;
    if (endpoint->state == Watched::State::kRunning) {
      if (now >= endpoint->deadline) endpoint->expired.Set();
    } else if (endpoint->state == Watched::State::kIdle && endpoint->due <= until) {
      endpoint->state = Watched::State::kQueued;
      queue_.push_back(endpoint->id);
    }
  }
}

void Scraper::StartQueued(TimePoint now) {
  if (rounds_ >= 16) {
    cost_ = std::max<Duration>(spent_ / rounds_, std::chrono::microseconds(1));
    rounds_ = 0;
    spent_ = Duration(0);
  }
  if (budget_ <= Duration(0)) return;
  size_t left = std::min<size_t>(kBatch, 1 + static_cast<size_t>(budget_ / cost_));
  while (!queue_.empty() && left > 0 && running_ < kRunningMax) {
    Watched* endpoint = Find(queue_.front());
    queue_.pop_front();
    if (endpoint == nullptr || endpoint->state != Watched::State::kQueued) continue;
    --left;
    ++running_;
    ++rounds_;
    if (endpoint->due != TimePoint{}) {
      late_ += std::max<Duration>(Duration(0), now - endpoint->due);
      ++late_rounds_;
    }
    endpoint->state = Watched::State::kRunning;
    endpoint->go.Set();
  }
}

void Scraper::ReportPeriod(TimePoint now) {
  if (now - period_from_ < kPeriodWindow || late_rounds_ == 0) return;
  const Duration reached = plan_->tick + late_ / late_rounds_;
  period_from_ = now;
  late_ = Duration(0);
  late_rounds_ = 0;
  metrics_.ScrapePeriod(options_.pool, Seconds(reached));
  if (reached < plan_->tick * 3 / 2 || now < warn_again_) return;
  warn_again_ = now + kPeriodWarnAgain;
  Log(Level::kWarn, kModule, "scraping cannot keep up: endpoints' numbers are older than asked for",
      {{"pool", options_.pool},
       {"endpoints", set_.size()},
       {"interval_ms", Milliseconds(plan_->tick)},
       {"reached_ms", Milliseconds(reached)},
       {"cpu_share_max", options_.cpu_share_max}});
}

Task<> Scraper::Collect() {
  for (;;) {
    co_await AnyOf(collect_timer_);
    collect_timer_.Clear();
    collect_armed_ = false;
    std::swap(sent_, collecting_);
    for (const model::EndpointId id : collecting_) {
      Watched* endpoint = Find(id);
      if (endpoint != nullptr && endpoint->collectable) endpoint->go.Set();
    }
    collecting_.clear();
  }
}

void Scraper::MakePolls(Watched& endpoint) {
  endpoint.polls.clear();
  for (const auto& old : endpoint.connections) Close(*old);
  endpoint.connections.clear();
  endpoint.plan = plan_;
  for (const Plan::Source& source : plan_->sources) {
    net::Address address = endpoint.address;
    if (source.port != 0) address.port = source.port;
    const auto tls = source.own_scheme ? source.tls : endpoint.encrypted ? tls_ : nullptr;
    const auto same = std::find_if(endpoint.connections.begin(), endpoint.connections.end(),
                                   [&](const auto& c) { return c->address == address && c->tls == tls; });
    Connection* connection = same != endpoint.connections.end() ? same->get() : nullptr;
    if (connection == nullptr) {
      connection = endpoint.connections.emplace_back(std::make_unique<Connection>(std::move(address), tls)).get();
    }
    Poll& poll = *endpoint.polls.emplace_back(std::make_unique<Poll>(source, *connection));
    poll.request = "GET " + source.path + " HTTP/1.1\r\nhost: " + poll.address().ToString() + "\r\n\r\n";
  }
}

void Scraper::Close(Connection& connection) {
  if (!connection.wire) return;
  connection.wire.reset();
  --open_;
}

// Rounds, one for each time it is told to go.
Task<> Scraper::Watch(Watched* endpoint) {
  for (;;) {
    co_await AnyOf(endpoint->go);
    endpoint->go.Clear();
    if (endpoint->plan != plan_) MakePolls(*endpoint);
    const TimePoint began = loop_.Now();
    std::optional<Error> unreachable;
    bool answered = false;
    TimePoint next = TimePoint::max();
    for (const auto& poll : endpoint->polls) {
      const bool own = poll->address() == endpoint->address;
      const bool skip = own && unreachable;
      if (poll->due <= began + endpoint->plan->tick / 2 && !skip) {
        poll->due = began + poll->source->interval;
        const Result<Page> page = co_await Ask(endpoint, poll.get());
        if (!page) {
          metrics_.ScrapeFailed(poll->source->type);
          const bool ours = page.error().code == Code::kInternal;  // no descriptor left: not the endpoint's fault
          if (own && !ours) unreachable = page.error();
          if (!own || ours) Complain(*endpoint, *poll, page.error().message);
          poll->due = began;  // models and the like are asked again at once
        } else {
          answered |= own;
          std::string problem = Read(*endpoint, *poll, *page);
          const bool models = poll->source->kind == MetricsDataSource::Kind::kModels;
          if (models && !problem.empty()) {
            unreachable = Error{Code::kBadGateway, problem, ""};
            poll->due = began;
          }
          Complain(*endpoint, *poll, std::move(problem));
        }
        GiveBuffer(std::move(endpoint->page));
        endpoint->page = std::string();
      }
      next = std::min(next, poll->due);
    }
    if (unreachable) {
      NoteFailure(*endpoint, *unreachable);
    } else if (answered) {
      NoteSuccess(*endpoint);
    }
    const pool::EndpointHealth* health = set_.Health(endpoint->id);
    endpoint->due = std::max(next, began + endpoint->plan->tick);
    if (!health->in_rotation()) endpoint->due = std::max(endpoint->due, health->next_probe());
    endpoint->deadline = TimePoint::max();
    endpoint->state = Watched::State::kIdle;
    --running_;
  }
}

Task<Result<Scraper::Page>> Scraper::Ask(Watched* endpoint, Poll* poll) {
  endpoint->expired.Clear();
  endpoint->deadline = loop_.Now() + options_.timeout;
  Connection& connection = *poll->connection;
  for (bool reused = connection.wire.has_value();; reused = false) {
    if (!reused) {
      auto wire = co_await Connect(connection, endpoint->expired);
      if (!wire) co_return tl::unexpected(wire.error());
      connection.wire.emplace(std::move(*wire));
      ++open_;
    }
    auto page = co_await AskOnce(endpoint, poll, reused && poll->answered);
    if (page && connection.parser.keep_alive() && open_ <= open_max_) {
      poll->answered = true;
      co_return page;
    }
    Close(connection);
    const bool stale = !page && reused && connection.received_nothing && !endpoint->expired.ready();
    if (!stale) co_return page;  // a kept connection may have been closed meanwhile: once more on a new one
  }
}

Task<Result<net::Wire>> Scraper::Connect(const Connection& connection, runtime::Source& expired) {
  auto connected = co_await net::Connect(loop_, connection.address, options_.timeout, &expired);
  if (!connected) co_return tl::unexpected(connected.error());
  net::Wire wire(loop_, std::move(*connected));
  if (connection.tls == nullptr) co_return std::move(wire);
  wire.Encrypt(*connection.tls, tls_name_.empty() ? connection.address.host : tls_name_);
  const Status agreed = co_await wire.Handshake(options_.timeout, &expired);
  if (agreed) co_return std::move(wire);
  co_return Fail(Code::kUnavailable, "no TLS with " + connection.address.ToString() + ": " + agreed.error().message);
}

Task<Result<Scraper::Page>> Scraper::AskOnce(Watched* endpoint, Poll* poll, bool collect) {
  Page page{.asked = loop_.Now()};
  endpoint->page.clear();
  if (const Status sent = Send(*poll); !sent) co_return tl::unexpected(sent.error());
  if (collect) {  // the first answer is awaited instead: a new endpoint's numbers should come at once
    sent_.push_back(endpoint->id);
    if (!collect_armed_) {
      collect_armed_ = true;
      collect_timer_.SetAfter(kCollectAfter);
    }
    endpoint->collectable = true;
    co_await AnyOf(endpoint->go, endpoint->expired);
    endpoint->collectable = false;
    endpoint->go.Clear();
  }
  for (bool first = collect;; first = false) {
    if (!first) {
      const uint32_t ready = co_await AnyOf(poll->connection->wire->readable(), endpoint->expired);
      if ((ready & 1u) == 0) {
        co_return Fail(Code::kUpstreamTimeout, poll->address().ToString() + poll->source->path +
                                                   " did not answer within " +
                                                   std::to_string(Milliseconds(options_.timeout)) + " ms");
      }
    }
    Error error;
    const Step step = Receive(*endpoint, *poll, page, error);
    if (step == Step::kDone) co_return page;
    if (step == Step::kFailed) co_return tl::unexpected(std::move(error));
  }
}

Status Scraper::Send(Poll& poll) {
  const Meter meter(*this);
  poll.connection->parser.Reset();
  poll.connection->received_nothing = true;
  const std::string_view request = poll.request;
  const net::IoResult io = poll.connection->wire->Send(request);
  // A request is far smaller than a socket's buffer: one that does not fit means that the peer has stopped reading.
  if (io.state == net::IoState::kOk && io.bytes == request.size() && !poll.connection->wire->unsent()) return {};
  return Fail(Code::kBadGateway, poll.address().ToString() + " closed the connection");
}

Scraper::Step Scraper::Receive(Watched& endpoint, Poll& poll, Page& page, Error& error) {
  const Meter meter(*this);
  const auto fail = [&](std::string why) {
    error = {Code::kBadGateway, poll.address().ToString() + poll.source->path + " " + std::move(why), ""};
    return Step::kFailed;
  };
  std::span<char> got;
  const net::IoState state = poll.connection->wire->Receive(got);
  if (state == net::IoState::kWouldBlock || (state == net::IoState::kOk && got.empty())) return Step::kWait;
  if (state == net::IoState::kClosed) {
    if (!poll.connection->parser.FeedEof() || !poll.connection->parser.message_done())
      return fail("closed the connection before its end");
    page.status = poll.connection->parser.head().status;
    page.body = endpoint.page;
    return Step::kDone;
  }
  poll.connection->received_nothing = false;
  pieces_.clear();
  std::string_view bytes(got.data(), got.size());
  net::HttpParser& parser = poll.connection->parser;
  for (;;) {
    const auto used = parser.Feed(bytes, pieces_);
    if (!used) return fail("is not HTTP: " + used.error().message);
    bytes.remove_prefix(*used);
    if (parser.message_done() && parser.head().status < 200) parser.Reset();  // 100 Continue and the like
    // After a head, once more even without bytes: its message may have no body.
    if (parser.message_done() || (bytes.empty() && !(parser.head_done() && *used > 0))) break;
  }
  const bool done = poll.connection->parser.message_done();
  if (done && !bytes.empty()) return fail("sent more than its answer");
  if (done && endpoint.page.empty() && pieces_.size() <= 1) {  // usual: nothing to copy
    page.body = pieces_.empty() ? std::string_view() : pieces_.front();
  } else {
    if (endpoint.page.capacity() < 1024 && !buffers_.empty()) {
      endpoint.page.swap(buffers_.back());
      buffers_.pop_back();
    }
    for (const std::string_view piece : pieces_) endpoint.page.append(piece);
    page.body = endpoint.page;
  }
  if (endpoint.page.size() > options_.page_bytes_max) {
    return fail("is over " + std::to_string(options_.page_bytes_max) + " bytes");
  }
  page.status = poll.connection->parser.head().status;
  return done ? Step::kDone : Step::kWait;
}

void Scraper::GiveBuffer(std::string buffer) {
  if (buffer.capacity() < 1024 || buffers_.size() >= kBuffersKept ||
      buffer.capacity() > 4 * runtime::Loop::kScratchBytes)
    return;
  buffer.clear();
  buffers_.push_back(std::move(buffer));
}

void Scraper::Complain(Watched& endpoint, Poll& poll, std::string problem) {
  if (problem.empty() == poll.problem.empty()) return;
  if (!problem.empty()) {
    Log(Level::kWarn, kModule, "a source of metrics fails; the former values stay and grow old",
        {{"pool", options_.pool}, {"endpoint", endpoint.name}, {"source", poll.source->type}, {"reason", problem}});
  } else {
    Log(Level::kInfo, kModule, "a source of metrics works again",
        {{"pool", options_.pool}, {"endpoint", endpoint.name}, {"source", poll.source->type}});
  }
  poll.problem = std::move(problem);
}

void Scraper::NoteFailure(Watched& endpoint, const Error& error) {
  if (!set_.ReportConnectFailure(endpoint.id, loop_.Now(), rng_)) return;
  Log(Level::kWarn, kModule, "endpoint left the rotation",
      {{"pool", options_.pool}, {"endpoint", endpoint.address.ToString()}, {"reason", error.message}});
  client_.Forget(endpoint.address);
  for (const auto& poll : endpoint.polls) poll->due = TimePoint{};  // it may come back with other models
}

void Scraper::NoteSuccess(Watched& endpoint) {
  if (!set_.ReportSuccess(endpoint.id)) return;
  Log(Level::kInfo, kModule, "endpoint is back in the rotation",
      {{"pool", options_.pool}, {"endpoint", endpoint.address.ToString()}});
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

}  // namespace sluice::serving
