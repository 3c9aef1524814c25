// request-attribute-reporter: numbers computed from an answer's token usage, reported under a name when it ends (behind
// Envoy as dynamic metadata, where rate limiters and billing read them).
#pragma once

#include "schedule/plugin.h"
#include "schedule/plugins/report/cel_expression.h"

namespace sluice::schedule {

class RequestAttributeReporter final : public Plugin, public Hooks {
 public:
  static const PluginInfo kInfo;
  RequestAttributeReporter(const PluginInfo& info, std::string name, const Params& params,
                           codec::yaml::Problems& problems);
  void OnEnd(const Ticket& ticket, const ResponseEnd& end, PluginState* state,
             ReportedAttributes& attributes) const override;

 private:
  struct Attribute {
    std::string name;  // "<namespace>/<name>"
    CelExpression expression;
    std::optional<CelExpression> condition;
  };
  std::vector<Attribute> attributes_;
};

}  // namespace sluice::schedule
