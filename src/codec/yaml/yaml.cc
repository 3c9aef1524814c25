#include "codec/yaml/yaml.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <istream>
#include <streambuf>
#include <unordered_map>
#include <unordered_set>

namespace sluice::codec::yaml {
namespace {

// Raised inside yaml-cpp's callbacks, caught in ParseAll: a limit or a rule of ours was broken.
struct Refused {
  std::string what;
  int line;
};

size_t CountNodes(const Node& node) {
  size_t count = 1;
  for (const Node& item : node.items) count += CountNodes(item);
  for (const Entry& entry : node.entries) count += CountNodes(entry.value);
  return count;
}

size_t Depth(const Node& node) {
  size_t depth = 0;
  for (const Node& item : node.items) depth = std::max(depth, Depth(item));
  for (const Entry& entry : node.entries) depth = std::max(depth, Depth(entry.value));
  return depth + 1;
}

class Builder final : public YAML::EventHandler {
 public:
  explicit Builder(const Limits& limits) : limits_(limits) {}

  void OnDocumentStart(const YAML::Mark&) override { anchors_.clear(); }
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override { Add(Make(Node::Kind::kNull, mark), anchor); }

  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    const auto found = anchors_.find(anchor);
    if (found == anchors_.end()) throw Refused{"alias of a value that is still being defined", mark.line + 1};
    nodes_ += CountNodes(found->second);
    CheckNodes(mark);
    if (open_.size() + Depth(found->second) > limits_.depth_max) RefuseDepth(mark);
    Place(Node(found->second));
  }

  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    Node node = Make(Node::Kind::kScalar, mark);
    node.quoted = tag != "?" && !tag.empty();  // yaml-cpp's mark of a plain scalar
    node.scalar = value;
    Add(std::move(node), anchor);
  }

  void OnSequenceStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    Open(Node::Kind::kSequence, mark, anchor);
  }
  void OnSequenceEnd() override { Close(); }
  void OnMapStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    Open(Node::Kind::kMap, mark, anchor);
  }
  void OnMapEnd() override {
    Merge(open_.back().node);
    Close();
  }

  std::vector<Node> documents;

 private:
  struct Frame {
    Node node;
    YAML::anchor_t anchor = 0;
    bool has_key = false;
    std::string key;
    int key_line = 0;
    std::unordered_set<std::string> keys;
  };

  Node Make(Node::Kind kind, const YAML::Mark& mark) {
    ++nodes_;
    CheckNodes(mark);
    Node node;
    node.kind = kind;
    node.line = mark.line + 1;
    node.column = mark.column + 1;
    return node;
  }

  void CheckNodes(const YAML::Mark& mark) const {
    if (nodes_ > limits_.nodes_max) {
      throw Refused{"more than " + std::to_string(limits_.nodes_max) + " values", mark.line + 1};
    }
  }
  [[noreturn]] void RefuseDepth(const YAML::Mark& mark) const {
    throw Refused{"nested deeper than " + std::to_string(limits_.depth_max), mark.line + 1};
  }

  void Open(Node::Kind kind, const YAML::Mark& mark, YAML::anchor_t anchor) {
    if (open_.size() >= limits_.depth_max) RefuseDepth(mark);
    Frame frame;
    frame.node = Make(kind, mark);
    frame.anchor = anchor;
    open_.push_back(std::move(frame));
  }

  void Close() {
    Frame frame = std::move(open_.back());
    open_.pop_back();
    Add(std::move(frame.node), frame.anchor);
  }

  void Add(Node node, YAML::anchor_t anchor) {
    if (anchor != 0) anchors_[anchor] = node;
    Place(std::move(node));
  }

  void Place(Node node) {
    if (open_.empty()) {
      documents.push_back(std::move(node));
      return;
    }
    Frame& frame = open_.back();
    if (frame.node.kind == Node::Kind::kSequence) {
      frame.node.items.push_back(std::move(node));
      return;
    }
    if (!frame.has_key) {
      if (node.kind != Node::Kind::kScalar)
        throw Refused{"a key must be a scalar, this is " + Describe(node), node.line};
      if (!frame.keys.insert(node.scalar).second) {
        throw Refused{"duplicate key \"" + node.scalar.substr(0, 80) + "\"", node.line};
      }
      frame.has_key = true;
      frame.key = std::move(node.scalar);
      frame.key_line = node.line;
      return;
    }
    frame.has_key = false;
    frame.node.entries.push_back(Entry{std::move(frame.key), frame.key_line, std::move(node)});
  }

  // `<<: *defaults`: the map's own keys win; of several merged maps the earlier wins.
  static void Merge(Node& map) {
    const auto at = std::find_if(map.entries.begin(), map.entries.end(), [](const Entry& e) { return e.key == "<<"; });
    if (at == map.entries.end()) return;
    const int line = at->line;
    Node source = std::move(at->value);
    map.entries.erase(at);
    std::vector<Node> maps;
    if (source.IsSequence()) {
      maps = std::move(source.items);
    } else {
      maps.push_back(std::move(source));
    }
    for (Node& from : maps) {
      if (!from.IsMap()) throw Refused{"a merge key (<<) needs a map or a list of maps", line};
      for (Entry& entry : from.entries) {
        if (map.Find(entry.key) == nullptr) map.entries.push_back(std::move(entry));
      }
    }
  }

  const Limits& limits_;
  size_t nodes_ = 0;
  std::vector<Frame> open_;
  std::unordered_map<YAML::anchor_t, Node> anchors_;
};

// A stream over memory that does not copy it.
class ViewBuffer final : public std::streambuf {
 public:
  explicit ViewBuffer(std::string_view text) {
    char* begin = const_cast<char*>(text.data());  // never written: only the get area is set
    setg(begin, begin, begin + text.size());
  }
};

tl::unexpected<Error> Bad(const std::string& what, int line) {
  return Fail(Code::kInvalidArgument, "YAML: " + what + " (line " + std::to_string(line) + ")");
}

}  // namespace

const Node* Node::Find(std::string_view key) const {
  for (const Entry& entry : entries) {
    if (entry.key == key) return &entry.value;
  }
  return nullptr;
}

std::string Describe(const Node& node) {
  switch (node.kind) {
    case Node::Kind::kNull:
      return "nothing";
    case Node::Kind::kSequence:
      return "a list";
    case Node::Kind::kMap:
      return "a map";
    case Node::Kind::kScalar:
      break;
  }
  if (node.scalar.size() <= 40) return "\"" + node.scalar + "\"";
  return "\"" + node.scalar.substr(0, 40) + "...\"";
}

std::string CanonicalText(const Node& node) {
  std::string out;
  switch (node.kind) {
    case Node::Kind::kNull:
      return "~";
    case Node::Kind::kScalar:  // the length keeps "a, b" apart from two items
      return (node.quoted ? "\"" : "") + std::to_string(node.scalar.size()) + ":" + node.scalar;
    case Node::Kind::kSequence:
      out = "[";
      for (const Node& item : node.items) out += CanonicalText(item) + ",";
      return out + "]";
    case Node::Kind::kMap:
      break;
  }
  std::vector<std::string> members;
  for (const Entry& entry : node.entries) {
    members.push_back(std::to_string(entry.key.size()) + ":" + entry.key + "=" + CanonicalText(entry.value));
  }
  std::sort(members.begin(), members.end());
  out = "{";
  for (const std::string& member : members) out += member + ",";
  return out + "}";
}

Result<std::vector<Node>> ParseAll(std::string_view text, const Limits& limits) {
  if (text.size() > limits.bytes_max) {
    return Fail(Code::kTooLarge, "YAML: " + std::to_string(text.size()) + " bytes, at most " +
                                     std::to_string(limits.bytes_max) + " are read");
  }
  if (const size_t zero = text.find('\0'); zero != std::string_view::npos) {
    return Bad("a zero byte", 1 + static_cast<int>(std::count(text.begin(), text.begin() + zero, '\n')));
  }
  Builder builder(limits);
  try {
    ViewBuffer buffer(text);
    std::istream stream(&buffer);
    YAML::Parser parser(stream);
    while (parser.HandleNextDocument(builder)) {
    }
  } catch (const Refused& refused) {
    return Bad(refused.what, refused.line);
  } catch (const YAML::Exception& e) {
    return Bad(e.msg, e.mark.line + 1);
  } catch (const std::exception& e) {
    return Fail(Code::kInvalidArgument, std::string("YAML: ") + e.what());
  }
  return std::move(builder.documents);
}

Result<Node> Parse(std::string_view text, const Limits& limits) {
  Result<std::vector<Node>> documents = ParseAll(text, limits);
  if (!documents) return tl::unexpected(documents.error());
  if (documents->size() > 1) return Bad("one document is expected, a second begins here", (*documents)[1].line);
  if (documents->empty()) return Node{};
  return std::move(documents->front());
}

}  // namespace sluice::codec::yaml
