#include "net/dns.h"

#include <ares.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/select.h>

#include <unistd.h>
#include <algorithm>
#include <cstring>
#include <map>
#include <mutex>

#include "base/check.h"

namespace sluice::net {

using runtime::AnyOf;
using runtime::Task;

namespace {

// One query; shared by the waiting task and by c-ares, whichever ends last.
struct Query {
  explicit Query(runtime::Loop& loop) : done(loop) {}
  runtime::Event done;
  int status = ARES_ECANCELLED;
  std::vector<std::string> addresses;
};

void OnAnswer(void* argument, int status, int /*timeouts*/, ares_addrinfo* info) {
  const std::unique_ptr<std::shared_ptr<Query>> query(static_cast<std::shared_ptr<Query>*>(argument));
  (*query)->status = status;
  for (const ares_addrinfo_node* node = info != nullptr ? info->nodes : nullptr; node != nullptr;
       node = node->ai_next) {
    char text[INET6_ADDRSTRLEN] = "";
    if (node->ai_family == AF_INET) {
      inet_ntop(AF_INET, &reinterpret_cast<const sockaddr_in*>(node->ai_addr)->sin_addr, text, sizeof text);
    } else if (node->ai_family == AF_INET6) {
      inet_ntop(AF_INET6, &reinterpret_cast<const sockaddr_in6*>(node->ai_addr)->sin6_addr, text, sizeof text);
    }
    if (*text != '\0') (*query)->addresses.emplace_back(text);
  }
  if (info != nullptr) ares_freeaddrinfo(info);
  (*query)->done.Set();
}

}  // namespace

// c-ares opens and closes its own sockets; each is watched through a duplicate of its descriptor, which the loop may
// close when it likes.
struct Resolver::Impl {
  Impl(runtime::Loop& l, Options o) : loop(l), options(std::move(o)), timer(l), clock(l) {}

  struct Watched {
    explicit Watched(runtime::Loop& loop) : tasks(loop) {}
    runtime::DescriptorPtr descriptor;
    runtime::TaskScope tasks;
  };

  static void OnSocket(void* self, ares_socket_t fd, int readable, int writable) {
    static_cast<Impl*>(self)->Watch(fd, readable != 0, writable != 0);
  }
  void Watch(int fd, bool readable, bool writable) {
    if (!readable && !writable) {
      const auto found = watched.find(fd);
      if (found == watched.end()) return;
      closing.push_back(std::move(found->second));  // its task may be the one that runs now
      watched.erase(found);
      return;
    }
    auto& entry = watched[fd];
    if (entry == nullptr) {
      const int copy = dup(fd);
      if (copy < 0) return;  // no descriptor left: the query times out, which is an error of its own
      entry = std::make_unique<Watched>(loop);
      entry->descriptor = runtime::DescriptorPtr(loop, copy);
      entry->tasks.Spawn(Read(this, entry.get(), fd));
    }
    if (writable) entry->tasks.Spawn(Write(this, entry.get(), fd));
  }
  static Task<> Read(Impl* self, Watched* entry, int fd) {
    for (;;) {
      co_await AnyOf(entry->descriptor->readable);
      self->Process(fd, ARES_SOCKET_BAD);
    }
  }
  static Task<> Write(Impl* self, Watched* entry, int fd) {
    co_await AnyOf(entry->descriptor->writable);
    self->Process(ARES_SOCKET_BAD, fd);
  }
  void Process(int readable, int writable) {
    ares_process_fd(channel, readable, writable);
    SetTimer();
  }
  void SetTimer() {
    timeval left{};
    if (ares_timeout(channel, nullptr, &left) == nullptr) return timer.Clear();
    timer.SetAfter(std::chrono::seconds(left.tv_sec) + std::chrono::microseconds(left.tv_usec) +
                   std::chrono::milliseconds(1));
  }
  static Task<> Expire(Impl* self) {
    for (;;) {
      co_await AnyOf(self->timer);
      self->timer.Clear();
      self->closing.clear();
      self->Process(ARES_SOCKET_BAD, ARES_SOCKET_BAD);
    }
  }

  runtime::Loop& loop;
  Options options;
  ares_channel channel = nullptr;
  std::string broken;  // why there is no channel
  runtime::Timer timer;
  std::map<int, std::unique_ptr<Watched>> watched;
  std::vector<std::unique_ptr<Watched>> closing;  // sockets that c-ares has closed
  runtime::TaskScope clock;
};

Resolver::Resolver(runtime::Loop& loop, Options options) : impl_(std::make_unique<Impl>(loop, std::move(options))) {
  static const int library = ares_library_init(ARES_LIB_INIT_ALL);
  SLUICE_CHECK(library == ARES_SUCCESS, "c-ares could not be initialised");
  ares_options wanted{};
  wanted.timeout = static_cast<int>(impl_->options.timeout.count() / 1'000'000);
  wanted.tries = impl_->options.tries;
  wanted.sock_state_cb = &Impl::OnSocket;
  wanted.sock_state_cb_data = impl_.get();
  wanted.lookups = const_cast<char*>(impl_->options.servers.empty() ? "fb" : "b");
  const int mask = ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_SOCK_STATE_CB | ARES_OPT_LOOKUPS;
  int status = ares_init_options(&impl_->channel, &wanted, mask);
  if (status == ARES_SUCCESS && !impl_->options.servers.empty()) {
    status = ares_set_servers_ports_csv(impl_->channel, impl_->options.servers.c_str());
  }
  if (status != ARES_SUCCESS) impl_->broken = ares_strerror(status);
  impl_->clock.Spawn(Impl::Expire(impl_.get()));
}

Resolver::~Resolver() {
  impl_->clock.CancelAll();
  if (impl_->channel != nullptr) ares_destroy(impl_->channel);
}

Task<Result<Resolver::Answer>> Resolver::Resolve(std::string name) {
  if (!impl_->broken.empty()) {
    co_return Fail(Code::kUnavailable, "names cannot be resolved: " + impl_->broken + " (is /etc/resolv.conf right?)");
  }
  auto query = std::make_shared<Query>(impl_->loop);
  ares_addrinfo_hints hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = ARES_AI_NOSORT;
  ares_getaddrinfo(impl_->channel, name.c_str(), nullptr, &hints, &OnAnswer, new std::shared_ptr<Query>(query));
  impl_->SetTimer();
  co_await AnyOf(query->done);
  impl_->closing.clear();
  if (query->status == ARES_ENOTFOUND || query->status == ARES_ENODATA ||
      (query->status == ARES_SUCCESS && query->addresses.empty())) {
    co_return Fail(Code::kNotFound,
                   "the name '" + name + "' has no address (DNS: " + ares_strerror(query->status) + ")");
  }
  if (query->status != ARES_SUCCESS) {
    co_return Fail(Code::kUnavailable,
                   "the name '" + name + "' could not be resolved: " + ares_strerror(query->status));
  }
  Answer answer{.addresses = std::move(query->addresses)};
  std::sort(answer.addresses.begin(), answer.addresses.end());
  answer.addresses.erase(std::unique(answer.addresses.begin(), answer.addresses.end()), answer.addresses.end());
  answer.cut = answer.addresses.size() > impl_->options.addresses_max;
  if (answer.cut) answer.addresses.resize(impl_->options.addresses_max);
  co_return answer;
}

bool Resolver::IsName(std::string_view host) {
  if (host.empty() || host.size() > 253) return false;
  bool letter = false;
  for (const char c : host) {
    const bool alpha = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    letter |= alpha;
    if (!alpha && !(c >= '0' && c <= '9') && c != '-' && c != '.' && c != '_') return false;
  }
  return letter;
}

}  // namespace sluice::net
