#include "extproc/ext_proc_stream.h"

#include <algorithm>

#include "base/check.h"
#include "base/text.h"
#include "extproc/header_rules.h"

namespace sluice::extproc {
namespace {

using Kind = ProcessingRequest::Kind;

constexpr std::string_view kRequestId = "x-request-id";
constexpr int kGrpcOk = 0;
constexpr int kGrpcUnknown = 2;
constexpr int kGrpcInvalidArgument = 3;

// The last value of that name; a response's head is not kept, so names come as the peer wrote them.
std::string_view LastValue(const std::vector<HeaderView>& headers, std::string_view name) {
  for (auto it = headers.rbegin(); it != headers.rend(); ++it) {
    if (it->name == name) return it->value;
  }
  return {};
}

void SetOrReplace(Headers& headers, std::string_view name, std::string_view value) {
  for (auto& [known, old] : headers) {
    if (!EqualsIgnoreCase(known, name)) continue;
    old = value;
    return;
  }
  headers.emplace_back(name, value);
}

}  // namespace

ExtProcStream::ExtProcStream(const Parts& parts, Director& director, ReplySink& sink)
    : parts_(parts), director_(director), sink_(sink) {}

void ExtProcStream::OnMessage(std::string_view message) {
  if (closed_) return;
  if (const Status read = ReadProcessingRequest(message, parts_.scratch.in); !read) {
    End(EndCause::kError);
    Close(kGrpcInvalidArgument, read.error().message);
    return;
  }
  switch (parts_.scratch.in.kind) {
    case Kind::kRequestHeaders:
      OnRequestHeaders(message);
      break;
    case Kind::kRequestBody:
      OnRequestBody();
      break;
    case Kind::kRequestTrailers:
      OnRequestTrailers();
      break;
    case Kind::kResponseHeaders:
      OnResponseHeaders();
      break;
    case Kind::kResponseBody:
      OnResponseBody();
      break;
    case Kind::kResponseTrailers:
      OnResponseTrailers();
      break;
    case Kind::kNone:
      break;
  }
}

// The views into `message` become views into an own copy, with names in lower case.
void ExtProcStream::KeepHead(std::string_view message) {
  head_.assign(message);
  headers_ = parts_.scratch.in.headers;
  for (HeaderView& header : headers_) {
    const auto moved = [&](std::string_view view) {
      return view.empty() ? std::string_view()
                          : std::string_view(head_.data() + (view.data() - message.data()), view.size());
    };
    header.value = moved(header.value);
    header.name = moved(header.name);
    for (size_t i = 0; i < header.name.size(); ++i) {
      char& c = head_[static_cast<size_t>(header.name.data() - head_.data()) + i];
      if (c >= 'A' && c <= 'Z') c = static_cast<char>(c | 0x20);
    }
  }
}

void ExtProcStream::FindRequestId() {
  request_id_ = LastValue(headers_, kRequestId);
  if (request_id_.empty()) request_id_ = made_id_ = MakeUuid(parts_.rng);
}

HeadMutation& ExtProcStream::NewMutation() {
  HeadMutation& mutation = parts_.scratch.mutation;
  mutation.set.clear();
  mutation.remove.clear();
  mutation.clear_route_cache = false;
  return mutation;
}

void ExtProcStream::OnRequestHeaders(std::string_view message) {
  if (request_ != Request::kNothing) return OutOfOrder("a second head of the request");
  response_bodies_come_ = parts_.scratch.in.response_bodies_are_sent.value_or(true);
  KeepHead(message);
  FindRequestId();
  request_ = Request::kHead;
  if (parts_.scratch.in.end_of_stream) AnswerBodyless();
}

void ExtProcStream::AnswerBodyless() {
  const auto routing = director_.AnyEndpoint();
  if (!routing) return Refuse(routing.error());
  request_ = Request::kAnswered;
  AnswerRequestHead(*routing, 0, /*with_request_headers=*/false);
  head_.clear();
  request_id_ = {};
  headers_.clear();
}

void ExtProcStream::OnRequestBody() {
  if (request_ == Request::kNothing) return OutOfOrder("a body before the request's head");
  // Envoy from 1.35 on sends the last piece of a long body twice, now and then (envoyproxy/envoy#46237).
  if (request_ != Request::kHead) return;
  const ProcessingRequest& in = parts_.scratch.in;
  if (body_.size() + in.body.size() > parts_.options.body_bytes_max) {
    return Refuse(
        {.error = {Code::kTooLarge,
                   "the request body is over " + std::to_string(parts_.options.body_bytes_max) + " bytes", ""},
         .dropped_reason = {}});
  }
  body_ += in.body;
  if (in.end_of_stream) Prepare(/*last=*/true);
}

void ExtProcStream::OnRequestTrailers() {
  if (request_ == Request::kNothing) return OutOfOrder("trailers before the request's head");
  if (trailers_came_) return OutOfOrder("trailers of the request again");
  trailers_came_ = true;
  if (request_ == Request::kHead) return Prepare(/*last=*/false);
  if (request_ == Request::kPreparing) return;
  WriteTrailers(Side::kRequest, sink_.Begin());
  sink_.End();
}

RequestText ExtProcStream::Text() const {
  return {.id = request_id_, .headers = headers_, .body = body_, .subset = subset_};
}

void ExtProcStream::Prepare(bool last) {
  request_ = Request::kPreparing;
  body_is_last_ = last;
  if (parts_.options.use_subset_hint) subset_ = SubsetHint(parts_.scratch.in.metadata);
  if (director_.Prepare(Text(), [this] { Finish(); })) Finish();
}

void ExtProcStream::Finish() {
  if (closed_ || response_ != Response::kNothing || !RouteAndAnswer()) return;
  if (trailers_came_) {
    WriteTrailers(Side::kRequest, sink_.Begin());
    sink_.End();
  }
  if (peer_ended_) OnGone();
}

bool ExtProcStream::RouteAndAnswer() {
  auto routing = director_.Route(Text());
  if (!routing) {
    Refuse(routing.error());
    return false;
  }
  routed_ = true;
  request_ = Request::kAnswered;
  streaming_ = routing->streaming;
  const std::string_view body = routing->body ? std::string_view(*routing->body) : std::string_view(body_);
  AnswerRequestHead(*routing, body.size(), /*with_request_headers=*/true);
  if (body_is_last_ || !body.empty()) SendBody(Side::kRequest, body, body_is_last_);
  if (!routing->model_sent.empty()) restorer_.emplace(routing->model_sent, routing->model_asked);
  // What the request was is not needed any more: a long prompt must not be kept as long as its answer takes.
  body_ = std::string();
  head_ = std::string();
  request_id_ = {};
  headers_ = std::vector<HeaderView>();
  if (!routing->skip_response) return true;
  End(EndCause::kNatural);
  Close(kGrpcOk, "");
  return false;
}

void ExtProcStream::AnswerRequestHead(const Routing& routing, size_t body_bytes, bool with_request_headers) {
  HeadMutation& mutation = NewMutation();
  const std::string length = std::to_string(body_bytes);
  mutation.set.emplace_back(kDestination, routing.destination);
  if (body_bytes > 0) mutation.set.emplace_back("Content-Length", length);
  if (with_request_headers) AppendEchoed(headers_, mutation.set);
  if (!made_id_.empty()) mutation.set.emplace_back(kRequestId, request_id_);
  mutation.remove = routing.remove_headers;
  if (!mutation.remove.empty()) {
    std::erase_if(mutation.set, [&](const auto& header) {
      return std::find(mutation.remove.begin(), mutation.remove.end(), header.first) != mutation.remove.end();
    });
  }
  for (const auto& [name, value] : routing.set_headers) {
    SetOrReplace(mutation.set, name, value);
    std::erase(mutation.remove, name);  // setting overwrites
  }
  mutation.clear_route_cache = true;
  const RoutingMetadata metadata{.destination = routing.destination, .scores = routing.scores};
  WriteHeaders(Side::kRequest, mutation, &metadata, sink_.Begin());
  sink_.End();
}

void ExtProcStream::SendBody(Side side, std::string_view body, bool end_of_stream) {
  do {
    const std::string_view piece = body.substr(0, kBodyPieceMax);
    body.remove_prefix(piece.size());
    WriteBody(side, piece, end_of_stream && body.empty(), sink_.Begin());
    sink_.End();
  } while (!body.empty());
}

void ExtProcStream::OnResponseHeaders() {
  if (request_ == Request::kNothing) return OutOfOrder("a response before the request's head");
  if (response_ != Response::kNothing) return OutOfOrder("a second head of the response");
  response_ = Response::kHead;
  const ProcessingRequest& in = parts_.scratch.in;
  const bool event_stream = LastValue(in.headers, "content-type").find("text/event-stream") != std::string_view::npos;
  streaming_ = streaming_ || event_stream;
  if (!LastValue(in.headers, "content-encoding").empty()) restorer_.reset();  // names cannot be seen in it
  std::vector<std::pair<std::string, std::string>> added;
  if (routed_) {
    const int status = ParseNumber<int>(LastValue(in.headers, ":status")).value_or(0);
    director_.OnResponseHead(status, ServedEndpoint(in.metadata), event_stream, added);
  }
  HeadMutation& mutation = NewMutation();
  mutation.set.emplace_back("x-went-into-resp-headers", "true");
  AppendEchoed(in.headers, mutation.set);
  for (const auto& [name, value] : added) SetOrReplace(mutation.set, name, value);
  if (restorer_) mutation.remove.emplace_back("content-length");  // of the name that the engine knows
  WriteHeaders(Side::kResponse, mutation, nullptr, sink_.Begin());
  sink_.End();
  if (in.end_of_stream) Complete();
}

void ExtProcStream::OnResponseBody() {
  if (response_ != Response::kHead) {
    return OutOfOrder(response_ == Response::kNothing ? "a body before the response's head"
                                                      : "a body after the response's end");
  }
  const ProcessingRequest& in = parts_.scratch.in;
  const bool end = in.end_of_stream;
  if (routed_ && !in.body.empty()) director_.OnResponseBytes(in.body);
  if (!streaming_) {
    held_ += in.body;
    if (!end && held_.size() <= parts_.options.held_bytes_max) return;
    streaming_ = true;  // too long to be held: the rest passes as it comes
    const std::string held = std::move(held_);
    held_.clear();
    PassOn(held, end);
  } else {
    PassOn(in.body, end);
  }
  if (end) Complete();
}

void ExtProcStream::PassOn(std::string_view bytes, bool end) {
  if (!restorer_) return SendBody(Side::kResponse, bytes, end);
  restored_.clear();
  restorer_->Append(bytes, restored_);
  if (end) restorer_->Finish(restored_);
  SendBody(Side::kResponse, restored_, end);
}

void ExtProcStream::OnResponseTrailers() {
  if (response_ != Response::kHead) {
    return OutOfOrder(response_ == Response::kNothing ? "trailers before the response's head"
                                                      : "trailers after the response's end");
  }
  std::string pending;
  if (restorer_) {
    restorer_->Append(held_, pending);
    restorer_->Finish(pending);
  } else {
    pending = std::move(held_);
  }
  if (!pending.empty()) SendBody(Side::kResponse, pending, /*end_of_stream=*/false);
  WriteTrailers(Side::kResponse, sink_.Begin());
  sink_.End();
  Complete();
}

void ExtProcStream::Complete() {
  response_ = Response::kDone;
  End(EndCause::kNatural);
  held_ = std::string();
}

void ExtProcStream::OnGone() {
  if (closed_) return;
  // Without bodies nothing tells an answer's end from a client that left during it.
  const bool over = response_ == Response::kHead && !response_bodies_come_;
  End(over ? EndCause::kNatural : EndCause::kClientLeft);
  Close(kGrpcOk, "");
}

void ExtProcStream::OnEnd() {
  if (request_ == Request::kPreparing && response_ == Response::kNothing) {
    peer_ended_ = true;
  } else {
    OnGone();
  }
}

void ExtProcStream::Evict(std::string_view reason) {
  if (closed_ || !routed_) return;
  Headers headers;
  if (!reason.empty()) headers.emplace_back(kDroppedReason, reason);
  WriteImmediate(429, "request evicted by flow control", headers, sink_.Begin());
  sink_.End();
  End(EndCause::kEvicted);
  Close(kGrpcOk, "");
}

void ExtProcStream::Refuse(const Refusal& refusal) {
  const auto answer = ToImmediate(refusal);
  if (!answer) return Close(kGrpcUnknown, "failed to handle request: " + refusal.error.message);
  Headers headers;
  if (!answer->dropped_reason.empty()) headers.emplace_back(kDroppedReason, answer->dropped_reason);
  WriteImmediate(answer->http_status, answer->body, headers, sink_.Begin());
  sink_.End();
  Close(kGrpcOk, "");
}

void ExtProcStream::OutOfOrder(std::string_view what) {
  End(EndCause::kError);
  Close(kGrpcInvalidArgument, "out of order: " + std::string(what));
}

void ExtProcStream::End(EndCause cause) {
  if (!routed_) return;
  routed_ = false;
  director_.OnEnd(cause);
}

void ExtProcStream::Close(int grpc_status, std::string_view message) {
  SLUICE_CHECK(!closed_ && !routed_, "a stream closes once, and after its request's end");
  closed_ = true;
  sink_.Close(grpc_status, message);
}

}  // namespace sluice::extproc
