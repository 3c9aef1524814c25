// How vLLM decides whether a template takes content as text or as a list of parts: by the loops it has. vLLM walks the
// template's syntax tree; here its {% for %}, {% set %} and {% macro %} tags are enough.
#include <algorithm>
#include <regex>
#include <set>
#include <vector>

#include "tokenize/vllm_chat.h"

namespace sluice::tokenize {
namespace {

constexpr size_t kTagBytesMax = 4096;  // std::regex recurses over its input

struct Tag {
  std::string text;  // "for part in message.content"
  int macro = -1;    // index of the macro it stands in
};

struct Macro {
  std::string name;
  std::vector<std::string> parameters;
};

std::vector<std::string> Words(const std::string& text) {
  std::vector<std::string> words;
  std::string word;
  for (const char c : text + " ") {
    if (std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_') {
      word += c;
    } else if (!word.empty()) {
      words.push_back(std::move(word));
      word.clear();
    }
  }
  return words;
}

std::vector<Tag> ReadTags(const std::string& source, std::vector<Macro>& macros) {
  std::vector<Tag> tags;
  int macro = -1;
  for (size_t at = source.find("{%"); at != std::string::npos; at = source.find("{%", at + 2)) {
    const size_t end = source.find("%}", at);
    if (end == std::string::npos) break;
    if (end - at > kTagBytesMax) continue;
    std::string text = source.substr(at + 2, end - at - 2);
    const auto is_edge = [](char c) {
      return c == '-' || c == '+' || std::isspace(static_cast<unsigned char>(c)) != 0;
    };
    while (!text.empty() && is_edge(text.back())) text.pop_back();
    text.erase(0, static_cast<size_t>(std::find_if_not(text.begin(), text.end(), is_edge) - text.begin()));
    if (text.starts_with("macro ")) {
      std::vector<std::string> words = Words(text.substr(6));
      if (words.empty()) continue;
      macro = static_cast<int>(macros.size());
      macros.push_back({words[0], {words.begin() + 1, words.end()}});
    } else if (text.starts_with("endmacro")) {
      macro = -1;
    } else {
      tags.push_back({std::move(text), macro});
    }
  }
  return tags;
}

// `expression` is `variable`, perhaps sliced or filtered.
bool IsVariable(const std::string& expression, const std::string& variable) {
  return std::regex_search(expression, std::regex("^" + variable + R"(\s*(\[[^\]]*:[^\]]*\]\s*)*(\||if\b|$))"));
}

bool IsContentOf(const std::string& expression, const std::string& variable) {
  return std::regex_search(
      expression,
      std::regex("^" + variable + R"((\.content|\[\s*['"]content['"]\s*\])\s*(\[[^\]]*:[^\]]*\]\s*)*(\||if\b|$))"));
}

}  // namespace

bool IteratesContent(const std::string& chat_template) {
  static const std::regex set_tag(R"(^set\s+(\w+)\s*=\s*)"), for_tag(R"(^for\s+(\w+)\s+in\s+)");
  std::vector<Macro> macros;
  const std::vector<Tag> tags = ReadTags(chat_template, macros);
  struct Binding {
    std::string name, expression;
    int macro;
  };
  std::vector<Binding> sets, loops;
  for (const Tag& tag : tags) {
    std::smatch found;
    if (std::regex_search(tag.text, found, set_tag)) sets.push_back({found[1], found.suffix(), tag.macro});
    if (std::regex_search(tag.text, found, for_tag)) loops.push_back({found[1], found.suffix(), tag.macro});
  }
  std::set<std::string> lists = {"messages"}, items;
  for (size_t before = 0; before != lists.size();) {
    before = lists.size();
    for (const Binding& set : sets) {
      if (std::any_of(lists.begin(), lists.end(), [&](const auto& list) { return IsVariable(set.expression, list); })) {
        lists.insert(set.name);
      }
    }
  }
  for (const Binding& loop : loops) {
    if (std::any_of(lists.begin(), lists.end(), [&](const auto& list) { return IsVariable(loop.expression, list); })) {
      items.insert(loop.name);
    }
  }
  const auto is_given_content = [&](const Macro& macro) {
    return std::any_of(items.begin(), items.end(), [&](const std::string& item) {
      return std::regex_search(chat_template, std::regex("\\b" + macro.name + R"(\([^)]{0,200}\b)" + item +
                                                         R"((\.content|\[\s*['"]content['"]\s*\]))"));
    });
  };
  return std::any_of(loops.begin(), loops.end(), [&](const Binding& loop) {
    if (std::any_of(items.begin(), items.end(), [&](const auto& item) { return IsContentOf(loop.expression, item); })) {
      return true;
    }
    const std::string name = Words(loop.expression).empty() ? "" : Words(loop.expression)[0];
    if (loop.expression != name) return false;
    if (loop.macro < 0) return name == "content";
    const Macro& macro = macros[static_cast<size_t>(loop.macro)];
    return std::find(macro.parameters.begin(), macro.parameters.end(), name) != macro.parameters.end() &&
           is_given_content(macro);
  });
}

}  // namespace sluice::tokenize
