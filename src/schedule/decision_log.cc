#include "schedule/decision_log.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include "base/text.h"
#include "codec/json/write.h"

namespace sluice::schedule {

using codec::JsonWriter;
using model::PoolView;

namespace {

constexpr std::string_view kFull = "{\"t\":\"full\"}\n";
constexpr size_t kMediaMax = size_t{64} << 10;  // of one address; longer ones are cut and the request marked

uint64_t Mix(uint64_t x) {  // splitmix64's finaliser
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

bool IsSecret(std::string_view header) {
  static constexpr std::array<std::string_view, 5> kNames = {"authorization", "proxy-authorization", "cookie",
                                                             "x-api-key", "api-key"};
  return std::any_of(kNames.begin(), kNames.end(),
                     [&](std::string_view name) { return EqualsIgnoreCase(name, header); });
}

std::string Hex(std::string_view bytes) {
  static constexpr std::string_view kDigits = "0123456789abcdef";
  std::string out;
  out.reserve(bytes.size() * 2);
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    out.push_back(kDigits[byte >> 4]);
    out.push_back(kDigits[byte & 15]);
  }
  return out;
}

// Text between two media is one piece: that the pieces were several is nothing a policy can see.
void WritePrompt(JsonWriter& json, const model::Prompt& prompt, uint64_t secret, bool& exact) {
  json.BeginObject();
  if (!prompt.tokens.empty()) {
    json.Key("tokens").BeginArray();
    for (const uint32_t token : prompt.tokens) json.Uint(Mix(secret ^ token) & 0x7fffffff);
    json.EndArray();
  }
  json.Key("parts").BeginArray();
  size_t media = 0;
  std::string text;
  const auto flush = [&] {
    if (!text.empty()) json.BeginObject().Field("text", Hex(Scramble(text, secret))).EndObject();
    text.clear();
  };
  for (size_t i = 0; i <= prompt.text.size(); ++i) {
    for (; media < prompt.media.size() && prompt.media[media].before_text <= i; ++media) {
      flush();
      const std::string_view content = prompt.media[media].content;
      exact = exact && content.size() <= kMediaMax;
      json.BeginObject().Field("media", static_cast<int>(prompt.media[media].kind));
      json.Field("content", Hex(content.substr(0, kMediaMax))).EndObject();
    }
    if (i < prompt.text.size()) text += prompt.text[i];
  }
  flush();
  json.EndArray().EndObject();
}

void WriteRequest(JsonWriter& json, const model::Request& request, uint64_t secret) {
  bool exact = true;
  json.BeginObject().Field("id", request.id).Field("model", request.model).Field("target_model", request.target_model);
  json.Field("body_bytes", request.body_bytes).Field("streaming", request.streaming);
  json.Field("priority", request.priority).Field("objective", request.objective);
  json.Field("fairness_id", request.fairness_id).Field("salt", Hex(Scramble(request.cache_salt, secret)));
  if (request.output_tokens_max) json.Field("output_max", *request.output_tokens_max);
  json.Key("headers").BeginArray();
  for (const auto& [name, value] : request.headers) {
    json.BeginArray().String(name).String(IsSecret(name) ? Hex(Scramble(value, secret)) : std::string(value));
    json.EndArray();
  }
  json.EndArray();
  if (request.subset) {
    json.Key("subset").BeginArray();
    for (const std::string& address : *request.subset) json.String(address);
    json.EndArray();
  }
  json.Key("excluded").BeginArray();
  for (const model::EndpointId id : request.excluded) {
    json.BeginArray().Uint(id.slot).Uint(id.generation).EndArray();
  }
  json.EndArray().Key("prompts").BeginArray();
  for (const model::Prompt& prompt : request.prompts) WritePrompt(json, prompt, secret, exact);
  json.EndArray().Field("exact", exact).EndObject();
}

bool SameRow(const PoolView& a, const PoolView& b, size_t row) {
  return a.waiting[row] == b.waiting[row] && a.running[row] == b.running[row] && a.kv_usage[row] == b.kv_usage[row] &&
         a.block_size[row] == b.block_size[row] && a.num_blocks[row] == b.num_blocks[row] &&
         a.scraped_at[row] == b.scraped_at[row] && a.in_rotation[row] == b.in_rotation[row];
}

void WriteNames(JsonWriter& json, std::string_view key, const std::vector<std::string>& names) {
  json.Key(key).BeginArray();
  for (const std::string& name : names) json.String(name);
  json.EndArray();
}

void WriteLora(JsonWriter& json, const PoolView& pool, const PoolView* was) {
  json.Key("lora").BeginArray();
  for (size_t row = 0; row < pool.size(); ++row) {
    if (was != nullptr && was->lora[row] == pool.lora[row]) continue;
    if (pool.lora[row] == nullptr) continue;  // an engine that had adapters keeps its last list
    json.BeginObject().Field("row", row).Field("max", pool.lora[row]->max);
    WriteNames(json, "active", pool.lora[row]->active);
    WriteNames(json, "waiting", pool.lora[row]->waiting);
    json.EndObject();
  }
  json.EndArray();
}

void WriteMatches(JsonWriter& json, std::span<const RecordedMatch> matches) {
  json.Key("matches").BeginArray();
  for (const RecordedMatch& match : matches) {
    json.BeginObject().Field("lane", match.lane).Field("producer", match.producer);
    json.Field("total", match.total_blocks).Field("block", match.block_size).Key("rows").BeginArray();
    for (const RecordedMatch::Row& row : match.rows) {
      json.BeginArray().Uint(row.row).Double(double{row.match}).Double(double{row.unweighted});
      json.Double(double{row.below_first_tier}).EndArray();
    }
    json.EndArray().EndObject();
  }
  json.EndArray();
}

// All columns when any number of them changed: few pools have any.
void WriteAttributes(JsonWriter& json, const PoolView& pool) {
  json.Key("attributes").BeginArray();
  for (const model::AttributeColumn& column : pool.attributes) {
    json.BeginObject().Field("key", column.key).Key("values").BeginArray();
    for (const float value : column.values) json.Double(double{value});
    json.EndArray().EndObject();
  }
  json.EndArray();
}

}  // namespace

std::string Scramble(std::string_view text, uint64_t secret) {
  std::string out(text);
  for (size_t at = 0; at < out.size(); at += 4) {
    const size_t n = std::min<size_t>(4, out.size() - at);
    uint32_t group = 0;
    std::memcpy(&group, out.data() + at, n);
    const uint64_t other = Mix(secret ^ group ^ uint64_t{n} << 32);
    std::memcpy(out.data() + at, &other, n);
  }
  return out;
}

uint64_t DecisionDigest(const model::Decision& decision) {
  uint64_t digest = decision.ok() ? 1 : 2;
  const auto add = [&](uint64_t value) { digest = Mix(digest + 0x9e3779b97f4a7c15 + value); };
  for (const model::ProfileReceipt& profile : decision.receipt.profiles) {
    add(profile.picked);
    add(profile.omitted);
    for (const model::ReceiptCandidate& candidate : profile.candidates) {
      add(Fnv1a64(candidate.endpoint->id));
      add(static_cast<uint64_t>(int64_t{candidate.verdict}));
      add(candidate.matched_blocks);
      add(std::bit_cast<uint32_t>(candidate.total));
      add(std::bit_cast<uint32_t>(candidate.data_age_ms));
    }
    // NaN is "no score", whichever bits it has.
    for (const float score : profile.scores) add(score == score ? std::bit_cast<uint32_t>(score) : 1);
  }
  if (decision.ok()) {
    add(decision.primary);
    for (const auto& profile : decision.profiles) {
      for (const model::Target& target : profile.targets) add(uint64_t{target.id.generation} << 32 | target.id.slot);
    }
    add(std::bit_cast<uint64_t>(decision.receipt.expected_ttft_ms));
  }
  return digest;
}

DecisionLog::DecisionLog(Sink sink, uint64_t seed, uint64_t secret, uint64_t bytes_max)
    : sink_(std::move(sink)), secret_(secret), bytes_max_(bytes_max) {
  JsonWriter(line_).BeginObject().Field("t", "log").Field("version", 1).Field("seed", std::to_string(seed)).EndObject();
  Write();
}

void DecisionLog::Write() {
  line_.push_back('\n');
  if (!full_ && bytes_ + line_.size() + kFull.size() > bytes_max_) {
    full_ = true;
    sink_(kFull);
  }
  if (!full_) {
    bytes_ += line_.size();
    sink_(line_);
  }
  line_.clear();
}

void DecisionLog::Policy(std::string_view lane, const LoadedConfig& config) {
  JsonWriter(line_)
      .BeginObject()
      .Field("t", "policy")
      .Field("lane", lane)
      .Field("experimental", config.options.allow_experimental_plugins)
      .Field("folder", config.options.folder)
      .Field("config", config.text)
      .EndObject();
  Write();
}

void DecisionLog::Latency(std::string_view state_json) {
  JsonWriter(line_).BeginObject().Field("t", "latency").Field("state", state_json).EndObject();
  Write();
}

void DecisionLog::Promote(std::string_view lane) {
  JsonWriter(line_).BeginObject().Field("t", "promote").Field("lane", lane).EndObject();
  Write();
}

void DecisionLog::Members(const PoolView& pool) {
  JsonWriter json(line_);
  json.BeginObject().Field("t", "members").Field("version", pool.members_version).Key("endpoints").BeginArray();
  for (size_t row = 0; row < pool.size(); ++row) {
    const model::Endpoint& endpoint = pool.endpoint(row);
    json.BeginObject().Field("id", endpoint.id).Field("name", endpoint.name).Field("ns", endpoint.ns);
    json.Field("address", endpoint.address).Field("port", endpoint.port).Key("labels").BeginObject();
    for (const auto& [key, value] : endpoint.labels) json.Field(key, value);
    json.EndObject().Field("slot", pool.id(row).slot).Field("generation", pool.id(row).generation).EndObject();
  }
  json.EndArray().EndObject();
  Write();
}

void DecisionLog::Rows(const PoolView& pool) {
  const PoolView* was = was_ != nullptr && was_->members_version == pool.members_version ? was_.get() : nullptr;
  JsonWriter json(line_);
  json.BeginObject().Field("t", "rows").Key("rows").BeginArray();
  for (size_t row = 0; row < pool.size(); ++row) {
    if (was != nullptr && SameRow(*was, pool, row)) continue;
    json.BeginArray().Uint(row).Double(double{pool.waiting[row]}).Double(double{pool.running[row]});
    json.Double(double{pool.kv_usage[row]}).Uint(pool.block_size[row]).Uint(pool.num_blocks[row]);
    json.Int(pool.scraped_at[row].time_since_epoch().count()).Uint(pool.in_rotation[row]).EndArray();
  }
  json.EndArray();
  WriteLora(json, pool, was);
  WriteAttributes(json, pool);
  json.EndObject();
  Write();
}

void DecisionLog::Decide(const model::Request& request, const PoolView& pool, const model::Decision& decision,
                         std::span<const RecordedMatch> matches, TimePoint now, bool acting) {
  if (full_) return;
  if (was_ == nullptr || was_->members_version != pool.members_version) Members(pool);
  if (was_ == nullptr || was_->version != pool.version) {
    Rows(pool);
    was_ = std::make_unique<PoolView>(pool);
  }
  JsonWriter json(line_);
  json.BeginObject().Field("t", "decide").Field("now", now.time_since_epoch().count()).Field("acting", acting);
  json.Key("request");
  WriteRequest(json, request, secret_);
  if (decision.ok()) {
    json.Key("pick").BeginArray().Uint(decision.pick().id.slot).Uint(decision.pick().id.generation).EndArray();
  } else {
    json.Field("pick", nullptr);
  }
  json.Field("digest", std::to_string(DecisionDigest(decision)));
  if (!matches.empty()) WriteMatches(json, matches);
  json.EndObject();
  Write();
}

void DecisionLog::Dispatch(uint64_t flight, TimePoint now) {
  JsonWriter(line_)
      .BeginObject()
      .Field("t", "dispatch")
      .Field("flight", flight)
      .Field("now", now.time_since_epoch().count())
      .EndObject();
  Write();
}

void DecisionLog::FirstChunk(uint64_t flight, TimePoint now) {
  JsonWriter(line_)
      .BeginObject()
      .Field("t", "first")
      .Field("flight", flight)
      .Field("now", now.time_since_epoch().count())
      .EndObject();
  Write();
}

void DecisionLog::End(uint64_t flight, const ResponseEnd& end, TimePoint now) {
  JsonWriter json(line_);
  json.BeginObject().Field("t", "end").Field("flight", flight).Field("now", now.time_since_epoch().count());
  json.Field("failed", end.failed).Key("usage").BeginArray();
  json.Int(end.prompt_tokens).Int(end.cached_tokens).Int(end.output_tokens).EndArray().EndObject();
  Write();
}

}  // namespace sluice::schedule
