// Sockets: listening, connecting, and one recv or send at a time on a non-blocking TCP connection.
// Thread rule: the loop's thread. Ownership: DescriptorPtr owns the descriptor.
// Cost: one system call a function, as named.
#pragma once

#include <functional>
#include <span>
#include <string_view>

#include "base/result.h"
#include "net/address.h"
#include "runtime/loop.h"

namespace sluice::net {

// Binds and listens (SO_REUSEADDR). Port 0 takes a free one. A taken port is kConflict and says so.
// Accepted connections inherit what it sets: no delay for small packets, and TCP keep-alive, which finds a peer that is
// dead without a word within two minutes.
Result<runtime::DescriptorPtr> Listen(runtime::Loop& loop, const Address& address, bool reuse_port = false);
Address LocalAddress(int fd);
Address PeerAddress(int fd);

// Accepts until `stop` is set. `start` owns each descriptor that it gets. When the process has no descriptors left, it
// waits for some to close.
runtime::Task<> AcceptConnections(runtime::Loop& loop, runtime::Descriptor& listener, runtime::Event& stop,
                                  std::function<void(int fd)> start);

// Connects within `timeout`; `cancel` (may be null) ends it early with kCancelled.
runtime::Task<Result<runtime::DescriptorPtr>> Connect(runtime::Loop& loop, Address address, Duration timeout,
                                                      runtime::Source* cancel);

enum class IoState : uint8_t { kOk, kWouldBlock, kClosed };
struct IoResult {
  IoState state;
  size_t bytes = 0;
};
// One recv. kClosed: end of file or a broken connection.
IoResult Receive(int fd, std::span<char> into);
// For a peer that sends small pieces and awaits no answer: the kernel acknowledges every second one instead of each,
// which is a sixth of what it costs to pass a piece on. It returns to its usual way when a piece comes 40 ms after the
// one before; a peer that sends nothing until the last piece is acknowledged (Nagle's algorithm) is delayed that long
// once.
void AcknowledgeLess(int fd);
// One send, or sendmsg, of all parts (at most 16). A short write is kOk with fewer bytes.
IoResult SendParts(int fd, std::span<const std::string_view> parts);

}  // namespace sluice::net
