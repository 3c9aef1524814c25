// Both parsers must agree on what is JSON, and what the tree says must survive being written and read again.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string>

#include "codec/json/dom.h"
#include "codec/json/reader.h"
#include "codec/json/write.h"

namespace {

void Require(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "json_fuzz: %s\n", what);
  std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  sluice::codec::DomLimits limits;
  limits.values_max = 10'000;
  const auto tree = sluice::codec::ParseDom(text, limits);
  Require(tree.has_value() == sluice::codec::CheckJson(text, limits).has_value(), "the check and the tree disagree");
  if (tree) {
    const std::string once = sluice::codec::Dump(*tree);
    const auto again = sluice::codec::ParseDom(once, limits);
    Require(again && sluice::codec::Dump(*again) == once, "a written tree reads back differently");
  }
  sluice::codec::JsonReader reader;
  if (auto value = reader.Parse(text); value && tree && tree->is_object()) {
    for (const auto& [key, member] : tree->items()) {
      const auto found = value->Find(key);
      Require(found.has_value(), "a member is missing in the fast reader");
      if (member.is_string()) Require(found->String() == member.get_ref<const std::string&>(), "strings differ");
    }
  }
  std::string quoted;
  sluice::codec::AppendQuoted(quoted, text);
  Require(sluice::codec::CheckJson(quoted, limits).has_value(), "a quoted string is not JSON");
  return 0;
}
