// ModelRestorer: puts the client's name of a model back into an answer that names the model it was rewritten to, as the
// bytes pass by, split anywhere. Only the value of "model" at the top, in "message" (Anthropic) or in "response"
// (Responses API) is changed, and only where it is the rewritten name: text that a model wrote stays as it is.
// Thread rule: one owner. Cost: about 2 ns a byte, one copy. Memory: holds back at most six bytes for each of the
// name's, between the quotes of such a value. An answer's length changes: its content-length no longer holds. Not for
// compressed answers.
#pragma once

#include <string>
#include <string_view>

#include "parse/answer_lexer.h"

namespace sluice::parse {

class ModelRestorer {
 public:
  // `from`: what the engine was asked for; `to`: what the client asked for.
  ModelRestorer(std::string_view from, std::string_view to);
  // Appends to `out` what can be passed on after `piece`.
  void Append(std::string_view piece, std::string& out);
  // Appends what was held back: at the end of the answer.
  void Finish(std::string& out);

  // For the lexer.
  void OnString(const JsonLexer& json, bool begin);
  void OnScalar(const JsonLexer&, std::string_view) {}
  void OnEnd() {}

 private:
  std::string from_;
  std::string to_;  // as a JSON string, with quotes
  AnswerLexer lexer_;
  std::string held_;  // a value of "model" from its opening quote on
  bool holding_ = false;
  bool closed_ = false;  // the byte just taken was its closing quote
};

}  // namespace sluice::parse
