// Dialect: the names under which an engine publishes its load. One table of rows, built-in or from the configuration of
// core-metrics-extractor; Extract turns a scrape's bytes into an EndpointState.
// As upstream: of several samples with fitting labels the one with the greatest timestamp counts, or the first without
// timestamps; nothing is summed. Values that make no sense (negative, not finite) are refused and counted.
// A page ends with a line feed, as the format demands; without it the last line is cut off and not believed.
// Thread rule: immutable after BuildDialects; Extract is pure. Cost: pool_bench; most of it finds the ends of lines.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "codec/yaml/reader.h"
#include "model/endpoint.h"
#include "schedule/plugins/data/data_layer_plugins.h"

namespace sluice::pool {

// `name{label=value,...}`: quotes around values are optional.
struct MetricSpec {
  std::string name;  // empty: the engine does not have it
  std::vector<std::pair<std::string, std::string>> labels;
};
Result<MetricSpec> ParseMetricSpec(std::string_view text);

struct Dialect {
  std::string name;
  MetricSpec waiting;
  MetricSpec running;
  MetricSpec kv_usage;    // 0..1
  MetricSpec cache_info;  // an info metric whose labels carry the next two
  std::string block_size_label;
  std::string num_blocks_label;
  MetricSpec block_size;  // or gauges
  MetricSpec num_blocks;
  MetricSpec lora;  // labels running_lora_adapters, waiting_lora_adapters, max_lora

  struct Custom {
    std::string key;  // "<attributeKey>/<extractor's instance>"
    MetricSpec spec;
  };
  static constexpr size_t kCustomMax = 32;
  std::vector<Custom> custom;  // become EndpointState::attributes
};

class DialectTable {
 public:
  // The mapping for the endpoint: by its engine label, else the default's. An unknown engine has the default's.
  const Dialect& For(const model::Endpoint& endpoint) const;
  // Whether a label names the endpoint's engine. Where none does, Detect() may look at the page.
  bool HasEngineLabel(const model::Endpoint& endpoint) const;
  // The dialect that finds most on the page; nullptr when none finds its queue or its running requests.
  const Dialect* Detect(std::string_view text) const;
  const Dialect* Find(std::string_view name) const;
  std::vector<std::string_view> Names() const;

 private:
  friend Result<DialectTable> BuildDialects(const schedule::CoreMetricsExtractor* extractor,
                                            std::vector<std::string>* warnings);
  std::vector<Dialect> rows_;
  size_t default_row_ = 0;
  std::string label_key_ = "llm-d.ai/engine-type";
};

// The built-in rows, and those of the extractor's engineConfigs in place of or beside them. `extractor` may be null.
Result<DialectTable> BuildDialects(const schedule::CoreMetricsExtractor* extractor, std::vector<std::string>* warnings);

struct ExtractResult {
  int found = 0;            // metrics of the dialect that were there
  int refused = 0;          // values that make no sense
  size_t unreadable = 0;    // lines of the page that are not exposition format
  bool cut_off = false;     // the last line had no end
  bool load_found = false;  // its queue or its running requests
};
// Sets a scalar attribute, replacing that of the same key.
void SetAttribute(model::EndpointState& state, std::string_view key, float value);

// What NVIDIA's DCGM exporter says, 0..1: the largest of the samples of `metric` (0..100) that name the pod or no pod.
std::optional<float> BusiestGpu(std::string_view text, std::string_view metric, std::string_view pod);

// Updates `state` with what `text` has and stamps it with `now` if anything was found; what is missing keeps its value.
ExtractResult Extract(std::string_view text, const Dialect& dialect, TimePoint now, model::EndpointState& state);

}  // namespace sluice::pool
