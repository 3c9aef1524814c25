// The scraper against a server that answers whatever a test scripts, byte by byte: what is read, what is counted, and
// that former values stay with their age when a page is bad.
#include "serving/scraper.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <functional>
#include <list>
#include <map>

#include "net/socket.h"

namespace sluice::serving {
namespace {

using runtime::AnyOf;
using runtime::Loop;
using runtime::Task;
using testing::HasSubstr;
using testing::Not;

std::string Ok(std::string_view body) {
  return "HTTP/1.1 200 OK\r\ncontent-length: " + std::to_string(body.size()) + "\r\n\r\n" + std::string(body);
}
std::string Page(int waiting) { return "vllm:num_requests_waiting " + std::to_string(waiting) + "\n"; }
constexpr std::string_view kModels = R"({"object":"list","data":[{"id":"m","object":"model"}]})";

// Answers each request with the bytes scripted for its path.
class RawServer {
 public:
  enum class After : uint8_t { kKeep, kClose, kForever };
  struct Script {
    std::string bytes;  // empty: silence
    After after = After::kKeep;
  };
  explicit RawServer(Loop& loop) : loop_(loop), tasks_(loop) {
    listener_ = std::move(*net::Listen(loop, {"127.0.0.1", 0}));
    address_ = net::LocalAddress(listener_->fd());
    tasks_.Spawn(Accept(this));
  }
  const net::Address& address() const { return address_; }

  std::map<std::string, Script, std::less<>> pages;
  std::map<std::string, int> asked;
  int connections = 0;

 private:
  static Task<> Accept(RawServer* self) {
    for (;;) {
      co_await AnyOf(self->listener_->readable);
      const int fd = accept4(self->listener_->fd(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
      if (fd < 0) continue;
      ++self->connections;
      self->tasks_.Spawn(Serve(self, fd));
    }
  }
  static Task<> Serve(RawServer* self, int fd) {
    runtime::DescriptorPtr descriptor(self->loop_, fd);
    std::string in(4096, '\0');
    for (;;) {
      co_await AnyOf(descriptor->readable);
      const net::IoResult io = net::Receive(fd, in);
      if (io.state == net::IoState::kClosed) co_return;
      if (io.state != net::IoState::kOk) continue;
      const std::string path = in.substr(4, in.find(' ', 4) - 4);
      ++self->asked[path];
      const Script script = self->pages[path];
      std::string_view rest = script.bytes;
      while (!rest.empty()) {
        const net::IoResult sent = net::SendParts(fd, {&rest, 1});
        if (sent.state == net::IoState::kClosed) co_return;
        rest.remove_prefix(sent.bytes);
        if (rest.empty() && script.after == After::kForever)
          rest = std::string_view(script.bytes).substr(script.bytes.find("\r\n\r\n") + 4);
        if (sent.state == net::IoState::kWouldBlock) co_await AnyOf(descriptor->writable);
        co_await runtime::SleepFor(self->loop_, Duration(0));
      }
      if (script.after == After::kClose) co_return;
    }
  }

  Loop& loop_;
  net::Address address_;
  runtime::DescriptorPtr listener_;
  runtime::TaskScope tasks_;
};

class ScraperTest : public testing::Test {
 protected:
  void Open(const std::string& data_layer = {}, std::map<std::string, std::string> labels = {}) {
    const std::string text = "apiVersion: llm-d.ai/v1alpha1\nkind: EndpointPickerConfig\n" + data_layer;
    auto config = schedule::LoadConfig(text, schedule::BuiltinRegistry(), {.allow_experimental_plugins = true});
    ASSERT_TRUE(config) << config.error().message;
    ASSERT_TRUE(scraper.Use(*config));
    const net::Address& a = server.address();
    const auto change =
        set.Replace({{.id = "e", .name = "pod-1", .address = a.host, .port = a.port, .labels = std::move(labels)}});
    id = change->added.front();
    scraper.Add(id);
    scraper.Start();
  }
  void SetUp() override {
    server.pages["/v1/models"] = {Ok(kModels)};
    server.pages["/metrics"] = {Ok(Page(7))};
  }
  // Runs the loop until `done`, at most ten seconds.
  void Until(const std::function<bool()>& done) {
    runtime::TaskScope scope(loop);
    scope.Spawn(Wait(&loop, &done));
    loop.Run();
    loop.Resume();
    ASSERT_TRUE(done());
  }
  void UntilAsked(const std::string& path, int more) {
    const int target = server.asked[path] + more;
    Until([&] { return server.asked[path] >= target; });
  }
  const model::EndpointState& State() { return *set.State(id); }
  std::string Metrics() { return registry.Render(); }

  Loop loop;
  RawServer server{loop};
  net::HttpClient client{loop, {}};
  observe::Registry registry;
  RouterMetrics metrics{registry};
  pool::EndpointSet set{{.endpoints_max = 10, .health = {}}};
  Scraper scraper{loop,
                  client,
                  metrics,
                  set,
                  {.pool = "p",
                   .interval = std::chrono::milliseconds(2),
                   .timeout = std::chrono::milliseconds(60),
                   .page_bytes_max = 100'000}};
  model::EndpointId id;

 private:
  static Task<> Wait(Loop* loop, const std::function<bool()>* done) {
    const TimePoint end = loop->Now() + std::chrono::seconds(10);
    while (!(*done)() && loop->Now() < end) co_await runtime::SleepFor(*loop, std::chrono::milliseconds(1));
    loop->Stop();
  }
};

TEST_F(ScraperTest, ReadsAgainAndAgainOverOneConnection) {
  Open();
  Until([&] { return State().waiting == 7; });
  ASSERT_NE(scraper.ModelsOf(id), nullptr);
  EXPECT_EQ(scraper.ModelsOf(id)->front().id, "m");
  server.pages["/metrics"] = {Ok(Page(8))};
  Until([&] { return State().waiting == 8; });
  UntilAsked("/metrics", 20);
  EXPECT_EQ(server.connections, 1);
  EXPECT_EQ(server.asked["/v1/models"], 1) << "models are asked every 5 s";
  EXPECT_THAT(Metrics(), Not(HasSubstr("datalayer_poll_errors_total{")));
}

TEST_F(ScraperTest, ChunkedAndCloseDelimitedPages) {
  server.pages["/metrics"] = {
      "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n6\r\nvllm:n\r\n17\r\num_requests_waiting 11\n"
      "\r\n0\r\n\r\n"};
  Open();
  Until([&] { return State().waiting == 11; });
  server.pages["/metrics"] = {"HTTP/1.1 200 OK\r\n\r\n" + Page(12), RawServer::After::kClose};
  Until([&] { return State().waiting == 12; });
  server.pages["/metrics"] = {Ok(Page(13)), RawServer::After::kClose};  // closes what it said it would keep
  Until([&] { return State().waiting == 13; });
}

// What every bad page has in common.
struct Bad {
  const char* name;
  RawServer::Script script;
  const char* counted;
  bool leaves_rotation;
};
void PrintTo(const Bad& bad, std::ostream* out) { *out << bad.name; }
class BadPage : public ScraperTest, public testing::WithParamInterface<Bad> {};

TEST_P(BadPage, IsCountedAndTheFormerValuesGrowOld) {
  Open();
  Until([&] { return State().waiting == 7; });
  server.pages["/metrics"] = GetParam().script;
  Until([&] { return Metrics().find(GetParam().counted) != std::string::npos; });
  const TimePoint stamp = State().scraped_at;
  UntilAsked("/metrics", 2);
  EXPECT_EQ(State().waiting, 7);
  EXPECT_EQ(State().scraped_at, stamp) << "a bad page does not refresh the age";
  if (GetParam().leaves_rotation) {
    Until([&] { return !set.Health(id)->in_rotation(); });
  } else {
    EXPECT_TRUE(set.Health(id)->in_rotation()) << "it answers, so it lives";
  }
  server.pages["/metrics"] = {Ok(Page(9))};
  Until([&] { return State().waiting == 9 && set.Health(id)->in_rotation(); });
}

constexpr const char* kPoll = "llm_d_epp_datalayer_poll_errors_total{source_type=\"metrics-data-source\"}";
constexpr const char* kExtract =
    "llm_d_epp_datalayer_extract_errors_total{source_type=\"metrics-data-source\",extractor_type=\"core-metrics-"
    "extractor\"}";
INSTANTIATE_TEST_SUITE_P(
    Scraper, BadPage,
    testing::Values(
        Bad{"Status500", {"HTTP/1.1 500 Oops\r\ncontent-length: 2\r\n\r\nno"}, kPoll, false},
        Bad{"Garbage", {Ok("<html>\x01\xff hello</html>\n")}, kExtract, false}, Bad{"Empty", {Ok("")}, kExtract, false},
        Bad{"NoSense", {Ok("vllm:num_requests_waiting -3\n")}, kExtract, false},
        Bad{"HalfALine", {Ok("vllm:num_requests_waiting 1")}, kExtract, false},
        Bad{"HalfABody",
            {"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\nvllm:num_requests_waiting 1\n", RawServer::After::kClose},
            kPoll,
            true},
        Bad{"NotHttp", {"220 smtp ready\r\n\r\n"}, kPoll, true}, Bad{"Silence", {""}, kPoll, true},
        Bad{"TooLarge", {Ok(std::string(100'001, '#'))}, kPoll, true},
        Bad{"NeverEnding",
            {"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n#abc\n\r\n", RawServer::After::kForever},
            kPoll,
            true}),
    [](const auto& info) { return info.param.name; });

TEST_F(ScraperTest, PartOfAPageIsTakenAndTheRestCounted) {
  server.pages["/metrics"] = {Ok("vllm:num_requests_running 3\nvllm:num_requests_waiting 1")};
  Open();
  Until([&] { return State().running == 3; });
  EXPECT_EQ(State().waiting, 0);
  EXPECT_THAT(Metrics(), HasSubstr(kExtract));
}

TEST_F(ScraperTest, AnEngineWithoutLabelIsRecognisedAndOneWithALabelIsBelieved) {
  server.pages["/metrics"] = {Ok("sglang:num_queue_reqs 5\n")};
  Open();
  Until([&] { return State().waiting == 5; });
}

TEST_F(ScraperTest, ALabelledEngineIsNotGuessed) {
  server.pages["/metrics"] = {Ok("sglang:num_queue_reqs 5\n")};
  Open({}, {{"llm-d.ai/engine-type", "vllm"}});
  UntilAsked("/metrics", 5);
  EXPECT_EQ(State().waiting, 0);
  EXPECT_THAT(Metrics(), HasSubstr(kExtract));
}

TEST_F(ScraperTest, SeveralSourcesEachWithItsPathPortAndInterval) {
  RawServer dcgm(loop);
  dcgm.pages["/gpu"] = {
      Ok("DCGM_FI_DEV_GPU_UTIL{gpu=\"0\",pod=\"pod-1\"} 40\nDCGM_FI_DEV_GPU_UTIL{gpu=\"1\",pod=\"x\"} 90\n")};
  server.pages["/other"] = {Ok("hot 55\n")};
  server.pages["/names"] = {Ok(kModels)};
  Open(
      "plugins:\n"
      "- type: metrics-data-source\n"
      "- type: core-metrics-extractor\n"
      "- {type: metrics-data-source, name: second, parameters: {path: /other, interval: 20ms}}\n"
      "- type: core-metrics-extractor\n"
      "  name: more\n"
      "  parameters: {engineConfigs: [{name: vllm, customMetrics: [{attributeKey: heat, metricSpec: hot}]}]}\n"
      "- {type: dcgm-data-source, parameters: {path: /gpu, port: " +
      std::to_string(dcgm.address().port) +
      "}}\n"
      "- type: dcgm-extractor\n"
      "- {type: models-data-source, parameters: {path: /names, interval: 10ms}}\n"
      "- type: models-data-extractor\n"
      "dataLayer:\n"
      "  sources:\n"
      "  - {pluginRef: metrics-data-source, extractors: [{pluginRef: core-metrics-extractor}]}\n"
      "  - {pluginRef: second, extractors: [{pluginRef: more}]}\n"
      "  - {pluginRef: dcgm-data-source, extractors: [{pluginRef: dcgm-extractor}]}\n"
      "  - {pluginRef: models-data-source, extractors: [{pluginRef: models-data-extractor}]}\n");
  Until([&] { return State().attributes.size() == 2 && State().waiting == 7; });
  UntilAsked("/metrics", 20);
  EXPECT_GT(server.asked["/metrics"], server.asked["/other"]);
  EXPECT_GT(server.asked["/names"], 1);
  EXPECT_EQ(server.asked["/v1/models"], 0);
  const auto view = set.View();
  EXPECT_FLOAT_EQ((*view->Attribute("GPUUtilization/dcgm-extractor"))[0], 0.4f);
  EXPECT_FLOAT_EQ((*view->Attribute("heat/more"))[0], 55);
  // The exporter's death says nothing about the engine.
  dcgm.pages["/gpu"] = {"bye", RawServer::After::kClose};
  Until([&] { return Metrics().find("poll_errors_total{source_type=\"dcgm-data-source\"}") != std::string::npos; });
  EXPECT_TRUE(set.Health(id)->in_rotation());
  EXPECT_FLOAT_EQ((*set.View()->Attribute("GPUUtilization/dcgm-extractor"))[0], 0.4f);
}

TEST_F(ScraperTest, AnEndpointThatGoesWhileItIsAsked) {
  server.pages["/metrics"] = {""};
  Open();
  UntilAsked("/metrics", 1);
  scraper.Remove(id);
  ASSERT_TRUE(set.Replace({}));
  EXPECT_EQ(scraper.ModelsOf(id), nullptr);
  const net::Address& a = server.address();
  id = set.Replace({{.id = "f", .name = "f", .address = a.host, .port = a.port}})->added.front();
  server.pages["/metrics"] = {Ok(Page(4))};
  scraper.Add(id);
  Until([&] { return State().waiting == 4; });
}

TEST_F(ScraperTest, WithoutProcessorTimeThePeriodGrowsButScrapingGoesOn) {
  Scraper poor(loop, client, metrics, set,
               {.pool = "poor", .interval = std::chrono::milliseconds(2), .cpu_share_max = 0.001});
  auto config = schedule::LoadConfig(schedule::DefaultConfigText(), schedule::BuiltinRegistry());
  ASSERT_TRUE(poor.Use(*config));
  std::vector<model::Endpoint> many;
  for (int i = 1; i <= 10; ++i) {
    many.push_back(
        {.id = std::to_string(i), .name = std::to_string(i), .address = "127.0.0.1", .port = server.address().port});
  }
  const auto change = set.Replace(many);
  for (const model::EndpointId each : change->added) poor.Add(each);
  poor.Start();
  const TimePoint begin = loop.Now();
  Until([&] { return server.asked["/metrics"] >= 30; });
  // 2 ms for ten endpoints would be 6 ms; a thousandth of the thread pays for some 40 of a second's 5,000.
  EXPECT_GT(loop.Now() - begin, std::chrono::milliseconds(100));
}

}  // namespace
}  // namespace sluice::serving
