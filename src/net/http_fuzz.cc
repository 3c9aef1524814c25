// Whatever bytes a peer sends, in whatever pieces: the parser ends with a message, an error or a wish for more; it
// consumes no more than it was given, and its body pieces lie within what it was given.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "net/http_parser.h"

namespace {

void Run(sluice::net::HttpParser::Kind kind, std::string_view bytes, size_t step) {
  sluice::net::HttpParser parser(kind, {.head_bytes_max = 4096, .headers_max = 32});
  std::vector<std::string_view> body;
  for (int messages = 0; !bytes.empty() && messages < 64;) {
    const std::string_view piece = bytes.substr(0, step);
    body.clear();
    const auto used = parser.Feed(piece, body);
    if (!used) return;
    if (*used > piece.size()) std::abort();
    for (const std::string_view part : body) {
      if (part.data() < piece.data() || part.data() + part.size() > piece.data() + piece.size()) std::abort();
    }
    if (parser.head().headers.bytes() > 8192 || parser.head().headers.size() > 64) std::abort();
    bytes.remove_prefix(*used);
    if (parser.message_done()) {
      ++messages;
      parser.Reset();
    } else if (*used == 0 && !parser.head_done()) {
      return;
    }
  }
  (void)parser.FeedEof();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const size_t step = 1 + data[0] % 64;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  Run(sluice::net::HttpParser::Kind::kRequest, bytes, step);
  Run(sluice::net::HttpParser::Kind::kResponse, bytes, step);
  Run(sluice::net::HttpParser::Kind::kRequest, bytes, bytes.size() + 1);
  return 0;
}
