// What CacheFeed knows, for people and programs: GET /debug/cache.
#include <array>
#include <cstdio>

#include "serving/cache_index.h"

namespace sluice::serving {

using kvindex::Trust;

namespace {

constexpr size_t kCellsMax = 1'000'000;  // of the index looked at for the tiers; beyond it they are extrapolated

double Share(uint64_t part, uint64_t whole) {
  return whole == 0 ? 0 : static_cast<double>(part) / static_cast<double>(whole);
}

const kvindex::PrefixIndex::HoldingCounts* CountsOf(const std::vector<kvindex::PrefixIndex::HoldingCounts>& all,
                                                    model::EndpointId id) {
  for (const auto& counts : all) {
    if (counts.endpoint == id) return &counts;
  }
  return nullptr;
}

std::string Number(double value, const char* format) {
  char text[48];
  std::snprintf(text, sizeof text, format, value);
  return text;
}

std::string Line(const std::vector<std::string>& cells, const std::vector<size_t>& widths) {
  std::string line;
  for (size_t i = 0; i < cells.size(); ++i) {
    line += cells[i];
    if (i + 1 < cells.size()) line.append(widths[i] - cells[i].size() + 2, ' ');
  }
  return line + "\n";
}

}  // namespace

// [{"block_size","hash","lookups","entries","bytes","bytes_max","evicted","refused","problem": null or text,
//   "endpoints":[{"endpoint","name","events","replay","trust": "exact" or why not,"degraded","since_s","connected",
//     "problem","entries","bytes","tiers":{name: blocks},"last_event_s": null or
//     seconds,"last_sequence","batches","gaps",
//     "restarts","resyncs","replays","replay_failures","lost","answers","hit_rate","predicted":{"exact","over","under",
//     "untrusted","tokens"},"cached_tokens","prompt_tokens"}]}]
void CacheFeed::Write(codec::JsonWriter& json) const {
  json.BeginArray();
  for (const auto& feed : feeds_) WriteFeed(json, *feed);
  json.EndArray();
}

void CacheFeed::WriteFeed(codec::JsonWriter& json, const Feed& feed) const {
  const kvindex::PrefixIndex& index = feed.index->index;
  const auto stats = index.Read();
  const auto counts = index.CountHoldings(kCellsMax);
  const auto text_or_null = [&](std::string_view key, const std::string& text) {
    text.empty() ? json.Field(key, nullptr) : json.Field(key, text);
  };
  json.BeginObject().Field("block_size", feed.settings.block_size_tokens);
  json.Field("hash", kvindex::Name(feed.settings.hash_algorithm)).Field("lookups", feed.index->lookups());
  json.Field("entries", stats.holders).Field("bytes", stats.bytes).Field("bytes_max", stats.bytes_max);
  json.Field("evicted", stats.evicted).Field("refused", stats.refused);
  text_or_null("problem", feed.problem);
  json.Key("endpoints").BeginArray();
  for (const auto& [host_port, seen] : feed.seen) {
    const kvindex::FeedStatus& status = seen.status;
    const Record record = feed.index->RecordOf(status.id);
    json.BeginObject().Field("endpoint", host_port).Field("name", seen.endpoint.name);
    text_or_null("events", seen.source.endpoint.empty() ? feed.settings.events.bind_endpoint : seen.source.endpoint);
    text_or_null("replay", seen.source.replay_endpoint);
    const Trust trust = index.TrustOf(status.id);
    json.Field("trust", kvindex::Name(trust)).Field("degraded", trust != Trust::kExact);
    json.Field("since_s", status.trust_seconds).Field("connected", status.connected);
    text_or_null("problem", seen.problem);
    json.Field("entries", status.held);
    json.Field("bytes", static_cast<uint64_t>(static_cast<double>(stats.bytes) * Share(status.held, stats.holders)));
    json.Key("tiers").BeginObject();
    if (const auto* held = CountsOf(counts, status.id)) {
      for (size_t h = 0; h < held->blocks.size(); ++h) {
        const auto holding = static_cast<kvindex::Holding>(h);
        if (held->blocks[h] > 0) json.Field(index.HoldingName(holding), held->blocks[h]);
      }
    }
    json.EndObject().Key("last_event_s");
    seen.heard == TimePoint{} ? json.Null() : json.Double(Seconds(clock_.Now() - seen.heard));
    json.Key("last_sequence");
    status.last_sequence ? json.Uint(*status.last_sequence) : json.Null();
    json.Field("batches", status.feed.batches).Field("gaps", status.feed.gaps);
    json.Field("restarts", status.feed.restarts).Field("resyncs", status.feed.resyncs);
    json.Field("replays", status.feed.replays).Field("replay_failures", status.feed.replay_failures);
    json.Field("lost", status.feed.malformed + status.feed.broken + status.blocks.lost_parents);
    json.Field("answers", record.answers).Field("hit_rate", Share(record.cached_tokens, record.prompt_tokens));
    json.Key("predicted").BeginObject().Field("exact", record.exact).Field("over", record.over);
    json.Field("under", record.under).Field("untrusted", record.untrusted).Field("tokens", record.predicted_tokens);
    json.EndObject().Field("cached_tokens", record.cached_tokens).Field("prompt_tokens", record.prompt_tokens);
    json.EndObject();
  }
  json.EndArray().EndObject();
}

std::string CacheFeed::Table() const {
  std::string out;
  for (const auto& feed : feeds_) {
    const kvindex::PrefixIndex& index = feed->index->index;
    const auto stats = index.Read();
    const auto counts = index.CountHoldings(kCellsMax);
    out += "pool " + pool_ + ": " + std::to_string(stats.holders) + " blocks of " +
           std::to_string(feed->settings.block_size_tokens) + " tokens, " +
           Number(static_cast<double>(stats.bytes) / 1048576, "%.1f") + " of " +
           Number(static_cast<double>(stats.bytes_max) / 1048576, "%.0f") + " MiB, " +
           std::to_string(feed->index->lookups()) + " lookups, " + std::to_string(stats.evicted) + " evicted\n";
    if (!feed->problem.empty()) out += "  " + feed->problem + "\n";
    std::vector<std::vector<std::string>> rows = {{"  ENDPOINT", "STATE", "FOR", "ENTRIES", "KIB", "TIERS", "HIT-RATE",
                                                   "PREDICTED", "LAST-EVENT", "GAPS", "LOST"}};
    for (const auto& [host_port, seen] : feed->seen) {
      const Record record = feed->index->RecordOf(seen.status.id);
      std::string tiers;
      if (const auto* held = CountsOf(counts, seen.status.id)) {
        for (size_t h = 0; h < held->blocks.size(); ++h) {
          if (held->blocks[h] == 0) continue;
          tiers += (tiers.empty() ? "" : ",") + index.HoldingName(static_cast<kvindex::Holding>(h)) + "=" +
                   std::to_string(held->blocks[h]);
        }
      }
      const uint64_t compared = record.exact + record.over + record.under;
      const auto& feed_counts = seen.status.feed;
      rows.push_back(
          {"  " + host_port, seen.problem.empty() ? std::string(Name(index.TrustOf(seen.status.id))) : "failed",
           Number(seen.status.trust_seconds, "%.0fs"), std::to_string(seen.status.held),
           Number(static_cast<double>(stats.bytes) * Share(seen.status.held, stats.holders) / 1024, "%.0f"),
           tiers.empty() ? "-" : tiers,
           record.answers == 0 ? "-" : Number(100 * Share(record.cached_tokens, record.prompt_tokens), "%.1f%%"),
           compared == 0 ? "-" : Number(100 * Share(record.exact, compared), "%.1f%%"),
           seen.heard == TimePoint{} ? "-" : Number(Seconds(clock_.Now() - seen.heard), "%.1fs"),
           std::to_string(feed_counts.gaps),
           std::to_string(feed_counts.malformed + feed_counts.broken + seen.status.blocks.lost_parents)});
    }
    std::vector<size_t> widths(rows[0].size(), 0);
    for (const auto& row : rows) {
      for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
    }
    for (const auto& row : rows) out += Line(row, widths);
    for (const auto& [host_port, seen] : feed->seen) {
      if (!seen.problem.empty()) out += "  " + host_port + ": " + seen.problem + "\n";
    }
  }
  return out;
}

}  // namespace sluice::serving
