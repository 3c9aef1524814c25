#include "serving/name_discovery.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "net/dns_server_fixture.h"

namespace sluice::serving {
namespace {

using runtime::Loop;
using runtime::Task;
using testing::ElementsAre;
using testing::HasSubstr;

class NameDiscoveryTest : public testing::Test {
 protected:
  void Open(std::vector<std::string> names) {
    NameDiscovery::Options options{.pool = "p", .resolver = {.servers = server.servers()}};
    for (std::string& name : names) options.names.push_back({std::move(name), 8000, std::chrono::milliseconds(2)});
    discovery = std::make_unique<NameDiscovery>(loop, metrics, std::move(options), [this] { ++changes; });
    discovery->Start();
  }
  void Until(const std::function<bool()>& done) {
    runtime::TaskScope scope(loop);
    scope.Spawn(Wait(&loop, &done));
    loop.Run();
    loop.Resume();
    ASSERT_TRUE(done());
  }
  std::vector<std::string> Found() {
    std::vector<std::string> out;
    for (const model::Endpoint& endpoint : discovery->Endpoints()) out.push_back(endpoint.name);
    return out;
  }

  Loop loop;
  net::DnsServer server{loop};
  observe::Registry registry;
  RouterMetrics metrics{registry};
  int changes = 0;
  std::unique_ptr<NameDiscovery> discovery;

 private:
  static Task<> Wait(Loop* loop, const std::function<bool()>* done) {
    const TimePoint end = loop->Now() + std::chrono::seconds(10);
    while (!(*done)() && loop->Now() < end) co_await runtime::SleepFor(*loop, std::chrono::milliseconds(1));
    loop->Stop();
  }
};

TEST_F(NameDiscoveryTest, EachAddressIsAnEndpointAndChangesAreFollowed) {
  server.names["engines.test"] = {"10.0.0.1", "2001:db8::1"};
  Open({"engines.test"});
  EXPECT_FALSE(discovery->Asked());
  Until([&] { return changes == 1; });
  EXPECT_TRUE(discovery->Asked());
  EXPECT_THAT(Found(), ElementsAre("10.0.0.1:8000", "[2001:db8::1]:8000"));
  EXPECT_EQ(discovery->Endpoints()[1].address, "2001:db8::1");
  server.names["engines.test"] = {"10.0.0.2", "10.0.0.1"};
  Until([&] { return changes == 2; });
  EXPECT_THAT(Found(), ElementsAre("10.0.0.1:8000", "10.0.0.2:8000"));
  const int asked = server.asked;
  Until([&] { return server.asked >= asked + 10; });
  EXPECT_EQ(changes, 2) << "the same answer is no change";
}

TEST_F(NameDiscoveryTest, ANameThatStopsResolvingKeepsItsAddressesAndIsCounted) {
  server.names["engines.test"] = {"10.0.0.1"};
  Open({"engines.test"});
  Until([&] { return changes == 1; });
  server.names.clear();
  Until(
      [&] { return registry.Render().find("poll_errors_total{source_type=\"dns-discovery\"}") != std::string::npos; });
  EXPECT_THAT(Found(), ElementsAre("10.0.0.1:8000"));
  server.names["engines.test"] = {"10.0.0.9"};
  Until([&] { return changes == 2; });
  EXPECT_THAT(Found(), ElementsAre("10.0.0.9:8000"));
}

TEST_F(NameDiscoveryTest, TwoNamesOfOneAddressAreOneEndpointAndAnUnknownNameNone) {
  server.names["a.test"] = {"10.0.0.1"};
  server.names["b.test"] = {"10.0.0.1", "10.0.0.3"};
  Open({"a.test", "b.test", "nobody.test"});
  Until([&] { return discovery->Asked(); });
  EXPECT_THAT(Found(), ElementsAre("10.0.0.1:8000", "10.0.0.3:8000"));
}

}  // namespace
}  // namespace sluice::serving
