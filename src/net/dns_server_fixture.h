// A DNS server for tests: on the test's own loop, on a free UDP port, with names that the test may change at any time.
#pragma once

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/loop.h"

namespace sluice::net {

// Answers A and AAAA questions from a table; a name that is not there does not exist; silent names get nothing.
class DnsServer {
 public:
  explicit DnsServer(runtime::Loop& loop) : tasks_(loop) {
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
  static runtime::Task<> Serve(DnsServer* self) {
    for (;;) {
      co_await runtime::AnyOf(self->descriptor_->readable);
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

}  // namespace sluice::net
