#include "pool/endpoint_file.h"

#include <arpa/inet.h>

#include <set>

#include "base/text.h"
#include "codec/yaml/reader.h"

namespace sluice::pool {
namespace {

using codec::yaml::MapReader;
using codec::yaml::Node;
using codec::yaml::Problems;

bool IsIpv4(const std::string& text) {
  in_addr address;
  return inet_pton(AF_INET, text.c_str(), &address) == 1;
}

model::Endpoint ReadEntry(const Node& node, const std::string& path, Problems& problems) {
  MapReader reader(node, path, problems);
  model::Endpoint endpoint;
  endpoint.name = reader.RequiredString("name");
  endpoint.ns = reader.String("namespace", "default");
  endpoint.id = endpoint.ns + "/" + endpoint.name;
  endpoint.address = reader.RequiredString("address");
  if (!endpoint.address.empty() && !IsIpv4(endpoint.address)) {
    reader.Error("address", "expected an IPv4 address, got \"" + endpoint.address + "\"");
  }
  const std::string port = reader.RequiredString("port");
  const auto number = ParseNumber<uint16_t>(port);
  if (!port.empty() && (!number || *number == 0)) {
    reader.Error("port", "expected a port from 1 to 65535, got \"" + port + "\"");
  }
  endpoint.port = number.value_or(0);
  endpoint.scheme = model::SchemeOf(reader.Choice("scheme", "", model::kSchemes));
  endpoint.labels = reader.StringMap("labels");
  reader.Finish();
  return endpoint;
}

}  // namespace

Result<EndpointFile> ParseEndpointFile(std::string_view text) {
  const auto root = codec::yaml::Parse(text, {.bytes_max = EndpointFile::kBytesMax});
  if (!root) return tl::unexpected(root.error());
  Problems problems;
  MapReader reader(*root, "", problems);
  EndpointFile file;
  std::set<std::string> ids;
  reader.Each("endpoints", [&](const Node& node, const std::string& path) {
    Problems own;
    model::Endpoint endpoint = ReadEntry(node, path, own);
    if (own.ok() && !ids.insert(endpoint.id).second) {
      own.Error(node, path, "\"" + endpoint.id + "\" is listed twice; the first is kept");
    }
    for (const auto& problem : own.errors()) file.skipped.push_back(problem.Text());
    if (own.ok()) file.endpoints.push_back(std::move(endpoint));
  });
  reader.Finish();
  if (const Status status = problems.ToStatus("endpoint file"); !status) return tl::unexpected(status.error());
  return file;
}

Result<std::vector<model::Endpoint>> ReadEndpoints(const Node& list, const std::string& path) {
  Problems problems;
  std::vector<model::Endpoint> endpoints;
  if (!list.IsSequence()) problems.Error(list, path, "expected a list, got " + Describe(list));
  for (size_t i = 0; i < list.items.size(); ++i) {
    endpoints.push_back(ReadEntry(list.items[i], path + "[" + std::to_string(i) + "]", problems));
  }
  if (const Status status = problems.ToStatus("static-discovery"); !status) return tl::unexpected(status.error());
  return endpoints;
}

Result<std::vector<model::Endpoint>> ParseInitialEndpointFile(std::string_view text) {
  Result<EndpointFile> file = ParseEndpointFile(text);
  if (!file) return tl::unexpected(file.error());
  if (file->skipped.empty()) return std::move(file->endpoints);
  std::string message = "endpoint file:";
  for (const std::string& line : file->skipped) message += "\n  " + line;
  return Fail(Code::kInvalidArgument, std::move(message));
}

}  // namespace sluice::pool
