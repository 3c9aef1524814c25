// One request to a running Sluice, for commands that ask and end.
// Thread rule: no loop may run in this thread.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "net/http_client.h"

namespace sluice::app {

// `url`: "http://127.0.0.1:8080" or "127.0.0.1:8080". kUnavailable, with a hint, when nobody answers there.
Result<net::FetchResponse> GetOnce(std::string_view url, std::string_view target);
Result<net::FetchResponse> PostOnce(std::string_view url, std::string_view target, std::string_view body);

// The body of an answer with status 200; of another one its error, with the message of an OpenAI error body.
Result<std::string> BodyOf(Result<net::FetchResponse> response);

}  // namespace sluice::app
