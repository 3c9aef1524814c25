// Http2Front and Http2Exchange: HTTP/2 connections of an HttpServer. A front is a connection; each of its streams runs
// the server's handler in a coroutine of its own, with an Http2Exchange. Internal to net/.
// Thread rule: the loop's thread. Ownership: a front lives until its last stream's coroutine has ended; a stream's
// state is shared by the session and that coroutine, whichever ends last. Cost: beside HTTP/1's, one allocation a
// stream and about 1 us a frame; all streams' answers of one wake-up leave in one send. Limits: those of the server; a
// client that reads nothing for write_timeout loses the stream.
#pragma once

#include <memory>
#include <string>

#include "net/http2_connection.h"
#include "net/http_server.h"

namespace sluice::net {

// One request, between the session that receives it and the coroutine that answers it.
struct Http2Request {
  Http2Request(runtime::Loop& loop, Http2Stream& s) : stream(&s), head(s.TakeHead()), changed(loop) {}

  Http2Stream* stream;  // null: it is closed
  MessageHead head;
  std::string body;  // as far as it has come
  size_t body_max = 0;
  bool ended = false;      // the body is whole
  bool too_large = false;  // and the rest is thrown away
  bool reading = false;    // bytes are waited for
  bool flushing = false;   // room is waited for
  runtime::Event changed;
};

class Http2Front final : public ServerConnection {
 public:
  Http2Front(HttpServer& server, Wire wire);

  runtime::Task<> Run(std::string first);
  void Drain() override { connection_.Drain(); }
  void Cut() override { connection_.Cut(); }
  bool busy() const override { return answering_ > 0; }

 private:
  std::unique_ptr<Http2Handler> Accept(Http2Stream& stream);
  static runtime::Task<> Answer(Http2Front* front, std::shared_ptr<Http2Request> request);

  HttpServer& server_;
  Address peer_;
  Http2Connection connection_;
  size_t answering_ = 0;  // coroutines
  runtime::Event idle_;   // none is left
};

class Http2Exchange final : public ServerExchange {
 public:
  Http2Exchange(HttpServer& server, const Address& peer, Http2Request& request)
      : ServerExchange(server, request.head, peer), request_(request), timer_(server.loop_) {}

  runtime::Task<Result<std::string>> ReadBody() override;
  runtime::Source& ClientReadable() override { return request_.changed; }
  bool ClientThere() override;
  using ServerExchange::Write;
  void Write(std::span<const std::string_view> parts, bool last) override;
  runtime::Task<bool> Flush() override { return FlushTo(kUnsentMax / 2); }
  void Abort() override;
  // Until at most so many bytes wait for the client.
  runtime::Task<bool> FlushTo(size_t unsent_max);
  // Behind the answer: until the stream is closed. A client that still sends has a moment to see the answer.
  runtime::Task<> End();

 private:
  // So much of one answer may wait for its client before its writer does.
  static constexpr size_t kUnsentMax = 64 * 1024;
  void Begin(std::span<const Header> headers, std::optional<uint64_t> content_length) override;

  Http2Request& request_;
  runtime::Timer timer_;
};

}  // namespace sluice::net
