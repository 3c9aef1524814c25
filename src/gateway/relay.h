// Relay: sends one request to one endpoint and its answer to the client, piece by piece as it comes.
// The body goes out byte-identical; several pieces that arrived together leave together. When the client leaves, the
// request to the endpoint is cancelled by closing its connection.
// Thread rule: the loop's thread. Ownership: borrows the exchange, the client and the request's bytes until it returns.
// Cost: one recv and one send per wake-up; no copy of the response; 1 ns a byte to read its token counts.
#pragma once

#include <span>
#include <string_view>

#include "base/clock.h"
#include "net/http_client.h"
#include "net/http_server.h"
#include "parse/model_restorer.h"
#include "parse/usage_reader.h"
#include "serving/relay_report.h"

namespace sluice::gateway {

using serving::RelayOutcome;
using serving::RelayReport;

struct RelayRequest {
  net::Address address;
  const net::ClientTransport* transport = nullptr;  // null: HTTP/1.1 in clear text
  std::string_view method;
  std::string_view target;
  std::span<const net::Header> headers;  // to the endpoint
  std::string_view body;
  std::span<const net::Header> response_headers;       // added to the answer
  Duration silence_max;                                // longest time without a byte from the endpoint
  parse::UsageStyle usage = parse::UsageStyle::kText;  // where the answer has its token counts
  parse::ModelRestorer* restorer = nullptr;            // changes the answer's model name; null: bytes stay as they are
};

// Hears of a relay's progress. Calls come on the loop, between two waits, and must not block.
class RelayObserver {
 public:
  // The endpoint's head came; `add` gets headers to set on the client's answer.
  virtual void OnHead(int status, std::vector<std::pair<std::string, std::string>>& add) = 0;
  virtual void OnFirstByte() = 0;                     // of the answer's body
  virtual void OnPiece(Duration since_previous) = 0;  // each later wake-up that brought body bytes

 protected:
  ~RelayObserver() = default;
};

runtime::Task<RelayReport> Relay(net::HttpClient& client, net::ServerExchange& exchange, RelayRequest request,
                                 RelayObserver& observer);

}  // namespace sluice::gateway
