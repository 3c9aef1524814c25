#include "tokenize/hf_model.h"

#include <nlohmann/json.hpp>

#include "base/read_file.h"

namespace sluice::tokenize {
namespace {

using Json = nlohmann::json;

constexpr size_t kConfigBytesMax = size_t{16} << 20;

// An empty object when there is no such file.
Result<Json> ReadConfig(const std::string& path) {
  const auto text = ReadFile(path, kConfigBytesMax);
  if (!text && text.error().code == Code::kNotFound) return Json::object();
  if (!text) return tl::unexpected(text.error());
  Json json = Json::parse(*text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return Fail(Code::kInvalidArgument, path + " is not a JSON object");
  return json;
}

// "bos_token" and its kind: a text, or an object with the text as "content".
void AddSpecialTokens(const Json& config, VllmChat::Source& source) {
  for (const auto& [name, value] : config.items()) {
    if (!name.ends_with("_token")) continue;
    const Json& text = value.is_object() && value.contains("content") ? value["content"] : value;
    if (text.is_string()) source.special_tokens[name] = text.get<std::string>();
  }
}

// One template, or a list of named ones.
void AddTemplates(const Json& config, VllmChat::Source& source) {
  const auto at = config.find("chat_template");
  if (at == config.end()) return;
  if (at->is_string()) source.chat_template = at->get<std::string>();
  if (!at->is_array()) return;
  for (const Json& named : *at) {
    if (!named.is_object()) continue;
    const std::string name = named.value("name", ""), text = named.value("template", "");
    if (name == "default") source.chat_template = text;
    if (name == "tool_use") source.tool_use_template = text;
  }
}

Status LoadChat(const std::string& folder, HfModel& model) {
  VllmChat::Source source;
  for (const char* name : {"/special_tokens_map.json", "/tokenizer_config.json"}) {
    const auto config = ReadConfig(folder + name);
    if (!config) return tl::unexpected(config.error());
    try {
      AddSpecialTokens(*config, source);
      AddTemplates(*config, source);
    } catch (const Json::exception& e) {
      return Fail(Code::kInvalidArgument, folder + name + ": " + e.what());
    }
  }
  const auto file = ReadFile(folder + "/chat_template.jinja", kConfigBytesMax);
  if (file) {
    source.chat_template = *file;
    source.tool_use_template.clear();
  } else if (file.error().code != Code::kNotFound) {
    return tl::unexpected(file.error());
  }
  if (source.chat_template.empty()) {
    model.chat_problem = "the model has no chat template";
    return {};
  }
  auto chat = VllmChat::Load(std::move(source));
  if (chat) {
    model.chat = std::move(*chat);
  } else {
    model.chat_problem = chat.error().message;
  }
  return {};
}

}  // namespace

Result<HfModel> OpenHfModel(const std::string& folder) {
  const auto json = ReadFile(folder + "/tokenizer.json", HfTokenizer::kFileBytesMax);
  if (!json) return tl::unexpected(json.error());
  auto tokenizer = HfTokenizer::Open(*json);
  if (!tokenizer) return Fail(tokenizer.error().code, folder + ": " + tokenizer.error().message);
  HfModel model{.tokenizer = std::move(*tokenizer), .chat = nullptr, .chat_problem = {}};
  if (const Status loaded = LoadChat(folder, model); !loaded) return tl::unexpected(loaded.error());
  return model;
}

}  // namespace sluice::tokenize
