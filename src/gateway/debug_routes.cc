// The gateway's debug routes that change or ask something; what only tells is serving/debug_routes.h.
#include <array>

#include "codec/json/write.h"
#include "gateway/gateway.h"
#include "net/query.h"
#include "openai/error_body.h"
#include "schedule/receipt_text.h"

namespace sluice::gateway {

// A policy is changed from this machine only: the port that clients talk to has no accounts of its own.
serving::HttpReply Gateway::Promote(std::string_view query, const net::Address& peer) {
  const auto failed = [](const Error& error) {
    return serving::HttpReply{.status = Info(error.code).http_status, .body = openai::ErrorBody(error)};
  };
  if (!peer.IsLoopback()) {
    return failed({Code::kPermissionDenied, "policies are promoted from the gateway's own machine only", ""});
  }
  const auto pool = pools_.Find(net::QueryValue(query, "pool"));
  if (!pool) return failed(pool.error());
  const std::string before = (*pool)->scheduler().live_name();
  const std::string policy = net::QueryValue(query, "policy");
  if (const Status promoted = (*pool)->Promote(policy); !promoted) return failed(promoted.error());
  std::string text;
  codec::JsonWriter(text).BeginObject().Field("live", policy).Field("shadow", before).EndObject();
  return {.body = std::move(text)};
}

// POST /debug/decide?path=/v1/chat/completions: where this body would go. Nothing is sent and nothing is remembered.
runtime::Task<> Gateway::Ask(net::ServerExchange& exchange, std::string_view request_id) {
  const std::string_view query = exchange.head().query();
  std::string path = net::QueryValue(query, "path");
  if (path.empty()) path = "/v1/chat/completions";
  const auto body = co_await exchange.ReadBody();
  const auto route = pools_.RouteOf(path);
  Error error;
  if (!body) {
    error = body.error();
  } else if (!route) {
    error = route.error();
  } else {
    InferenceCall call(parts_, exchange, *route, request_id);
    const auto receipt = co_await call.Ask(*body, path);
    if (receipt) {
      const bool table = serving::WantsTable(query);
      const std::string text = table ? schedule::ReceiptTable(**receipt) : schedule::ReceiptJson(**receipt);
      const std::array<net::Header, 2> headers = {
          net::Header{"content-type", table ? serving::DebugRoutes::kText : std::string_view("application/json")},
          net::Header{"x-request-id", request_id}};
      co_await exchange.Respond(200, headers, text);
      co_return;
    }
    error = receipt.error();
  }
  if (!exchange.client_gone()) co_await RespondError(exchange, error, request_id);
}

}  // namespace sluice::gateway
