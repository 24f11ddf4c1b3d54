// What the kernels of descent beyond shared memory share: weights of some rows, what all chunks of rows have to do with
// each other, and the step of 32 columns by a warp. See logistic_large.cu and logistic_wide.cu.
#pragma once

#include "device/descent_kernels.hpp"

namespace genkern {

typedef long long i64;
constexpr int slot_count = 32;  // warps of a block at most

// The margins s (count) of a block become y times their weights. Where log L is followed, these have the least margin
// of all rows so far, kept[0], taken off, which is brought up to date with their sum of losses kept[1]; both are in
// shared memory, infinity and 0 before the first rows and a barrier. Returned is what weights of earlier rows have to
// be multiplied by. Thread t reads and writes s[t], s[t + blockDim.x], ...; ends with a barrier. slots (2, slot_count)
template <class T>
__device__ double weigh(const device::DescentRule& rule, T* s, const T* y, int count, double* kept, double* slots) {
  const int me = threadIdx.x, threads = blockDim.x;
  bool exponential = rule.loss == MarginLoss::exponential;
  T shift = 0;
  double factor = 1;
  if (!rule.plain()) {
    const double before = kept[0];
    double own = device::infinity(), losses = 0;
    GENKERN_UNROLL(1)
    for (int i = me; i < count; i += threads) own = device::Least()(own, static_cast<double>(s[i]));
    const double least = device::Least()(before, device::over_block(own, slots, device::Least()));
    exponential = rule.shifted(least);
    shift = exponential ? static_cast<T>(least) : T(0);
    factor = device::share_of_chunk(rule, least, before);
    GENKERN_UNROLL(1)
    for (int i = me; i < count; i += threads)
      losses += exponential ? static_cast<double>(device::margin_weight(true, s[i] - shift))
                            : device::logistic_loss(static_cast<double>(s[i]));
    losses = device::over_block(losses, slots + slot_count, device::Sum());
    if (me == 0) kept[0] = least, kept[1] = kept[1] * factor + losses;
  }
  GENKERN_UNROLL(1)
  for (int i = me; i < count; i += threads) s[i] = y[i] * device::margin_weight(exponential, s[i] - shift);
  __syncthreads();
  return factor;
}

// Of sums (chunks, 2), least margins and sums of losses: what the weights of every chunk have to be multiplied by, in
// `factors` (chunks), where log L is followed. For a block of several warps.
__device__ __forceinline__ void gather(const device::DescentRule& rule, const double* sums, int chunks, double* factors,
                                       double* slots) {
  if (rule.plain()) return;
  double least = device::infinity(), sum = 0;
  GENKERN_UNROLL(1)
  for (int c = threadIdx.x; c < chunks; c += blockDim.x) least = device::Least()(least, sums[2 * c]);
  least = device::over_block(least, slots, device::Least());
  GENKERN_UNROLL(1)
  for (int c = threadIdx.x; c < chunks; c += blockDim.x) {
    factors[c] = device::share_of_chunk(rule, least, sums[2 * c]);
    sum += sums[2 * c + 1] * factors[c];
  }
  sum = device::over_block(sum, slots + slot_count, device::Sum());
  GENKERN_UNROLL(1)
  for (int c = threadIdx.x; c < chunks; c += blockDim.x) factors[c] /= sum;
  __syncthreads();
}

// Where steps go: x, extra (items, k), path (items, count, k) and its entries next .. stop - 1 for step t.
template <class T>
struct Steps {
  const double* eta;
  T *x, *extra, *path;
  int* bests;  // (items, blocks of 32 columns): the steepest column of each
  int k, count, next, stop;
  double t;

  // Column j of an item by each lane of a warp, g its gradient; lanes beyond the k columns come along. For coordinate
  // descent the gradient goes to `extra` and the steepest column of the 32 to `bests`.
  __device__ void take(const device::DescentRule& rule, i64 item, int j, T g) const {
    const i64 at = item * k + j;
    if (rule.algorithm == DescentAlgorithm::coordinate) {
      if (j < k) extra[at] = g;
      __syncwarp();
      const int best = device::over_lanes(j < k ? j : k - 1, device::Steeper<T>{extra + item * k});
      if (j % 32 == 0) bests[item * ((k + 31) / 32) + j / 32] = best;
      return;
    }
    if (j >= k) return;
    device::step_coordinate(rule, rule.rate<T>(eta[item], t), t, g, x[at], extra[at]);
    GENKERN_UNROLL(1)
    for (int log = next; log < stop; ++log) path[(item * count + log) * k + j] = x[at];
  }
};

}  // namespace genkern
