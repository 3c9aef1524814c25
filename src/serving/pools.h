// Pools: all pools of a gateway, and which of them a request goes to: by the model it names, which a pool may rewrite.
// Thread rule: the loop's thread. Ownership: owns the pools. Cost: a look-up in each pool.
#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/rng.h"
#include "model/request.h"
#include "parse/parser_table.h"
#include "serving/serving_pool.h"

namespace sluice::serving {

class Pools {
 public:
  // Names must differ.
  Status Add(std::unique_ptr<ServingPool> pool);
  void Start();

  const std::vector<std::unique_ptr<ServingPool>>& all() const { return pools_; }
  // The pool of that name; with an empty one the only pool there is. kNotFound with the nearest name.
  Result<ServingPool*> Find(std::string_view name) const;

  // How a body at this path is read, by the first pool that reads it. kInvalidArgument when none does.
  Result<parse::Route> RouteOf(std::string_view path) const;
  bool AnyParserClaims(std::string_view path) const;

  struct Choice {
    ServingPool* pool = nullptr;
    std::string_view rewrite;  // the InferenceModelRewrite that chose the target model; empty: none did
  };
  // The pool that serves the request; sets its target model and excludes endpoints that do not serve that.
  Result<Choice> Choose(const parse::Route& route, model::Request& request, Rng& rng) const;

 private:
  Result<Choice> ByModel(const parse::Route& route, model::Request& request, Rng& rng) const;

  std::vector<std::unique_ptr<ServingPool>> pools_;
};

}  // namespace sluice::serving
