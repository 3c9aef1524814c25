// Fuzz target: any path and body give a request whose views lie within their buffers or an error with a message; edits
// of a body that was read leave JSON; any bytes of an answer, split at two places, give the same counts and the same
// text as whole. Input: a path, a line end, the bytes.
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "base/check.h"
#include "codec/json/dom.h"
#include "parse/json_edit.h"
#include "parse/model_restorer.h"
#include "parse/read_request.h"

namespace {

using namespace sluice;

void CheckRequest(const parse::ParserTable& table, std::string_view path, std::string_view body) {
  const auto route = table.For(path);
  SLUICE_CHECK(route.has_value(), "there is a fallback");
  codec::JsonReader reader;
  model::Request request;
  const auto facts = parse::ReadRequest(*route, reader, body, request);
  if (!facts) {
    SLUICE_CHECK(!facts.error().message.empty(), "an error says what is wrong");
    return;
  }
  size_t bytes = 0;
  for (const model::Prompt& prompt : request.prompts) {
    for (const std::string_view piece : prompt.text) {
      for (const char c : piece) bytes += static_cast<unsigned char>(c);  // each is readable
    }
    for (const model::Media& media : prompt.media) {
      SLUICE_CHECK(media.before_text <= prompt.text.size(), "media stands within the prompt");
      bytes += media.content.size();
    }
  }
  SLUICE_CHECK(bytes <= 256 * (body.size() + 1) * 64, "a prompt is no more than its body");
  if (facts->can_rewrite_model) {
    const auto rewritten = parse::RewriteModel(body, "a \"model\"");
    SLUICE_CHECK(rewritten && codec::CheckJson(*rewritten, {}), "a body stays JSON");
    model::Request again;
    SLUICE_CHECK(parse::ReadRequest(*route, reader, *rewritten, again) && again.model == "a \"model\"",
                 "and has the new model");
  }
  if (facts->transfer_params) {
    const auto without = parse::RemoveTransferParams(*route, body);
    SLUICE_CHECK(without.has_value(), "what was read can be edited");
    model::Request again;
    const auto left = parse::ReadRequest(*route, reader, *without, again);
    SLUICE_CHECK(left && !left->transfer_params, "nothing is left of them");
  }
}

void CheckAnswer(std::string_view answer) {
  for (const auto style : {parse::UsageStyle::kText, parse::UsageStyle::kVllmGrpc, parse::UsageStyle::kVertexGrpc}) {
    parse::UsageReader whole(style);
    parse::UsageReader split(style);
    whole.Append(answer);
    split.Append(answer.substr(0, answer.size() / 3));
    for (const char c : answer.substr(answer.size() / 3)) split.Append(std::string_view(&c, 1));
    const auto a = whole.Find();
    const auto b = split.Find();
    SLUICE_CHECK(a.has_value() == b.has_value(), "usage does not depend on the split");
    SLUICE_CHECK(!a || (a->prompt_tokens == b->prompt_tokens && a->prompt_tokens >= 0), "nor do its counts");
    SLUICE_CHECK(whole.events() == split.events(), "nor do events");
  }
  parse::ModelRestorer whole("m", "client");
  parse::ModelRestorer split("m", "client");
  parse::ModelRestorer same("m", "m");
  std::string a, b, c;
  whole.Append(answer, a);
  whole.Finish(a);
  for (const char byte : answer) split.Append(std::string_view(&byte, 1), b);
  split.Finish(b);
  same.Append(answer, c);
  same.Finish(c);
  SLUICE_CHECK(a == b, "nor does the restored answer");
  SLUICE_CHECK(c.size() <= answer.size(), "nothing is made up");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const parse::ParserTable table = [] {
    std::vector<std::string> types;
    for (const parse::Parser& parser : parse::AllParsers()) types.emplace_back(parser.type);
    return *parse::ParserTable::Build(types);
  }();
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const size_t line = input.find('\n');
  if (line == std::string_view::npos) return 0;
  CheckRequest(table, input.substr(0, line), input.substr(line + 1));
  (void)parse::RewriteModel(input.substr(line + 1), "m");
  (void)parse::WithoutTransferParams(input.substr(line + 1));
  CheckAnswer(input.substr(line + 1));
  return 0;
}
