// AnswerReader reads one streamed OpenAI answer (chat or completions) into a Sample: when text came, how much, what the
// server counted, and whether the stream ended as it should. Pure: the caller feeds bytes and the time they came.
// Thread rule: one owner; the JsonReader may serve many readers of one thread. Cost: one pass over the bytes and one
// JSON parse an event, no tree. Limit: an event may take kEventBytesMax.
#pragma once

#include <string>
#include <string_view>

#include "codec/json/reader.h"
#include "codec/sse/sse.h"
#include "loadgen/sample.h"

namespace sluice::loadgen {

class AnswerReader {
 public:
  static constexpr size_t kEventBytesMax = size_t{4} << 20;

  AnswerReader(Sample& sample, codec::JsonReader& json) : sample_(sample), json_(json), sse_(kEventBytesMax) {}

  // Bytes of the body that came `since_start_s` seconds after the request was sent. False: the answer has failed, and
  // reading on is of no use.
  bool Feed(std::string_view bytes, double since_start_s);
  // The body is over. Fills in what the server did not say, and the failure if the answer was cut short.
  void End(double since_start_s);

 private:
  void Event(std::string_view data, double since_start_s);
  void Text(double since_start_s);
  void Usage(const codec::JsonValue& usage);
  void Fault(Failure failure, std::string_view text);

  Sample& sample_;
  codec::JsonReader& json_;
  codec::SseParser sse_;
  double last_text_s_ = 0;
  int64_t pieces_ = 0;
  bool usage_seen_ = false;
  bool finish_seen_ = false;
  bool done_seen_ = false;
};

// Marks `sample` as failed, with at most 200 bytes of `text`.
void SetFailure(Sample& sample, Failure failure, std::string_view text);
// An answer with an error status: the kind by status, the text from an OpenAI error body where it is one.
void SetHttpFailure(Sample& sample, int status, std::string_view body, codec::JsonReader& json);

}  // namespace sluice::loadgen
