#include "pool/dialect.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <optional>
#include <span>

#include "base/check.h"
#include "base/text.h"
#include "codec/promtext/promtext.h"

namespace sluice::pool {
namespace {

using codec::PromSample;
using codec::yaml::MapReader;
using codec::yaml::Node;
using codec::yaml::Problems;
using model::EndpointState;
using model::LoraState;

constexpr std::string_view kLegacyLabelKey = "inference.networking.k8s.io/engine-type";

struct BuiltinRow {
  std::string_view name, waiting, running, kv_usage, cache_info, block_size_label, num_blocks_label, block_size,
      num_blocks, lora;
};
constexpr BuiltinRow kBuiltin[] = {
    {.name = "vllm",
     .waiting = "vllm:num_requests_waiting",
     .running = "vllm:num_requests_running",
     .kv_usage = "vllm:kv_cache_usage_perc",
     .cache_info = "vllm:cache_config_info",
     .block_size_label = "block_size",
     .num_blocks_label = "num_gpu_blocks",
     .lora = "vllm:lora_requests_info"},
    // Sluice's own worker speaks vLLM's names; the row lets its label stand in a pool whose default is another engine.
    {.name = "sluice",
     .waiting = "vllm:num_requests_waiting",
     .running = "vllm:num_requests_running",
     .kv_usage = "vllm:kv_cache_usage_perc",
     .cache_info = "vllm:cache_config_info",
     .block_size_label = "block_size",
     .num_blocks_label = "num_gpu_blocks",
     .lora = "vllm:lora_requests_info"},
    {.name = "sglang",
     .waiting = "sglang:num_queue_reqs",
     .running = "sglang:num_running_reqs",
     .kv_usage = "sglang:token_usage",
     .cache_info = "sglang:cache_config_info",
     .block_size_label = "page_size",
     .num_blocks_label = "num_pages"},
    {.name = "trtllm-serve",
     .waiting = "trtllm_num_requests_waiting",
     .running = "trtllm_num_requests_running",
     .kv_usage = "trtllm_kv_cache_utilization",
     .block_size = "trtllm_kv_cache_tokens_per_block",
     .num_blocks = "trtllm_kv_cache_max_blocks"},
    {.name = "triton-tensorrt-llm",
     .waiting = "nv_trt_llm_request_metrics{request_type=waiting}",
     .running = "nv_trt_llm_request_metrics{request_type=scheduled}",
     .kv_usage = "nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type=fraction}",
     .block_size = "nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type=tokens_per}",
     .num_blocks = "nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type=max}"},
    // nv_inference_exec_count, upstream's "running" for plain Triton, only ever grows; no load can be read from it.
    {.name = "triton", .waiting = "nv_inference_pending_request_count"},
    {.name = "tgi", .waiting = "tgi_queue_size", .running = "tgi_batch_current_size"},
    // Its KV usage left llama-server in 2025; older ones have it.
    {.name = "llama-server",
     .waiting = "llamacpp:requests_deferred",
     .running = "llamacpp:requests_processing",
     .kv_usage = "llamacpp:kv_cache_usage_ratio"},
};

MetricSpec BuiltinSpec(std::string_view text) {
  if (text.empty()) return {};
  auto spec = ParseMetricSpec(text);
  SLUICE_CHECK(spec.has_value(), "a built-in metric mapping parses");
  return std::move(*spec);
}

Dialect FromRow(const BuiltinRow& row) {
  return {std::string(row.name),
          BuiltinSpec(row.waiting),
          BuiltinSpec(row.running),
          BuiltinSpec(row.kv_usage),
          BuiltinSpec(row.cache_info),
          std::string(row.block_size_label),
          std::string(row.num_blocks_label),
          BuiltinSpec(row.block_size),
          BuiltinSpec(row.num_blocks),
          BuiltinSpec(row.lora),
          {}};
}

void ReadCustomMetrics(const Node& list, const std::string& path, std::string_view instance, Dialect& dialect,
                       Problems& problems) {
  if (list.IsNull()) return;
  if (!list.IsSequence()) return problems.Error(list, path, "expected a list, got " + Describe(list));
  if (list.items.size() > Dialect::kCustomMax) {
    return problems.Error(list, path, "has more than " + std::to_string(Dialect::kCustomMax) + " entries");
  }
  for (size_t i = 0; i < list.items.size(); ++i) {
    MapReader reader(list.items[i], path + "[" + std::to_string(i) + "]", problems);
    const std::string key = reader.RequiredString("attributeKey");
    const std::string text = reader.RequiredString("metricSpec");
    reader.Finish();
    auto spec = ParseMetricSpec(text);
    if (!spec) {
      if (!text.empty()) reader.Error("metricSpec", spec.error().message);
    } else if (key.find('/') != std::string::npos) {
      reader.Error("attributeKey", "must not have a '/': what follows one is the extractor's name");
    } else {
      dialect.custom.push_back({key + "/" + std::string(instance), std::move(*spec)});
    }
  }
}

Dialect ReadEngineConfig(const Node& node, const std::string& path, std::string_view instance, Problems& problems) {
  MapReader reader(node, path, problems);
  const auto spec = [&](std::string_view field) -> MetricSpec {
    const std::string text = reader.String(field);
    if (text.empty()) return {};
    auto parsed = ParseMetricSpec(text);
    if (!parsed) {
      reader.Error(field, parsed.error().message);
      return {};
    }
    return std::move(*parsed);
  };
  Dialect dialect;
  dialect.name = reader.RequiredString("name");
  dialect.waiting = spec("queuedRequestsSpec");
  dialect.running = spec("runningRequestsSpec");
  dialect.kv_usage = spec("kvUsageSpec");
  dialect.lora = spec("loraSpec");
  dialect.cache_info = spec("cacheInfoSpec");
  dialect.block_size_label = reader.String("cacheBlockSizeLabelName", "block_size");
  dialect.num_blocks_label = reader.String("cacheNumBlocksLabelName", "num_gpu_blocks");
  dialect.block_size = spec("cacheBlockSizeSpec");
  dialect.num_blocks = spec("cacheNumBlocksSpec");
  if (const Node* custom = reader.Child("customMetrics")) {
    ReadCustomMetrics(*custom, path + ".customMetrics", instance, dialect, problems);
  }
  reader.Finish();
  return dialect;
}

bool LabelsFit(const MetricSpec& spec, const PromSample& sample) {
  return std::all_of(spec.labels.begin(), spec.labels.end(), [&](const auto& want) {
    for (const codec::PromLabel& label : sample.labels) {
      if (label.name == want.first) return label.escaped ? label.Text() == want.second : label.raw == want.second;
    }
    return false;
  });
}

// The sample that counts so far: newest timestamp, or the first.
struct Best {
  std::optional<int64_t> timestamp;
  bool any = false;
  bool Take(const PromSample& sample) {
    if (any && !(sample.timestamp_ms && (!timestamp || *sample.timestamp_ms > *timestamp))) return false;
    any = true;
    timestamp = sample.timestamp_ms;
    return true;
  }
};

std::vector<std::string> AdapterList(std::string_view text) {
  std::vector<std::string> names;
  for (const std::string_view piece : Split(text, ',')) {
    const std::string_view name = TrimSpace(piece);
    if (!name.empty()) names.emplace_back(name);
  }
  return names;
}

std::shared_ptr<const LoraState> ReadLora(const PromSample& sample) {
  LoraState lora;
  for (const codec::PromLabel& label : sample.labels) {
    if (label.name == "running_lora_adapters") lora.active = AdapterList(label.Text());
    if (label.name == "waiting_lora_adapters") lora.waiting = AdapterList(label.Text());
    if (label.name == "max_lora") lora.max = ParseNumber<uint32_t>(label.raw).value_or(0);
  }
  return std::make_shared<const LoraState>(std::move(lora));
}

// One pass over a page for one dialect.
class Extractor {
 public:
  Extractor(const Dialect& dialect, EndpointState& state) : dialect_(dialect), state_(state) {
    const auto want = [&](const MetricSpec& spec, auto handler) {
      if (!spec.name.empty()) wanted_[count_++] = {&spec, handler, {}};
    };
    want(dialect.waiting, &Extractor::Waiting);
    want(dialect.running, &Extractor::Running);
    want(dialect.kv_usage, &Extractor::KvUsage);
    want(dialect.cache_info, &Extractor::CacheInfo);
    want(dialect.block_size, &Extractor::BlockSize);
    want(dialect.num_blocks, &Extractor::NumBlocks);
    want(dialect.lora, &Extractor::Lora);
    for (const Dialect::Custom& custom : dialect.custom) want(custom.spec, &Extractor::Custom);
    for (size_t i = 0; i < count_; ++i) names_[i] = wanted_[i].spec->name;
  }

  ExtractResult Run(std::string_view text) {
    const size_t whole = text.rfind('\n');
    result_.cut_off = !text.empty() && whole + 1 != text.size() && !text.ends_with("# EOF");
    if (result_.cut_off) text = whole == std::string_view::npos ? std::string_view() : text.substr(0, whole + 1);
    codec::PromReader reader(text);
    PromSample sample;
    while (reader.NextNamed(sample, std::span<const std::string_view>(names_.data(), count_))) {
      for (size_t i = 0; i < count_; ++i) {
        Wanted& wanted = wanted_[i];
        if (wanted.spec->name != sample.name || !LabelsFit(*wanted.spec, sample)) continue;
        const bool by_value = wanted.handler == &Extractor::Lora;  // its value is a creation time: the largest wins
        if (by_value ? TakeLargest(wanted, sample.value) : wanted.best.Take(sample)) {
          now_ = &wanted;
          (this->*wanted.handler)(sample);
        }
      }
    }
    for (size_t i = 0; i < count_; ++i) {
      const Wanted& wanted = wanted_[i];
      result_.found += wanted.good;
      result_.load_found |= wanted.good && (wanted.spec == &dialect_.waiting || wanted.spec == &dialect_.running);
    }
    result_.unreadable = reader.unreadable();
    return result_;
  }

 private:
  struct Wanted {
    const MetricSpec* spec = nullptr;
    void (Extractor::*handler)(const PromSample&) = nullptr;
    Best best;
    double largest = -std::numeric_limits<double>::infinity();
    bool good = false;
  };

  static bool TakeLargest(Wanted& wanted, double value) {
    if (wanted.best.any && !(value > wanted.largest)) return false;
    wanted.best.any = true;
    wanted.largest = value;
    return true;
  }
  void Number(double value, double max, float& out) {
    if (!(value >= 0) || value > max) {
      ++result_.refused;
      return;
    }
    out = static_cast<float>(value);
    now_->good = true;
  }
  void Count(double value, uint32_t& out) {
    if (!(value >= 0) || value > 4e9) {
      ++result_.refused;
      return;
    }
    out = static_cast<uint32_t>(value);
    now_->good = true;
  }
  void Waiting(const PromSample& s) { Number(s.value, 1e9, state_.waiting); }
  void Running(const PromSample& s) { Number(s.value, 1e9, state_.running); }
  // A little over 1 is rounding; anything more is not a fraction.
  void KvUsage(const PromSample& s) {
    Number(s.value, 1.01, state_.kv_usage);
    state_.kv_usage = std::min(state_.kv_usage, 1.0f);
  }
  void BlockSize(const PromSample& s) { Count(s.value, state_.block_size); }
  void NumBlocks(const PromSample& s) { Count(s.value, state_.num_blocks); }
  void CacheInfo(const PromSample& s) {
    const auto read = [&](const std::string& label, uint32_t& out) {
      const auto text = s.Label(label);
      const auto value = text ? ParseNumber<uint32_t>(*text) : std::nullopt;
      if (value) out = *value;  // vLLM writes "None" until it has profiled the cache
      return value.has_value();
    };
    const bool size = read(dialect_.block_size_label, state_.block_size);
    const bool blocks = read(dialect_.num_blocks_label, state_.num_blocks);
    now_->good = size || blocks;
  }
  void Custom(const PromSample& s) {
    if (!std::isfinite(s.value)) {
      ++result_.refused;
      return;
    }
    const auto custom = std::find_if(dialect_.custom.begin(), dialect_.custom.end(),
                                     [this](const Dialect::Custom& c) { return &c.spec == now_->spec; });
    SetAttribute(state_, custom->key, static_cast<float>(s.value));
    now_->good = true;
  }
  void Lora(const PromSample& s) {
    now_->good = true;
    auto lora = ReadLora(s);
    if (state_.lora == nullptr || *state_.lora != *lora) state_.lora = std::move(lora);
  }

  const Dialect& dialect_;
  EndpointState& state_;
  static constexpr size_t kWantedMax = 7 + Dialect::kCustomMax;
  std::array<Wanted, kWantedMax> wanted_;
  std::array<std::string_view, kWantedMax> names_;
  size_t count_ = 0;
  Wanted* now_ = nullptr;  // whose handler runs
  ExtractResult result_;
};

}  // namespace

Result<MetricSpec> ParseMetricSpec(std::string_view text) {
  const auto bad = [&](std::string_view why) {
    return Fail(Code::kInvalidArgument,
                "expected a metric such as name{label=value}, got \"" + std::string(text) + "\": " + std::string(why));
  };
  text = TrimSpace(text);
  MetricSpec spec;
  const size_t brace = text.find('{');
  spec.name = std::string(TrimSpace(text.substr(0, brace)));
  if (spec.name.empty() || spec.name.find_first_of(" \"=,}") != std::string::npos) return bad("the name is wrong");
  if (brace == std::string_view::npos) return spec;
  if (!text.ends_with('}')) return bad("the closing brace is missing");
  const std::string_view inside = text.substr(brace + 1, text.size() - brace - 2);
  if (TrimSpace(inside).empty()) return spec;
  for (const std::string_view piece : Split(inside, ',')) {
    const size_t equals = piece.find('=');
    if (equals == std::string_view::npos) return bad("a label needs a value");
    const std::string_view key = TrimSpace(piece.substr(0, equals));
    std::string_view value = TrimSpace(piece.substr(equals + 1));
    if (value.size() >= 2 && value.front() == '"' && value.back() == '"') value = value.substr(1, value.size() - 2);
    if (key.empty() || value.find_first_of("\"{}") != std::string_view::npos) return bad("a label is wrong");
    spec.labels.emplace_back(key, value);
  }
  return spec;
}

const Dialect* DialectTable::Find(std::string_view name) const {
  const auto at = std::find_if(rows_.begin(), rows_.end(), [&](const Dialect& d) { return d.name == name; });
  return at == rows_.end() ? nullptr : &*at;
}

std::vector<std::string_view> DialectTable::Names() const {
  std::vector<std::string_view> names;
  for (const Dialect& row : rows_) names.push_back(row.name);
  return names;
}

const Dialect& DialectTable::For(const model::Endpoint& endpoint) const {
  for (const std::string_view key : {std::string_view(label_key_), kLegacyLabelKey}) {
    const auto label = endpoint.labels.find(std::string(key));
    if (label == endpoint.labels.end()) continue;
    const Dialect* found = Find(label->second);
    return found != nullptr ? *found : rows_[default_row_];
  }
  return rows_[default_row_];
}

bool DialectTable::HasEngineLabel(const model::Endpoint& endpoint) const {
  return endpoint.labels.contains(label_key_) || endpoint.labels.contains(std::string(kLegacyLabelKey));
}

const Dialect* DialectTable::Detect(std::string_view text) const {
  const Dialect* best = nullptr;
  int best_found = 0;
  for (const Dialect& row : rows_) {
    EndpointState scratch;
    const ExtractResult result = Extract(text, row, TimePoint(), scratch);
    if (!result.load_found || result.found <= best_found) continue;
    best = &row;
    best_found = result.found;
  }
  return best;
}

Result<DialectTable> BuildDialects(const schedule::CoreMetricsExtractor* extractor,
                                   std::vector<std::string>* warnings) {
  DialectTable table;
  for (const BuiltinRow& row : kBuiltin) table.rows_.push_back(FromRow(row));
  if (extractor == nullptr) return table;
  table.label_key_ = extractor->engine_label_key;
  Problems problems;
  if (!extractor->engine_configs.IsNull()) {
    const std::string path = extractor->path + ".engineConfigs";
    if (!extractor->engine_configs.IsSequence()) {
      problems.Error(extractor->engine_configs, path, "expected a list, got " + Describe(extractor->engine_configs));
    }
    for (size_t i = 0; i < extractor->engine_configs.items.size(); ++i) {
      Dialect dialect = ReadEngineConfig(extractor->engine_configs.items[i], path + "[" + std::to_string(i) + "]",
                                         extractor->name(), problems);
      const Dialect* same = table.Find(dialect.name);
      if (same != nullptr) {
        table.rows_[static_cast<size_t>(same - table.rows_.data())] = std::move(dialect);
      } else {
        table.rows_.push_back(std::move(dialect));
      }
    }
  }
  const Dialect* fallback = table.Find(extractor->default_engine);
  if (fallback == nullptr) {
    problems.Error(0, extractor->path + ".defaultEngine",
                   "no engine is named \"" + extractor->default_engine + "\"" +
                       DidYouMean(extractor->default_engine, table.Names()));
  } else {
    table.default_row_ = static_cast<size_t>(fallback - table.rows_.data());
  }
  if (const Status status = problems.ToStatus("core-metrics-extractor"); !status) return tl::unexpected(status.error());
  if (warnings != nullptr) {
    for (const auto& warning : problems.warnings()) warnings->push_back(warning.Text());
  }
  return table;
}

void SetAttribute(EndpointState& state, std::string_view key, float value) {
  for (model::ScalarAttribute& attribute : state.attributes) {
    if (attribute.key != key) continue;
    attribute.value = value;
    return;
  }
  state.attributes.push_back({std::string(key), value});
}

std::optional<float> BusiestGpu(std::string_view text, std::string_view metric, std::string_view pod) {
  std::optional<float> busiest;
  codec::PromReader reader(text);
  PromSample sample;
  while (reader.NextNamed(sample, {&metric, 1})) {
    const auto label = sample.Label("pod");
    if (label && !label->empty() && *label != pod) continue;
    if (!(sample.value >= 0) || sample.value > 100) continue;
    busiest = std::max(busiest.value_or(0), static_cast<float>(sample.value / 100));
  }
  return busiest;
}

ExtractResult Extract(std::string_view text, const Dialect& dialect, TimePoint now, EndpointState& state) {
  const ExtractResult result = Extractor(dialect, state).Run(text);
  if (result.found > 0) state.scraped_at = now;
  return result;
}

}  // namespace sluice::pool
