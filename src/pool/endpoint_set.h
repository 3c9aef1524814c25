// EndpointSet: the endpoints of a pool with their latest state and health; publishes PoolView snapshots.
// Thread rule: one owner; views may go to any thread. Ownership: endpoints are shared with the views.
// Cost: Replace O(n log n); View copies about 40 bytes an endpoint when something changed, else nothing.
#pragma once

#include <memory>
#include <vector>

#include "base/result.h"
#include "model/pool_view.h"
#include "pool/health.h"

namespace sluice::pool {

class EndpointSet {
 public:
  struct Options {
    size_t endpoints_max;
    HealthOptions health;
  };
  struct Change {
    std::vector<model::EndpointId> added;
    std::vector<model::EndpointId> removed;
    std::vector<model::EndpointId> updated;  // labels or name; same address, state kept
  };

  explicit EndpointSet(Options options) : options_(options) {}
  EndpointSet(const EndpointSet&) = delete;
  EndpointSet& operator=(const EndpointSet&) = delete;

  // Makes `endpoints` the whole set. One with the same id, address, port and scheme keeps its EndpointId, state and
  // health. Fails, and changes nothing, beyond endpoints_max or when an id is there twice.
  Result<Change> Replace(std::vector<model::Endpoint> endpoints);

  // nullptr when the endpoint is gone (a late scrape, a late answer).
  const model::Endpoint* Find(model::EndpointId id) const;
  const model::EndpointState* State(model::EndpointId id) const;
  const EndpointHealth* Health(model::EndpointId id) const;

  // Applies `edit(state)` and marks the view as changed; false when the endpoint is gone.
  template <class Edit>
  bool Update(model::EndpointId id, Edit&& edit) {
    Member* member = Get(id);
    if (member == nullptr) return false;
    edit(member->state);
    dirty_ = true;
    return true;
  }
  // Reports to the endpoint's health; true when it left or came back.
  bool ReportSuccess(model::EndpointId id);
  bool ReportConnectFailure(model::EndpointId id, TimePoint now, Rng& rng);
  // Endpoints out of rotation whose probe is due.
  std::vector<model::EndpointId> DueProbes(TimePoint now) const;

  std::vector<model::EndpointId> Ids() const;
  size_t size() const { return order_.size(); }

  // The present snapshot; the same pointer until something changes.
  std::shared_ptr<const model::PoolView> View();
  // The last snapshot, as long as nobody came, went or changed health since: new numbers alone can wait a moment where
  // a copy of a large pool for every request would cost too much.
  std::shared_ptr<const model::PoolView> RecentView() { return urgent_ || view_ == nullptr ? View() : view_; }

 private:
  struct Member {
    std::shared_ptr<const model::Endpoint> endpoint;  // null: the slot is free
    uint32_t generation = 0;
    model::EndpointState state;
    EndpointHealth health;
  };
  Member* Get(model::EndpointId id);
  const Member* Get(model::EndpointId id) const { return const_cast<EndpointSet*>(this)->Get(id); }
  uint32_t TakeSlot();
  void RebuildMembers();

  Options options_;
  std::vector<Member> slots_;
  std::vector<uint32_t> free_slots_;
  std::vector<uint32_t> order_;  // slots by row
  std::shared_ptr<const model::PoolMembers> members_ = std::make_shared<const model::PoolMembers>();
  uint64_t members_version_ = 0;
  uint64_t version_ = 0;
  bool dirty_ = true;
  bool urgent_ = true;  // dirty by more than numbers
  std::shared_ptr<const model::PoolView> view_;
};

}  // namespace sluice::pool
