#include "schedule/receipt_text.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>
#include <vector>

#include "codec/json/write.h"

namespace sluice::schedule {
namespace {

using codec::JsonWriter;
using model::ProfileReceipt;
using model::Receipt;
using model::ReceiptCandidate;

constexpr std::string_view kExact = "exact";  // kvindex::Name(Trust::kExact)

// The double that prints as the float does: 0.7f as 0.7 and not as 0.699999988.
double Printable(float value) {
  char text[32];
  const auto [end, error] = std::to_chars(text, text + sizeof text, value);
  double same = value;
  if (error == std::errc{}) std::from_chars(text, end, same);
  return same;
}

std::string_view Outcome(const Receipt& receipt) {
  if (!receipt.error) return "picked";
  return receipt.dropped_reason.empty() ? "error" : receipt.dropped_reason;
}

std::string VerdictText(const Receipt& receipt, const ProfileReceipt& profile, const ReceiptCandidate& candidate) {
  if (candidate.verdict <= model::kScreenedOut && receipt.screeners != nullptr) {
    return "screened out by " + (*receipt.screeners)[static_cast<size_t>(model::kScreenedOut - candidate.verdict)];
  }
  switch (candidate.verdict) {
    case model::kCandidate:
      return "candidate";
    case model::kNotInRotation:
      return "out of rotation";
    case model::kNotInSubset:
      return "not in the requested subset";
    case model::kExcludedEarlier:
      return "tried already";
    default:
      break;
  }
  return "dropped by " + profile.columns->filters[static_cast<size_t>(candidate.verdict)];
}

uint32_t MatchedTokens(const Receipt& receipt, const ReceiptCandidate& candidate) {
  const uint64_t tokens = uint64_t{candidate.matched_blocks} * receipt.block_size;
  return static_cast<uint32_t>(std::min<uint64_t>(tokens, receipt.prompt_tokens));
}

void WriteNumber(JsonWriter& json, std::string_view name, float value) {
  if (std::isfinite(value)) {
    json.Field(name, Printable(value));
  } else {
    json.Field(name, nullptr);
  }
}

void WriteFilters(JsonWriter& json, const ProfileReceipt& profile, const ReceiptCandidate& candidate) {
  json.Key("filters").BeginObject();
  const size_t seen = candidate.verdict == model::kCandidate ? profile.columns->filters.size()
                      : candidate.verdict >= 0               ? static_cast<size_t>(candidate.verdict) + 1
                                                             : 0;
  for (size_t f = 0; f < seen; ++f) {
    json.Field(profile.columns->filters[f], static_cast<int>(f) == candidate.verdict ? "drop" : "pass");
  }
  json.EndObject();
}

void WriteCached(JsonWriter& json, const Receipt& receipt, const model::CacheShare& cached) {
  json.Key("cached").BeginObject().Field("predicted_tokens", cached.cached_tokens).Key("tiers").BeginObject();
  for (size_t way = 0; way < cached.blocks.size(); ++way) {
    if (cached.blocks[way] == 0) continue;
    json.Field(model::CacheShare::Name(static_cast<model::CacheShare::Way>(way)),
               uint64_t{cached.blocks[way]} * receipt.block_size);
  }
  json.EndObject().Field("age_s", cached.age_seconds).Field("trust", cached.trust).EndObject();
}

// "480 gpu, 32 cpu", and why it may be wrong.
std::string TiersText(const Receipt& receipt, const model::CacheShare* cached) {
  if (cached == nullptr) return "";
  std::string text;
  for (size_t way = 0; way < cached->blocks.size(); ++way) {
    if (cached->blocks[way] == 0) continue;
    text += (text.empty() ? "" : ", ") + std::to_string(uint64_t{cached->blocks[way]} * receipt.block_size) + " " +
            std::string(model::CacheShare::Name(static_cast<model::CacheShare::Way>(way)));
  }
  if (cached->trust != kExact) text += (text.empty() ? "(" : " (") + std::string(cached->trust) + ")";
  return text.empty() ? "-" : text;
}

// What the pick's producer expects the engine to have cached, or below 0.
int64_t PredictedTokens(const Receipt& receipt) {
  if (receipt.error || receipt.profiles.empty()) return -1;
  const model::CacheShare* cached = receipt.profiles[receipt.primary].CachedOf(0);
  return cached != nullptr ? int64_t{cached->cached_tokens} : -1;
}

void WriteCandidate(JsonWriter& json, const Receipt& receipt, const ProfileReceipt& profile, size_t index) {
  const ReceiptCandidate& candidate = profile.candidates[index];
  const auto scores = profile.ScoresOf(index);
  const auto& scorers = profile.columns->scorers;
  json.BeginObject().Field("endpoint", candidate.endpoint->host_port()).Field("name", candidate.endpoint->id);
  json.Field("verdict", VerdictText(receipt, profile, candidate));
  WriteFilters(json, profile, candidate);
  json.Field("matched_tokens", MatchedTokens(receipt, candidate));
  if (const auto* cached = profile.CachedOf(index)) WriteCached(json, receipt, *cached);
  WriteNumber(json, "data_age_ms", candidate.data_age_ms);
  if (std::isfinite(candidate.predicted_ttft_ms)) {
    WriteNumber(json, "predicted_ttft_ms", candidate.predicted_ttft_ms);
  }
  json.Key("scores").BeginObject();
  for (size_t s = 0; s < scorers.size() && candidate.verdict == model::kCandidate; ++s) {
    WriteNumber(json, scorers[s].name, scores[s]);
  }
  json.EndObject().Key("weighted").BeginObject();
  for (size_t s = 0; s < scorers.size() && candidate.verdict == model::kCandidate; ++s) {
    WriteNumber(json, scorers[s].name, scores[s] * scorers[s].weight);
  }
  json.EndObject();
  WriteNumber(json, "total", candidate.total);
  json.EndObject();
}

void WriteProfile(JsonWriter& json, const Receipt& receipt, const ProfileReceipt& profile) {
  const auto endpoint = [&](bool there, size_t index) {
    there ? json.String(profile.candidates[index].endpoint->host_port()) : json.Null();
  };
  json.Field("profile", profile.columns->profile);
  json.Key("pick");
  endpoint(profile.picked > 0 && !receipt.error, 0);
  json.Key("runner_up");
  endpoint(profile.runner_up != ProfileReceipt::kNone, profile.runner_up);
  json.Key("weights").BeginObject();
  for (const auto& scorer : profile.columns->scorers) WriteNumber(json, scorer.name, scorer.weight);
  json.EndObject();
  json.Key("candidates").BeginArray();
  for (size_t i = 0; i < profile.candidates.size(); ++i) WriteCandidate(json, receipt, profile, i);
  json.EndArray().Field("candidates_omitted", profile.omitted);
}

void WriteObserved(JsonWriter& json, const Receipt& receipt, const model::Observed& observed) {
  const auto measured = [&](std::string_view name, double value) {
    value >= 0 ? json.Field(name, value) : json.Field(name, nullptr);
  };
  json.Key("observed").BeginObject().Field("served_by", observed.served_by).Field("http_status", observed.http_status);
  measured("ttft_ms", observed.ttft_ms);
  measured("e2e_ms", observed.e2e_ms);
  measured("cached_tokens", static_cast<double>(observed.cached_tokens));
  if (const int64_t predicted = PredictedTokens(receipt); predicted >= 0) json.Field("predicted_tokens", predicted);
  json.Key("attributes").BeginObject();
  for (const auto& [name, value] : observed.attributes) json.Field(name, value);
  json.EndObject().EndObject();
}

std::string NumberText(float value) {
  if (!std::isfinite(value)) return "-";
  char text[32];
  const auto [end, error] = std::to_chars(text, text + sizeof text, value, std::chars_format::fixed, 3);
  return error == std::errc{} ? std::string(text, end) : "-";
}

// Rows with columns as wide as their widest cell; the first column to the left, numbers to the right.
std::string Align(const std::vector<std::vector<std::string>>& rows) {
  std::vector<size_t> widths;
  for (const auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  std::string out;
  for (const auto& row : rows) {
    std::string line;
    for (size_t i = 0; i < row.size(); ++i) {
      const std::string pad(widths[i] - row[i].size(), ' ');
      const bool text_column = i <= 1 || i + 1 == row.size();
      line += (i == 0 ? "" : "  ") + (text_column ? row[i] + pad : pad + row[i]);
    }
    out += line.substr(0, line.find_last_not_of(' ') + 1) + "\n";
  }
  return out;
}

std::string ProfileTable(const Receipt& receipt, const ProfileReceipt& profile) {
  std::vector<std::vector<std::string>> rows;
  rows.push_back({"", "endpoint", "matched"});
  for (const auto& scorer : profile.columns->scorers) rows[0].push_back(scorer.name + " x" + NumberText(scorer.weight));
  const bool tiers = !profile.cached.empty();
  rows[0].insert(rows[0].end(), {"total", "age ms"});
  if (tiers) rows[0].push_back("held tokens");
  rows[0].push_back("verdict");
  for (size_t i = 0; i < profile.candidates.size(); ++i) {
    const ReceiptCandidate& candidate = profile.candidates[i];
    const bool scored = candidate.verdict == model::kCandidate;
    const std::string mark = i < profile.picked && !receipt.error ? "->" : i == profile.runner_up ? "2." : "";
    std::vector<std::string> row = {mark, candidate.endpoint->host_port(),
                                    std::to_string(MatchedTokens(receipt, candidate))};
    for (const float score : profile.ScoresOf(i)) row.push_back(scored ? NumberText(score) : "-");
    row.insert(row.end(), {scored ? NumberText(candidate.total) : "-", NumberText(candidate.data_age_ms)});
    if (tiers) row.push_back(TiersText(receipt, profile.CachedOf(i)));
    row.push_back(VerdictText(receipt, profile, candidate));
    rows.push_back(std::move(row));
  }
  std::string out = "profile " + profile.columns->profile + ", picker " + profile.columns->picker + "\n" + Align(rows);
  if (profile.omitted > 0) out += "and " + std::to_string(profile.omitted) + " more endpoints\n";
  return out;
}

}  // namespace

std::string ReceiptJson(const Receipt& receipt) {
  std::string out;
  JsonWriter json(out);
  json.BeginObject().Field("request_id", receipt.request_id).Field("model", receipt.model);
  json.Field("target_model", receipt.target_model).Field("priority", receipt.priority);
  json.Field("fairness_id", receipt.fairness_id)
      .Field("streaming", receipt.streaming)
      .Field("time", receipt.unix_seconds);
  json.Field("prompt_tokens", receipt.prompt_tokens).Field("prompt_tokens_estimated", receipt.prompt_tokens_estimated);
  json.Field("token_source", receipt.token_source).Field("tokenize_us", receipt.tokenize_us);
  json.Field("token_bytes_reused", receipt.token_bytes_reused);
  json.Key("expected_ttft_ms");
  receipt.expected_ttft_ms >= 0 ? json.Double(receipt.expected_ttft_ms) : json.Null();
  json.Field("expected_plus_minus_ms", receipt.expected_plus_minus_ms).Key("saturation");
  receipt.saturation >= 0 ? json.Double(receipt.saturation) : json.Null();
  json.Field("outcome", Outcome(receipt)).Key("error");
  if (receipt.error) {
    json.BeginObject()
        .Field("code", Info(receipt.error->code).name)
        .Field("message", receipt.error->message)
        .EndObject();
  } else {
    json.Null();
  }
  json.Key("notes").BeginArray();
  for (const std::string& note : receipt.notes) json.String(note);
  json.EndArray().Field("decide_us", static_cast<double>(receipt.decide_ns) / 1e3);
  if (receipt.profiles.empty()) {
    json.Field("profile", nullptr).Field("pick", nullptr).Field("runner_up", nullptr);
    json.Key("weights").BeginObject().EndObject().Key("candidates").BeginArray().EndArray();
    json.Field("candidates_omitted", 0);
  } else {
    WriteProfile(json, receipt, receipt.profiles[receipt.primary]);
  }
  if (receipt.profiles.size() > 1) {
    json.Key("other_profiles").BeginArray();
    for (size_t i = 0; i < receipt.profiles.size(); ++i) {
      if (i == receipt.primary) continue;
      json.BeginObject();
      WriteProfile(json, receipt, receipt.profiles[i]);
      json.EndObject();
    }
    json.EndArray();
  }
  if (receipt.observed) WriteObserved(json, receipt, *receipt.observed);
  json.EndObject();
  return out;
}

std::string ReceiptTable(const Receipt& receipt) {
  std::string out = "request " + receipt.request_id + "  model " + receipt.model;
  if (receipt.target_model != receipt.model) out += " -> " + receipt.target_model;
  if (!receipt.fairness_id.empty()) out += "  tenant " + receipt.fairness_id;
  out += "  priority " + std::to_string(receipt.priority) + "\nprompt " + std::to_string(receipt.prompt_tokens) +
         " tokens";
  out += receipt.prompt_tokens_estimated ? " (estimated from bytes)" : " (by " + receipt.token_source;
  if (!receipt.prompt_tokens_estimated) {
    if (receipt.tokenize_us > 0) out += ", in " + std::to_string(receipt.tokenize_us) + " us";
    if (receipt.token_bytes_reused > 0) out += ", " + std::to_string(receipt.token_bytes_reused) + " bytes known";
    out += ")";
  }
  out += ", decided in " + std::to_string(receipt.decide_ns / 1000) + " us: " + std::string(Outcome(receipt)) + "\n";
  if (receipt.error) out += receipt.error->message + "\n";
  if (receipt.saturation >= 0) {
    out += "saturation " + NumberText(static_cast<float>(receipt.saturation)) + " (1 and more sheds this priority)\n";
  }
  if (receipt.expected_ttft_ms >= 0) {
    out += "expected first token after " + NumberText(static_cast<float>(receipt.expected_ttft_ms)) + " ms, ± " +
           NumberText(static_cast<float>(receipt.expected_plus_minus_ms)) + " ms\n";
  }
  for (const std::string& note : receipt.notes) out += "note: " + note + "\n";
  for (const ProfileReceipt& profile : receipt.profiles) out += ProfileTable(receipt, profile);
  if (receipt.observed) {
    const model::Observed& seen = *receipt.observed;
    out += "served by " + seen.served_by + ", status " + std::to_string(seen.http_status);
    if (seen.ttft_ms >= 0) out += ", first token after " + NumberText(static_cast<float>(seen.ttft_ms)) + " ms";
    if (seen.e2e_ms >= 0) out += ", done after " + NumberText(static_cast<float>(seen.e2e_ms)) + " ms";
    if (seen.cached_tokens >= 0) out += ", " + std::to_string(seen.cached_tokens) + " tokens were cached";
    const int64_t predicted = PredictedTokens(receipt);
    if (seen.cached_tokens >= 0 && predicted >= 0) out += " (" + std::to_string(predicted) + " were predicted)";
    out += "\n";
  }
  return out;
}

PodScores PodScoresOf(const Receipt& receipt) {
  PodScores fields{receipt.request_id, receipt.model, receipt.target_model, "Standard", "null"};
  if (receipt.priority > 0) fields.criticality = "Critical";
  if (receipt.priority < 0) fields.criticality = "Sheddable";
  if (receipt.profiles.empty()) return fields;
  const ProfileReceipt& profile = receipt.profiles[receipt.primary];
  const auto has_match = [](const ReceiptCandidate& candidate) {
    return candidate.verdict == model::kCandidate && candidate.matched_blocks > 0;
  };
  if (std::ranges::none_of(profile.candidates, has_match)) return fields;
  std::map<std::string_view, int> sharing;
  for (const ReceiptCandidate& candidate : profile.candidates) ++sharing[candidate.endpoint->address];
  std::string json_text;
  JsonWriter json(json_text);
  json.BeginObject();
  for (const ReceiptCandidate& candidate : profile.candidates) {
    if (!has_match(candidate)) continue;
    const model::Endpoint& endpoint = *candidate.endpoint;
    json.Field(sharing[endpoint.address] > 1 ? endpoint.host_port() : endpoint.address, candidate.matched_blocks);
  }
  json.EndObject();
  fields.scores_json = std::move(json_text);
  return fields;
}

}  // namespace sluice::schedule
