#include "net/address.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <cstring>

#include "base/text.h"

namespace sluice::net {

Result<Address> Address::Parse(std::string_view text) {
  const auto bad = [&] {
    return Fail(Code::kInvalidArgument,
                "'" + std::string(text) + "' is not an address; write IP:PORT, as 127.0.0.1:8000 or [::1]:8000");
  };
  const size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return bad();
  std::string_view host = text.substr(0, colon);
  if (host.size() >= 2 && host.front() == '[' && host.back() == ']') {
    host = host.substr(1, host.size() - 2);
  } else if (host.find(':') != std::string_view::npos) {
    return bad();
  }
  const auto port = ParseNumber<uint16_t>(text.substr(colon + 1));
  if (!port || host.empty()) return bad();
  Address address{std::string(host), *port};
  if (!ToSocketAddress(address)) return bad();
  return address;
}

std::string Address::ToString() const {
  const bool v6 = host.find(':') != std::string::npos;
  return (v6 ? "[" + host + "]" : host) + ":" + std::to_string(port);
}

bool Address::IsLoopback() const {
  return host == "localhost" || host == "::1" || host.starts_with("127.") || host.starts_with("::ffff:127.");
}

Result<SocketAddress> ToSocketAddress(const Address& address) {
  SocketAddress out{};
  const std::string host = address.host == "localhost"                   ? "127.0.0.1"
                           : address.host.empty() || address.host == "*" ? "0.0.0.0"
                                                                         : address.host;
  auto* v4 = reinterpret_cast<sockaddr_in*>(&out.storage);
  auto* v6 = reinterpret_cast<sockaddr_in6*>(&out.storage);
  if (inet_pton(AF_INET, host.c_str(), &v4->sin_addr) == 1) {
    v4->sin_family = AF_INET;
    v4->sin_port = htons(address.port);
    out.length = sizeof(sockaddr_in);
    return out;
  }
  if (inet_pton(AF_INET6, host.c_str(), &v6->sin6_addr) == 1) {
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(address.port);
    out.length = sizeof(sockaddr_in6);
    return out;
  }
  return Fail(Code::kInvalidArgument,
              "'" + address.host + "' is not an IP address (names other than localhost are not resolved)");
}

Address FromSocketAddress(const sockaddr_storage& storage) {
  char text[INET6_ADDRSTRLEN] = "";
  if (storage.ss_family == AF_INET6) {
    const auto* v6 = reinterpret_cast<const sockaddr_in6*>(&storage);
    inet_ntop(AF_INET6, &v6->sin6_addr, text, sizeof text);
    return {text, ntohs(v6->sin6_port)};
  }
  const auto* v4 = reinterpret_cast<const sockaddr_in*>(&storage);
  inet_ntop(AF_INET, &v4->sin_addr, text, sizeof text);
  return {text, ntohs(v4->sin_port)};
}

}  // namespace sluice::net
