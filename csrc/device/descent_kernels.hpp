// What the GPU kernels of descent on a margin loss share: the rule of a call, weights, and the step of a coordinate.
#pragma once

#include "device/block.hpp"
#include "device/descent.hpp"
#include "device/descent_rule.hpp"
#include "device/margin_loss.hpp"
#include "device/number.hpp"

namespace device {

struct DescentRule {
  genkern::MarginLoss loss;
  genkern::DescentAlgorithm algorithm;
  bool sqrt_schedule;  // eta / sqrt(t) instead of eta
  double parameter;    // momentum of heavy_ball, p of mirror

  __device__ DescentRule(int loss_, int algorithm_, int schedule, double parameter_)
      : loss(static_cast<genkern::MarginLoss>(loss_)),
        algorithm(static_cast<genkern::DescentAlgorithm>(algorithm_)),
        sqrt_schedule(schedule != 0),
        parameter(parameter_) {}

  // Whether it follows L and not log L.
  __device__ bool plain() const {
    return algorithm == genkern::DescentAlgorithm::gd || algorithm == genkern::DescentAlgorithm::heavy_ball;
  }
  // Whether weights have the least margin taken off, so that nothing underflows: exp(least - u).
  __device__ bool shifted(double least) const { return loss == genkern::MarginLoss::exponential || least > loss_tail; }
  // Step size of step t.
  template <class T>
  __device__ T rate(double eta, double t) const {
    return static_cast<T>(sqrt_schedule ? eta / sqrt(t) : eta);
  }
};

// -l'(u)
template <class T>
__device__ __forceinline__ T margin_weight(bool exponential, T u) {
  const Number<T> margin = Number<T>::set(u);
  return exponential ? exponential_weight<T>(margin).v : logistic_weight<T>(margin).v;
}

// What the sums of a chunk with the least margin `own` count for beside a least margin of all.
__device__ __forceinline__ double share_of_chunk(const DescentRule& rule, double least, double own) {
  if (rule.shifted(least)) return exp(least - own);
  return rule.shifted(own) ? exp(-own) : 1.0;
}

// One coordinate in step t; `extra` is what the algorithm remembers of it: the point before, a velocity, the dual
// point of mirror descent, or what rounding has lost. Coordinate descent is not done here.
template <class T>
__device__ __forceinline__ void step_coordinate(const DescentRule& rule, T rate, double t, T g, T& x, T& extra) {
  using genkern::DescentAlgorithm;
  switch (rule.algorithm) {
    case DescentAlgorithm::gd:
    case DescentAlgorithm::normalized: {
      Number<T> sum = Number<T>::set(x), lost = Number<T>::set(extra);
      compensated_step(Number<T>::set(rate), Number<T>::set(g), sum, lost);
      x = sum.v, extra = lost.v;
      return;
    }
    case DescentAlgorithm::heavy_ball:
      return heavy_ball_step(rate, static_cast<T>(rule.parameter), g, x, extra);
    case DescentAlgorithm::accelerated:
      return accelerated_step(rate, static_cast<T>(t), g, x, extra);
    case DescentAlgorithm::sign:
      return sign_step(rate, g, x);
    case DescentAlgorithm::mirror:
      return mirror_step(rate, rule.parameter, g, x, extra);
    case DescentAlgorithm::coordinate:
      return;
  }
}

// Of two indices of entries g that of the steeper one, the lower index where neither is.
template <class T>
struct Steeper {
  const T* g;
  __device__ __forceinline__ int operator()(int a, int b) const {
    const int low = a < b ? a : b, high = a < b ? b : a;
    return steeper(g[high], g[low]) ? high : low;
  }
};

// The index of the steepest of k entries g, the first of several, for every thread of the block.
template <class T>
__device__ int steepest(const T* g, int k, int* slots) {
  const Steeper<T> better{g};
  int best = static_cast<int>(threadIdx.x) < k ? static_cast<int>(threadIdx.x) : 0;
  for (int j = best; j < k; j += blockDim.x) best = better(best, j);
  return over_block(best, slots, better);
}

}  // namespace device
