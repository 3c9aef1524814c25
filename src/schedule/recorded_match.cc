#include "schedule/recorded_match.h"

namespace sluice::schedule {

RecordedMatch RecordedMatch::Of(std::string_view lane, std::string_view producer, const PrefixMatch& match) {
  RecordedMatch out{.lane = std::string(lane),
                    .producer = std::string(producer),
                    .total_blocks = match.total_blocks,
                    .block_size = match.block_size,
                    .rows = {}};
  for (size_t row = 0; row < match.match_blocks.size(); ++row) {
    const float held = match.CachedBlocks(row);
    if (match.match_blocks[row] == 0 && held == 0) continue;
    out.rows.push_back({static_cast<uint32_t>(row), match.match_blocks[row], held,
                        match.cpu_blocks.empty() ? 0 : match.cpu_blocks[row]});
  }
  return out;
}

const RecordedMatch* RecordedMatches::Find(std::string_view lane, std::string_view producer) const {
  const RecordedMatch* any = nullptr;
  for (const RecordedMatch& match : all) {
    if (match.producer != producer) continue;
    if (match.lane == lane) return &match;
    if (any == nullptr) any = &match;
  }
  return any;
}

}  // namespace sluice::schedule
