// FramePool: recycles coroutine frames, so that a request's coroutines allocate nothing after warm-up.
// Thread rule: a free list per thread; a frame may be freed on another thread (it joins that thread's list).
// Cost: a few instructions a frame. Frames over kFrameMax bytes, and all frames under AddressSanitizer, use the heap.
#pragma once

#include <cstddef>

namespace sluice::runtime {

inline constexpr size_t kFrameMax = 4096;

void* AllocateFrame(size_t bytes);
void FreeFrame(void* frame, size_t bytes) noexcept;

}  // namespace sluice::runtime
