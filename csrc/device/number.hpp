// One float or double with the functions of a vector of simd.inc: what margin_loss.hpp counts with on a GPU.
// A fused multiply-add stands where a kernel asks for it, as fma() or fused(); nothing else is contracted.
#pragma once

#include "device/common.hpp"

namespace device {

// a b + c in one rounding.
GENKERN_HD float fused(float a, float b, float c) { return fmaf(a, b, c); }
GENKERN_HD double fused(double a, double b, double c) { return fma(a, b, c); }

template <class T>
struct Number {
  T v;
  static __device__ __forceinline__ Number set(T x) { return {x}; }
  static __device__ __forceinline__ Number zero() { return {T(0)}; }
  // x if a < 0, else y (a NaN selects y).
  static __device__ __forceinline__ Number where_negative(Number a, Number x, Number y) { return a.v < T(0) ? x : y; }
  friend __device__ __forceinline__ Number operator+(Number a, Number b) { return {a.v + b.v}; }
  friend __device__ __forceinline__ Number operator-(Number a, Number b) { return {a.v - b.v}; }
  friend __device__ __forceinline__ Number operator*(Number a, Number b) { return {a.v * b.v}; }
  friend __device__ __forceinline__ Number operator/(Number a, Number b) { return {a.v / b.v}; }
};

template <class T>
GENKERN_HD Number<T> fma(Number<T> a, Number<T> b, Number<T> c) {
  return {fused(a.v, b.v, c.v)};
}
// c - a b
template <class T>
GENKERN_HD Number<T> fnma(Number<T> a, Number<T> b, Number<T> c) {
  return {fused(-a.v, b.v, c.v)};
}
// The same in one rounding on every machine.
template <class T>
GENKERN_HD Number<T> residual(Number<T> a, Number<T> b, Number<T> c) {
  return fnma(a, b, c);
}
// 2^(k + bias - B) for a k that was added to 1.5 * 2^52 (float: 1.5 * 2^23), B the bias of the type's exponent.
GENKERN_HD Number<double> scaled_power(Number<double> shifted, int bias) {
  return {from_bits((bits_of(shifted.v) + static_cast<u64>(bias)) << 52)};
}
GENKERN_HD Number<float> scaled_power(Number<float> shifted, int bias) {
  return {from_bits((bits_of(shifted.v) + static_cast<u32>(bias)) << 23)};
}

}  // namespace device
