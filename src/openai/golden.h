// For tests: reads the recordings in test/golden/vllm/http.
#pragma once

#include <fstream>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

#include "base/check.h"

namespace sluice::openai {

inline std::string GoldenFile(const std::string& name) {
  const std::string path = std::string(SLUICE_SOURCE_DIR) + "/test/golden/vllm/http/" + name;
  std::ifstream in(path, std::ios::binary);
  SLUICE_CHECK(in.is_open(), path.c_str());
  return {std::istreambuf_iterator<char>(in), {}};
}

inline std::string Body(std::string_view message) {
  const size_t at = message.find("\r\n\r\n");
  std::string body(message.substr(at + 4));
  if (message.substr(0, at).find("transfer-encoding: chunked") == std::string_view::npos) return body;
  std::string joined;
  for (size_t pos = 0; pos < body.size();) {
    const size_t end = body.find("\r\n", pos);
    const size_t size = std::stoul(body.substr(pos, end - pos), nullptr, 16);
    joined += body.substr(end + 2, size);
    pos = end + 2 + size + 2;
    if (size == 0) break;
  }
  return joined;
}

inline std::string GoldenRequest(const std::string& name) { return Body(GoldenFile(name + ".request.http")); }
inline std::string GoldenResponse(const std::string& name) { return Body(GoldenFile(name + ".response.http")); }
inline int GoldenStatus(const std::string& name) { return std::stoi(GoldenFile(name + ".response.http").substr(9, 3)); }

// The events of a streamed recording, each with its framing.
inline std::vector<std::string> GoldenEvents(const std::string& name) {
  std::vector<std::string> events;
  std::string body = GoldenResponse(name);
  for (size_t at; (at = body.find("\n\n")) != std::string::npos; body.erase(0, at + 2))
    events.push_back(body.substr(0, at + 2));
  return events;
}

}  // namespace sluice::openai
