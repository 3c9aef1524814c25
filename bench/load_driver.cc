// load_driver: puts HTTP load on a router and counts what came back, as cheaply as it can: it shares the machine with
// what it measures. `sluice bench` reads answers as a user's client does; this one only counts events and bytes.
//   load_driver HOST:PORT [--connections N | --rate R] [--seconds S] [--requests N] [--ramp S] [--prompt-bytes B]
//   [--groups G]
//               [--stream --tokens N] [--timeout S] [--in-flight-max N] [--seed N]
// Closed loop (--connections: each caller has one request under way; they start evenly over --ramp) or open loop
// (--rate: R a second on average, at random as of many independent callers, whatever comes back). Sends until --seconds
// have passed or --requests are out, then waits for the rest. A prompt is three quarters the text of one of G groups (a
// system prompt) and one quarter text that no other has. An answer is good when it is 200, whole, and, streamed, has at
// least N events and ends with [DONE]. Prints one line of JSON.
#include <sys/resource.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "base/text.h"
#include "codec/json/write.h"
#include "net/http_client.h"
#include "runtime/gate.h"

namespace sluice {
namespace {

using runtime::AnyOf;
using runtime::Task;

struct Options {
  net::Address address;
  int64_t connections = 64;
  double rate = 0;  // 0: closed loop
  double seconds = 2;
  int64_t requests = 0;  // 0: only time ends the run
  double ramp = 0;
  int64_t prompt_bytes = 800;
  int64_t groups = 32;
  bool stream = false;
  int64_t tokens = 1;
  double timeout = 60;
  int64_t in_flight_max = 20'000;
  int64_t seed = 1;
};

TimePoint RealNow() { return std::chrono::steady_clock::now(); }

// Bodies of requests: JSON around slices of one random text.
class Prompts {
 public:
  explicit Prompts(const Options& options) : options_(options), random_(static_cast<uint64_t>(options.seed)) {
    constexpr size_t kTextBytes = size_t{1} << 20;
    text_.reserve(kTextBytes + 16);
    while (text_.size() < kTextBytes) {  // about four bytes a word, as a token is in English
      for (uint64_t n = 2 + random_() % 3; n > 0; --n) text_ += static_cast<char>('a' + random_() % 26);
      text_ += ' ';
    }
    for (int64_t i = 0; i < options_.groups; ++i) groups_.push_back(Text(options_.prompt_bytes * 3 / 4));
  }

  std::string Next() {
    std::string body;
    body.reserve(static_cast<size_t>(options_.prompt_bytes) + 256);
    body += R"({"model":"fake","messages":[{"role":"system","content":")";
    body += groups_[random_() % groups_.size()];
    body += R"("},{"role":"user","content":")";
    body += std::to_string(random_());
    body += ' ';
    AppendText(body, options_.prompt_bytes / 4);
    body += R"("}],"max_tokens":)";
    body += std::to_string(options_.tokens);
    body += options_.stream ? R"(,"stream":true})" : "}";
    return body;
  }

 private:
  std::string Text(int64_t bytes) {
    std::string out;
    AppendText(out, bytes);
    return out;
  }
  void AppendText(std::string& out, int64_t bytes) {
    constexpr size_t kSlice = size_t{64} << 10;
    for (size_t left = static_cast<size_t>(bytes); left > 0;) {
      const size_t n = std::min(left, kSlice);
      out.append(text_, random_() % (text_.size() - n), n);
      left -= n;
    }
  }

  const Options& options_;
  std::mt19937_64 random_;
  std::string text_;
  std::vector<std::string> groups_;
};

// Counts events, however they are cut into pieces: an event ends with an empty line.
class EventCounter {
 public:
  void Feed(std::string_view bytes) {
    for (size_t at = 0; (at = bytes.find('\n', at)) != std::string_view::npos; ++at) {
      const char before = at > 0 ? bytes[at - 1] : last_;
      if (before == '\n') ++events_;
    }
    last_ = bytes.back();
    constexpr size_t kTail = 16;
    if (bytes.size() >= kTail) {
      tail_.assign(bytes.substr(bytes.size() - kTail));
    } else {
      tail_.append(bytes);
      if (tail_.size() > kTail) tail_.erase(0, tail_.size() - kTail);
    }
  }
  int64_t events() const { return events_; }
  bool ended() const { return tail_.find("[DONE]") != std::string::npos; }

 private:
  int64_t events_ = 0;
  char last_ = 0;
  std::string tail_;
};

struct Totals {
  int64_t sent = 0;
  int64_t completed = 0;
  int64_t events = 0;
  int64_t bytes = 0;
  int64_t in_flight = 0;
  int64_t in_flight_peak = 0;
  std::vector<float> first_ms, whole_ms, late_ms;
  std::map<std::string, int64_t> failures;
};

class Driver {
 public:
  Driver(runtime::Loop& loop, const Options& options)
      : loop_(loop),
        options_(options),
        prompts_(options),
        client_(loop, {.connect_timeout = FromSeconds(10), .idle_per_address_max = 65'536}),
        under_way_(loop),
        begin_(RealNow()),
        tasks_(loop) {}

  static Task<> Run(Driver* self) {
    if (self->options_.rate > 0) {
      co_await OpenLoop(self);
    } else {
      co_await ClosedLoop(self);
    }
    self->sending_s_ = Seconds(RealNow() - self->begin_);
    self->under_way_.Close();
    co_await AnyOf(self->under_way_.drained());
    self->Print();
    self->loop_.Stop();
  }

 private:
  bool MoreToSend() const {
    if (options_.requests > 0 && totals_.sent >= options_.requests) return false;
    return Seconds(RealNow() - begin_) < options_.seconds;
  }

  static Task<> OpenLoop(Driver* self) {
    runtime::Timer timer(self->loop_);
    std::mt19937_64 random(static_cast<uint64_t>(self->options_.seed));
    std::exponential_distribution<double> gap(self->options_.rate);
    for (TimePoint due = self->begin_;; due += FromSeconds(gap(random))) {
      timer.Set(due);
      co_await AnyOf(timer);
      if (!self->MoreToSend()) co_return;
      if (self->totals_.in_flight >= self->options_.in_flight_max) {
        ++self->totals_.sent;
        ++self->totals_.failures["not sent: too many under way"];
        continue;
      }
      self->totals_.late_ms.push_back(static_cast<float>(Seconds(RealNow() - due) * 1e3));
      self->under_way_.Enter();
      self->tasks_.Spawn(Alone(self));
    }
  }

  static Task<> Alone(Driver* self) {
    co_await Ask(self);
    self->under_way_.Leave();
  }

  static Task<> ClosedLoop(Driver* self) {
    runtime::Timer timer(self->loop_);
    const int64_t callers = self->options_.connections;
    for (int64_t i = 0; i < callers; ++i) {
      if (self->options_.ramp > 0) {
        timer.Set(self->begin_ +
                  FromSeconds(self->options_.ramp * static_cast<double>(i) / static_cast<double>(callers)));
        co_await AnyOf(timer);
      }
      self->under_way_.Enter();
      self->tasks_.Spawn(Caller(self));
    }
    timer.Set(self->begin_ + FromSeconds(self->options_.seconds));
    if (self->options_.requests == 0) co_await AnyOf(timer);
  }

  static Task<> Caller(Driver* self) {
    while (self->MoreToSend()) co_await Ask(self);
    self->under_way_.Leave();
  }

  static Task<> Ask(Driver* self) {
    Totals& totals = self->totals_;
    ++totals.sent;
    totals.in_flight_peak = std::max(totals.in_flight_peak, ++totals.in_flight);
    std::string failure = co_await Try(self, /*fresh=*/false);
    if (failure == kStale) failure = co_await Try(self, /*fresh=*/true);
    --totals.in_flight;
    if (failure.empty()) {
      ++totals.completed;
    } else if (totals.failures.size() < 16 || totals.failures.contains(failure)) {
      ++totals.failures[failure];
    } else {
      ++totals.failures["others"];
    }
  }

  // Empty: a good answer. kStale: the server had closed the kept-alive connection before it read the request.
  static Task<std::string> Try(Driver* self, bool fresh) {
    static const std::vector<net::Header> headers = {{"content-type", "application/json"}};
    runtime::Timer timer(self->loop_);
    timer.SetAfter(FromSeconds(self->options_.timeout));
    const TimePoint start = RealNow();
    Result<net::ClientCall> call = Fail(Code::kInternal, "");
    {
      const std::string body = self->prompts_.Next();
      net::ClientRequest request{.address = self->options_.address,
                                 .method = "POST",
                                 .target = "/v1/chat/completions",
                                 .headers = headers,
                                 .body = body,
                                 .fresh = fresh};
      call = co_await self->client_.Start(request, &timer);
    }
    if (!call) co_return call.error().message;
    EventCounter counter;
    std::string error_text;
    float first_ms = -1;
    while (!call->done()) {
      if ((co_await AnyOf(call->Readable(), timer) & 1u) == 0) co_return "no whole answer in time";
      const net::ClientCall::Step step = call->Receive();
      if (step.error) {
        if (!fresh && call->reused() && call->received_nothing()) co_return std::string(kStale);
        co_return call->head_done() ? "cut: " + step.error->message : step.error->message;
      }
      if (step.body.empty()) continue;
      if (first_ms < 0) first_ms = static_cast<float>(Seconds(RealNow() - start) * 1e3);
      self->totals_.bytes += static_cast<int64_t>(step.body.size());
      if (call->head().status != 200) error_text.append(step.body.substr(0, 200));
      if (self->options_.stream) counter.Feed(step.body);
    }
    if (call->head().status != 200) co_return std::to_string(call->head().status) + " " + error_text.substr(0, 200);
    self->totals_.events += counter.events();
    if (self->options_.stream && counter.events() < self->options_.tokens) {
      co_return "a stream with " + std::to_string(counter.events()) + " events";
    }
    if (self->options_.stream && !counter.ended()) co_return std::string("a stream without [DONE]");
    self->totals_.first_ms.push_back(first_ms);
    self->totals_.whole_ms.push_back(static_cast<float>(Seconds(RealNow() - start) * 1e3));
    co_return std::string();
  }

  static void AppendQuantiles(codec::JsonWriter& w, std::string_view name, std::vector<float>& values) {
    std::ranges::sort(values);
    w.Key(name).BeginObject();
    for (const auto& [label, q] : {std::pair{"p50", 0.5}, {"p95", 0.95}, {"p99", 0.99}}) {
      const size_t at = static_cast<size_t>(q * static_cast<double>(values.size()));
      w.Field(label, values.empty() ? 0.0 : static_cast<double>(values[std::min(at, values.size() - 1)]));
    }
    w.EndObject();
  }

  void Print() {
    rusage used{};
    getrusage(RUSAGE_SELF, &used);
    const auto seconds = [](const timeval& t) {
      return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) * 1e-6;
    };
    std::string text;
    codec::JsonWriter w(text);
    w.BeginObject()
        .Field("sent", totals_.sent)
        .Field("completed", totals_.completed)
        .Field("events", totals_.events)
        .Field("bytes", totals_.bytes)
        .Field("in_flight_peak", totals_.in_flight_peak)
        .Field("sending_s", sending_s_)
        .Field("seconds", Seconds(RealNow() - begin_))
        .Field("cpu_s", seconds(used.ru_utime) + seconds(used.ru_stime));
    AppendQuantiles(w, "first_ms", totals_.first_ms);
    AppendQuantiles(w, "whole_ms", totals_.whole_ms);
    AppendQuantiles(w, "late_ms", totals_.late_ms);
    w.Key("failures").BeginObject();
    for (const auto& [what, count] : totals_.failures) w.Field(what, count);
    w.EndObject().EndObject();
    std::printf("%s\n", text.c_str());
  }

  static constexpr std::string_view kStale = "stale";

  runtime::Loop& loop_;
  const Options& options_;
  Prompts prompts_;
  net::HttpClient client_;
  runtime::Gate under_way_;
  TimePoint begin_;
  double sending_s_ = 0;
  Totals totals_;
  runtime::TaskScope tasks_;
};

template <typename T>
bool Read(std::string_view text, T& into) {
  const auto value = ParseNumber<T>(text);
  if (value) into = *value;
  return value.has_value();
}

bool ParseArguments(int argc, char** argv, Options& o) {
  const auto address = net::Address::Parse(argc > 1 ? argv[1] : "");
  if (!address) return false;
  o.address = *address;
  for (int i = 2; i < argc; ++i) {
    const std::string_view flag = argv[i];
    if (flag == "--stream") {
      o.stream = true;
      continue;
    }
    if (++i == argc) return false;
    const std::string_view value = argv[i];
    const bool good = flag == "--connections"     ? Read(value, o.connections)
                      : flag == "--rate"          ? Read(value, o.rate)
                      : flag == "--seconds"       ? Read(value, o.seconds)
                      : flag == "--requests"      ? Read(value, o.requests)
                      : flag == "--ramp"          ? Read(value, o.ramp)
                      : flag == "--prompt-bytes"  ? Read(value, o.prompt_bytes)
                      : flag == "--groups"        ? Read(value, o.groups) && o.groups > 0
                      : flag == "--tokens"        ? Read(value, o.tokens)
                      : flag == "--timeout"       ? Read(value, o.timeout)
                      : flag == "--in-flight-max" ? Read(value, o.in_flight_max)
                      : flag == "--seed"          ? Read(value, o.seed)
                                                  : false;
    if (!good) return false;
  }
  return true;
}

int Main(int argc, char** argv) {
  Options options;
  if (!ParseArguments(argc, argv, options)) {
    std::fprintf(stderr, "load_driver: wrong arguments; the head of bench/load_driver.cc lists them\n");
    return 2;
  }
  std::signal(SIGPIPE, SIG_IGN);
  runtime::Loop loop;
  Driver driver(loop, options);
  loop.Spawn(Driver::Run(&driver));
  loop.Run();
  return 0;
}

}  // namespace
}  // namespace sluice

int main(int argc, char** argv) { return sluice::Main(argc, argv); }
