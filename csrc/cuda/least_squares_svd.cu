// Singular value decompositions of a batch of small matrices, one team of warps a problem, and the least-squares
// solutions from them for the items that the QR of least_squares.cu has left pending.
//
// Problem: X = U diag(s) V^T; coef = V diag(s / (s^2 + ridge)) U^T y over the singular values s > rcond * s_max.
// Method: QR and one-sided Jacobi rotations (least_squares_jacobi.hpp). `least_squares_svd` passes over all items and
//   solves those whose status is `pending`, so that the host need not know whether there are any; `least_squares_modes`
//   writes s, V and U^T y of every item for the paths; `least_squares_values` s alone.
// Shapes: as in least_squares.cu; s (items, m) in descending order, basis (items, m, d) with row i = V's column i,
//   projections (items, m, k); s and projections are of X 2^-exponent and y 2^-y_exponent.
// Cost: 2 l m^2 + about 30 m^3 flops, m = min(n, d), l = max(n, d); X read twice, the second time from cache. An item
//   that is not pending costs the read of its status.
// 16-byte loads: least_squares_svd, least_squares_modes, least_squares_values
// Numerics: backward stable at every scale of X, y and ridge, but for float32 entries below 1.2e-38, which are 0.
// Source: see least_squares_jacobi.hpp.
#include "cuda/least_squares_jacobi.hpp"
#include "device/spectral_filters.hpp"

namespace genkern {
namespace {

constexpr signed char pending = 3;

template <class T>
struct SvdArguments {
  const T *X, *y;
  long long x_stride, y_stride, items;
  int n, d, k;
  int warps;     // a team
  T* workspace;  // of each team: G with its leading dimension if `g_outside`, (k, m + 2) if `rows_outside`
  int g_outside, rows_outside;
};

// What a team works on; items are taken in turn, so that the memory outside is that of the teams on the device.
template <class T>
struct SvdMemory {
  Team team;
  Reflectors<T> q;
  JacobiProblem<T> p;
  long long first, step;

  __device__ SvdMemory(const SvdArguments<T>& given, T* memory) {
    const int n = given.n, d = given.d, k = given.k, l = n > d ? n : d, m = n > d ? d : n;
    const int ld = leading(l), ld_g = leading(m), teams = static_cast<int>(blockDim.x) / (32 * given.warps);
    const int index = static_cast<int>(threadIdx.x) / (32 * given.warps);
    first = static_cast<long long>(blockIdx.x) * teams + index;
    step = static_cast<long long>(gridDim.x) * teams;
    // (m + warps) ld + 4 m + 128 bytes, m ld_g for G, (m + 2) k for the rows.
    const int size_g = m * ld_g, size_rows = k * (m + 2);
    int size = (m + given.warps) * ld + 4 * m + (given.g_outside ? 0 : size_g) + (given.rows_outside ? 0 : size_rows);
    size = (size + 3) / 4 * 4 + static_cast<int>(128 / sizeof(T));
    T* inside = memory + static_cast<long long>(index) * size;
    T* outside = given.workspace + first * ((given.g_outside ? size_g : 0) + (given.rows_outside ? size_rows : 0LL));
    const auto take = [](T*& from, int count) {
      from += count;
      return from - count;
    };
    team = Team::of(given.warps, reinterpret_cast<double*>(take(inside, static_cast<int>(128 / sizeof(T)))));
    T* const a = take(inside, m * ld);
    T* const column = take(inside, given.warps * ld);
    T *const head = take(inside, m), *const factors = take(inside, m), *const inverse = take(inside, m);
    T* const s = take(inside, m);
    q = {a, ld, l, m, head, factors, inverse};
    T* const g = take(given.g_outside ? outside : inside, size_g);
    T*& rows = given.rows_outside ? outside : inside;
    T *const projections = take(rows, k * m), *const exponents = take(rows, k), *const rests = take(rows, k);
    p = {given.X, given.y, n, d, k, l, m, g, ld_g, projections, exponents, rests, s, column};
  }
  // The decomposition of an item: its status.
  __device__ int decompose(const SvdArguments<T>& given, long long item, int* exponent) {
    p.X = given.X + item * given.x_stride;
    p.y = given.y + item * given.y_stride;
    const int status = prepare(team, p, q, exponent);
    return status != 0 ? status : orthogonalize(team, p);
  }
  // This warp's column, of m entries, in the space of V: times Q if n < d.
  __device__ void to_basis(T* c) const {
    if (p.n >= p.d) return;
    GENKERN_ROLLED
    for (int i = p.m + team.lane; i < p.l; i += 32) c[i] = 0;
    __syncwarp();
    multiply_column<T, false>(q, c, team.lane);
  }
  __device__ T* own_column() const { return p.column + team.warp * q.ld; }
};

template <class T>
__device__ void lstsq_svd(const SvdArguments<T>& given, T* memory, const double* ridge, long long ridge_stride,
                          double rcond, T* coefs, int* ranks, T* residual_norms, signed char* statuses) {
  SvdMemory<T> work(given, memory);
  const Team& team = work.team;
  const JacobiProblem<T>& p = work.p;
  const int m = p.m;
  const long long n = p.n, d = p.d, k = p.k;
  T* const gains = work.q.r_inverse;  // of every mode: nobody needs the diagonal of R any more
  for (long long item = work.first; item < given.items; item += work.step) {
    if (statuses[item] != pending) continue;
    int exponent = 0;
    const int status = work.decompose(given, item, &exponent);
    T *const coef = coefs + item * d * k, *const residual_norm = residual_norms + item * k;
    int rank = 0;
    if (status == 0) {
      const ScaledRidge penalty(ridge[item * ridge_stride], exponent);
      double largest = 0, largest_gain = 0;
      GENKERN_ROLLED
      for (int i = 0; i < m; ++i) largest = p.s[i] > largest ? static_cast<double>(p.s[i]) : largest;
      GENKERN_ROLLED
      for (int i = 0; i < m; ++i) {
        const double s = static_cast<double>(p.s[i]);
        if (!(s > rcond * largest)) continue;
        ++rank;
        const double gain = penalty.gain(s);
        largest_gain = gain > largest_gain ? gain : largest_gain;
      }
      const int size = exponent_of(largest_gain);
      // What a mode leaves of the residual, 1 - s gain, takes the place of s.
      const bool exact = penalty.shift == 0 && penalty.fraction == 0;
      team.sync();
      GENKERN_ROLLED
      for (int i = team.thread; i < m; i += team.size()) {
        const double s = static_cast<double>(p.s[i]), gain = s > rcond * largest ? penalty.gain(s) : 0.0;
        gains[i] = static_cast<T>(ldexp(gain, -size));
        p.s[i] = static_cast<T>(gain == 0 || penalty.shift != 0 ? 1.0 : (exact ? 0.0 : 1.0 - s * gain));
      }
      team.sync();
      T* const c = work.own_column();
      GENKERN_ROLLED
      for (int r = team.warp; r < p.k; r += team.warps) {
        const T* const own = p.projections + r * m;
        T rest = 0;
        GENKERN_ROLLED
        for (int i = team.lane; i < m; i += 32) rest = fma(p.s[i] * own[i], p.s[i] * own[i], rest);
        rest = sqrt(lanes_sum(rest) + p.rests[r]);
        GENKERN_ROLLED
        for (int row = team.lane; row < m; row += 32) {
          T sum = 0;
          GENKERN_ROLLED
          for (int i = 0; i < m; ++i) sum = fma(p.g[i * p.ld + row], gains[i] * own[i], sum);
          c[row] = sum;
        }
        __syncwarp();
        work.to_basis(c);
        const int y_exponent = static_cast<int>(p.y_exponents[r]);
        GENKERN_ROLLED
        for (int i = team.lane; i < p.d; i += 32)
          coef[i * k + r] = unscaled(c[i], size - penalty.shift + y_exponent - exponent);
        if (team.lane == 0) residual_norm[r] = rank == n && exact ? T(0) : unscaled(rest, y_exponent);
        __syncwarp();
      }
    } else {
      GENKERN_ROLLED
      for (long long t = team.thread; t < d * k; t += team.size()) coef[t] = not_a_number<T>();
      GENKERN_ROLLED
      for (int t = team.thread; t < p.k; t += team.size()) residual_norm[t] = not_a_number<T>();
    }
    if (team.thread == 0) {
      ranks[item] = rank;
      statuses[item] = static_cast<signed char>(status);
    }
    team.sync();
  }
}

// Place of singular value i in descending order, the earlier one first among equals.
template <class T>
__device__ int place_of(const T* s, int m, int i) {
  int place = 0;
  GENKERN_ROLLED
  for (int j = 0; j < m; ++j) place += s[j] > s[i] || (s[j] == s[i] && j < i);
  return place;
}

template <class T>
__device__ void svd_modes(const SvdArguments<T>& given, T* memory, T* s, int* exponents, T* bases, T* projections,
                          int* y_exponents, signed char* statuses) {
  SvdMemory<T> work(given, memory);
  const Team& team = work.team;
  const JacobiProblem<T>& p = work.p;
  const long long d = p.d, k = p.k, m = p.m;
  for (long long item = work.first; item < given.items; item += work.step) {
    int exponent = 0;
    const int status = work.decompose(given, item, &exponent);
    if (team.thread == 0) {
      statuses[item] = static_cast<signed char>(status);
      exponents[item] = exponent;
    }
    T* const c = work.own_column();
    GENKERN_ROLLED
    for (int i = team.warp; i < m && status == 0; i += team.warps) {
      const int place = place_of(p.s, p.m, i);
      GENKERN_ROLLED
      for (int row = team.lane; row < m; row += 32) c[row] = p.g[i * p.ld + row];
      __syncwarp();
      work.to_basis(c);
      GENKERN_ROLLED
      for (int row = team.lane; row < d; row += 32) bases[(item * m + place) * d + row] = c[row];
      GENKERN_ROLLED
      for (int r = team.lane; r < k; r += 32) projections[(item * m + place) * k + r] = p.projections[r * m + i];
      if (team.lane == 0) s[item * m + place] = p.s[i];
      __syncwarp();
    }
    GENKERN_ROLLED
    for (int r = team.thread; r < k; r += team.size())
      y_exponents[item * k + r] = status == 0 ? static_cast<int>(p.y_exponents[r]) : 0;
    GENKERN_ROLLED
    for (long long t = team.thread; t < m && status != 0; t += team.size()) s[item * m + t] = not_a_number<T>();
    team.sync();
  }
}

template <class T>
__device__ void svd_values(const SvdArguments<T>& given, T* memory, T* s) {
  SvdMemory<T> work(given, memory);
  const Team& team = work.team;
  const long long m = work.p.m;
  for (long long item = work.first; item < given.items; item += work.step) {
    int exponent = 0;
    const int status = work.decompose(given, item, &exponent);
    GENKERN_ROLLED
    for (int i = team.thread; i < m; i += team.size()) {
      if (status == 0)
        s[item * m + place_of(work.p.s, work.p.m, i)] = unscaled(work.p.s[i], exponent);
      else
        s[item * m + i] = not_a_number<T>();
    }
    team.sync();
  }
}

}  // namespace
}  // namespace genkern

#define GENKERN_SVD(suffix, T)                                                                                        \
  extern "C" __global__ void __launch_bounds__(256, 2) least_squares_svd_##suffix(                                    \
      const T* X, const T* y, const double* ridge, T* coef, int* rank, T* residual_norm, signed char* status,         \
      long long x_stride, long long y_stride, long long ridge_stride, long long items, double rcond, int n, int d,    \
      int k, int warps, T* workspace, int g_outside, int rows_outside) {                                              \
    extern __shared__ double memory[];                                                                                \
    genkern::lstsq_svd<T>({X, y, x_stride, y_stride, items, n, d, k, warps, workspace, g_outside, rows_outside},      \
                          reinterpret_cast<T*>(memory), ridge, ridge_stride, rcond, coef, rank, residual_norm,        \
                          status);                                                                                    \
  }                                                                                                                   \
  extern "C" __global__ void __launch_bounds__(256, 2) least_squares_modes_##suffix(                                  \
      const T* X, const T* y, T* s, int* exponent, T* basis, T* projection, int* y_exponent, signed char* status,     \
      long long x_stride, long long y_stride, long long items, int n, int d, int k, int warps, T* workspace,          \
      int g_outside, int rows_outside) {                                                                              \
    extern __shared__ double memory[];                                                                                \
    genkern::svd_modes<T>({X, y, x_stride, y_stride, items, n, d, k, warps, workspace, g_outside, rows_outside},      \
                          reinterpret_cast<T*>(memory), s, exponent, basis, projection, y_exponent, status);          \
  }                                                                                                                   \
  extern "C" __global__ void __launch_bounds__(256, 2)                                                                \
      least_squares_values_##suffix(const T* X, T* s, long long x_stride, long long items, int n, int d, int warps) { \
    extern __shared__ double memory[];                                                                                \
    genkern::svd_values<T>({X, X, x_stride, 0, items, n, d, 0, warps, nullptr, 0, 0}, reinterpret_cast<T*>(memory),   \
                           s);                                                                                        \
  }
GENKERN_SVD(f32, float)
GENKERN_SVD(f64, double)
