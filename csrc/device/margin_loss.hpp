// Weights -l'(u) of the margin losses exp(-u) and log(1 + exp(-u)), for CPU and GPU kernels.
//
// V is what the kernel counts with: a vector of simd.inc, or on a GPU a number in a struct of the same functions:
// V::set, V::zero, V::where_negative, + - * /, fma(a, b, c) = a b + c, fnma(a, b, c) = c - a b, residual(a, b, c) the
// same in one rounding on every machine, and scaled_power(shifted, bias) = 2^(k + bias - ExpConstants::bias) for a k
// that was added to ExpConstants::round. Accuracy: below 1 ULP. Results below twice the smallest normal number become
// 0; a NaN goes through.
#pragma once

#include "device/common.hpp"

namespace device {

template <class T>
struct ExpConstants;

// exp(r) = 1 + r + r^2 P(r) for |r| <= ln(2) / 2.
template <>
struct ExpConstants<double> {
  static constexpr double round = 6755399441055744.0;  // 1.5 * 2^52
  static constexpr int bias = 1023;
  static constexpr double per_ln2 = 0x1.71547652b82fep+0;
  static constexpr double ln2_high = 0x1.62e42fefa3800p-1, ln2_low = 0x1.ef35793c76730p-45;
  static constexpr double smallest = 707.7,
                          largest = 709.782712893384;  // -log of the smallest result, log of the largest
  static constexpr int terms = 10;                     // of P
};
template <>
struct ExpConstants<float> {
  static constexpr float round = 12582912.0f;  // 1.5 * 2^23
  static constexpr int bias = 127;
  static constexpr float per_ln2 = 0x1.715476p+0f;
  static constexpr float ln2_high = 0x1.62ep-1f, ln2_low = 0x1.0bfbe8p-15f;
  static constexpr float smallest = 86.64f, largest = 88.7228394f;
  static constexpr int terms = 5;
};
// Coefficient i of P. (A GPU knows the arrays inside of functions only.)
GENKERN_HD double exp_coefficient(double, int i) {
  constexpr double P[] = {
      0.5000000000000006,    0.16666666666666685,    0.0416666666665741,    0.008333333333314657,
      0.0013888888932256423, 0.00019841269902897465, 2.480150456928238e-05, 2.7557228066144102e-06,
      2.762628389491353e-07, 2.5114439476025363e-08,
  };
  return P[i];
}
GENKERN_HD float exp_coefficient(float, int i) {
  constexpr float P[] = {0.50000000618f, 0.16666543123f, 0.04166628222f, 0.00836657140f, 0.00139464418f};
  return P[i];
}

// exp(-u) = 2^k (head + low), k the integer nearest to -u / ln 2, which stands in `shifted`.
template <class V>
struct Exponent {
  V shifted, head, low;
};

template <class T, class V>
GENKERN_HD Exponent<V> exponent_of_negative(V u) {
  using C = ExpConstants<T>;
  const V shifted = fnma(u, V::set(C::per_ln2), V::set(C::round));
  const V k = shifted - V::set(C::round);
  const V r = fnma(k, V::set(C::ln2_low), fnma(k, V::set(C::ln2_high), V::zero() - u));
  V P = V::set(exp_coefficient(T(0), C::terms - 1));
  GENKERN_UNROLL(16)
  for (int i = C::terms - 2; i >= 0; --i) P = fma(P, r, V::set(exp_coefficient(T(0), i)));
  const V f = fma(r * r, P, r);
  const V head = V::set(T(1)) + f;
  return {shifted, head, f - (head - V::set(T(1)))};
}

// exp(-u)
template <class T, class V>
GENKERN_HD V exponential_weight(V u) {
  using C = ExpConstants<T>;
  const Exponent<V> e = exponent_of_negative<T>(u);
  const V value =
      scaled_power(e.shifted, C::bias - 1) * (e.head + e.head);  // the largest k has a 2^k that is no number
  const V finite = V::where_negative(u + V::set(C::largest), V::set(T(infinity())), value);
  return V::where_negative(V::set(C::smallest) - u, V::zero(), finite);
}

// 1 / (1 + exp(u)) = e / (1 + e) or 1 - e / (1 + e) with e = exp(-|u|); the quotient is corrected for what the rounding
// of e, of 1 + e and of itself has taken from it, where 1 / (1 + e) = 1 - quotient is near enough.
template <class T, class V>
GENKERN_HD V logistic_weight(V u) {
  using C = ExpConstants<T>;
  const V one = V::set(T(1));
  const V a = V::where_negative(u, V::zero() - u, u);
  const Exponent<V> e = exponent_of_negative<T>(a);
  const V power = scaled_power(e.shifted, C::bias);
  const V small = power * e.head, small_low = power * e.low;
  const V sum = one + small, sum_low = (small - (sum - one)) + small_low;
  const V quotient = small / sum;
  const V lost = fnma(quotient, sum_low, residual(quotient, sum, small) + small_low);
  const V weight = fma(lost, one - quotient, quotient);
  const V tail = V::where_negative(V::set(C::smallest) - a, V::zero(), weight);
  return V::where_negative(u, one - tail, tail);
}

}  // namespace device
