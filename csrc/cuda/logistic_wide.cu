// Descent on a margin loss, as logistic_large.cu, for problems of long rows, which no block would hold several of.
//
// Method: three launches a step over the whole device, the batch beside the problem. `margins`: a warp takes a row and
//   `columns` of its columns. `weights`: a block takes a chunk of rows, adds up what `margins` found of them and forms
//   their weights; where log L is followed, with the least margin of the chunk taken off. `step`: a block takes 32
//   columns of all rows, a warp every warps-th row of a chunk, adds up the gradient and takes the step. Where rows are
//   many and columns few, blocks would be too: there `shares` has one for 32 columns of each chunk of rows, and
//   logistic_large_update adds up what they find and takes the step.
// Shapes: A (items, n, k) or one for all (item_stride 0), y (items, n), x, extra (items, k), margins (items,
//   column_chunks, n), s (items, n), sums (items, chunks, 2): least margin of a chunk and the sum of its losses; shares
//   (items, chunks, k), path (items, count, k). triangular: above the diagonal are zeros, which are not read (but for
//   some of a block's own).
// Cost: 4 n k flops and n weights a step. Global memory: A twice a step, 16 n k bytes (f32: 8 n k), coalesced: as rows
//   of all blocks together are longer than the caches, one reading for both products would find nothing there. Where A
//   is smaller than the second-level cache it comes from there, both times.
// Numerics: sums over lanes, every fourth term, column chunks, rows of a chunk, chunks and warps in one order
//   that depends on n and k alone; otherwise as logistic.cu.
// Source: see genkern/logistic.py.

#include "cuda/logistic_step.hpp"

namespace {

using namespace genkern;
using device::DescentRule;
using device::fused;

// Grid items * ceil(n / warps) * column_chunks.
template <class T>
__device__ void partial_margins(const T* A, i64 item_stride, const signed char* status, const T* x, T* margins, int n,
                                int k, int columns, int column_chunks, int triangular) {
  const int warps = blockDim.x / 32, row_blocks = (n + warps - 1) / warps, lane = threadIdx.x % 32;
  const i64 at = blockIdx.x / column_chunks, item = at / row_blocks;
  const int chunk = static_cast<int>(blockIdx.x % column_chunks);
  const int i = static_cast<int>(at % row_blocks) * warps + threadIdx.x / 32;
  if (status[item] != 0 || i >= n) return;
  const T* const row = A + item * item_stride + static_cast<i64>(i) * k;
  int end = k - chunk * columns < columns ? k : (chunk + 1) * columns, j = chunk * columns + lane;
  if (triangular && i + 1 < end) end = i + 1;
  x += item * k;
  T sum[4] = {0, 0, 0, 0};
  for (; j + 96 < end; j += 128)
    for (int q = 0; q < 4; ++q) sum[q] = fused(row[j + 32 * q], x[j + 32 * q], sum[q]);
  for (; j < end; j += 32) sum[0] = fused(row[j], x[j], sum[0]);
  const T u = device::over_lanes((sum[0] + sum[1]) + (sum[2] + sum[3]), device::Sum());
  if (lane == 0) margins[(item * column_chunks + chunk) * n + i] = u;
}

// Grid items * chunks.
template <class T>
__device__ void weights(const T* margins, const T* y, const signed char* status, T* s, double* sums, int n,
                        int column_chunks, int rows, int chunks, const DescentRule& rule) {
  const i64 item = blockIdx.x / chunks;
  if (status[item] != 0) return;
  const int first = static_cast<int>(blockIdx.x % chunks) * rows, count = n - first < rows ? n - first : rows;
  extern __shared__ double shared_memory[];
  double *const slots = shared_memory, *const kept = slots + 2 * slot_count;
  margins += item * column_chunks * n + first, y += item * n + first, s += item * n + first;
  for (int i = threadIdx.x; i < count; i += blockDim.x) {
    T u = margins[i];
    for (int c = 1; c < column_chunks; ++c) u += margins[static_cast<i64>(c) * n + i];
    s[i] = u * y[i];
  }
  if (threadIdx.x == 0) kept[0] = device::infinity(), kept[1] = 0;
  __syncthreads();
  weigh(rule, s, y, count, kept, slots);
  if (threadIdx.x < 2 && !rule.plain()) sums[2 * static_cast<i64>(blockIdx.x) + threadIdx.x] = kept[threadIdx.x];
}

// Of the gradient in the column where `A` begins: rows i, i + warps, ... below `end` by a warp that begins at i.
template <class T>
__device__ __forceinline__ T share_of_rows(const T* A, const T* s, int i, int end, int k) {
  const int warps = blockDim.x / 32;
  const i64 further = static_cast<i64>(warps) * k;
  const T* a = A + static_cast<i64>(i) * k;
  T sum[4] = {0, 0, 0, 0};
  GENKERN_UNROLL(1)
  for (; i + 3 * warps < end; i += 4 * warps)
    for (int q = 0; q < 4; ++q, a += further) sum[q] = fused(*a, s[i + q * warps], sum[q]);
  GENKERN_UNROLL(1)
  for (; i < end; i += warps, a += further) sum[0] = fused(*a, s[i], sum[0]);
  return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

// Grid items * chunks * blocks of 32 columns.
template <class T>
__device__ void shares_of_chunks(const T* A, i64 item_stride, const signed char* status, const T* s, T* shares, int n,
                                 int k, int rows, int chunks, int triangular) {
  const int column_blocks = (k + 31) / 32, lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
  const i64 at = blockIdx.x / column_blocks, item = at / chunks;
  if (status[item] != 0) return;
  const int column = static_cast<int>(blockIdx.x % column_blocks) * 32, j = column + lane;
  const int first = static_cast<int>(at % chunks) * rows, end = n - first < rows ? n : first + rows;
  const int begin = triangular && column > first ? column : first;
  extern __shared__ double shared_memory[];
  T* const parts = reinterpret_cast<T*>(shared_memory);  // (warps, 32)
  T g = j < k ? share_of_rows(A + item * item_stride + j, s + item * n, begin + warp, end, k) : T(0);
  parts[threadIdx.x] = g;
  __syncthreads();
  if (warp != 0 || j >= k) return;
  GENKERN_UNROLL(1)
  for (int w = 1; w < warps; ++w) g += parts[w * 32 + lane];
  shares[at * k + j] = g;
}

// Grid items * blocks of 32 columns.
template <class T>
__device__ void step(const T* A, i64 item_stride, const signed char* status, const T* s, const double* sums, int n,
                     int rows, int chunks, int triangular, const Steps<T>& steps, const DescentRule& rule) {
  const int k = steps.k, column_blocks = (k + 31) / 32, lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int warps = blockDim.x / 32;
  const i64 item = blockIdx.x / column_blocks;
  if (status[item] != 0) return;
  const int column = static_cast<int>(blockIdx.x % column_blocks) * 32, j = column + lane;
  extern __shared__ double shared_memory[];
  double *const slots = shared_memory, *const factors = slots + 2 * slot_count;  // (chunks)
  T* const parts = reinterpret_cast<T*>(factors + chunks);                       // (warps, 32)
  gather(rule, sums + item * chunks * 2, chunks, factors, slots);
  A += item * item_stride + j, s += item * n;
  T g = 0;
  GENKERN_UNROLL(1)
  for (int c = 0; c < chunks && j < k; ++c) {
    const int end = n - c * rows < rows ? n : (c + 1) * rows;
    const int begin = triangular && column > c * rows ? column : c * rows;
    const T share = share_of_rows(A, s, begin + warp, end, k);
    g = rule.plain() ? g + share : fused(static_cast<T>(factors[c]), share, g);
  }
  parts[threadIdx.x] = g;
  __syncthreads();
  if (warp != 0) return;
  GENKERN_UNROLL(1)
  for (int w = 1; w < warps; ++w) g += parts[w * 32 + lane];
  steps.take(rule, item, j, g);
}

}  // namespace

extern "C" __global__ void __launch_bounds__(256)
    logistic_wide_margins_f32(const float* A, i64 item_stride, const signed char* status, const float* x,
                              float* margins, int n, int k, int columns, int column_chunks, int triangular) {
  partial_margins(A, item_stride, status, x, margins, n, k, columns, column_chunks, triangular);
}
extern "C" __global__ void __launch_bounds__(256)
    logistic_wide_margins_f64(const double* A, i64 item_stride, const signed char* status, const double* x,
                              double* margins, int n, int k, int columns, int column_chunks, int triangular) {
  partial_margins(A, item_stride, status, x, margins, n, k, columns, column_chunks, triangular);
}
// Four blocks: left to itself ptxas allows six, and spills.
extern "C" __global__ void __launch_bounds__(256, 4)
    logistic_wide_weights_f32(const float* margins, const float* y, const signed char* status, float* s, double* sums,
                              int n, int column_chunks, int rows, int chunks, int loss, int algorithm, int schedule,
                              double parameter) {
  weights(margins, y, status, s, sums, n, column_chunks, rows, chunks,
          DescentRule(loss, algorithm, schedule, parameter));
}
extern "C" __global__ void __launch_bounds__(256, 4)
    logistic_wide_weights_f64(const double* margins, const double* y, const signed char* status, double* s,
                              double* sums, int n, int column_chunks, int rows, int chunks, int loss, int algorithm,
                              int schedule, double parameter) {
  weights(margins, y, status, s, sums, n, column_chunks, rows, chunks,
          DescentRule(loss, algorithm, schedule, parameter));
}
extern "C" __global__ void __launch_bounds__(256)
    logistic_wide_shares_f32(const float* A, i64 item_stride, const signed char* status, const float* s, float* shares,
                             int n, int k, int rows, int chunks, int triangular) {
  shares_of_chunks(A, item_stride, status, s, shares, n, k, rows, chunks, triangular);
}
extern "C" __global__ void __launch_bounds__(256)
    logistic_wide_shares_f64(const double* A, i64 item_stride, const signed char* status, const double* s,
                             double* shares, int n, int k, int rows, int chunks, int triangular) {
  shares_of_chunks(A, item_stride, status, s, shares, n, k, rows, chunks, triangular);
}
extern "C" __global__ void __launch_bounds__(512, 2)
    logistic_wide_step_f32(const float* A, i64 item_stride, const signed char* status, const float* s,
                           const double* sums, int n, int rows, int chunks, int triangular, const double* eta, float* x,
                           float* extra, float* path, int* bests, int k, int count, int next, int stop, double t,
                           int loss, int algorithm, int schedule, double parameter) {
  step(A, item_stride, status, s, sums, n, rows, chunks, triangular,
       Steps<float>{eta, x, extra, path, bests, k, count, next, stop, t},
       DescentRule(loss, algorithm, schedule, parameter));
}
extern "C" __global__ void __launch_bounds__(512, 2)
    logistic_wide_step_f64(const double* A, i64 item_stride, const signed char* status, const double* s,
                           const double* sums, int n, int rows, int chunks, int triangular, const double* eta,
                           double* x, double* extra, double* path, int* bests, int k, int count, int next, int stop,
                           double t, int loss, int algorithm, int schedule, double parameter) {
  step(A, item_stride, status, s, sums, n, rows, chunks, triangular,
       Steps<double>{eta, x, extra, path, bests, k, count, next, stop, t},
       DescentRule(loss, algorithm, schedule, parameter));
}
