#include "extproc/messages.h"

#include "extproc/proto_fields.h"
#include "extproc/proto_writer.h"

namespace sluice::extproc {
namespace {

using Kind = ProcessingRequest::Kind;

constexpr uint32_t kOverwriteOrAdd = 2;  // HeaderValueOption.HeaderAppendAction

tl::unexpected<Error> Broken() {
  return Fail(Code::kInvalidArgument, "not a message of envoy.service.ext_proc.v3.ProcessingRequest");
}

// HeaderValue {key = 1, value = 2, raw_value = 3}
bool ReadHeader(std::string_view message, HeaderView& out) {
  std::string_view value, raw;
  ProtoFields field(message);
  while (field.Next()) {
    if (!field.is_bytes()) continue;
    if (field.number() == 1) out.name = field.bytes();
    if (field.number() == 2) value = field.bytes();
    if (field.number() == 3) raw = field.bytes();
  }
  out.value = raw.empty() ? value : raw;
  return field.ok();
}

// HeaderMap {headers = 1}
Status ReadHeaderMap(std::string_view message, std::vector<HeaderView>& out) {
  ProtoFields field(message);
  while (field.Next()) {
    if (field.number() != 1 || !field.is_bytes()) continue;
    if (out.size() == kHeadersMax) {
      return Fail(Code::kInvalidArgument, "over " + std::to_string(kHeadersMax) + " headers in one message");
    }
    HeaderView header;
    if (!ReadHeader(field.bytes(), header)) return Broken();
    out.push_back(header);
  }
  return field.ok() ? Status{} : Status(Broken());
}

// HttpHeaders {headers = 1, end_of_stream = 3}, HttpTrailers {trailers = 1}
Status ReadHead(std::string_view message, ProcessingRequest& out) {
  ProtoFields field(message);
  while (field.Next()) {
    if (field.number() == 1 && field.is_bytes()) {
      if (const Status read = ReadHeaderMap(field.bytes(), out.headers); !read) return read;
    }
    if (field.number() == 3 && !field.is_bytes()) out.end_of_stream = field.value() != 0;
  }
  return field.ok() ? Status{} : Status(Broken());
}

// HttpBody {body = 1, end_of_stream = 2}
Status ReadBody(std::string_view message, ProcessingRequest& out) {
  ProtoFields field(message);
  while (field.Next()) {
    if (field.number() == 1 && field.is_bytes()) out.body = field.bytes();
    if (field.number() == 2 && !field.is_bytes()) out.end_of_stream = field.value() != 0;
  }
  return field.ok() ? Status{} : Status(Broken());
}

// ProtocolConfiguration {response_body_mode = 2}: NONE is 0, and left out on the wire.
bool ResponseBodiesAreSent(std::string_view message) {
  uint64_t mode = 0;
  ProtoFields field(message);
  while (field.Next()) {
    if (field.number() == 2 && !field.is_bytes()) mode = field.value();
  }
  return mode != 0;
}

Kind KindOf(uint32_t field) {
  switch (field) {
    case 2:
      return Kind::kRequestHeaders;
    case 3:
      return Kind::kResponseHeaders;
    case 4:
      return Kind::kRequestBody;
    case 5:
      return Kind::kResponseBody;
    case 6:
      return Kind::kRequestTrailers;
    case 7:
      return Kind::kResponseTrailers;
    default:
      return Kind::kNone;
  }
}

// The value of `key` in a protobuf map whose field number is `map`: entries are {key = 1, value = 2}; the last one
// wins.
std::optional<std::string_view> InMap(std::string_view message, uint32_t map, std::string_view key) {
  std::optional<std::string_view> found;
  ProtoFields entry(message);
  while (entry.Next()) {
    if (entry.number() != map || !entry.is_bytes()) continue;
    std::string_view name, value;
    ProtoFields field(entry.bytes());
    while (field.Next()) {
      if (field.number() == 1 && field.is_bytes()) name = field.bytes();
      if (field.number() == 2 && field.is_bytes()) value = field.bytes();
    }
    if (field.ok() && name == key) found = value;
  }
  return entry.ok() ? found : std::nullopt;
}

// Metadata {filter_metadata = 1: map to Struct {fields = 1: map to Value}}
std::optional<std::string_view> MetadataValue(std::string_view metadata, std::string_view space, std::string_view key) {
  const auto fields = InMap(metadata, 1, space);
  return fields ? InMap(*fields, 1, key) : std::nullopt;
}

// Value {string_value = 3, list_value = 6}
std::optional<std::string_view> StringOf(std::string_view value) {
  std::optional<std::string_view> found;
  ProtoFields field(value);
  while (field.Next()) {
    if (field.number() == 3 && field.is_bytes()) found = field.bytes();
  }
  return field.ok() ? found : std::nullopt;
}

// "10.0.0.1:8000" or "[::1]:8000" without its port and brackets.
std::string_view AddressPart(std::string_view endpoint) {
  const size_t colon = endpoint.rfind(':');
  if (colon != std::string_view::npos) endpoint = endpoint.substr(0, colon);
  if (endpoint.starts_with('[') && endpoint.ends_with(']')) endpoint = endpoint.substr(1, endpoint.size() - 2);
  return endpoint;
}

// HeaderMutation {set_headers = 1: HeaderValueOption {header = 1, append_action = 3}, remove_headers = 2}
constexpr size_t kActionSize = 2;

size_t HeaderSize(const Headers::value_type& header) {
  return ProtoWriter::BytesSize(1, header.first) + ProtoWriter::BytesSize(3, header.second);
}

size_t OptionSize(size_t header) { return ProtoWriter::HeadSize(1, header) + header + kActionSize; }

size_t MutationSize(const Headers& set, std::span<const std::string> remove) {
  size_t size = 0;
  for (const auto& header : set) {
    const size_t option = OptionSize(HeaderSize(header));
    size += ProtoWriter::HeadSize(1, option) + option;
  }
  for (const std::string& name : remove) size += ProtoWriter::BytesSize(2, name);
  return size;
}

char* PutMutation(char* at, const Headers& set, std::span<const std::string> remove) {
  for (const auto& header : set) {
    const size_t size = HeaderSize(header);
    at = ProtoWriter::PutHead(at, 1, OptionSize(size));
    at = ProtoWriter::PutHead(at, 1, size);
    at = ProtoWriter::PutBytes(at, 1, header.first);
    at = ProtoWriter::PutBytes(at, 3, header.second);  // raw_value
    at = ProtoWriter::PutVarint(at, 3, kOverwriteOrAdd);
  }
  for (const std::string& name : remove) at = ProtoWriter::PutBytes(at, 2, name);
  return at;
}

// Struct {fields = 1: map {key = 1, value = 2 (Value)}}: opens the value of `key`.
struct OpenEntry {
  size_t entry, value;
};
OpenEntry OpenField(ProtoWriter& writer, std::string_view key) {
  const size_t entry = writer.Open(1);
  writer.Bytes(1, key);
  return {entry, writer.Open(2)};
}
void CloseField(ProtoWriter& writer, const OpenEntry& open) {
  writer.Close(open.value);
  writer.Close(open.entry);
}

void WriteMetadata(ProtoWriter& writer, const RoutingMetadata& metadata) {
  const size_t dynamic = writer.Open(8);
  const OpenEntry space = OpenField(writer, kLbNamespace);
  const size_t fields = writer.Open(5);  // Value.struct_value
  const OpenEntry destination = OpenField(writer, kDestination);
  writer.Bytes(3, metadata.destination);
  CloseField(writer, destination);
  if (!metadata.scores.empty()) {
    const OpenEntry scores = OpenField(writer, kScores);
    const size_t by_endpoint = writer.Open(5);
    for (const auto& [endpoint, score] : metadata.scores) {
      const OpenEntry one = OpenField(writer, endpoint);
      writer.Double(2, score);
      CloseField(writer, one);
    }
    writer.Close(by_endpoint);
    CloseField(writer, scores);
  }
  writer.Close(fields);
  CloseField(writer, space);
  writer.Close(dynamic);
}

}  // namespace

Status ReadProcessingRequest(std::string_view message, ProcessingRequest& out) {
  out.kind = Kind::kNone;
  out.headers.clear();
  out.body = {};
  out.end_of_stream = false;
  out.metadata = {};
  out.response_bodies_are_sent.reset();
  ProtoFields field(message);
  while (field.Next()) {
    if (!field.is_bytes()) continue;
    if (field.number() == 8) out.metadata = field.bytes();
    if (field.number() == 11) out.response_bodies_are_sent = ResponseBodiesAreSent(field.bytes());
    const Kind kind = KindOf(field.number());
    if (kind == Kind::kNone) continue;
    if (out.kind != Kind::kNone) return Broken();  // one of
    out.kind = kind;
    const bool is_body = kind == Kind::kRequestBody || kind == Kind::kResponseBody;
    const Status read = is_body ? ReadBody(field.bytes(), out) : ReadHead(field.bytes(), out);
    if (!read) return read;
  }
  return field.ok() && out.kind != Kind::kNone ? Status{} : Status(Broken());
}

std::optional<std::vector<std::string>> SubsetHint(std::string_view metadata) {
  const auto value = MetadataValue(metadata, kSubsetNamespace, kSubsetKey);
  if (!value) return std::nullopt;
  std::optional<std::vector<std::string>> subset;
  ProtoFields field(*value);
  while (field.Next()) {
    if (field.number() != 6 || !field.is_bytes()) continue;  // not a list: as if it were absent, as upstream
    subset.emplace();
    ProtoFields item(field.bytes());
    while (item.Next()) {
      const auto text = item.number() == 1 && item.is_bytes() ? StringOf(item.bytes()) : std::nullopt;
      if (text) subset->emplace_back(AddressPart(*text));
    }
  }
  return subset;
}

std::string_view ServedEndpoint(std::string_view metadata) {
  const auto value = MetadataValue(metadata, kLbNamespace, kServed);
  return value ? StringOf(*value).value_or(std::string_view()) : std::string_view();
}

// ProcessingResponse.{request,response}_headers > response {header_mutation = 2, clear_route_cache = 5}
void WriteHeaders(Side side, const HeadMutation& mutation, const RoutingMetadata* metadata, std::string& out) {
  const size_t headers = MutationSize(mutation.set, mutation.remove);
  const size_t common = ProtoWriter::HeadSize(2, headers) + headers + (mutation.clear_route_cache ? 2 : 0);
  const size_t answer = ProtoWriter::HeadSize(1, common) + common;
  const uint32_t field = side == Side::kRequest ? 1 : 2;
  ProtoWriter writer(out);
  char* at = writer.Extend(ProtoWriter::HeadSize(field, answer) + answer);
  at = ProtoWriter::PutHead(at, field, answer);
  at = ProtoWriter::PutHead(at, 1, common);
  at = ProtoWriter::PutHead(at, 2, headers);
  at = PutMutation(at, mutation.set, mutation.remove);
  if (mutation.clear_route_cache) ProtoWriter::PutVarint(at, 5, 1);
  if (metadata != nullptr) WriteMetadata(writer, *metadata);
}

// ProcessingResponse.{request,response}_body > response > body_mutation > streamed_response {body, end_of_stream}
void WriteBody(Side side, std::string_view piece, bool end_of_stream, std::string& out) {
  const size_t streamed = (piece.empty() ? 0 : ProtoWriter::BytesSize(1, piece)) + (end_of_stream ? 2 : 0);
  const size_t mutation = ProtoWriter::HeadSize(3, streamed) + streamed;
  const size_t common = ProtoWriter::HeadSize(3, mutation) + mutation;
  const size_t answer = ProtoWriter::HeadSize(1, common) + common;
  const uint32_t field = side == Side::kRequest ? 3 : 4;
  const size_t all = ProtoWriter::HeadSize(field, answer) + answer;
  ProtoWriter writer(out);
  char* at = writer.Extend(all - streamed);
  at = ProtoWriter::PutHead(at, field, answer);
  at = ProtoWriter::PutHead(at, 1, common);
  at = ProtoWriter::PutHead(at, 3, mutation);
  ProtoWriter::PutHead(at, 3, streamed);
  if (!piece.empty()) {
    writer.Head(1, piece.size());
    out += piece;
  }
  if (end_of_stream) writer.Varint(2, 1);
}

void WriteTrailers(Side side, std::string& out) { ProtoWriter(out).Head(side == Side::kRequest ? 5 : 6, 0); }

void WriteImmediate(int http_status, std::string_view body, const Headers& headers, std::string& out) {
  ProtoWriter writer(out);
  const size_t answer = writer.Open(7);
  const size_t status = writer.Open(1);
  writer.Varint(1, static_cast<uint64_t>(http_status));
  writer.Close(status);
  if (!headers.empty()) {
    const size_t mutation = MutationSize(headers, {});
    writer.Head(2, mutation);
    PutMutation(writer.Extend(mutation), headers, {});
  }
  writer.Bytes(3, body);
  writer.Close(answer);
}

}  // namespace sluice::extproc
