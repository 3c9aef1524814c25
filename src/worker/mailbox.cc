#include "worker/mailbox.h"

namespace sluice::worker {

class Mailbox::Slot final : public Listener {
 public:
  Slot(std::shared_ptr<Mailbox> box, size_t sequence) : box_(std::move(box)), sequence_(sequence) {}
  void OnOutput(Output output) override { box_->Put(sequence_, std::move(output)); }

 private:
  std::shared_ptr<Mailbox> box_;
  size_t sequence_;
};

std::shared_ptr<Listener> Mailbox::MakeListener(size_t sequence) {
  return std::make_shared<Slot>(shared_from_this(), sequence);
}

void Mailbox::Put(size_t sequence, Output output) {
  {
    const std::lock_guard lock(mutex_);
    letters_.push_back({sequence, std::move(output)});
    if (posted_) return;
    posted_ = true;
  }
  loop_.Post([self = shared_from_this()] { self->arrived_.Set(); });
}

std::vector<Mailbox::Letter> Mailbox::Take() {
  arrived_.Clear();
  const std::lock_guard lock(mutex_);
  posted_ = false;
  return std::exchange(letters_, {});
}

}  // namespace sluice::worker
