// What problems beyond shared memory need besides cuSOLVER and cuBLAS: their scales, and the rule of full rank.
//
// Problem: `least_squares_scale` writes X 2^-exponent with entries below 1, every column of y by its own power of two,
//   and whether both are finite; `least_squares_check` says whether the QR factorization A = QR of an item may answer.
// Method: one block an item for the scales; one warp an item for the rule of device/least_squares_rank.hpp.
// Shapes: X (items, n, d) and y (items, n, k), row-major, the scaled ones as well; r (m, m) column-major, its work 2 m.
// Cost: X and y are read twice and written once; the rule takes m^2 to 10 m^2 flops.
// 16-byte loads: least_squares_scale
// Numerics: scales are powers of two, so only entries far below the largest one are rounded.
// Source: Higham, Accuracy and Stability of Numerical Algorithms, chapter 15.
#include "cuda/least_squares_triangle.hpp"

namespace genkern {
namespace {

template <class T>
__device__ void scale_item(const T* X, const T* y, int n, int d, int k, T* scaled_X, T* scaled_y, int* exponent,
                           int* y_exponents, signed char* status) {
  __shared__ double scratch[8];
  const Team team = Team::of(static_cast<int>(blockDim.x) / 32, scratch);
  const double largest = largest_entry(team, X, n, d);
  bool bad = !is_finite(largest);
  const int own = exponent_of(bad ? 0 : largest);
  for (int q = team.warp; q < k; q += team.warps) {
    double size = 0;
    for (int i = team.lane; i < n; i += 32) {
      const double entry = fabs(static_cast<double>(y[static_cast<long long>(i) * k + q]));
      bad = bad || !is_finite(entry);
      size = entry > size ? entry : size;
    }
    size = lanes_max(size);
    const int exponent_y = exponent_of(is_finite(size) ? size : 0);
    const Scale<T> scale(-exponent_y);
    for (int i = team.lane; i < n; i += 32) {
      const long long at = static_cast<long long>(i) * k + q;
      scaled_y[at] = is_finite(y[at]) ? scale(y[at]) : T(0);
    }
    if (team.lane == 0) y_exponents[q] = exponent_y;
  }
  const Scale<T> scale(-own);
  each_entry(team, X, n, d, [&](int row, int column, T x) {
    scaled_X[static_cast<long long>(row) * d + column] = is_finite(x) ? scale(x) : T(0);
  });
  bad = team.largest(bad ? 1 : 0) != 0;
  if (team.thread == 0) {
    *exponent = own;
    *status = bad;
  }
}

template <class T>
__device__ void check_item(const T* r, int m, const T* y, int n, int k, int longer_side, double rcond, double ridge,
                           T* work, signed char* full) {
  const int lane = static_cast<int>(threadIdx.x);
  T *const inverse = work, *const x = work + m;
  for (int j = lane; j < m; j += 32) inverse[j] = 1 / r[static_cast<long long>(j) * m + j];
  __syncwarp();
  const WarpTriangle<T, long long> triangle{r, m, m, inverse, x, lane};
  const T norm2 = triangle.norm2();
  bool answers = triangle.full_rank(device::lstsq_rule<T>(rcond, longer_side), norm2) &&
                 (ridge == 0 || device::moderate(sqrt(ridge), norm2));
  for (int q = 0; q < k && answers; ++q) {
    double size = 0;
    for (int i = lane; i < n; i += 32) size += fabs(static_cast<double>(y[static_cast<long long>(i) * k + q]));
    answers = device::in_range<T>(lanes_sum(size));
  }
  if (lane == 0) *full = answers;
}

}  // namespace
}  // namespace genkern

#define GENKERN_LARGE(suffix, T)                                                                                     \
  extern "C" __global__ void __launch_bounds__(256, 2) least_squares_scale_##suffix(                                 \
      const T* X, const T* y, long long x_stride, long long y_stride, int n, int d, int k, T* scaled_X, T* scaled_y, \
      int* exponent, int* y_exponent, signed char* status) {                                                         \
    const long long item = blockIdx.x;                                                                               \
    genkern::scale_item(X + item * x_stride, y + item * y_stride, n, d, k, scaled_X + item * n * d,                  \
                        scaled_y + item * n * k, exponent + item, y_exponent + item * k, status + item);             \
  }                                                                                                                  \
  extern "C" __global__ void __launch_bounds__(32)                                                                   \
      least_squares_check_##suffix(const T* r, int m, const T* y, int n, int k, int longer_side, double rcond,       \
                                   const double* ridge, T* work, signed char* full) {                                \
    genkern::check_item(r, m, y, n, k, longer_side, rcond, *ridge, work, full);                                      \
  }
GENKERN_LARGE(f32, float)
GENKERN_LARGE(f64, double)
