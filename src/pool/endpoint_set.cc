#include "pool/endpoint_set.h"

#include <algorithm>
#include <limits>
#include <string>
#include <unordered_map>
#include <unordered_set>

namespace sluice::pool {

using model::Endpoint;
using model::EndpointId;

EndpointSet::Member* EndpointSet::Get(EndpointId id) {
  if (id.slot >= slots_.size()) return nullptr;
  Member& member = slots_[id.slot];
  return member.endpoint != nullptr && member.generation == id.generation ? &member : nullptr;
}

uint32_t EndpointSet::TakeSlot() {
  uint32_t slot;
  if (!free_slots_.empty()) {
    slot = free_slots_.back();
    free_slots_.pop_back();
  } else {
    slot = static_cast<uint32_t>(slots_.size());
    slots_.push_back(Member{nullptr, 0, {}, EndpointHealth(options_.health)});
  }
  Member& member = slots_[slot];
  ++member.generation;
  member.state = {};
  member.health = EndpointHealth(options_.health);
  return slot;
}

Result<EndpointSet::Change> EndpointSet::Replace(std::vector<Endpoint> endpoints) {
  if (endpoints.size() > options_.endpoints_max) {
    return Fail(Code::kTooLarge, std::to_string(endpoints.size()) + " endpoints; a pool has at most " +
                                     std::to_string(options_.endpoints_max));
  }
  std::unordered_set<std::string_view> seen;
  for (const Endpoint& endpoint : endpoints) {
    if (!seen.insert(endpoint.id).second) {
      return Fail(Code::kInvalidArgument, "endpoint \"" + endpoint.id + "\" is there twice");
    }
  }
  std::unordered_map<std::string, uint32_t> old_slots;
  for (const uint32_t slot : order_) old_slots.emplace(slots_[slot].endpoint->id, slot);

  Change change;
  std::vector<uint32_t> order;
  std::vector<Endpoint*> fresh;
  for (Endpoint& endpoint : endpoints) {
    const auto old = old_slots.find(endpoint.id);
    const bool same_place = old != old_slots.end() && slots_[old->second].endpoint->address == endpoint.address &&
                            slots_[old->second].endpoint->port == endpoint.port &&
                            slots_[old->second].endpoint->scheme == endpoint.scheme;
    if (!same_place) {
      order.push_back(~uint32_t{0});  // gets a slot once those that leave have given theirs back
      fresh.push_back(&endpoint);
      continue;
    }
    const uint32_t slot = old->second;
    old_slots.erase(old);
    order.push_back(slot);
    if (*slots_[slot].endpoint == endpoint) continue;
    slots_[slot].endpoint = std::make_shared<const Endpoint>(std::move(endpoint));
    change.updated.push_back({slot, slots_[slot].generation});
  }
  for (const auto& [id, slot] : old_slots) {
    change.removed.push_back({slot, slots_[slot].generation});
    slots_[slot].endpoint.reset();
    free_slots_.push_back(slot);
  }
  std::sort(free_slots_.begin(), free_slots_.end(), std::greater<>());  // lowest first: slots stay dense and repeatable
  auto next = fresh.begin();
  for (uint32_t& slot : order) {
    if (slot != ~uint32_t{0}) continue;
    slot = TakeSlot();
    slots_[slot].endpoint = std::make_shared<const Endpoint>(std::move(**next++));
    change.added.push_back({slot, slots_[slot].generation});
  }
  if (order == order_ && change.updated.empty() && change.added.empty()) return change;
  order_ = std::move(order);
  RebuildMembers();
  return change;
}

void EndpointSet::RebuildMembers() {
  auto members = std::make_shared<model::PoolMembers>();
  members->row_of_slot.assign(slots_.size(), model::PoolMembers::kNoRow);
  for (const uint32_t slot : order_) {
    members->row_of_slot[slot] = static_cast<uint32_t>(members->ids.size());
    members->ids.push_back({slot, slots_[slot].generation});
    members->endpoints.push_back(slots_[slot].endpoint);
  }
  members_ = std::move(members);
  ++members_version_;
  dirty_ = true;
  urgent_ = true;
}

const Endpoint* EndpointSet::Find(EndpointId id) const {
  const Member* member = Get(id);
  return member != nullptr ? member->endpoint.get() : nullptr;
}
const model::EndpointState* EndpointSet::State(EndpointId id) const {
  const Member* member = Get(id);
  return member != nullptr ? &member->state : nullptr;
}
const EndpointHealth* EndpointSet::Health(EndpointId id) const {
  const Member* member = Get(id);
  return member != nullptr ? &member->health : nullptr;
}

bool EndpointSet::ReportSuccess(EndpointId id) {
  Member* member = Get(id);
  const bool changed = member != nullptr && member->health.OnSuccess();
  dirty_ |= changed;
  urgent_ |= changed;
  return changed;
}

bool EndpointSet::ReportConnectFailure(EndpointId id, TimePoint now, Rng& rng) {
  Member* member = Get(id);
  const bool changed = member != nullptr && member->health.OnConnectFailure(now, rng);
  dirty_ |= changed;
  urgent_ |= changed;
  return changed;
}

std::vector<EndpointId> EndpointSet::DueProbes(TimePoint now) const {
  std::vector<EndpointId> due;
  for (const uint32_t slot : order_) {
    if (slots_[slot].health.ProbeDue(now)) due.push_back({slot, slots_[slot].generation});
  }
  return due;
}

std::vector<EndpointId> EndpointSet::Ids() const { return members_->ids; }

namespace {

std::vector<float>& ColumnOf(const std::string& key, size_t rows, std::vector<model::AttributeColumn>& columns) {
  for (model::AttributeColumn& column : columns) {
    if (column.key == key) return column.values;
  }
  return columns.emplace_back(key, std::vector<float>(rows, std::numeric_limits<float>::quiet_NaN())).values;
}

}  // namespace

std::shared_ptr<const model::PoolView> EndpointSet::View() {
  if (!dirty_ && view_ != nullptr) return view_;
  auto view = std::make_shared<model::PoolView>();
  view->members = members_;
  view->members_version = members_version_;
  view->version = ++version_;
  const size_t n = order_.size();
  view->waiting.resize(n);
  view->running.resize(n);
  view->kv_usage.resize(n);
  view->block_size.resize(n);
  view->num_blocks.resize(n);
  view->scraped_at.resize(n);
  view->in_rotation.resize(n);
  view->lora.resize(n);
  for (size_t row = 0; row < n; ++row) {
    const Member& member = slots_[order_[row]];
    view->waiting[row] = member.state.waiting;
    view->running[row] = member.state.running;
    view->kv_usage[row] = member.state.kv_usage;
    view->block_size[row] = member.state.block_size;
    view->num_blocks[row] = member.state.num_blocks;
    view->scraped_at[row] = member.state.scraped_at;
    view->in_rotation[row] = member.health.in_rotation() ? 1 : 0;
    view->lora[row] = member.state.lora;
    for (const model::ScalarAttribute& attribute : member.state.attributes) {
      ColumnOf(attribute.key, n, view->attributes)[row] = attribute.value;
    }
  }
  view_ = std::move(view);
  dirty_ = false;
  urgent_ = false;
  return view_;
}

}  // namespace sluice::pool
