#include "runtime/frame_pool.h"

#include <array>
#include <new>

namespace sluice::runtime {
namespace {

constexpr size_t kStep = 64;
constexpr size_t kClasses = kFrameMax / kStep;
constexpr size_t kKeptPerClass = 4096;  // limit on what an idle thread holds on to

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
constexpr bool kPooled = false;  // so that the sanitizer sees a frame used after its end
#else
constexpr bool kPooled = true;
#endif
#else
constexpr bool kPooled = true;
#endif

struct FreeFrameNode {
  FreeFrameNode* next;
};

struct ThreadLists {
  std::array<FreeFrameNode*, kClasses> head{};
  std::array<size_t, kClasses> count{};
  ~ThreadLists() {
    for (FreeFrameNode* node : head) {
      while (node != nullptr) {
        FreeFrameNode* next = node->next;
        ::operator delete(node);
        node = next;
      }
    }
    count.fill(kKeptPerClass);  // a frame freed after this goes straight to the heap
    head.fill(nullptr);
  }
};

thread_local ThreadLists lists;

size_t ClassOf(size_t bytes) { return (bytes - 1) / kStep; }

}  // namespace

void* AllocateFrame(size_t bytes) {
  if (kPooled && bytes <= kFrameMax) {
    const size_t c = ClassOf(bytes);
    if (FreeFrameNode* node = lists.head[c]) {
      lists.head[c] = node->next;
      --lists.count[c];
      return node;
    }
    return ::operator new((c + 1) * kStep);
  }
  return ::operator new(bytes);
}

void FreeFrame(void* frame, size_t bytes) noexcept {
  if (kPooled && bytes <= kFrameMax) {
    const size_t c = ClassOf(bytes);
    if (lists.count[c] < kKeptPerClass) {
      auto* node = static_cast<FreeFrameNode*>(frame);
      node->next = lists.head[c];
      lists.head[c] = node;
      ++lists.count[c];
      return;
    }
  }
  ::operator delete(frame);
}

}  // namespace sluice::runtime
