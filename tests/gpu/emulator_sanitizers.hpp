// TEST ONLY: what the sanitizers are told of fibers, barriers and the emulator's own memory, see emulator.hpp.
#pragma once

#include <cstddef>
#include <cstring>

#ifdef __SANITIZE_THREAD__
#include <sanitizer/tsan_interface.h>
#endif

namespace emulator {

enum State : char { running = 1, at_barrier, at_warp, finished };

// The emulator's own bookkeeping is no business of a sanitizer.
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define EMULATOR_QUIET __attribute__((no_sanitize_thread, no_sanitize_address, noinline))
EMULATOR_QUIET inline void fill(void* to, int byte, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) static_cast<volatile char*>(to)[i] = static_cast<char>(byte);
}
EMULATOR_QUIET inline char* first_running(char* from, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i)
    if (static_cast<volatile char*>(from)[i] == running) return from + i;
  return nullptr;
}
#else
#define EMULATOR_QUIET
inline void fill(void* to, int byte, std::size_t count) { std::memset(to, byte, count); }
inline char* first_running(char* from, std::size_t count) {
  return static_cast<char*>(std::memchr(from, running, count));
}
#endif

#ifdef __SANITIZE_THREAD__
inline void release(void* address) { __tsan_release(address); }
inline void acquire(void* address) { __tsan_acquire(address); }
// Without the flag a switch would order everything before it.
inline void sanitizer_switch(void* fiber) { __tsan_switch_to_fiber(fiber, __tsan_switch_to_fiber_no_sync); }
#else
inline void release(void*) {}
inline void acquire(void*) {}
inline void sanitizer_switch(void*) {}
#endif

}  // namespace emulator
