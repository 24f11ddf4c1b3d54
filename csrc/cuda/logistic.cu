// Descent on a margin loss:  L(w) = sum_i l(y_i <a_i, w>),  A n x k, for every item of a batch: problems that fit into
// the shared memory of a multiprocessor. (Larger ones: logistic_large.cu.)
//
// Method: one block a problem. A, with y in its rows, the iterate x and the weights stay in shared memory for all steps
//   of a launch. A step is two products and two barriers: margins (a group of `row_parts` lanes a row), weights, and
//   gradient with update (a group of `column_parts` lanes a column); three reductions more where log L is followed.
// Shapes: A (items, n, k) or one for all (item_stride 0), y (items, n), x, extra (items, k), path (items, count, k),
//   steps (count) not decreasing. A is X, or the lower triangle of a wide problem (logistic_reduce.cu).
// Cost: 4 n k flops (2 n k for a triangle) and n weights a step, which is the least there is; every product reads one
//   number of A and one of x or s from shared memory: 8 n k (f32) or 16 n k bytes of A a step. Global memory: A once a
//   launch (n k numbers), 4 k numbers of state, and what is logged. A's stride is an odd multiple of row_parts, so
//   that margins have no bank conflicts; those of a gradient are at most column_parts-fold.
// Numerics: as on the CPU: iterates and margins in T, sums over even and odd terms and then over lanes in one order,
//   one fused multiply-add a term; x is summed with compensation (device/descent.hpp), which lives in `extra` between
//   launches: where a path is cut into launches changes no bit.
// Source: see genkern/logistic.py and genkern/_reference/logistic.py.

#include "device/descent_kernels.hpp"

namespace {

using device::DescentRule;
using device::fused;
typedef long long i64;

constexpr int slot_count = 32;  // warps of a block at most

// use(i, <a_i, x>) for every row, by one thread each.
template <class T, class Use>
__device__ void margins(const T* a, const T* x, int n, int k, int stride, int parts, bool triangular, const Use& use) {
  const int part = threadIdx.x % parts, together = blockDim.x / parts;
  for (int first = 0; first < n; first += together) {
    const int i = first + threadIdx.x / parts;
    T even = 0, odd = 0;
    if (i < n) {
      const T* const row = a + i * stride;
      const int end = triangular && i + 1 < k ? i + 1 : k;
      int j = part;
      for (; j + parts < end; j += 2 * parts) {
        even = fused(row[j], x[j], even);
        odd = fused(row[j + parts], x[j + parts], odd);
      }
      if (j < end) even = fused(row[j], x[j], even);
    }
    T sum = even + odd;
    for (int half = parts / 2; half > 0; half /= 2) sum += __shfl_xor_sync(~0u, sum, half);
    if (i < n && part == 0) use(i, sum);
  }
}

// use(j, sum_i a_ij s_i) for every column, by one thread each.
template <class T, class Use>
__device__ void gradient(const T* a, const T* s, int n, int k, int stride, int parts, bool triangular, const Use& use) {
  const int part = threadIdx.x % parts, together = blockDim.x / parts;
  for (int first = 0; first < k; first += together) {
    const int j = first + threadIdx.x / parts;
    T even = 0, odd = 0;
    if (j < k) {
      int i = (triangular ? j : 0) + part;
      for (; i + parts < n; i += 2 * parts) {
        even = fused(a[i * stride + j], s[i], even);
        odd = fused(a[(i + parts) * stride + j], s[i + parts], odd);
      }
      if (i < n) even = fused(a[i * stride + j], s[i], even);
    }
    T sum = even + odd;
    for (int half = parts / 2; half > 0; half /= 2) sum += __shfl_xor_sync(~0u, sum, half);
    if (j < k && part == 0) use(j, sum);
  }
}

// Margins s (n) become the weights -l'(u_i) / sum_j l(u_j).
template <class T>
__device__ void normalize(const DescentRule& rule, T* s, int n, double* slots) {
  double least = device::infinity();
  for (int i = threadIdx.x; i < n; i += blockDim.x) least = device::Least()(least, static_cast<double>(s[i]));
  least = device::over_block(least, slots, device::Least());
  const bool shifted = rule.shifted(least);
  double sum = 0;
  for (int i = threadIdx.x; i < n; i += blockDim.x) {
    const T u = s[i], weight = device::margin_weight(shifted, shifted ? u - static_cast<T>(least) : u);
    s[i] = weight;
    sum += shifted ? static_cast<double>(weight) : device::logistic_loss(static_cast<double>(u));
  }
  const T scale = static_cast<T>(1 / device::over_block(sum, slots + slot_count, device::Sum()));
  for (int i = threadIdx.x; i < n; i += blockDim.x) s[i] *= scale;
}

// Steps done + 1 .. until of every item; iterates at the counts steps[next], ... up to `until` go to the path.
template <class T>
__device__ void descend(const T* A, i64 item_stride, const T* y, const double* eta, const signed char* status, T* x,
                        T* extra, T* path, const double* steps, int n, int k, int stride, int count, int next,
                        double done, double until, int row_parts, int column_parts, int triangular,
                        const DescentRule& rule) {
  const i64 item = blockIdx.x;
  const int me = threadIdx.x, threads = blockDim.x;
  if (status[item] != 0) return;
  extern __shared__ double shared_memory[];
  double* const slots = shared_memory;  // (3, slot_count)
  T* const a = reinterpret_cast<T*>(slots + 3 * slot_count);
  T *const w = a + static_cast<i64>(n) * stride, *const memory = w + k, *const s = memory + k;
  A += item * item_stride, y += item * n, x += item * k, extra += item * k, path += item * count * k;
  for (int e = me; e < n * k; e += threads) {
    const int i = e / k;
    a[i * stride + (e - i * k)] = y[i] * A[e];
  }
  for (int j = me; j < k; j += threads) w[j] = x[j], memory[j] = extra[j];
  __syncthreads();
  const bool plain = rule.plain(), exponential = rule.loss == genkern::MarginLoss::exponential;
  const bool coordinate = rule.algorithm == genkern::DescentAlgorithm::coordinate;
  for (double t = done;;) {
    for (; next < count && steps[next] <= t; ++next)
      for (int j = me; j < k; j += threads) path[static_cast<i64>(next) * k + j] = w[j];
    if (t >= until) break;
    t += 1;
    margins(a, w, n, k, stride, row_parts, triangular != 0,
            [=](int i, T u) { s[i] = plain ? device::margin_weight(exponential, u) : u; });
    __syncthreads();
    if (!plain) {
      normalize(rule, s, n, slots);
      __syncthreads();
    }
    const T rate = rule.rate<T>(eta[item], t);
    gradient(a, s, n, k, stride, column_parts, triangular != 0, [=](int j, T g) {
      if (coordinate)
        memory[j] = g;
      else
        device::step_coordinate(rule, rate, t, g, w[j], memory[j]);
    });
    __syncthreads();
    if (coordinate) {
      const int best = device::steepest(memory, k, reinterpret_cast<int*>(slots + 2 * slot_count));
      if (me == 0 && k > 0) w[best] += rate * memory[best];
      __syncthreads();
    }
  }
  for (int j = me; j < k; j += threads) x[j] = w[j], extra[j] = memory[j];
}

// The weights -l'(u) alone, for tests of their accuracy.
template <class T>
__device__ void weights_of(const T* u, T* weights, i64 count, int loss) {
  const i64 i = static_cast<i64>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i < count) weights[i] = device::margin_weight(loss == static_cast<int>(genkern::MarginLoss::exponential), u[i]);
}

}  // namespace

extern "C" __global__ void __launch_bounds__(512)
    logistic_descend_f32(const float* A, i64 item_stride, const float* y, const double* eta, const signed char* status,
                         float* x, float* extra, float* path, const double* steps, int n, int k, int stride, int count,
                         int next, double done, double until, int row_parts, int column_parts, int triangular, int loss,
                         int algorithm, int schedule, double parameter) {
  descend(A, item_stride, y, eta, status, x, extra, path, steps, n, k, stride, count, next, done, until, row_parts,
          column_parts, triangular, DescentRule(loss, algorithm, schedule, parameter));
}
extern "C" __global__ void __launch_bounds__(512)
    logistic_descend_f64(const double* A, i64 item_stride, const double* y, const double* eta,
                         const signed char* status, double* x, double* extra, double* path, const double* steps, int n,
                         int k, int stride, int count, int next, double done, double until, int row_parts,
                         int column_parts, int triangular, int loss, int algorithm, int schedule, double parameter) {
  descend(A, item_stride, y, eta, status, x, extra, path, steps, n, k, stride, count, next, done, until, row_parts,
          column_parts, triangular, DescentRule(loss, algorithm, schedule, parameter));
}
extern "C" __global__ void __launch_bounds__(256)
    logistic_weights_f32(const float* u, float* weights, i64 count, int loss) {
  weights_of(u, weights, count, loss);
}
extern "C" __global__ void __launch_bounds__(256)
    logistic_weights_f64(const double* u, double* weights, i64 count, int loss) {
  weights_of(u, weights, count, loss);
}
