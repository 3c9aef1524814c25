// ToolParser: generated text into content and tool calls, as the text comes. A call is a JSON object {"name": …,
// "arguments": …} between two markers (for example <tool_call> and </tool_call>). The name goes out as soon as it is
// sure that a call is meant, the arguments piece by piece after it. What only looked like a call comes out as content.
// Thread rule: plain values, one owner (one choice of one request). Cost: linear in the text; it holds back at most a
// partial marker or the head of a call.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::openai {

struct ToolDelta {
  int index = 0;
  std::string id;    // with the call's first delta only
  std::string name;  // with the call's first delta only
  std::string arguments;
};

struct ToolOutput {
  std::string content;
  std::vector<ToolDelta> deltas;
};

struct ToolMarkers {
  std::string begin;
  std::string end;
};

class ToolParser {
 public:
  // `make_id` is called once a call.
  ToolParser(ToolMarkers markers, std::function<std::string()> make_id);

  // Appends to `out` what this piece of text settles.
  void Feed(std::string_view text, ToolOutput& out);
  // The text has ended: what was held back comes out.
  void Finish(ToolOutput& out);

  int Calls() const { return calls_; }                         // begun so far
  bool InCall() const { return state_ == State::kArguments; }  // a call's arguments have begun and not ended
  size_t CallOffset() const { return call_offset_; }           // where the last call's marker stood in the text

 private:
  enum class State : uint8_t { kText, kHead, kArguments, kTail, kOpaque };
  // Each takes from pending_; false: more text is needed.
  bool StepText(ToolOutput& out);
  bool StepHead(ToolOutput& out);
  bool StepArguments(ToolOutput& out);
  bool StepTail();
  bool StepOpaque(ToolOutput& out);
  void Take(size_t bytes);
  void EmitContent(std::string_view text, ToolOutput& out);
  void Begin(std::string name, ToolOutput& out);

  ToolMarkers markers_;
  std::function<std::string()> make_id_;
  State state_ = State::kText;
  std::string pending_;  // not settled yet
  size_t taken_ = 0;     // bytes of the whole text that are settled
  size_t call_offset_ = 0;
  int calls_ = 0;
  bool after_call_ = false;  // nothing but white space since the last call
  std::string blanks_;       // that white space
  int depth_ = 0;            // of the arguments
  bool in_string_ = false;
  bool escaped_ = false;
};

struct WholeCall {
  std::string id;
  std::string name;
  std::string arguments;
};
struct WholeOutput {
  std::string content;
  std::vector<WholeCall> calls;
};
// The same for a finished text. A call that was cut in its arguments stays content, as in vLLM.
WholeOutput ParseToolCalls(std::string_view text, const ToolMarkers& markers,
                           const std::function<std::string()>& make_id);

}  // namespace sluice::openai
