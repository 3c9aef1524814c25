// Candidates: the endpoints that a decision is still choosing among, as rows of the PoolView, with the hot columns
// gathered so that scorers walk contiguous floats. While nothing was filtered the pool's own columns are handed out.
// Thread rule: owned by one PolicyState. Cost: a column is gathered at most once after a change of rows.
#pragma once

#include <cstdint>
#include <numeric>
#include <span>
#include <vector>

#include "model/pool_view.h"

namespace sluice::schedule {

class Candidates {
 public:
  void Reset(const model::PoolView& pool) {
    pool_ = &pool;
    rows_.clear();
    Changed();
  }
  void CopyFrom(const Candidates& other) {
    pool_ = other.pool_;
    rows_.assign(other.rows_.begin(), other.rows_.end());
    Changed();
  }
  // All rows of the pool for which keep(row).
  template <class KeepRow>
  void AddIf(KeepRow&& keep) {
    const auto n = static_cast<uint32_t>(pool_->size());
    rows_.resize(n);
    size_t out = 0;
    for (uint32_t row = 0; row < n; ++row) {  // without a branch: writes always, steps when it is kept
      rows_[out] = row;
      out += keep(row) ? 1 : 0;
    }
    rows_.resize(out);
  }
  void AddAll() {
    rows_.resize(pool_->size());
    std::iota(rows_.begin(), rows_.end(), 0u);
  }
  // Keeps those with keep[i] != 0; calls dropped(row) for the others.
  template <class Dropped>
  void Compact(std::span<const uint8_t> keep, Dropped&& dropped) {
    size_t out = 0;
    for (size_t i = 0; i < rows_.size(); ++i) {
      if (keep[i] != 0) {
        rows_[out++] = rows_[i];
      } else {
        dropped(rows_[i]);
      }
    }
    if (out == rows_.size()) return;
    rows_.resize(out);
    Changed();
  }

  size_t size() const { return rows_.size(); }
  bool empty() const { return rows_.empty(); }
  std::span<const uint32_t> rows() const { return rows_; }
  uint32_t row(size_t i) const { return rows_[i]; }
  const model::PoolView& pool() const { return *pool_; }

  std::span<const float> waiting() const { return Cached(pool_->waiting, waiting_); }
  std::span<const float> running() const { return Cached(pool_->running, running_); }
  std::span<const float> kv_usage() const { return Cached(pool_->kv_usage, kv_usage_); }

  // One value a candidate of a column that is by row. `scratch` holds it unless nothing was filtered.
  std::span<const float> Gather(const std::vector<float>& column, std::vector<float>& scratch) const {
    if (rows_.size() == pool_->size()) return column;  // rows are ascending and distinct
    scratch.resize(rows_.size());
    for (size_t i = 0; i < rows_.size(); ++i) scratch[i] = column[rows_[i]];
    return scratch;
  }
  // For a plugin that needs one such column at a time.
  std::span<const float> Gather(const std::vector<float>& column) const { return Gather(column, any_); }

 private:
  struct Column {
    std::vector<float> values;
    bool valid = false;
  };
  void Changed() { waiting_.valid = running_.valid = kv_usage_.valid = false; }
  std::span<const float> Cached(const std::vector<float>& column, Column& cache) const {
    if (rows_.size() == pool_->size()) return column;
    if (!cache.valid) {
      Gather(column, cache.values);
      cache.valid = true;
    }
    return cache.values;
  }

  const model::PoolView* pool_ = nullptr;
  std::vector<uint32_t> rows_;
  mutable Column waiting_, running_, kv_usage_;
  mutable std::vector<float> any_;
};

}  // namespace sluice::schedule
