#include "kvindex/events/publisher.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <deque>
#include <mutex>
#include <thread>
#include <utility>

#include "base/check.h"
#include "kvindex/events/zmq_socket.h"

namespace sluice::kvindex {
namespace {

using std::chrono::steady_clock;

constexpr size_t kReplayBytesMax = size_t{256} << 20;  // beside buffer_steps: batches differ in size
constexpr int64_t kReplayRequestBytesMax = 1024;       // a request is 8 bytes; a longer frame closes the connection
constexpr auto kDrainGrace = std::chrono::milliseconds(500);  // for what is queued when the publisher closes
constexpr int kLingerMs = 300;                                // for what ZMQ still holds after that

using Payload = std::shared_ptr<const std::string>;

// Sends a payload without copying it: ZMQ holds a reference until the frame has left.
bool SendPayload(void* socket, const Payload& payload) {
  auto* held = new Payload(payload);
  zmq_msg_t message;
  const auto release = [](void*, void* hint) { delete static_cast<Payload*>(hint); };
  if (zmq_msg_init_data(&message, const_cast<char*>(payload->data()), payload->size(), release, held) != 0) {
    delete held;
    return false;
  }
  if (zmq_msg_send(&message, socket, ZMQ_DONTWAIT) >= 0) return true;
  zmq_msg_close(&message);
  return false;
}

bool Binds(std::string_view endpoint) {
  return endpoint.find('*') != std::string_view::npos || endpoint.find("::") != std::string_view::npos ||
         endpoint.starts_with("ipc://") || endpoint.starts_with("inproc://");
}

}  // namespace

struct Publisher::Impl {
  explicit Impl(const PublisherOptions& o) : options(o) {}
  ~Impl();

  Status OpenSockets();
  void Run();
  void SendQueued(steady_clock::time_point deadline);
  void SendLive(uint64_t sequence, const EventBatch& batch);
  void AnswerReplay();
  bool ReadReplayRequest(std::string& identity, uint64_t& start);
  void Replay(const std::string& identity, uint64_t start);

  const PublisherOptions options;
  // Destroyed in reverse: the sockets close before the context ends.
  Context context;
  Socket publish;
  Socket replay;
  std::string bound;
  std::string bound_replay;
  Wakeup wakeup;

  // Publish()'s side.
  uint64_t next_sequence = 0;
  std::atomic<uint64_t> dropped{0};

  // Shared.
  std::mutex mutex;
  std::deque<std::pair<uint64_t, EventBatch>> queue;
  bool stop = false;

  // The thread's.
  struct Sent {
    uint64_t sequence;
    Payload payload;
  };
  std::deque<Sent> history;
  size_t history_bytes = 0;
  std::thread thread;
};

Status Publisher::Impl::OpenSockets() {
  if (!wakeup.Valid()) return Fail(Code::kInternal, "KV events: no event descriptor (too many open files?)");
  context.reset(zmq_ctx_new());
  if (context == nullptr) return Fail(Code::kInternal, "KV events: ZMQ cannot start");
  const auto open = [this](int type, const std::string& endpoint) {
    Socket socket(zmq_socket(context.get(), type));
    if (socket == nullptr) return socket;
    SetInt(socket.get(), ZMQ_LINGER, kLingerMs);
    if (endpoint.find("::") != std::string::npos) SetInt(socket.get(), ZMQ_IPV6, 1);
    return socket;
  };
  publish = open(ZMQ_PUB, options.endpoint);
  if (publish == nullptr) return Fail(Code::kInternal, "KV events: no ZMQ socket (too many open files?)");
  SetInt(publish.get(), ZMQ_SNDHWM, options.hwm);
  auto at = Attach(publish.get(), options.endpoint, options.bind || Binds(options.endpoint), "endpoint");
  if (!at) return tl::unexpected(std::move(at.error()));
  bound = std::move(*at);
  if (options.replay_endpoint.empty()) return {};
  replay = open(ZMQ_ROUTER, options.replay_endpoint);
  if (replay == nullptr) return Fail(Code::kInternal, "KV events: no ZMQ socket (too many open files?)");
  // A whole history fits in one peer's queue, whatever its speed; a peer that asks again without reading loses frames.
  SetInt(replay.get(), ZMQ_SNDHWM, static_cast<int>(options.buffer_steps) + 2);
  zmq_setsockopt(replay.get(), ZMQ_MAXMSGSIZE, &kReplayRequestBytesMax, sizeof(kReplayRequestBytesMax));
  at = Attach(replay.get(), options.replay_endpoint, /*bind=*/true, "replay_endpoint");
  if (!at) return tl::unexpected(std::move(at.error()));
  bound_replay = std::move(*at);
  return {};
}

void Publisher::Impl::Run() {
  while (true) {
    zmq_pollitem_t items[2] = {{nullptr, wakeup.Fd(), ZMQ_POLLIN, 0}, {replay.get(), 0, ZMQ_POLLIN, 0}};
    if (zmq_poll(items, replay == nullptr ? 1 : 2, -1) < 0 && zmq_errno() != EINTR) return;
    wakeup.Clear();
    bool stopping = false;
    {
      const std::lock_guard lock(mutex);
      stopping = stop;
    }
    SendQueued(stopping ? steady_clock::now() + kDrainGrace : steady_clock::time_point::max());
    if (stopping) return;
    // One request between two looks at the queue: a replay must not hold up live events for longer than itself.
    if ((items[1].revents & ZMQ_POLLIN) != 0) AnswerReplay();
  }
}

void Publisher::Impl::SendQueued(steady_clock::time_point deadline) {
  std::deque<std::pair<uint64_t, EventBatch>> batches;
  {
    const std::lock_guard lock(mutex);
    batches.swap(queue);
  }
  for (const auto& [sequence, batch] : batches) {
    if (steady_clock::now() > deadline) return;
    SendLive(sequence, batch);
  }
}

void Publisher::Impl::SendLive(uint64_t sequence, const EventBatch& batch) {
  auto payload = std::make_shared<const std::string>(EncodeBatch(batch, options.hash_form));
  const auto number = BigEndian(sequence);
  // PUB never blocks: it drops for a subscriber that is `hwm` messages behind.
  if (SendFrame(publish.get(), options.topic, ZMQ_SNDMORE)) {
    SendFrame(publish.get(), {number.data(), number.size()}, ZMQ_SNDMORE);
    SendPayload(publish.get(), payload);
  }
  if (replay == nullptr) return;
  history_bytes += payload->size();
  history.push_back({sequence, std::move(payload)});
  while (!history.empty() &&
         (history.size() > static_cast<size_t>(options.buffer_steps) || history_bytes > kReplayBytesMax)) {
    history_bytes -= history.front().payload->size();
    history.pop_front();
  }
}

// A request is [identity, empty, start]; start is big-endian, 8 bytes (vLLM takes 4 too). Anything else gets no answer.
bool Publisher::Impl::ReadReplayRequest(std::string& identity, uint64_t& start) {
  int frames = 0;
  bool good = true;
  bool more = true;
  while (more) {
    zmq_msg_t frame;
    zmq_msg_init(&frame);
    if (zmq_msg_recv(&frame, replay.get(), ZMQ_DONTWAIT) < 0) {
      zmq_msg_close(&frame);
      return false;
    }
    const std::string_view bytes(static_cast<const char*>(zmq_msg_data(&frame)), zmq_msg_size(&frame));
    if (frames == 0) identity.assign(bytes);
    if (frames == 1) good = bytes.empty();
    if (frames == 2) {
      good = good && (bytes.size() == 8 || bytes.size() == 4);
      start = 0;
      for (size_t i = 0; good && i < bytes.size(); ++i) start = start << 8 | static_cast<uint8_t>(bytes[i]);
    }
    ++frames;
    more = zmq_msg_more(&frame) != 0;
    zmq_msg_close(&frame);
  }
  return good && frames == 3;
}

void Publisher::Impl::AnswerReplay() {
  std::string identity;
  uint64_t start = 0;
  if (ReadReplayRequest(identity, start)) Replay(identity, start);
}

void Publisher::Impl::Replay(const std::string& identity, uint64_t start) {
  const auto send = [&](std::string_view topic, uint64_t sequence, const Payload& payload) {
    const auto number = BigEndian(sequence);
    // The first frame fails when the peer has gone; then the rest must not be sent.
    if (!SendFrame(replay.get(), identity, ZMQ_SNDMORE)) return false;
    return SendFrame(replay.get(), {}, ZMQ_SNDMORE) && SendFrame(replay.get(), topic, ZMQ_SNDMORE) &&
           SendFrame(replay.get(), {number.data(), number.size()}, ZMQ_SNDMORE) && SendPayload(replay.get(), payload);
  };
  const auto first = std::lower_bound(history.begin(), history.end(), start,
                                      [](const Sent& sent, uint64_t sequence) { return sent.sequence < sequence; });
  for (auto it = first; it != history.end(); ++it) {
    if (!send(options.topic, it->sequence, it->payload)) return;
  }
  send({}, ~uint64_t{0}, std::make_shared<const std::string>());
}

Publisher::Impl::~Impl() {
  if (!thread.joinable()) return;
  {
    const std::lock_guard lock(mutex);
    stop = true;
  }
  wakeup.Signal();
  thread.join();
}

Publisher::Publisher(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Publisher::~Publisher() = default;

Result<std::unique_ptr<Publisher>> Publisher::Open(const PublisherOptions& options) {
  auto impl = std::make_unique<Impl>(options);
  if (options.publisher != "null") {
    if (auto status = impl->OpenSockets(); !status) return tl::unexpected(std::move(status.error()));
    impl->thread = std::thread([raw = impl.get()] { raw->Run(); });
  }
  return std::unique_ptr<Publisher>(new Publisher(std::move(impl)));
}

void Publisher::Publish(EventBatch batch) {
  if (batch.events.empty() || impl_->publish == nullptr) return;
  const uint64_t sequence = impl_->next_sequence++;
  bool was_empty = false;
  {
    const std::lock_guard lock(impl_->mutex);
    if (impl_->queue.size() >= static_cast<size_t>(impl_->options.max_queue_size)) {
      impl_->dropped.fetch_add(1, std::memory_order_relaxed);
      return;
    }
    was_empty = impl_->queue.empty();
    impl_->queue.emplace_back(sequence, std::move(batch));
  }
  if (was_empty) impl_->wakeup.Signal();
}

uint64_t Publisher::Dropped() const { return impl_->dropped.load(std::memory_order_relaxed); }
const std::string& Publisher::BoundEndpoint() const { return impl_->bound; }
const std::string& Publisher::BoundReplayEndpoint() const { return impl_->bound_replay; }

}  // namespace sluice::kvindex
