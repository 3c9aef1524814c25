#include "control/node_text.h"

#include <algorithm>
#include <string_view>

#include "base/text.h"
#include "codec/json/write.h"
#include "codec/yaml/reader.h"

namespace sluice::control {
namespace {

using codec::yaml::Entry;
using codec::yaml::Node;

bool IsBlock(const Node& node) { return !node.items.empty() || !node.entries.empty(); }

void AppendScalar(std::string& out, const Node& node) {
  if (node.IsNull()) {
    out += "null";
  } else if (node.IsMap()) {
    out += "{}";
  } else if (node.IsSequence()) {
    out += "[]";
  } else if (!node.quoted && (AsBool(node) || AsInt(node) || AsNumber(node))) {
    out += node.scalar;
  } else {
    codec::AppendQuoted(out, node.scalar);  // a JSON string is a YAML string
  }
}

// A key that reads back as the same string without quotes.
bool IsPlainKey(const std::string& key) {
  constexpr std::string_view kOthers[] = {"true", "false", "null", "yes", "no", "on", "off", "y", "n"};
  const auto good = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
  };
  return !key.empty() && ((key[0] | 0x20) >= 'a' && (key[0] | 0x20) <= 'z') && std::ranges::all_of(key, good) &&
         std::ranges::none_of(kOthers, [&](std::string_view other) { return EqualsIgnoreCase(key, other); });
}

void AppendBlock(std::string& out, const Node& node, size_t indent);

// What follows "key:" or "-".
void AppendValue(std::string& out, const Node& node, size_t indent) {
  if (IsBlock(node)) {
    out += '\n';
    AppendBlock(out, node, indent);
  } else {
    out += ' ';
    AppendScalar(out, node);
    out += '\n';
  }
}

void AppendBlock(std::string& out, const Node& node, size_t indent) {
  for (const Entry& entry : node.entries) {
    out.append(indent, ' ');
    if (IsPlainKey(entry.key)) {
      out += entry.key;
    } else {
      codec::AppendQuoted(out, entry.key);
    }
    out += ':';
    AppendValue(out, entry.value, indent + 2);
  }
  for (const Node& item : node.items) {
    out.append(indent, ' ');
    out += '-';
    AppendValue(out, item, indent + 2);
  }
}

}  // namespace

std::string NodeText(const Node& node) {
  std::string out;
  if (IsBlock(node)) {
    AppendBlock(out, node, 0);
  } else {
    AppendScalar(out, node);
    out += '\n';
  }
  return out;
}

}  // namespace sluice::control
