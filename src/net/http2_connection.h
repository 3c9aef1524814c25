// Http2Connection: one connection of an Http2Server: its socket, its TLS, its session.
// Thread rule: the loop's thread. Internal to http2_server.cc.
#pragma once

#include <memory>
#include <string>

#include "net/http2_server.h"
#include "net/tls_stream.h"

namespace sluice::net {

class Http2Connection {
 public:
  Http2Connection(Http2Server& server, int fd);
  ~Http2Connection();

  runtime::Task<> Run();
  void Drain();
  void Cut();

 private:
  // Reads once. False: the connection is over.
  bool ReceiveSome();
  // Sends what is there, as much as the socket takes. False: the connection is over.
  bool SendSome();
  void SetTimer();

  Http2Server& server_;
  runtime::DescriptorPtr descriptor_;
  runtime::Timer timer_;
  runtime::Event wake_;  // something is to be sent that no read caused
  Http2Session session_;
  std::unique_ptr<TlsStream> tls_;  // null: clear text
  std::string plain_;               // what the session sends, when it is encrypted first
  std::string out_;                 // what the socket has not taken yet
  size_t out_at_ = 0;
  bool received_ = false;
  bool broken_ = false;
  bool cut_ = false;
  bool write_timed_ = false;  // the timer runs for the bytes that wait
  size_t index_;
};

}  // namespace sluice::net
