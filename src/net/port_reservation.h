// PortReservation: a TCP port that belongs to a process which will listen on it, now and after each restart. The port
// stays bound (not listening) by us, so that no other program is given it meanwhile; the process binds it too, which
// Linux allows between sockets with SO_REUSEADDR of which at most one listens.
// Thread rule: plain values. Ownership: the port is free again when the reservation is destroyed. Cost: one socket.
#pragma once

#include <cstdint>
#include <vector>

#include "base/result.h"
#include "net/address.h"

namespace sluice::net {

class PortReservation {
 public:
  // kAnySocket: whoever has bound the port, listening or not, or has connections that linger there (TIME_WAIT) has it.
  // kListener: only who listens has it; for a port that a person asked for, right after another server had it.
  enum class TakenBy : uint8_t { kAnySocket, kListener };
  // kConflict when somebody has that port. Port 0 takes any free one.
  static Result<PortReservation> Take(const Address& address, TakenBy taken_by);
  PortReservation(PortReservation&& other) noexcept;
  PortReservation& operator=(PortReservation&&) = delete;
  ~PortReservation();

  const Address& address() const { return address_; }

 private:
  PortReservation(int fd, Address address) : fd_(fd), address_(std::move(address)) {}
  int fd_;
  Address address_;
};

// The first `count` free ports of `host` above `port`. kConflict when there are not that many.
Result<std::vector<PortReservation>> ReservePortsAbove(const std::string& host, uint16_t port, size_t count);

}  // namespace sluice::net
