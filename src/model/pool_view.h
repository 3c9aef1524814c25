// PoolView: all endpoints at one instant, as columns. Immutable once published; scorers read whole columns.
// Row i is the same endpoint in every column. Who is in it changes rarely and is shared (`members`); numbers change
// with each scrape and are copied: about 40 bytes an endpoint a snapshot. Thread rule: any thread reads;
// pool::EndpointSet builds.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "model/endpoint.h"

namespace sluice::model {

struct PoolMembers {
  static constexpr uint32_t kNoRow = ~uint32_t{0};

  std::vector<std::shared_ptr<const Endpoint>> endpoints;
  std::vector<EndpointId> ids;
  std::vector<uint32_t> row_of_slot;  // kNoRow: nobody has this slot

  size_t size() const { return ids.size(); }
  // The row of `id`, or kNoRow when it is gone.
  uint32_t RowOf(EndpointId id) const {
    if (id.slot >= row_of_slot.size()) return kNoRow;
    const uint32_t row = row_of_slot[id.slot];
    return row != kNoRow && ids[row] == id ? row : kNoRow;
  }
};

// One scalar attribute of all endpoints, by row; NaN where an endpoint does not have it.
struct AttributeColumn {
  std::string key;  // "<name>/<extractor's instance>"
  std::vector<float> values;
};

struct PoolView {
  std::shared_ptr<const PoolMembers> members = std::make_shared<const PoolMembers>();
  uint64_t version = 0;          // of this snapshot; grows
  uint64_t members_version = 0;  // grows when endpoints come or go

  std::vector<float> waiting;
  std::vector<float> running;
  std::vector<float> kv_usage;
  std::vector<uint32_t> block_size;
  std::vector<uint32_t> num_blocks;
  std::vector<TimePoint> scraped_at;
  std::vector<uint8_t> in_rotation;  // 0: health took it out; not a candidate
  std::vector<std::shared_ptr<const LoraState>> lora;
  std::vector<AttributeColumn> attributes;  // few; a linear search finds one

  size_t size() const { return members->size(); }
  const Endpoint& endpoint(size_t row) const { return *members->endpoints[row]; }
  EndpointId id(size_t row) const { return members->ids[row]; }
  // The column of that key, or nullptr when no endpoint has it.
  const std::vector<float>* Attribute(std::string_view key) const {
    for (const AttributeColumn& column : attributes) {
      if (column.key == key) return &column.values;
    }
    return nullptr;
  }
};

}  // namespace sluice::model
