// Http2Connection: one HTTP/2 connection, of a server or a client: a wire and a session, and the coroutine that moves
// bytes between them. Internal to net/. Thread rule: the loop's thread. Ownership: owns both; the times are borrowed.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "net/http2_server.h"
#include "net/wire.h"

namespace sluice::net {

class Http2Connection {
 public:
  Http2Connection(runtime::Loop& loop, Wire wire, const Http2Times& times, std::unique_ptr<Http2Core> session);

  // Until the connection is over; then every stream has been closed. `first`: what was received before.
  runtime::Task<> Run(std::string_view first = {});
  // Takes no new streams and ends with the last one.
  void Drain();
  // Ends it now.
  void Cut();
  // It has ended, or is about to: no new stream will be served.
  bool ending() const { return session_ == nullptr || broken_ || cut_; }

 private:
  runtime::Task<> Talk();
  runtime::Task<> Linger();
  bool Feed(std::string_view bytes);
  // Reads once. False: the connection is over.
  bool ReceiveSome();
  // Sends what is there, as much as the socket takes. False: the connection is over.
  bool SendSome();
  bool waiting() const { return !out_.empty() || wire_.unsent(); }
  void SetTimer();

  runtime::Loop& loop_;
  Wire wire_;
  const Http2Times& times_;
  runtime::Timer timer_;
  runtime::Event wake_;                 // something is to be sent that no read caused
  std::unique_ptr<Http2Core> session_;  // until the end of Run
  std::string out_;                     // what the wire has not taken yet
  size_t out_at_ = 0;
  bool received_ = false;
  bool broken_ = false;
  bool cut_ = false;
  bool write_timed_ = false;  // the timer runs for the bytes that wait
};

}  // namespace sluice::net
