// Householder QR of one problem by its team, in shared memory.
//
// A = QR, l x m, by reflectors H_j = I - g_j v_j v_j^T with v_j = x - beta e_1, beta = -sign(x_1) ||x||,
// g_j = -1 / (beta v_j1), as on the CPU. R with its diagonal stands above, the reflectors without their heads below.
// One barrier a column: the warp that has taken reflector j off column j + 1 makes reflector j + 1 at once.
// Groups of S lanes take the columns, up to 4 columns a group: an entry of v_j read once serves 4 columns, so that
// a multiply-add needs 1.75 accesses of shared memory at best and 2.5 at worst, which is what bounds the speed.
#pragma once

#include "cuda/least_squares_team.hpp"

namespace genkern {

template <class T>
struct Reflectors {
  T* a;  // (m, l), column j from a + j ld
  int ld, l, m;
  T *head, *factor, *r_inverse;  // (m): v_j1, g_j, 1 / R_jj
};

// (top, rest) -= g (head, v) (head, v)^T (top, rest) for the columns first, first + groups, ... of `columns`; v and
// rest have `count` entries. All lanes of a warp call it together.
template <class T, int C>
__device__ __forceinline__ void reflect_columns(const T* v, int count, T head, T factor, T* top, int ld_top, T* rest,
                                                int ld_rest, int first, int columns, const Lanes& lanes) {
  T sum[C];
  const T* from[C];
  bool mine[C];
  for (int c = 0; c < C; ++c) {
    const int column = first + c * lanes.groups;
    mine[c] = column < columns;
    from[c] = mine[c] ? rest + column * ld_rest : v;  // v: read by all, written by none
    sum[c] = mine[c] && lanes.row == 0 ? head * top[column * ld_top] : T(0);
  }
#pragma unroll(2)
  for (int i = lanes.row; i < count; i += lanes.count) {
    const T x = v[i];
    for (int c = 0; c < C; ++c) sum[c] = fma(x, from[c][i], sum[c]);
  }
  for (int c = 0; c < C; ++c) sum[c] = -factor * lanes_sum(sum[c], lanes.count);
  for (int c = 0; c < C; ++c) {
    const int column = first + c * lanes.groups;
    if (mine[c] && lanes.row == 0) top[column * ld_top] = fma(head, sum[c], top[column * ld_top]);
  }
#pragma unroll(2)
  for (int i = lanes.row; i < count; i += lanes.count) {
    const T x = v[i];
    for (int c = 0; c < C; ++c)
      if (mine[c]) {
        T* const entry = rest + (first + c * lanes.groups) * ld_rest + i;
        *entry = fma(x, sum[c], *entry);
      }
  }
}

template <class T>
__device__ __forceinline__ void reflect(const T* v, int count, T head, T factor, T* top, int ld_top, T* rest,
                                        int ld_rest, int columns, const Lanes& lanes) {
  int base = 0;
  while (base < columns) {
    const int left = columns - base, first = base + lanes.group;
    if (left > 2 * lanes.groups) {
      reflect_columns<T, 4>(v, count, head, factor, top, ld_top, rest, ld_rest, first, columns, lanes);
      base += 4 * lanes.groups;
    } else if (left > lanes.groups) {
      reflect_columns<T, 2>(v, count, head, factor, top, ld_top, rest, ld_rest, first, columns, lanes);
      base += 2 * lanes.groups;
    } else {
      reflect_columns<T, 1>(v, count, head, factor, top, ld_top, rest, ld_rest, first, columns, lanes);
      base += lanes.groups;
    }
  }
}

// Reflector of the column (diagonal, rest), whose diagonal becomes that of R; one warp. A column too small for its
// square becomes 0: it is below the range of full_rank(), or below eps^2 of a scaled matrix.
template <class T>
__device__ __forceinline__ void make_reflector(int lane, T* diagonal, const T* rest, int count, T* head, T* factor,
                                               T* r_inverse) {
  constexpr T least = static_cast<T>(sizeof(T) == 8 ? 1e-290 : 1e-32);
  T sum = 0;
  for (int i = lane; i < count; i += 32) sum = fma(rest[i], rest[i], sum);
  sum = lanes_sum(sum);
  if (lane != 0) return;
  const T alpha = *diagonal, norm2 = fma(alpha, alpha, sum);
  if (!(norm2 >= least)) {
    *diagonal = *head = *factor = 0;
    *r_inverse = T(1) / *diagonal;
    return;
  }
  const T norm = sqrt(norm2), beta = alpha < 0 ? norm : -norm, first = alpha - beta, g = T(-1) / (beta * first);
  *diagonal = beta;
  *head = first;
  *factor = g;
  *r_inverse = -g * first;
}

// A = QR; `more` columns behind those of A become Q^T times themselves. Ends with a barrier.
template <class T>
__device__ inline void factor(const Team& team, const Reflectors<T>& q, int more) {
  const auto make = [&](int j) {
    T* const diagonal = q.a + j * q.ld + j;
    make_reflector(team.lane, diagonal, diagonal + 1, q.l - j - 1, q.head + j, q.factor + j, q.r_inverse + j);
  };
  if (team.warp == 0) make(0);
  team.sync();
  for (int j = 0; j < q.m; ++j) {
    const int columns = q.m - 1 - j + more;
    T* const top = q.a + (j + 1) * q.ld + j;
    reflect(q.a + j * q.ld + j + 1, q.l - j - 1, q.head[j], q.factor[j], top, q.ld, top + 1, q.ld, columns,
            Lanes(team, columns));
    if (team.warp == 0 && j + 1 < q.m) {
      __syncwarp();
      make(j + 1);
    }
    team.sync();
  }
}

// Columns of l entries, from c on, times Q^T or Q. No barrier: every warp has columns of its own.
template <class T, bool transpose>
__device__ inline void multiply(const Reflectors<T>& q, T* c, int columns, const Lanes& lanes) {
  if (lanes.group - lanes.group % (32 / lanes.count) >= columns) return;
  for (int step = 0; step < q.m; ++step) {
    const int j = transpose ? step : q.m - 1 - step;
    reflect(q.a + j * q.ld + j + 1, q.l - j - 1, q.head[j], q.factor[j], c + j, q.ld, c + j + 1, q.ld, columns, lanes);
    __syncwarp();
  }
}

// All lanes of a warp on one column.
__device__ __forceinline__ Lanes whole_warp(int lane) { return Lanes(Team{lane, lane, 0, 1, nullptr}, 1); }

// One column of l entries times Q^T or Q, by one warp.
template <class T, bool transpose>
__device__ inline void multiply_column(const Reflectors<T>& q, T* c, int lane) {
  const Lanes lanes = whole_warp(lane);
  for (int step = 0; step < q.m; ++step) {
    const int j = transpose ? step : q.m - 1 - step;
    reflect_columns<T, 1>(q.a + j * q.ld + j + 1, q.l - j - 1, q.head[j], q.factor[j], c + j, 0, c + j + 1, 0, 0, 1,
                          lanes);
    __syncwarp();
  }
}

// [R; root I] = Q_2 R_2 for the ridge term: the same system for n >= d and, transposed, for n < d. R_2 takes the place
// of R; reflector j is head[j] e_j above, b[j ld .. j ld + j] below.
template <class T>
struct RidgeReflectors {
  T* b;  // (m, m)
  int ld;
  T *head, *factor;  // (m)
};

template <class T>
__device__ inline void factor_ridge(const Team& team, const Reflectors<T>& q, T root, const RidgeReflectors<T>& h) {
  for (int i = team.thread; i < q.m * h.ld; i += team.size()) h.b[i] = i % h.ld == i / h.ld ? root : T(0);
  const auto make = [&](int j) {
    make_reflector(team.lane, q.a + j * q.ld + j, h.b + j * h.ld, j + 1, h.head + j, h.factor + j, q.r_inverse + j);
  };
  team.sync();
  if (team.warp == 0) make(0);
  team.sync();
  for (int j = 0; j < q.m; ++j) {
    const int columns = q.m - 1 - j;
    reflect(h.b + j * h.ld, j + 1, h.head[j], h.factor[j], q.a + (j + 1) * q.ld + j, q.ld, h.b + (j + 1) * h.ld, h.ld,
            columns, Lanes(team, columns));
    if (team.warp == 0 && j + 1 < q.m) {
      __syncwarp();
      make(j + 1);
    }
    team.sync();
  }
}

// (top, bottom) := Q_2^T or Q_2 times itself, both of m entries; one warp.
template <class T, bool transpose>
__device__ inline void multiply_ridge(const RidgeReflectors<T>& h, int m, T* top, T* bottom, int lane) {
  const Lanes lanes = whole_warp(lane);
  for (int step = 0; step < m; ++step) {
    const int j = transpose ? step : m - 1 - step;
    reflect_columns<T, 1>(h.b + j * h.ld, j + 1, h.head[j], h.factor[j], top + j, 0, bottom, 0, 0, 1, lanes);
    __syncwarp();
  }
}

}  // namespace genkern
