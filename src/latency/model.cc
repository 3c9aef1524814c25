#include "latency/model.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "latency/priors.h"
#include "latency/terms.h"

namespace sluice::latency {
namespace {

constexpr uint64_t kWarm = 32;         // observations from which a kind can be inherited from
constexpr double kMeanRate = 0.05;     // of moving means of traffic
constexpr double kBiasRate = 0.05;     // of an endpoint's factor
constexpr double kBiasLeak = 0.003;    // back to 1, so that what all endpoints share ends up in the kind
constexpr double kBiasClip = 1;        // of one observation's log error
constexpr double kElapsedMax = 4;      // times the expected time of the work ahead
constexpr double kInheritedMin = 0.1;  // of a coefficient, as part of its start: 0 could never grow again

bool Within(float value, float limit) { return value >= 0 && value <= limit; }

bool Sane(const Features& f) {
  const EndpointFeatures& e = f.endpoint;
  return Within(f.request.prompt_tokens, kTokensMax) && Within(f.request.encoder_tokens, kTokensMax) &&
         Within(f.request.output_tokens, kTokensMax) && Within(e.waiting, kRequestsMax) &&
         Within(e.running, kRequestsMax) && Within(e.resident_tokens, kTokensMax) &&
         Within(e.prefill_tokens_ahead, kTokensMax) && Within(e.prefill_requests_ahead, kRequestsMax) &&
         Within(e.prefill_elapsed_ms, kTtftMsMax) && Within(e.decode_requests, kRequestsMax) &&
         Within(e.slots, kRequestsMax) && Within(e.cached_tokens, kTokensMax) &&
         Within(e.encoder_cached_tokens, kTokensMax) && Within(e.transfer_bytes, kBytesMax);
}

bool Sane(const DecodeFeatures& f) {
  return Within(f.running, kRequestsMax) && Within(f.resident_tokens, kTokensMax) &&
         Within(f.prefill_tokens_per_token, kTokensMax);
}

// Moves an endpoint's log factor towards what this observation says and returns the factor.
float MoveBias(float& bias, double seen_log_error) {
  const double error = std::clamp(seen_log_error - static_cast<double>(bias), -kBiasClip, kBiasClip);
  bias = static_cast<float>((static_cast<double>(bias) + kBiasRate * error) * (1 - kBiasLeak));
  return std::exp(bias);
}

std::vector<double> StartOf(const Fit& donor) {
  std::vector<double> start;
  for (size_t j = 0; j < donor.terms(); ++j) {
    const double least = kInheritedMin * donor.state().prior[j] * donor.speed_factor();
    start.push_back(std::max(donor.coefficients()[j], least) * donor.residual_factor());
  }
  return start;
}

void FillReport(const Fit& fit, uint64_t refused, const ErrorWindow& errors, ErrorReport& out) {
  out.samples = fit.state().samples;
  out.refused = refused;
  errors.Report(out);
}

double PerSecond(double ms_each) { return ms_each > 0 ? 1000 / ms_each : 0; }

}  // namespace

Model::Kind::Kind(std::string kind_name)
    : name(std::move(kind_name)),
      ttft(PriorsFor(name).ttft),
      itl(PriorsFor(name).itl),
      mean_uncached(PriorsFor(name).mean_uncached) {
  Refresh();
}

Model::Model(Options options) : options_(options) {
  SLUICE_CHECK(options.kinds_max < 65'535, "a KindId has 16 bits");
  Append("(other)");
}

const Model::Kind& Model::At(KindId kind) const {
  const auto index = static_cast<size_t>(kind);
  SLUICE_CHECK(index < kinds_.size(), "a KindId comes from Intern of the same model");
  return kinds_[index];
}

KindId Model::Append(std::string name) {
  kinds_.emplace_back(std::move(name));
  return static_cast<KindId>(kinds_.size() - 1);
}

KindId Model::Intern(std::string_view kind) {
  for (size_t i = 1; i < kinds_.size(); ++i) {
    if (kinds_[i].name != kind) continue;
    StartFromNearest(kinds_[i]);
    return static_cast<KindId>(i);
  }
  if (kinds_.size() - 1 >= options_.kinds_max || kind.size() > kKindNameMax) {
    ++kinds_refused_;
    return kOtherKinds;
  }
  const KindId id = Append(std::string(kind));
  StartFromNearest(At(id));
  return id;
}

void Model::StartFromNearest(Kind& kind) {
  if (kind.ttft.state().samples > 0 || kind.itl.state().samples > 0) return;
  const Kind* nearest = nullptr;
  double best = 0;
  for (const Kind& other : kinds_) {
    if (&other == &kinds_.front() || &other == &kind || other.ttft.state().samples < kWarm) continue;
    const double likeness = Likeness(kind.name, other.name);
    if (likeness < kLikenessMin || likeness <= best) continue;
    best = likeness;
    nearest = &other;
  }
  if (nearest == nullptr) return;
  kind.inherited_from = nearest->name;
  kind.ttft.Inherit(StartOf(nearest->ttft));
  kind.itl.Inherit(StartOf(nearest->itl));
  kind.mean_uncached = nearest->mean_uncached;
  kind.log_interleaved = nearest->log_interleaved;
  kind.Refresh();
}

Model::EndpointBias Model::BiasOf(model::EndpointId endpoint) const {
  if (endpoint.slot < biases_.size() && biases_[endpoint.slot].generation == endpoint.generation) {
    return biases_[endpoint.slot];
  }
  return {.generation = endpoint.generation};
}

Model::EndpointBias* Model::MutableBias(model::EndpointId endpoint) {
  if (endpoint.slot >= options_.endpoints_max) return nullptr;
  if (endpoint.slot >= biases_.size()) biases_.resize(endpoint.slot + size_t{1});
  EndpointBias& bias = biases_[endpoint.slot];
  if (bias.generation != endpoint.generation) bias = {.generation = endpoint.generation};
  return &bias;
}

bool Model::ObserveTtft(KindId id, model::EndpointId endpoint, const Features& at_dispatch, float ttft_ms,
                        float predicted_ms) {
  Kind& kind = At(id);
  if (!Sane(at_dispatch) || !(ttft_ms > 0) || ttft_ms > kTtftMsMax || !Within(predicted_ms, kTtftMsMax)) {
    ++kind.ttft_refused;
    return false;
  }
  const float predicted = predicted_ms > 0 ? predicted_ms : Predict(id, endpoint, at_dispatch).ttft_ms;
  kind.ttft_errors.Add(predicted, ttft_ms);

  const EndpointBias bias = BiasOf(endpoint);
  const auto request = CleanRequest<double>(at_dispatch.request);
  const auto row = CleanRow<double>(at_dispatch.endpoint);
  const double uncached = Uncached(request, row);
  const double step = StepMs(kind.itl.coefficients(), Decoding(row), row.resident) * kind.itl.residual_factor() *
                      static_cast<double>(bias.itl_factor);
  const auto terms = TtftTermsOf(request, row, step, kind.mean_uncached);
  // The work ahead is learned whole: what was done of it before dispatch belongs to it.
  const double factor = kind.ttft.residual_factor() * static_cast<double>(bias.ttft_factor);
  const double ahead = AheadMs(kind.ttft.coefficients(), terms, uncached, step) * factor;
  const double total = static_cast<double>(ttft_ms) + std::min(row.elapsed, kElapsedMax * ahead);
  const double log_error = std::log(total / (kind.ttft.Sum(terms) * kind.ttft.residual_factor()));

  kind.ttft.NoteError((static_cast<double>(predicted) - static_cast<double>(ttft_ms)) / static_cast<double>(ttft_ms));
  kind.ttft.Learn(terms, total / static_cast<double>(bias.ttft_factor));
  kind.mean_uncached += kMeanRate * (uncached - kind.mean_uncached);
  kind.Refresh();
  if (EndpointBias* own = MutableBias(endpoint)) own->ttft_factor = MoveBias(own->ttft, log_error);
  return true;
}

bool Model::ObserveItl(KindId id, model::EndpointId endpoint, const DecodeFeatures& during, float itl_ms,
                       float predicted_ms) {
  Kind& kind = At(id);
  if (!Sane(during) || !(itl_ms > 0) || itl_ms > kItlMsMax || !Within(predicted_ms, kItlMsMax)) {
    ++kind.itl_refused;
    return false;
  }
  const EndpointBias bias = BiasOf(endpoint);
  const auto terms = ItlTermsOf<double>(during.running, during.resident_tokens, during.prefill_tokens_per_token);
  const double expected = kind.itl.Sum(terms) * kind.itl.residual_factor();
  const double predicted = predicted_ms > 0 ? predicted_ms : expected * static_cast<double>(bias.itl_factor);
  kind.itl_errors.Add(predicted, itl_ms);

  kind.itl.NoteError((predicted - static_cast<double>(itl_ms)) / static_cast<double>(itl_ms));
  kind.itl.Learn(terms, static_cast<double>(itl_ms) / static_cast<double>(bias.itl_factor));
  kind.log_interleaved +=
      kMeanRate * (std::log1p(static_cast<double>(during.prefill_tokens_per_token)) - kind.log_interleaved);
  kind.Refresh();
  if (EndpointBias* own = MutableBias(endpoint)) {
    own->itl_factor = MoveBias(own->itl, std::log(static_cast<double>(itl_ms) / expected));
  }
  return true;
}

double Model::PrefillMsPerToken(KindId kind) const {
  return At(kind).ttft.coefficients()[kAhead] * At(kind).ttft.residual_factor();
}

Model::RelativeError Model::ExpectedError(KindId kind) const {
  return {At(kind).ttft.expected_error(), At(kind).itl.expected_error()};
}

ErrorReport Model::TtftErrors(KindId kind) const {
  ErrorReport report;
  FillReport(At(kind).ttft, At(kind).ttft_refused, At(kind).ttft_errors, report);
  return report;
}

ErrorReport Model::ItlErrors(KindId kind) const {
  ErrorReport report;
  FillReport(At(kind).itl, At(kind).itl_refused, At(kind).itl_errors, report);
  return report;
}

std::vector<KindDescription> Model::Describe() const {
  std::vector<KindDescription> rows;
  for (size_t i = 0; i < kinds_.size(); ++i) {
    const Kind& kind = kinds_[i];
    const auto id = static_cast<KindId>(i);
    if (id == kOtherKinds && kind.ttft.state().samples + kind.itl.state().samples == 0) continue;
    const double ttft = kind.ttft.residual_factor();
    const double itl = kind.itl.residual_factor();
    const auto t = kind.ttft.coefficients();
    const auto s = kind.itl.coefficients();
    constexpr double kPairs = 16'384.0 * 16'384.0 / 2;
    rows.push_back({.name = kind.name,
                    .inherited_from = kind.inherited_from,
                    .prefill_tokens_per_s = PerSecond(t[kPrefill] * ttft),
                    .attention_ms_per_16k = t[kAttention] * ttft * kPairs,
                    .overhead_ms = t[kOverhead] * ttft,
                    .step_ms = (s[kWeights] + s[kSequence]) * itl,
                    .step_ms_per_sequence = s[kSequence] * itl,
                    .step_ms_per_1k_resident = s[kResident] * itl * 1000,
                    .transfer_bytes_per_s = PerSecond(t[kTransfer] * ttft),
                    .ttft = TtftErrors(id),
                    .itl = ItlErrors(id)});
  }
  return rows;
}

}  // namespace sluice::latency
