#include "schedule/replay.h"

#include <algorithm>
#include <array>
#include <deque>
#include <map>

#include "base/text.h"
#include "codec/json/reader.h"
#include "schedule/decision_log.h"
#include "schedule/scheduler.h"

namespace sluice::schedule {

using codec::JsonValue;

namespace {

constexpr std::string_view kOther = "other";  // the lane of the configuration to compare with

class ReplayClock final : public Clock {
 public:
  TimePoint Now() const override { return now; }
  double UnixSeconds() const override { return Seconds(now.time_since_epoch()); }
  TimePoint now{};
};

// A line's fields; the first that is missing or of another type is remembered.
class Fields {
 public:
  explicit Fields(JsonValue object) : object_(object) {}

  std::string Text(std::string_view key) {
    const auto value = Get(key);
    const auto text = value ? value->String() : std::nullopt;
    if (!text) Wrong(key);
    return std::string(text.value_or(""));
  }
  int64_t Int(std::string_view key) {
    const auto value = Get(key);
    const auto number = value ? value->Int() : std::nullopt;
    if (!number) Wrong(key);
    return number.value_or(0);
  }
  bool Bool(std::string_view key) {
    const auto value = Get(key);
    const auto flag = value ? value->Bool() : std::nullopt;
    if (!flag) Wrong(key);
    return flag.value_or(false);
  }
  // Written as text: above 2^53 a JSON number is not safe with every reader.
  uint64_t Uint(std::string_view key) {
    const auto number = ParseNumber<uint64_t>(Text(key));
    if (!number) Wrong(key);
    return number.value_or(0);
  }
  template <class Visit>
  void Each(std::string_view key, Visit&& visit) {
    const auto value = Get(key);
    if (!value || !value->IsArray()) return Wrong(key);
    value->ForEachElement([&](JsonValue element) {
      visit(element);
      return true;
    });
  }
  std::optional<JsonValue> Get(std::string_view key) const { return object_.Find(key); }
  void Wrong(std::string_view key) {
    if (wrong_.empty()) wrong_ = key;
  }
  Status status() const {
    if (wrong_.empty()) return {};
    return Fail(Code::kInvalidArgument, "not a line of a decision log: '" + wrong_ + "' is missing or of another type");
  }

 private:
  JsonValue object_;
  std::string wrong_;
};

std::vector<double> Numbers(JsonValue list) {
  std::vector<double> out;
  list.ForEachElement([&](JsonValue value) {
    out.push_back(value.Number().value_or(std::numeric_limits<double>::quiet_NaN()));  // null was NaN
    return true;
  });
  return out;
}

std::string FromHex(std::string_view hex) {
  const auto digit = [](char c) { return c >= 'a' ? c - 'a' + 10 : c - '0'; };
  std::string out;
  for (size_t i = 0; i + 1 < hex.size(); i += 2) {
    out.push_back(static_cast<char>(digit(hex[i]) << 4 | digit(hex[i + 1])));
  }
  return out;
}

std::vector<std::string> Names(Fields& fields, std::string_view key) {
  std::vector<std::string> out;
  fields.Each(key, [&](JsonValue name) { out.emplace_back(name.String().value_or("")); });
  return out;
}

}  // namespace

struct Replay::Impl {
  // A request with the memory that its views point into.
  struct Recorded {
    model::Request request;
    std::deque<std::string> memory;

    std::string_view Keep(std::string text) { return memory.emplace_back(std::move(text)); }
  };

  Status OnLog(Fields& line);
  Status OnPolicy(Fields& line);
  Status OnMembers(Fields& line);
  Status OnRows(Fields& line);
  Status OnDecide(Fields& line);
  void ReadMatches(Fields& line);
  Status OnDispatch(Fields& line);
  Status OnFirst(Fields& line);
  Status OnEnd(Fields& line);
  bool ReadRequest(JsonValue object, Fields& line, Recorded& out);
  void ReadPrompt(JsonValue object, Recorded& out);
  std::string Where(const model::Decision& decision) const {
    return decision.ok() ? decision.pick().endpoint->host_port() : "refused";
  }
  std::string Where(const Fields& line) const;

  const Registry& registry;
  std::string other_config;
  LoadOptions options;
  ReplayClock clock;
  codec::JsonReader reader{{.bytes_max = kLineMax, .depth_max = 16}};
  uint64_t seed = 0;
  std::shared_ptr<RecordedMatches> found = std::make_shared<RecordedMatches>();
  std::unique_ptr<Scheduler> scheduler;
  model::PoolView pool;
  std::unique_ptr<Recorded> latest;
  std::map<uint64_t, Scheduler::Flight> flights;
  Outcome outcome;
};

Status Replay::Impl::OnLog(Fields& line) {
  const int64_t version = line.Int("version");
  if (const Status read = line.status(); !read) return read;
  if (version != 1) {
    return Fail(Code::kInvalidArgument, "the log has version " + std::to_string(version) + "; this program reads 1");
  }
  if (scheduler != nullptr) return Fail(Code::kInvalidArgument, "a second log begins here; replay them one by one");
  seed = line.Uint("seed");
  return line.status();
}

Status Replay::Impl::OnPolicy(Fields& line) {
  const std::string lane = line.Text("lane");
  const bool experimental = line.Bool("experimental");
  const std::string text = line.Text("config");
  if (const Status read = line.status(); !read) return read;
  // A log says what was allowed when it was written; code that it names runs only when whoever replays it says so too.
  const auto folder = line.Get("folder");
  auto config = LoadConfig(text, registry,
                           {.allow_experimental_plugins = experimental,
                            .allow_shared_objects = options.allow_experimental_plugins,
                            .folder = std::string(folder ? folder->String().value_or("") : "")});
  if (!config) return tl::unexpected(config.error());
  if (scheduler != nullptr) return scheduler->Put(lane, std::move(*config));
  scheduler = std::make_unique<Scheduler>(std::move(*config), clock,
                                          Scheduler::Options{.state = {.recorded = found}, .seed = seed}, lane);
  if (other_config.empty()) return {};
  auto other = LoadConfig(other_config, registry, options);
  if (!other) return tl::unexpected(other.error());
  return scheduler->Put(kOther, std::move(*other));
}

Status Replay::Impl::OnMembers(Fields& line) {
  auto members = std::make_shared<model::PoolMembers>();
  line.Each("endpoints", [&](JsonValue element) {
    Fields fields(element);
    model::Endpoint endpoint{.id = fields.Text("id"),
                             .name = fields.Text("name"),
                             .ns = fields.Text("ns"),
                             .address = fields.Text("address"),
                             .port = static_cast<uint16_t>(fields.Int("port"))};
    if (const auto labels = fields.Get("labels")) {
      labels->ForEachMember([&](std::string_view key, JsonValue value) {
        endpoint.labels.emplace(key, value.String().value_or(""));
        return true;
      });
    }
    const model::EndpointId id{static_cast<uint32_t>(fields.Int("slot")),
                               static_cast<uint32_t>(fields.Int("generation"))};
    constexpr uint32_t kSlotMax = 1'000'000;  // a log of ours has far fewer; a made-up one costs no memory
    if (!fields.status() || id.slot > kSlotMax) return line.Wrong("endpoints");
    if (id.slot >= members->row_of_slot.size()) members->row_of_slot.resize(id.slot + 1, model::PoolMembers::kNoRow);
    members->row_of_slot[id.slot] = static_cast<uint32_t>(members->ids.size());
    members->ids.push_back(id);
    members->endpoints.push_back(std::make_shared<const model::Endpoint>(std::move(endpoint)));
  });
  const size_t n = members->size();
  pool = {};
  pool.members_version = static_cast<uint64_t>(line.Int("version"));
  pool.members = std::move(members);
  for (auto* column : {&pool.waiting, &pool.running, &pool.kv_usage}) column->assign(n, 0);
  for (auto* column : {&pool.block_size, &pool.num_blocks}) column->assign(n, 0);
  pool.scraped_at.assign(n, model::EndpointState::kNever);
  pool.in_rotation.assign(n, 1);
  pool.lora.assign(n, nullptr);
  return line.status();
}

Status Replay::Impl::OnRows(Fields& line) {
  line.Each("rows", [&](JsonValue element) {
    const std::vector<double> row = Numbers(element);
    std::optional<int64_t> scraped;
    size_t at = 0;
    element.ForEachElement([&](JsonValue value) {
      if (at++ == 6) scraped = value.Int();
      return true;
    });
    if (row.size() != 8 || !(row[0] >= 0 && row[0] < static_cast<double>(pool.size())) || !scraped) {
      return line.Wrong("rows");
    }
    const auto i = static_cast<size_t>(row[0]);
    pool.waiting[i] = static_cast<float>(row[1]);
    pool.running[i] = static_cast<float>(row[2]);
    pool.kv_usage[i] = static_cast<float>(row[3]);
    pool.block_size[i] = static_cast<uint32_t>(row[4]);
    pool.num_blocks[i] = static_cast<uint32_t>(row[5]);
    pool.scraped_at[i] = TimePoint(Duration(*scraped));
    pool.in_rotation[i] = row[7] != 0 ? 1 : 0;
  });
  line.Each("lora", [&](JsonValue element) {
    Fields fields(element);
    const auto row = static_cast<size_t>(fields.Int("row"));
    if (row >= pool.size()) return line.Wrong("lora");
    pool.lora[row] = std::make_shared<const model::LoraState>(
        model::LoraState{Names(fields, "active"), Names(fields, "waiting"), static_cast<uint32_t>(fields.Int("max"))});
    if (!fields.status()) line.Wrong("lora");
  });
  pool.attributes.clear();
  line.Each("attributes", [&](JsonValue element) {
    Fields fields(element);
    model::AttributeColumn column{fields.Text("key"), {}};
    if (const auto values = fields.Get("values")) {
      for (const double value : Numbers(*values)) column.values.push_back(static_cast<float>(value));
    }
    if (column.values.size() != pool.size()) return line.Wrong("attributes");
    pool.attributes.push_back(std::move(column));
  });
  ++pool.version;
  return line.status();
}

void Replay::Impl::ReadPrompt(JsonValue object, Recorded& out) {
  Fields fields(object);
  model::Prompt& prompt = out.request.prompts.emplace_back();
  if (const auto tokens = fields.Get("tokens")) {
    for (const double token : Numbers(*tokens)) prompt.tokens.push_back(static_cast<uint32_t>(token));
  }
  const auto parts = fields.Get("parts");
  if (!parts) return;
  parts->ForEachElement([&](JsonValue part) {
    Fields piece(part);
    if (piece.Get("text")) {
      prompt.text.push_back(out.Keep(FromHex(piece.Text("text"))));
    } else {
      prompt.media.push_back({.kind = static_cast<model::Media::Kind>(std::clamp<int64_t>(piece.Int("media"), 0, 2)),
                              .content = out.Keep(FromHex(piece.Text("content"))),
                              .before_text = static_cast<uint32_t>(prompt.text.size())});
    }
    return true;
  });
}

bool Replay::Impl::ReadRequest(JsonValue object, Fields& line, Recorded& out) {
  Fields fields(object);
  model::Request& request = out.request;
  request.id = fields.Text("id");
  request.model = fields.Text("model");
  request.target_model = fields.Text("target_model");
  request.body_bytes = static_cast<uint64_t>(fields.Int("body_bytes"));
  request.streaming = fields.Bool("streaming");
  request.priority = static_cast<int32_t>(fields.Int("priority"));
  request.objective = fields.Text("objective");
  request.fairness_id = fields.Text("fairness_id");
  request.cache_salt = FromHex(fields.Text("salt"));
  if (fields.Get("output_max")) request.output_tokens_max = static_cast<uint32_t>(fields.Int("output_max"));
  fields.Each("headers", [&](JsonValue pair) {
    std::vector<std::string_view> two;
    pair.ForEachElement([&](JsonValue text) {
      two.push_back(out.Keep(std::string(text.String().value_or(""))));
      return true;
    });
    if (two.size() == 2) request.headers.emplace_back(two[0], two[1]);
  });
  if (fields.Get("subset")) request.subset = Names(fields, "subset");
  fields.Each("excluded", [&](JsonValue pair) {
    const std::vector<double> id = Numbers(pair);
    if (id.size() == 2) request.excluded.push_back({static_cast<uint32_t>(id[0]), static_cast<uint32_t>(id[1])});
  });
  fields.Each("prompts", [&](JsonValue prompt) { ReadPrompt(prompt, out); });
  const bool exact = fields.Bool("exact");
  if (!fields.status()) line.Wrong("request");
  return exact;
}

std::string Replay::Impl::Where(const Fields& line) const {
  const auto pick = line.Get("pick");
  const std::vector<double> id = pick ? Numbers(*pick) : std::vector<double>();
  if (id.size() != 2) return "refused";
  const uint32_t row = pool.members->RowOf({static_cast<uint32_t>(id[0]), static_cast<uint32_t>(id[1])});
  return row == model::PoolMembers::kNoRow ? "unknown" : pool.endpoint(row).host_port();
}

// What producers that read from outside found, for those of the replay to find it again.
void Replay::Impl::ReadMatches(Fields& line) {
  found->all.clear();
  if (!line.Get("matches")) return;
  line.Each("matches", [&](JsonValue element) {
    Fields fields(element);
    RecordedMatch match{.lane = fields.Text("lane"),
                        .producer = fields.Text("producer"),
                        .total_blocks = static_cast<uint32_t>(fields.Int("total")),
                        .block_size = static_cast<uint32_t>(fields.Int("block")),
                        .rows = {}};
    fields.Each("rows", [&](JsonValue list) {
      const std::vector<double> row = Numbers(list);
      if (row.size() != 4 || !(row[0] >= 0 && row[0] < static_cast<double>(pool.size()))) return fields.Wrong("rows");
      match.rows.push_back({static_cast<uint32_t>(row[0]), static_cast<float>(row[1]), static_cast<float>(row[2]),
                            static_cast<float>(row[3])});
    });
    if (!fields.status()) return line.Wrong("matches");
    found->all.push_back(std::move(match));
  });
}

Status Replay::Impl::OnDecide(Fields& line) {
  clock.now = TimePoint(Duration(line.Int("now")));
  const bool acting = line.Bool("acting");
  const uint64_t digest = line.Uint("digest");
  auto made = std::make_unique<Recorded>();
  const auto object = line.Get("request");
  if (!object) line.Wrong("request");
  const bool exact = object && ReadRequest(*object, line, *made);
  ReadMatches(line);
  if (const Status read = line.status(); !read) return read;

  const model::Decision& decision = scheduler->Decide(made->request, pool, acting);
  ++outcome.decisions;
  const std::string recorded = Where(line);
  if (DecisionDigest(decision) == digest) {
    ++outcome.equal;
  } else if (!exact) {
    ++outcome.inexact;
  } else if (outcome.unequal.size() < kExamplesMax) {
    outcome.unequal.push_back({made->request.id, recorded, Where(decision)});
  }
  if (const model::Decision* other = scheduler->ShadowDecision(kOther); other != nullptr && acting) {
    const std::string there = Where(*other);
    if (there != recorded && outcome.elsewhere.size() < kExamplesMax) {
      outcome.elsewhere.push_back({made->request.id, recorded, there});
    }
  }
  if (acting) latest = std::move(made);
  return {};
}

Status Replay::Impl::OnDispatch(Fields& line) {
  clock.now = TimePoint(Duration(line.Int("now")));
  const auto number = static_cast<uint64_t>(line.Int("flight"));
  if (const Status read = line.status(); !read) return read;
  if (latest == nullptr || !scheduler->decision().ok()) {
    return Fail(Code::kInvalidArgument, "a dispatch without a decision that picked: the replay and the log disagree");
  }
  flights.insert_or_assign(number, scheduler->Dispatch(latest->request, pool));
  latest.reset();
  return {};
}

Status Replay::Impl::OnFirst(Fields& line) {
  clock.now = TimePoint(Duration(line.Int("now")));
  const auto flight = flights.find(static_cast<uint64_t>(line.Int("flight")));
  if (const Status read = line.status(); !read) return read;
  if (flight != flights.end()) scheduler->OnFirstChunk(flight->second);
  return {};
}

Status Replay::Impl::OnEnd(Fields& line) {
  clock.now = TimePoint(Duration(line.Int("now")));
  ResponseEnd end{.failed = line.Bool("failed")};
  const auto usage = line.Get("usage");
  const std::vector<double> numbers = usage ? Numbers(*usage) : std::vector<double>();
  if (numbers.size() != 3) line.Wrong("usage");
  const auto flight = flights.find(static_cast<uint64_t>(line.Int("flight")));
  if (const Status read = line.status(); !read) return read;
  if (flight == flights.end()) return {};
  end.prompt_tokens = static_cast<int64_t>(numbers[0]);
  end.cached_tokens = static_cast<int64_t>(numbers[1]);
  end.output_tokens = static_cast<int64_t>(numbers[2]);
  scheduler->End(std::move(flight->second), end);
  flights.erase(flight);
  return {};
}

Replay::Replay(const Registry& registry, std::string other_config, bool allow_experimental_plugins)
    : impl_(new Impl{.registry = registry,
                     .other_config = std::move(other_config),
                     .options = {.allow_experimental_plugins = allow_experimental_plugins}}) {}

Replay::~Replay() {
  if (impl_->scheduler == nullptr) return;
  for (auto& [number, flight] : impl_->flights) impl_->scheduler->End(std::move(flight), {.failed = true});
}

Status Replay::Line(std::string_view text) {
  const auto root = impl_->reader.Parse(text);
  if (!root) return tl::unexpected(root.error());
  Fields line(*root);
  const std::string type = line.Text("t");
  if (const Status read = line.status(); !read) return read;
  // A decision is dispatched by the policy and in the pool that it was made with.
  if (type != "dispatch" && type != "first" && type != "end") impl_->latest.reset();
  if (type == "log") return impl_->OnLog(line);
  if (type == "policy") return impl_->OnPolicy(line);
  if (type == "full") {
    impl_->outcome.full = true;
    return {};
  }
  if (impl_->scheduler == nullptr) return Fail(Code::kInvalidArgument, "the log does not begin with a policy");
  if (type == "members") return impl_->OnMembers(line);
  if (type == "rows") return impl_->OnRows(line);
  if (type == "decide") return impl_->OnDecide(line);
  if (type == "dispatch") return impl_->OnDispatch(line);
  if (type == "first") return impl_->OnFirst(line);
  if (type == "end") return impl_->OnEnd(line);
  if (type == "promote") return impl_->scheduler->Promote(line.Text("lane"));
  if (type == "latency") return impl_->scheduler->RestoreLatency(line.Text("state"));
  return Fail(Code::kInvalidArgument, "not a line of a decision log: its type is '" + type + "'");
}

Replay::Outcome Replay::Finish() {
  if (impl_->scheduler != nullptr) impl_->outcome.shadows = impl_->scheduler->Report();
  return impl_->outcome;
}

}  // namespace sluice::schedule
