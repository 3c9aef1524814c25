// Director: what the protocol asks of the router about one request: where it goes, and then what became of it. The
// protocol (ext_proc_stream.h) is pure; this is its only effect. PoolDirector is the real one, tests have their own.
// Thread rule: the loop's thread. Ownership: one a stream; views given to it live during the call.
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "extproc/messages.h"
#include "extproc/refusal.h"

namespace sluice::extproc {

struct RequestText {
  std::string_view id;                  // x-request-id
  std::span<const HeaderView> headers;  // names in lower case, in order, pseudo-headers too
  std::string_view body;
  std::optional<std::vector<std::string>> subset;  // addresses that the data plane allows; absent: all
};

struct Routing {
  std::string destination;          // "ip:port", or several in order of preference, joined by commas
  std::optional<std::string> body;  // in place of the client's
  std::vector<std::pair<std::string, std::string>> set_headers;
  std::vector<std::string> remove_headers;
  std::vector<std::pair<std::string, double>> scores;  // by "ip:port"; empty: not asked for
  bool streaming = false;
  bool skip_response = false;  // the answer is nobody's business: the stream can end
  // The model's name in answers: `model_sent` becomes `model_asked`. Empty: it stays.
  std::string model_sent;
  std::string model_asked;
};

enum class EndCause : uint8_t {
  kNatural,     // the answer was complete, as far as the picker can see
  kEvicted,     // taken back after dispatch
  kClientLeft,  // the stream ended before its answer
  kError,       // the peer broke the protocol
};

class Director {
 public:
  virtual ~Director() = default;
  // A request without a body: any endpoint will do.
  virtual tl::expected<Routing, Refusal> AnyEndpoint() = 0;
  // Before Route, once, for the same request: what may take time. True: Route may follow at once. False: when `ready`
  // is called, which is on the loop, later, and not at all when the director is destroyed first. The views of `request`
  // live until Route has returned.
  virtual bool Prepare(const RequestText& request, std::function<void()> ready) = 0;
  virtual tl::expected<Routing, Refusal> Route(const RequestText& request) = 0;

  // After Route has let it through. `served`: "ip:port", empty when the data plane does not say. `add` gets headers for
  // the client.
  virtual void OnResponseHead(int status, std::string_view served, bool event_stream,
                              std::vector<std::pair<std::string, std::string>>& add) = 0;
  virtual void OnResponseBytes(std::string_view bytes) = 0;
  // Once, last, for every request that Route let through.
  virtual void OnEnd(EndCause cause) = 0;
};

}  // namespace sluice::extproc
