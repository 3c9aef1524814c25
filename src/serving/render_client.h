// RenderClient: a request's prompts to token ids by vLLM's render endpoints: POST <path>/render with the body as it
// came, only `model` replaced. Works for chats, completions, responses and messages; placeholders of media come with
// their hashes. Thread rule: the loop's thread. Ownership: borrows loop and client. Cost: one HTTP exchange a request;
// while the server does not answer, one try a second, and an error at once for the rest. Limits: kAnswerBytesMax an
// answer.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "codec/json/reader.h"
#include "model/request.h"
#include "net/dns.h"
#include "net/http_client.h"
#include "parse/parser_table.h"
#include "schedule/plugins/produce/token_producer.h"

namespace sluice::serving {

class RenderClient {
 public:
  static constexpr size_t kAnswerBytesMax = size_t{64} << 20;

  struct Placeholder {
    model::Media::Kind kind = model::Media::Kind::kImage;
    std::string hash;  // the engine's name of it
    uint32_t begin = 0;
    uint32_t length = 0;
  };
  struct Prompt {
    std::vector<uint32_t> tokens;
    std::vector<Placeholder> media;  // in order
  };

  // kInvalidArgument when the source's URL is not http://HOST[:PORT].
  static Result<std::unique_ptr<RenderClient>> Open(runtime::Loop& loop, net::HttpClient& client,
                                                    schedule::TokenSource source);

  // An error says why there are none: its code is kUnavailable or kUpstreamTimeout when the server is not there.
  runtime::Task<Result<std::vector<Prompt>>> Render(parse::Api api, std::string_view body);
  // A small request, so that the first real one finds a connection and a server that has loaded its tokenizer.
  runtime::Task<Status> WarmUp();

 private:
  RenderClient(runtime::Loop& loop, net::HttpClient& client, schedule::TokenSource source, std::string host,
               uint16_t port);
  runtime::Task<Result<net::Address>> Find();
  runtime::Task<Result<std::vector<Prompt>>> Post(std::string_view target, std::string_view body, Duration timeout);
  Result<std::vector<Prompt>> Read(std::string_view answer);

  runtime::Loop& loop_;
  net::HttpClient& client_;
  schedule::TokenSource source_;
  std::string host_;
  uint16_t port_;
  net::Resolver resolver_;
  codec::JsonReader reader_;
  std::string found_;  // host_'s address; empty: not asked yet
  TimePoint found_until_{};
  TimePoint retry_at_{};  // not before, after a failure to reach it
  std::string last_failure_;
};

}  // namespace sluice::serving
