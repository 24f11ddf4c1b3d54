// What the least-squares kernels stand on: the team of threads that solves one problem, and how it reads its data.
//
// A team is one warp, several teams a block, or all warps of a block; a problem's team depends on its shape alone, so
// that its bits depend on nothing else. Matrices in shared memory are column-major with a leading dimension of 4
// modulo 8 elements: then S = 4, 8, 16 or 32 lanes along the rows of 32 / S columns next to each other fall on distinct
// banks for S = 4 and 32 (float64 counts half a warp), and columns stay aligned to 16 bytes.
#pragma once

#include "device/common.hpp"

namespace genkern {

// Before loops that are not hot: what their unrolling needs of registers would spill those of the hot ones.
#define GENKERN_ROLLED _Pragma("unroll 1")

constexpr unsigned all_lanes = 0xFFFFFFFFu;

__device__ inline double infinity() { return device::from_bits(device::u64(0x7FF0000000000000)); }
template <class T>
__device__ T not_a_number() {
  return static_cast<T>(device::from_bits(device::u64(0x7FF8000000000000)));
}

__host__ __device__ inline int leading(int rows) { return (rows + 3) / 8 * 8 + 4; }

template <class T>
__device__ __forceinline__ T lanes_sum(T x, int lanes = 32) {
  for (int o = lanes / 2; o > 0; o /= 2) x += __shfl_xor_sync(all_lanes, x, o);
  return x;
}
template <class T>
__device__ __forceinline__ T lanes_max(T x) {
  for (int o = 16; o > 0; o /= 2) {
    const T other = __shfl_xor_sync(all_lanes, x, o);
    x = other > x ? other : x;
  }
  return x;
}

struct Team {
  int thread, lane, warp, warps;
  double* scratch;  // (warps)

  // `warps` warps a team; one block holds several teams only if that is 1.
  static __device__ Team of(int warps, double* scratch) {
    const int thread = static_cast<int>(threadIdx.x) % (32 * warps);
    return {thread, thread % 32, thread / 32, warps, scratch};
  }
  __device__ __forceinline__ int size() const { return 32 * warps; }
  __device__ __forceinline__ void sync() const {
    if (warps == 1)
      __syncwarp();
    else
      __syncthreads();
  }
  // Largest of the threads' numbers; a barrier.
  __device__ double largest(double x) const {
    x = lanes_max(x);
    if (warps == 1) {
      __syncwarp();
      return x;
    }
    if (lane == 0) scratch[warp] = x;
    __syncthreads();
    for (int w = 0; w < warps; ++w) x = scratch[w] > x ? scratch[w] : x;
    __syncthreads();
    return x;
  }
};

// Lanes along the rows of one column, and columns at once, for `columns` columns: as few lanes as let one pass take
// all columns, since lanes of a column have to add their sums.
struct Lanes {
  int count, row, group, groups;

  __device__ __forceinline__ Lanes(const Team& team, int columns) {
    count = 32;
    while (count > 4 && team.size() / count < columns) count /= 2;
    row = team.lane % count;
    group = team.thread / count;
    groups = team.size() / count;
  }
};

// 2^exponent as two factors, for exponents of any number's reciprocal.
template <class T>
struct Scale {
  T first, second;

  __device__ explicit Scale(int exponent) {
    first = static_cast<T>(ldexp(1.0, exponent / 2));
    second = static_cast<T>(ldexp(1.0, exponent - exponent / 2));
  }
  __device__ __forceinline__ T operator()(T x) const { return x * first * second; }
};

// The least e with |x| < 2^e for |x| up to `largest`; 0 for 0.
__device__ inline int exponent_of(double largest) {
  int exponent = 0;
  frexp(largest, &exponent);
  return exponent;
}

template <class T>
__device__ __forceinline__ bool is_finite(T x) {
  return x - x == 0;
}

// x 2^exponent in one rounding.
template <class T>
__device__ __forceinline__ T unscaled(T x, int exponent) {
  return static_cast<T>(ldexp(static_cast<double>(x), exponent));
}

template <class T>
struct alignas(16) Pack {
  static constexpr int size = 16 / static_cast<int>(sizeof(T));
  T entry[size];
};

// Calls use(row, column, value) for all entries of the contiguous matrix x (rows, columns), consecutive threads reading
// consecutive memory, 16 bytes a thread where rows allow, and two such reads in flight (four would spill registers).
template <class T, class Use>
__device__ __forceinline__ void each_entry(const Team& team, const T* x, int rows, int columns, const Use& use) {
  constexpr int V = Pack<T>::size, ahead = 2;
  if (columns == 0) return;
  const bool packed = columns % V == 0 && reinterpret_cast<unsigned long long>(x) % 16 == 0;
  const int width = packed ? columns / V : columns, step = team.size();
  const long long total = static_cast<long long>(rows) * width;
  const int down = step / width, along = step % width;  // one division for all steps
  int row = team.thread / width, column = team.thread % width;
  for (long long first = team.thread; first < total; first += ahead * step) {
    Pack<T> packs[ahead];
    GENKERN_UNROLL(4)
    for (int t = 0; t < ahead; ++t) {
      const long long at = first + t * step;
      if (at >= total) continue;
      if (packed)
        packs[t] = reinterpret_cast<const Pack<T>*>(x)[at];
      else
        packs[t].entry[0] = x[at];
    }
    GENKERN_UNROLL(4)
    for (int t = 0; t < ahead; ++t) {
      if (first + t * step >= total) continue;
      use(row, packed ? V * column : column, packs[t].entry[0]);
      if (packed) {
        GENKERN_UNROLL(4)
        for (int e = 1; e < V; ++e) use(row, V * column + e, packs[t].entry[e]);
      }
      row += down;
      column += along;
      if (column >= width) {
        column -= width;
        ++row;
      }
    }
  }
}

// The tall one of X (n, d) and X^T to a (column-major); returns whether an entry is not finite.
template <class T>
__device__ __forceinline__ bool load_tall(const Team& team, const T* X, int n, int d, T* a, int ld,
                                          const Scale<T>& scale) {
  bool bad = false;
  const int row_step = n < d ? ld : 1, column_step = n < d ? 1 : ld;
  each_entry(team, X, n, d, [&](int row, int column, T x) {
    bad = bad || !is_finite(x);
    a[row * row_step + column * column_step] = scale(x);
  });
  return bad;
}

template <class T>
__device__ __forceinline__ double largest_entry(const Team& team, const T* X, int n, int d) {
  double largest = 0;
  each_entry(team, X, n, d, [&](int, int, T x) {
    const double size = is_finite(x) ? fabs(static_cast<double>(x)) : infinity();
    largest = size > largest ? size : largest;
  });
  return team.largest(largest);  // inf if an entry is not finite
}

}  // namespace genkern
