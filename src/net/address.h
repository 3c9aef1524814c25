// Address: an IP literal (or "localhost") and a port: "127.0.0.1:8000", "[::1]:8000", "localhost:8000".
// Thread rule: plain values. Names other than localhost are not resolved here.
#pragma once

#include <sys/socket.h>

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace sluice::net {

struct Address {
  std::string host;  // IPv4 or IPv6 literal without brackets, or "localhost"
  uint16_t port = 0;

  static Result<Address> Parse(std::string_view text);
  std::string ToString() const;  // "host:port", IPv6 in brackets
  bool IsLoopback() const;       // 127.0.0.0/8, ::1 or "localhost"
  bool operator==(const Address&) const = default;
};

struct SocketAddress {
  sockaddr_storage storage;
  socklen_t length;
};
// "localhost" is 127.0.0.1; "" and "*" are all IPv4 addresses.
Result<SocketAddress> ToSocketAddress(const Address& address);
Address FromSocketAddress(const sockaddr_storage& storage);

}  // namespace sluice::net
