// TEST ONLY: the words of CUDA C++ that the kernels use, for emulator.hpp.
#pragma once

#include <type_traits>
#include <utility>

#include "emulator.hpp"

// After the standard headers, which use some of these names themselves.
#define __host__
#define __device__
#define __global__
#define __constant__
#define __shared__ static
#define __grid_constant__
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __align__(bytes) __attribute__((aligned(bytes)))
#define __launch_bounds__(...)
#define threadIdx (emulator::self->thread)
#define blockIdx (emulator::block->index)
#define blockDim (emulator::block->size)
#define gridDim (emulator::block->grid)
#define warpSize 32
// compile.py puts this in the place of `extern __shared__ T name[];`.
#define EMULATOR_DYNAMIC(T, name) T* const name = reinterpret_cast<T*>(emulator::block->dynamic)

#define EMULATOR_VECTOR(T, name)                                                     \
  struct alignas(2 * sizeof(T)) name##2 { T x, y; };                                 \
  struct name##3 { T x, y, z; };                                                     \
  struct alignas(4 * sizeof(T) < 16 ? 4 * sizeof(T) : 16) name##4 { T x, y, z, w; }; \
  inline name##2 make_##name##2(T x, T y) { return {x, y}; }                         \
  inline name##3 make_##name##3(T x, T y, T z) { return {x, y, z}; }                 \
  inline name##4 make_##name##4(T x, T y, T z, T w) { return {x, y, z, w}; }
EMULATOR_VECTOR(float, float)
EMULATOR_VECTOR(double, double)
EMULATOR_VECTOR(int, int)
EMULATOR_VECTOR(long long, longlong)
EMULATOR_VECTOR(unsigned long long, ulonglong)
struct alignas(8) uint2 {
  unsigned x, y;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};

// Barriers and warp operations. The line tells one barrier from another.
#define EMULATOR_LINE int line = __builtin_LINE()
inline void __syncthreads(EMULATOR_LINE) { emulator::block_barrier(emulator::sync_block, line, false); }
inline int __syncthreads_count(int predicate, EMULATOR_LINE) {
  return static_cast<int>(emulator::block_barrier(emulator::count_block, line, predicate != 0));
}
inline int __syncthreads_or(int predicate, EMULATOR_LINE) {
  return emulator::block_barrier(emulator::count_block, line, predicate != 0) > 0;
}
inline int __syncthreads_and(int predicate, EMULATOR_LINE) {
  return emulator::block_barrier(emulator::count_block, line, predicate != 0) == emulator::block->threads;
}
inline void __syncwarp(unsigned mask = emulator::full_mask, EMULATOR_LINE) {
  emulator::warp_operation(emulator::sync_warp, line, mask, 0, 0);
}
inline unsigned __ballot_sync(unsigned mask, int predicate, EMULATOR_LINE) {
  return static_cast<unsigned>(emulator::warp_operation(emulator::ballot, line, mask, predicate != 0, 0));
}
inline int __any_sync(unsigned mask, int predicate, EMULATOR_LINE) { return __ballot_sync(mask, predicate, line) != 0; }
inline int __all_sync(unsigned mask, int predicate, EMULATOR_LINE) {
  return __ballot_sync(mask, predicate, line) == mask;
}

namespace emulator {
// Lane `source` of the segment of `width` lanes, or the caller's own lane beyond its ends.
template <class T>
T shuffled(unsigned mask, T value, int source, bool inside, int line) {
  static_assert(sizeof(T) == 4 || sizeof(T) == 8, "shuffles move 4 or 8 bytes");
  std::uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof(T));
  bits = warp_operation(shuffle, line, mask, bits, inside ? static_cast<unsigned>(source) : self->lane);
  std::memcpy(&value, &bits, sizeof(T));
  return value;
}
}  // namespace emulator
template <class T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32, EMULATOR_LINE) {
  const int lane = static_cast<int>(emulator::self->lane);
  return emulator::shuffled(mask, value, (lane & ~(width - 1)) + (source & (width - 1)), true, line);
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32, EMULATOR_LINE) {
  const int lane = static_cast<int>(emulator::self->lane), source = lane - static_cast<int>(delta);
  return emulator::shuffled(mask, value, source, source >= (lane & ~(width - 1)), line);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32, EMULATOR_LINE) {
  const int lane = static_cast<int>(emulator::self->lane), source = lane + static_cast<int>(delta);
  return emulator::shuffled(mask, value, source, source < (lane & ~(width - 1)) + width, line);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int lanes, int width = 32, EMULATOR_LINE) {
  const int lane = static_cast<int>(emulator::self->lane), source = lane ^ lanes;
  return emulator::shuffled(mask, value, source, source < (lane & ~(width - 1)) + width, line);
}

inline void __threadfence() {
  emulator::release(&emulator::block->fence);
  emulator::acquire(&emulator::block->fence);
}
inline void __threadfence_block() { __threadfence(); }
inline void __trap() { EMULATOR_FAIL("__trap() in thread %u", emulator::self->index); }

// Atomics: relaxed, as on a GPU.
namespace emulator {
template <class T, class F>
T exchanged(T* address, F next) {
  T before, after;
  __atomic_load(address, &before, __ATOMIC_RELAXED);
  do after = next(before);
  while (!__atomic_compare_exchange(address, &before, &after, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
  return before;
}
template <class T>
using Same = typename std::common_type<T>::type;  // lets the other argument convert
}  // namespace emulator
#define EMULATOR_ATOMIC(name, result)                                         \
  template <class T>                                                          \
  T name(T* address, emulator::Same<T> value) {                               \
    return emulator::exchanged(address, [&](T before) { return T(result); }); \
  }
EMULATOR_ATOMIC(atomicAdd, before + value)
EMULATOR_ATOMIC(atomicSub, before - value)
EMULATOR_ATOMIC(atomicMax, before < value ? value : before)
EMULATOR_ATOMIC(atomicMin, value < before ? value : before)
EMULATOR_ATOMIC(atomicExch, (static_cast<void>(before), value))
EMULATOR_ATOMIC(atomicOr, before | value)
EMULATOR_ATOMIC(atomicAnd, before& value)
template <class T>
T atomicCAS(T* address, emulator::Same<T> compare, emulator::Same<T> value) {
  __atomic_compare_exchange(address, &compare, &value, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
  return compare;
}

// Loads with a hint.
template <class T>
T __ldg(const T* address) {
  return *address;
}
template <class T>
T __ldcs(const T* address) {
  return *address;
}
template <class T>
T __ldcg(const T* address) {
  return *address;
}
template <class T>
void __stcs(T* address, T value) {
  *address = value;
}

// Bits and arithmetic.
namespace emulator {
template <class To, class From>
To bits(From from) {
  static_assert(sizeof(To) == sizeof(From), "");
  To to;
  std::memcpy(&to, &from, sizeof(to));
  return to;
}
}  // namespace emulator
inline int __float_as_int(float x) { return emulator::bits<int>(x); }
inline unsigned __float_as_uint(float x) { return emulator::bits<unsigned>(x); }
inline float __int_as_float(int x) { return emulator::bits<float>(x); }
inline float __uint_as_float(unsigned x) { return emulator::bits<float>(x); }
inline long long __double_as_longlong(double x) { return emulator::bits<long long>(x); }
inline double __longlong_as_double(long long x) { return emulator::bits<double>(x); }
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
inline int __clz(int x) { return x == 0 ? 32 : __builtin_clz(static_cast<unsigned>(x)); }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline unsigned __umulhi(unsigned a, unsigned b) { return static_cast<unsigned>((std::uint64_t(a) * b) >> 32); }
inline double __dmul_rn(double a, double b) { return a * b; }
inline double __dadd_rn(double a, double b) { return a + b; }
inline double __dsub_rn(double a, double b) { return a - b; }
inline double __ddiv_rn(double a, double b) { return a / b; }
inline double __dsqrt_rn(double a) { return std::sqrt(a); }
inline double __fma_rn(double a, double b, double c) { return std::fma(a, b, c); }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __fsqrt_rn(float a) { return std::sqrt(a); }
inline float __fmaf_rn(float a, float b, float c) { return std::fma(a, b, c); }
inline double rsqrt(double x) { return 1 / std::sqrt(x); }
inline float rsqrt(float x) { return 1 / std::sqrt(x); }
inline float rsqrtf(float x) { return 1 / std::sqrt(x); }
template <class T, class = std::enable_if_t<std::is_arithmetic<T>::value>>
T min(T a, emulator::Same<T> b) {
  return std::is_floating_point<T>::value ? T(std::fmin(a, b)) : (b < a ? b : a);
}
template <class T, class = std::enable_if_t<std::is_arithmetic<T>::value>>
T max(T a, emulator::Same<T> b) {
  return std::is_floating_point<T>::value ? T(std::fmax(a, b)) : (a < b ? b : a);
}
