// Products and systems with a triangle R (m, m) in global memory, column-major and upper, by one block.
//
// What the rule of full rank needs for problems beyond shared memory. A system goes 32 unknowns at a time: their own
// triangle, which the block has brought to shared memory, is one warp's, and the block takes them out of all other
// equations, reading R along its columns. So every pass over R runs at what one multiprocessor can read, about m^2 / 2
// numbers, where the QR factorization takes 4 m^3 / 3 flops and more: 0.27 GB and 7e11 flops in float64 at m = 8192.
// No floating-point atomics; sums have one order for any m.
#pragma once

#include "cuda/least_squares_triangle.hpp"

namespace genkern {

constexpr int tile_ld = 33;  // of a tile (32, 32), so that its rows and its columns fall on distinct banks

template <class T>
struct BlockTriangle {
  const T* r;
  int m;
  const T* inverse;  // (m): 1 / R_jj
  T *x, *other;      // (m) each: what the norms work on, and its next value
  T *tile, *piece;   // shared, (32, tile_ld) and (32)
  Team team;

  __device__ const T* column(int j) const { return r + static_cast<long long>(j) * m; }
  __device__ int block_size(int base) const { return m - base < 32 ? m - base : 32; }

  // Rows and columns base to base + 32 to the tile, zeros beyond and below the diagonal.
  __device__ void load_tile(int base) const {
    for (int t = team.thread; t < 32 * 32; t += team.size()) {
      const int i = base + t % 32, j = base + t / 32;
      tile[t / 32 * tile_ld + t % 32] = i <= j && j < m ? column(j)[i] : T(0);
    }
  }
  // The tile's own system for x[base ...], which comes to `piece` as well. One warp.
  template <bool transposed, bool compared>
  __device__ void solve_tile(int base) const {
    const int i = base + team.lane, count = block_size(base);
    T own = i < m ? x[i] : T(0);
    const T scale = i < m ? (compared ? fabs(inverse[i]) : inverse[i]) : T(0);
    for (int step = 0; step < count; ++step) {
      const int j = transposed ? step : count - 1 - step;
      const T value = __shfl_sync(all_lanes, own * scale, j);
      const T entry = transposed ? tile[team.lane * tile_ld + j] : tile[j * tile_ld + team.lane];
      if (transposed ? team.lane > j : team.lane < j) own = fma(compared ? fabs(entry) : -entry, value, own);
    }
    piece[team.lane] = own * scale;
    if (i < m) x[i] = own * scale;
  }
  // x := R^{-1} x; `compared`: M(R)^{-1} x instead, M with |R_jj| on the diagonal and -|R_ij| above it.
  template <bool compared>
  __device__ void solve_upper() const {
    int base = (m - 1) / 32 * 32;
    load_tile(base);
    team.sync();
    for (; base >= 0; base -= 32) {
      if (team.warp == 0) solve_tile<false, compared>(base);
      team.sync();
      const int count = block_size(base);
      GENKERN_ROLLED
      for (int i = team.thread; i < base; i += team.size()) {
        T sum = x[i];
#pragma unroll(8)
        for (int j = 0; j < count; ++j) {
          const T entry = column(base + j)[i];
          sum = fma(compared ? fabs(entry) : -entry, piece[j], sum);
        }
        x[i] = sum;
      }
      if (base > 0) load_tile(base - 32);
      team.sync();
    }
  }
  // x := R^{-T} x. A warp takes 4 of the other unknowns at a time, its lanes along their columns of R.
  __device__ void solve_transposed() const {
    load_tile(0);
    team.sync();
    for (int base = 0; base < m; base += 32) {
      if (team.warp == 0) solve_tile<true, false>(base);
      team.sync();
      const T solved = piece[team.lane];
      GENKERN_ROLLED
      for (int first = base + 32 + 4 * team.warp; first < m; first += 4 * team.warps) {
        T sum[4];
        for (int c = 0; c < 4; ++c) sum[c] = first + c < m ? column(first + c)[base + team.lane] * solved : T(0);
        for (int c = 0; c < 4; ++c) sum[c] = lanes_sum(sum[c]);
        for (int c = 0; c < 4; ++c)
          if (team.lane == c && first + c < m) x[first + c] -= sum[c];
      }
      if (base + 32 < m) load_tile(base + 32);
      team.sync();
    }
  }

  // What device::estimates_full_rank asks for besides.
  __device__ void solve() const { solve_upper<false>(); }
  __device__ void start() const {
    for (int j = team.thread; j < m; j += team.size()) x[j] = device::estimate_start<T>(j);
    team.sync();
  }
  __device__ void ones() const {
    for (int j = team.thread; j < m; j += team.size()) x[j] = 1;
    team.sync();
  }
  __device__ void solve_compared() const { solve_upper<true>(); }
  __device__ double size() const {
    double sum = 0;
    for (int j = team.thread; j < m; j += team.size()) {
      const double value = static_cast<double>(x[j]);
      sum = fma(value, value, sum);
    }
    return sqrt(total(sum));
  }
  __device__ void scale(double factor) const {
    for (int j = team.thread; j < m; j += team.size()) x[j] *= static_cast<T>(factor);
    team.sync();
  }
  // x := R x, a thread a row.
  __device__ void times() const {
    for (int i = team.thread; i < m; i += team.size()) {
      T sum = 0;
#pragma unroll(8)
      for (int j = i / 32 * 32; j < m; ++j)  // the same columns for all lanes
        sum = i <= j ? fma(column(j)[i], x[j], sum) : sum;
      other[i] = sum;
    }
    take_other();
  }
  // x := R^T x, a warp a column.
  __device__ void times_transposed() const {
    for (int j = team.warp; j < m; j += team.warps) {
      T sum = 0;
#pragma unroll(4)
      for (int i = team.lane; i <= j; i += 32) sum = fma(column(j)[i], x[i], sum);
      sum = lanes_sum(sum);
      if (team.lane == 0) other[j] = sum;
    }
    take_other();
  }
  // ||R||_F^2.
  __device__ double norm2() const {
    double sum = 0;
    for (int j = team.warp; j < m; j += team.warps) {
#pragma unroll(4)
      for (int i = team.lane; i <= j; i += 32) {
        const double value = static_cast<double>(column(j)[i]);
        sum = fma(value, value, sum);
      }
    }
    return total(sum);
  }

 private:
  __device__ void take_other() const {
    team.sync();
    for (int i = team.thread; i < m; i += team.size()) x[i] = other[i];
    team.sync();
  }
  // Sum of the threads' numbers, the same for all of them; a barrier.
  __device__ double total(double sum) const {
    sum = lanes_sum(sum);
    team.sync();
    if (team.lane == 0) team.scratch[team.warp] = sum;
    team.sync();
    sum = 0;
    for (int w = 0; w < team.warps; ++w) sum += team.scratch[w];
    return sum;
  }
};

}  // namespace genkern
