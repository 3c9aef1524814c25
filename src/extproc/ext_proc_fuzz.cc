// Fuzz target: whatever a peer sends, a stream answers protobuf, closes at most once, and ends what it routed. Input:
// messages, each behind two bytes of its size; the first byte of all says how the director answers.
#include <cstddef>
#include <cstdint>
#include <string>

#include "base/check.h"
#include "extproc/testing.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace sluice;
  using namespace sluice::extproc;
  if (size == 0) return 0;
  std::string_view input(reinterpret_cast<const char*>(data), size);
  const auto how = static_cast<uint8_t>(input.front());
  input.remove_prefix(1);

  Rng rng(how);
  ExtProcStream::Scratch scratch;
  ScriptedDirector director;
  if ((how & 1) != 0) director.answer->streaming = true;
  if ((how & 2) != 0) director.answer->model_sent = "m", director.answer->model_asked = "client";
  if ((how & 4) != 0) director.answer->skip_response = true;
  director.waits = (how & 64) != 0;
  if ((how & 24) == 8)
    director.answer = tl::unexpected(Refusal{.error = {Code::kUnavailable, "m", ""}, .dropped_reason = "r"});
  if ((how & 24) == 16)
    director.answer = tl::unexpected(Refusal{.error = {Code::kCancelled, "m", ""}, .dropped_reason = {}});
  KeptAnswers sink;
  ExtProcStream stream({.options = {.body_bytes_max = 4096, .held_bytes_max = 16}, .rng = rng, .scratch = scratch},
                       director, sink);
  while (input.size() >= 2) {
    const size_t length = static_cast<uint8_t>(input[0]) * size_t{256} + static_cast<uint8_t>(input[1]);
    input.remove_prefix(2);
    const std::string message(input.substr(0, length));  // exactly its bytes, so that a read beyond them is seen
    input.remove_prefix(message.size());
    stream.OnMessage(message);
    if (director.ready && ((how & 128) == 0 || input.size() < 2)) std::exchange(director.ready, nullptr)();
  }
  if ((how & 32) != 0) stream.Evict("evicted");
  stream.OnGone();
  SLUICE_CHECK(director.open == 0, "a routed request ends");
  size_t closes = 0;
  for (const std::string& line : sink.text) closes += line.starts_with("closed") ? 1 : 0;
  SLUICE_CHECK(closes == 1 && sink.text.back().starts_with("closed"), "a stream closes once, last");
  return 0;
}
