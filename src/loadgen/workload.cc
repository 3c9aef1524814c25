#include "loadgen/workload.h"

#include <numeric>

#include "base/check.h"

namespace sluice::loadgen {
namespace {

// 256 common words, each one token (with its leading space) in the GPT-2, Llama and Qwen families of vocabularies.
constexpr std::string_view kText =
    "water house river mountain garden window table paper letter number morning evening winter summer spring "
    "autumn forest field village city street market bridge island ocean harbor ship boat train road station "
    "school teacher student book story history science music dance theater picture color green yellow orange "
    "silver golden white black purple brown family mother father brother sister child friend neighbor doctor "
    "nurse farmer baker soldier captain king queen prince horse cattle sheep chicken bird fish animal flower tree "
    "leaf root branch fruit apple bread butter cheese sugar salt coffee stone metal iron copper glass wood cotton "
    "leather machine engine wheel clock lamp candle mirror basket bottle bucket question answer reason meaning "
    "language sentence chapter page word message signal pattern shape circle square triangle line corner center "
    "border surface bottom north south east west left right above below behind before after during between always "
    "never often sometimes today tomorrow yesterday minute hour week month year century season weather rain snow "
    "wind storm cloud light shadow fire smoke heat cold energy power force speed distance weight measure balance "
    "order system method process result value price cost trade money bank company worker office factory product "
    "service council law court judge police army peace war treaty nation country people crowd public private "
    "common simple complex strong weak heavy quick slow early late young ancient modern quiet loud bright dark "
    "warm cool fresh clean rough smooth narrow wide build carry follow gather finish begin return travel arrive "
    "leave open close write read speak listen watch learn teach remember forget choose decide";
constexpr size_t kWords = 256;

constexpr std::array<std::string_view, kWords> SplitWords() {
  std::array<std::string_view, kWords> words;
  size_t at = 0;
  for (std::string_view& word : words) {
    const size_t end = kText.find(' ', at);
    word = kText.substr(at, end == std::string_view::npos ? end : end - at);
    at = end + 1;
  }
  return words;
}
constexpr auto kWordList = SplitWords();
static_assert(kText.ends_with(kWordList.back()), "the list must hold kWords words");

// A stream of its own for each thing that is drawn, so that changing one length leaves the other texts alone.
enum class Stream : uint64_t { kOrder = 1, kPrefix, kQuestion };

Rng RngFor(uint64_t seed, Stream stream, uint64_t a, uint64_t b) {
  uint64_t mixed = seed;
  for (const uint64_t part : {static_cast<uint64_t>(stream), a, b}) mixed = Rng(mixed ^ part * 0x9e3779b97f4a7c15u)();
  return Rng(mixed);
}

std::string Words(Rng rng, int64_t count) {
  std::string text;
  text.reserve(static_cast<size_t>(count) * 7);
  for (int64_t i = 0; i < count; ++i) {
    if (i > 0) text += ' ';
    text += kWordList[rng.Below(kWords)];
  }
  return text;
}

}  // namespace

Workload::Workload(const WorkloadOptions& options)
    : options_(options), rng_(RngFor(options.seed, Stream::kOrder, 0, 0)) {
  SLUICE_CHECK(Groups(options) > 0 && PromptsPerGroup(options) > 0, "Validate() the options first");
  if (options_.kind == WorkloadKind::kSharedPrefix) {
    order_.resize(static_cast<size_t>(Groups(options) * PromptsPerGroup(options)));
    std::iota(order_.begin(), order_.end(), 0u);
  }
}

Prompt Workload::Next() {
  if (options_.kind == WorkloadKind::kRandom) {
    return {.question = Words(RngFor(options_.seed, Stream::kQuestion, 0, count_++), options_.question_tokens),
            .output_tokens = options_.output_tokens};
  }
  const size_t at = count_++ % order_.size();
  if (at == 0) {  // Fisher and Yates, each round anew
    for (size_t i = order_.size(); i > 1; --i) std::swap(order_[i - 1], order_[rng_.Below(i)]);
  }
  const auto per_group = static_cast<uint32_t>(PromptsPerGroup(options_));
  const uint32_t group = order_[at] / per_group;
  return {.group = group,
          .prefix = Words(RngFor(options_.seed, Stream::kPrefix, group, 0), PrefixTokens(options_)),
          .question =
              Words(RngFor(options_.seed, Stream::kQuestion, group, order_[at] % per_group), options_.question_tokens),
          .output_tokens = options_.output_tokens};
}

}  // namespace sluice::loadgen
