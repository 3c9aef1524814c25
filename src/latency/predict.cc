// The reading half of Model: the formula of terms.h over columns.
#include <algorithm>
#include <array>
#include <cmath>

#include "base/check.h"
#include "latency/model.h"
#include "latency/terms.h"

namespace sluice::latency {
namespace {

constexpr size_t kBlock = 64;  // rows computed together: their columns stay in the first-level cache
using Column = std::array<float, kBlock>;

struct Block {
  Column waiting, running, resident, ahead_tokens, ahead_requests, elapsed, decode, slots, cached, encoder_cached,
      transfer, ttft_factor, itl_factor;
};

void Load(std::span<const float> column, size_t from, size_t n, float limit, Column& out) {
  if (column.empty()) {
    std::fill_n(out.begin(), n, 0.0F);
    return;
  }
  const float* in = column.data() + from;
  for (size_t i = 0; i < n; ++i) out[i] = Clean(in[i], limit);
}

void LoadBlock(const Candidates& c, size_t from, size_t n, Block& block) {
  Load(c.waiting, from, n, kRequestsMax, block.waiting);
  Load(c.running, from, n, kRequestsMax, block.running);
  Load(c.resident_tokens, from, n, kTokensMax, block.resident);
  Load(c.prefill_tokens_ahead, from, n, kTokensMax, block.ahead_tokens);
  Load(c.prefill_requests_ahead, from, n, kRequestsMax, block.ahead_requests);
  Load(c.prefill_elapsed_ms, from, n, kTtftMsMax, block.elapsed);
  Load(c.decode_requests, from, n, kRequestsMax, block.decode);
  Load(c.slots, from, n, kRequestsMax, block.slots);
  Load(c.cached_tokens, from, n, kTokensMax, block.cached);
  Load(c.encoder_cached_tokens, from, n, kTokensMax, block.encoder_cached);
  Load(c.transfer_bytes, from, n, kBytesMax, block.transfer);
}

// Straight-line per row, so that it becomes vector code.
void Compute(const Rates& rates, const RequestRow<float>& request, const Block& b, size_t from, size_t to, float* ttft,
             float* itl) {
  constexpr auto kFloor = static_cast<float>(Fit::kFloorMs);
  for (size_t i = from; i < to; ++i) {
    const Row<float> row = {b.waiting[i],        b.running[i],        b.resident[i], b.ahead_tokens[i],
                            b.ahead_requests[i], b.elapsed[i],        b.decode[i],   b.slots[i],
                            b.cached[i],         b.encoder_cached[i], b.transfer[i]};
    const float itl_factor = rates.itl_factor * b.itl_factor[i];
    const float decoding = Decoding(row);
    const float step = StepMs(rates.itl, decoding, row.resident) * itl_factor;
    const auto x = TtftTermsOf(request, row, step, rates.mean_uncached);
    float sum = 0;
    for (size_t j = 0; j < kTtftTerms; ++j) sum += rates.ttft[j] * x[j];
    const float ahead = AheadMs(rates.ttft, x, Uncached(request, row), step);
    const float factor = rates.ttft_factor * b.ttft_factor[i];
    ttft[i] = Larger(sum * factor - Smaller(row.elapsed, ahead * factor), kFloor);
    // Its own decode: itself and half of its answer are there too, and prompts come in between as they
    // usually do (geometric mean: one answer in a hundred that waits out a long prompt is not the usual one).
    const float resident = row.resident + request.prompt + request.output * 0.5F;
    itl[i] = Larger(
        (StepMs(rates.itl, decoding + 1, resident) + rates.itl[kInterleaved] * rates.interleaved) * itl_factor, kFloor);
  }
}

}  // namespace

void Model::PredictMany(const RequestFeatures& features, const Candidates& candidates, std::span<float> ttft_ms,
                        std::span<float> itl_ms) const {
  const size_t n = candidates.size();
  SLUICE_CHECK(candidates.endpoint.size() == n && ttft_ms.size() == n && itl_ms.size() == n,
               "columns of candidates have one length");
  const auto request = CleanRequest<float>(features);
  Block block;
  for (size_t from = 0; from < n; from += kBlock) {
    const size_t count = std::min(kBlock, n - from);
    LoadBlock(candidates, from, count, block);
    for (size_t i = 0; i < count; ++i) {
      const EndpointBias bias = BiasOf(candidates.endpoint[from + i]);
      block.ttft_factor[i] = bias.ttft_factor;
      block.itl_factor[i] = bias.itl_factor;
    }
    for (size_t i = 0; i < count;) {
      const KindId id = candidates.kind[from + i];
      size_t end = i + 1;
      while (end < count && candidates.kind[from + end] == id) ++end;
      Compute(At(id).rates, request, block, i, end, ttft_ms.data() + from, itl_ms.data() + from);
      i = end;
    }
  }
}

void Model::Kind::Refresh() {
  const auto narrow = [](double value) { return static_cast<float>(value); };
  std::ranges::transform(ttft.coefficients(), rates.ttft.begin(), narrow);
  std::ranges::transform(itl.coefficients(), rates.itl.begin(), narrow);
  rates.ttft_factor = narrow(ttft.residual_factor());
  rates.itl_factor = narrow(itl.residual_factor());
  rates.mean_uncached = narrow(mean_uncached);
  rates.interleaved = narrow(std::expm1(log_interleaved));
}

Prediction Model::Predict(KindId kind, model::EndpointId endpoint, const Features& features) const {
  const EndpointFeatures& e = features.endpoint;
  const auto one = [](const float& value) { return std::span<const float>(&value, 1); };
  const Candidates candidates = {.kind = std::span<const KindId>(&kind, 1),
                                 .endpoint = std::span<const model::EndpointId>(&endpoint, 1),
                                 .waiting = one(e.waiting),
                                 .running = one(e.running),
                                 .resident_tokens = one(e.resident_tokens),
                                 .prefill_tokens_ahead = one(e.prefill_tokens_ahead),
                                 .prefill_requests_ahead = one(e.prefill_requests_ahead),
                                 .prefill_elapsed_ms = one(e.prefill_elapsed_ms),
                                 .decode_requests = one(e.decode_requests),
                                 .slots = one(e.slots),
                                 .cached_tokens = one(e.cached_tokens),
                                 .encoder_cached_tokens = one(e.encoder_cached_tokens),
                                 .transfer_bytes = one(e.transfer_bytes)};
  Prediction out;
  PredictMany(features.request, candidates, std::span<float>(&out.ttft_ms, 1), std::span<float>(&out.itl_ms, 1));
  const RelativeError error = ExpectedError(kind);
  out.ttft_plus_minus_ms = out.ttft_ms * static_cast<float>(error.ttft);
  out.itl_plus_minus_ms = out.itl_ms * static_cast<float>(error.itl);
  return out;
}

}  // namespace sluice::latency
