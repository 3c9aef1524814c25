#include "net/port_handover.h"

#include <linux/filter.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cstddef>
#include <string>

namespace sluice::net {

namespace {

using runtime::AnyOf;
using runtime::Task;

constexpr Duration kProbeTimeout = std::chrono::seconds(1);
// A handshake whose last packet is lost is repeated after a second.
constexpr Duration kHandshakesEnd = std::chrono::milliseconds(1500);
constexpr Duration kTurnAwaited = std::chrono::seconds(10);
constexpr Duration kTurnAsked = std::chrono::milliseconds(20);

// Gives each new connection of the port's group to the listener with this number; when there is none, the kernel
// chooses by its hash, as without a program.
bool Steer(int listener, uint32_t index) {
  sock_filter instruction = {.code = BPF_RET | BPF_K, .jt = 0, .jf = 0, .k = index};
  const sock_fprog program = {.len = 1, .filter = &instruction};
  return setsockopt(listener, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &program, sizeof program) == 0;
}

// Where a process of this machine reaches a listener.
Address Reachable(Address address) {
  if (address.host == "0.0.0.0") address.host = "127.0.0.1";
  if (address.host == "::") address.host = "::1";
  return address;
}

}  // namespace

bool AcceptWaiting(int listener, const std::function<void(int fd)>& start, uint16_t own_port) {
  bool own = false;
  for (;;) {
    const int fd = accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
      if (errno == ECONNABORTED || errno == EINTR) continue;
      return own;
    }
    if (own_port != 0 && PeerAddress(fd).port == own_port) {
      own = true;
      close(fd);
    } else {
      start(fd);
    }
  }
}

namespace {

// One process at a time, of those that leave a port.
class Turn {
 public:
  explicit Turn(uint16_t port) : fd_(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    const std::string name = "sluice-handover-" + std::to_string(port);
    address_.sun_family = AF_UNIX;
    name.copy(address_.sun_path + 1, sizeof address_.sun_path - 1);  // a zero first: no file
    size_ = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
  }
  ~Turn() {
    if (fd_ >= 0) close(fd_);
  }
  Turn(const Turn&) = delete;
  // Where there can be no such name, nobody waits.
  bool Take() const {
    return bind(fd_, reinterpret_cast<const sockaddr*>(&address_), size_) == 0 || errno != EADDRINUSE;
  }

 private:
  int fd_;
  sockaddr_un address_{};
  socklen_t size_ = 0;
};

// Accepts until then.
Task<> AcceptFor(runtime::Loop& loop, runtime::Descriptor& listener, Duration time,
                 const std::function<void(int fd)>& start) {
  runtime::Timer timer(loop);
  timer.SetAfter(time);
  while (co_await AnyOf(listener.readable, timer) == 1u) AcceptWaiting(listener.fd(), start);
}

// Makes new connections go to another process that listens on the same port. False: there is none.
Task<bool> SendElsewhere(runtime::Loop& loop, int listener, const std::function<void(int fd)>& start) {
  const Address address = Reachable(LocalAddress(listener));
  // Two processes, as a restart has them, have the numbers 0 and 1; of more, one of these two is another one's.
  for (const uint32_t index : {1u, 0u}) {
    if (!Steer(listener, index)) co_return false;
    const auto probe = co_await Connect(loop, address, kProbeTimeout, nullptr);
    if (!probe) continue;
    if (!AcceptWaiting(listener, start, LocalAddress((*probe)->fd()).port)) co_return true;
  }
  co_return false;
}

}  // namespace

Task<bool> HandOver(runtime::Loop& loop, runtime::DescriptorPtr& listener, const std::function<void(int fd)>& start) {
  const Turn turn(LocalAddress(listener->fd()).port);
  const TimePoint until = loop.Now() + kTurnAwaited;
  while (!turn.Take() && loop.Now() < until) co_await AcceptFor(loop, *listener, kTurnAsked, start);
  const bool handed_over = co_await SendElsewhere(loop, listener->fd(), start);
  if (handed_over) co_await AcceptFor(loop, *listener, kHandshakesEnd, start);
  AcceptWaiting(listener->fd(), start);
  listener.Reset();
  co_return handed_over;
}

}  // namespace sluice::net
