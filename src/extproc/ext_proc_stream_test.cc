#include "extproc/ext_proc_stream.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "extproc/testing.h"

namespace sluice::extproc {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::StartsWith;

constexpr std::string_view kRouted =
    "request-headers x-gateway-destination-endpoint=10.0.0.2:8000 Content-Length=2 x-request-id=r1";

struct Exchange {
  explicit Exchange(ExtProcStream::Options options = {})
      : stream({.options = options, .rng = rng, .scratch = scratch}, director, sink) {}
  Exchange& Send(const std::string& message) {
    stream.OnMessage(message);
    return *this;
  }
  // As far as the routed request, its answers taken.
  Exchange& Routed() {
    Send(HeadMessage(2, {{":path", "/v1/chat/completions"}, {"x-request-id", "r1"}}));
    Send(BodyMessage(4, "{}", true));
    EXPECT_THAT(sink.Take(), ElementsAre(kRouted, "request-body '{}' end"));
    director.Take();
    return *this;
  }

  Rng rng{1};
  ExtProcStream::Scratch scratch;
  ScriptedDirector director;
  KeptAnswers sink;
  ExtProcStream stream;
};

TEST(ExtProcStream, AnswersAtTheEndOfTheBodyHeadFirst) {
  Exchange x;
  x.Send(HeadMessage(2, {{":path", "/v1/completions"}, {"X-Request-Id", "r1"}, {"accept", "a"}}));
  x.Send(BodyMessage(4, "{\"a\"", false)).Send(BodyMessage(4, ":1}", false));
  EXPECT_THAT(x.sink.Take(), IsEmpty());
  EXPECT_THAT(x.director.Take(), IsEmpty());
  x.Send(BodyMessage(4, "", true));
  EXPECT_THAT(x.director.Take(), ElementsAre("route :path=/v1/completions x-request-id=r1 accept=a '{\"a\":1}'"));
  EXPECT_THAT(x.sink.Take(),
              ElementsAre("request-headers x-gateway-destination-endpoint=10.0.0.2:8000 Content-Length=7 "
                          "x-request-id=r1 accept=a",
                          "request-body '{\"a\":1}' end"));
}

TEST(ExtProcStream, HeaderAndMetadataAreEqual) {
  Exchange x;
  x.director.answer = Routing{.destination = "10.0.0.2:8000,10.0.0.3:8000", .scores = {{"10.0.0.2:8000", 0.5}}};
  x.Send(HeadMessage(2, {})).Send(BodyMessage(4, "{}", true));
  const std::string_view answer = x.sink.raw.front();
  EXPECT_THAT(x.sink.text.front(), HasSubstr(" x-gateway-destination-endpoint=10.0.0.2:8000,10.0.0.3:8000 "));
  // dynamic_metadata > envoy.lb > struct > first field > value > string
  const std::string_view fields = FieldOf(answer, {8, 1, 2, 5});
  parse::ProtoReader reader(fields);
  const auto destination = reader.Next();
  EXPECT_EQ(FieldOf(destination->bytes, {1}), "x-gateway-destination-endpoint");
  EXPECT_EQ(FieldOf(destination->bytes, {2, 3}), "10.0.0.2:8000,10.0.0.3:8000");
  const auto scores = reader.Next();
  EXPECT_EQ(FieldOf(scores->bytes, {1}), "x-gateway-destination-endpoint-scores");
  EXPECT_EQ(FieldOf(scores->bytes, {2, 5, 1, 1}), "10.0.0.2:8000");
  EXPECT_EQ(NumberOf(FieldOf(answer, {1, 1}), 5), 1u) << "clear_route_cache";
}

TEST(ExtProcStream, CutsBodiesInPieces) {
  const std::vector<std::pair<size_t, std::vector<size_t>>> cases = {
      {61'999, {61'999}}, {62'000, {62'000}}, {62'001, {62'000, 1}}, {124'000, {62'000, 62'000}}};
  for (const auto& [size, pieces] : cases) {
    Exchange x;
    x.Send(HeadMessage(2, {})).Send(BodyMessage(4, std::string(size, 'x'), true));
    ASSERT_EQ(x.sink.raw.size(), 1 + pieces.size()) << size;
    for (size_t i = 0; i < pieces.size(); ++i) {
      const std::string_view streamed = FieldOf(x.sink.raw[i + 1], {3, 1, 3, 3});
      EXPECT_EQ(FieldOf(streamed, {1}).size(), pieces[i]);
      EXPECT_EQ(NumberOf(streamed, 2), i + 1 == pieces.size() ? 1u : 0u) << "the end is in the last one";
    }
  }
}

TEST(ExtProcStream, AnEmptyBodyHasOneAnswer) {
  Exchange x;
  x.Send(HeadMessage(2, {{"x-request-id", "r1"}})).Send(BodyMessage(4, "", true));
  EXPECT_THAT(x.sink.Take(), ElementsAre("request-headers x-gateway-destination-endpoint=10.0.0.2:8000 x-request-id=r1",
                                         "request-body '' end"));
}

TEST(ExtProcStream, ABodylessRequestGoesAnywhere) {
  Exchange x;
  x.Send(HeadMessage(2, {{":path", "/v1/models"}, {"x-request-id", "r1"}, {"accept", "a"}}, true));
  EXPECT_THAT(x.director.Take(), ElementsAre("any"));
  EXPECT_THAT(x.sink.Take(), ElementsAre("request-headers x-gateway-destination-endpoint=10.0.0.2:8000"));
  x.Send(HeadMessage(3, {{":status", "200"}})).Send(BodyMessage(5, "{}", true));
  EXPECT_THAT(x.sink.Take(), ElementsAre("response-headers x-went-into-resp-headers=true", "response-body '{}' end"));
  EXPECT_THAT(x.director.Take(), IsEmpty()) << "nothing was dispatched";

  Exchange none;
  none.director.answer =
      tl::unexpected(Refusal{.error = {Code::kInternal, "no pods available in datastore", ""}, .dropped_reason = {}});
  none.Send(HeadMessage(2, {}, true));
  EXPECT_THAT(none.sink.Take(),
              ElementsAre("immediate 500 'inference error: Internal - no pods available in datastore'", "closed 0"));
}

TEST(ExtProcStream, MakesARequestIdOnlyWhereNoneIs) {
  Exchange x;
  x.Send(HeadMessage(2, {})).Send(BodyMessage(4, "{}", true));
  EXPECT_THAT(x.sink.Take().front(), ::testing::ContainsRegex(" x-request-id=[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-"));
}

TEST(ExtProcStream, WhichHeadersAreSetAgain) {
  Exchange x;
  x.director.answer = Routing{.destination = "d", .set_headers = {{"accept", "set"}}, .remove_headers = {"gone"}};
  x.Send(HeadMessage(2, {{":authority", "h"},
                         {"x-request-id", "r1"},
                         {"accept", "a"},
                         {"twice", "1"},
                         {"twice", "2"},
                         {"gone", "x"},
                         {"content-length", "99"},
                         {"x-llm-d-inference-objective", "gold"},
                         {"x-gateway-destination-endpoint", "evil:1"}}));
  x.Send(BodyMessage(4, "{}", true));
  EXPECT_EQ(x.sink.Take().front(),
            "request-headers x-gateway-destination-endpoint=d Content-Length=2 x-request-id=r1 accept=set -gone");
}

TEST(ExtProcStream, ReadsTheSubsetFromTheMessageThatEndsTheBody) {
  const auto with_subset = [](std::string message) {
    ProtoWriter writer(message);
    const size_t metadata = writer.Open(8);
    const size_t space = writer.Open(1);
    writer.Bytes(1, kSubsetNamespace);
    const size_t fields = writer.Open(2);
    const size_t entry = writer.Open(1);
    writer.Bytes(1, kSubsetKey);
    const size_t value = writer.Open(2);
    const size_t list = writer.Open(6);
    const size_t item = writer.Open(1);
    writer.Bytes(3, "10.0.0.7:80");
    for (const size_t open : {item, list, value, entry, fields, space, metadata}) writer.Close(open);
    return message;
  };
  Exchange early;
  early.Send(with_subset(HeadMessage(2, {}))).Send(with_subset(BodyMessage(4, "{", false)));
  early.Send(BodyMessage(4, "}", true));
  EXPECT_THAT(early.director.Take(), ElementsAre("route '{}'"));
  Exchange x;
  x.Send(HeadMessage(2, {})).Send(with_subset(BodyMessage(4, "{}", true)));
  EXPECT_THAT(x.director.Take(), ElementsAre("route '{}' subset 10.0.0.7"));
  Exchange off({.use_subset_hint = false});
  off.Send(HeadMessage(2, {})).Send(with_subset(BodyMessage(4, "{}", true)));
  EXPECT_THAT(off.director.Take(), ElementsAre("route '{}'"));
}

TEST(ExtProcStream, TrailersEndARequestToo) {
  Exchange x;
  x.Send(HeadMessage(2, {{"x-request-id", "r1"}})).Send(BodyMessage(4, "{}", false)).Send(TrailersMessage(6));
  EXPECT_THAT(x.sink.Take(), ElementsAre(kRouted, "request-body '{}'", "request-trailers"));
  Exchange empty;
  empty.Send(HeadMessage(2, {{"x-request-id", "r1"}})).Send(TrailersMessage(6));
  EXPECT_THAT(
      empty.sink.Take(),
      ElementsAre("request-headers x-gateway-destination-endpoint=10.0.0.2:8000 x-request-id=r1", "request-trailers"));
}

TEST(ExtProcStream, RefusalsAreImmediateAnswers) {
  struct Case {
    Error error;
    std::string_view reason;
    std::string answer;
    model::Receipt::RefusedBy refused_by = model::Receipt::RefusedBy::kNobody;
  };
  const Case cases[] = {
      {{Code::kInvalidArgument, "m", ""}, "", "immediate 400 'inference error: BadRequest - m'"},
      {{Code::kUnprocessable, "m", ""}, "", "immediate 400 'inference error: BadRequest - m'"},
      {{Code::kUnauthenticated, "m", ""}, "", "immediate 401 'inference error: Unauthorized - m'"},
      {{Code::kPermissionDenied, "m", ""}, "", "immediate 403 'inference error: Forbidden - m'"},
      {{Code::kNotFound, "m", ""}, "", "immediate 404 'inference error: NotFound - m'"},
      {{Code::kPreconditionFailed, "m", ""}, "", "immediate 412 'inference error: PreconditionFailed - m'"},
      {{Code::kResourceExhausted, "m", ""},
       "rejected-saturated",
       "immediate 429 'inference error: ResourceExhausted - m' x-llm-d-request-dropped-reason=rejected-saturated"},
      {{Code::kResourceExhausted, "system saturated, sheddable request dropped", ""},
       "rejected-saturated",
       "immediate 429 'inference error: ResourceExhausted - system saturated, sheddable request dropped'",
       model::Receipt::RefusedBy::kSaturation},
      {{Code::kResourceExhausted, "request cannot be admitted: no", ""},
       "rejected-saturated",
       "immediate 500 'inference error: Internal - request cannot be admitted: no'",
       model::Receipt::RefusedBy::kAdmitter},
      {{Code::kUnavailable, "m", ""},
       "rejected-no-endpoints",
       "immediate 503 'inference error: ServiceUnavailable - m' x-llm-d-request-dropped-reason=rejected-no-endpoints"},
  };
  for (const Case& c : cases) {
    Exchange x;
    x.director.answer =
        tl::unexpected(Refusal{.error = c.error, .dropped_reason = c.reason, .refused_by = c.refused_by});
    x.Send(HeadMessage(2, {})).Send(BodyMessage(4, "{}", true));
    EXPECT_THAT(x.sink.Take(), ElementsAre(c.answer, "closed 0"));
    x.Send(HeadMessage(3, {}));
    EXPECT_THAT(x.sink.Take(), IsEmpty());
  }
  Exchange untyped;
  untyped.director.answer = tl::unexpected(Refusal{.error = {Code::kCancelled, "m", ""}, .dropped_reason = {}});
  untyped.Send(HeadMessage(2, {})).Send(BodyMessage(4, "{}", true));
  EXPECT_THAT(untyped.sink.Take(), ElementsAre("closed 2 failed to handle request: m"));
}

TEST(ExtProcStream, LimitsTheBody) {
  Exchange x({.body_bytes_max = 10});
  x.Send(HeadMessage(2, {})).Send(BodyMessage(4, "12345678", false)).Send(BodyMessage(4, "90", false));
  EXPECT_THAT(x.sink.Take(), IsEmpty());
  x.Send(BodyMessage(4, "1", false));
  EXPECT_THAT(
      x.sink.Take(),
      ElementsAre("immediate 413 'inference error: BadRequest - the request body is over 10 bytes'", "closed 0"));
}

TEST(ExtProcStream, PassesAStreamedAnswerPieceByPiece) {
  for (const bool asked : {true, false}) {
    Exchange x;
    x.director.answer->streaming = asked;
    x.Routed().Send(HeadMessage(3, {{":status", "200"}, {"content-type", asked ? "a" : "text/event-stream; x=y"}}));
    EXPECT_THAT(x.sink.Take(), ElementsAre(StartsWith("response-headers x-went-into-resp-headers=true content-type=")));
    x.Send(BodyMessage(5, "data: 1\n\n", false));
    EXPECT_THAT(x.sink.Take(), ElementsAre("response-body 'data: 1\n\n'"));
    x.Send(BodyMessage(5, "", true));
    EXPECT_THAT(x.sink.Take(), ElementsAre("response-body '' end"));
    EXPECT_THAT(x.director.Take(), ElementsAre("head 200 ", "end natural"));
    EXPECT_EQ(x.director.seen, "data: 1\n\n");
    x.stream.OnGone();
    EXPECT_THAT(x.director.Take(), IsEmpty());
    EXPECT_THAT(x.sink.Take(), ElementsAre("closed 0"));
  }
}

TEST(ExtProcStream, HoldsAnAnswerThatIsNotStreamed) {
  Exchange x;
  x.Routed().Send(HeadMessage(3, {{":status", "200"}})).Send(BodyMessage(5, "ab", false));
  EXPECT_EQ(x.sink.Take().size(), 1u) << "the head only";
  x.Send(BodyMessage(5, "cd", true));
  EXPECT_THAT(x.sink.Take(), ElementsAre("response-body 'abcd' end"));

  Exchange limited({.held_bytes_max = 4});
  limited.Routed().Send(HeadMessage(3, {})).Send(BodyMessage(5, "abcd", false));
  limited.sink.Take();
  limited.Send(BodyMessage(5, "e", false));
  EXPECT_THAT(limited.sink.Take(), ElementsAre("response-body 'abcde'")) << "beyond the limit it is not held";
  limited.Send(BodyMessage(5, "f", false)).Send(BodyMessage(5, "g", true));
  EXPECT_THAT(limited.sink.Take(), ElementsAre("response-body 'f'", "response-body 'g' end"));
}

TEST(ExtProcStream, RestoresTheModelsName) {
  const std::string sent = R"({"model":"big-v2","text":"\"model\":\"big-v2\""})";
  const std::string restored = R"({"model":"big","text":"\"model\":\"big-v2\""})";
  for (const bool streaming : {true, false}) {
    Exchange x;
    x.director.answer = Routing{.destination = "d",
                                .body = R"({"model":"big-v2"})",
                                .streaming = streaming,
                                .model_sent = "big-v2",
                                .model_asked = "big"};
    x.Send(HeadMessage(2, {{"x-request-id", "r1"}})).Send(BodyMessage(4, R"({"model":"big"})", true));
    EXPECT_THAT(x.sink.Take(),
                ElementsAre(HasSubstr("Content-Length=18"), "request-body '{\"model\":\"big-v2\"}' end"));
    x.Send(HeadMessage(3, {{"content-length", "50"}}));
    EXPECT_THAT(x.sink.Take(), ElementsAre(HasSubstr("-content-length")));
    x.Send(BodyMessage(5, sent.substr(0, 12), false)).Send(BodyMessage(5, sent.substr(12), true));
    std::string body;
    for (const std::string& answer : x.sink.raw) body += FieldOf(answer, {4, 1, 3, 3, 1});
    EXPECT_EQ(body, restored);
  }
}

TEST(ExtProcStream, ResponseTrailersEndAnAnswer) {
  Exchange x;
  x.Routed().Send(HeadMessage(3, {})).Send(BodyMessage(5, "ab", false));
  x.sink.Take();
  x.Send(TrailersMessage(7));
  EXPECT_THAT(x.sink.Take(), ElementsAre("response-body 'ab'", "response-trailers"));
  EXPECT_THAT(x.director.Take(), ElementsAre("head 0 ", "end natural"));
}

TEST(ExtProcStream, SkipsTheResponse) {
  Exchange x;
  x.director.answer->skip_response = true;
  x.Send(HeadMessage(2, {{"x-request-id", "r1"}})).Send(BodyMessage(4, "{}", true));
  EXPECT_THAT(x.sink.Take(), ElementsAre(kRouted, "request-body '{}' end", "closed 0"));
  EXPECT_THAT(x.director.Take(), ElementsAre(StartsWith("route"), "end natural"));
}

TEST(ExtProcStream, TellsTheServedEndpointAndAddsPluginsHeaders) {
  Exchange x;
  x.director.response_headers = {{"x-session-token", "t"}};
  x.Routed();
  std::string head = HeadMessage(3, {{":status", "404"}, {"x-session-token", "engine's"}, {"set-cookie", "a"}});
  ProtoWriter writer(head);
  const size_t metadata = writer.Open(8);
  const size_t space = writer.Open(1);
  writer.Bytes(1, kLbNamespace);
  const size_t fields = writer.Open(2);
  const size_t entry = writer.Open(1);
  writer.Bytes(1, kServed);
  const size_t value = writer.Open(2);
  writer.Bytes(3, "10.0.0.9:8000");
  for (const size_t open : {value, entry, fields, space, metadata}) writer.Close(open);
  x.Send(head);
  EXPECT_THAT(x.director.Take(), ElementsAre("head 404 10.0.0.9:8000"));
  EXPECT_THAT(x.sink.Take(),
              ElementsAre("response-headers x-went-into-resp-headers=true x-session-token=t set-cookie=a"));
}

TEST(ExtProcStream, EvictsWhatWasDispatched) {
  Exchange early;
  early.Send(HeadMessage(2, {}));
  early.stream.Evict("evicted");
  EXPECT_THAT(early.sink.Take(), IsEmpty());

  Exchange x;
  x.Routed().stream.Evict("evicted");
  EXPECT_THAT(x.sink.Take(),
              ElementsAre("immediate 429 'request evicted by flow control' x-llm-d-request-dropped-reason=evicted",
                          "closed 0"));
  EXPECT_THAT(x.director.Take(), ElementsAre("end evicted"));

  Exchange done;
  done.Routed().Send(HeadMessage(3, {}, true));
  done.sink.Take();
  done.stream.Evict("evicted");
  EXPECT_THAT(done.sink.Take(), IsEmpty());
}

TEST(ExtProcStream, KnowsWhoEnded) {
  Exchange left;
  left.Routed().stream.OnGone();
  EXPECT_THAT(left.director.Take(), ElementsAre("end client-left"));

  // Lean: response bodies are not sent, so a stream that ends after the response's head has ended well.
  Exchange lean;
  std::string head = HeadMessage(2, {});
  ProtoWriter writer(head);
  const size_t config = writer.Open(11);
  writer.Varint(1, 4);
  writer.Close(config);
  lean.Send(head).Send(BodyMessage(4, "{}", true)).Send(HeadMessage(3, {{":status", "200"}}));
  lean.director.Take();
  lean.stream.OnGone();
  EXPECT_THAT(lean.director.Take(), ElementsAre("end natural"));

  Exchange lean_left;
  lean_left.Send(head).Send(BodyMessage(4, "{}", true));
  lean_left.director.Take();
  lean_left.stream.OnGone();
  EXPECT_THAT(lean_left.director.Take(), ElementsAre("end client-left"));
}

TEST(ExtProcStream, AnswersALocalReplyBeforeTheBodysEnd) {
  Exchange x;
  x.Send(HeadMessage(2, {})).Send(HeadMessage(3, {{":status", "413"}})).Send(BodyMessage(5, "too large", true));
  EXPECT_THAT(x.sink.Take(),
              ElementsAre("response-headers x-went-into-resp-headers=true", "response-body 'too large' end"));
  EXPECT_THAT(x.director.Take(), IsEmpty());
}

TEST(ExtProcStream, WaitsForTheDirector) {
  Exchange x;
  x.director.waits = true;
  x.Send(HeadMessage(2, {{"x-request-id", "r1"}})).Send(BodyMessage(4, "{}", true));
  x.Send(BodyMessage(4, "{}", true));
  EXPECT_THAT(x.sink.Take(), IsEmpty());
  EXPECT_THAT(x.director.Take(), IsEmpty());
  x.director.ready();
  EXPECT_THAT(x.director.Take(), ElementsAre("route x-request-id=r1 '{}'"));
  EXPECT_THAT(x.sink.Take(), ElementsAre(kRouted, "request-body '{}' end"));

  Exchange trailers;
  trailers.director.waits = true;
  trailers.Send(HeadMessage(2, {{"x-request-id", "r1"}})).Send(BodyMessage(4, "{}", false)).Send(TrailersMessage(6));
  EXPECT_THAT(trailers.sink.Take(), IsEmpty());
  trailers.stream.OnEnd();
  trailers.director.ready();
  EXPECT_THAT(trailers.sink.Take(), ElementsAre(kRouted, "request-body '{}'", "request-trailers", "closed 0"));
}

TEST(ExtProcStream, RoutesNothingThatEndedWhileTheDirectorPrepared) {
  Exchange left;
  left.director.waits = true;
  left.Send(HeadMessage(2, {{"x-request-id", "r1"}})).Send(BodyMessage(4, "{}", true));
  left.stream.OnGone();
  left.director.ready();
  EXPECT_THAT(left.sink.Take(), ElementsAre("closed 0"));
  EXPECT_THAT(left.director.Take(), IsEmpty());

  Exchange answered;  // by Envoy: its route's timeout
  answered.director.waits = true;
  answered.Send(HeadMessage(2, {{"x-request-id", "r1"}})).Send(BodyMessage(4, "{}", true));
  answered.Send(HeadMessage(3, {{":status", "504"}}, true));
  answered.director.ready();
  EXPECT_THAT(answered.sink.Take(), ElementsAre("response-headers x-went-into-resp-headers=true"));
  EXPECT_THAT(answered.director.Take(), IsEmpty());
}

TEST(ExtProcStream, PassesOverALastPieceThatComesTwice) {
  Exchange x;
  x.Routed().Send(BodyMessage(4, "{}", true));
  EXPECT_THAT(x.sink.Take(), IsEmpty());
  EXPECT_THAT(x.director.Take(), IsEmpty());
  x.Send(HeadMessage(3, {}));
  EXPECT_THAT(x.sink.Take(), ElementsAre("response-headers x-went-into-resp-headers=true"));
}

TEST(ExtProcStream, EndsWhatIsOutOfOrder) {
  const std::string request = HeadMessage(2, {}), body = BodyMessage(4, "{}", true), trailers = TrailersMessage(6);
  const std::string response = HeadMessage(3, {}), piece = BodyMessage(5, "x", false), end = BodyMessage(5, "x", true);
  const std::vector<std::pair<std::vector<std::string>, std::string>> cases = {
      {{body}, "a body before the request's head"},
      {{trailers}, "trailers before the request's head"},
      {{response}, "a response before the request's head"},
      {{request, request}, "a second head of the request"},
      {{request, trailers, trailers}, "trailers of the request again"},
      {{request, body, piece}, "a body before the response's head"},
      {{request, body, TrailersMessage(7)}, "trailers before the response's head"},
      {{request, body, response, response}, "a second head of the response"},
      {{request, body, response, end, piece}, "a body after the response's end"},
      {{request, body, response, end, TrailersMessage(7)}, "trailers after the response's end"},
  };
  for (const auto& [messages, words] : cases) {
    Exchange x;
    for (const std::string& message : messages) x.Send(message);
    EXPECT_EQ(x.sink.Take().back(), "closed 3 out of order: " + words);
    EXPECT_EQ(x.director.open, 0) << words;
  }
  Exchange garbage;
  garbage.Routed().Send("\xff\xff");
  EXPECT_THAT(garbage.sink.Take(), ElementsAre(StartsWith("closed 3 not a message")));
  EXPECT_THAT(garbage.director.Take(), ElementsAre("end error"));
}

// The ordering test: whatever comes in whatever order, with the client leaving or an eviction at any step, answers keep
// upstream's order, each body ends once and whole, a routed request ends once, and nothing follows the close.
TEST(ExtProcStream, KeepsItsOrderUnderAnyOrderOfMessages) {
  for (uint64_t seed = 1; seed <= 20'000; ++seed) {
    SCOPED_TRACE(seed);
    Rng rng(seed);
    Exchange x({.body_bytes_max = 200'000, .held_bytes_max = rng.Below(3) * 10});
    x.director.answer->streaming = rng.Below(2) == 0;
    x.director.answer->skip_response = rng.Below(8) == 0;
    std::vector<std::string> messages = {HeadMessage(2, {}, rng.Below(10) == 0)};
    for (uint64_t i = rng.Below(3); i > 0; --i)
      messages.push_back(BodyMessage(4, std::string(rng.Below(90'000), 'q'), false));
    messages.push_back(rng.Below(4) == 0 ? TrailersMessage(6) : BodyMessage(4, "q", true));
    messages.push_back(HeadMessage(3, {}, rng.Below(10) == 0));
    std::string answer;
    for (uint64_t i = rng.Below(4); i > 0; --i) {
      messages.push_back(BodyMessage(5, std::string(i, 'a'), false));
      answer += std::string(i, 'a');
    }
    messages.push_back(rng.Below(4) == 0 ? TrailersMessage(7) : BodyMessage(5, "", true));
    const bool in_order = rng.Below(2) == 0;
    for (uint64_t i = in_order ? 0 : 1 + rng.Below(3); i > 0; --i) {
      std::swap(messages[rng.Below(messages.size())], messages[rng.Below(messages.size())]);
    }
    const uint64_t leaves_at = rng.Below(3) == 0 ? rng.Below(messages.size() + 1) : ~uint64_t{0};
    const uint64_t evicted_at = rng.Below(5) == 0 ? rng.Below(messages.size() + 1) : ~uint64_t{0};
    for (size_t i = 0; i < messages.size(); ++i) {
      if (i == leaves_at) x.stream.OnGone();
      if (i == evicted_at) x.stream.Evict("evicted");
      x.Send(messages[i]);
    }
    x.stream.OnGone();
    EXPECT_EQ(x.director.open, 0);
    const std::vector<std::string> said = x.sink.Take();
    ASSERT_FALSE(said.empty());
    EXPECT_THAT(said.back(), StartsWith("closed"));
    int request = 0, response = 0;  // 0 nothing, 1 head, 2 ended
    for (size_t i = 0; i + 1 < said.size(); ++i) {
      const std::string& line = said[i];
      int& side = line.starts_with("request") ? request : response;
      const bool ends = line.ends_with(" end") || line.ends_with("-trailers");
      if (line.starts_with("immediate")) {
        EXPECT_EQ(i + 2, said.size()) << "nothing but the close follows";
      } else if (line.find("-headers") != std::string::npos) {
        EXPECT_EQ(side, 0);
        side = 1;
      } else {
        EXPECT_GE(side, 1) << line;
        EXPECT_TRUE(side == 1 || line == "request-trailers") << line;
        if (ends) side = 2;
      }
    }
    EXPECT_EQ(std::count_if(said.begin(), said.end(), [](const auto& s) { return s.starts_with("closed"); }), 1);
  }
}

}  // namespace
}  // namespace sluice::extproc
