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
      line = line.substr(0, line.find('#'));
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
    std::string port;
    double age_ms = -1;
  };

  void Start(const std::string& config) {
    harness_ = std::make_unique<testing::Harness>(config);
    harness_->clock.Advance(std::chrono::hours(1));
  }

  void Execute(const Words& words) {
    const std::map<std::string, std::function<void(const Words&)>> commands = {
        {"seed", [&](const Words& w) { harness_->rng = Rng(std::stoull(w.at(1))); }},
        {"endpoint", [&](const Words& w) { AddEndpoint(w); }},
        {"remove", [&](const Words& w) { members_.erase(Find(w.at(1))), ++members_version_; }},
        {"state", [&](const Words& w) { SetState(w); }},
        {"request", [&](const Words& w) { Send(w); }},
        {"first-chunk", [&](const Words& w) { OnFirstChunk(harness_->state, tickets_.at(w.at(1))); }},
        {"finish",
         [&](const Words& w) {
           OnResponseEnd(harness_->state, std::move(tickets_.at(w.at(1))), {});
           tickets_.erase(w.at(1));
         }},
        {"pick", [&](const Words& w) { ExpectPick(w); }},
        {"scores",
         [&](const Words& w) {
           ExpectNumbers(w, 2, [&](size_t i) {
             const auto& scorers = profile().columns->scorers;
             for (size_t s = 0; s < scorers.size(); ++s) {
               if (scorers[s].name == w.at(1)) return static_cast<double>(profile().ScoresOf(i)[s]);
             }
             return std::nan("");
           });
         }},
        {"total",
         [&](const Words& w) { ExpectNumbers(w, 1, [&](size_t i) { return double{profile().candidates[i].total}; }); }},
        {"matched",
         [&](const Words& w) {
           ExpectNumbers(w, 1, [&](size_t i) { return double(profile().candidates[i].matched_blocks); });
         }},
        {"verdict", [&](const Words& w) { ExpectVerdict(w); }},
        {"runner-up",
         [&](const Words& w) {
           ++checks_;
           ASSERT_LT(profile().runner_up, profile().candidates.size());
           EXPECT_EQ(profile().candidates[profile().runner_up].endpoint->name, w.at(1));
         }},
    };
    const auto command = commands.find(words[0]);
    ASSERT_NE(command, commands.end()) << "unknown command";
    command->second(words);
  }

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
    member.port = words[2].substr(colon + 1);
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
        member.age_ms = std::stod(value);
      else if (key == "down")
        member.endpoint.in_rotation = false;
      else if (key == "up")
        member.endpoint.in_rotation = true;
      else
        FAIL() << "unknown state " << key;
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

  void Send(const Words& words) {
    const model::PoolView view = View();
    std::string text;
    model::Request request = testing::TextRequest(words.at(1), "");
    for (size_t i = 2; i < words.size(); ++i) {
      const auto [key, value] = KeyValue(words[i]);
      if (key == "text" || key == "more")
        text += Repeated(value);
      else if (key == "tokens")
        request.prompts[0].tokens.assign(std::stoul(value), 42);
      else if (key == "model")
        request.model = request.target_model = value;
      else if (key == "salt")
        request.cache_salt = value;
      else if (key == "priority")
        request.priority = std::stoi(value);
      else if (key == "max_tokens")
        request.output_tokens_max = static_cast<uint32_t>(std::stoul(value));
      else if (key == "subset") {
        request.subset.emplace();
        for (const std::string_view ip : Split(value, ',')) request.subset->emplace_back(ip);
      } else if (key == "tried") {
        for (const std::string_view name : Split(value, ',')) {
          request.excluded.push_back(view.id(static_cast<size_t>(Find(std::string(name)) - members_.begin())));
        }
      } else {
        FAIL() << "unknown field " << key;
      }
    }
    request.prompts[0].text = {text};
    harness_->Decide(request, view);
    if (harness_->decision.ok()) tickets_[request.id] = harness_->Dispatch(request, view);
  }

  const model::ProfileReceipt& profile() const {
    return harness_->decision.receipt.profiles.at(harness_->decision.receipt.primary);
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
