// The resolver against a small DNS server on the same loop: what a name's owner can answer, and what a network can do.
#include "net/dns.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <map>

namespace sluice::net {
namespace {

using runtime::AnyOf;
using runtime::Loop;
using runtime::Task;
using testing::ElementsAre;
using testing::HasSubstr;

// Answers A and AAAA questions from a table; a name that is not there does not exist; silent names get nothing.
class DnsServer {
 public:
  explicit DnsServer(Loop& loop) : tasks_(loop) {
    const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    socklen_t length = sizeof address;
    getsockname(fd, reinterpret_cast<sockaddr*>(&address), &length);
    port_ = ntohs(address.sin_port);
    descriptor_ = runtime::DescriptorPtr(loop, fd);
    tasks_.Spawn(Serve(this));
  }
  std::string servers() const { return "127.0.0.1:" + std::to_string(port_); }

  std::map<std::string, std::vector<std::string>> names;
  std::string silent;
  int asked = 0;

 private:
  static Task<> Serve(DnsServer* self) {
    for (;;) {
      co_await AnyOf(self->descriptor_->readable);
      std::array<unsigned char, 512> in;
      sockaddr_in from{};
      socklen_t length = sizeof from;
      const ssize_t n =
          recvfrom(self->descriptor_->fd(), in.data(), in.size(), 0, reinterpret_cast<sockaddr*>(&from), &length);
      if (n < 17) continue;
      ++self->asked;
      const std::string reply = self->Reply({reinterpret_cast<const char*>(in.data()), static_cast<size_t>(n)});
      if (reply.empty()) continue;
      sendto(self->descriptor_->fd(), reply.data(), reply.size(), 0, reinterpret_cast<sockaddr*>(&from), length);
    }
  }
  std::string Reply(std::string_view question) {
    std::string name;
    size_t at = 12;
    while (at < question.size() && question[at] != 0) {
      const auto size = static_cast<size_t>(question[at]);
      if (!name.empty()) name += '.';
      name += question.substr(at + 1, size);
      at += size + 1;
    }
    const bool v6 = question[at + 2] == 28;
    if (name == silent) return {};
    std::string answers;
    int count = 0;
    const auto found = names.find(name);
    if (found != names.end()) {
      for (const std::string& address : found->second) {
        std::array<char, 16> bytes;
        if ((address.find(':') != std::string::npos) != v6) continue;
        inet_pton(v6 ? AF_INET6 : AF_INET, address.c_str(), bytes.data());
        const char size = v6 ? 16 : 4;
        answers += std::string("\xc0\x0c\0", 3) + (v6 ? '\x1c' : '\x01') + std::string("\0\x01\0\0\0\x05\0", 7) + size;
        answers.append(bytes.data(), static_cast<size_t>(size));
        ++count;
      }
    }
    std::string reply(question.substr(0, 2));
    reply += std::string("\x81", 1) + (found == names.end() ? '\x83' : '\x80') + std::string("\0\x01\0", 3);
    reply += static_cast<char>(count);
    reply += std::string(4, '\0');
    reply += question.substr(12, at + 5 - 12);
    return reply + answers;
  }

  uint16_t port_ = 0;
  runtime::DescriptorPtr descriptor_;
  runtime::TaskScope tasks_;
};

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
