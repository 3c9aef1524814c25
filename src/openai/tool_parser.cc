#include "openai/tool_parser.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "codec/json/dom.h"

namespace sluice::openai {
namespace {

bool IsBlank(char c) { return c == ' ' || c == '\n' || c == '\r' || c == '\t'; }

// Length of the longest end of `text` that could be the beginning of `marker`.
size_t PartialMarker(std::string_view text, std::string_view marker) {
  const size_t most = std::min(text.size(), marker.size() - 1);
  for (size_t length = most; length > 0; --length) {
    if (marker.starts_with(text.substr(text.size() - length))) return length;
  }
  return 0;
}

enum class Match : uint8_t { kYes, kNo, kMore };

// Reads the head of a call, {"name": "…", "arguments":, from a text that may be cut anywhere.
class HeadReader {
 public:
  explicit HeadReader(std::string_view text) : text_(text) {}

  Match Read() {
    for (const Match match :
         {Char('{'), Literal("\"name\""), Char(':'), Name(), Char(','), Key(), Char(':'), Value()}) {
      if (match != Match::kYes) return match;
    }
    return Match::kYes;
  }
  size_t at() const { return at_; }  // where the arguments' value begins
  std::string_view name_json() const { return name_json_; }

 private:
  // After a mismatch or the end of the text, the steps that follow do nothing.
  void SkipBlanks() {
    while (at_ < text_.size() && IsBlank(text_[at_])) ++at_;
  }
  Match Stop(Match why) {
    state_ = why;
    return why;
  }
  Match Literal(std::string_view literal) {
    if (state_ != Match::kYes) return state_;
    SkipBlanks();
    const std::string_view rest = text_.substr(at_, literal.size());
    if (!literal.starts_with(rest)) return Stop(Match::kNo);
    if (rest.size() < literal.size()) return Stop(Match::kMore);
    at_ += literal.size();
    return Match::kYes;
  }
  Match Char(char c) { return Literal(std::string_view(&c, 1)); }
  Match Key() {
    const size_t before = at_;
    const Match first = Literal("\"arguments\"");
    if (first != Match::kNo) return first;
    state_ = Match::kYes;
    at_ = before;
    return Literal("\"parameters\"");  // what some models write
  }
  Match Name() {
    if (state_ != Match::kYes) return state_;
    SkipBlanks();
    const size_t begin = at_;
    if (begin >= text_.size()) return Stop(Match::kMore);
    if (text_[begin] != '"') return Stop(Match::kNo);
    for (size_t i = begin + 1; i < text_.size(); ++i) {
      if (text_[i] == '\\') {
        ++i;
      } else if (text_[i] == '"') {
        at_ = i + 1;
        name_json_ = text_.substr(begin, at_ - begin);
        return Match::kYes;
      }
    }
    return Stop(Match::kMore);
  }
  Match Value() {
    if (state_ != Match::kYes) return state_;
    SkipBlanks();
    if (at_ >= text_.size()) return Stop(Match::kMore);
    // An object, or a string that holds one (models do that); anything else is not a call that can be streamed.
    return text_[at_] == '{' || text_[at_] == '"' ? Match::kYes : Stop(Match::kNo);
  }

  std::string_view text_;
  size_t at_ = 0;
  std::string_view name_json_;
  Match state_ = Match::kYes;
};

// A whole call in any order of its members; nothing when it is none.
std::optional<std::pair<std::string, std::string>> ReadWholeCall(std::string_view text) {
  const auto tree = codec::ParseDom(text, {});
  if (!tree || !tree->is_object()) return std::nullopt;
  const auto name = tree->find("name");
  if (name == tree->end() || !name->is_string()) return std::nullopt;
  auto arguments = tree->find("arguments");
  if (arguments == tree->end()) arguments = tree->find("parameters");
  if (arguments == tree->end()) return std::pair(name->get<std::string>(), std::string("{}"));
  return std::pair(name->get<std::string>(), codec::Dump(*arguments));
}

}  // namespace

ToolParser::ToolParser(ToolMarkers markers, std::function<std::string()> make_id)
    : markers_(std::move(markers)), make_id_(std::move(make_id)) {}

void ToolParser::Take(size_t bytes) {
  pending_.erase(0, bytes);
  taken_ += bytes;
}

void ToolParser::EmitContent(std::string_view text, ToolOutput& out) {
  if (after_call_) {  // white space between and after calls is layout; it is content only if more follows
    blanks_ += text;
    if (std::all_of(text.begin(), text.end(), IsBlank)) return;
    after_call_ = false;
    out.content += blanks_;
    blanks_.clear();
    return;
  }
  out.content += text;
}

void ToolParser::Begin(std::string name, ToolOutput& out) {
  out.deltas.push_back({calls_, make_id_(), std::move(name), {}});
  ++calls_;
  after_call_ = true;
  blanks_.clear();
}

void ToolParser::Feed(std::string_view text, ToolOutput& out) {
  pending_ += text;
  bool more = true;
  while (more && !pending_.empty()) {
    switch (state_) {
      case State::kText:
        more = StepText(out);
        break;
      case State::kHead:
        more = StepHead(out);
        break;
      case State::kArguments:
        more = StepArguments(out);
        break;
      case State::kTail:
        more = StepTail();
        break;
      case State::kOpaque:
        more = StepOpaque(out);
        break;
    }
  }
}

bool ToolParser::StepText(ToolOutput& out) {
  const size_t at = pending_.find(markers_.begin);
  if (at != std::string::npos) {
    if (at > 0) EmitContent(std::string_view(pending_).substr(0, at), out);
    Take(at);
    call_offset_ = taken_;
    state_ = State::kHead;  // the marker stays in pending_: it is content if no call follows
    return true;
  }
  const size_t settled = pending_.size() - PartialMarker(pending_, markers_.begin);
  if (settled > 0) EmitContent(std::string_view(pending_).substr(0, settled), out);
  Take(settled);
  return false;
}

bool ToolParser::StepHead(ToolOutput& out) {
  HeadReader head(std::string_view(pending_).substr(markers_.begin.size()));
  switch (head.Read()) {
    case Match::kMore:
      return false;
    case Match::kNo:
      state_ = State::kOpaque;
      return true;
    case Match::kYes:
      break;
  }
  const auto name = codec::ParseDom(head.name_json(), {});
  if (!name || !name->is_string()) {
    state_ = State::kOpaque;
    return true;
  }
  Begin(name->get<std::string>(), out);
  Take(markers_.begin.size() + head.at());
  depth_ = 0;
  in_string_ = escaped_ = false;
  state_ = State::kArguments;
  return true;
}

bool ToolParser::StepArguments(ToolOutput& out) {
  size_t at = 0;
  bool ended = false;
  while (at < pending_.size() && !ended) {
    const char c = pending_[at];
    if (in_string_) {
      if (escaped_)
        escaped_ = false;
      else if (c == '\\')
        escaped_ = true;
      else if (c == '"')
        in_string_ = false;
      ended = !in_string_ && depth_ == 0;
    } else if (c == '"') {
      in_string_ = true;
    } else if (c == '{' || c == '[') {
      ++depth_;
    } else if (c == '}' || c == ']') {
      ended = --depth_ == 0;
    } else if (c == '<') {  // not JSON: the markers' end came too early
      break;
    }
    ++at;
  }
  if (at > 0) {
    const std::string_view piece = std::string_view(pending_).substr(0, at);
    if (!out.deltas.empty() && out.deltas.back().index == calls_ - 1 && out.deltas.back().id.empty())
      out.deltas.back().arguments += piece;
    else
      out.deltas.push_back({calls_ - 1, {}, {}, std::string(piece)});
  }
  const bool broken = !ended && at < pending_.size();
  Take(at);
  if (ended || broken) state_ = State::kTail;
  return ended || broken;
}

bool ToolParser::StepTail() {
  const size_t at = pending_.find(markers_.end);
  if (at == std::string::npos) {
    Take(pending_.size() - PartialMarker(pending_, markers_.end));
    return false;
  }
  Take(at + markers_.end.size());
  state_ = State::kText;
  return true;
}

bool ToolParser::StepOpaque(ToolOutput& out) {
  const size_t at = pending_.find(markers_.end);
  if (at == std::string::npos) return false;
  const size_t begin = markers_.begin.size();
  auto call = ReadWholeCall(std::string_view(pending_).substr(begin, at - begin));
  if (call) {
    Begin(std::move(call->first), out);
    out.deltas.push_back({calls_ - 1, {}, {}, std::move(call->second)});
  } else {
    EmitContent(std::string_view(pending_).substr(0, at + markers_.end.size()), out);
  }
  Take(at + markers_.end.size());
  state_ = State::kText;
  return true;
}

void ToolParser::Finish(ToolOutput& out) {
  if (state_ == State::kText || state_ == State::kHead || state_ == State::kOpaque) {
    if (state_ != State::kText) {
      // A call without its end marker, but whole: models stop right after the brace.
      if (auto call = ReadWholeCall(std::string_view(pending_).substr(markers_.begin.size()))) {
        Begin(std::move(call->first), out);
        out.deltas.push_back({calls_ - 1, {}, {}, std::move(call->second)});
        pending_.clear();
      }
    }
    // A begun marker behind a call is the next call, cut by the length limit, not content.
    const bool begun = after_call_ && state_ == State::kText && markers_.begin.starts_with(pending_);
    if (!pending_.empty() && !begun) EmitContent(pending_, out);
  }
  Take(pending_.size());
}

WholeOutput ParseToolCalls(std::string_view text, const ToolMarkers& markers,
                           const std::function<std::string()>& make_id) {
  ToolParser parser(markers, make_id);
  ToolOutput pieces;
  parser.Feed(text, pieces);
  const bool cut = parser.InCall();
  const size_t cut_at = parser.CallOffset();
  parser.Finish(pieces);
  WholeOutput out;
  out.content = std::move(pieces.content);
  for (ToolDelta& delta : pieces.deltas) {
    if (!delta.id.empty()) out.calls.push_back({std::move(delta.id), std::move(delta.name), {}});
    out.calls.back().arguments += delta.arguments;
  }
  if (cut) {
    out.calls.pop_back();
    out.content += text.substr(cut_at);
  }
  return out;
}

}  // namespace sluice::openai
