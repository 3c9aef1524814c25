#include "kvindex/events/zmq_socket.h"

#include <cerrno>

namespace sluice::kvindex {
namespace {

std::string LastEndpoint(void* socket) {
  char buffer[1024];
  size_t size = sizeof(buffer);
  if (zmq_getsockopt(socket, ZMQ_LAST_ENDPOINT, buffer, &size) != 0 || size == 0) return {};
  return std::string(buffer, size - 1);  // without the terminating zero
}

}  // namespace

Result<std::string> Attach(void* socket, const std::string& endpoint, bool bind, std::string_view key) {
  const int rc = bind ? zmq_bind(socket, endpoint.c_str()) : zmq_connect(socket, endpoint.c_str());
  if (rc == 0) {
    std::string bound = LastEndpoint(socket);
    return bound.empty() ? endpoint : bound;
  }
  const int error = zmq_errno();
  const bool taken = error == EADDRINUSE;
  return Fail(taken ? Code::kConflict : Code::kInvalidArgument,
              "KV events: cannot " + std::string(bind ? "bind " : "connect to ") + std::string(key) + " '" + endpoint +
                  "': " + zmq_strerror(error) +
                  (taken ? "; another process has the port, choose another" : "; the form is tcp://HOST:PORT"),
              std::string(key));
}

}  // namespace sluice::kvindex
