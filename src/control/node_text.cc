#include "control/node_text.h"

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
    codec::AppendQuoted(out, entry.key);
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
