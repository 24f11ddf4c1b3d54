// Batched minimum-norm least squares:  min ||X w - y||^2 + ridge ||w||^2,  X n x d, y n x k, for every item of a batch.
//
// Method: Householder QR of the tall one of X and X^T in shared memory, one team of warps a problem
//   (least_squares_factor.hpp). With A = QR: n >= d solves R w = Q^T y, the right sides being further columns of A;
//   n < d solves R^T z = y and takes w = Q z. A ridge term adds a QR of [R; sqrt(ridge) I]. An item is answered only
//   if the rule of device/least_squares_rank.hpp, the CPU's too, finds full rank and moderate scale; every other one
//   is left `pending` for least_squares_svd.cu.
// Shapes: X (items, n, d), y (items, n, k), row-major; coef (items, d, k), rank (items), residual_norm (items, k),
//   status (items); x_stride and y_stride are elements from item to item, 0 for a shared matrix.
// Cost: 2 l m^2 - 2 m^3 / 3 flops, m = min(n, d), l = max(n, d), as few as Householder QR needs; it reads X once and y
//   twice (the second time from cache) and writes coef once, sizeof(T) (l m + 2 n k + d k) bytes at most. m barriers.
// 16-byte loads: least_squares_qr
// Numerics: backward stable; no Gram matrix is formed. Arithmetic in T, decisions in float64.
// Source: Golub & Van Loan, Matrix Computations, 5.2, 5.3, 5.6; Demmel & Higham 1993 for n < d.
#include "cuda/least_squares_factor.hpp"
#include "cuda/least_squares_triangle.hpp"

namespace genkern {
namespace {

constexpr signed char solved = 0, not_finite = 1, pending = 3;

template <class T>
struct LstsqArguments {
  const T *X, *y;
  const double* ridge;
  T* coef;
  int* rank;
  T* residual_norm;
  signed char* status;
  long long x_stride, y_stride, ridge_stride, items;
  double rcond;
  int n, d, k;
  int warps;     // a team
  int columns;   // right sides at a time
  T* workspace;  // of each team: the ridge term's (m, m) with its leading dimension, if some item has one and not
                 // inside
  int b_inside;  // is that in shared memory?
};

// Worst state of the right sides: 0 fine, 1 out of the range of the rule, 2 not finite.
template <class T>
__device__ int state_of_rhs(const Team& team, const T* y, int n, int k) {
  int state = 0;
  GENKERN_ROLLED
  for (int q = team.warp; q < k; q += team.warps) {
    double size = 0;
    GENKERN_ROLLED
    for (int i = team.lane; i < n; i += 32) size += fabs(static_cast<double>(y[static_cast<long long>(i) * k + q]));
    size = lanes_sum(size);
    const int own = !is_finite(size) ? 2 : !device::in_range<T>(size);
    state = own > state ? own : state;
  }
  return state;
}

// Right sides first .. first + count of y to c, each with zeros up to l entries.
template <class T>
__device__ void load_rhs(const Team& team, const T* y, int n, int k, int first, int count, T* c, int ld, int l) {
  GENKERN_ROLLED
  for (int t = team.thread; t < l * count; t += team.size()) {
    const int i = t / count, q = t % count;
    c[q * ld + i] = i < n ? y[static_cast<long long>(i) * k + first + q] : T(0);
  }
}

// One right side from its column c of l entries, already times Q^T if n >= d: all but the last product with Q if
// n < d. Returns the norm of the residual. `side`: 2 m entries, used with a ridge term. One warp.
template <class T>
__device__ T solve_rhs(const WarpTriangle<T>& triangle, const RidgeReflectors<T>& h, bool wide, T root, int l, T* c,
                       T* side) {
  const int m = triangle.m, lane = triangle.lane;
  T rest = 0;
  GENKERN_ROLLED
  for (int i = m + lane; i < l && !wide; i += 32) rest = fma(c[i], c[i], rest);
  if (root > 0) {
    T *bottom = side, *residual = side + m;
    GENKERN_ROLLED
    for (int i = lane; i < 2 * m; i += 32) side[i] = 0;
    __syncwarp();
    if (wide) {
      triangle.solve_lower(c);
      multiply_ridge<T, false>(h, m, c, bottom, lane);
      GENKERN_ROLLED
      for (int i = lane; i < m; i += 32) residual[i] = root * bottom[i];
    } else {
      multiply_ridge<T, true>(h, m, c, bottom, lane);
      triangle.template solve_upper<false>(c);
      multiply_ridge<T, false>(h, m, residual, bottom, lane);
    }
    __syncwarp();
    GENKERN_ROLLED
    for (int i = lane; i < m; i += 32) rest = fma(residual[i], residual[i], rest);
  } else if (wide) {
    triangle.solve_lower(c);
  } else {
    triangle.template solve_upper<false>(c);
  }
  return sqrt(lanes_sum(rest));
}

// What a team works with, the same for every item.
template <class T>
struct LstsqMemory {
  Reflectors<T> q;
  WarpTriangle<T> triangle;
  RidgeReflectors<T> h;
  T *c, *side;  // (columns, l) and (columns, 2 m)
};

template <class T>
__device__ void lstsq_item(const LstsqArguments<T>& p, const Team& team, const LstsqMemory<T>& at, long long item) {
  const int n = p.n, d = p.d, k = p.k, l = at.q.l, m = at.q.m, ld = at.q.ld;
  const bool wide = n < d;
  const T *const X = p.X + item * p.x_stride, *const y = p.y + item * p.y_stride;
  T *const coef = p.coef + item * d * k, *const residual_norm = p.residual_norm + item * k;
  const int first_columns = k < p.columns ? k : p.columns;
  const bool bad = load_tall(team, X, n, d, at.q.a, ld, Scale<T>(0));
  load_rhs(team, y, n, k, 0, first_columns, at.c, ld, l);
  const int state_y = state_of_rhs(team, y, n, k);
  const double state = team.largest(bad ? 2 : state_y);
  if (state == 2) {
    const T nan = not_a_number<T>();
    GENKERN_ROLLED
    for (int t = team.thread; t < d * k; t += team.size()) coef[t] = nan;
    GENKERN_ROLLED
    for (int t = team.thread; t < k; t += team.size()) residual_norm[t] = nan;
  }
  if (state != 0) {
    if (team.thread == 0) {
      p.rank[item] = 0;
      p.status[item] = state == 2 ? not_finite : pending;
    }
    return;
  }
  factor(team, at.q, wide ? 0 : first_columns);

  const double ridge = p.ridge[item * p.ridge_stride];
  const T root = static_cast<T>(sqrt(ridge));
  bool full = false;
  if (team.warp == 0) {
    const T norm2 = at.triangle.norm2();
    full = at.triangle.full_rank(device::lstsq_rule<T>(p.rcond, l), norm2) &&
           (ridge == 0 || device::moderate(sqrt(ridge), norm2));
  }
  full = team.largest(full) != 0;
  if (team.thread == 0) {
    p.rank[item] = full ? m : 0;
    p.status[item] = full ? solved : pending;
  }
  if (!full) return;
  if (root > 0) factor_ridge(team, at.q, root, at.h);

  GENKERN_ROLLED
  for (int first = 0; first < k; first += p.columns) {
    const int count = k - first < p.columns ? k - first : p.columns;
    const Lanes lanes(team, count);
    if (first > 0) {
      load_rhs(team, y, n, k, first, count, at.c, ld, l);
      team.sync();
      if (!wide) multiply<T, true>(at.q, at.c, count, lanes);
      team.sync();
    }
    GENKERN_ROLLED
    for (int r = team.warp; r < count; r += team.warps) {
      const T norm = solve_rhs(at.triangle, at.h, wide, root, l, at.c + r * ld, at.side + 2 * m * r);
      if (team.lane == 0) residual_norm[first + r] = norm;
    }
    team.sync();
    if (wide) {
      multiply<T, false>(at.q, at.c, count, lanes);
      team.sync();
    }
    GENKERN_ROLLED
    for (int t = team.thread; t < d * count; t += team.size())
      coef[static_cast<long long>(t / count) * k + first + t % count] = at.c[t % count * ld + t / count];
    team.sync();
  }
}

template <class T>
__device__ void lstsq_qr(const LstsqArguments<T>& p, T* memory) {
  const int l = p.n > p.d ? p.n : p.d, m = p.n > p.d ? p.d : p.n;
  const int ld = leading(l), ld_b = leading(m), teams = static_cast<int>(blockDim.x) / (32 * p.warps);
  const int index = static_cast<int>(threadIdx.x) / (32 * p.warps);
  const long long first = static_cast<long long>(blockIdx.x) * teams + index;
  // (m + columns) ld + 6 m + 2 m columns and 128 bytes, m ld_b for the ridge term.
  int size = (m + p.columns) * ld + 6 * m + 2 * m * p.columns + (p.b_inside ? m * ld_b : 0);
  size = (size + 3) / 4 * 4 + static_cast<int>(128 / sizeof(T));
  T* free = memory + static_cast<long long>(index) * size;
  const auto take = [&free](int count) {
    free += count;
    return free - count;
  };
  double* const scratch = reinterpret_cast<double*>(take(static_cast<int>(128 / sizeof(T))));
  const Team team = Team::of(p.warps, scratch);
  T* const a = take(m * ld);
  T* const c = take(p.columns * ld);
  T* const b = p.b_inside ? take(m * ld_b) : p.workspace + first * m * ld_b;
  T *const head = take(m), *const factors = take(m), *const inverse = take(m), *const x = take(m);
  T *const ridge_head = take(m), *const ridge_factor = take(m);
  T* const side = take(2 * m * p.columns);
  const LstsqMemory<T> at{{a, ld, l, m, head, factors, inverse},
                          {a, ld, m, inverse, x, team.lane},
                          {b, ld_b, ridge_head, ridge_factor},
                          c,
                          side};
  for (long long item = first; item < p.items; item += static_cast<long long>(gridDim.x) * teams) {
    lstsq_item(p, team, at, item);
    team.sync();
  }
}

}  // namespace
}  // namespace genkern

#define GENKERN_LSTSQ(name, T)                                                                                     \
  extern "C" __global__ void __launch_bounds__(256, 2)                                                             \
      name(const T* X, const T* y, const double* ridge, T* coef, int* rank, T* residual_norm, signed char* status, \
           long long x_stride, long long y_stride, long long ridge_stride, long long items, double rcond, int n,   \
           int d, int k, int warps, int columns, T* workspace, int b_inside) {                                     \
    extern __shared__ double memory[];                                                                             \
    genkern::lstsq_qr<T>({X, y, ridge, coef, rank, residual_norm, status, x_stride, y_stride, ridge_stride, items, \
                          rcond, n, d, k, warps, columns, workspace, b_inside},                                    \
                         reinterpret_cast<T*>(memory));                                                            \
  }
GENKERN_LSTSQ(least_squares_qr_f32, float)
GENKERN_LSTSQ(least_squares_qr_f64, double)
