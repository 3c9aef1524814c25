// DecisionLog: a pool's decisions as lines of JSON, complete enough that Replay (replay.h) repeats them bit for bit:
// configurations, who is in the pool, each change of an endpoint's numbers, each request, dispatch, first byte and end.
//
// Prompts are not written: their text is replaced four bytes at a time by other bytes, equal for equal ones within one
// log and unknown without the log's key, which is not written either. That keeps what matters, which prompts begin
// alike and how long they are. Values of headers that carry secrets are replaced in the same way. Addresses of media
// stay as they are.
//
// Lines, "t" says which (times in ns of the process's monotonic clock; ids are [slot, generation]):
//   {"t":"log","version":1,"seed":n}                                                    first
//   {"t":"policy","lane":name,"experimental":bool,"folder":text,"config":text}          at the start and at each change
//   {"t":"latency","state":{...}}  {"t":"promote","lane":name}
//   {"t":"members","version":n,"endpoints":[{id,name,ns,address,port,labels,slot,generation}]}
//   {"t":"rows","rows":[[row,waiting,running,kv_usage,block_size,num_blocks,scraped_at,in_rotation]],
//    "lora":[...],"attributes":[...]}                                                   rows that changed
//   {"t":"decide","now":ns,"acting":bool,"request":{...},"pick":[slot,generation]|null,"digest":hex,
//    "matches":[{"lane","producer","total","block","rows":[[row,match,unweighted,below the first tier]]}]}
//       (with producers that read from outside, recorded_match.h: nothing else says what they found)
//   {"t":"dispatch","flight":n,"now":ns}  {"t":"first","flight":n,"now":ns}
//   {"t":"end","flight":n,"now":ns,"failed":bool,"usage":[prompt,cached,output]}
//
// Thread rule: one owner. Cost: 10 to 100 us a decision by the number of endpoints whose numbers changed and the length
// of the prompt; off unless asked for. Limits: `bytes_max`; then one last line {"t":"full"} and nothing more.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "model/decision.h"
#include "model/pool_view.h"
#include "model/request.h"
#include "schedule/config.h"
#include "schedule/plugin.h"
#include "schedule/recorded_match.h"

namespace sluice::schedule {

class DecisionLog {
 public:
  // Takes whole lines, each with its newline.
  using Sink = std::function<void(std::string_view lines)>;

  // `seed`: the scheduler's. `secret`: a number that nobody else knows.
  DecisionLog(Sink sink, uint64_t seed, uint64_t secret, uint64_t bytes_max);

  void Policy(std::string_view lane, const LoadedConfig& config);
  void Latency(std::string_view state_json);
  void Promote(std::string_view lane);
  // `matches`: what producers found that read from outside.
  void Decide(const model::Request& request, const model::PoolView& pool, const model::Decision& decision,
              std::span<const RecordedMatch> matches, TimePoint now, bool acting);
  void Dispatch(uint64_t flight, TimePoint now);
  void FirstChunk(uint64_t flight, TimePoint now);
  void End(uint64_t flight, const ResponseEnd& end, TimePoint now);

  uint64_t bytes() const { return bytes_; }
  bool full() const { return full_; }

 private:
  void Members(const model::PoolView& pool);
  void Rows(const model::PoolView& pool);
  void Write();

  Sink sink_;
  uint64_t secret_;
  uint64_t bytes_max_;
  uint64_t bytes_ = 0;
  bool full_ = false;
  std::string line_;                      // being written
  std::unique_ptr<model::PoolView> was_;  // what the log has of the pool; null: nothing yet
};

// A number for all that a decision rests on and came to: verdicts, scores, totals, matches, picks. Equal decisions have
// equal digests; times of the wall clock and what was observed later do not count.
uint64_t DecisionDigest(const model::Decision& decision);

// `text` with each four bytes replaced by four others, by `secret` and those bytes alone; the length stays.
std::string Scramble(std::string_view text, uint64_t secret);

}  // namespace sluice::schedule
