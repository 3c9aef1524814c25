// What comes out must not depend on how the text was split, and text without markers must come out unchanged.
#include <cstdint>
#include <cstdlib>
#include <string>

#include "openai/tool_parser.h"

namespace {

std::string Run(std::string_view text, size_t piece) {
  int ids = 0;
  sluice::openai::ToolParser parser({"<t>", "</t>"}, [&] { return "id" + std::to_string(++ids); });
  std::string content;
  std::string calls;
  int last = -1;
  const auto absorb = [&](const sluice::openai::ToolOutput& out) {
    content += out.content;
    for (const auto& delta : out.deltas) {
      if (!delta.id.empty()) {
        if (delta.index != last + 1) std::abort();
        last = delta.index;
        calls += "|" + delta.id + ":" + delta.name + ":";
      }
      calls += delta.arguments;
    }
  };
  for (size_t at = 0; at < text.size(); at += piece) {
    sluice::openai::ToolOutput out;
    parser.Feed(text.substr(at, piece), out);
    absorb(out);
  }
  sluice::openai::ToolOutput out;
  parser.Finish(out);
  absorb(out);
  return content + calls;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const std::string whole = Run(text, size + 1);
  if (Run(text, 1) != whole || Run(text, 5) != whole) std::abort();
  if (text.find("<t>") == std::string_view::npos && whole != text) std::abort();
  sluice::openai::ParseToolCalls(text, {"<t>", "</t>"}, [] { return std::string("id"); });
  return 0;
}
