#include "parse/read_request.h"

#include "base/text.h"
#include "parse/body_readers.h"
#include "parse/json_edit.h"

namespace sluice::parse {

using codec::JsonValue;

namespace {

bool HasTransferParams(const JsonValue& object) {
  return object.Find("kv_transfer_params").has_value() || object.Find("ec_transfer_params").has_value();
}

// At each place where WithoutTransferParams takes them out.
bool CarriesTransferParams(const JsonValue& root) {
  if (HasTransferParams(root)) return true;
  for (const std::string_view field : {"vllm_xargs", "extra_args"}) {
    if (const auto extra = root.Find(field); extra && HasTransferParams(*extra)) return true;
  }
  const auto sampling = root.Find("sampling_params");
  const auto extra = sampling ? sampling->Find("extra_args") : std::nullopt;
  return extra && HasTransferParams(*extra);
}

tl::unexpected<Error> WrongType(std::string_view field, std::string_view want) {
  return Invalid("`" + std::string(field) + "` must be " + std::string(want), field);
}

// What every JSON body has in common.
Status ReadShared(const JsonValue& root, model::Request& request) {
  if (const auto model = root.Find("model"); model && model->type() != JsonValue::Type::kNull) {
    const auto name = model->String();
    if (!name) return WrongType("model", "a string");
    request.model = request.target_model = *name;
  }
  if (const auto stream = root.Find("stream"); stream && stream->type() != JsonValue::Type::kNull) {
    const auto value = stream->Bool();
    if (!value) return WrongType("stream", "true or false");
    request.streaming = *value;
  }
  if (const auto salt = root.Find("cache_salt")) request.cache_salt = salt->String().value_or("");
  return {};
}

Status ReadPrompts(Api api, const JsonBody& body, model::Request& request) {
  switch (api) {
    case Api::kChat:
    case Api::kVertexChat:
      return ReadChat(body, request);
    case Api::kCompletions:
      return ReadCompletions(body, request);
    case Api::kEmbeddings:
      return ReadEmbeddings(body, request);
    case Api::kResponses:
    case Api::kVertexRaw:
    case Api::kVertexStreamRaw:
      return ReadResponses(body, request);
    case Api::kConversations:
      return ReadConversations(body, request);
    case Api::kImages:
      return ReadImages(body, request);
    case Api::kMessages:
      return ReadMessages(body, request);
    case Api::kVllmGenerate:
      return ReadVllmGenerate(body, request);
    case Api::kSglangGenerate:
      return ReadSglangGenerate(body, request);
    case Api::kModelOnly:
    case Api::kVllmGrpcGenerate:
    case Api::kVllmGrpcEmbed:
    case Api::kOpaque:
      break;
  }
  return {};
}

Result<BodyFacts> ReadJson(const Route& route, codec::JsonReader& reader, std::string_view body,
                           model::Request& request) {
  const auto root = reader.Parse(body);
  if (!root) {
    Error error = root.error();
    if (error.code == Code::kInvalidArgument) error.message = "error unmarshaling request bodyMap: " + error.message;
    return tl::unexpected<Error>(std::move(error));
  }
  if (!root->IsObject()) return Fail(Code::kInvalidArgument, "the request body must be a JSON object");
  if (const Status shared = ReadShared(*root, request); !shared) return tl::unexpected(shared.error());
  if (route.api == Api::kSglangGenerate) {  // SGLang serves one model and does not read the field
    request.model.clear();
    request.target_model.clear();
    request.cache_salt.clear();
  }
  if (const Status prompts = ReadPrompts(route.api, {*root, body}, request); !prompts) {
    return tl::unexpected(prompts.error());
  }
  return BodyFacts{.transfer_params = CarriesTransferParams(*root),
                   .can_rewrite_model = route.parser->can_rewrite_model};
}

// Whether an engine would read such a body as JSON. Python's json also takes UTF-16 and UTF-32, with a mark in front or
// without: those begin with a byte over 0x7f or have a zero among the first four.
bool IsReadAsJson(std::string_view body, const model::Request& request) {
  if (body.empty()) return false;
  std::string_view type = request.Header("content-type");
  type = TrimSpace(type.substr(0, type.find(';')));
  if (!type.empty()) return EqualsIgnoreCase(type, "application/json") || AsciiLower(type).ends_with("+json");
  const std::string_view start = body.substr(0, 4);
  return TrimSpace(body).starts_with('{') || static_cast<unsigned char>(start.front()) > 0x7f ||
         start.find('\0') != std::string_view::npos;
}

// Nothing is read from an opaque body; but what an engine would read as JSON may not bring transfer parameters in by
// a path that nobody claims.
Result<BodyFacts> ReadOpaque(codec::JsonReader& reader, std::string_view body, const model::Request& request) {
  if (!IsReadAsJson(body, request)) return BodyFacts{};
  const auto root = reader.Parse(body);
  if (!root) return tl::unexpected(root.error());
  return BodyFacts{.transfer_params = CarriesTransferParams(*root)};
}

}  // namespace

Result<BodyFacts> ReadRequest(const Route& route, codec::JsonReader& reader, std::string_view body,
                              model::Request& request) {
  request.body_bytes = body.size();
  switch (route.api) {
    case Api::kOpaque:
      return ReadOpaque(reader, body, request);
    case Api::kVllmGrpcGenerate:
    case Api::kVllmGrpcEmbed: {
      const auto read = ReadVllmGrpc(body, route.api == Api::kVllmGrpcGenerate, request);
      if (!read) return tl::unexpected(read.error());
      return BodyFacts{.transfer_params = read->transfer_params};
    }
    case Api::kVertexChat:
    case Api::kVertexRaw:
    case Api::kVertexStreamRaw: {
      const auto wrapped = ReadVertexGrpc(body);
      if (!wrapped) return tl::unexpected(wrapped.error());
      auto read = ReadJson(route, reader, wrapped->json, request);
      if (read && read->transfer_params) {
        return Invalid("a client may not send transfer parameters; leave them out", "kv_transfer_params");
      }
      if (route.api == Api::kVertexStreamRaw) request.streaming = true;
      return read;
    }
    default:
      return ReadJson(route, reader, body, request);
  }
}

Result<std::string> RemoveTransferParams(const Route& route, std::string_view body) {
  if (route.api == Api::kVllmGrpcGenerate) return WithoutVllmGrpcTransferParams(body);
  return WithoutTransferParams(body);
}

}  // namespace sluice::parse
