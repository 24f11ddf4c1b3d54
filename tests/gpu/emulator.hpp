// TEST ONLY: runs a CUDA kernel on the CPU. Every thread of a block is a fiber; blocks run one after another.
//
// What it finds: barriers that not every thread of a block reaches, or that threads reach at different lines; warp
// operations that a lane named in the mask does not take part in; shared memory that is read before it is written (it
// starts as NaN); writes beyond the dynamic shared memory that the launch asked for. Fibers run until their next
// barrier, in either order of threads and blocks, so a missing barrier gives wrong numbers; built with
// -fsanitize=thread every fiber is a thread to the sanitizer, in which barriers order what they order on a GPU and
// nothing else. A kernel library holds nothing but kernels and this header: its .bss is the static shared memory. The
// runtime's own variables therefore stand in .data.
#pragma once

#include <sys/mman.h>
#include <ucontext.h>

#include <math.h>
#include <string.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "emulator_sanitizers.hpp"

struct uint3 {
  unsigned x, y, z;
};
struct dim3 {
  unsigned x = 1, y = 1, z = 1;
};

namespace emulator {

constexpr unsigned max_threads = 1024, warp_size = 32, full_mask = 0xFFFFFFFFu;
constexpr std::size_t stack_bytes = 256 << 10, guard_bytes = 4096;
constexpr unsigned char poison = 0xFF, guard = 0xA5;

enum Operation : int { sync_block, count_block, sync_warp, shuffle, ballot };

struct Fiber {
  void* stack_pointer;
  void* sanitizer;
  uint3 thread;
  unsigned index, lane, warp;
  // What it waits for.
  Operation operation;
  int line;
  unsigned mask, source;
  std::uint64_t value, result;
};

// Lanes of a warp that wait with one mask.
struct Group {
  unsigned mask, arrived, slot;
};

struct Block {
  uint3 index;
  dim3 size, grid;
  unsigned threads, arrived, votes;
  unsigned alive;
  Operation operation;
  int line;
  std::size_t dynamic_bytes;
  unsigned char* dynamic;
  char state[max_threads];
  Fiber fibers[max_threads];
  Group groups[max_threads];  // those of warp w from w * warp_size on
  unsigned pending[max_threads / warp_size];
  char* stacks;
  void* scheduler;
  void* scheduler_sanitizer;
  void (*body)(void** arguments);
  void** arguments;
  char error[512];
  // Addresses for the sanitizer. Who has left a barrier may reach the next one before others have left the first.
  char fence, launch, barriers[2], warps[max_threads];
  unsigned passed, met;
};

static Block* block __attribute__((section(".data"))) = nullptr;
static Fiber* self __attribute__((section(".data"))) = nullptr;

// Saves the callee-saved registers on this stack and goes on where the other stack was left.
#if defined(__x86_64__) && !defined(EMULATOR_UCONTEXT)
extern "C" __attribute__((visibility("hidden"))) void emulator_switch(void** save, void* load);
__asm__(
    ".text\n.hidden emulator_switch\n.globl emulator_switch\n.type emulator_switch,@function\nemulator_switch:\n"
    "  pushq %rbp\n  pushq %rbx\n  pushq %r12\n  pushq %r13\n  pushq %r14\n  pushq %r15\n"
    "  movq %rsp, (%rdi)\n  movq %rsi, %rsp\n"
    "  popq %r15\n  popq %r14\n  popq %r13\n  popq %r12\n  popq %rbx\n  popq %rbp\n  ret\n"
    ".size emulator_switch, .-emulator_switch\n");
inline void* fresh_stack(char* stack, void (*entry)()) {
  void** top = reinterpret_cast<void**>(stack + stack_bytes);
  *--top = nullptr;  // keeps the stack of `entry` aligned as after a call
  *--top = reinterpret_cast<void*>(entry);
  for (int i = 0; i < 6; ++i) *--top = nullptr;
  return top;
}
#else
inline void emulator_switch(void** save, void* load) {
  ucontext_t here;  // stays on the stack that it describes
  *save = &here;
  swapcontext(&here, static_cast<ucontext_t*>(load));
}
inline void* fresh_stack(char* stack, void (*entry)()) {
  ucontext_t* context = reinterpret_cast<ucontext_t*>(stack);
  getcontext(context);
  context->uc_stack.ss_sp = stack + sizeof(ucontext_t);
  context->uc_stack.ss_size = stack_bytes - sizeof(ucontext_t);
  context->uc_link = nullptr;
  makecontext(context, entry, 0);
  return context;
}
#endif

EMULATOR_QUIET __attribute__((noinline)) inline void to_scheduler() {
  sanitizer_switch(block->scheduler_sanitizer);
  void* left;
  emulator_switch(&left, block->scheduler);
  std::abort();
}

#define EMULATOR_FAIL(...)                                                              \
  do {                                                                                  \
    std::snprintf(emulator::block->error, sizeof(emulator::block->error), __VA_ARGS__); \
    emulator::to_scheduler();                                                           \
  } while (0)

inline const char* name_of(Operation operation) {
  static const char* const names[] = {"__syncthreads", "__syncthreads_count/and/or", "__syncwarp", "a shuffle",
                                      "a vote"};
  return names[operation];
}

EMULATOR_QUIET inline void deadlock() {
  const Block& b = *block;
  unsigned ended = 0, barrier = 0, warp = 0, example = 0;
  for (unsigned i = 0; i < b.threads; ++i) {
    ended += b.state[i] == finished;
    barrier += b.state[i] == at_barrier;
    if (b.state[i] == at_warp) example = i, ++warp;
  }
  if (warp > 0) {
    const Fiber& f = b.fibers[example];
    EMULATOR_FAIL(
        "thread %u waits for ever in %s with mask %#x at line %d: %u threads wait so, %u at a barrier, %u have ended",
        f.index, name_of(f.operation), f.mask, f.line, warp, barrier, ended);
  }
  EMULATOR_FAIL("%u of %u threads wait in %s at line %d, and %u threads have ended without it", barrier, b.threads,
                name_of(b.operation), b.line, ended);
}

// The next fiber that can run, in a circle.
EMULATOR_QUIET __attribute__((noinline)) inline void yield() {
  Block& b = *block;
  Fiber* const from = self;
  const unsigned at = static_cast<unsigned>(from - b.fibers);
  char* found = first_running(b.state + at + 1, b.threads - at - 1);
  if (found == nullptr) found = first_running(b.state, at + 1);
  if (found == nullptr) deadlock();
  Fiber* const to = b.fibers + (found - b.state);
  if (to == from) return;
  self = to;
  sanitizer_switch(to->sanitizer);
  emulator_switch(&from->stack_pointer, to->stack_pointer);
}

// All threads of the block; returns how many gave a true predicate.
EMULATOR_QUIET inline unsigned block_barrier(Operation operation, int line, bool predicate) {
  Block& b = *block;
  Fiber& me = *self;
  if (b.arrived == 0) {
    b.operation = operation;
    b.line = line;
    b.votes = 0;
  } else if (b.line != line || b.operation != operation) {
    EMULATOR_FAIL("thread %u reaches a barrier at line %d while others wait in %s at line %d", me.index, line,
                  name_of(b.operation), b.line);
  }
  b.votes += predicate;
  me.operation = operation;
  me.line = line;
  char* const place = b.barriers + b.passed % 2;
  release(place);
  if (++b.arrived == b.threads) {
    b.arrived = 0;
    ++b.passed;
    for (unsigned i = 0; i < b.threads; ++i) b.fibers[i].result = b.votes;
    fill(b.state, running, b.threads);
  } else {
    b.state[&me - b.fibers] = at_barrier;
    yield();
  }
  acquire(place);
  return static_cast<unsigned>(me.result);
}

// What the last lane to arrive does for the lanes in the mask.
EMULATOR_QUIET inline void resolve(Fiber* warp, unsigned lanes_at, unsigned mask) {
  Block& b = *block;
  const Fiber& me = *self;
  std::uint64_t votes = 0;
  for (unsigned lane = 0; lane < warp_size; ++lane) {
    if (!(mask >> lane & 1)) continue;
    const Fiber& f = warp[lanes_at ? warp_size - 1 - lane : lane];
    if (f.operation != me.operation || f.line != me.line)
      EMULATOR_FAIL("lanes of one warp meet in %s at line %d and in %s at line %d", name_of(me.operation), me.line,
                    name_of(f.operation), f.line);
    if (f.value != 0) votes |= std::uint64_t(1) << lane;
  }
  for (unsigned lane = 0; lane < warp_size; ++lane) {
    if (!(mask >> lane & 1)) continue;
    Fiber& f = warp[lanes_at ? warp_size - 1 - lane : lane];
    if (me.operation == ballot) f.result = votes;
    if (me.operation == shuffle) {
      if (!(mask >> f.source & 1))
        EMULATOR_FAIL("thread %u shuffles from lane %u, which mask %#x does not name, at line %d", f.index, f.source,
                      mask, f.line);
      f.result = warp[lanes_at ? warp_size - 1 - f.source : f.source].value;
    }
    b.state[&f - b.fibers] = running;
  }
}

EMULATOR_QUIET inline std::uint64_t warp_operation(Operation operation, int line, unsigned mask, std::uint64_t value,
                                                   unsigned source) {
  Block& b = *block;
  Fiber& me = *self;
  // Lanes stand in the order of the block's fibers, or the other way round.
  const bool reversed = b.fibers[0].index != 0;
  if (!(mask >> me.lane & 1)) EMULATOR_FAIL("thread %u is not in its own mask %#x at line %d", me.index, mask, line);
  const unsigned lanes = b.threads - me.warp * warp_size;
  if (lanes < warp_size && mask >> lanes != 0)
    EMULATOR_FAIL("mask %#x at line %d names lanes beyond the %u threads of the last warp", mask, line, lanes);
  me.operation = operation;
  me.line = line;
  me.mask = mask;
  me.value = value;
  me.source = source;
  Group* groups = b.groups + me.warp * warp_size;
  unsigned& count = b.pending[me.warp];
  unsigned g = 0;
  while (g < count && groups[g].mask != mask) ++g;
  if (g == count) groups[count++] = {mask, 0, b.met++ % max_threads};
  char* const place = b.warps + groups[g].slot;
  if (operation == sync_warp) release(place);
  if ((groups[g].arrived |= 1u << me.lane) == mask) {
    groups[g] = groups[--count];
    // Lane 0 of this warp, or the fiber 31 places before it, whose lane would be 31.
    Fiber* warp = &me - (reversed ? warp_size - 1 - me.lane : me.lane);
    resolve(warp, reversed, mask);
  } else {
    b.state[&me - b.fibers] = at_warp;
    yield();
  }
  if (operation == sync_warp) acquire(place);
  return me.result;
}

EMULATOR_QUIET inline void fiber_main() {
  block->body(block->arguments);
  Block& b = *block;
  release(&b.launch);
  b.state[self - b.fibers] = finished;
  if (--b.alive == 0) to_scheduler();
  yield();
  std::abort();
}

}  // namespace emulator
