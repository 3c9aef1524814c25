#include "runtime/signals.h"

#include <sys/signalfd.h>
#include <unistd.h>

#include <csignal>

#include "base/check.h"

namespace sluice::runtime {
namespace {
sigset_t SetOf(std::initializer_list<int> signals) {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : signals) sigaddset(&set, signal);
  return set;
}
}  // namespace

void Signals::Block(std::initializer_list<int> signals) {
  const sigset_t set = SetOf(signals);
  SLUICE_CHECK(pthread_sigmask(SIG_BLOCK, &set, nullptr) == 0, "pthread_sigmask");
  std::signal(SIGPIPE, SIG_IGN);
}

Signals::Signals(Loop& loop, std::initializer_list<int> signals) {
  const sigset_t set = SetOf(signals);
  const int fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
  SLUICE_CHECK(fd >= 0, "signalfd");
  descriptor_ = DescriptorPtr(loop, fd);
}

Task<int> Signals::Next() {
  for (;;) {
    signalfd_siginfo info;
    if (read(descriptor_->fd(), &info, sizeof info) == sizeof info) co_return static_cast<int>(info.ssi_signo);
    co_await AnyOf(descriptor_->readable);
  }
}

namespace {
Task<> StopOn(Signals* signals, Loop* loop) {
  co_await signals->Next();
  loop->Stop();
}
}  // namespace

void RunUntilSignal(Loop& loop) {
  Signals signals(loop, {SIGTERM, SIGINT});
  TaskScope scope(loop);
  scope.Spawn(StopOn(&signals, &loop));
  loop.Run();
}

}  // namespace sluice::runtime
