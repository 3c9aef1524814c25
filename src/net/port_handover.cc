#include "net/port_handover.h"

#include <linux/filter.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>

namespace sluice::net {

namespace {

constexpr Duration kProbeTimeout = std::chrono::seconds(1);

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

runtime::Task<bool> SendElsewhere(runtime::Loop& loop, int listener, const std::function<void(int fd)>& start) {
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

}  // namespace sluice::net
