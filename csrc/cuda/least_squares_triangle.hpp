// Triangular systems with R (m, m), column-major and upper, by one warp: 32 unknowns in its registers at a time, passed
// on by shuffles, and the rest of the right side in shared memory.
#pragma once

#include "cuda/least_squares_team.hpp"
#include "device/least_squares_rank.hpp"

namespace genkern {

// Is rcond sure to cut nothing? First by a bound: M(R)^{-1} dominates |R^{-1}| (Higham, section 8.3). Triangle has a
// vector x, as device::estimates_full_rank asks for: ones() sets it, solve_compared() is x := M(R)^{-1} x.
template <class T, class Triangle>
__device__ __forceinline__ bool sure_of_full_rank(const device::LstsqRule<T>& rule, const Triangle& triangle,
                                                  double norm2) {
  triangle.ones();
  triangle.solve_compared();
  const double inverse_norm = triangle.size();
  if (device::full_rank(rule, norm2, norm2 * triangle.m * inverse_norm * inverse_norm)) return true;
  return device::estimates_full_rank(rule, triangle, norm2);
}

template <class T>
struct WarpTriangle {
  const T* r;
  int ld, m;
  const T* inverse;  // (m): 1 / R_jj
  T* x;              // (m), what start() and the norms work on
  int lane;

  // b := R^{-1} b; `compared`: M(R)^{-1} b instead, M with |R_jj| on the diagonal and -|R_ij| above it.
  template <bool compared>
  __device__ void solve_upper(T* b) const {
    const auto entry = [&](int i, int j) {
      const T value = r[j * ld + i];
      return compared ? fabs(value) : -value;
    };
    for (int base = (m - 1) / 32 * 32; base >= 0; base -= 32) {
      const int i = base + lane, count = m - base < 32 ? m - base : 32;
      T own = i < m ? b[i] : T(0);
      const T scale = i < m ? (compared ? fabs(inverse[i]) : inverse[i]) : T(0);
      for (int j = count - 1; j >= 0; --j) {
        const T value = __shfl_sync(all_lanes, own * scale, j);
        if (lane < j) own = fma(entry(i, base + j), value, own);
      }
      if (i < m) b[i] = own * scale;
      __syncwarp();
      for (int above = lane; above < base; above += 32) {
        T sum = b[above];
        for (int j = base; j < base + count; ++j) sum = fma(entry(above, j), b[j], sum);
        b[above] = sum;
      }
      __syncwarp();
    }
  }
  // b := R^{-T} b.
  __device__ void solve_lower(T* b) const {
    for (int base = 0; base < m; base += 32) {
      const int i = base + lane, count = m - base < 32 ? m - base : 32;
      T own = i < m ? b[i] : T(0);
      const T scale = i < m ? inverse[i] : T(0);
      for (int j = 0; j < count; ++j) {
        const T value = __shfl_sync(all_lanes, own * scale, j);
        if (lane > j && i < m) own = fma(-r[i * ld + base + j], value, own);
      }
      if (i < m) b[i] = own * scale;
      __syncwarp();
      for (int below = base + 32 + lane; below < m; below += 32) {
        T sum = b[below];
        for (int j = base; j < base + count; ++j) sum = fma(-r[below * ld + j], b[j], sum);
        b[below] = sum;
      }
      __syncwarp();
    }
  }

  // What device::estimates_full_rank asks for.
  __device__ void start() const {
    for (int j = lane; j < m; j += 32) x[j] = device::estimate_start<T>(j);
    __syncwarp();
  }
  __device__ void ones() const {
    for (int j = lane; j < m; j += 32) x[j] = 1;
    __syncwarp();
  }
  __device__ void solve_compared() const { solve_upper<true>(x); }
  __device__ double size() const {
    T sum = 0;
    for (int j = lane; j < m; j += 32) sum = fma(x[j], x[j], sum);
    return sqrt(static_cast<double>(lanes_sum(sum)));
  }
  __device__ void scale(double factor) const {
    for (int j = lane; j < m; j += 32) x[j] *= static_cast<T>(factor);
    __syncwarp();
  }
  __device__ void solve_transposed() const { solve_lower(x); }
  __device__ void solve() const { solve_upper<false>(x); }
  __device__ void times() const {
    for (int base = 0; base < m; base += 32) {
      const int i = base + lane;
      T sum = 0;
      for (int j = i; j < m; ++j) sum = fma(r[j * ld + i], x[j], sum);
      __syncwarp();
      if (i < m) x[i] = sum;
      __syncwarp();
    }
  }
  __device__ void times_transposed() const {
    for (int base = (m - 1) / 32 * 32; base >= 0; base -= 32) {
      const int i = base + lane;
      T sum = 0;
      for (int j = 0; j <= i && i < m; ++j) sum = fma(r[i * ld + j], x[j], sum);
      __syncwarp();
      if (i < m) x[i] = sum;
      __syncwarp();
    }
  }

  // ||R||_F^2.
  __device__ T norm2() const {
    T sum = 0;
    for (int j = 0; j < m; ++j)
      for (int i = lane; i <= j; i += 32) {
        const T value = r[j * ld + i];
        sum = fma(value, value, sum);
      }
    return lanes_sum(sum);
  }
  __device__ bool full_rank(const device::LstsqRule<T>& rule, T norm2) const {
    return sure_of_full_rank(rule, *this, static_cast<double>(norm2));
  }
};

}  // namespace genkern
