// What the readers of the APIs share; used by read_request.cc only, beside their own files.
// Thread rule: pure. Views go into the JSON reader and the body.
#pragma once

#include <optional>
#include <string_view>

#include "base/result.h"
#include "codec/json/reader.h"
#include "model/request.h"

namespace sluice::parse {

inline constexpr int kDepthMax = 64;  // of tool arguments and of content within content

struct JsonBody {
  const codec::JsonValue& root;
  std::string_view text;  // of the root, as it was sent
};

tl::unexpected<Error> Invalid(std::string_view message, std::string_view field);

// Every key and string of a value, in order.
void AppendStrings(const codec::JsonValue& value, int depth, model::Prompt& prompt);
// A message's content: a string, or a list of blocks of text, media, tool calls and tool results, of OpenAI's and of
// Anthropic's kind.
void AppendContent(const codec::JsonValue& content, int depth, model::Prompt& prompt);
// The body's tools as they are written; nothing when there are none.
void AppendTools(const JsonBody& body, model::Prompt& prompt);
// False when it is no whole number of 32 bits.
bool AppendToken(const codec::JsonValue& value, model::Prompt& prompt);
// A string, a list of strings, token ids, or a list of lists of token ids: one prompt for each.
Status ReadPromptValue(const codec::JsonValue& value, std::string_view field, model::Request& request);
// The first of these fields of `object` that is a whole number of at least 0.
std::optional<uint32_t> Limit(const codec::JsonValue& object, std::initializer_list<std::string_view> fields);

Status ReadChat(const JsonBody& body, model::Request& request);
Status ReadCompletions(const JsonBody& body, model::Request& request);
Status ReadEmbeddings(const JsonBody& body, model::Request& request);
Status ReadResponses(const JsonBody& body, model::Request& request);
Status ReadConversations(const JsonBody& body, model::Request& request);
Status ReadImages(const JsonBody& body, model::Request& request);
Status ReadMessages(const JsonBody& body, model::Request& request);
Status ReadVllmGenerate(const JsonBody& body, model::Request& request);
Status ReadSglangGenerate(const JsonBody& body, model::Request& request);

// gRPC bodies.
struct GrpcBody {
  std::string_view json;         // what a Vertex request wraps
  bool transfer_params = false;  // of a vLLM request
};
Result<GrpcBody> ReadVllmGrpc(std::string_view body, bool generate, model::Request& request);
Result<GrpcBody> ReadVertexGrpc(std::string_view body);
Result<std::string> WithoutVllmGrpcTransferParams(std::string_view body);

}  // namespace sluice::parse
