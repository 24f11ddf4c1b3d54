// Random features: activation(<x_r, w_j> scale [+ phase_j]) for every row x_r of X (n, d) and column w_j of W
// (d, width), with W generated on the device.
//
// Method: a panel of columns of W is generated into memory (lanes are columns), then multiplied: a block computes a
//   tile of 128 x 128 (float64: 64 x 64) sums from slices of 16 rows of W and the same columns of X in shared memory,
//   a warp the rows of its own, each lane every 32nd column. The activation comes last.
// Shapes: X (n, d) with strides in elements, W (d, pitch) with pitch a multiple of the tile's columns, phases (pitch),
//   scales (pitch), out (n, out_pitch), of which columns [first, first + columns) are written.
// Cost: 2 n d width flops, and about 160 (float64) to make two weights. Made once for all rows, a weight costs 80
//   flops beside the 2 n of its products; made anew in every tile of rows it would cost 80 beside 128 to 256. So W
//   goes through memory: d width numbers written once and read, beside n width of the result. Tiles read
//   (1/128 + 1/128) n d width numbers of X and W (float64: 1/64 + 1/64), 32 (8) flops a byte, mostly from the L2
//   cache; The result is written once, 32 neighbouring columns a warp; for d > 256 read and
//   written once more for every further 256, and once more for all activations but identity and relu: from the cache.
// Numerics: the order of every sum is that of csrc/cpu/features.inc (blocks of 256 terms upwards, one fused
//   multiply-add a term, the blocks upwards) and the scalar functions are the same. So the bits are the CPU's and
//   depend on neither tile, panel nor launch; only float32 numbers below 1.2e-38 are 0, and sines beyond
//   device::trigonometric_limit are those of the CUDA library. cuBLAS would use the tensor cores for float64, but its
//   order of summation depends on the sizes.
// 16-byte loads: features_product
// Source: csrc/device/philox.hpp, csrc/device/normal.hpp.

#include "device/activation.hpp"
#include "device/normal.hpp"

namespace {

using device::u32;
using device::u64;
typedef long long i64;

// As genkern/_cupy/features.py has them: the names in genkern/features.py, in that order.
enum Activation { identity, relu, erf_, tanh_, cos_, sin_, sign_, rff };

constexpr u32 stream_weights = 0, stream_phases = 1;
constexpr int threads = 256, warps = threads / 32;
constexpr int slice = 16;   // rows of W in shared memory
constexpr int depth = 256;  // terms that are summed before they are added to the sum before them, as on the CPU

template <class T>
struct Tile;
template <>
struct Tile<float> {
  static constexpr int rows = 16, columns = 4;  // of a thread
  typedef float4 Vector;
};
template <>
struct Tile<double> {
  static constexpr int rows = 8, columns = 2;
  typedef double2 Vector;
};

__device__ __forceinline__ device::Words words_of(u64 seed, u64 column, u32 pair, u32 stream) {
  return device::philox4x32({pair, u32(column), u32(column >> 32), stream}, u32(seed), u32(seed >> 32));
}

// scales[l] = sqrt(d) / ||g||, g the Gaussian direction of column start + l: squares are summed upwards.
__device__ void sphere_scale(double* scales, i64 d, u64 seed, u64 start, i64 pitch) {
  const i64 l = i64(blockIdx.x) * blockDim.x + threadIdx.x;
  if (l >= pitch) return;
  double sum = 0;
  for (i64 row = 0; row < d; row += 2) {
    const device::Words words = words_of(seed, start + u64(l), u32(row / 2), stream_weights);
    double even, odd;
    device::normal_pair(device::first_word(words), device::second_word(words), even, odd);
    sum += even * even;
    if (row + 1 < d) sum += odd * odd;
  }
  scales[l] = GENKERN_SQRT(double(d)) / GENKERN_SQRT(sum);
}

// Rows [2 pairs y, 2 pairs (y + 1)) of W for block y, and the phases; `scales` and `phases` may be null.
template <class T>
__device__ void make_weights(T* W, T* phases, const double* scales, i64 d, u64 seed, u64 start, i64 pitch, int pairs) {
  const i64 l = i64(blockIdx.x) * blockDim.x + threadIdx.x;
  if (l >= pitch) return;
  const u64 column = start + u64(l);
  if (phases != nullptr && blockIdx.y == 0)
    phases[l] = T(0x1.921fb54442d18p+2 * device::uniform(device::first_word(words_of(seed, column, 0, stream_phases))));
  const i64 first = i64(blockIdx.y) * pairs;
  for (i64 pair = first; pair < first + pairs && 2 * pair < d; ++pair) {
    const device::Words words = words_of(seed, column, u32(pair), stream_weights);
    double even, odd;
    device::normal_pair(device::first_word(words), device::second_word(words), even, odd);
    if (scales != nullptr) {
      even *= scales[l];
      odd *= scales[l];
    }
    W[2 * pair * pitch + l] = T(even);
    if (2 * pair + 1 < d) W[(2 * pair + 1) * pitch + l] = T(odd);
  }
}

// The sine (turn 0) or cosine (turn 1).
template <class T>
__device__ T trigonometric(T z, u64 turn) {
  if (device::absolute(z) <= T(device::trigonometric_limit)) return device::sine_of(z, turn);
  return T(turn == 0 ? sin(double(z)) : cos(double(z)));
}

template <class T>
__device__ T activated(int activation, T z) {
  switch (activation) {
    case erf_:
      return device::error_function(z);
    case tanh_:
      return device::hyperbolic_tangent(z);
    case cos_:
      return trigonometric(z, 1);
    case sin_:
      return trigonometric(z, 0);
    case sign_:
      return device::sign_of(z);
    case rff:
      return T(0x1.6a09e667f3bcdp+0) * trigonometric(z, 1);  // sqrt(2)
    default:
      return z;
  }
}

__device__ __forceinline__ float multiply_add(float a, float b, float c) { return fmaf(a, b, c); }
__device__ __forceinline__ double multiply_add(double a, double b, double c) { return fma(a, b, c); }

// sums (rows, columns) += x (k, tile rows)^T w (k, tile columns) for one row of both slices.
template <class T>
__device__ __forceinline__ void add_products(const T* x, const T* w, T (&sums)[Tile<T>::rows][Tile<T>::columns]) {
  T entry[Tile<T>::rows], weight[Tile<T>::columns];
#pragma unroll
  for (int i = 0; i < Tile<T>::rows; ++i) entry[i] = x[i];
#pragma unroll
  for (int j = 0; j < Tile<T>::columns; ++j) weight[j] = w[32 * j];
#pragma unroll
  for (int i = 0; i < Tile<T>::rows; ++i)
#pragma unroll
    for (int j = 0; j < Tile<T>::columns; ++j) sums[i][j] = multiply_add(entry[i], weight[j], sums[i][j]);
}

// A thread's part of the result.
template <class T>
struct Own {
  T* out;
  i64 n, columns, row, column, pitch;

  // use(i, j, result) with the place (i, j) in the thread's registers.
  template <class Use>
  __device__ __forceinline__ void each(const Use& use) const {
#pragma unroll
    for (int i = 0; i < Tile<T>::rows; ++i)
#pragma unroll
      for (int j = 0; j < Tile<T>::columns; ++j)
        if (row + i < n && column + 32 * j < columns) use(i, j, out[(row + i) * pitch + column + 32 * j]);
  }
};

template <class T>
__device__ void product(const T* X, i64 n, i64 d, i64 row_stride, i64 column_stride, const T* W, i64 pitch,
                        const T* phases, T scale, int activation, T* out, i64 out_pitch, i64 first, i64 columns) {
  typedef typename Tile<T>::Vector Vector;
  constexpr int rows = Tile<T>::rows, tile_rows = warps * rows, tile_columns = 32 * Tile<T>::columns;
  constexpr int width = sizeof(Vector) / sizeof(T);
  constexpr int entries = tile_rows * slice / threads, vectors = tile_columns * slice / width / threads;
  // Padded: the lanes that fill a slice, 16 to a row of X, would all write to the same banks.
  __shared__ __align__(16) T x[slice][tile_rows + 16 / sizeof(T)];
  __shared__ __align__(16) T w[slice][tile_columns];
  __shared__ int spoiled[tile_rows];  // rows of X with a NaN or an infinity
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const i64 row = i64(blockIdx.x) * tile_rows, column = i64(blockIdx.y) * tile_columns;
  for (int i = threadIdx.x; i < tile_rows; i += threads) spoiled[i] = 0;

  T entry[entries];
  Vector vector[vectors];
  const auto load = [&](i64 k) {
#pragma unroll
    for (int e = 0; e < entries; ++e) {
      const int place = e * threads + threadIdx.x;
      const i64 r = row + place / slice, i = k + place % slice;
      entry[e] = r < n && i < d ? X[r * row_stride + i * column_stride] : T(0);
    }
#pragma unroll
    for (int v = 0; v < vectors; ++v) {
      const int place = (v * threads + threadIdx.x) * width;
      const i64 i = k + place / tile_columns;
      vector[v] = Vector{};
      if (i < d) vector[v] = *reinterpret_cast<const Vector*>(W + i * pitch + column + place % tile_columns);
    }
  };
  T sums[rows][Tile<T>::columns] = {};
  const Own<T> own = {out + first, n, columns, row + warp * rows, column + lane, out_pitch};

  if (d > 0) load(0);
  for (i64 k = 0; k < d; k += slice) {
    __syncthreads();  // the slices before these are used up
#pragma unroll
    for (int e = 0; e < entries; ++e) {
      const int place = e * threads + threadIdx.x;
      x[place % slice][place / slice] = entry[e];
      if (entry[e] - entry[e] != T(0)) atomicOr(&spoiled[place / slice], 1);
    }
#pragma unroll
    for (int v = 0; v < vectors; ++v) {
      const int place = (v * threads + threadIdx.x) * width;
      *reinterpret_cast<Vector*>(&w[place / tile_columns][place % tile_columns]) = vector[v];
    }
    __syncthreads();
    if (k + slice < d) load(k + slice);  // in flight during the products
    if (k + slice <= d) {
#pragma unroll
      for (int i = 0; i < slice; ++i) add_products<T>(&x[i][warp * rows], &w[i][lane], sums);
    } else {
      for (int i = 0; i < int(d - k); ++i) add_products<T>(&x[i][warp * rows], &w[i][lane], sums);
    }
    if ((k + slice) % depth == 0 && k + slice < d) {
      const bool begin = k < depth;
      own.each([&](int i, int j, T& result) {
        result = begin ? sums[i][j] : sums[i][j] + result;
        sums[i][j] = 0;
      });
    }
  }
  __syncthreads();  // spoiled
  own.each([&](int i, int j, T& result) {
    T z = d > depth ? sums[i][j] + result : sums[i][j];
    z *= scale;
    if (activation == relu) z = device::rectified(z);
    if (activation == rff) z += phases[column + lane + 32 * j];
    result = spoiled[warp * rows + i] ? T(device::from_bits(u64(0x7FF8000000000000ull))) : z;
  });
  if (activation <= relu) return;
  // The other functions are too long to stand here once for every sum in a register: each thread takes its own results
  // from the cache again.
  for (i64 r = own.row; r < n && r < own.row + rows; ++r)
    for (i64 c = own.column; c < columns && c < column + tile_columns; c += 32) {
      T& result = own.out[r * out_pitch + c];
      result = activated(activation, result);
    }
}

}  // namespace

extern "C" __global__ void __launch_bounds__(128)
    features_scales_f64(double* scales, i64 d, u64 seed, u64 start, i64 pitch) {
  sphere_scale(scales, d, seed, start, pitch);
}

#define GENKERN_FEATURES(T, suffix)                                                                                   \
  extern "C" __global__ void __launch_bounds__(128) features_weights_##suffix(                                        \
      T* W, T* phases, const double* scales, i64 d, u64 seed, u64 start, i64 pitch, int pairs) {                      \
    make_weights(W, phases, scales, d, seed, start, pitch, pairs);                                                    \
  }                                                                                                                   \
  extern "C" __global__ void __launch_bounds__(threads) features_product_##suffix(                                    \
      const T* X, i64 n, i64 d, i64 row_stride, i64 column_stride, const T* W, i64 pitch, const T* phases, T scale,   \
      int activation, T* out, i64 out_pitch, i64 first, i64 columns) {                                                \
    product(X, n, d, row_stride, column_stride, W, pitch, phases, scale, activation, out, out_pitch, first, columns); \
  }
GENKERN_FEATURES(float, f32)
GENKERN_FEATURES(double, f64)
