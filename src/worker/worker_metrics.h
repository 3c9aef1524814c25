// WorkerMetrics: vLLM's metric families, names, labels and buckets, filled from the engine's reports and, at scrape
// time, from its state. Made before the engine (which reports to it); Bind() names the model once that is known. Thread
// rule: On…() on the engine's thread; Bind() before the first request; the rest on the loop's thread. Ownership:
// outlives the engine. Cost: a few atomic adds a report; a scrape renders about 60 KB.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "observe/metrics.h"
#include "worker/engine/engine.h"

namespace sluice::worker {

class WorkerMetrics final : public EngineObserver {
 public:
  explicit WorkerMetrics(observe::Registry& registry);
  ~WorkerMetrics() override;

  // `model_name` is the label (the first served name).
  void Bind(const ModelInfo& model, const std::string& model_name);
  // Takes what only the engine's state knows, and renders everything.
  std::string Render(const EngineStats& stats, double unix_seconds);

  // One HTTP request that reached the engine, with its n.
  void OnRequest(int n);
  // Answered 429 because the waiting queue was full.
  void OnRejected();
  void OnToolParse(bool streaming, bool called);
  void OnHttp(std::string_view route, std::string_view method, int status, double seconds);

  void OnStep(const StepReport& report) override;
  void OnFirstToken(const FirstTokenReport& report) override;
  void OnInterToken(double seconds) override;
  void OnFinish(const FinishReport& report) override;

 private:
  struct Cells;
  void BindCounters();
  void BindHistograms(const ModelInfo& model);
  void BindInfo(const ModelInfo& model);
  void TakeLoras(const EngineStats& stats, double unix_seconds);

  observe::Registry& registry_;
  std::string name_;
  std::string max_loras_;
  std::unique_ptr<Cells> cells_;  // null until Bind()
};

}  // namespace sluice::worker
