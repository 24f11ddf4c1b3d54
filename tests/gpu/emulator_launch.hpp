// TEST ONLY: what a library of emulated kernels exports, see emulator.hpp.
#pragma once

#include "emulator.hpp"

extern "C" __attribute__((visibility("hidden"))) char __bss_start[], _end[];

namespace emulator {

// A parameter in letters: i, u, f with its bytes; P or C (pointer to const) and what it points to.
template <class T>
struct Letters {
  static void write(char*& to) {
    static_assert(std::is_arithmetic<T>::value, "parameters are numbers and pointers to numbers");
    *to++ = std::is_floating_point<T>::value ? 'f' : std::is_signed<T>::value ? 'i' : 'u';
    *to++ = static_cast<char>('0' + sizeof(T));
  }
};
template <class T>
struct Letters<T*> {
  static void write(char*& to) {
    *to++ = std::is_const<T>::value ? 'C' : 'P';
    Letters<std::remove_const_t<T>>::write(to);
  }
};

template <class... P, std::size_t... i>
void apply(void (*kernel)(P...), void** arguments, std::index_sequence<i...>) {
  kernel(*static_cast<std::remove_const_t<P>*>(arguments[i])...);
}

template <class... P>
void describe(void (*)(P...), char* to) {
  (..., (Letters<std::remove_const_t<P>>::write(to), *to++ = ' '));
  *to = 0;
}

struct Entry {
  const char* name;
  int bound;
  void (*call)(void** arguments);
  void (*describe)(char* to);
};

#define EMULATOR_ENTRY(kernel, bound)                                            \
  {#kernel, bound, [](void** arguments) { emulator::call(&kernel, arguments); }, \
   [](char* to) { emulator::describe(&kernel, to); }}
template <class... P>
void call(void (*kernel)(P...), void** arguments) {
  apply(kernel, arguments, std::index_sequence_for<P...>{});
}

inline void prepare() {
  if (block != nullptr) return;
  block = static_cast<Block*>(std::calloc(1, sizeof(Block)));
  block->stacks = static_cast<char*>(mmap(nullptr, max_threads * stack_bytes, PROT_READ | PROT_WRITE,
                                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
}

EMULATOR_QUIET inline void run_block(bool reversed) {
  Block& b = *block;
  fill(__bss_start, poison, _end - __bss_start);
  fill(b.dynamic, poison, b.dynamic_bytes);
  b.arrived = 0;
  b.alive = b.threads;
  fill(b.state, running, b.threads);
  fill(b.pending, 0, sizeof(b.pending));
  for (unsigned i = 0; i < b.threads; ++i) {
    Fiber& f = b.fibers[i];
    f.index = reversed ? b.threads - 1 - i : i;
    f.thread = {f.index % b.size.x, f.index / b.size.x % b.size.y, f.index / b.size.x / b.size.y};
    f.lane = f.index % warp_size;
    f.warp = f.index / warp_size;
    f.stack_pointer = fresh_stack(b.stacks + i * stack_bytes, fiber_main);
#ifdef __SANITIZE_THREAD__
    f.sanitizer = __tsan_create_fiber(0);
#endif
  }
  self = b.fibers;
  sanitizer_switch(self->sanitizer);
  emulator_switch(&b.scheduler, self->stack_pointer);
  acquire(&b.launch);  // so to a sanitizer blocks run one after another: they share the static memory
#ifdef __SANITIZE_THREAD__
  for (unsigned i = 0; i < b.threads; ++i) __tsan_destroy_fiber(b.fibers[i].sanitizer);
#endif
}

// Null, or what is wrong.
EMULATOR_QUIET inline const char* launch(const Entry& entry, const unsigned* grid, const unsigned* size,
                                         std::size_t shared, void** arguments, bool reversed) {
  prepare();
  Block& b = *block;
  b.error[0] = 0;
  b.grid = {grid[0], grid[1], grid[2]};
  b.size = {size[0], size[1], size[2]};
  b.threads = size[0] * size[1] * size[2];
  b.body = entry.call;
  b.arguments = arguments;
  b.dynamic_bytes = shared;
  b.dynamic = static_cast<unsigned char*>(std::aligned_alloc(128, (shared + guard_bytes + 127) / 128 * 128));
  fill(b.dynamic + shared, guard, guard_bytes);
#ifdef __SANITIZE_THREAD__
  b.scheduler_sanitizer = __tsan_get_current_fiber();
#endif
  const unsigned long long blocks = 1ull * grid[0] * grid[1] * grid[2];
  for (unsigned long long k = 0; k < blocks && b.error[0] == 0; ++k) {
    const unsigned long long at = reversed ? blocks - 1 - k : k;
    b.index = {unsigned(at % grid[0]), unsigned(at / grid[0] % grid[1]), unsigned(at / grid[0] / grid[1])};
    run_block(reversed);
    for (std::size_t i = 0; i < guard_bytes && b.error[0] == 0; ++i)
      if (b.dynamic[shared + i] != guard)
        std::snprintf(b.error, sizeof(b.error), "byte %zu of dynamic shared memory was written, of which there are %zu",
                      shared + i, shared);
  }
  std::free(b.dynamic);
  return b.error[0] != 0 ? b.error : nullptr;
}

}  // namespace emulator

// The end of a generated source: the table of kernels, and the functions that compile.py calls.
#define EMULATOR_EXPORT(...)                                                                              \
  static const emulator::Entry emulator_table[] = {__VA_ARGS__};                                          \
  extern "C" {                                                                                            \
  int emulator_entries() { return static_cast<int>(sizeof(emulator_table) / sizeof(emulator_table[0])); } \
  const char* emulator_name(int entry) { return emulator_table[entry].name; }                             \
  int emulator_bound(int entry) { return emulator_table[entry].bound; }                                   \
  void emulator_parameters(int entry, char* to) { emulator_table[entry].describe(to); }                   \
  const char* emulator_launch(int entry, const unsigned* grid, const unsigned* size, std::size_t shared,  \
                              void** arguments, int reversed) {                                           \
    return emulator::launch(emulator_table[entry], grid, size, shared, arguments, reversed != 0);         \
  }                                                                                                       \
  }
