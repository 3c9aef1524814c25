#include "loadgen/request.h"

#include <array>

#include "codec/json/write.h"
#include "loadgen/answer.h"

namespace sluice::loadgen {
namespace {

using net::ClientCall;
using net::Header;
using runtime::AnyOf;
using runtime::Task;

constexpr std::string_view kServedHeader = "x-gateway-destination-endpoint-served";
constexpr size_t kServedMax = 256;
constexpr size_t kErrorBodyMax = size_t{64} << 10;

class Headers {
 public:
  Headers(const BenchOptions& options, bool json) : bearer_("Bearer " + options.api_key) {
    if (json) list_[size_++] = {"content-type", "application/json"};
    if (!options.api_key.empty()) list_[size_++] = {"authorization", bearer_};
  }
  std::span<const Header> All() const { return {list_.data(), size_}; }

 private:
  std::string bearer_;
  std::array<Header, 2> list_;
  size_t size_ = 0;
};

Failure KindOf(Code code) {
  switch (code) {
    case Code::kCancelled:
      return Failure::kStopped;
    case Code::kUpstreamTimeout:
      return Failure::kTimeout;
    default:
      return Failure::kConnect;
  }
}

// The call's answer, whole, into `sample`. `stale`: nothing came on a kept-alive connection that the server had closed.
struct Reading {
  Connection& connection;
  Sample& sample;
  TimePoint start;
  std::string error_body;
  bool stale = false;

  // When the bytes of this batch came. A batch may have begun before the request did.
  double SinceStart() const { return std::max(0.0, Seconds(connection.loop.Now() - start)); }
  // False: reading is over.
  bool Take(ClientCall& call, AnswerReader& answer);
};

bool Reading::Take(ClientCall& call, AnswerReader& answer) {
  const ClientCall::Step step = call.Receive();
  if (step.error) {
    stale = call.reused() && call.received_nothing();
    SetFailure(sample, call.head_done() ? Failure::kCut : Failure::kConnect, step.error->message);
    return false;
  }
  const bool good = call.head_done() && call.head().status == 200;
  if (good && !step.body.empty()) {
    if (!answer.Feed(step.body, SinceStart())) return false;
  } else {
    error_body.append(step.body.substr(0, kErrorBodyMax - error_body.size()));
  }
  if (!call.done()) return true;
  if (const auto served = call.head().headers.Get(kServedHeader)) sample.endpoint = served->substr(0, kServedMax);
  if (good) {
    answer.End(SinceStart());
  } else {
    SetHttpFailure(sample, call.head().status, error_body, connection.json);
  }
  return false;
}

Task<> ReadAnswer(Reading& reading, ClientCall& call, runtime::Timer& timer, runtime::Source& cancel) {
  AnswerReader answer(reading.sample, reading.connection.json);
  for (;;) {
    const uint32_t ready = co_await AnyOf(call.Readable(), timer, cancel);
    if ((ready & 4u) != 0) {
      SetFailure(reading.sample, Failure::kStopped, "");
      co_return;
    }
    if ((ready & 2u) != 0) {
      const double limit_s = Seconds(reading.connection.options.request_timeout);
      SetFailure(reading.sample, Failure::kTimeout, "no whole answer within " + std::to_string(limit_s) + " s");
      co_return;
    }
    if (!reading.Take(call, answer)) co_return;
  }
}

}  // namespace

std::string RequestBody(const BenchOptions& options, const Prompt& prompt) {
  std::string body;
  body.reserve(prompt.prefix.size() + prompt.question.size() + 256);
  codec::JsonWriter w(body);
  w.BeginObject().Field("model", options.model);
  if (options.api == Api::kCompletions) {
    w.Field("prompt", prompt.prefix.empty() ? prompt.question : prompt.prefix + " " + prompt.question);
  } else {
    w.Key("messages").BeginArray();
    if (!prompt.prefix.empty()) w.BeginObject().Field("role", "system").Field("content", prompt.prefix).EndObject();
    w.BeginObject().Field("role", "user").Field("content", prompt.question).EndObject().EndArray();
  }
  w.Field("max_tokens", prompt.output_tokens).Field("temperature", 0).Field("stream", true);
  w.Key("stream_options").BeginObject().Field("include_usage", true).EndObject();
  if (options.ignore_eos) w.Field("ignore_eos", true);
  w.EndObject();
  return body;
}

Task<Sample> SendRequest(Connection& connection, std::string body, runtime::Source& cancel) {
  Sample sample;
  Reading reading{.connection = connection, .sample = sample, .start = std::chrono::steady_clock::now()};
  runtime::Timer timer(connection.loop);
  timer.SetAfter(connection.options.request_timeout);
  const Headers headers(connection.options, /*json=*/true);
  net::ClientRequest request{
      .address = connection.address,
      .method = "POST",
      .target = connection.options.api == Api::kChat ? "/v1/chat/completions" : "/v1/completions",
      .headers = headers.All(),
      .body = body};
  for (;;) {
    sample.failure = Failure::kNone;
    reading.stale = false;
    auto call = co_await connection.client.Start(request, &cancel);
    if (call) {
      co_await ReadAnswer(reading, *call, timer, cancel);
    } else {
      SetFailure(sample, KindOf(call.error().code), call.error().message);
    }
    if (!reading.stale) break;
    request.fresh = true;  // the server had closed the idle connection: nothing of this request was seen
  }
  if (sample.failure != Failure::kNone) {
    sample.e2e_s = Seconds(std::chrono::steady_clock::now() - reading.start);
  }
  co_return sample;
}

Task<Result<std::string>> FirstModel(Connection& connection) {
  const Headers headers(connection.options, /*json=*/false);
  net::ClientRequest request{.address = connection.address, .target = "/v1/models", .headers = headers.All()};
  const auto answer = co_await connection.client.Fetch(request, std::chrono::seconds(10), size_t{1} << 20);
  const std::string where = connection.options.url + "/v1/models";
  if (!answer)
    co_return Fail(answer.error().code, where + ": " + answer.error().message + "; is the server up?", "--url");
  if (answer->status != 200) {
    Sample failed;
    SetHttpFailure(failed, answer->status, answer->body, connection.json);
    co_return Fail(CodeFromHttp(answer->status), where + " answered " + failed.failure_text + "; name a --model",
                   "--model");
  }
  std::string model;
  const auto root = connection.json.Parse(answer->body);
  const auto data = root ? root->Find("data") : std::nullopt;
  if (data) {
    data->ForEachElement([&model](const codec::JsonValue& entry) {
      const auto id = entry.Find("id");
      if (id) model = std::string(id->String().value_or(""));
      return model.empty();
    });
  }
  if (model.empty()) co_return Fail(Code::kBadGateway, where + " names no model; name one with --model", "--model");
  co_return model;
}

}  // namespace sluice::loadgen
