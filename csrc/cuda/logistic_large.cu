// Descent on a margin loss, as logistic.cu, for problems that do not fit into the shared memory of a multiprocessor and
// have rows of a few KB at most. (Longer ones: logistic_wide.cu.)
//
// Method: two launches a step over the whole device, the batch beside the rows. `pass`: a block takes a chunk of rows,
//   a tile of them at a time into shared memory, forms margins and weights, and adds the tile's share of the gradient
//   to what it has. Where log L is followed, it takes off its least margin so far, and what it has is brought to a new
//   one. `update` adds up the shares of all chunks and takes the step. `steepest` ends a step of coordinate descent.
// Shapes: A (items, n, k) or one for all (item_stride 0), k <= 512, y (items, n), x, extra (items, k), shares (items,
//   chunks, k), sums (items, chunks, 2): least margin of a chunk and the sum of its losses; path (items, count, k).
//   A chunk is `tiles` tiles of `tile` rows. `parts` lanes share a row in the margins, `width` threads lie along the
//   columns of one in the gradient. triangular: above the diagonal are zeros, which are not read.
// Cost: 4 n k flops and n weights a step. Global memory: A once a step, 8 n k bytes (f32: 4 n k), coalesced, which is
//   the least there is, and 2 k chunks numbers of shares, written and read, chunks <= 512.
// Numerics: sums over even and odd terms, lanes, rows of a tile, tiles, groups of threads and chunks in one order that
//   depends on n and k alone; otherwise as logistic.cu.
// Source: see genkern/logistic.py.

#include "cuda/logistic_step.hpp"

namespace {

using namespace genkern;
using device::DescentRule;
using device::fused;

constexpr int ahead = 8;  // loads of a thread on their way at a time

// to[e] = at(e) for e < size, by all threads of a block. Where there are less than `ahead` left to a thread, it loads
// its first one for them again: loads without branches, of which the compiler puts none behind a store.
template <class T, class Read>
__device__ __forceinline__ void fetch(T* to, int size, Read at) {
  const int threads = blockDim.x;
  GENKERN_UNROLL(1)
  for (int e = threadIdx.x; e < size; e += ahead * threads) {
    T loaded[ahead];
    GENKERN_UNROLL(8)
    for (int q = 0; q < ahead; ++q) loaded[q] = at(e + q * threads < size ? e + q * threads : e);
    GENKERN_UNROLL(8)
    for (int q = 0; q < ahead; ++q)
      if (e + q * threads < size) to[e + q * threads] = loaded[q];
  }
}

// Grid items * chunks.
template <class T>
__device__ void pass(const T* A, i64 item_stride, const T* y, const signed char* status, const T* x, T* shares,
                     double* sums, int n, int k, int tile, int tiles, int chunks, int parts, int width, int triangular,
                     const DescentRule& rule) {
  const i64 item = blockIdx.x / chunks;
  if (status[item] != 0) return;
  const int me = threadIdx.x, threads = blockDim.x;
  const int begin = static_cast<int>(blockIdx.x % chunks) * tile * tiles;
  const int end = n - begin < tile * tiles ? n : begin + tile * tiles;
  extern __shared__ double shared_memory[];
  double *const slots = shared_memory, *const kept = slots + 2 * slot_count;
  T* const w = reinterpret_cast<T*>(kept + 2);
  T *const s = w + k, *const a = s + tile;  // (tile, k), and room for one number a thread
  A += item * item_stride, y += item * n, x += item * k;
  for (int j = me; j < k; j += threads) w[j] = x[j];
  const int part = me % parts, together = threads / parts;
  const int column = me % width, group = me / width, groups = threads / width;
  T total[2] = {0, 0};  // of the columns `column` and, where there are more than threads, column + width
  if (me == 0) kept[0] = device::infinity(), kept[1] = 0;
  for (int first = begin; first < end; first += tile) {
    const int count = end - first < tile ? end - first : tile;
    const T* const rows = A + static_cast<i64>(first) * k;
    if (triangular)
      fetch(a, count * k, [&](int e) { return e % k > first + e / k ? T(0) : rows[e]; });
    else
      fetch(a, count * k, [&](int e) { return rows[e]; });
    __syncthreads();
    for (int i = me / parts; i - me / parts < count; i += together) {
      const T* const row = a + i * k;
      T even = 0, odd = 0;
      if (i < count) {
        int j = part;
        GENKERN_UNROLL(2)
        for (; j + parts < k; j += 2 * parts) {
          even = fused(row[j], w[j], even);
          odd = fused(row[j + parts], w[j + parts], odd);
        }
        if (j < k) even = fused(row[j], w[j], even);
      }
      T u = even + odd;
      GENKERN_UNROLL(1)
      for (int half = parts / 2; half > 0; half /= 2) u += __shfl_xor_sync(~0u, u, half);
      if (i < count && part == 0) s[i] = u * y[first + i];
    }
    __syncthreads();
    const T factor = static_cast<T>(weigh(rule, s, y + first, count, kept, slots));
    for (int c = 0; c < 2; ++c) {
      const int j = column + c * width;
      if (j >= k) continue;
      T even = 0, odd = 0;
      int i = group;
      GENKERN_UNROLL(2)
      for (; i + groups < count; i += 2 * groups) {
        even = fused(a[i * k + j], s[i], even);
        odd = fused(a[(i + groups) * k + j], s[i + groups], odd);
      }
      if (i < count) even = fused(a[i * k + j], s[i], even);
      total[c] = rule.plain() ? total[c] + (even + odd) : fused(factor, total[c], even + odd);
    }
    __syncthreads();
  }
  if (groups > 1) {
    a[me] = total[0];
    __syncthreads();
    if (group != 0) return;
    GENKERN_UNROLL(1)
    for (int g = 1; g < groups; ++g) total[0] += a[g * width + column];
  }
  shares += static_cast<i64>(blockIdx.x) * k;
  for (int c = 0; c < 2; ++c)
    if (column + c * width < k) shares[column + c * width] = total[c];
  if (me < 2 && !rule.plain()) sums[2 * static_cast<i64>(blockIdx.x) + me] = kept[me];
}

// Grid items * blocks of 32 columns; warp w of a block takes the shares w, w + warps, ...
template <class T>
__device__ void update(const T* shares, const double* sums, const signed char* status, int chunks,
                       const Steps<T>& steps, const DescentRule& rule) {
  const int column_blocks = (steps.k + 31) / 32, lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int warps = blockDim.x / 32, k = steps.k;
  const i64 item = blockIdx.x / column_blocks;
  if (status[item] != 0) return;
  const int j = static_cast<int>(blockIdx.x % column_blocks) * 32 + lane;
  extern __shared__ double shared_memory[];
  double *const slots = shared_memory, *const factors = slots + 2 * slot_count;  // (chunks)
  T* const parts = reinterpret_cast<T*>(factors + chunks);                       // (warps, 32)
  gather(rule, sums + item * chunks * 2, chunks, factors, slots);
  shares += item * chunks * k;
  T even = 0, odd = 0;
  if (j < k) {
    const auto add = [&](int c, T& to) {
      const T share = shares[static_cast<i64>(c) * k + j];
      to = rule.plain() ? to + share : fused(static_cast<T>(factors[c]), share, to);
    };
    int c = warp;
    for (; c + warps < chunks; c += 2 * warps) add(c, even), add(c + warps, odd);
    if (c < chunks) add(c, even);
  }
  T g = even + odd;
  parts[threadIdx.x] = g;
  __syncthreads();
  if (warp != 0) return;
  GENKERN_UNROLL(1)
  for (int w = 1; w < warps; ++w) g += parts[w * 32 + lane];
  steps.take(rule, item, j, g);
}

// The step of coordinate descent, from the gradients in `extra` and the steepest of every 32 columns; grid items.
template <class T>
__device__ void step_steepest(const double* eta, const signed char* status, T* x, const T* extra, const int* bests,
                              int k, double t, const DescentRule& rule) {
  const i64 item = blockIdx.x;
  if (status[item] != 0) return;
  const int blocks = (k + 31) / 32, me = threadIdx.x;
  extern __shared__ double shared_memory[];
  x += item * k, extra += item * k, bests += item * blocks;
  const device::Steeper<T> better{extra};
  int best = bests[me < blocks ? me : 0];
  for (int b = me + blockDim.x; b < blocks; b += blockDim.x) best = better(best, bests[b]);
  best = device::over_block(best, reinterpret_cast<int*>(shared_memory), better);
  if (me == 0) x[best] += rule.rate<T>(eta[item], t) * extra[best];
}

}  // namespace

extern "C" __global__ void __launch_bounds__(256)
    logistic_large_pass_f32(const float* A, i64 item_stride, const float* y, const signed char* status, const float* x,
                            float* shares, double* sums, int n, int k, int tile, int tiles, int chunks, int parts,
                            int width, int triangular, int loss, int algorithm, int schedule, double parameter) {
  pass(A, item_stride, y, status, x, shares, sums, n, k, tile, tiles, chunks, parts, width, triangular,
       DescentRule(loss, algorithm, schedule, parameter));
}
extern "C" __global__ void __launch_bounds__(256)
    logistic_large_pass_f64(const double* A, i64 item_stride, const double* y, const signed char* status,
                            const double* x, double* shares, double* sums, int n, int k, int tile, int tiles,
                            int chunks, int parts, int width, int triangular, int loss, int algorithm, int schedule,
                            double parameter) {
  pass(A, item_stride, y, status, x, shares, sums, n, k, tile, tiles, chunks, parts, width, triangular,
       DescentRule(loss, algorithm, schedule, parameter));
}
extern "C" __global__ void __launch_bounds__(512, 2)
    logistic_large_update_f32(const float* shares, const double* sums, const signed char* status, int chunks,
                              const double* eta, float* x, float* extra, float* path, int* bests, int k, int count,
                              int next, int stop, double t, int loss, int algorithm, int schedule, double parameter) {
  update(shares, sums, status, chunks, Steps<float>{eta, x, extra, path, bests, k, count, next, stop, t},
         DescentRule(loss, algorithm, schedule, parameter));
}
extern "C" __global__ void __launch_bounds__(512, 2)
    logistic_large_update_f64(const double* shares, const double* sums, const signed char* status, int chunks,
                              const double* eta, double* x, double* extra, double* path, int* bests, int k, int count,
                              int next, int stop, double t, int loss, int algorithm, int schedule, double parameter) {
  update(shares, sums, status, chunks, Steps<double>{eta, x, extra, path, bests, k, count, next, stop, t},
         DescentRule(loss, algorithm, schedule, parameter));
}
extern "C" __global__ void __launch_bounds__(1024)
    logistic_large_steepest_f32(const double* eta, const signed char* status, float* x, const float* extra,
                                const int* bests, int k, double t, int loss, int algorithm, int schedule,
                                double parameter) {
  step_steepest(eta, status, x, extra, bests, k, t, DescentRule(loss, algorithm, schedule, parameter));
}
extern "C" __global__ void __launch_bounds__(1024)
    logistic_large_steepest_f64(const double* eta, const signed char* status, double* x, const double* extra,
                                const int* bests, int k, double t, int loss, int algorithm, int schedule,
                                double parameter) {
  step_steepest(eta, status, x, extra, bests, k, t, DescentRule(loss, algorithm, schedule, parameter));
}
