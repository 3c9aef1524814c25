#include "net/port_reservation.h"

#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

namespace sluice::net {

Result<PortReservation> PortReservation::Take(const Address& address, TakenBy taken_by) {
  const auto target = ToSocketAddress(address);
  if (!target) return tl::unexpected(target.error());
  const int fd = socket(target->storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return Fail(Code::kInternal, std::string("socket: ") + std::strerror(errno));
  const int one = 1;
  if (taken_by == TakenBy::kListener) setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  const int bound = bind(fd, reinterpret_cast<const sockaddr*>(&target->storage), target->length);
  const int error = bound == 0 ? 0 : errno;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);  // lets the process in
  if (error != 0) {
    close(fd);
    if (error == EADDRINUSE) return Fail(Code::kConflict, "port " + std::to_string(address.port) + " is taken");
    return Fail(Code::kInvalidArgument, "cannot listen on " + address.ToString() + ": " + std::strerror(error));
  }
  sockaddr_storage local{};
  socklen_t length = sizeof local;
  getsockname(fd, reinterpret_cast<sockaddr*>(&local), &length);
  return PortReservation(fd, {address.host, FromSocketAddress(local).port});
}

PortReservation::PortReservation(PortReservation&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)), address_(std::move(other.address_)) {}

PortReservation::~PortReservation() {
  if (fd_ >= 0) close(fd_);
}

Result<std::vector<PortReservation>> ReservePortsAbove(const std::string& host, uint16_t port, size_t count) {
  std::vector<PortReservation> taken;
  for (uint32_t next = uint32_t{port} + 1; next <= 65535 && taken.size() < count; ++next) {
    auto reservation = PortReservation::Take({host, static_cast<uint16_t>(next)}, PortReservation::TakenBy::kAnySocket);
    if (reservation) {
      taken.push_back(std::move(*reservation));
    } else if (reservation.error().code != Code::kConflict) {
      return tl::unexpected(reservation.error());
    }
  }
  if (taken.size() == count) return taken;
  return Fail(Code::kConflict, "there are not " + std::to_string(count) + " free ports above " + std::to_string(port) +
                                   "; choose a lower one");
}

}  // namespace sluice::net
