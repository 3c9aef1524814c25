// For tests of the protocol: messages as Envoy writes them, and answers as a line of text.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/check.h"
#include "extproc/ext_proc_stream.h"
#include "extproc/proto_writer.h"
#include "parse/proto_reader.h"

namespace sluice::extproc {

// ProcessingRequests. `field`: 2 request_headers, 3 response_headers, 4 and 5 the bodies, 6 and 7 the trailers.
inline std::string HeadMessage(uint32_t field, const std::vector<std::pair<std::string, std::string>>& headers,
                               bool end_of_stream = false) {
  std::string out;
  ProtoWriter writer(out);
  const size_t head = writer.Open(field);
  const size_t map = writer.Open(1);
  for (const auto& [name, value] : headers) {
    const size_t header = writer.Open(1);
    writer.Bytes(1, name);
    writer.Bytes(3, value);
    writer.Close(header);
  }
  writer.Close(map);
  if (end_of_stream) writer.Varint(3, 1);
  writer.Close(head);
  return out;
}

inline std::string BodyMessage(uint32_t field, std::string_view body, bool end_of_stream) {
  std::string out;
  ProtoWriter writer(out);
  const size_t message = writer.Open(field);
  if (!body.empty()) writer.Bytes(1, body);
  if (end_of_stream) writer.Varint(2, 1);
  writer.Close(message);
  return out;
}

inline std::string TrailersMessage(uint32_t field) {
  std::string out;
  ProtoWriter writer(out);
  writer.Close(writer.Open(field));
  return out;
}

// The field path `numbers` of a message: the last one of that number at each step.
inline std::string_view FieldOf(std::string_view message, std::initializer_list<uint32_t> numbers) {
  for (const uint32_t number : numbers) {
    parse::ProtoReader reader(message);
    message = {};
    while (const auto field = reader.Next()) {
      if (field->number == number) message = field->bytes;
    }
    SLUICE_CHECK(reader.ok(), "an answer is protobuf");
  }
  return message;
}

inline uint64_t NumberOf(std::string_view message, uint32_t number) {
  uint64_t value = 0;
  parse::ProtoReader reader(message);
  while (const auto field = reader.Next()) {
    if (field->number == number) value = field->value;
  }
  return value;
}

inline std::string HeadersText(std::string_view mutation) {
  std::string out;
  parse::ProtoReader reader(mutation);
  while (const auto field = reader.Next()) {
    if (field->number == 2) out += " -" + std::string(field->bytes);
    if (field->number != 1) continue;
    const std::string_view header = FieldOf(field->bytes, {1});
    out += " " + std::string(FieldOf(header, {1})) + "=" + std::string(FieldOf(header, {3}));
  }
  return out;
}

// "request-headers a=b -c", "response-body 'text' end", "immediate 429 'text' a=b", …
inline std::string AnswerText(std::string_view answer) {
  parse::ProtoReader reader(answer);
  const auto field = reader.Next();
  SLUICE_CHECK(field.has_value(), "an answer has a field");
  const std::string side = field->number % 2 == 1 ? "request" : "response";
  switch (field->number) {
    case 1:
    case 2:
      return side + "-headers" + HeadersText(FieldOf(field->bytes, {1, 2}));
    case 3:
    case 4: {
      const std::string_view streamed = FieldOf(field->bytes, {1, 3, 3});
      return side + "-body '" + std::string(FieldOf(streamed, {1})) + "'" + (NumberOf(streamed, 2) != 0 ? " end" : "");
    }
    case 5:
    case 6:
      return side + "-trailers";
    case 7:
      return "immediate " + std::to_string(NumberOf(FieldOf(field->bytes, {1}), 1)) + " '" +
             std::string(FieldOf(field->bytes, {3})) + "'" + HeadersText(FieldOf(field->bytes, {2}));
    default:
      return "field " + std::to_string(field->number);
  }
}

// Keeps answers as they were and as text; the last text of a closed stream is "closed <status> <message>".
class KeptAnswers final : public ReplySink {
 public:
  std::string& Begin() override {
    answer_.clear();
    return answer_;
  }
  void End() override {
    raw.push_back(answer_);
    text.push_back(AnswerText(answer_));
  }
  void Close(int grpc_status, std::string_view message) override {
    text.push_back("closed " + std::to_string(grpc_status) + (message.empty() ? "" : " ") + std::string(message));
  }
  std::vector<std::string> Take() { return std::exchange(text, {}); }

  std::vector<std::string> raw;
  std::vector<std::string> text;

 private:
  std::string answer_;
};

// Answers what it is told to, and writes down what it hears.
class ScriptedDirector final : public Director {
 public:
  tl::expected<Routing, Refusal> AnyEndpoint() override {
    heard.push_back("any");
    return answer;
  }
  bool Prepare(const RequestText& /*request*/, std::function<void()> then) override {
    SLUICE_CHECK(!prepared, "once");
    prepared = true;
    if (waits) ready = std::move(then);
    return !waits;
  }
  tl::expected<Routing, Refusal> Route(const RequestText& request) override {
    SLUICE_CHECK(prepared, "before it is routed");
    std::string line = "route";
    for (const HeaderView& header : request.headers) {
      line += " " + std::string(header.name) + "=" + std::string(header.value);
    }
    line += " '" + std::string(request.body.substr(0, 40)) + "'";
    if (request.subset) {
      line += " subset";
      for (const std::string& address : *request.subset) line += " " + address;
    }
    heard.push_back(line);
    if (answer) ++open;
    return answer;
  }
  void OnResponseHead(int status, std::string_view served, bool,
                      std::vector<std::pair<std::string, std::string>>& add) override {
    SLUICE_CHECK(open == 1, "only of a routed request");
    heard.push_back("head " + std::to_string(status) + " " + std::string(served));
    for (const auto& header : response_headers) add.push_back(header);
  }
  void OnResponseBytes(std::string_view bytes) override {
    SLUICE_CHECK(open == 1, "only of a routed request");
    seen += bytes;
  }
  void OnEnd(EndCause cause) override {
    SLUICE_CHECK(open == 1, "a routed request ends once");
    --open;
    constexpr std::string_view kNames[] = {"natural", "evicted", "client-left", "error"};
    heard.push_back("end " + std::string(kNames[static_cast<size_t>(cause)]));
  }
  std::vector<std::string> Take() { return std::exchange(heard, {}); }

  tl::expected<Routing, Refusal> answer = Routing{.destination = "10.0.0.2:8000"};
  std::vector<std::pair<std::string, std::string>> response_headers;
  bool waits = false;           // with Prepare, until the test calls `ready`
  std::function<void()> ready;  // null: nothing is awaited
  bool prepared = false;
  std::vector<std::string> heard;
  std::string seen;  // bytes of the answer
  int open = 0;
};

}  // namespace sluice::extproc
