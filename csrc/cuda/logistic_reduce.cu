// Descent on a margin loss of wide problems (n < d) in n unknowns.
//
// Method: X = L Q with Q (r, d) orthonormal rows and L (n, r) lower triangular, and init = origin + Q^T c with an
// origin
//   orthogonal to the rows of Q, so that w = origin + Q^T c ever after and a step costs 2 n^2 flops instead of 4 n d.
//   `rows` finds Q and L of small problems: Gram and Schmidt, every row twice ("twice is enough", Kahan and Parlett),
//   one block an item, a warp a row of Q for the products and a thread a column for the rest. A row that adds no
//   direction gets no column: r = rank(X), and zeros follow. (Larger ones: cuSOLVER, one item after another; there r =
//   n, for X = L Q with orthonormal rows is all that is asked for.) `origin` finds origin and c, one block an item.
//   `points` makes w of every logged c, a thread a column of 8 of them.
// Shapes: X (items, n, d), init, origin (items, d), Q (items, n, d), or X and Q one for all (stride 0), L (items, n,
// n),
//   c, taken (items, n), path (items, count, n), coef (items, count, d).
// Cost: `rows` 4 n^2 d flops; every row of X reads the rows of Q before it four times, 16 n^2 d bytes in all, from the
//   caches. `origin` 8 n d flops, Q four times. `points` 2 n d flops for each w, Q once for 8 of them, coalesced.
// Numerics: float64 whatever the data's type. Sums over lanes and rows in one order.
// Source: csrc/cpu/logistic_reduce.inc.

#include "device/descent_kernels.hpp"

namespace {

using device::over_block;
using device::over_lanes;
typedef long long i64;

constexpr int slot_count = 32;
constexpr int points_together = 8;

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

// L comes as zeros; grid items.
template <class T>
__device__ void rows(const T* X, double* Q, double* L, double* taken, int n, int d) {
  const i64 item = blockIdx.x;
  const int me = threadIdx.x, threads = blockDim.x;
  extern __shared__ double shared_memory[];
  double* const slots = shared_memory;  // (2, slot_count)
  X += item * n * d, Q += item * n * d, L += item * n * n, taken += item * n;
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
}

// c comes as zeros; grid items.
template <class T>
__device__ void split(const double* Q, i64 item_stride, const T* init, const signed char* status, double* origin,
                      double* c, double* taken, int n, int d) {
  const i64 item = blockIdx.x;
  if (status[item] != 0) return;
  Q += item * item_stride, init += item * d, origin += item * d, c += item * n, taken += item * n;
  for (int j = threadIdx.x; j < d; j += blockDim.x) origin[j] = static_cast<double>(init[j]);
  __syncthreads();
  for (int turn = 0; turn < 2; ++turn) project(Q, origin, n, d, c, taken);
}

// Iterates begin .. begin + some - 1 of every item; grid items * ceil(some / points_together) * ceil(d / blockDim.x)
template <class T>
__device__ void points(const T* path, const double* Q, i64 item_stride, const double* origin, const signed char* status,
                       T* coef, int n, int d, int count, int begin, int some) {
  const int blocks = (d + blockDim.x - 1) / blockDim.x, groups = (some + points_together - 1) / points_together;
  const i64 at = blockIdx.x / blocks, item = at / groups;
  const int j = static_cast<int>(blockIdx.x % blocks) * blockDim.x + threadIdx.x;
  if (status[item] != 0 || j >= d) return;
  const int first = begin + static_cast<int>(at % groups) * points_together;
  const int here = begin + some - first < points_together ? begin + some - first : points_together;
  Q += item * item_stride + j, path += (item * count + first) * n, coef += (item * count + first) * d + j;
  double sum[points_together];
  GENKERN_UNROLL(8)
  for (int p = 0; p < points_together; ++p) sum[p] = 0;
  for (int r = 0; r < n; ++r) {
    const double q = Q[static_cast<i64>(r) * d];
    GENKERN_UNROLL(8)
    for (int p = 0; p < points_together; ++p)
      if (p < here) sum[p] = fma(static_cast<double>(path[static_cast<i64>(p) * n + r]), q, sum[p]);
  }
  const double start = origin[item * d + j];
  GENKERN_UNROLL(8)
  for (int p = 0; p < points_together; ++p)
    if (p < here) coef[static_cast<i64>(p) * d] = static_cast<T>(start + sum[p]);
}

}  // namespace

extern "C" __global__ void __launch_bounds__(256)
    logistic_reduce_rows_f32(const float* X, double* Q, double* L, double* taken, int n, int d) {
  rows(X, Q, L, taken, n, d);
}
extern "C" __global__ void __launch_bounds__(256)
    logistic_reduce_rows_f64(const double* X, double* Q, double* L, double* taken, int n, int d) {
  rows(X, Q, L, taken, n, d);
}
extern "C" __global__ void __launch_bounds__(256)
    logistic_reduce_origin_f32(const double* Q, i64 item_stride, const float* init, const signed char* status,
                               double* origin, double* c, double* taken, int n, int d) {
  split(Q, item_stride, init, status, origin, c, taken, n, d);
}
extern "C" __global__ void __launch_bounds__(256)
    logistic_reduce_origin_f64(const double* Q, i64 item_stride, const double* init, const signed char* status,
                               double* origin, double* c, double* taken, int n, int d) {
  split(Q, item_stride, init, status, origin, c, taken, n, d);
}
extern "C" __global__ void __launch_bounds__(256)
    logistic_reduce_points_f32(const float* path, const double* Q, i64 item_stride, const double* origin,
                               const signed char* status, float* coef, int n, int d, int count, int begin, int some) {
  points(path, Q, item_stride, origin, status, coef, n, d, count, begin, some);
}
extern "C" __global__ void __launch_bounds__(256)
    logistic_reduce_points_f64(const double* path, const double* Q, i64 item_stride, const double* origin,
                               const signed char* status, double* coef, int n, int d, int count, int begin, int some) {
  points(path, Q, item_stride, origin, status, coef, n, d, count, begin, some);
}
