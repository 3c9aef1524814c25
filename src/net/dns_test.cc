// The resolver against a small DNS server on the same loop: what a name's owner can answer, and what a network can do.
#include "net/dns.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "net/dns_server_fixture.h"

namespace sluice::net {
namespace {

using runtime::Loop;
using runtime::Task;
using testing::ElementsAre;
using testing::HasSubstr;

Task<> Ask(Loop* loop, Resolver* resolver, std::string name, Result<Resolver::Answer>* out) {
  *out = co_await resolver->Resolve(std::move(name));
  loop->Stop();
}

class Dns : public testing::Test {
 protected:
  Result<Resolver::Answer> Resolve(const std::string& name, Resolver::Options options = {}) {
    options.servers = server.servers();
    Resolver resolver(loop, options);
    Result<Resolver::Answer> answer = Fail(Code::kInternal, "not asked");
    loop.Resume();
    runtime::TaskScope scope(loop);
    scope.Spawn(Ask(&loop, &resolver, name, &answer));
    loop.Run();
    return answer;
  }
  Loop loop;
  DnsServer server{loop};
};

TEST_F(Dns, BothFamiliesSortedWithoutDoubles) {
  server.names["engines.test"] = {"10.0.0.2", "10.0.0.1", "10.0.0.2", "2001:db8::1"};
  const auto answer = Resolve("engines.test");
  ASSERT_TRUE(answer) << answer.error().message;
  EXPECT_THAT(answer->addresses, ElementsAre("10.0.0.1", "10.0.0.2", "2001:db8::1"));
  EXPECT_FALSE(answer->cut);
}

TEST_F(Dns, OnlyIpv6) {
  server.names["six.test"] = {"2001:db8::2"};
  EXPECT_THAT(Resolve("six.test")->addresses, ElementsAre("2001:db8::2"));
}

TEST_F(Dns, AnUnknownNameAndOneWithoutAddresses) {
  server.names["empty.test"] = {};
  for (const char* name : {"nobody.test", "empty.test"}) {
    const auto answer = Resolve(name);
    ASSERT_FALSE(answer);
    EXPECT_EQ(answer.error().code, Code::kNotFound) << answer.error().message;
    EXPECT_THAT(answer.error().message, HasSubstr(name));
  }
}

TEST_F(Dns, ASilentServerIsGivenUp) {
  server.silent = "silent.test";
  const auto answer = Resolve("silent.test", {.timeout = std::chrono::milliseconds(10), .tries = 2});
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code, Code::kUnavailable);
  EXPECT_GE(server.asked, 3);  // two families, two tries
}

TEST_F(Dns, MoreAddressesThanTheLimitAreCut) {
  server.names["many.test"] = {"10.0.0.1", "10.0.0.2", "10.0.0.3"};
  EXPECT_EQ(Resolve("many.test", {.addresses_max = 3})->cut, false);
  const auto answer = Resolve("many.test", {.addresses_max = 2});
  EXPECT_TRUE(answer->cut);
  EXPECT_EQ(answer->addresses.size(), 2u);
}

TEST_F(Dns, AResolverMayEndWhileItWaits) {
  server.silent = "silent.test";
  auto resolver = std::make_unique<Resolver>(loop, Resolver::Options{.servers = server.servers()});
  Result<Resolver::Answer> answer = Fail(Code::kInternal, "not asked");
  auto scope = std::make_unique<runtime::TaskScope>(loop);
  scope->Spawn(Ask(&loop, resolver.get(), "silent.test", &answer));
  loop.Post([&] {
    scope.reset();
    resolver.reset();
    loop.Stop();
  });
  loop.Run();
  EXPECT_FALSE(answer);
}

TEST(DnsName, IsNotAnAddress) {
  EXPECT_TRUE(Resolver::IsName("vllm.models.svc.cluster.local"));
  EXPECT_TRUE(Resolver::IsName("host-1"));
  for (const char* other : {"10.0.0.1", "::1", "", "a b", "a/b"}) EXPECT_FALSE(Resolver::IsName(other)) << other;
}

}  // namespace
}  // namespace sluice::net
