// Descent on a margin loss, as logistic.cu, for problems that do not fit into the shared memory of a multiprocessor.
//
// Method: two launches a step over the whole device, the batch beside the rows. `pass`: a block takes a few rows of A,
//   forms their margins and weights, and while the rows are still in its caches their share of the gradient. `update`
//   adds up the shares and takes the step. Where log L is followed, each block takes off its own least margin, and the
//   shares are brought together by it. Coordinate descent needs one launch more, `steepest`.
// Shapes: A (items, n, k) or one for all (item_stride 0), y (items, n), x, extra (items, k), shares (items, chunks, k),
//   sums (items, chunks, 2): least margin of a chunk and the sum of its losses; path (items, count, k).
// Cost: 4 n k flops and n weights a step. Global memory: A once a step, 8 n k bytes (f32: 4 n k), coalesced, which is
//   the least there is where A is larger than the caches (its second reading, for the gradient, is 2 to 32 rows later),
//   and 2 k n / rows numbers of shares, written and read.
// Numerics: sums over even and odd terms, lanes, rows of a chunk and chunks in one order; otherwise as logistic.cu.
// Source: see genkern/logistic.py.

#include "device/descent_kernels.hpp"

namespace {

using device::DescentRule;
using device::fused;
typedef long long i64;

constexpr int slot_count = 32;

// Rows chunk * rows .. of an item; grid items * chunks.
template <class T>
__device__ void pass(const T* A, i64 item_stride, const T* y, const signed char* status, const T* x, T* shares,
                     double* sums, int n, int k, int rows, int chunks, const DescentRule& rule) {
  const i64 item = blockIdx.x / chunks;
  if (status[item] != 0) return;
  const int first = static_cast<int>(blockIdx.x % chunks) * rows, count = n - first < rows ? n - first : rows;
  const int me = threadIdx.x, lane = me % 32, warps = blockDim.x / 32;
  extern __shared__ double shared_memory[];
  double* const slots = shared_memory;
  T* const s = reinterpret_cast<T*>(slots + 2 * slot_count);
  A += item * item_stride + static_cast<i64>(first) * k, y += item * n + first, x += item * k;
  for (int i = me / 32; i < count; i += warps) {
    const T* const row = A + static_cast<i64>(i) * k;
    T even = 0, odd = 0;
    int j = lane;
    for (; j + 32 < k; j += 64) {
      even = fused(row[j], x[j], even);
      odd = fused(row[j + 32], x[j + 32], odd);
    }
    if (j < k) even = fused(row[j], x[j], even);
    const T u = device::over_lanes(even + odd, device::Sum()) * y[i];
    if (lane == 0) s[i] = u;
  }
  __syncthreads();
  bool exponential = rule.loss == genkern::MarginLoss::exponential;
  T shift = 0;
  if (!rule.plain()) {
    double least = device::infinity(), sum = 0;
    for (int i = me; i < count; i += blockDim.x) least = device::Least()(least, static_cast<double>(s[i]));
    least = device::over_block(least, slots, device::Least());
    exponential = rule.shifted(least);
    shift = exponential ? static_cast<T>(least) : T(0);
    for (int i = me; i < count; i += blockDim.x)
      sum += exponential ? static_cast<double>(device::margin_weight(true, s[i] - shift))
                         : device::logistic_loss(static_cast<double>(s[i]));
    sum = device::over_block(sum, slots + slot_count, device::Sum());
    if (me == 0) sums[2 * static_cast<i64>(blockIdx.x)] = least, sums[2 * static_cast<i64>(blockIdx.x) + 1] = sum;
  }
  for (int i = me; i < count; i += blockDim.x) s[i] = y[i] * device::margin_weight(exponential, s[i] - shift);
  __syncthreads();
  shares += static_cast<i64>(blockIdx.x) * k;
  for (int j = me; j < k; j += blockDim.x) {
    T even = 0, odd = 0;
    int i = 0;
    for (; i + 1 < count; i += 2) {
      even = fused(A[static_cast<i64>(i) * k + j], s[i], even);
      odd = fused(A[static_cast<i64>(i + 1) * k + j], s[i + 1], odd);
    }
    if (i < count) even = fused(A[static_cast<i64>(i) * k + j], s[i], even);
    shares[j] = even + odd;
  }
}

// Step t of 32 columns an item; grid items * column_blocks, warp w of a block takes the shares w, w + warps, ...
// Coordinate descent: the gradient goes to `extra`. The iterate goes to the path's entries next .. stop - 1.
template <class T>
__device__ void update(const T* shares, const double* sums, const double* eta, const signed char* status, T* x,
                       T* extra, T* path, int k, int chunks, int count, int next, int stop, double t,
                       const DescentRule& rule) {
  const int column_blocks = (k + 31) / 32, lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
  const i64 item = blockIdx.x / column_blocks;
  if (status[item] != 0) return;
  const int j = static_cast<int>(blockIdx.x % column_blocks) * 32 + lane;
  extern __shared__ double shared_memory[];
  double* const slots = shared_memory;
  T* const parts = reinterpret_cast<T*>(slots + 2 * slot_count);  // (warps, 32)
  shares += item * chunks * k, sums += item * chunks * 2;
  double least = device::infinity(), sum = 1;
  const bool plain = rule.plain();
  if (!plain) {
    for (int c = threadIdx.x; c < chunks; c += blockDim.x) least = device::Least()(least, sums[2 * c]);
    least = device::over_block(least, slots, device::Least());
    sum = 0;
    for (int c = threadIdx.x; c < chunks; c += blockDim.x)
      sum += sums[2 * c + 1] * device::share_of_chunk(rule, least, sums[2 * c]);
    sum = device::over_block(sum, slots + slot_count, device::Sum());
  }
  T g = 0;
  if (j < k)
    for (int c = warp; c < chunks; c += warps) {
      const T share = shares[static_cast<i64>(c) * k + j];
      g = plain ? g + share : fused(static_cast<T>(device::share_of_chunk(rule, least, sums[2 * c])), share, g);
    }
  parts[threadIdx.x] = g;
  __syncthreads();
  if (warp != 0 || j >= k) return;
  for (int w = 1; w < warps; ++w) g += parts[w * 32 + lane];
  if (!plain) g *= static_cast<T>(1 / sum);
  x += item * k + j, extra += item * k + j;
  if (rule.algorithm == genkern::DescentAlgorithm::coordinate) {
    *extra = g;
    return;
  }
  device::step_coordinate(rule, rule.rate<T>(eta[item], t), t, g, *x, *extra);
  for (int at = next; at < stop; ++at) path[(item * count + at) * k + j] = *x;
}

// Step t of coordinate descent from the gradients in `extra`; grid items.
template <class T>
__device__ void step_steepest(const double* eta, const signed char* status, T* x, const T* extra, T* path, int k,
                              int count, int next, int stop, double t, const DescentRule& rule) {
  const i64 item = blockIdx.x;
  if (status[item] != 0) return;
  x += item * k, extra += item * k, path += item * count * k;
  extern __shared__ double shared_memory[];
  const int best = device::steepest(extra, k, reinterpret_cast<int*>(shared_memory));
  if (threadIdx.x == 0) x[best] += rule.rate<T>(eta[item], t) * extra[best];
  __syncthreads();
  for (int at = next; at < stop; ++at)
    for (int j = threadIdx.x; j < k; j += blockDim.x) path[static_cast<i64>(at) * k + j] = x[j];
}

}  // namespace

extern "C" __global__ void __launch_bounds__(256)
    logistic_large_pass_f32(const float* A, i64 item_stride, const float* y, const signed char* status, const float* x,
                            float* shares, double* sums, int n, int k, int rows, int chunks, int loss, int algorithm,
                            int schedule, double parameter) {
  pass(A, item_stride, y, status, x, shares, sums, n, k, rows, chunks,
       DescentRule(loss, algorithm, schedule, parameter));
}
extern "C" __global__ void __launch_bounds__(256)
    logistic_large_pass_f64(const double* A, i64 item_stride, const double* y, const signed char* status,
                            const double* x, double* shares, double* sums, int n, int k, int rows, int chunks, int loss,
                            int algorithm, int schedule, double parameter) {
  pass(A, item_stride, y, status, x, shares, sums, n, k, rows, chunks,
       DescentRule(loss, algorithm, schedule, parameter));
}
extern "C" __global__ void __launch_bounds__(256)
    logistic_large_update_f32(const float* shares, const double* sums, const double* eta, const signed char* status,
                              float* x, float* extra, float* path, int k, int chunks, int count, int next, int stop,
                              double t, int loss, int algorithm, int schedule, double parameter) {
  update(shares, sums, eta, status, x, extra, path, k, chunks, count, next, stop, t,
         DescentRule(loss, algorithm, schedule, parameter));
}
extern "C" __global__ void __launch_bounds__(256)
    logistic_large_update_f64(const double* shares, const double* sums, const double* eta, const signed char* status,
                              double* x, double* extra, double* path, int k, int chunks, int count, int next, int stop,
                              double t, int loss, int algorithm, int schedule, double parameter) {
  update(shares, sums, eta, status, x, extra, path, k, chunks, count, next, stop, t,
         DescentRule(loss, algorithm, schedule, parameter));
}
extern "C" __global__ void __launch_bounds__(256)
    logistic_large_steepest_f32(const double* eta, const signed char* status, float* x, const float* extra, float* path,
                                int k, int count, int next, int stop, double t, int loss, int algorithm, int schedule,
                                double parameter) {
  step_steepest(eta, status, x, extra, path, k, count, next, stop, t,
                DescentRule(loss, algorithm, schedule, parameter));
}
extern "C" __global__ void __launch_bounds__(256)
    logistic_large_steepest_f64(const double* eta, const signed char* status, double* x, const double* extra,
                                double* path, int k, int count, int next, int stop, double t, int loss, int algorithm,
                                int schedule, double parameter) {
  step_steepest(eta, status, x, extra, path, k, count, next, stop, t,
                DescentRule(loss, algorithm, schedule, parameter));
}
