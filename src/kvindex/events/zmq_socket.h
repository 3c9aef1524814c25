// The few things that Publisher and Subscriber need of ZMQ: owned sockets, a way to wake a thread out of zmq_poll,
// binding and connecting with errors that say what to do. Thread rule: a socket has one owner; Wakeup::Signal from any
// thread.
#pragma once

#include <sys/eventfd.h>
#include <unistd.h>
#include <zmq.h>

#include <array>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"

namespace sluice::kvindex {

struct CloseSocket {
  void operator()(void* socket) const { zmq_close(socket); }
};
struct TermContext {
  void operator()(void* context) const { zmq_ctx_term(context); }
};
using Socket = std::unique_ptr<void, CloseSocket>;
using Context = std::unique_ptr<void, TermContext>;

// An event descriptor that wakes the publisher's thread out of zmq_poll.
class Wakeup {
 public:
  Wakeup() : fd_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}
  ~Wakeup() {
    if (fd_ >= 0) close(fd_);
  }
  Wakeup(const Wakeup&) = delete;
  Wakeup& operator=(const Wakeup&) = delete;
  bool Valid() const { return fd_ >= 0; }
  int Fd() const { return fd_; }
  // Fails only when the counter is full, and then the thread is woken anyway.
  void Signal() { [[maybe_unused]] const auto written = eventfd_write(fd_, 1); }
  void Clear() {
    eventfd_t count = 0;
    [[maybe_unused]] const auto read = eventfd_read(fd_, &count);
  }

 private:
  int fd_;
};

inline bool SendFrame(void* socket, std::string_view bytes, int flags) {
  return zmq_send(socket, bytes.data(), bytes.size(), flags | ZMQ_DONTWAIT) >= 0;
}

inline void SetInt(void* socket, int option, int value) { zmq_setsockopt(socket, option, &value, sizeof(value)); }

inline std::array<char, 8> BigEndian(uint64_t value) {
  std::array<char, 8> bytes{};
  for (size_t i = 0; i < 8; ++i) bytes[i] = static_cast<char>(value >> (56 - 8 * i));
  return bytes;
}

// Binds or connects; gives the address that came of it. `key` names the setting in an error.
Result<std::string> Attach(void* socket, const std::string& endpoint, bool bind, std::string_view key);

}  // namespace sluice::kvindex
