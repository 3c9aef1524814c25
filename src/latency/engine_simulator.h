// A small inference engine in virtual time, for this module's tests: FIFO chunked prefill, continuous batching, a limit
// of sequences, as vLLM and llama-server do it; several replicas behind a router that knows what it sent. The times of
// its steps come from other equations than the model's on purpose: whole steps, chunks, noise, stale metrics.
// Thread rule: one owner. Deterministic by seed.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <deque>
#include <functional>
#include <string>
#include <tuple>
#include <vector>

#include "base/rng.h"
#include "latency/features.h"
#include "latency/prefill_ledger.h"

namespace sluice::latency::testing {

struct EngineSpec {
  std::string name;
  double prefill_tokens_per_s = 16'000;
  double attention_ms_per_pair = 0;  // of a token and one before it
  double weights_ms = 10;            // of a decode step
  double sequence_ms = 0.02;
  double resident_token_ms = 50e-6;
  double overhead_ms = 20;
  double transfer_bytes_per_s = 10e9;
  uint32_t chunk = 8'192;  // prompt tokens a step
  uint32_t slots = 256;
  double step_noise = 0.05;     // standard deviation, of the logarithm
  double request_noise = 0.05;  // of the fixed overhead: network
};

struct TrafficSpec {
  double requests_per_s = 1;  // Poisson, over all replicas
  double prompt_min = 100, prompt_max = 2'000;
  double hit_probability = 0;  // that a replica holds 10 to 95 % of the prompt
  double output_min = 20, output_max = 200;
  double metrics_age_ms = 50;
  size_t replicas = 1;
  double transfer_bytes = 0;
};

// What a router would know and see.
struct TtftSeen {
  model::EndpointId endpoint;
  Features features;
  double ttft_ms;
  uint64_t request;
};
struct ItlSeen {
  model::EndpointId endpoint;
  DecodeFeatures during;
  double itl_ms;
  uint64_t request;
};

class Fleet {
 public:
  std::function<void(const TtftSeen&)> on_first_token = [](const TtftSeen&) {};
  std::function<void(const ItlSeen&)> on_end = [](const ItlSeen&) {};
  std::function<void(uint64_t request, model::EndpointId, const Features&)> on_dispatch =
      [](uint64_t, model::EndpointId, const Features&) {};

  // What the router believes of the engines' speed: the model's PrefillMsPerToken.
  std::function<double()> prefill_ms_per_token = [] { return 0.0; };

  Fleet(const EngineSpec& spec, const TrafficSpec& traffic, uint64_t seed)
      : traffic_(traffic), rng_(seed), engines_(traffic.replicas) {
    for (Engine& engine : engines_) engine.spec = spec;
  }

  EngineSpec& spec(size_t replica) { return engines_[replica].spec; }

  // Sends `n` more requests, each to a random replica, and reports what happened until the last of them was sent.
  void Run(size_t n) {
    for (size_t i = 0; i < n; ++i) {
      now_ += rng_.Exponential(traffic_.requests_per_s) * 1000;
      AdvanceAll();
      Send(rng_.Below(engines_.size()));
    }
  }

 private:
  struct Job {
    uint64_t request;
    Features features;
    double sent, ready;  // ready: when the engine has it
    double prompt, to_prefill, output, produced = 0;
    double first_token = 0;
    double running_sum = 0, resident_sum = 0, interleaved = 0;
  };
  struct Metrics {
    double at, waiting, running, resident;
  };
  struct Engine {
    EngineSpec spec;
    double time = 0;  // end of the step it is in, when busy
    bool busy = false;
    double decoding = 0, resident = 0, prefilled = 0;  // of that step
    PrefillLedger ledger;                              // what the router notes of it
    std::deque<Job> waiting;
    std::vector<Job> running;  // in order of admission: those in prefill are the last ones
    std::deque<Metrics> history;
    uint32_t slot = 0;
  };
  struct Event {
    double at;
    bool first;
    TtftSeen ttft;
    ItlSeen itl;
  };

  double Noise(double sigma) {  // log-normal; the sum of 12 uniform numbers is near enough to a normal one
    double sum = -6;
    for (int i = 0; i < 12; ++i) sum += rng_.Uniform();
    return std::exp(sigma * sum);
  }

  void AdvanceAll() {
    std::vector<Event> events;
    for (size_t i = 0; i < engines_.size(); ++i) {
      engines_[i].slot = static_cast<uint32_t>(i);
      Advance(engines_[i], events);
    }
    std::ranges::sort(events, {},
                      [](const Event& e) { return std::tuple(e.at, e.first ? e.ttft.request : e.itl.request); });
    for (const Event& event : events) {
      if (event.first)
        on_first_token(event.ttft);
      else
        on_end(event.itl);
    }
  }

  static TimePoint At(double ms) { return TimePoint(FromSeconds(ms / 1000)); }
  static float Uncached(const Features& f) { return f.request.prompt_tokens - f.endpoint.cached_tokens; }
  static double Resident(const Engine& e) {
    double sum = 0;
    for (const Job& job : e.running) sum += job.prompt - job.to_prefill + job.produced;
    return sum;
  }

  // Runs the steps that end until now, and begins the next one, of which nobody sees anything yet.
  void Advance(Engine& e, std::vector<Event>& events) {
    while (true) {
      if (e.busy) {
        if (e.time > now_) return;
        Finish(e, events);
        e.busy = false;
      }
      while (!e.waiting.empty() && e.running.size() < e.spec.slots && e.waiting.front().ready <= e.time) {
        e.running.push_back(std::move(e.waiting.front()));
        e.waiting.pop_front();
      }
      if (!e.running.empty()) {
        Begin(e);
      } else if (!e.waiting.empty() && e.waiting.front().ready <= now_) {
        e.time = std::max(e.time, e.waiting.front().ready);
      } else {
        e.time = now_;
        return;
      }
    }
  }

  void Begin(Engine& e) {
    double budget = e.spec.chunk, ms = 0, prefilled = 0, decoding = 0, resident = 0;
    for (Job& job : e.running) {
      if (job.to_prefill <= 0) {
        ++decoding;
        resident += job.prompt + job.produced;
        continue;
      }
      const double part = std::min(budget, job.to_prefill);
      const double before = job.prompt - job.to_prefill;
      ms += part * 1000 / e.spec.prefill_tokens_per_s + e.spec.attention_ms_per_pair * part * (before + part / 2);
      budget -= part;
      prefilled += part;
      job.to_prefill -= part;
    }
    if (decoding > 0) ms += e.spec.weights_ms + e.spec.sequence_ms * decoding + e.spec.resident_token_ms * resident;
    ms = std::max(ms, e.spec.weights_ms) * Noise(e.spec.step_noise);
    e.history.push_back(
        {e.time, static_cast<double>(e.waiting.size()), static_cast<double>(e.running.size()), Resident(e)});
    while (e.history.size() > 1 && e.history[1].at < now_ - 60'000) e.history.pop_front();
    e.time += ms;
    e.busy = true;
    e.decoding = decoding;
    e.resident = resident;
    e.prefilled = prefilled;
  }

  void Finish(Engine& e, std::vector<Event>& events) {
    for (Job& job : e.running) {
      if (job.to_prefill > 0) continue;
      const model::EndpointId id{e.slot, 1};
      if (job.produced++ == 0) {
        job.first_token = e.time;
        e.ledger.FirstToken(At(e.time), Uncached(job.features), prefill_ms_per_token());
        events.push_back({e.time, true, {id, job.features, e.time - job.sent, job.request}, {}});
        continue;
      }
      job.running_sum += e.decoding;
      job.resident_sum += e.resident;
      job.interleaved += e.prefilled;
      if (job.produced < job.output) continue;
      const double gaps = job.produced - 1;
      events.push_back({e.time,
                        false,
                        {},
                        {id,
                         {.running = static_cast<float>(job.running_sum / gaps),
                          .resident_tokens = static_cast<float>(job.resident_sum / gaps),
                          .prefill_tokens_per_token = static_cast<float>(job.interleaved / gaps)},
                         (e.time - job.first_token) / gaps,
                         job.request}});
    }
    std::erase_if(e.running, [](const Job& job) { return job.produced >= job.output; });
  }

  void Send(size_t replica) {
    Engine& e = engines_[replica];
    e.slot = static_cast<uint32_t>(replica);
    const auto between = [&](double low, double high) { return std::floor(low + rng_.Uniform() * (high - low)); };
    Job job;
    job.request = next_request_++;
    job.prompt = between(traffic_.prompt_min, traffic_.prompt_max);
    job.output = std::max(2.0, between(traffic_.output_min, traffic_.output_max));
    const double cached =
        rng_.Uniform() < traffic_.hit_probability ? std::floor(job.prompt * (0.1 + 0.85 * rng_.Uniform())) : 0;
    job.to_prefill = job.prompt - cached;

    Features f;
    f.request = {.prompt_tokens = static_cast<float>(job.prompt), .output_tokens = static_cast<float>(job.output)};
    f.endpoint.cached_tokens = static_cast<float>(cached);
    f.endpoint.transfer_bytes = static_cast<float>(traffic_.transfer_bytes);
    f.endpoint.slots = static_cast<float>(e.spec.slots);
    e.ledger.Fill(At(now_), f.endpoint);
    e.ledger.Dispatch(At(now_), Uncached(f));
    f.endpoint.decode_requests =
        static_cast<float>(std::ranges::count_if(e.running, [](const Job& other) { return other.produced > 0; }));
    for (const Metrics& m : e.history) {
      if (m.at > now_ - traffic_.metrics_age_ms) break;
      f.endpoint.waiting = static_cast<float>(m.waiting);
      f.endpoint.running = static_cast<float>(m.running);
      f.endpoint.resident_tokens = static_cast<float>(m.resident);
    }
    job.features = f;
    job.sent = now_;
    job.ready = now_ + e.spec.overhead_ms * Noise(e.spec.request_noise) +
                traffic_.transfer_bytes / e.spec.transfer_bytes_per_s * 1000;
    on_dispatch(job.request, {e.slot, 1}, f);
    e.waiting.push_back(std::move(job));
  }

  TrafficSpec traffic_;
  Rng rng_;
  std::vector<Engine> engines_;
  double now_ = 0;
  uint64_t next_request_ = 0;
};

}  // namespace sluice::latency::testing
