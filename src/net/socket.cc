#include "net/socket.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "base/check.h"

namespace sluice::net {
namespace {
constexpr int kBacklog = 4096;

// Parts that are smaller together are sent from one buffer: that is less than what the kernel does for each vector.
constexpr size_t kGatherMax = 2048;

ssize_t SendGathered(int fd, std::span<const std::string_view> parts) {
  std::array<char, kGatherMax> buffer;
  char* end = buffer.data();
  for (const std::string_view part : parts) end += part.copy(end, part.size());
  return send(fd, buffer.data(), static_cast<size_t>(end - buffer.data()), MSG_NOSIGNAL);
}

ssize_t SendVectors(int fd, std::span<const std::string_view> parts) {
  std::array<iovec, 16> vectors;
  SLUICE_CHECK(parts.size() <= vectors.size(), "too many parts for one send");
  size_t n = 0;
  for (const std::string_view part : parts) {
    if (!part.empty()) vectors[n++] = {const_cast<char*>(part.data()), part.size()};
  }
  msghdr message{};
  message.msg_iov = vectors.data();
  message.msg_iovlen = n;
  return sendmsg(fd, &message, MSG_NOSIGNAL);
}

std::string SystemError() { return std::strerror(errno); }

void SetKeepAlive(int fd) {
  const int one = 1, idle_seconds = 60, interval_seconds = 15, tries = 4;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one);
  setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_seconds, sizeof idle_seconds);
  setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval_seconds, sizeof interval_seconds);
  setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &tries, sizeof tries);
}
}  // namespace

Result<runtime::DescriptorPtr> Listen(runtime::Loop& loop, const Address& address, bool reuse_port) {
  auto target = ToSocketAddress(address);
  if (!target) return tl::unexpected(target.error());
  const int fd = socket(target->storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return Fail(Code::kInternal, "socket: " + SystemError());
  const int one = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  if (reuse_port) setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one);
  SetKeepAlive(fd);
  if (bind(fd, reinterpret_cast<sockaddr*>(&target->storage), target->length) != 0 || listen(fd, kBacklog) != 0) {
    const int error = errno;
    close(fd);
    if (error == EADDRINUSE) {
      return Fail(Code::kConflict, "port " + std::to_string(address.port) + " on " + address.host +
                                       " is taken by another process; stop it or choose another --port");
    }
    return Fail(Code::kInvalidArgument, "cannot listen on " + address.ToString() + ": " + std::strerror(error));
  }
  return runtime::DescriptorPtr(loop, fd);
}

runtime::Task<> AcceptConnections(runtime::Loop& loop, runtime::Descriptor& listener, runtime::Event& stop,
                                  std::function<void(int fd)> start) {
  for (;;) {
    const uint32_t ready = co_await runtime::AnyOf(listener.readable, stop);
    if ((ready & 2u) != 0) break;
    for (int i = 0; i < 64; ++i) {
      const int fd = accept4(listener.fd(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
      if (fd >= 0) {
        start(fd);
      } else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
        co_await runtime::SleepFor(loop, std::chrono::milliseconds(50));  // until something closes
        break;
      } else if (errno == EAGAIN) {
        break;
      }
    }
  }
}

Address LocalAddress(int fd) {
  sockaddr_storage storage{};
  socklen_t length = sizeof storage;
  getsockname(fd, reinterpret_cast<sockaddr*>(&storage), &length);
  return FromSocketAddress(storage);
}

Address PeerAddress(int fd) {
  sockaddr_storage storage{};
  socklen_t length = sizeof storage;
  getpeername(fd, reinterpret_cast<sockaddr*>(&storage), &length);
  return FromSocketAddress(storage);
}

runtime::Task<Result<runtime::DescriptorPtr>> Connect(runtime::Loop& loop, Address address, Duration timeout,
                                                      runtime::Source* cancel) {
  auto target = ToSocketAddress(address);
  if (!target) co_return tl::unexpected(target.error());
  const int fd = socket(target->storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) co_return Fail(Code::kInternal, "socket: " + SystemError());
  const int one = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  runtime::DescriptorPtr descriptor(loop, fd);
  if (connect(fd, reinterpret_cast<sockaddr*>(&target->storage), target->length) == 0) co_return std::move(descriptor);
  if (errno != EINPROGRESS) {
    co_return Fail(Code::kUnavailable, "cannot connect to " + address.ToString() + ": " + SystemError());
  }
  runtime::Timer timer(loop);
  timer.SetAfter(timeout);
  runtime::Source* writable = &descriptor->writable;
  runtime::Source* expired = &timer;
  const uint32_t ready = co_await runtime::AnyOfPtr(writable, expired, cancel);
  if ((ready & 4u) != 0) co_return Fail(Code::kCancelled, "connecting to " + address.ToString() + " was cancelled");
  if ((ready & 1u) == 0) co_return Fail(Code::kUnavailable, "connecting to " + address.ToString() + " timed out");
  int error = 0;
  socklen_t length = sizeof error;
  getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length);
  if (error != 0) {
    co_return Fail(Code::kUnavailable, "cannot connect to " + address.ToString() + ": " + std::strerror(error));
  }
  co_return std::move(descriptor);
}

void AcknowledgeLess(int fd) {
  const int zero = 0;
  setsockopt(fd, IPPROTO_TCP, TCP_QUICKACK, &zero, sizeof zero);
}

IoResult Receive(int fd, std::span<char> into) {
  const ssize_t n = recv(fd, into.data(), into.size(), 0);
  if (n > 0) return {IoState::kOk, static_cast<size_t>(n)};
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return {IoState::kWouldBlock};
  return {IoState::kClosed};
}

IoResult SendParts(int fd, std::span<const std::string_view> parts) {
  size_t bytes = 0;
  for (const std::string_view part : parts) bytes += part.size();
  if (bytes == 0) return {IoState::kOk, 0};
  const ssize_t sent = parts.size() == 1     ? send(fd, parts[0].data(), bytes, MSG_NOSIGNAL)
                       : bytes <= kGatherMax ? SendGathered(fd, parts)
                                             : SendVectors(fd, parts);
  if (sent >= 0) return {IoState::kOk, static_cast<size_t>(sent)};
  if (errno == EAGAIN || errno == EINTR) return {IoState::kWouldBlock};
  return {IoState::kClosed};
}

}  // namespace sluice::net
