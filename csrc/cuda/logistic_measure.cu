// Logarithm of L, margin and norm of logged iterates of descent on a margin loss.
//
// Method: three launches for some iterates of some items. `margins` is a product of matrices, X W^T: a block of 8 warps
//   takes 2 `pairs` iterates and 8 / pairs times 32 rows, a thread one row and two iterates, 16 columns at a time by
//   way of shared memory, and `columns` of them in all. `chunks` adds these up and finds the least margin of some rows
//   and their sum of losses. `points` brings chunks together and finds the norm, one block an iterate; an iterate that
//   is not finite becomes NaN.
// Shapes: X (items, n, d) or one for all (item_stride 0), y (items, n), coef (items, count, d), of which the iterates
//   begin .. begin + some - 1; parts (items, some, column_chunks, n), sums (items, some, chunks, 2): least margin of a
//   chunk of `rows` rows and the sum of its losses; log_loss, margin, norm (items, count).
// Cost: 2 n d flops and n losses for each iterate. Global memory: X once for 2 `pairs` iterates (16 of them where there
//   are as many), 8 n d bytes (f32: 4 n d), in pieces of 128 bytes (f32: 64), and 24 n column_chunks bytes for each.
// Numerics: float64 whatever the data's type. Sums over columns, column chunks, threads, lanes and chunks in one order
//   that depends on n and d alone. The least margin is taken off before the sum, the largest entry before the norm:
//   neither overflows or underflows.
// Source: genkern/_reference/logistic.py.

#include "device/descent_kernels.hpp"

namespace {

using device::over_block;
typedef long long i64;

constexpr int slot_count = 32;
constexpr int slab = 16;  // columns at a time

// Grid items * ceil(some / (2 pairs)) * ceil(n / (256 / pairs)) * column_chunks; blocks of 256
template <class T>
__device__ void margins(const T* X, i64 item_stride, const T* coef, double* parts, int n, int d, int count, int begin,
                        int some, int pairs, int columns, int column_chunks) {
  const int rows = 256 / pairs, row_blocks = (n + rows - 1) / rows, groups = (some + 2 * pairs - 1) / (2 * pairs);
  const int chunk = static_cast<int>(blockIdx.x % column_chunks);
  i64 at = blockIdx.x / column_chunks;
  const int first = static_cast<int>(at % row_blocks) * rows;
  at /= row_blocks;
  const int point = static_cast<int>(at % groups) * 2 * pairs;  // of the iterates `begin` ..
  const i64 item = at / groups;
  const int me = threadIdx.x, threads = blockDim.x;
  extern __shared__ double shared_memory[];
  double* const x = shared_memory;                 // (rows, slab + 1)
  double* const w = x + rows * (slab + 1);         // (2 pairs, slab)
  const int mine = me / 32 % pairs * 2;            // my iterates: mine, mine + 1
  const int row = me / 32 / pairs * 32 + me % 32;  // my row
  X += item * item_stride + static_cast<i64>(first) * d, coef += (item * count + begin + point) * d;
  double u = 0, v = 0;
  const int end = d - chunk * columns < columns ? d : (chunk + 1) * columns;
  for (int column = chunk * columns; column < end; column += slab) {
    for (int e = me; e < rows * slab; e += threads) {
      const int i = e / slab, j = column + e % slab;
      const bool inside = first + i < n && j < end;
      x[i * (slab + 1) + e % slab] = inside ? static_cast<double>(X[static_cast<i64>(i) * d + j]) : 0;
    }
    for (int e = me; e < 2 * pairs * slab; e += threads) {
      const int p = e / slab, j = column + e % slab;
      w[e] = point + p < some && j < end ? static_cast<double>(coef[static_cast<i64>(p) * d + j]) : 0;
    }
    __syncthreads();
    GENKERN_UNROLL(16)
    for (int j = 0; j < slab; ++j) {
      const double a = x[row * (slab + 1) + j];
      u = fma(a, w[mine * slab + j], u);
      v = fma(a, w[(mine + 1) * slab + j], v);
    }
    __syncthreads();
  }
  if (first + row >= n) return;
  parts += (item * some + point + mine) * column_chunks * n + static_cast<i64>(chunk) * n + first + row;
  if (point + mine < some) *parts = u;
  if (point + mine + 1 < some) parts[static_cast<i64>(column_chunks) * n] = v;
}

// Grid items * some * chunks
template <class T>
__device__ void chunks_of_rows(double* parts, const T* y, double* sums, int n, int some, int column_chunks, int rows,
                               int chunks, const device::DescentRule& rule) {
  const i64 point = blockIdx.x / chunks, item = point / some;
  const int first = static_cast<int>(blockIdx.x % chunks) * rows, count = n - first < rows ? n - first : rows;
  extern __shared__ double shared_memory[];
  double *const slots = shared_memory, *const u = parts + point * column_chunks * n + first;
  y += item * n + first;
  double least = device::infinity(), sum = 0;
  for (int i = threadIdx.x; i < count; i += blockDim.x) {
    double margin = u[i];
    for (int c = 1; c < column_chunks; ++c) margin += u[static_cast<i64>(c) * n + i];
    u[i] = margin *= static_cast<double>(y[i]);
    least = device::Least()(least, margin);
  }
  least = over_block(least, slots, device::Least());
  const bool shifted = rule.shifted(least);
  for (int i = threadIdx.x; i < count; i += blockDim.x)
    sum += shifted ? exp(least - u[i]) : device::logistic_loss(u[i]);
  sum = over_block(sum, slots + slot_count, device::Sum());
  if (threadIdx.x != 0) return;
  sums[2 * static_cast<i64>(blockIdx.x)] = least, sums[2 * static_cast<i64>(blockIdx.x) + 1] = sum;
}

// Grid items * some
template <class T>
__device__ void points(const double* sums, const signed char* status, T* coef, T* log_loss, T* margin, T* norm, int n,
                       int d, int count, int begin, int some, int chunks, const device::DescentRule& rule) {
  const i64 item = blockIdx.x / some, point = item * count + begin + blockIdx.x % some;
  const int me = threadIdx.x, threads = blockDim.x;
  extern __shared__ double shared_memory[];
  double* const slots = shared_memory;  // (4, slot_count)
  T* const w = coef + point * d;
  sums += static_cast<i64>(blockIdx.x) * chunks * 2;
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
  double squares = 0, least = device::infinity(), sum = 0;
  for (int j = me; j < d; j += threads) {
    const double share = largest > 0 ? static_cast<double>(w[j]) / largest : 0;
    squares = fma(share, share, squares);
  }
  const double length = largest * sqrt(over_block(squares, slots + slot_count, device::Sum()));
  for (int c = me; c < chunks; c += threads) least = device::Least()(least, sums[2 * c]);
  least = over_block(least, slots + 2 * slot_count, device::Least());
  for (int c = me; c < chunks; c += threads) sum += sums[2 * c + 1] * device::share_of_chunk(rule, least, sums[2 * c]);
  sum = over_block(sum, slots + 3 * slot_count, device::Sum());
  if (me != 0) return;
  log_loss[point] = static_cast<T>(n == 0 ? -least : log(sum) - (rule.shifted(least) ? least : 0));
  margin[point] = static_cast<T>(least / length);
  norm[point] = static_cast<T>(length);
}

}  // namespace

extern "C" __global__ void __launch_bounds__(256)
    logistic_measure_margins_f32(const float* X, i64 item_stride, const float* coef, double* parts, int n, int d,
                                 int count, int begin, int some, int pairs, int columns, int column_chunks) {
  margins(X, item_stride, coef, parts, n, d, count, begin, some, pairs, columns, column_chunks);
}
extern "C" __global__ void __launch_bounds__(256)
    logistic_measure_margins_f64(const double* X, i64 item_stride, const double* coef, double* parts, int n, int d,
                                 int count, int begin, int some, int pairs, int columns, int column_chunks) {
  margins(X, item_stride, coef, parts, n, d, count, begin, some, pairs, columns, column_chunks);
}
extern "C" __global__ void __launch_bounds__(128)
    logistic_measure_chunks_f32(double* parts, const float* y, double* sums, int n, int some, int column_chunks,
                                int rows, int chunks, int loss) {
  chunks_of_rows(parts, y, sums, n, some, column_chunks, rows, chunks, device::DescentRule(loss, 0, 0, 0.0));
}
extern "C" __global__ void __launch_bounds__(128)
    logistic_measure_chunks_f64(double* parts, const double* y, double* sums, int n, int some, int column_chunks,
                                int rows, int chunks, int loss) {
  chunks_of_rows(parts, y, sums, n, some, column_chunks, rows, chunks, device::DescentRule(loss, 0, 0, 0.0));
}
extern "C" __global__ void __launch_bounds__(128)
    logistic_measure_points_f32(const double* sums, const signed char* status, float* coef, float* log_loss,
                                float* margin, float* norm, int n, int d, int count, int begin, int some, int chunks,
                                int loss) {
  points(sums, status, coef, log_loss, margin, norm, n, d, count, begin, some, chunks,
         device::DescentRule(loss, 0, 0, 0.0));
}
extern "C" __global__ void __launch_bounds__(128)
    logistic_measure_points_f64(const double* sums, const signed char* status, double* coef, double* log_loss,
                                double* margin, double* norm, int n, int d, int count, int begin, int some, int chunks,
                                int loss) {
  points(sums, status, coef, log_loss, margin, norm, n, d, count, begin, some, chunks,
         device::DescentRule(loss, 0, 0, 0.0));
}
