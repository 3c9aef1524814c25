// ReadRequest: from a body what choosing an endpoint needs, and nothing else: the engine judges the rest. The body
// itself is forwarded as it came.
// Fills model, target_model, prompts, streaming, cache_salt, output_tokens_max and body_bytes. An absent model is left
// empty: whether that is an error is the caller's to say (one pool may serve one model only).
// The pieces of a prompt, in upstream's order. Chat: the tools as they are written, then for each message its role, its
// text blocks and its tool calls (name, arguments). Anthropic: tools, "system" and its text, messages; the billing
// header that Claude Code puts first (it differs with each request) is left out, as vLLM does. Responses: instructions,
// tools, input. Where upstream reads the JSON text of input, with base64 data in it, this reads its texts and lists the
// media apart. Token ids are taken as they are, whole numbers of 32 bits only; 5.0 is none.
// Thread rule: one JsonReader a loop. Ownership: the pieces are views into the reader and the body: dead at the
// reader's next Parse; decide and dispatch before the next await. Cost: one simdjson pass over the body, a second one
// over its top level where there are tools. No recursion deeper than kDepthMax, no copy of the prompt.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "codec/json/reader.h"
#include "model/request.h"
#include "parse/parser_table.h"

namespace sluice::parse {

struct BodyFacts {
  bool transfer_params = false;  // the client sent its own: take them out before an engine sees the body
  bool can_rewrite_model = false;
};

// `request.headers` must be set. kInvalidArgument, in upstream's words, for what no engine could read: not JSON, no
// prompt, a field of the wrong type.
Result<BodyFacts> ReadRequest(const Route& route, codec::JsonReader& reader, std::string_view body,
                              model::Request& request);

// The body without a client's transfer parameters, for the same route. See WithoutTransferParams in json_edit.h.
Result<std::string> RemoveTransferParams(const Route& route, std::string_view body);

}  // namespace sluice::parse
