#include "pool/inference_objects.h"

#include <algorithm>
#include <array>
#include <limits>
#include <set>
#include <tuple>
#include <utility>

#include "base/text.h"
#include "codec/yaml/reader.h"

namespace sluice::pool {

using codec::yaml::MapReader;
using codec::yaml::Node;
using codec::yaml::Problems;

namespace {

constexpr std::string_view kApi = "llm-d.ai/v1alpha2";
constexpr std::string_view kOldApi = "inference.networking.x-k8s.io/v1alpha2";
constexpr std::string_view kPoolGroup = "inference.networking.k8s.io";
constexpr std::string_view kObjective = "InferenceObjective";
constexpr std::string_view kRewrite = "InferenceModelRewrite";
constexpr int64_t kWeightMax = 1'000'000;

// "2026-01-31T23:59:59Z": sorts as text as it does in time.
bool IsTimestamp(std::string_view text) {
  constexpr std::string_view kShape = "0000-00-00T00:00:00Z";
  if (text.size() != kShape.size()) return false;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool digit = text[i] >= '0' && text[i] <= '9';
    if (kShape[i] == '0' ? !digit : text[i] != kShape[i]) return false;
  }
  return true;
}

// Gathers the objects of one file.
class ObjectFile {
 public:
  ObjectFile(std::string_view pool, std::vector<std::string>* notices) : pool_(pool), notices_(notices) {}

  void Read(const Node& document, const std::string& path, bool in_list);
  Result<InferenceObjects> Finish(std::string_view what);

 private:
  template <class Object>
  struct Found {
    Object object;
    bool old = false;  // of the group from before
  };

  // Whether the object is this pool's.
  bool ReadPoolRef(MapReader& spec);
  void ReadRewrite(MapReader& spec, InferenceModelRewrite& rewrite);
  void ReadRule(const Node& node, const std::string& path, InferenceModelRewrite& rewrite);
  void ReadTarget(const Node& node, const std::string& path, InferenceModelRewrite::Rule& rule);
  template <class Object>
  std::vector<Object> Newer(std::vector<Found<Object>>& found, std::string_view kind);

  std::string_view pool_;
  std::vector<std::string>* notices_;
  Problems problems_;
  std::set<std::string> seen_;  // "kind/old/name"
  std::vector<Found<InferenceObjective>> objectives_;
  std::vector<Found<InferenceModelRewrite>> rewrites_;
};

void ObjectFile::Read(const Node& document, const std::string& path, bool in_list) {
  if (!document.IsMap()) {
    problems_.Error(document, path, "expected an object, got " + Describe(document));
    return;
  }
  MapReader reader(document, path, problems_);
  static constexpr std::array<std::string_view, 3> kKinds = {kObjective, kRewrite, "List"};
  static constexpr std::array<std::string_view, 2> kApis = {kApi, kOldApi};
  static constexpr std::array<std::string_view, 1> kListApis = {"v1"};
  reader.RequiredString("kind");
  const std::string kind = reader.Choice("kind", "", std::span(kKinds).first(in_list ? 2 : 3));
  if (kind.empty()) return;  // the rest would only be misread
  reader.RequiredString("apiVersion");
  if (kind == "List") {
    reader.Choice("apiVersion", "", kListApis);
    reader.Child("metadata");
    reader.Each("items", [&](const Node& item, const std::string& at) { Read(item, at, /*in_list=*/true); });
    reader.Finish();
    return;
  }
  const bool old = reader.Choice("apiVersion", "", kApis) == kOldApi;
  reader.Child("status");  // Kubernetes' own, nothing is read from it
  MapReader metadata = reader.Map("metadata");
  const std::string name = metadata.RequiredString("name");
  const std::string created = metadata.String("creationTimestamp");
  if (!created.empty() && !IsTimestamp(created)) {
    metadata.Error("creationTimestamp", "expected a time such as \"2026-01-31T12:00:00Z\", got \"" + created + "\"");
  }
  for (const std::string_view field : {"namespace", "labels", "annotations", "uid", "resourceVersion", "generation",
                                       "managedFields", "ownerReferences", "finalizers"}) {
    metadata.Child(field);
  }
  metadata.Finish();
  if (!seen_.insert(kind + (old ? "/old/" : "/new/") + name).second && !name.empty()) {
    metadata.Error("name", "there are two " + kind + " named '" + name + "'; give each its own name");
  }
  MapReader spec = reader.Map("spec");
  const bool ours = ReadPoolRef(spec);
  if (kind == kObjective) {
    using Int32 = std::numeric_limits<int32_t>;
    const int64_t priority = spec.Int("priority", 0, {.min = Int32::min(), .max = Int32::max()});
    if (ours) objectives_.push_back({{name, static_cast<int32_t>(priority)}, old});
  } else {
    InferenceModelRewrite rewrite{.name = name, .created = created, .rules = {}};
    ReadRewrite(spec, rewrite);
    if (ours) rewrites_.push_back({std::move(rewrite), old});
  }
  spec.Finish();
  reader.Finish();
}

bool ObjectFile::ReadPoolRef(MapReader& spec) {
  if (!spec.Has("poolRef")) {
    spec.Error("poolRef", "is required and missing");
    return false;
  }
  MapReader ref = spec.Map("poolRef");
  const std::string group = ref.String("group", std::string(kPoolGroup));
  const std::string kind = ref.String("kind", "InferencePool");
  const std::string name = ref.RequiredString("name");
  ref.Finish();
  if (name == pool_ && group == kPoolGroup && kind == "InferencePool") return true;
  if (notices_ != nullptr) {
    notices_->push_back(ref.path() + " names " + kind + "." + group + " '" + name + "', not this pool '" +
                        std::string(pool_) + "': the object is not used here (line " + std::to_string(ref.line()) +
                        ")");
  }
  return false;
}

void ObjectFile::ReadRewrite(MapReader& spec, InferenceModelRewrite& rewrite) {
  if (!spec.Has("rules")) spec.Error("rules", "is required and missing");
  spec.Each("rules", [&](const Node& node, const std::string& path) { ReadRule(node, path, rewrite); });
}

void ObjectFile::ReadRule(const Node& node, const std::string& path, InferenceModelRewrite& rewrite) {
  static constexpr std::array<std::string_view, 1> kTypes = {"Exact"};
  InferenceModelRewrite::Rule rule;
  MapReader reader(node, path, problems_);
  reader.Each("matches", [&](const Node& match_node, const std::string& match_path) {
    MapReader match(match_node, match_path, problems_);
    if (!match.Has("model")) match.Error("model", "is required and missing");
    MapReader model = match.Map("model");
    model.Choice("type", "Exact", kTypes);
    if (match.Has("model")) rule.models.push_back(model.RequiredString("value"));
    model.Finish();
    match.Finish();
  });
  reader.Each("targets", [&](const Node& target, const std::string& at) { ReadTarget(target, at, rule); });
  const auto weighted = std::count_if(rule.targets.begin(), rule.targets.end(),
                                      [](const InferenceModelRewrite::Target& target) { return !!target.weight; });
  if (rule.targets.empty()) {
    reader.Warn("targets", "there are none: every request that the rule matches is refused");
  } else if (weighted != 0 && static_cast<size_t>(weighted) != rule.targets.size()) {
    reader.Warn("targets", "some have a weight and some have none: those without are never chosen");
  }
  reader.Finish();
  rewrite.rules.push_back(std::move(rule));
}

void ObjectFile::ReadTarget(const Node& node, const std::string& path, InferenceModelRewrite::Rule& rule) {
  MapReader reader(node, path, problems_);
  InferenceModelRewrite::Target target;
  target.model = reader.RequiredString("modelRewrite");
  if (reader.Has("weight")) {
    target.weight = static_cast<uint32_t>(reader.Int("weight", 1, {.min = 1, .max = kWeightMax}));
  }
  reader.Finish();
  rule.targets.push_back(std::move(target));
}

// Without the old group's objects that the new group has too.
template <class Object>
std::vector<Object> ObjectFile::Newer(std::vector<Found<Object>>& found, std::string_view kind) {
  std::set<std::string> new_names;
  for (const auto& one : found) {
    if (!one.old) new_names.insert(one.object.name);
  }
  std::vector<Object> kept;
  for (auto& one : found) {
    if (!one.old || !new_names.contains(one.object.name)) {
      kept.push_back(std::move(one.object));
    } else if (notices_ != nullptr) {
      notices_->push_back(std::string(kind) + " '" + one.object.name + "' of " + std::string(kOldApi) +
                          " is not used: " + std::string(kApi) + " has one of that name");
    }
  }
  return kept;
}

Result<InferenceObjects> ObjectFile::Finish(std::string_view what) {
  if (const Status status = problems_.ToStatus(what); !status) return tl::unexpected(status.error());
  if (notices_ != nullptr) {
    for (const auto& warning : problems_.warnings()) notices_->push_back(warning.Text());
  }
  return InferenceObjects(Newer(objectives_, kObjective), Newer(rewrites_, kRewrite));
}

}  // namespace

InferenceObjects::InferenceObjects(std::vector<InferenceObjective> objectives,
                                   std::vector<InferenceModelRewrite> rewrites) {
  for (InferenceObjective& objective : objectives) priorities_.emplace(std::move(objective.name), objective.priority);
  std::vector<size_t> by_age(rewrites.size());
  for (size_t i = 0; i < by_age.size(); ++i) by_age[i] = i;
  std::sort(by_age.begin(), by_age.end(), [&](size_t a, size_t b) {
    const auto key = [&](size_t i) {
      return std::tuple(rewrites[i].created.empty(), std::string_view(rewrites[i].created), i);
    };
    return key(a) < key(b);
  });
  for (const size_t next : by_age) {
    InferenceModelRewrite& rewrite = rewrites[next];
    for (InferenceModelRewrite::Rule& rule : rewrite.rules) {
      const size_t index = choices_.size();
      if (rule.models.empty() && !for_all_) for_all_ = index;
      for (std::string& model : rule.models) by_model_.emplace(std::move(model), index);
      Choice choice{.object = rewrite.name, .targets = {}, .weight_ends = {}};
      const bool weighted =
          std::any_of(rule.targets.begin(), rule.targets.end(), [](const auto& target) { return !!target.weight; });
      uint64_t end = 0;
      for (InferenceModelRewrite::Target& target : rule.targets) {
        end += weighted ? target.weight.value_or(0) : 1;
        choice.targets.push_back(std::move(target.model));
        choice.weight_ends.push_back(end);
      }
      choices_.push_back(std::move(choice));
    }
  }
}

Result<InferenceObjects> InferenceObjects::Parse(std::string_view text, std::string_view what, std::string_view pool,
                                                 std::vector<std::string>* notices) {
  const auto documents = codec::yaml::ParseAll(text);
  if (!documents) {
    return Fail(documents.error().code, std::string(what) + ": " + documents.error().message, documents.error().param);
  }
  ObjectFile file(pool, notices);
  for (size_t i = 0; i < documents->size(); ++i) {
    if ((*documents)[i].IsNull()) continue;  // what `---` at an end makes
    file.Read((*documents)[i], documents->size() == 1 ? "" : "[" + std::to_string(i) + "]", /*in_list=*/false);
  }
  return file.Finish(what);
}

int32_t InferenceObjects::PriorityOf(std::string_view objective) const {
  const auto it = priorities_.find(objective);
  return it == priorities_.end() ? 0 : it->second;
}

std::vector<int32_t> InferenceObjects::Priorities() const {
  std::set<int32_t> all;
  for (const auto& [name, priority] : priorities_) all.insert(priority);
  return {all.begin(), all.end()};
}

std::optional<InferenceObjects::Rewritten> InferenceObjects::Rewrite(std::string_view model, Rng& rng) const {
  const auto exact = by_model_.find(model);
  if (exact == by_model_.end() && !for_all_) return std::nullopt;
  const Choice& choice = choices_[exact != by_model_.end() ? exact->second : *for_all_];
  if (choice.targets.empty()) return Rewritten{"", choice.object};
  const uint64_t total = choice.weight_ends.back();
  if (total == 0) return Rewritten{"", choice.object};  // weights of 0, which only a caller's own struct can hold
  const uint64_t drawn = choice.targets.size() == 1 ? 0 : rng.Below(total);
  const auto end = std::upper_bound(choice.weight_ends.begin(), choice.weight_ends.end(), drawn);
  return Rewritten{choice.targets[static_cast<size_t>(end - choice.weight_ends.begin())], choice.object};
}

}  // namespace sluice::pool
