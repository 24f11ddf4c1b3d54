// Around descent on a margin loss: wide problems (n < d) in n unknowns, and what is reported of iterates.
//
// Method: `rows` writes X = L Q with Q (r, d) orthonormal rows and L (n, r) lower triangular, and init = origin + Q^T c
//   with an origin orthogonal to the rows of Q, so that w = origin + Q^T c ever after and a step costs 2 n^2 flops
//   instead of 4 n d: Gram and Schmidt, every row twice ("twice is enough", Kahan and Parlett), one block an item, a
//   warp a row of Q for the products and a thread a column for the rest. A row that adds no direction gets no column:
//   r = rank(X). `points` makes w of every logged c. `measure` finds log L, margin and norm of every logged w, one
//   block each, a warp a row of X; what is not finite becomes NaN.
// Shapes: X (items, n, d) or one for all (item_stride 0), init, origin (items, d), Q (items, n, d), L (items, n, n),
//   c, taken (items, n), path (items, count, n), coef (items, count, d), log_loss, margin, norm (items, count).
// Cost: `rows` 4 n^2 d flops; every row of X reads the rows of Q before it four times, 16 n^2 d bytes in all, from the
//   caches. `points` 2 n d flops for each w, Q once for all w of an item and 256 columns. `measure` 2 n d flops for
//   each w, X once for each (8 n d bytes, f32: 4 n d), coalesced.
// Numerics: float64 whatever the data's type. Sums over lanes, warps and rows in one order. The largest loss is taken
//   off before the sum, the largest entry before the norm: neither overflows or underflows.
// Source: csrc/cpu/logistic_reduce.inc, csrc/cpu/logistic.inc.

#include "device/descent_kernels.hpp"

namespace {

using device::over_block;
using device::over_lanes;
typedef long long i64;

constexpr int slot_count = 32;

// Takes the first `rank` rows of Q off a row (d); what was taken is added to l. `taken` (n) is for use in here.
__device__ void project(const double* Q, double* row, int rank, int d, double* l, double* taken) {
  const int lane = threadIdx.x % 32;
  for (int r = threadIdx.x / 32; r < rank; r += blockDim.x / 32) {
    const double* const q = Q + static_cast<i64>(r) * d;
    double sum = 0;
    for (int j = lane; j < d; j += 32) sum = fma(q[j], row[j], sum);
    sum = over_lanes(sum, device::Sum());
    if (lane == 0) taken[r] = sum, l[r] += sum;
  }
  __syncthreads();
  for (int j = threadIdx.x; j < d; j += blockDim.x) {
    double left = row[j];
    for (int r = 0; r < rank; ++r) left = fma(-taken[r], Q[static_cast<i64>(r) * d + j], left);
    row[j] = left;
  }
  __syncthreads();
}

__device__ double square(const double* row, int d, double* slots) {
  double sum = 0;
  for (int j = threadIdx.x; j < d; j += blockDim.x) sum = fma(row[j], row[j], sum);
  return over_block(sum, slots, device::Sum());
}

// L (items, n, n) and c (items, n) come as zeros; grid items.
template <class T>
__device__ void reduce(const T* X, i64 item_stride, const T* init, const signed char* status, double* Q, double* L,
                       double* origin, double* c, double* taken, int n, int d) {
  const i64 item = blockIdx.x;
  if (status[item] != 0) return;
  const int me = threadIdx.x, threads = blockDim.x;
  extern __shared__ double shared_memory[];
  double* const slots = shared_memory;  // (2, slot_count)
  X += item * item_stride, init += item * d, Q += item * n * d, L += item * n * n;
  origin += item * d, c += item * n, taken += item * n;
  int rank = 0;
  for (int i = 0; i < n; ++i) {
    double* const row = Q + static_cast<i64>(rank) * d;
    double* const l = L + static_cast<i64>(i) * n;
    for (int j = me; j < d; j += threads) row[j] = static_cast<double>(X[static_cast<i64>(i) * d + j]);
    __syncthreads();
    const double size = square(row, d, slots);
    for (int turn = 0; turn < 2; ++turn) project(Q, row, rank, d, l, taken);
    const double left = square(row, d, slots + slot_count);
    if (!(left > 1e-26 * size)) continue;
    const double norm = sqrt(left);
    for (int j = me; j < d; j += threads) row[j] /= norm;
    if (me == 0) l[rank] = norm;
    ++rank;
    __syncthreads();
  }
  __syncthreads();
  for (i64 e = static_cast<i64>(rank) * d + me; e < static_cast<i64>(n) * d; e += threads) Q[e] = 0;
  for (int j = me; j < d; j += threads) origin[j] = static_cast<double>(init[j]);
  __syncthreads();
  for (int turn = 0; turn < 2; ++turn) project(Q, origin, rank, d, c, taken);
}

// grid items * ceil(d / blockDim.x)
template <class T>
__device__ void points(const T* path, const double* Q, const double* origin, const signed char* status, T* coef, int n,
                       int d, int count) {
  const int blocks = (d + blockDim.x - 1) / blockDim.x;
  const i64 item = blockIdx.x / blocks;
  const int j = static_cast<int>(blockIdx.x % blocks) * blockDim.x + threadIdx.x;
  if (status[item] != 0 || j >= d) return;
  for (int at = 0; at < count; ++at) {
    const T* const x = path + (item * count + at) * n;
    double sum = 0;
    for (int r = 0; r < n; ++r) sum = fma(static_cast<double>(x[r]), Q[(item * n + r) * d + j], sum);
    coef[(item * count + at) * d + j] = static_cast<T>(origin[item * d + j] + sum);
  }
}

// grid items * count
template <class T>
__device__ void measure(const T* X, i64 item_stride, const T* y, const signed char* status, T* coef, T* log_loss,
                        T* margin, T* norm, int n, int d, int count, int loss) {
  const i64 point = blockIdx.x, item = point / count;
  const int me = threadIdx.x, threads = blockDim.x, lane = me % 32;
  extern __shared__ double shared_memory[];
  double* const slots = shared_memory;  // (5, slot_count)
  const device::DescentRule rule(loss, 0, 0, 0.0);
  T* const w = coef + point * d;
  X += item * item_stride, y += item * n;
  double largest = 0;
  if (status[item] != 0)
    largest = device::not_a_number();
  else
    for (int j = me; j < d; j += threads) largest = device::Largest()(largest, fabs(static_cast<double>(w[j])));
  largest = over_block(largest, slots, device::Largest());
  if (!(largest <= 1.7976931348623157e308)) {
    const T nan = static_cast<T>(device::not_a_number());
    for (int j = me; j < d; j += threads) w[j] = nan;
    if (me == 0) log_loss[point] = margin[point] = norm[point] = nan;
    return;
  }
  double squares = 0;
  for (int j = me; j < d; j += threads) {
    const double share = largest > 0 ? static_cast<double>(w[j]) / largest : 0;
    squares = fma(share, share, squares);
  }
  const double length = largest * sqrt(over_block(squares, slots + slot_count, device::Sum()));
  // The least margin so far, and the sums of exp(least - u) and of log(1 + exp(-u)), of every warp.
  double least = device::infinity(), shifted_sum = 0, sum = 0;
  for (int i = me / 32; i < n; i += threads / 32) {
    const T* const x = X + static_cast<i64>(i) * d;
    double u = 0;
    for (int j = lane; j < d; j += 32) u = fma(static_cast<double>(x[j]), static_cast<double>(w[j]), u);
    u = over_lanes(u, device::Sum()) * static_cast<double>(y[i]);
    if (u < least) shifted_sum *= exp(u - least), least = u;
    shifted_sum += exp(least - u);
    if (rule.loss == genkern::MarginLoss::logistic) sum += device::logistic_loss(u);
  }
  double* const of_warps = slots + 2 * slot_count;  // (3, slot_count)
  if (lane == 0) {
    const int warp = me / 32;
    of_warps[warp] = least, of_warps[slot_count + warp] = shifted_sum, of_warps[2 * slot_count + warp] = sum;
  }
  __syncthreads();
  if (me != 0) return;
  for (int warp = 1; warp < threads / 32; ++warp) least = of_warps[warp] < least ? of_warps[warp] : least;
  double total = 0;
  for (int warp = 0; warp < threads / 32; ++warp)
    if (warp < n)
      total += rule.shifted(least) ? of_warps[slot_count + warp] * exp(least - of_warps[warp])
                                   : of_warps[2 * slot_count + warp];
  log_loss[point] = static_cast<T>(n == 0 ? -least : log(total) - (rule.shifted(least) ? least : 0));
  margin[point] = static_cast<T>(least / length);
  norm[point] = static_cast<T>(length);
}

}  // namespace

extern "C" __global__ void __launch_bounds__(256)
    logistic_reduce_rows_f32(const float* X, i64 item_stride, const float* init, const signed char* status, double* Q,
                             double* L, double* origin, double* c, double* taken, int n, int d) {
  reduce(X, item_stride, init, status, Q, L, origin, c, taken, n, d);
}
extern "C" __global__ void __launch_bounds__(256)
    logistic_reduce_rows_f64(const double* X, i64 item_stride, const double* init, const signed char* status, double* Q,
                             double* L, double* origin, double* c, double* taken, int n, int d) {
  reduce(X, item_stride, init, status, Q, L, origin, c, taken, n, d);
}
extern "C" __global__ void __launch_bounds__(256)
    logistic_reduce_points_f32(const float* path, const double* Q, const double* origin, const signed char* status,
                               float* coef, int n, int d, int count) {
  points(path, Q, origin, status, coef, n, d, count);
}
extern "C" __global__ void __launch_bounds__(256)
    logistic_reduce_points_f64(const double* path, const double* Q, const double* origin, const signed char* status,
                               double* coef, int n, int d, int count) {
  points(path, Q, origin, status, coef, n, d, count);
}
extern "C" __global__ void __launch_bounds__(128)
    logistic_reduce_measure_f32(const float* X, i64 item_stride, const float* y, const signed char* status, float* coef,
                                float* log_loss, float* margin, float* norm, int n, int d, int count, int loss) {
  measure(X, item_stride, y, status, coef, log_loss, margin, norm, n, d, count, loss);
}
extern "C" __global__ void __launch_bounds__(128)
    logistic_reduce_measure_f64(const double* X, i64 item_stride, const double* y, const signed char* status,
                                double* coef, double* log_loss, double* margin, double* norm, int n, int d, int count,
                                int loss) {
  measure(X, item_stride, y, status, coef, log_loss, margin, norm, n, d, count, loss);
}
