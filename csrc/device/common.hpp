// Scalar mathematics that CPU and GPU kernels both include: what the headers of this folder share.
//
// A CPU file includes them inside the namespace of its instruction set, and every function is forced inline, so
// that no copy compiled for a higher set can be linked into a lower one. Loops over these functions vectorise:
// no branches, no libm but sqrt, only operations that every set has for 32- and 64-bit lanes. Nothing is
// contracted (-ffp-contract=off, --fmad=false): results are the same bits everywhere, but for float32 numbers below
// 1.2e-38, which are 0 on a GPU (CuPy compiles with -ftz=true).
#pragma once

#ifdef __CUDACC__
#define GENKERN_HD __host__ __device__ __forceinline__
#define GENKERN_SQRT(x) sqrt(x)
#else
#define GENKERN_HD static inline __attribute__((always_inline))
#define GENKERN_SQRT(x) __builtin_sqrt(x)
#endif

#define GENKERN_PRAGMA(text) _Pragma(#text)
#if defined(__GNUC__) && !defined(__clang__) && !defined(__CUDACC__)
#define GENKERN_UNROLL(count) GENKERN_PRAGMA(GCC unroll count)
#else
#define GENKERN_UNROLL(count) GENKERN_PRAGMA(unroll count)
#endif

namespace device {

typedef unsigned int u32;
typedef unsigned long long u64;

GENKERN_HD u64 bits_of(double x) {
  u64 bits;
  memcpy(&bits, &x, sizeof(bits));
  return bits;
}
GENKERN_HD double from_bits(u64 bits) {
  double x;
  memcpy(&x, &bits, sizeof(x));
  return x;
}

GENKERN_HD u32 bits_of(float x) {
  u32 bits;
  memcpy(&bits, &x, sizeof(bits));
  return bits;
}
GENKERN_HD float from_bits(u32 bits) {
  float x;
  memcpy(&x, &bits, sizeof(x));
  return x;
}

// NVRTC has no names for these.
GENKERN_HD double infinity() { return from_bits(0x7FF0000000000000ull); }
GENKERN_HD double not_a_number() { return from_bits(0x7FF8000000000000ull); }

constexpr u64 sign_bit = 0x8000000000000000ull;
// Added to |x| < 2^51 it rounds to the nearest integer, which then stands in the low bits of the sum.
constexpr double round_to_integer = 6755399441055744.0;  // 1.5 * 2^52

// Horner's rule, lowest coefficient first, every product and sum rounded.
template <class T, int n>
GENKERN_HD T polynomial(const T (&c)[n], T z) {
  T value = c[n - 1];
  GENKERN_UNROLL(32)
  for (int i = n - 2; i >= 0; --i) value = value * z + c[i];
  return value;
}

}  // namespace device
