// bare_relay: passes bytes between each client and an engine of its own and knows no HTTP: what the kernel and an event
// loop take for that is the floor of every router.
//   bare_relay PORT ENDPOINT...
// Connections go to the endpoints in turn.
#include <csignal>
#include <cstdio>
#include <string>
#include <vector>

#include "base/text.h"
#include "net/socket.h"
#include "runtime/signals.h"

namespace sluice {
namespace {

using runtime::AnyOf;
using runtime::Task;

// One recv, and sends until all of it has left. False: one of the two has gone.
Task<bool> Pass(runtime::Loop& loop, runtime::Descriptor& from, runtime::Descriptor& to) {
  const net::IoResult got = net::Receive(from.fd(), loop.scratch());
  if (got.state == net::IoState::kWouldBlock) co_return true;
  if (got.state == net::IoState::kClosed) co_return false;
  std::string_view bytes(loop.scratch().data(), got.bytes);
  std::string kept;  // while the receiver is slow: others use the scratch then
  for (;;) {
    const net::IoResult sent = net::SendParts(to.fd(), {{bytes}});
    if (sent.state == net::IoState::kClosed) co_return false;
    bytes.remove_prefix(sent.bytes);
    if (bytes.empty()) co_return true;
    kept = std::string(bytes);
    bytes = kept;
    co_await AnyOf(to.writable);
  }
}

Task<> Relay(runtime::Loop* loop, int fd, net::Address address) {
  runtime::DescriptorPtr client(*loop, fd);
  auto engine = co_await net::Connect(*loop, address, std::chrono::seconds(5), nullptr);
  if (!engine) co_return;
  bool open = true;
  while (open) {
    const uint32_t ready = co_await AnyOf(client->readable, (*engine)->readable);
    if ((ready & 1u) != 0) open = co_await Pass(*loop, *client, **engine);
    if (open && (ready & 2u) != 0) open = co_await Pass(*loop, **engine, *client);
  }
}

int Main(int argc, char** argv) {
  std::vector<net::Address> endpoints;
  for (int i = 2; i < argc; ++i) {
    if (const auto address = net::Address::Parse(argv[i])) endpoints.push_back(*address);
  }
  if (endpoints.empty()) {
    std::fprintf(stderr, "usage: bare_relay PORT ENDPOINT...\n");
    return 2;
  }
  runtime::Signals::Block({SIGTERM, SIGINT});
  runtime::Loop loop;
  auto listener = net::Listen(loop, {"127.0.0.1", ParseNumber<uint16_t>(argv[1]).value_or(0)});
  if (!listener) {
    std::fprintf(stderr, "bare_relay: %s\n", listener.error().message.c_str());
    return 1;
  }
  size_t next = 0;
  runtime::Event never(loop);
  loop.Spawn(net::AcceptConnections(
      loop, **listener, never, [&](int fd) { loop.Spawn(Relay(&loop, fd, endpoints[next++ % endpoints.size()])); }));
  runtime::RunUntilSignal(loop);
  return 0;
}

}  // namespace
}  // namespace sluice

int main(int argc, char** argv) { return sluice::Main(argc, argv); }
