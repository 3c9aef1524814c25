// Reading what endpoints answered: metrics by the engine's dialect, GPU utilisation, models.
#include <algorithm>

#include "observe/log.h"
#include "serving/scraper_state.h"

namespace sluice::serving {

using observe::Level;
using observe::Log;
using schedule::MetricsDataSource;

namespace {
constexpr std::string_view kModule = "pool";
constexpr size_t kModelsMax = 1000;  // of one endpoint
}  // namespace

std::string Scraper::Read(Watched& endpoint, Poll& poll, const Page& page) {
  const Meter meter(*this);
  const Plan::Source& source = *poll.source;
  if (page.status != 200) {
    metrics_.ScrapeFailed(source.type);
    return poll.address().ToString() + source.path + " answers with status " + std::to_string(page.status);
  }
  std::string problem;
  switch (source.kind) {
    case MetricsDataSource::Kind::kMetrics:
      if (source.extractor != nullptr) problem = ReadMetrics(endpoint, poll, page);
      break;
    case MetricsDataSource::Kind::kDcgm:
      if (source.dcgm != nullptr) problem = ReadDcgm(endpoint, poll, page);
      break;
    case MetricsDataSource::Kind::kModels:
      problem = ReadModels(endpoint, page);
      break;
  }
  if (!problem.empty()) metrics_.ExtractFailed(source.type, source.ExtractorType());
  return problem;
}

std::string Scraper::ReadMetrics(Watched& endpoint, Poll& poll, const Page& page) {
  const pool::DialectTable& dialects = poll.source->dialects;
  const model::Endpoint& described = *set_.Find(endpoint.id);
  const pool::Dialect* dialect = poll.recognised != nullptr ? poll.recognised : &dialects.For(described);
  pool::ExtractResult result;
  const auto extract = [&] {
    set_.Update(endpoint.id,
                [&](model::EndpointState& state) { result = pool::Extract(page.body, *dialect, page.asked, state); });
  };
  extract();
  if (result.found == 0 && page.asked >= poll.recognise_due && !dialects.HasEngineLabel(described)) {
    poll.recognise_due = page.asked + std::chrono::seconds(1);  // it reads the page once a dialect
    poll.recognised = dialects.Detect(page.body);
    if (poll.recognised != nullptr) {
      dialect = poll.recognised;
      if (recognised_.insert(dialect->name).second) {
        Log(Level::kInfo, kModule, "an engine without label is recognised by its metrics",
            {{"pool", options_.pool}, {"engine", dialect->name}, {"first_endpoint", poll.address().ToString()}});
      }
      extract();
    }
  }
  const std::string where = poll.address().ToString() + poll.source->path;
  if (result.found == 0) return where + " has none of the metrics of " + dialect->name;
  if (result.cut_off) return where + " ends in the middle of a line";
  if (result.refused > 0) return where + " has values that make no sense";
  return {};
}

std::string Scraper::ReadDcgm(Watched& endpoint, Poll& poll, const Page& page) {
  const auto busiest = pool::BusiestGpu(page.body, schedule::DcgmExtractor::kMetric, endpoint.name);
  if (!busiest) {
    return poll.address().ToString() + poll.source->path + " has no " + std::string(schedule::DcgmExtractor::kMetric) +
           " for this pod";
  }
  set_.Update(endpoint.id, [&](model::EndpointState& state) {
    pool::SetAttribute(state, poll.source->dcgm->AttributeKey(), *busiest);
  });
  return {};
}

std::string Scraper::ReadModels(Watched& endpoint, const Page& page) {
  const auto root = reader_.Parse(page.body);
  const auto data = root ? root->Find("data") : std::nullopt;
  if (!data) return endpoint.address.ToString() + " has no list of models at /v1/models";
  std::vector<ServedModel> models;
  data->ForEachElement([&](codec::JsonValue model) {
    const auto id = model.Find("id");
    if (id && id->String()) models.push_back({std::string(*id->String()), model.ToJson()});
    return models.size() < kModelsMax;
  });
  const bool same =
      endpoint.models_known && std::equal(models.begin(), models.end(), endpoint.models.begin(), endpoint.models.end(),
                                          [](const ServedModel& a, const ServedModel& b) { return a.id == b.id; });
  endpoint.models = std::move(models);  // the rest of an entry may differ each time, as `created` does
  endpoint.models_known = true;
  if (!same) ++models_version_;
  return {};
}

}  // namespace sluice::serving
