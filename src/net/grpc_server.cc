#include "net/grpc_server.h"

#include <array>
#include <cstdio>

#include "base/check.h"

namespace sluice::net {
namespace {

constexpr size_t kFrameHead = 5;  // a byte of flags, four of length
constexpr std::string_view kContentType = "application/grpc";

// As the header grpc-message has it: percent-encoded outside of printable ASCII.
std::string Encoded(std::string_view message) {
  std::string out;
  for (const char c : message) {
    if (c >= ' ' && c <= '~' && c != '%') {
      out += c;
      continue;
    }
    char hex[4];
    std::snprintf(hex, sizeof hex, "%%%02X", static_cast<unsigned>(static_cast<unsigned char>(c)));
    out += hex;
  }
  return out;
}

}  // namespace

Http2Session::Accept GrpcCall::Accept(const GrpcMethods& methods) {
  return [&methods](Http2Stream& stream) -> std::unique_ptr<Http2Handler> {
    const MessageHead& head = stream.head();
    const int refused = head.method != "POST"                                                      ? 405
                        : !head.headers.Get("content-type").value_or("").starts_with(kContentType) ? 415
                                                                                                   : 0;
    if (refused != 0) {
      stream.Start(refused, {}, /*end=*/true);
      return nullptr;
    }
    auto call = std::make_unique<GrpcCall>(stream, methods);
    const auto method = methods.by_path.find(head.path());
    if (method == methods.by_path.end()) {
      call->Close(kGrpcUnimplemented, "there is no method " + std::string(head.path()));
    } else {
      call->handler_ = method->second(*call);
    }
    return call;
  };
}

std::string& GrpcCall::BeginMessage() {
  SLUICE_CHECK(!closed_, "nothing follows a call's status");
  if (!stream_.started()) {
    const std::array<Header, 1> headers = {Header{"content-type", kContentType}};
    stream_.Start(200, headers, /*end=*/false);
  }
  std::string& out = stream_.out();
  begun_at_ = out.size();
  out.append(kFrameHead, '\0');
  return out;
}

void GrpcCall::EndMessage() {
  std::string& out = stream_.out();
  const size_t size = out.size() - begun_at_ - kFrameHead;
  if (size > methods_.send_bytes_max) {
    out.resize(begun_at_);
    return Close(kGrpcResourceExhausted, "trying to send message larger than max (" + std::to_string(size) + " vs. " +
                                             std::to_string(methods_.send_bytes_max) + ")");
  }
  for (size_t i = 0; i < 4; ++i) out[begun_at_ + 1 + i] = static_cast<char>(size >> (24 - 8 * i));
  stream_.Send();
}

void GrpcCall::Close(int status, std::string_view message) {
  if (closed_) return;
  closed_ = true;
  const std::string code = std::to_string(status), encoded = Encoded(message);
  std::array<Header, 4> headers = {Header{"content-type", kContentType}, Header{"grpc-status", code}};
  size_t n = 2;
  if (!encoded.empty()) headers[n++] = {"grpc-message", encoded};
  if (status == kGrpcUnimplemented) headers[n++] = {"grpc-accept-encoding", "identity"};
  const std::span<const Header> all(headers.data(), n);
  if (stream_.started()) {
    stream_.Finish(all.subspan(1));
  } else {
    stream_.Start(200, all, /*end=*/true);
  }
}

size_t GrpcCall::TakeFrame(std::string_view bytes) {
  if (bytes.size() < kFrameHead) return 0;
  uint32_t size = 0;
  for (const char c : bytes.substr(1, 4)) size = size << 8 | static_cast<unsigned char>(c);
  if (size > methods_.receive_bytes_max) {
    Close(kGrpcResourceExhausted, "received message larger than max (" + std::to_string(size) + " vs. " +
                                      std::to_string(methods_.receive_bytes_max) + ")");
    return 0;
  }
  if (bytes[0] != 0) {
    Close(kGrpcUnimplemented, "messages must not be compressed");
    return 0;
  }
  if (bytes.size() - kFrameHead < size) return 0;
  handler_->OnMessage(bytes.substr(kFrameHead, size));
  return kFrameHead + size;
}

void GrpcCall::OnData(std::string_view bytes) {
  const bool kept = !pending_.empty();
  if (kept) {
    pending_ += bytes;
    bytes = pending_;
  }
  size_t used = 0;
  while (!closed_) {
    const size_t frame = TakeFrame(bytes.substr(used));
    if (frame == 0) break;
    used += frame;
  }
  if (closed_ || (kept && used == pending_.size())) {
    pending_ = std::string();  // a large message's room is not kept
  } else if (kept) {
    pending_.erase(0, used);
  } else if (used < bytes.size()) {
    pending_.assign(bytes.substr(used));
  }
}

void GrpcCall::OnEnd() {
  if (closed_) return;
  if (!pending_.empty()) return Close(kGrpcInvalidArgument, "the request ends within a message");
  handler_->OnEnd();
}

void GrpcCall::OnClosed() {
  closed_ = true;
  if (handler_ != nullptr) handler_->OnClosed();
}

}  // namespace sluice::net
