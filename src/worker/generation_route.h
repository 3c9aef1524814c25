// The way that every generating request goes, whatever its API: the body becomes a job on the pool, the engine's
// outputs become events or one body. chat.cc and completions.cc say what is particular to each. An Answer offers:
// Absorb(letter), false when the engine failed, with error() saying why; AppendEvents(out, letter) and AppendEnd(out)
// for streams; KeepText(letter) and WholeBody() for whole answers; Record(), what was used so far. Thread rule: the
// loop's thread, but for what runs on the pool.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "codec/sse/sse.h"
#include "openai/stream.h"
#include "worker/engine_request.h"
#include "worker/worker_context.h"

namespace sluice::worker {

// What an answer keeps of each of its choices. For streams, logprobs and tokens are those not yet sent.
struct ChoiceState {
  std::vector<openai::TokenLogprobs> logprobs;
  std::vector<TokenId> tokens;
  openai::PromptLogprobs prompt_logprobs;
  RequestUsage usage;
  std::optional<openai::Finish> finish;
  bool begun = false;  // its first event has been sent
};

// Adds all of an output but its text. The error, when the engine failed.
std::optional<Error> AbsorbOutput(Output& output, const tokenize::Tokenizer& tokens, ChoiceState& choice);

// The ids that a request may be named by.
struct Ids {
  std::string header;
  std::string random;
};
inline Ids IdsOf(WorkerContext& context, const net::ServerExchange& exchange) {
  return {HeaderId(exchange.head()), RandomId(context)};
}

// Reads the body and runs `prepare(body)`, which gives a Result, on the pool. Nothing: a fault was answered.
template <class Prepare>
auto PrepareOnPool(WorkerContext& context, net::ServerExchange& exchange, Prepare prepare)
    -> runtime::Task<std::optional<typename decltype(prepare(std::string()))::value_type>> {
  auto body = co_await exchange.ReadBody();
  if (!body) {
    co_await RespondFault(context, exchange, std::move(body.error()));
    co_return std::nullopt;
  }
  auto running = context.pool.Run(context.loop, [&prepare, &body] { return prepare(*body); });
  auto prepared = co_await std::move(running);
  if (!prepared || !*prepared) {
    co_await RespondFault(context, exchange, std::move(!prepared ? prepared.error() : prepared->error()));
    co_return std::nullopt;
  }
  co_return std::move(**prepared);
}

template <class Answer, class Job>
runtime::Task<> StreamAnswer(WorkerContext& context, net::ServerExchange& exchange, Job& job, RequestRecord& record) {
  Answer answer(context, job);
  while (!job.work->AllEnded()) {
    const bool there = co_await AwaitOutputs(*job.work, exchange);
    if (!there) co_return;
    std::string events;
    bool failed = false;
    for (Mailbox::Letter& letter : job.work->Take()) {
      failed = !answer.Absorb(letter);
      if (failed) break;
      answer.AppendEvents(events, letter);
    }
    record.usage = answer.Record();
    if (failed && !exchange.started()) {
      co_await RespondFault(context, exchange, answer.error());
      co_return;
    }
    if (!exchange.started()) StartEventStream(exchange);
    const bool over = failed || job.work->AllEnded();
    if (failed) openai::AppendErrorEvent(events, answer.error());
    if (over && !failed) answer.AppendEnd(events);
    if (over) events += codec::kSseDone;
    if (events.empty()) continue;
    const bool sent = co_await SendEvents(exchange, std::move(events), over);
    if (!sent || over) co_return;
  }
}

template <class Answer, class Job>
runtime::Task<> WholeAnswer(WorkerContext& context, net::ServerExchange& exchange, Job& job, RequestRecord& record) {
  Answer answer(context, job);
  while (!job.work->AllEnded()) {
    const bool there = co_await AwaitOutputs(*job.work, exchange);
    if (!there) co_return;
    for (Mailbox::Letter& letter : job.work->Take()) {
      if (!answer.Absorb(letter)) {
        co_await RespondFault(context, exchange, answer.error());
        co_return;
      }
      answer.KeepText(letter);
    }
    record.usage = answer.Record();
  }
  co_await RespondJson(exchange, 200, answer.WholeBody());
}

// The whole way. `begin(body, ids)` runs on the pool and hands the job's requests to the engine.
template <class Answer, class Begin>
runtime::Task<> ServeGeneration(WorkerContext& context, net::ServerExchange& exchange, RequestRecord& record,
                                std::string_view id_prefix, Begin begin) {
  const Ids ids = IdsOf(context, exchange);
  record.id = ChooseId(id_prefix, ids.header, "", ids.random);
  const auto prepare = [&context, &begin, &ids](const std::string& body) { return begin(context, body, ids); };
  auto job = co_await PrepareOnPool(context, exchange, prepare);
  if (!job) co_return;
  record.id = job->id;
  record.unknown_fields = job->request.unknown_fields;
  context.metrics.OnRequest(job->request.generation.n);
  if (job->request.generation.stream) {
    co_await StreamAnswer<Answer>(context, exchange, *job, record);
  } else {
    co_await WholeAnswer<Answer>(context, exchange, *job, record);
  }
}

}  // namespace sluice::worker
