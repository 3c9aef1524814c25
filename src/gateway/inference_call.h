// InferenceCall: the life of one request that is sent on: read, given to a pool, decided, relayed (on failure before an
// answer to another endpoint), accounted. Dry: read and decided, and nothing more.
// Thread rule: the loop's thread. Ownership: borrows the parts and the exchange, which outlive it.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/rng.h"
#include "codec/json/reader.h"
#include "gateway/relay.h"
#include "net/http_client.h"
#include "net/http_server.h"
#include "observe/log.h"
#include "parse/read_request.h"
#include "schedule/receipt_ring.h"
#include "serving/pools.h"
#include "serving/prompt_tokens.h"
#include "serving/router_metrics.h"

namespace sluice::gateway {

// What the calls of one gateway share.
struct CallParts {
  runtime::Loop& loop;
  const Clock& clock;
  net::HttpClient& client;
  codec::JsonReader& reader;  // its values die when another call parses: nothing is kept over an await
  serving::Pools& pools;
  serving::RouterMetrics& metrics;
  schedule::ReceiptRing& receipts;
  Rng& rng;
  observe::Every& note_log;
  Duration silence_max;
  int tries_max;
};

// The body of the error in the envelope that OpenAI's clients read, with upstream's reason for a dropped request.
runtime::Task<> RespondError(net::ServerExchange& exchange, const Error& error, std::string_view request_id,
                             std::string_view dropped_reason = {});

class InferenceCall {
 public:
  InferenceCall(CallParts& parts, net::ServerExchange& exchange, parse::Route route, std::string_view request_id);

  // Answers the exchange.
  runtime::Task<> Run();

  // Where `body`, sent to `path` with the exchange's headers, would go. The receipt is good until the pool decides
  // again: use it before the next await.
  runtime::Task<Result<const model::Receipt*>> Ask(std::string body, std::string path);

 private:
  class Follower;

  void ReadHead();
  Status ReadBody(std::string body);
  Status ReadAgain();
  Status ChoosePool(std::string_view path);
  // The prompts' exact token ids, where the pool wants them.
  runtime::Task<Status> Tokenize();
  // One decision; false when there is none to carry out (failure_ is set).
  bool Decide(const model::PoolView& view);
  runtime::Task<> TryOnce();
  std::span<const net::Header> HeadersFor(const schedule::Ticket& ticket);
  void Conclude(const model::Target& target, schedule::Scheduler::Flight&& flight);
  void Account();
  void LogAccess() const;
  double SinceReceivedMs(TimePoint at) const { return Seconds(at - received_) * 1e3; }

  CallParts& parts_;
  net::ServerExchange& exchange_;
  parse::Route route_;
  std::string_view request_id_;
  TimePoint received_;

  model::Request request_;
  std::string body_;
  serving::PromptTokens::Made tokens_;  // request_'s media may be views into it
  std::string rewritten_from_;          // the body's own model when another one is asked for
  std::vector<net::Header> client_headers_;
  std::vector<net::Header> headers_;  // of this try, where plugins change them
  serving::ServingPool* pool_ = nullptr;
  std::string_view rewrite_;  // the InferenceModelRewrite that chose the target model
  serving::RouterMetrics::Series* series_ = nullptr;
  schedule::ReportedAttributes attributes_;

  std::optional<Error> failure_;
  std::string_view dropped_reason_;
  RelayReport report_;
  bool relayed_ = false;
  int tries_ = 0;
  std::string endpoint_;  // "ip:port" of the last one tried
  uint64_t receipt_ = schedule::ReceiptRing::kNotKept;
};

}  // namespace sluice::gateway
