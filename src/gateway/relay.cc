#include "gateway/relay.h"

#include <array>
#include <vector>

#include "base/text.h"
#include "openai/error_body.h"

namespace sluice::gateway {

using runtime::AnyOf;
using runtime::Task;

namespace {

// Pieces of one stream that come closer together than kTogether are taken together, at most kPause later: an engine
// that sends a burst of tokens costs one recv and one send then, not one pair a token. A stream at the pace of a model
// (a token each few milliseconds) is passed on at once.
constexpr Duration kTogether = std::chrono::microseconds(100);
constexpr Duration kPause = std::chrono::microseconds(250);

bool Names(const net::Header& header, std::string_view name) {
  return header.name.size() == name.size() && EqualsIgnoreCase(header.name, name);
}

// Starts the client's answer from the endpoint's head, with the headers that Sluice sets and those of plugins instead
// of the endpoint's of the same names. `whole`: its bytes go on as they come, so its length holds.
void StartAnswer(net::ServerExchange& exchange, const net::MessageHead& head, std::span<const net::Header> set,
                 std::span<const std::pair<std::string, std::string>> of_plugins, bool whole) {
  std::vector<net::Header> headers;
  headers.reserve(set.size() + of_plugins.size() + head.headers.size());
  headers.assign(set.begin(), set.end());
  for (const auto& [name, value] : of_plugins) headers.push_back({name, value});
  const size_t ours = headers.size();
  for (const net::Header header : head.headers) {
    if (net::IsHopByHop(header.name) || Names(header, "content-length") || Names(header, "date") ||
        Names(header, "server")) {
      continue;
    }
    bool replaced = false;
    for (size_t i = 0; i < ours; ++i) replaced = replaced || Names(header, headers[i].name);
    if (!replaced) headers.push_back(header);
  }
  exchange.Start(head.status, headers, whole ? head.content_length : std::nullopt);
}

// The answer cannot be completed. A stream gets an error event, as an engine that dies sends one; anything else is cut.
void TellClient(net::ServerExchange& exchange, const RelayReport& report) {
  if (exchange.finished() || exchange.client_gone()) return;
  if (!report.event_stream) {
    exchange.Abort();
    return;
  }
  const std::string event = "data: " + openai::ErrorBody(*report.error) + "\n\ndata: [DONE]\n\n";
  exchange.Write(event, /*last=*/true);
}

}  // namespace

Task<RelayReport> Relay(net::HttpClient& client, net::ServerExchange& exchange, RelayRequest request,
                        RelayObserver& observer) {
  RelayReport report;
  std::string rewritten;  // of one piece
  runtime::Loop& loop = exchange.ClientReadable().loop();
  std::optional<net::ClientCall> call;
  net::ClientRequest to_engine{.address = request.address,
                               .method = request.method,
                               .target = request.target,
                               .headers = request.headers,
                               .body = request.body,
                               .transport = request.transport};
  const auto not_sent = [&report](Error error) {
    report.outcome = RelayOutcome::kNotSent;
    report.error = std::move(error);
  };

  for (int attempt = 0;; ++attempt) {
    auto started = co_await client.Start(to_engine);
    if (!started) {
      not_sent(started.error());
      co_return report;
    }
    call.emplace(std::move(*started));
    report.sent = loop.Now();
    runtime::Timer silence(loop);
    silence.SetAfter(request.silence_max);
    parse::UsageReader usage(request.usage);
    runtime::Timer pause(loop);
    TimePoint previous = report.sent, looked = report.sent;
    bool again = false;
    while (!call->done()) {
      const uint32_t ready = co_await AnyOf(call->Readable(), exchange.ClientReadable(), silence);
      if ((ready & 2u) != 0 && !exchange.ClientThere()) {
        report.outcome = RelayOutcome::kClientLeft;
        co_return report;  // closing `call` cancels the endpoint's work
      }
      if ((ready & 1u) != 0) {
        const net::ClientCall::Step step = call->Receive();
        if (step.error) {
          if (call->received_nothing()) {
            again = call->reused() && attempt == 0;  // it may only have been a connection that the endpoint had closed
            if (again) break;
            not_sent(*step.error);
            co_return report;
          }
          report.outcome = exchange.started() ? RelayOutcome::kBroken : RelayOutcome::kNotSent;
          report.error = step.error;
          if (exchange.started()) TellClient(exchange, report);
          co_return report;
        }
        silence.SetAfter(request.silence_max);
        if (!exchange.started() && call->head_done()) {
          report.status = call->head().status;
          const auto type = call->head().headers.Get("content-type");
          report.event_stream = type && type->starts_with("text/event-stream");
          if (report.event_stream) call->ExpectStream();
          if (call->head().headers.Get("content-encoding")) request.restorer = nullptr;  // its names cannot be seen
          std::vector<std::pair<std::string, std::string>> from_plugins;
          observer.OnHead(report.status, from_plugins);
          StartAnswer(exchange, call->head(), request.response_headers, from_plugins,
                      /*whole=*/request.restorer == nullptr);
        }
        if (!step.body.empty()) {
          const TimePoint now = loop.Now();
          if (!report.first_byte) {
            report.first_byte = now;
            observer.OnFirstByte();
          } else {
            observer.OnPiece(now - previous);
          }
          previous = now;
          ++report.pieces;
          report.response_bytes += step.body.size();
          usage.Append(step.body);
        }
        std::string_view out = step.body;
        if (request.restorer != nullptr && exchange.started()) {
          rewritten.clear();
          request.restorer->Append(step.body, rewritten);
          if (call->done()) request.restorer->Finish(rewritten);
          out = rewritten;
        }
        if (exchange.started() && (!out.empty() || call->done())) exchange.Write(out, call->done());
        if (exchange.blocked()) co_await exchange.Flush();
        if (exchange.client_gone()) {
          report.outcome = RelayOutcome::kClientLeft;
          co_return report;
        }
        const Duration gap = loop.Now() - looked;
        looked = loop.Now();
        if (report.event_stream && report.pieces > 1 && gap < kTogether && !call->done()) {
          pause.SetAfter(kPause);
          co_await AnyOf(pause);
          looked = loop.Now();
        }
      } else if ((ready & 4u) != 0) {
        report.outcome = RelayOutcome::kTimeout;
        report.error = Error{Code::kUpstreamTimeout,
                             "endpoint " + request.address.ToString() + " sent nothing for " +
                                 std::to_string(static_cast<int>(Seconds(request.silence_max))) + " s",
                             ""};
        if (exchange.started()) TellClient(exchange, report);
        co_return report;
      }
    }
    if (!again) {
      report.last_byte = loop.Now();
      report.usage = usage.Find();
      report.events = usage.events();
      co_return report;
    }
    to_engine.fresh = true;
  }
}

}  // namespace sluice::gateway
