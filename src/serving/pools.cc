#include "serving/pools.h"

#include <algorithm>
#include <optional>

#include "base/text.h"

namespace sluice::serving {

Status Pools::Add(std::unique_ptr<ServingPool> pool) {
  for (const auto& other : pools_) {
    if (other->name() == pool->name()) {
      return Fail(Code::kInvalidArgument, "two pools are named '" + other->name() + "'; give each its own --pool-name");
    }
  }
  pools_.push_back(std::move(pool));
  return {};
}

void Pools::Start() {
  for (const auto& pool : pools_) pool->Start();
}

Result<ServingPool*> Pools::Find(std::string_view name) const {
  if (name.empty() && pools_.size() == 1) return pools_.front().get();
  std::vector<std::string> names;
  for (const auto& pool : pools_) {
    if (pool->name() == name) return pool.get();
    names.push_back(pool->name());
  }
  if (name.empty()) return Fail(Code::kInvalidArgument, "there are several pools; say which one (pool=NAME)");
  return Fail(Code::kNotFound, "there is no pool '" + std::string(name) + "'" + DidYouMean(name, names));
}

Result<parse::Route> Pools::RouteOf(std::string_view path) const {
  std::optional<parse::Route> fallback;
  for (const auto& pool : pools_) {
    auto route = pool->parsers().For(path);
    if (route && route->api != parse::Api::kOpaque) return *route;
    if (route && !fallback) fallback = *route;
  }
  if (fallback) return *fallback;
  return parse::ParserTable().For(path);  // none: says so
}

bool Pools::AnyParserClaims(std::string_view path) const {
  for (const auto& pool : pools_) {
    if (pool->parsers().Claims(path)) return true;
  }
  return false;
}

Result<Pools::Choice> Pools::Choose(const parse::Route& route, model::Request& request, Rng& rng) const {
  if (route.api != parse::Api::kOpaque) return ByModel(route, request, rng);
  // A body that nobody reads names no model: it goes to the first pool that takes such.
  for (const auto& pool : pools_) {
    if (pool->parsers().has_fallback()) return Choice{pool.get(), {}};
  }
  return Fail(Code::kUnavailable, "no pool passes such requests on");
}

Result<Pools::Choice> Pools::ByModel(const parse::Route& route, model::Request& request, Rng& rng) const {
  if (request.model.empty()) {
    if (pools_.size() == 1) return Choice{pools_.front().get(), {}};
    return Fail(Code::kInvalidArgument,
                "the request names no `model`, and several are served; GET /v1/models lists them", "model");
  }
  // A rule for the model wins over the header, and the header over the body, as upstream.
  for (const bool rewritten : {true, false}) {
    for (const auto& pool : pools_) {
      std::string_view target = request.target_model, rewrite;
      if (rewritten) {
        const auto rule = route.parser->can_rewrite_model ? pool->objects().Rewrite(request.model, rng) : std::nullopt;
        if (!rule) continue;
        if (rule->target.empty()) return Fail(Code::kInvalidArgument, "model not found in request body", "model");
        target = rule->target;
        rewrite = rule->object;
      }
      if (!pool->Serves(target, request.excluded)) continue;
      if (rewritten) request.target_model = target;
      return Choice{pool.get(), rewrite};
    }
  }
  const bool any_known =
      std::any_of(pools_.begin(), pools_.end(), [](const auto& pool) { return pool->AnyModelKnown(); });
  // With one pool there is no doubt where it belongs: endpoints that have not told their models yet are tried.
  if (!any_known && pools_.size() == 1 && pools_.front()->View()->size() > 0) return Choice{pools_.front().get(), {}};
  if (any_known) return Fail(Code::kNotFound, "The model `" + request.model + "` does not exist.", "model");
  return Fail(Code::kUnavailable,
              "no endpoint has answered yet; try again in a moment (`sluice get` shows their state)");
}

}  // namespace sluice::serving
