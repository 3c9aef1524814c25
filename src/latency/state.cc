// Save and Restore: what the model has learned as JSON. A file may be old, cut or edited by hand: everything is checked
// before anything is replaced, because a wrong number would steer traffic without anybody noticing.
#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/text.h"
#include "codec/json/dom.h"
#include "codec/json/write.h"
#include "latency/model.h"

namespace sluice::latency {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::string_view kFormat = "sluice-latency-model";
constexpr uint64_t kVersion = 1;
constexpr double kValueMax = 1e15;
constexpr double kLogMax = 50;
constexpr double kSamplesMax = 9e15;  // integers that a JSON number keeps

void WriteFit(codec::JsonWriter& writer, const Fit& fit, std::span<const std::string_view> names) {
  const Fit::State& state = fit.state();
  writer.BeginObject().Field("samples", state.samples).Field("log_scale", state.log_scale);
  writer.Field("residual", state.residual).Field("error", state.error).Key("terms").BeginObject();
  for (size_t j = 0; j < fit.terms(); ++j) {
    writer.Key(names[j]).BeginObject().Field("prior", state.prior[j]).Field("multiplier", state.multiplier[j]);
    writer.Field("moment", state.moment[j]).EndObject();
  }
  writer.EndObject().Key("gram").BeginArray();
  for (size_t i = 0; i < fit.terms() * (fit.terms() + 1) / 2; ++i) writer.Double(state.gram[i]);
  writer.EndArray().EndObject();
}

// Reads members of one object; the first fault is kept, with the path to it, and everything after it is skipped.
class Reader {
 public:
  explicit Reader(std::optional<Error>& error) : error_(error) {}

  bool ok() const { return !error_; }

  void Fault(const std::string& path, const std::string& what) {
    if (error_) return;
    error_ = Error{
        Code::kInvalidArgument,
        "the saved latency model is not usable: " + path + " " + what + "; remove the file to start from priors", path};
  }

  // The object must have exactly these members.
  bool Members(const Json& json, const std::string& path, std::span<const std::string_view> names) {
    if (!ok()) return false;
    if (!json.is_object()) {
      Fault(path, "is not an object");
      return false;
    }
    for (const auto& [key, unused] : json.items()) {
      if (std::ranges::find(names, key) == names.end())
        Fault(path + "." + key, "is not known" + DidYouMean(key, names));
    }
    for (const std::string_view name : names) {
      if (!json.contains(name)) Fault(path + "." + std::string(name), "is missing");
    }
    return ok();
  }

  double Number(const Json& json, const std::string& path, double least, double most) {
    const double value = json.is_number() ? json.get<double>() : std::nan("");
    if (value >= least && value <= most) return value;
    Fault(path, "is not a number from " + Text(least) + " to " + Text(most));
    return least;
  }

  std::string String(const Json& json, const std::string& path, size_t most) {
    if (json.is_string() && json.get_ref<const std::string&>().size() <= most) return json.get<std::string>();
    Fault(path, "is not a text of at most " + std::to_string(most) + " bytes");
    return {};
  }

 private:
  static std::string Text(double value) {
    std::string out;
    codec::AppendDouble(out, value);
    return out;
  }

  std::optional<Error>& error_;
};

// Sums of squares have a factorisation L D L' with D >= 0; numbers that were never such sums would make the fit
// diverge.
bool IsSumOfSquares(std::span<const double> upper, size_t n) {
  std::array<std::array<double, Fit::kTermsMax>, Fit::kTermsMax> rest{};
  size_t at = 0;
  for (size_t i = 0; i < n; ++i) {
    for (size_t j = i; j < n; ++j, ++at) rest[i][j] = rest[j][i] = upper[at];
  }
  double trace = 0;
  for (size_t i = 0; i < n; ++i) trace += rest[i][i];
  const double tiny = 1e-9 * trace;
  for (size_t k = 0; k < n; ++k) {
    if (rest[k][k] < -tiny) return false;
    for (size_t i = k + 1; i < n; ++i) {
      // A pivot of nothing but rounding has nothing but rounding beside it.
      if (rest[k][k] <= tiny) {
        if (std::abs(rest[i][k]) > std::sqrt(tiny * trace)) return false;
        continue;
      }
      for (size_t j = i; j < n; ++j) rest[j][i] = rest[i][j] -= rest[i][k] * rest[k][j] / rest[k][k];
    }
  }
  return true;
}

void ReadFit(Reader& reader, const Json& json, const std::string& path, std::span<const std::string_view> names,
             Fit& fit) {
  static constexpr std::array<std::string_view, 6> kMembers = {"samples", "log_scale", "residual",
                                                               "error",   "terms",     "gram"};
  static constexpr std::array<std::string_view, 3> kTermMembers = {"prior", "multiplier", "moment"};
  if (!reader.Members(json, path, kMembers)) return;
  Fit::State state;
  state.samples = static_cast<uint64_t>(reader.Number(json["samples"], path + ".samples", 0, kSamplesMax));
  state.log_scale = reader.Number(json["log_scale"], path + ".log_scale", -kLogMax, kLogMax);
  state.residual = reader.Number(json["residual"], path + ".residual", -kLogMax, kLogMax);
  state.error = reader.Number(json["error"], path + ".error", 0, 1);
  if (!reader.Members(json["terms"], path + ".terms", names)) return;
  for (size_t j = 0; j < names.size(); ++j) {
    const std::string at = path + ".terms." + std::string(names[j]);
    const Json& term = json["terms"][std::string(names[j])];
    if (!reader.Members(term, at, kTermMembers)) return;
    state.prior[j] = reader.Number(term["prior"], at + ".prior", 1 / kValueMax, kValueMax);
    state.multiplier[j] = reader.Number(term["multiplier"], at + ".multiplier", 0, kValueMax);
    state.moment[j] = reader.Number(term["moment"], at + ".moment", 0, kValueMax);
  }
  const Json& gram = json["gram"];
  const size_t pairs = names.size() * (names.size() + 1) / 2;
  if (!gram.is_array() || gram.size() != pairs) {
    reader.Fault(path + ".gram", "is not a list of " + std::to_string(pairs) + " numbers");
    return;
  }
  for (size_t i = 0; i < pairs; ++i) state.gram[i] = reader.Number(gram[i], path + ".gram", 0, kValueMax);
  if (reader.ok() && !IsSumOfSquares({state.gram.data(), pairs}, names.size())) {
    reader.Fault(path + ".gram", "is no matrix of sums of squares");
  }
  if (reader.ok()) fit.set_state(state);
}

}  // namespace

std::string Model::Save() const {
  std::string out;
  codec::JsonWriter writer(out);
  writer.BeginObject().Field("format", kFormat).Field("version", kVersion).Key("kinds").BeginArray();
  for (const Kind& kind : kinds_) {
    writer.BeginObject().Field("name", kind.name).Field("inherited_from", kind.inherited_from);
    writer.Field("mean_uncached", kind.mean_uncached).Field("log_interleaved", kind.log_interleaved);
    WriteFit(writer.Key("ttft"), kind.ttft, kTtftTermNames);
    WriteFit(writer.Key("itl"), kind.itl, kItlTermNames);
    writer.EndObject();
  }
  writer.EndArray().EndObject();
  return out;
}

Result<std::vector<Model::Kind>> Model::ReadKinds(std::string_view text) {
  const auto json = codec::ParseDom(text, {.bytes_max = kStateBytesMax, .depth_max = 8, .values_max = 500'000});
  if (!json) return Fail(json.error().code, "the saved latency model is not usable: " + json.error().message);
  std::optional<Error> error;
  Reader reader(error);
  static constexpr std::array<std::string_view, 3> kMembers = {"format", "version", "kinds"};
  static constexpr std::array<std::string_view, 6> kKindMembers = {
      "name", "inherited_from", "mean_uncached", "log_interleaved", "ttft", "itl"};
  if (!json->is_object() || json->value("format", Json()) != kFormat) {
    return Fail(Code::kInvalidArgument, "this is no saved latency model: \"format\" is not \"" + std::string(kFormat) +
                                            "\"; remove the file to start from priors");
  }
  if (const Json version = json->value("version", Json()); version != kVersion) {
    return Fail(Code::kInvalidArgument, "the saved latency model has version " + codec::Dump(version) +
                                            ", this program reads version " + std::to_string(kVersion) +
                                            "; remove the file to start from priors");
  }
  std::vector<Kind> kinds;
  if (reader.Members(*json, "state", kMembers) && !(*json)["kinds"].is_array()) reader.Fault("kinds", "is not a list");
  if (error) return tl::unexpected<Error>(*error);
  for (const Json& entry : (*json)["kinds"]) {
    const std::string path = "kinds[" + std::to_string(kinds.size()) + "]";
    if (!reader.Members(entry, path, kKindMembers)) break;
    Kind kind(reader.String(entry["name"], path + ".name", kKindNameMax));
    kind.inherited_from = reader.String(entry["inherited_from"], path + ".inherited_from", kKindNameMax);
    kind.mean_uncached = reader.Number(entry["mean_uncached"], path + ".mean_uncached", 0, kTokensMax);
    kind.log_interleaved = reader.Number(entry["log_interleaved"], path + ".log_interleaved", 0, kLogMax);
    ReadFit(reader, entry["ttft"], path + ".ttft", kTtftTermNames, kind.ttft);
    ReadFit(reader, entry["itl"], path + ".itl", kItlTermNames, kind.itl);
    if (!reader.ok()) break;
    kind.Refresh();
    if (std::ranges::find(kinds, kind.name, &Kind::name) != kinds.end()) reader.Fault(path + ".name", "occurs twice");
    kinds.push_back(std::move(kind));
  }
  if (error) return tl::unexpected<Error>(*error);
  return kinds;
}

Status Model::Restore(std::string_view text) {
  Result<std::vector<Kind>> kinds = ReadKinds(text);
  if (!kinds) return tl::unexpected<Error>(kinds.error());
  const auto known = [&](const Kind& kind) {
    return std::ranges::find(kinds_, kind.name, &Kind::name) != kinds_.end();
  };
  const auto added = static_cast<size_t>(std::ranges::count_if(*kinds, [&](const Kind& k) { return !known(k); }));
  if (kinds_.size() - 1 + added > options_.kinds_max) {
    return Fail(Code::kTooLarge, "the saved latency model has " + std::to_string(added) +
                                     " kinds of endpoints beside " + std::to_string(kinds_.size() - 1) +
                                     " known ones, more than the limit of " + std::to_string(options_.kinds_max) +
                                     "; raise the limit or remove the file");
  }
  for (Kind& kind : *kinds) {
    const auto at = std::ranges::find(kinds_, kind.name, &Kind::name);
    if (at == kinds_.end())
      kinds_.push_back(std::move(kind));
    else
      *at = std::move(kind);
  }
  return {};
}

}  // namespace sluice::latency
