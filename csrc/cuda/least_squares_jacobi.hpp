// Singular values and what a least-squares problem needs of its singular vectors, by one-sided Jacobi rotations.
//
// Problem: X (n, d) scaled by a power of two to entries below 1; A = QR the tall one of X and X^T. The columns of
//   G = R^T (n >= d) or G = R (n < d), m x m, become orthogonal by rotations J from the right, G J = B S; the same J
//   turns the rows of y^T (n < d), or of the first m entries of Q^T y (n >= d), into the projections P on the left
//   singular vectors. So X = U S V^T with V = B (n >= d) or Q B (n < d), and J itself is never kept.
// Method: QR first, as then columns are short and near to orthogonal; pairs in the order of a round robin, one barrier
//   a round, until a sweep rotates nothing: |g_i . g_j| <= sqrt(m) eps ||g_i|| ||g_j||, or one of the two is nothing
//   beside s_max >= 1/2. (A column of rounding errors only would shrink by eps a sweep until it underflows.)
// Cost: some 6 to 9 sweeps of m^2 / 2 pairs, 8 m + 6 k flops a pair: about 30 m^3 on top of the QR. Norms are made anew
//   once a sweep; what they lose of their accuracy in between costs speed only, as the last sweep rotates nothing.
// Numerics: backward stable; small singular values are as accurate as QR leaves them.
// Source: Demmel & Veselic 1992; Drmac & Veselic 2008; Brent & Luk 1985 for the order.
#pragma once

#include "cuda/least_squares_factor.hpp"

namespace genkern {

template <class T>
struct JacobiProblem {
  const T *X, *y;
  int n, d, k, l, m;
  T* g;            // (m, m), column j from g + j ld
  int ld;          // of g
  T* projections;  // (k, m): P, of y scaled
  T* y_exponents;  // (k): y column q is 2^y_exponents[q] times what was projected
  T* rests;        // (k): squared norm of what of scaled y lies outside the first m entries of Q^T y
  T* s;            // (m): singular values of scaled X, in no order
  T* column;       // (l a warp)
};

// The QR and the projections of the first kind. Returns 0, or 1 if X or y is not finite.
template <class T>
__device__ inline int prepare(const Team& team, const JacobiProblem<T>& p, const Reflectors<T>& q, int* exponent) {
  const double largest = largest_entry(team, p.X, p.n, p.d);
  bool bad = false;
  GENKERN_ROLLED
  for (int r = team.warp; r < p.k; r += team.warps) {
    double size = 0;
    GENKERN_ROLLED
    for (int i = team.lane; i < p.n; i += 32) {
      const double own = fabs(static_cast<double>(p.y[static_cast<long long>(i) * p.k + r]));
      bad = bad || !is_finite(own);
      size = own > size ? own : size;
    }
    size = lanes_max(size);
    if (team.lane == 0) p.y_exponents[r] = static_cast<T>(exponent_of(is_finite(size) ? size : 0));
  }
  if (team.largest(bad ? 1 : 0) != 0 || !is_finite(largest)) return 1;
  *exponent = exponent_of(largest);
  load_tall(team, p.X, p.n, p.d, q.a, q.ld, Scale<T>(-*exponent));
  team.sync();
  factor(team, q, 0);

  const bool wide = p.n < p.d;
  T* const c = p.column + team.warp * q.ld;
  GENKERN_ROLLED
  for (int r = team.warp; r < p.k; r += team.warps) {
    const Scale<T> scale(-static_cast<int>(p.y_exponents[r]));
    GENKERN_ROLLED
    for (int i = team.lane; i < p.n; i += 32) c[i] = scale(p.y[static_cast<long long>(i) * p.k + r]);
    __syncwarp();
    if (!wide) multiply_column<T, true>(q, c, team.lane);
    T rest = 0;
    GENKERN_ROLLED
    for (int i = p.m + team.lane; i < p.n; i += 32) rest = fma(c[i], c[i], rest);
    rest = lanes_sum(rest);
    GENKERN_ROLLED
    for (int i = team.lane; i < p.m; i += 32) p.projections[r * p.m + i] = c[i];
    if (team.lane == 0) p.rests[r] = rest;
    __syncwarp();
  }
  GENKERN_ROLLED
  for (int t = team.thread; t < p.m * p.m; t += team.size()) {
    const int i = t % p.m, j = t / p.m;  // entry (i, j) of G
    const T zero = 0;
    p.g[j * p.ld + i] = wide ? (i <= j ? q.a[j * q.ld + i] : zero) : (i >= j ? q.a[i * q.ld + j] : zero);
  }
  team.sync();
  return 0;
}

// One pair of columns made orthogonal by the lanes that share it; true if it was not already. Lanes without a pair
// call it with i = j. Squared norms stand in s and follow the rotation: xx - t xz, zz + t xz for its tangent t.
template <class T>
__device__ inline bool rotate(const JacobiProblem<T>& p, int i, int j, T tolerance, T least, const Lanes& lanes) {
  T *const x = p.g + i * p.ld, *const z = p.g + j * p.ld;
  // Lanes without a pair read no norm, which another group may be changing.
  const T xx = i != j ? p.s[i] : T(0), zz = i != j ? p.s[j] : T(0);
  T xz = 0;
  for (int row = lanes.row; row < p.m && i != j; row += lanes.count) xz = fma(x[row], z[row], xz);
  xz = lanes_sum(xz, lanes.count);
  __syncwarp();  // all lanes have read the norms
  if (!(fabs(xz) > tolerance * (sqrt(xx) * sqrt(zz))) || xx < least || zz < least) return false;
  const T cotangent = (zz - xx) / (2 * xz), size = fabs(cotangent);  // of twice the angle
  const T large = sizeof(T) == 8 ? T(1e9) : T(1e4);
  const T tangent = size > large ? 1 / (2 * cotangent)
                                 : (cotangent < 0 ? T(-1) : T(1)) / (size + sqrt(fma(cotangent, cotangent, T(1))));
  const T cosine = 1 / sqrt(fma(tangent, tangent, T(1))), sine = cosine * tangent;
  if (lanes.row == 0) {
    const T less = fma(-tangent, xz, xx), more = fma(tangent, xz, zz);
    p.s[i] = less > 0 ? less : T(0);
    p.s[j] = more > 0 ? more : T(0);
  }
  for (int row = lanes.row; row < p.m; row += lanes.count) {
    const T a = x[row], b = z[row];
    x[row] = fma(cosine, a, -sine * b);
    z[row] = fma(sine, a, cosine * b);
  }
  GENKERN_ROLLED
  for (int r = lanes.row; r < p.k; r += lanes.count) {
    T* const row = p.projections + r * p.m;
    const T a = row[i], b = row[j];
    row[i] = fma(cosine, a, -sine * b);
    row[j] = fma(sine, a, cosine * b);
  }
  return true;
}

// Squared norms of the columns of G to s; the lanes of a group a column.
template <class T>
__device__ inline void square_norms(const JacobiProblem<T>& p, const Lanes& lanes) {
  for (int base = 0; base < p.m; base += lanes.groups) {
    const int j = base + lanes.group;
    const T* const x = p.g + j * p.ld;
    T sum = 0;
    for (int row = lanes.row; row < p.m && j < p.m; row += lanes.count) sum = fma(x[row], x[row], sum);
    sum = lanes_sum(sum, lanes.count);
    if (j < p.m && lanes.row == 0) p.s[j] = sum;
  }
}

// Rotations until nothing moves: G becomes B, s the singular values. Returns 0, or 2 if it takes too many sweeps.
template <class T>
__device__ inline int orthogonalize(const Team& team, const JacobiProblem<T>& p) {
  const int players = p.m + p.m % 2, pairs = players / 2;
  const Lanes lanes(team, pairs);
  const double eps = sizeof(T) == 8 ? 0x1p-52 : 0x1p-23, size = p.m, nothing = eps / (16 * size);
  const T tolerance = static_cast<T>(sqrt(size) * eps), least = static_cast<T>(nothing * nothing);
  bool moved = true;
  for (int sweep = 0; sweep < 40 && moved; ++sweep) {
    moved = false;
    square_norms(p, lanes);
    team.sync();
    for (int round = 0; round < players - 1; ++round) {
      for (int base = 0; base < pairs; base += lanes.groups) {
        const int pair = base + lanes.group;
        int i = 0, j = 0;
        if (pair < pairs) {
          i = pair == 0 ? players - 1 : (round + pair) % (players - 1);
          j = pair == 0 ? round : (round - pair + players - 1) % (players - 1);
          if (i > j) {
            const int k = i;
            i = j;
            j = k;
          }
          if (j >= p.m) i = j = 0;  // the one who waits in this round
        }
        moved = rotate(p, i, j, tolerance, least, lanes) || moved;
      }
      team.sync();
    }
    moved = team.largest(moved ? 1 : 0) != 0;
  }
  if (moved) return 2;
  for (int base = 0; base < p.m; base += lanes.groups) {
    const int j = base + lanes.group;
    if (j >= p.m) break;
    T* const x = p.g + j * p.ld;
    const T size = sqrt(p.s[j]), inverse = size > 0 ? 1 / size : T(0);
    for (int row = lanes.row; row < p.m; row += lanes.count) x[row] *= inverse;
  }
  team.sync();
  for (int j = team.thread; j < p.m; j += team.size()) p.s[j] = sqrt(p.s[j]);
  team.sync();
  return 0;
}

}  // namespace genkern
