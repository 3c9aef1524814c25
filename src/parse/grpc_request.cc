// Requests in protobuf: vllm.grpc.engine (vllm_engine.proto) and Vertex AI's PredictionService around
// google.api.HttpBody. Field numbers are named where they are read.
#include "parse/body_readers.h"
#include "parse/proto_reader.h"

namespace sluice::parse {
namespace {

tl::unexpected<Error> BrokenMessage() {
  return Fail(Code::kInvalidArgument, "the gRPC message is no valid protobuf message of this method");
}

constexpr uint32_t kKvTransferParams = 6, kKvTransferParamsJson = 8;  // of GenerateRequest

// TokenizedInput {original_text = 1, input_ids = 2}
bool ReadTokenized(std::string_view message, model::Prompt& prompt) {
  ProtoReader reader(message);
  std::string_view text;
  while (const auto field = reader.Next()) {
    if (field->number == 1) text = field->bytes;
    if (field->number == 2 && !AppendUint32s(*field, prompt.tokens)) return false;
  }
  if (prompt.tokens.empty() && !text.empty()) prompt.text.push_back(text);
  return reader.ok();
}

// SamplingParams {max_tokens = 8}
bool ReadSampling(std::string_view message, model::Request& request) {
  ProtoReader reader(message);
  while (const auto field = reader.Next()) {
    if (field->number == 8 && field->value <= 0x7fffffff) {
      request.output_tokens_max = static_cast<uint32_t>(field->value);
    }
  }
  return reader.ok();
}

// {endpoint = 1, http_body = 2} and HttpBody {content_type = 1, data = 2}: bytes field 2.
std::optional<std::string_view> BytesField2(std::string_view message) {
  ProtoReader reader(message);
  std::string_view found;
  while (const auto field = reader.Next()) {
    if (field->number == 2) found = field->bytes;
  }
  if (!reader.ok()) return std::nullopt;
  return found;
}

}  // namespace

// GenerateRequest {request_id = 1, tokenized = 2, text = 3, sampling_params = 4, stream = 5, …}
// EmbedRequest {request_id = 1, tokenized = 2}
Result<GrpcBody> ReadVllmGrpc(std::string_view body, bool generate, model::Request& request) {
  const auto message = OneGrpcFrame(body);
  if (!message) return tl::unexpected(message.error());
  GrpcBody facts;
  bool ok = true;
  model::Prompt prompt;
  ProtoReader reader(*message);
  while (const auto field = reader.Next()) {
    if (field->number == 2) {  // of a oneof the last one counts
      prompt = {};
      ok = ok && ReadTokenized(field->bytes, prompt);
    } else if (generate && field->number == 3) {
      prompt = {};
      prompt.text.push_back(field->bytes);
    } else if (generate && field->number == 4) {
      ok = ok && ReadSampling(field->bytes, request);
    } else if (generate && field->number == 5) {
      request.streaming = field->value != 0;
    } else if (generate && (field->number == kKvTransferParams || field->number == kKvTransferParamsJson)) {
      facts.transfer_params = true;
    }
  }
  if (!ok || !reader.ok()) return BrokenMessage();
  if (prompt.text.empty() && prompt.tokens.empty()) {
    return Invalid("invalid gRPC request: must have tokenized or text input", "tokenized");
  }
  request.prompts.push_back(std::move(prompt));
  return facts;
}

Result<GrpcBody> ReadVertexGrpc(std::string_view body) {
  const auto message = OneGrpcFrame(body);
  if (!message) return tl::unexpected(message.error());
  const auto http_body = BytesField2(*message);
  const auto data = http_body ? BytesField2(*http_body) : std::nullopt;
  if (!data) return BrokenMessage();
  return GrpcBody{.json = *data};
}

Result<std::string> WithoutVllmGrpcTransferParams(std::string_view body) {
  const auto message = OneGrpcFrame(body);
  if (!message) return tl::unexpected(message.error());
  std::string kept;
  ProtoReader reader(*message);
  while (const auto field = reader.Next()) {
    if (field->number != kKvTransferParams && field->number != kKvTransferParamsJson) kept += field->raw;
  }
  if (!reader.ok()) return BrokenMessage();
  return GrpcFrame(kept);
}

}  // namespace sluice::parse
