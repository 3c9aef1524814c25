// PoolDirector: a Director that asks a pool's policy, and accounts what became of the request: metrics, receipt, one
// log line, the policy's own memory. As upstream, any endpoint of the pool may be picked for any model: a pool behind
// an InferencePool serves one base model, and which adapters are loaded is a scorer's business.
// Thread rule: the loop's thread. Ownership: borrows the parts. Cost: one parse of the body (two when exact tokens
// are made), one decision.
#pragma once

#include <optional>
#include <string>

#include "base/clock.h"
#include "base/rng.h"
#include "codec/json/reader.h"
#include "extproc/director.h"
#include "model/request.h"
#include "observe/log.h"
#include "parse/parser_table.h"
#include "parse/usage_reader.h"
#include "runtime/loop.h"
#include "schedule/receipt_ring.h"
#include "schedule/scheduler.h"
#include "serving/relay_report.h"
#include "serving/router_metrics.h"
#include "serving/serving_pool.h"

namespace sluice::extproc {

// What the directors of one picker share.
struct DirectorParts {
  runtime::Loop& loop;
  const Clock& clock;
  codec::JsonReader& reader;  // its values die when another request is read: nothing is kept after Route
  serving::ServingPool& pool;
  serving::RouterMetrics& metrics;
  schedule::ReceiptRing& receipts;
  Rng& rng;
  observe::Every& note_log;
  bool emit_scores;
};

class PoolDirector final : public Director {
 public:
  explicit PoolDirector(DirectorParts& parts);
  ~PoolDirector() override;

  tl::expected<Routing, Refusal> AnyEndpoint() override;
  bool Prepare(const RequestText& request, std::function<void()> ready) override;
  tl::expected<Routing, Refusal> Route(const RequestText& request) override;
  void OnResponseHead(int status, std::string_view served, bool event_stream,
                      std::vector<std::pair<std::string, std::string>>& add) override;
  void OnResponseBytes(std::string_view bytes) override;
  void OnEnd(EndCause cause) override;

 private:
  void ReadHead(const RequestText& request);
  Status ReadBody(std::string_view body);
  Status ReadAgain(std::string_view body);
  // The prompts' exact token ids, then `ready`.
  static runtime::Task<> Tokenize(PoolDirector* self, std::string_view body, std::function<void()> ready);
  tl::expected<Routing, Refusal> Refused(Refusal refusal);
  tl::expected<Routing, Refusal> Decide();
  void Describe(const model::Decision& decision, Routing& routing) const;
  void Account(EndCause cause);
  void LogAccess(EndCause cause, std::string_view error) const;
  double SinceReceivedMs(TimePoint at) const { return Seconds(at - received_) * 1e3; }

  DirectorParts& parts_;
  TimePoint received_;
  model::Request request_;    // its views are dead once Route has returned
  bool asks_router_ = false;  // by a header that is meant for routers
  Status read_;
  std::optional<std::string> rewritten_;  // the body in place of the client's
  serving::PromptTokens::Made tokens_;
  std::string path_;
  std::optional<parse::Route> route_;
  serving::RouterMetrics::Series* series_ = nullptr;
  std::optional<schedule::Scheduler::Flight> flight_;
  model::EndpointId picked_;
  std::string endpoint_;  // "ip:port" of the pick, later of the endpoint that served
  serving::RelayReport report_;
  TimePoint previous_{};  // when the last piece came
  parse::UsageReader usage_{parse::UsageStyle::kNone};
  uint64_t receipt_ = schedule::ReceiptRing::kNotKept;
  std::optional<runtime::TaskScope> tokenizing_;  // last: its task refers to the rest
};

}  // namespace sluice::extproc
