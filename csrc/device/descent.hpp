// One coordinate in one step of descent on a margin loss, for CPU and GPU kernels: x the iterate, g the sum over all
// points of weight times z (over the sum of losses too where the algorithm follows log L), T float or double.
// Source: see genkern/logistic.py.
#pragma once

#include "device/common.hpp"

namespace device {

// Margins from here on have log(1 + exp(-u)) = exp(-u) to the last bit.
constexpr double loss_tail = 40;

// log(1 + exp(-u))
GENKERN_HD double logistic_loss(double u) { return u > 0 ? log1p(exp(-u)) : log1p(exp(u)) - u; }

// x += step g, with what the rounding of x has lost added to the next step. A plain sum stands still where a step is
// below half an ulp of x, and before that drifts: 1e-10 after 10^6 steps on a problem whose Hessian has condition 10^6.
// V: vectors of simd.inc or numbers of number.hpp.
template <class V>
GENKERN_HD void compensated_step(V step, V g, V& x, V& lost) {
  const V increment = fma(step, g, lost), next = x + increment;
  lost = increment - (next - x);
  x = next;
}

// before: the point before.
template <class T>
GENKERN_HD void heavy_ball_step(T rate, T momentum, T g, T& x, T& before) {
  const T next = x + rate * g + momentum * (x - before);
  before = x;
  x = next;
}

// t: the number of the step.
template <class T>
GENKERN_HD void accelerated_step(T rate, T t, T g, T& x, T& velocity) {
  velocity = (t - 1) / t * (velocity + g);
  x += rate * (velocity + g);
}

template <class T>
GENKERN_HD void sign_step(T rate, T g, T& x) {
  x += rate * (g > 0 ? T(1) : (g < 0 ? T(-1) : g));
}

// dual: the gradient of ||x||_p^p / p.
template <class T>
GENKERN_HD void mirror_step(T rate, double p, T g, T& x, T& dual) {
  dual += rate * g;
  x = static_cast<T>(copysign(pow(fabs(static_cast<double>(dual)), 1 / (p - 1)), static_cast<double>(dual)));
}

// Whether the gradient's entry g goes before the entry `best`, of a lower index: a larger size does, and a NaN.
template <class T>
GENKERN_HD bool steeper(T g, T best) {
  const T size = g < 0 ? -g : g, largest = best < 0 ? -best : best;
  return !(size <= largest) && !(best != best);
}

}  // namespace device
