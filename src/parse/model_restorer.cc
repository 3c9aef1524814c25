#include "parse/model_restorer.h"

#include "codec/json/write.h"
#include "parse/json_edit.h"

namespace sluice::parse {

ModelRestorer::ModelRestorer(std::string_view from, std::string_view to) : from_(from) { codec::AppendQuoted(to_, to); }

void ModelRestorer::OnString(const JsonLexer& json, bool begin) {
  if (!begin) {
    closed_ = holding_;
  } else if (json.At({Key::kModel}) || json.At({Key::kMessage, Key::kModel}) ||
             json.At({Key::kResponse, Key::kModel})) {
    holding_ = true;
  }
}

void ModelRestorer::Append(std::string_view piece, std::string& out) {
  const size_t held_max = 6 * from_.size() + 2;  // each byte as \uXXXX, and the quotes
  while (!piece.empty()) {
    const std::string_view taken = piece.substr(0, lexer_.Take(piece, *this));
    piece.remove_prefix(taken.size());
    if (!holding_) {
      out += taken;
      continue;
    }
    held_ += taken;
    if (closed_ && RawStringEquals(std::string_view(held_).substr(1, held_.size() - 2), from_)) {
      out += to_;
      held_.clear();
    }
    if (closed_ || held_.size() > held_max || taken == "\n" || taken == "\r") Finish(out);
  }
}

void ModelRestorer::Finish(std::string& out) {
  out += held_;
  held_.clear();
  holding_ = closed_ = false;
}

}  // namespace sluice::parse
