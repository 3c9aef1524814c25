#include "kvindex/events/subscriber.h"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <utility>

#include "base/check.h"
#include "base/text.h"
#include "kvindex/events/zmq_socket.h"

namespace sluice::kvindex {
namespace {

constexpr int kBatchesAtOnce = 64;      // of one endpoint before the next one's turn
constexpr int kTickMs = 50;             // timeouts and retries are seen this often
constexpr size_t kForgetAtOnce = 4096;  // buckets of the index, between two looks at the sockets: some 100 us
constexpr int kReconnectMs = 100;
constexpr int kReconnectMaxMs = 5000;
constexpr int kHeartbeatMs = 5000;  // a pod that vanished without a word is noticed after two of these
constexpr uint64_t kReplayEnd = ~uint64_t{0};

// All frames of a message; at most four are kept, of which `count` tells whether there were more.
class Message {
 public:
  static constexpr int kFramesMax = 4;
  Message() {
    for (auto& frame : frames_) zmq_msg_init(&frame);
  }
  ~Message() {
    for (auto& frame : frames_) zmq_msg_close(&frame);
  }
  Message(const Message&) = delete;
  Message& operator=(const Message&) = delete;

  bool Receive(void* socket) {
    count_ = 0;
    bool more = true;
    while (more) {
      zmq_msg_t& frame = frames_[std::min(count_, kFramesMax)];
      if (zmq_msg_recv(&frame, socket, ZMQ_DONTWAIT) < 0) return false;
      ++count_;
      more = zmq_msg_more(&frame) != 0;
    }
    return true;
  }
  int Count() const { return count_; }
  std::string_view operator[](int i) {
    return {static_cast<const char*>(zmq_msg_data(&frames_[i])), zmq_msg_size(&frames_[i])};
  }

 private:
  zmq_msg_t frames_[kFramesMax + 1];
  int count_ = 0;
};

bool ReadNumber(std::string_view bytes, uint64_t& number) {
  number = 0;
  for (const char c : bytes) number = number << 8 | static_cast<uint8_t>(c);
  return bytes.size() == 8;
}

}  // namespace

EventSource PodSource(const model::Endpoint& endpoint, model::EndpointId id, uint16_t port, uint16_t replay_port,
                      uint16_t rank) {
  model::Endpoint at = endpoint;
  EventSource source{.id = id, .host_port = endpoint.host_port(), .endpoint = {}, .replay_endpoint = {}, .model = {}};
  at.port = static_cast<uint16_t>(port + rank);
  source.endpoint = "tcp://" + at.host_port();
  if (replay_port != 0) {
    at.port = static_cast<uint16_t>(replay_port + rank);
    source.replay_endpoint = "tcp://" + at.host_port();
  }
  return source;
}

uint32_t ShardOf(std::string_view host_port, uint32_t shards) {
  uint32_t hash = 0x811c9dc5;
  for (const char c : host_port) hash = (hash ^ static_cast<uint8_t>(c)) * 0x01000193;
  return hash % shards;
}

Topic ParseTopic(std::string_view topic) {
  const std::vector<std::string_view> parts = Split(topic, '@');
  if (parts.size() != 3) return {topic, {}};
  return {parts[1], parts[2]};
}

struct Subscriber::Impl {
  Impl(const SubscriberOptions& o, PrefixIndex& i, const Clock& c) : options(o), index(i), clock(c), keys(o.keys) {}
  ~Impl();

  struct Entry {
    EventSource source;
    PrefixIndex::Slot slot;
    std::unique_ptr<EndpointFeed> feed;
    Socket live;     // null in central mode
    Socket monitor;  // of `live`
    Socket replay;   // while one is under way
  };
  struct PollRef {
    Entry* entry;  // null: the central socket
    enum class What : uint8_t { kLive, kMonitor, kReplay } what;
  };

  Socket New(int type, const std::string& endpoint);
  Result<Socket> NewLive(const std::string& endpoint, bool bind, std::string& bound);
  Status AddHere(EventSource source);
  void RemoveHere(model::EndpointId id);
  uint64_t Post(std::function<void()> task);
  void Call(std::function<void()> task);

  void Run();
  void Poll();
  void ReadLive(void* socket, Entry* of);
  void ReadMonitor(Entry& entry);
  void DrainLive(Entry& entry);
  void ReadReplay(Entry& entry);
  void CloseReplay(Entry& entry);
  void BeginReplays();
  void Publish();
  Entry* Find(std::string_view host_port);

  const SubscriberOptions options;
  PrefixIndex& index;
  const Clock& clock;
  const BlockKeys keys;
  // Destroyed in reverse: the sockets close before the context ends.
  Context context;
  Socket central;
  std::string bound;
  Wakeup wakeup;

  // The thread's.
  std::vector<std::unique_ptr<Entry>> entries;
  std::vector<zmq_pollitem_t> items;
  std::vector<PollRef> refs;
  uint64_t next_monitor = 0;
  int replays = 0;
  bool forgetting = false;  // blocks of endpoints that left are still there
  SubscriberStats counted;
  TimePoint published_at{};

  // Shared.
  mutable std::mutex mutex;
  std::condition_variable done;
  std::deque<std::function<void()>> tasks;
  uint64_t asked = 0, finished = 0;
  bool stop = false;
  std::vector<FeedStatus> statuses;
  SubscriberStats stats;
  std::thread thread;
};

Socket Subscriber::Impl::New(int type, const std::string& endpoint) {
  Socket socket(zmq_socket(context.get(), type));
  if (socket == nullptr) return socket;
  SetInt(socket.get(), ZMQ_LINGER, 0);
  if (endpoint.find('[') != std::string::npos || endpoint.find("::") != std::string::npos) {
    SetInt(socket.get(), ZMQ_IPV6, 1);
  }
  SetInt(socket.get(), ZMQ_RCVHWM, options.receive_hwm);
  SetInt(socket.get(), ZMQ_RECONNECT_IVL, kReconnectMs);
  SetInt(socket.get(), ZMQ_RECONNECT_IVL_MAX, kReconnectMaxMs);
  SetInt(socket.get(), ZMQ_HEARTBEAT_IVL, kHeartbeatMs);
  zmq_setsockopt(socket.get(), ZMQ_MAXMSGSIZE, &options.message_bytes_max, sizeof(options.message_bytes_max));
  return socket;
}

Result<Socket> Subscriber::Impl::NewLive(const std::string& endpoint, bool bind, std::string& at) {
  Socket socket = New(ZMQ_SUB, endpoint);
  if (socket == nullptr) {
    return Fail(Code::kInternal, "KV events: no ZMQ socket for '" + endpoint + "' (too many open files?)");
  }
  zmq_setsockopt(socket.get(), ZMQ_SUBSCRIBE, options.topic_filter.data(), options.topic_filter.size());
  auto attached = Attach(socket.get(), endpoint, bind, bind ? "zmqEndpoint" : "endpoint");
  if (!attached) return tl::unexpected(std::move(attached.error()));
  at = std::move(*attached);
  return socket;
}

// Runs `task` on the thread, some time.
uint64_t Subscriber::Impl::Post(std::function<void()> task) {
  const std::lock_guard lock(mutex);
  tasks.push_back(std::move(task));
  wakeup.Signal();
  return ++asked;
}

// Returns when it has run.
void Subscriber::Impl::Call(std::function<void()> task) {
  const uint64_t mine = Post(std::move(task));
  std::unique_lock lock(mutex);
  done.wait(lock, [&] { return finished >= mine; });
}

Status Subscriber::Impl::AddHere(EventSource source) {
  if (Find(source.host_port) != nullptr) {
    return Fail(Code::kConflict, "KV events: '" + source.host_port + "' is subscribed to already", "endpoint");
  }
  auto entry = std::make_unique<Entry>();
  if (!source.endpoint.empty()) {
    Socket live = New(ZMQ_SUB, source.endpoint);
    Socket monitor = New(ZMQ_PAIR, {});
    if (live == nullptr || monitor == nullptr) {
      return Fail(Code::kInternal, "KV events: no ZMQ socket for '" + source.endpoint + "' (too many open files?)");
    }
    const std::string address = "inproc://monitor-" + std::to_string(next_monitor++);
    // Listened to before the first connection is tried.
    if (zmq_socket_monitor(live.get(), address.c_str(), ZMQ_EVENT_HANDSHAKE_SUCCEEDED | ZMQ_EVENT_DISCONNECTED) != 0 ||
        zmq_connect(monitor.get(), address.c_str()) != 0) {
      return Fail(Code::kInternal, "KV events: no monitor for '" + source.endpoint + "' (too many open files?)");
    }
    zmq_setsockopt(live.get(), ZMQ_SUBSCRIBE, options.topic_filter.data(), options.topic_filter.size());
    if (auto at = Attach(live.get(), source.endpoint, /*bind=*/false, "endpoint"); !at) {
      return tl::unexpected(std::move(at.error()));
    }
    entry->live = std::move(live);
    entry->monitor = std::move(monitor);
  }
  const auto slot = index.AddEndpoint(source.id);
  if (!slot) return tl::unexpected(slot.error());
  entry->slot = *slot;
  const size_t share = index.Budget().Max() / index.options().endpoints_max / 2;
  entry->feed = std::make_unique<EndpointFeed>(index, *slot, keys, share, options.feed, !source.replay_endpoint.empty(),
                                               source.model, clock.Now());
  entry->source = std::move(source);
  entries.push_back(std::move(entry));
  return {};
}

void Subscriber::Impl::RemoveHere(model::EndpointId id) {
  const auto it = std::find_if(entries.begin(), entries.end(), [&](const auto& e) { return e->source.id == id; });
  if (it == entries.end()) return;
  CloseReplay(**it);
  const PrefixIndex::Slot slot = (*it)->slot;
  entries.erase(it);  // its blocks leave one by one
  index.RemoveEndpoint(slot);
}

Subscriber::Impl::Entry* Subscriber::Impl::Find(std::string_view host_port) {
  for (const auto& entry : entries) {
    if (entry->source.host_port == host_port) return entry.get();
  }
  return nullptr;
}

void Subscriber::Impl::Run() {
  while (true) {
    Poll();
    std::deque<std::function<void()>> now;
    bool stopping = false;
    {
      const std::lock_guard lock(mutex);
      now.swap(tasks);
      stopping = stop;
    }
    for (const auto& task : now) task();
    BeginReplays();
    forgetting = index.ForgetSome(kForgetAtOnce);
    if (!now.empty() || clock.Now() - published_at >= std::chrono::milliseconds(kTickMs)) Publish();
    if (!now.empty()) {
      const std::lock_guard lock(mutex);
      finished += now.size();
      done.notify_all();
    }
    if (stopping) break;
  }
  while (!entries.empty()) RemoveHere(entries.front()->source.id);
}

void Subscriber::Impl::Poll() {
  items.assign(1, {nullptr, wakeup.Fd(), ZMQ_POLLIN, 0});
  refs.assign(1, {nullptr, PollRef::What::kLive});
  const auto add = [this](void* socket, Entry* entry, PollRef::What what) {
    items.push_back({socket, 0, ZMQ_POLLIN, 0});
    refs.push_back({entry, what});
  };
  if (central != nullptr) add(central.get(), nullptr, PollRef::What::kLive);
  for (const auto& entry : entries) {
    if (entry->monitor != nullptr) add(entry->monitor.get(), entry.get(), PollRef::What::kMonitor);
    if (entry->replay != nullptr) {
      add(entry->replay.get(), entry.get(), PollRef::What::kReplay);
    } else if (entry->live != nullptr && !entry->feed->WantsReplay(TimePoint::max()).has_value()) {
      // Not while a replay is due or under way: live batches wait in the socket, as what it brings comes first.
      add(entry->live.get(), entry.get(), PollRef::What::kLive);
    }
  }
  if (zmq_poll(items.data(), static_cast<int>(items.size()), forgetting ? 0 : kTickMs) < 0) return;
  if ((items[0].revents & ZMQ_POLLIN) != 0) wakeup.Clear();
  for (size_t i = 1; i < items.size(); ++i) {
    if ((items[i].revents & ZMQ_POLLIN) == 0) continue;
    switch (refs[i].what) {
      case PollRef::What::kLive:
        ReadLive(items[i].socket, refs[i].entry);
        break;
      case PollRef::What::kMonitor:
        ReadMonitor(*refs[i].entry);
        break;
      case PollRef::What::kReplay:
        ReadReplay(*refs[i].entry);
        break;
    }
  }
}

void Subscriber::Impl::ReadLive(void* socket, Entry* of) {
  Message message;
  for (int i = 0; i < kBatchesAtOnce; ++i) {
    if (of != nullptr && (of->feed->Replaying() || of->feed->WantsReplay(TimePoint::max()).has_value())) return;
    if (!message.Receive(socket)) return;
    uint64_t sequence = 0;
    if (message.Count() != 3 || !ReadNumber(message[1], sequence)) {
      ++counted.bad_messages;
      continue;
    }
    const Topic topic = ParseTopic(message[0]);
    Entry* const entry = of != nullptr ? of : Find(topic.pod);
    if (entry == nullptr) {
      ++counted.unknown_topics;
      continue;
    }
    entry->feed->OnLive(topic.model, sequence, message[2], clock.Now());
  }
}

// What a lost connection still brought. Read before the loss is told: a batch read after it would look like a new
// connection, and the dead one like a live one from then on. What a replay would have brought is for the next one.
void Subscriber::Impl::DrainLive(Entry& entry) {
  Message message;
  while (message.Receive(entry.live.get())) {
    uint64_t sequence = 0;
    if (message.Count() != 3 || !ReadNumber(message[1], sequence)) {
      ++counted.bad_messages;
    } else if (entry.feed->connected()) {
      entry.feed->OnLive(ParseTopic(message[0]).model, sequence, message[2], clock.Now());
    }
  }
}

void Subscriber::Impl::ReadMonitor(Entry& entry) {
  Message message;
  while (message.Receive(entry.monitor.get())) {
    if (message.Count() < 1 || message[0].size() < 2) continue;
    uint16_t event = 0;
    std::copy_n(message[0].data(), sizeof(event), reinterpret_cast<char*>(&event));
    CloseReplay(entry);
    if (event == ZMQ_EVENT_HANDSHAKE_SUCCEEDED) {
      entry.feed->OnConnected(clock.Now());
    } else {
      DrainLive(entry);
      entry.feed->OnDisconnected(clock.Now());
    }
  }
}

void Subscriber::Impl::ReadReplay(Entry& entry) {
  Message message;
  for (int i = 0; i < kBatchesAtOnce && entry.replay != nullptr; ++i) {
    if (!message.Receive(entry.replay.get())) return;
    // [empty] topic seq payload (vLLM since mid-2026), or [empty] seq payload.
    const int count = message.Count();
    const int first = count > 2 && message[0].empty() ? 1 : 0;
    const bool with_topic = count - first == 3;
    const int number_at = with_topic ? first + 1 : first;
    uint64_t sequence = 0;
    if (count > Message::kFramesMax || count - first < 2 || count - first > 3 ||
        !ReadNumber(message[number_at], sequence)) {
      ++counted.bad_messages;
      continue;
    }
    bool go_on = true;
    if (sequence == kReplayEnd) {
      entry.feed->OnReplayEnd(clock.Now());
      go_on = false;
    } else {
      std::optional<std::string_view> model;
      if (with_topic) model = ParseTopic(message[first]).model;
      go_on = entry.feed->OnReplay(model, sequence, message[number_at + 1], clock.Now());
    }
    if (!go_on) CloseReplay(entry);
  }
}

void Subscriber::Impl::CloseReplay(Entry& entry) {
  if (entry.replay == nullptr) return;
  entry.replay.reset();
  --replays;
}

void Subscriber::Impl::BeginReplays() {
  for (const auto& entry : entries) {
    const TimePoint now = clock.Now();
    if (entry->feed->Tick(now)) CloseReplay(*entry);
    const auto start = entry->feed->WantsReplay(now);
    if (!start.has_value() || entry->replay != nullptr || replays >= options.replays_max) continue;
    // A socket of its own: what an attempt that was given up still sends goes nowhere.
    Socket socket = New(ZMQ_DEALER, entry->source.replay_endpoint);
    entry->feed->ReplayBegun(now);
    const auto number = BigEndian(*start);
    if (socket == nullptr || zmq_connect(socket.get(), entry->source.replay_endpoint.c_str()) != 0 ||
        !SendFrame(socket.get(), {}, ZMQ_SNDMORE) || !SendFrame(socket.get(), {number.data(), number.size()}, 0)) {
      ++counted.socket_errors;
      entry->feed->ReplayFailed(now);
      continue;
    }
    entry->replay = std::move(socket);
    ++replays;
  }
}

void Subscriber::Impl::Publish() {
  const TimePoint now = clock.Now();
  published_at = now;
  const std::lock_guard lock(mutex);
  statuses.resize(entries.size());
  for (size_t i = 0; i < entries.size(); ++i) {
    const Entry& entry = *entries[i];
    FeedStatus& status = statuses[i];
    status.id = entry.source.id;
    status.host_port = entry.source.host_port;
    status.connected = entry.feed->connected();
    status.trust = entry.feed->trust();
    status.trust_seconds = Seconds(now - entry.feed->trust_since());
    status.last_sequence = entry.feed->last_sequence();
    status.feed = entry.feed->counters();
    status.blocks = entry.feed->blocks();
    status.held = index.HoldersOf(entry.slot);
  }
  stats = counted;
}

Subscriber::Impl::~Impl() {
  if (!thread.joinable()) return;
  {
    const std::lock_guard lock(mutex);
    stop = true;
  }
  wakeup.Signal();
  thread.join();
}

Subscriber::Subscriber(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Subscriber::~Subscriber() = default;

Result<std::unique_ptr<Subscriber>> Subscriber::Open(const SubscriberOptions& options, PrefixIndex& index,
                                                     const Clock& clock) {
  auto impl = std::make_unique<Impl>(options, index, clock);
  if (!impl->wakeup.Valid()) return Fail(Code::kInternal, "KV events: no event descriptor (too many open files?)");
  impl->context.reset(zmq_ctx_new());
  if (impl->context == nullptr) return Fail(Code::kInternal, "KV events: ZMQ cannot start");
  // Three an endpoint (live, its monitor on both ends) and the replays.
  zmq_ctx_set(impl->context.get(), ZMQ_MAX_SOCKETS,
              static_cast<int>(index.options().endpoints_max) * 4 + options.replays_max + 64);
  if (!options.bind_endpoint.empty()) {
    auto central = impl->NewLive(options.bind_endpoint, /*bind=*/true, impl->bound);
    if (!central) return tl::unexpected(std::move(central.error()));
    impl->central = std::move(*central);
  }
  impl->thread = std::thread([raw = impl.get()] { raw->Run(); });
  return std::unique_ptr<Subscriber>(new Subscriber(std::move(impl)));
}

Status Subscriber::Add(EventSource source) {
  Status status;
  impl_->Call([&] { status = impl_->AddHere(std::move(source)); });
  return status;
}

void Subscriber::Remove(model::EndpointId id) {
  impl_->index.HideEndpoint(id);
  impl_->Post([impl = impl_.get(), id] { impl->RemoveHere(id); });
}

std::vector<FeedStatus> Subscriber::Statuses() const {
  const std::lock_guard lock(impl_->mutex);
  return impl_->statuses;
}

SubscriberStats Subscriber::Stats() const {
  const std::lock_guard lock(impl_->mutex);
  return impl_->stats;
}

const std::string& Subscriber::BoundEndpoint() const { return impl_->bound; }

}  // namespace sluice::kvindex
