// Runs test/scenario/*.txt: text files with a pool, requests and expected picks and scores. Syntax:
// test/scenario/README.md.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <sstream>

#include "base/text.h"
#include "codec/json/write.h"
#include "codec/yaml/reader.h"
#include "schedule/receipt_text.h"
#include "schedule/testing.h"

namespace sluice::schedule {
namespace {

using Words = std::vector<std::string>;

std::pair<std::string, std::string> KeyValue(const std::string& word) {
  const size_t equals = word.find('=');
  return {word.substr(0, equals), equals == std::string::npos ? "" : word.substr(equals + 1)};
}

// "ab*3" is "ababab".
std::string Repeated(const std::string& text) {
  const size_t star = text.rfind('*');
  if (star == std::string::npos) return text;
  std::string out;
  for (int i = std::stoi(text.substr(star + 1)); i > 0; --i) out += text.substr(0, star);
  return out;
}

class Scenario {
 public:
  void Run(const std::filesystem::path& path) {
    std::ifstream file(path);
    ASSERT_TRUE(file) << path;
    std::string line;
    for (int number = 1; std::getline(file, line); ++number) {
      SCOPED_TRACE(path.filename().string() + ":" + std::to_string(number) + ": " + line);
      line = line.substr(0, line.starts_with('#') ? 0 : line.find(" #"));
      std::istringstream stream(line);
      Words words;
      for (std::string word; stream >> word;) words.push_back(word);
      if (words.empty()) continue;
      if (words[0] == "config") {
        std::string body;
        if (words.size() == 1) {
          while (std::getline(file, line) && line != "end") {
            body += line + "\n";
            ++number;
          }
          ++number;
        }
        Start(words.size() > 1 ? std::string(DefaultConfigText()) : testing::ConfigOf(body));
      } else {
        ASSERT_NE(harness_, nullptr) << "a scenario begins with config";
        Execute(words);
      }
      if (::testing::Test::HasFatalFailure()) return;
    }
    EXPECT_GT(checks_, 0) << path << " expects nothing";
  }

 private:
  struct Member {
    testing::TestEndpoint endpoint;
    double age_ms = -1;  // below 0: never scraped
  };

  void Start(const std::string& config) {
    harness_ = std::make_unique<testing::Harness>(config);
    harness_->clock.Advance(std::chrono::hours(1));
  }

  void Execute(const Words& words) {
    static const std::map<std::string_view, void (Scenario::*)(const Words&)> kCommands = {
        {"seed", &Scenario::Seed},
        {"advance", &Scenario::Advance},
        {"endpoint", &Scenario::AddEndpoint},
        {"remove", &Scenario::Remove},
        {"state", &Scenario::SetState},
        {"given", &Scenario::Give},
        {"request", &Scenario::Send},
        {"many", &Scenario::SendMany},
        {"head", &Scenario::AnswerHead},
        {"first-chunk", &Scenario::FirstChunk},
        {"finish", &Scenario::Finish},
        {"pick", &Scenario::ExpectPick},
        {"error", &Scenario::ExpectError},
        {"reason", &Scenario::ExpectReason},
        {"share", &Scenario::ExpectShare},
        {"profile", &Scenario::LookAtProfile},
        {"picks", &Scenario::ExpectPicksOfProfile},
        {"scores", &Scenario::ExpectScores},
        {"total", &Scenario::ExpectTotals},
        {"matched", &Scenario::ExpectMatched},
        {"verdict", &Scenario::ExpectVerdict},
        {"runner-up", &Scenario::ExpectRunnerUp},
        {"saturation", &Scenario::ExpectSaturation},
        {"sets", &Scenario::ExpectSetHeaders},
        {"removes", &Scenario::ExpectRemovedHeaders},
        {"port", &Scenario::ExpectPort},
        {"answers", &Scenario::ExpectAnswerHeaders},
        {"reports", &Scenario::ExpectReports},
    };
    const auto command = kCommands.find(words[0]);
    ASSERT_NE(command, kCommands.end()) << "unknown command";
    (this->*command->second)(words);
  }

  void Seed(const Words& words) { harness_->rng = Rng(std::stoull(words.at(1))); }
  void Advance(const Words& words) {
    const auto duration = codec::yaml::ParseDuration(words.at(1));
    ASSERT_TRUE(duration) << "not a duration: " << words[1];
    harness_->clock.Advance(*duration);
  }
  void Remove(const Words& words) { members_.erase(Find(words.at(1))), ++members_version_; }
  void FirstChunk(const Words& words) { OnFirstChunk(harness_->state, tickets_.at(words.at(1))); }

  std::vector<Member>::iterator Find(const std::string& name) {
    const auto at =
        std::find_if(members_.begin(), members_.end(), [&](const Member& m) { return m.endpoint.name == name; });
    SLUICE_CHECK(at != members_.end(), "a scenario names its own endpoints");
    return at;
  }

  void AddEndpoint(const Words& words) {
    Member member;
    member.endpoint.name = words.at(1);
    const size_t colon = words.at(2).rfind(':');
    member.endpoint.address = words[2].substr(0, colon);
    member.endpoint.port = static_cast<uint16_t>(std::stoul(words[2].substr(colon + 1)));
    member.endpoint.generation = ++generations_;
    for (size_t i = 3; i < words.size(); ++i) member.endpoint.labels.insert(KeyValue(words[i]));
    members_.push_back(std::move(member));
    ++members_version_;
  }

  void SetState(const Words& words) {
    Member& member = *Find(words.at(1));
    for (size_t i = 2; i < words.size(); ++i) {
      const auto [key, value] = KeyValue(words[i]);
      if (key == "waiting")
        member.endpoint.waiting = std::stof(value);
      else if (key == "running")
        member.endpoint.running = std::stof(value);
      else if (key == "kv")
        member.endpoint.kv_usage = std::stof(value);
      else if (key == "block_size")
        member.endpoint.block_size = static_cast<uint32_t>(std::stoul(value));
      else if (key == "num_blocks")
        member.endpoint.num_blocks = static_cast<uint32_t>(std::stoul(value));
      else if (key == "age")
        member.age_ms = value == "never" ? -1 : std::stod(value);
      else if (key.starts_with("lora"))
        SetLora(member, key, value);
      else if (key.starts_with("attr:") && value == "none")
        member.endpoint.attributes.erase(key.substr(5));
      else if (key.starts_with("attr:"))
        member.endpoint.attributes[key.substr(5)] = std::stof(value);
      else if (key == "down")
        member.endpoint.in_rotation = false;
      else if (key == "up")
        member.endpoint.in_rotation = true;
      else
        FAIL() << "unknown state " << key;
    }
  }

  void SetLora(Member& member, const std::string& key, const std::string& value) {
    model::LoraState lora = member.endpoint.lora != nullptr ? *member.endpoint.lora : model::LoraState{};
    if (key == "lora_max") {
      lora.max = static_cast<uint32_t>(std::stoul(value));
    } else {
      ASSERT_TRUE(key == "lora" || key == "lora_waiting") << "unknown state " << key;
      std::vector<std::string>& names = key == "lora" ? lora.active : lora.waiting;
      names.clear();
      for (const std::string_view name : Split(value, ',')) names.emplace_back(name);
    }
    member.endpoint.lora = std::make_shared<const model::LoraState>(std::move(lora));
  }

  void Give(const Words& words) {
    testing::GivenData& given = testing::Given();
    for (size_t i = 1; i < words.size(); ++i) {
      const auto [key, value] = KeyValue(words[i]);
      if (value.empty()) {
        given.columns[key].clear();
        for (++i; i < words.size(); ++i) {
          const auto [name, number] = KeyValue(words[i]);
          given.columns[key][name] = std::stof(number);
        }
      } else if (key == "session") {
        given.session = value;
      } else {
        given.numbers[key] = static_cast<uint32_t>(std::stoul(value));
      }
    }
  }

  model::PoolView View() {
    std::vector<testing::TestEndpoint> list;
    for (const Member& member : members_) list.push_back(member.endpoint);
    model::PoolView view = testing::MakePool(list, members_version_);
    for (size_t i = 0; i < members_.size(); ++i) {
      if (members_[i].age_ms >= 0) view.scraped_at[i] = harness_->clock.Now() - FromSeconds(members_[i].age_ms / 1e3);
    }
    return view;
  }

  // The request that `words` describe from the third on; its views point into the words and into `text_`.
  model::Request ReadRequest(const Words& words, const model::PoolView& view) {
    text_.clear();
    model::Request request = testing::TextRequest(words.at(1), "");
    for (size_t i = 2; i < words.size(); ++i) {
      const auto [key, value] = KeyValue(words[i]);
      if (key == "text" || key == "more")
        text_ += Repeated(value);
      else if (key == "tokens")
        request.prompts[0].tokens.assign(std::stoul(value), 42);
      else if (key == "model")
        request.model = request.target_model = value;
      else if (key == "salt")
        request.cache_salt = value;
      else if (key == "session")
        request.session_id = value;
      else if (key == "objective")
        request.objective = value;
      else if (key == "priority")
        request.priority = std::stoi(value);
      else if (key == "streaming")
        request.streaming = true;
      else if (key == "max_tokens")
        request.output_tokens_max = static_cast<uint32_t>(std::stoul(value));
      else if (key.starts_with("header:"))
        request.headers.emplace_back(Tail(words[i], 7, key.size()), Tail(words[i], key.size() + 1));
      else if (key == "image" || key == "video" || key == "audio")
        request.prompts[0].media.push_back({key == "image"   ? model::Media::Kind::kImage
                                            : key == "video" ? model::Media::Kind::kVideo
                                                             : model::Media::Kind::kAudio,
                                            Tail(words[i], 6), 0});
      else if (key == "subset") {
        request.subset.emplace();
        for (const std::string_view ip : Split(value, ',')) request.subset->emplace_back(ip);
      } else if (key == "tried") {
        for (const std::string_view name : Split(value, ',')) {
          request.excluded.push_back(view.id(static_cast<size_t>(Find(std::string(name)) - members_.begin())));
        }
      } else {
        ADD_FAILURE() << "unknown field " << key;
      }
    }
    request.prompts[0].text = {text_};
    ReadHeaders(*harness_->config.policy, request);
    return request;
  }
  static std::string_view Tail(const std::string& word, size_t begin, size_t end = std::string::npos) {
    return std::string_view(word).substr(begin, end == std::string::npos ? end : end - begin);
  }

  void Send(const Words& words) {
    const model::PoolView view = View();
    const model::Request request = ReadRequest(words, view);
    harness_->Decide(request, view);
    profile_.clear();
    last_ = request.id;
    if (harness_->decision.ok()) tickets_[request.id] = harness_->Dispatch(request, view);
  }

  // The same request N times, each answered at once; for what is drawn by chance.
  void SendMany(const Words& words) {
    const model::PoolView view = View();
    const model::Request request = ReadRequest(words, view);
    counts_.clear();
    sent_ = std::stoi(words.at(1));
    for (int i = 0; i < sent_; ++i) {
      harness_->Decide(request, view);
      ++counts_[harness_->decision.ok() ? harness_->decision.pick().endpoint->name : "none"];
      if (harness_->decision.ok()) OnResponseEnd(harness_->state, harness_->Dispatch(request, view), {});
    }
  }
  void ExpectShare(const Words& words) {
    for (size_t i = 1; i < words.size(); ++i) {
      ++checks_;
      const auto [name, share] = KeyValue(words[i]);
      EXPECT_NEAR(double(counts_[name]) / sent_, std::stod(share), 0.03) << name;
    }
  }

  void AnswerHead(const Words& words) {
    answered_.clear();
    ResponseHead head;
    std::string served = harness_->decision.ok() ? harness_->decision.pick().endpoint->host_port() : "";
    for (size_t i = 2; i < words.size(); ++i) {
      const auto [key, value] = KeyValue(words[i]);
      if (key == "status") head.status = std::stoi(value);
      if (key == "served") served = value;
    }
    head.served = served;
    OnResponseHead(harness_->state, tickets_.at(words.at(1)), head, answered_);
  }

  void Finish(const Words& words) {
    ResponseEnd end;
    for (size_t i = 2; i < words.size(); ++i) {
      const auto [key, value] = KeyValue(words[i]);
      if (key == "failed")
        end.failed = true;
      else if (key == "prompt")
        end.prompt_tokens = std::stoll(value);
      else if (key == "cached")
        end.cached_tokens = std::stoll(value);
      else if (key == "output")
        end.output_tokens = std::stoll(value);
      else
        FAIL() << "unknown field " << key;
    }
    reported_ = OnResponseEnd(harness_->state, std::move(tickets_.at(words.at(1))), end);
    tickets_.erase(words[1]);
  }

  // The profile that expectations look at: the one that `profile` named, else the primary.
  const model::ProfileReceipt& profile() const {
    const model::Receipt& receipt = harness_->decision.receipt;
    for (const model::ProfileReceipt& profile : receipt.profiles) {
      if (profile.columns->profile == profile_) return profile;
    }
    return receipt.profiles.at(receipt.primary);
  }
  void LookAtProfile(const Words& words) {
    profile_ = words.at(1);
    EXPECT_EQ(profile().columns->profile, profile_) << "did not run";
  }
  // What the profile came to: its targets in order, "none" when it found nothing, "not-run".
  void ExpectPicksOfProfile(const Words& words) {
    ++checks_;
    const model::Decision& decision = harness_->decision;
    std::string picked = "not-run";
    for (const model::ProfileReceipt& receipt : decision.receipt.profiles) {
      if (receipt.columns->profile == words.at(1)) picked = "none";
    }
    for (const model::ProfileTargets& targets : decision.profiles) {
      if (targets.profile != words[1]) continue;
      picked.clear();
      for (const model::Target& target : targets.targets) picked += (picked.empty() ? "" : ",") + target.endpoint->name;
    }
    const auto allowed = Split(words.at(2), '|');
    EXPECT_NE(std::find(allowed.begin(), allowed.end(), picked), allowed.end()) << "picked " << picked;
  }

  void ExpectPick(const Words& words) {
    ++checks_;
    const model::Decision& decision = harness_->decision;
    if (words.at(1) == "none") {
      ASSERT_FALSE(decision.ok()) << decision.pick().endpoint->name << " was picked";
      EXPECT_EQ(std::to_string(Info(decision.error->code).http_status), words.at(2));
      return;
    }
    ASSERT_TRUE(decision.ok()) << decision.error->message;
    const std::string& name = decision.pick().endpoint->name;
    const auto names = Split(words[1], '|');
    EXPECT_NE(std::find(names.begin(), names.end(), name), names.end()) << "picked " << name << "\n"
                                                                        << ReceiptTable(decision.receipt);
  }

  void ExpectError(const Words& words) {
    ++checks_;
    ASSERT_FALSE(harness_->decision.ok());
    std::string expected;
    for (size_t i = 1; i < words.size(); ++i) expected += (i == 1 ? "" : " ") + words[i];
    EXPECT_NE(harness_->decision.error->message.find(expected), std::string::npos) << harness_->decision.error->message;
  }
  void ExpectReason(const Words& words) {
    ++checks_;
    EXPECT_EQ(harness_->decision.receipt.dropped_reason, words.at(1));
  }
  void ExpectSaturation(const Words& words) {
    ++checks_;
    EXPECT_NEAR(harness_->decision.receipt.saturation, std::stod(words.at(1)), 0.0005);
  }

  // "NAME=VALUE": the list has it; "NAME=none": it does not.
  void ExpectHeaders(const Words& words, const HeaderList& headers) {
    for (size_t i = 1; i < words.size(); ++i) {
      ++checks_;
      const auto [name, value] = KeyValue(words[i]);
      std::string found = "none";
      for (const auto& [n, v] : headers) found = n == name ? v : found;
      EXPECT_EQ(found, value) << name;
    }
  }
  void ExpectSetHeaders(const Words& words) { ExpectHeaders(words, tickets_.at(last_).set_headers); }
  void ExpectAnswerHeaders(const Words& words) { ExpectHeaders(words, answered_); }
  void ExpectRemovedHeaders(const Words& words) {
    for (size_t i = 1; i < words.size(); ++i) {
      ++checks_;
      const std::vector<std::string>& removed = tickets_.at(last_).remove_headers;
      EXPECT_NE(std::find(removed.begin(), removed.end(), words[i]), removed.end()) << words[i];
    }
  }
  void ExpectPort(const Words& words) {
    ++checks_;
    EXPECT_EQ(std::to_string(tickets_.at(last_).port), words.at(1));
  }
  void ExpectReports(const Words& words) {
    HeaderList reported;
    for (const auto& [name, value] : reported_) reported.emplace_back(name, std::to_string(value));
    ExpectHeaders(words, reported);
  }

  void ExpectScores(const Words& words) {
    ExpectNumbers(words, 2, [&](size_t i) {
      const auto& scorers = profile().columns->scorers;
      for (size_t s = 0; s < scorers.size(); ++s) {
        if (scorers[s].name == words.at(1)) return static_cast<double>(profile().ScoresOf(i)[s]);
      }
      ADD_FAILURE() << "no scorer " << words[1];
      return std::nan("");
    });
  }
  void ExpectTotals(const Words& words) {
    ExpectNumbers(words, 1, [&](size_t i) { return double{profile().candidates[i].total}; });
  }
  void ExpectMatched(const Words& words) {
    ExpectNumbers(words, 1, [&](size_t i) { return double(profile().candidates[i].matched_blocks); });
  }
  void ExpectRunnerUp(const Words& words) {
    ++checks_;
    ASSERT_LT(profile().runner_up, profile().candidates.size());
    EXPECT_EQ(profile().candidates[profile().runner_up].endpoint->name, words.at(1));
  }

  template <class Get>
  void ExpectNumbers(const Words& words, size_t first, Get&& get) {
    ASSERT_GT(words.size(), first);
    for (size_t w = first; w < words.size(); ++w) {
      ++checks_;
      const auto [name, value] = KeyValue(words[w]);
      bool found = false;
      for (size_t i = 0; i < profile().candidates.size(); ++i) {
        if (profile().candidates[i].endpoint->name != name) continue;
        found = true;
        if (value == "none") {
          EXPECT_TRUE(std::isnan(get(i))) << name << " has " << get(i);
          continue;
        }
        EXPECT_NEAR(get(i), std::stod(value), 0.0005) << name << "\n" << ReceiptTable(harness_->decision.receipt);
      }
      EXPECT_TRUE(found) << name << " is not in the receipt";
    }
  }

  void ExpectVerdict(const Words& words) {
    ++checks_;
    std::string expected;
    for (size_t i = 2; i < words.size(); ++i) expected += (i == 2 ? "" : " ") + words[i];
    // The receipt's own words: endpoint and verdict are fields of its JSON.
    const std::string json = ReceiptJson(harness_->decision.receipt);
    const std::string field = "\"name\":\"default/" + words.at(1) + "\",\"verdict\":\"" + expected + "\"";
    EXPECT_NE(json.find(field), std::string::npos) << json;
  }

  std::unique_ptr<testing::Harness> harness_;
  std::vector<Member> members_;
  uint64_t members_version_ = 0;
  uint32_t generations_ = 0;
  std::map<std::string, Ticket> tickets_;
  std::string last_;     // id of the latest request
  std::string profile_;  // that expectations look at; empty: the primary
  std::string text_;
  HeaderList answered_;
  ReportedAttributes reported_;
  std::map<std::string, int> counts_;  // picks of the latest `many`
  int sent_ = 0;
  int checks_ = 0;
};

std::vector<std::filesystem::path> Files() {
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(std::string(SLUICE_SOURCE_DIR) + "/test/scenario")) {
    if (entry.path().extension() == ".txt") files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  return files;
}

class Scenarios : public ::testing::TestWithParam<std::filesystem::path> {};

TEST_P(Scenarios, GiveThePickAndTheScores) { Scenario().Run(GetParam()); }

INSTANTIATE_TEST_SUITE_P(Files, Scenarios, ::testing::ValuesIn(Files()), [](const auto& info) {
  std::string name = info.param.stem().string();
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
});

}  // namespace
}  // namespace sluice::schedule
