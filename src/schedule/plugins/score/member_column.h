// MemberColumn: one value an endpoint that depends on its labels and address alone, by row, worked out again only when
// endpoints come or go. Thread rule: lives in a PluginState, one owner. Ownership: keeps the members that it was worked
// out for, so that equal pointers mean equal members. Cost: O(endpoints) at a change, one comparison otherwise.
#pragma once

#include <memory>
#include <vector>

#include "model/pool_view.h"
#include "schedule/plugin.h"

namespace sluice::schedule {

template <class T>
class MemberColumn final : public PluginState {
 public:
  // The column by row; `of(endpoint)` gives a value.
  template <class Of>
  const std::vector<T>& For(const model::PoolView& pool, Of&& of) {
    if (members_ != pool.members) {
      members_ = pool.members;
      values_.clear();
      values_.reserve(members_->size());
      for (const auto& endpoint : members_->endpoints) values_.push_back(of(*endpoint));
    }
    return values_;
  }

 private:
  std::shared_ptr<const model::PoolMembers> members_;
  std::vector<T> values_;
};

}  // namespace sluice::schedule
