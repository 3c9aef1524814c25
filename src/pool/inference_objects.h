// InferenceObjects: what InferenceObjective and InferenceModelRewrite resources say for one pool: which priority an
// objective's name has, and which model a request for a model is sent to (canaries, renamings).
// Kinds: llm-d.ai/v1alpha2, and inference.networking.x-k8s.io/v1alpha2 from before, which counts only where the new
// group has no object of that kind and name. Read from a file here (several documents, or a List); a watch on
// Kubernetes hands over the same structs.
// Rewriting: a rule that matches the model exactly goes before one for all models, then the older object, then the
// order within an object (and of objects of equal age: as given). Of the rule's targets one is drawn by weight; without
// weights each is as likely; where only some have weights the others are never drawn, as upstream does.
// Thread rule: immutable. Ownership: names returned are views into this value. Cost: two look-ups in a tree, and one
// draw over the targets. Limits: those of the YAML reader (1 MiB, 100,000 values).
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/rng.h"

namespace sluice::pool {

struct InferenceObjective {
  std::string name;
  int32_t priority = 0;  // below 0: sheddable
};

struct InferenceModelRewrite {
  struct Target {
    std::string model;
    std::optional<uint32_t> weight;  // from 1
  };
  struct Rule {
    std::vector<std::string> models;  // any of them; none: every model
    std::vector<Target> targets;      // none: the model becomes "", which no request may ask for
  };
  std::string name;
  std::string created;  // RFC 3339 in UTC, as Kubernetes writes it; empty: younger than any that has one
  std::vector<Rule> rules;
};

class InferenceObjects {
 public:
  struct Rewritten {
    std::string_view target;
    std::string_view object;  // the InferenceModelRewrite that said so
  };

  InferenceObjects() = default;
  InferenceObjects(std::vector<InferenceObjective> objectives, std::vector<InferenceModelRewrite> rewrites);

  // The objects of `text` whose poolRef names `pool`. `what` (a file's name) begins the error message, which has every
  // mistake with its line. `notices`: what was left out or is unlikely to be meant, one text each.
  static Result<InferenceObjects> Parse(std::string_view text, std::string_view what, std::string_view pool,
                                        std::vector<std::string>* notices);

  // 0 for a name that is not known.
  int32_t PriorityOf(std::string_view objective) const;
  // Each priority that an objective has, once, ascending.
  std::vector<int32_t> Priorities() const;
  // What a request for `model` is to ask for; nothing when no rule matches.
  std::optional<Rewritten> Rewrite(std::string_view model, Rng& rng) const;
  bool empty() const { return priorities_.empty() && choices_.empty(); }

 private:
  struct Choice {
    std::string object;
    std::vector<std::string> targets;
    std::vector<uint64_t> weight_ends;  // running sums; the last is the total
  };

  std::map<std::string, int32_t, std::less<>> priorities_;
  std::vector<Choice> choices_;                          // one for each rule
  std::map<std::string, size_t, std::less<>> by_model_;  // the choice that comes first
  std::optional<size_t> for_all_;
};

}  // namespace sluice::pool
