// What problems beyond shared memory need besides cuSOLVER and cuBLAS: their scales, and the rule of full rank.
//
// Problem: X 2^-exponent with entries below 1, every column of y by its own power of two, 0 in the place of what is not
//   finite; and whether the QR factorization of an item may answer.
// Method: `least_squares_measure` finds the largest entries, `least_squares_scale` writes the scaled ones. Both share
// an
//   item among blocks: `x_blocks` of `chunk` entries of X, then for every 256 columns of y blocks of `rows` rows, so
//   that any shape is spread over the device and read in the order of memory. The largest entries of blocks meet in
//   atomic maxima of the numbers' bits, which have no order that a result could depend on. `least_squares_check` is
//   the rule of device/least_squares_rank.hpp by one block an item, see least_squares_block_triangle.hpp.
// Shapes: X (items, n, d) and y (items, n, k), row-major; the scaled ones have rows x_ld and y_ld long, an item every
//   x_step and y_step entries; largest (items) and y_largest (items, k) are bits of float64, 0 before, as `bad` is;
//   r (items, m, m) column-major; work (items, 3 m).
// Cost: X and y are read twice and written once, no flops but those of the scales; the rule takes 2 m^2 to 10 m^2 flops
//   and reads m^2 to 9 m^2 numbers, most often 2 m^2.
// 16-byte loads: least_squares_measure
// Numerics: scales are powers of two, so only entries far below the largest one are rounded. Scaled, R is in the range
//   of the rule whatever X is.
// Source: Higham, Accuracy and Stability of Numerical Algorithms, chapter 15.
#include "cuda/least_squares_block_triangle.hpp"

namespace genkern {
namespace {

constexpr int threads = 256;  // of a block that measures or scales
constexpr signed char solved = 0, not_finite = 1, pending = 3;

// The share of this block in an item.
struct Share {
  long long x_blocks, blocks;  // of an item: of X, of X and y
  int chunk, rows;

  __device__ long long item() const { return blockIdx.x / blocks; }
  __device__ long long index() const { return blockIdx.x % blocks; }
  __device__ bool of_x() const { return index() < x_blocks; }
};

// A thread's place in a block's share of y: some columns, each read by threads that take its rows in turn.
struct Strip {
  int width, height, column;  // columns, and rows at once; this thread's column of y
  long long row, end;         // this thread's first row of y, and where all rows end

  __device__ Strip(const Share& share, int n, int k) {
    const long long tiles = (k + threads - 1) / threads, index = share.index() - share.x_blocks;
    const int first = static_cast<int>(index % tiles) * threads, thread = static_cast<int>(threadIdx.x);
    const long long start = index / tiles * share.rows, stop = start + share.rows;
    width = k - first < threads ? k - first : threads;
    height = threads / width;
    column = first + thread % width;
    end = stop < n ? stop : n;
    row = thread < width * height ? start + thread / width : end;
  }
};

// Takes in a number: a larger size, or that it is not finite.
template <class T>
__device__ __forceinline__ void take_in(T x, T* largest, bool* bad) {
  const T size = fabs(x);
  if (!is_finite(x))
    *bad = true;
  else if (size > *largest)
    *largest = size;
}

template <class T>
__device__ T largest_of_chunk(const T* x, int count, bool* bad) {
  constexpr int V = Pack<T>::size, ahead = 4;
  const int packs = reinterpret_cast<unsigned long long>(x) % 16 == 0 ? count / V : 0;
  const int thread = static_cast<int>(threadIdx.x);
  T largest = 0;
  for (int first = thread; first < packs; first += ahead * threads) {
    Pack<T> loaded[ahead];
    GENKERN_UNROLL(4)
    for (int t = 0; t < ahead; ++t)
      if (first + t * threads < packs) loaded[t] = reinterpret_cast<const Pack<T>*>(x)[first + t * threads];
    GENKERN_UNROLL(4)
    for (int t = 0; t < ahead; ++t)
      if (first + t * threads < packs) {
        GENKERN_UNROLL(4)
        for (int e = 0; e < V; ++e) take_in(loaded[t].entry[e], &largest, bad);
      }
  }
  GENKERN_UNROLL(4)
  for (int i = packs * V + thread; i < count; i += threads) take_in(x[i], &largest, bad);
  return largest;
}

// A block's result for one scale.
__device__ void publish(double largest, unsigned long long* to, int* bad) {
  if (!is_finite(largest))
    atomicOr(bad, 1);
  else if (largest > 0)
    atomicMax(to, static_cast<unsigned long long>(device::bits_of(largest)));
}

template <class T>
__device__ void measure(const T* X, const T* y, const Share& share, int n, int d, int k, unsigned long long* largest,
                        unsigned long long* y_largest, int* any_bad) {
  __shared__ double part[threads];
  const int thread = static_cast<int>(threadIdx.x);
  bool bad = false;
  if (share.of_x()) {
    const long long first = share.index() * share.chunk, left = static_cast<long long>(n) * d - first;
    const T own = largest_of_chunk(X + first, static_cast<int>(left < share.chunk ? left : share.chunk), &bad);
    const Team team = Team::of(threads / 32, part);
    const double size = team.largest(bad ? infinity() : static_cast<double>(own));
    if (thread == 0) publish(size, largest, any_bad);
    return;
  }
  const Strip strip(share, n, k);
  T own = 0;
  GENKERN_UNROLL(4)
  for (long long i = strip.row; i < strip.end; i += strip.height) take_in(y[i * k + strip.column], &own, &bad);
  part[thread] = bad ? infinity() : static_cast<double>(own);
  int half = 1;
  while (2 * half < strip.height) half *= 2;
  for (; half > 0; half /= 2) {
    __syncthreads();
    const int row = thread / strip.width, other = thread + half * strip.width;
    if (row < half && row + half < strip.height && part[other] > part[thread]) part[thread] = part[other];
  }
  if (thread < strip.width) publish(part[thread], y_largest + strip.column, any_bad);
}

template <class T>
struct Scaled {
  T *X, *y;
  int x_ld, y_ld;
  int *exponent, *y_exponent;
  signed char* status;
};

template <class T>
__device__ void scale(const T* X, const T* y, const Share& share, int n, int d, int k, unsigned long long largest,
                      const unsigned long long* y_largest, int bad, const Scaled<T>& to) {
  const int thread = static_cast<int>(threadIdx.x), own = exponent_of(device::from_bits(largest));
  if (share.index() == 0 && thread == 0) {
    *to.exponent = own;
    *to.status = bad != 0 ? not_finite : solved;
  }
  if (share.of_x()) {
    constexpr int ahead = 4;
    const Scale<T> scale(-own);
    const long long first = share.index() * share.chunk, end = static_cast<long long>(n) * d;
    const long long last = first + share.chunk < end ? first + share.chunk : end;
    const int down = threads / d, along = threads % d;  // one division for all steps
    long long row = (first + thread) / d;
    int column = static_cast<int>(first + thread - row * d);
    for (long long i = first + thread; i < last; i += ahead * threads) {
      T loaded[ahead];
      GENKERN_UNROLL(4)
      for (int t = 0; t < ahead; ++t)
        if (i + t * threads < last) loaded[t] = X[i + t * threads];
      GENKERN_UNROLL(4)
      for (int t = 0; t < ahead; ++t) {
        if (i + t * threads < last) to.X[row * to.x_ld + column] = is_finite(loaded[t]) ? scale(loaded[t]) : T(0);
        row += down;
        column += along;
        if (column >= d) {
          column -= d;
          ++row;
        }
      }
    }
    return;
  }
  const Strip strip(share, n, k);
  const int exponent = exponent_of(device::from_bits(y_largest[strip.column]));
  const Scale<T> scale(-exponent);
  if (share.index() - share.x_blocks < (k + threads - 1) / threads && thread < strip.width)
    to.y_exponent[strip.column] = exponent;
  GENKERN_UNROLL(4)
  for (long long i = strip.row; i < strip.end; i += strip.height) {
    const T value = y[i * k + strip.column];
    to.y[i * to.y_ld + strip.column] = is_finite(value) ? scale(value) : T(0);
  }
}

// May R answer? `ridge` is that of X, `exponent` X's.
template <class T>
__device__ void check(const T* r, int m, int longer_side, double rcond, double ridge, int exponent, T* work,
                      signed char* state) {
  __shared__ T tile[32 * tile_ld], piece[32];
  __shared__ double scratch[16];
  const Team team = Team::of(static_cast<int>(blockDim.x) / 32, scratch);
  T* const inverse = work;
  const BlockTriangle<T> triangle{r, m, inverse, work + m, work + 2 * m, tile, piece, team};
  for (int j = team.thread; j < m; j += team.size()) inverse[j] = 1 / triangle.column(j)[j];
  team.sync();
  const double norm2 = triangle.norm2(), root = ldexp(sqrt(ridge), -exponent);
  const bool full = sure_of_full_rank(device::lstsq_rule<T>(rcond, longer_side), triangle, norm2) &&
                    (ridge == 0 || device::moderate(root, norm2));
  if (team.thread == 0) *state = full ? solved : pending;
}

}  // namespace
}  // namespace genkern

#define GENKERN_LARGE(suffix, T)                                                                                     \
  extern "C" __global__ void __launch_bounds__(256, 4) least_squares_measure_##suffix(                               \
      const T* X, const T* y, long long x_stride, long long y_stride, int n, int d, int k, long long x_blocks,       \
      long long blocks, int chunk, int rows, unsigned long long* largest, unsigned long long* y_largest, int* bad) { \
    const genkern::Share share{x_blocks, blocks, chunk, rows};                                                       \
    const long long item = share.item();                                                                             \
    genkern::measure(X + item * x_stride, y + item * y_stride, share, n, d, k, largest + item, y_largest + item * k, \
                     bad + item);                                                                                    \
  }                                                                                                                  \
  extern "C" __global__ void __launch_bounds__(256, 4) least_squares_scale_##suffix(                                 \
      const T* X, const T* y, long long x_stride, long long y_stride, int n, int d, int k, long long x_blocks,       \
      long long blocks, int chunk, int rows, const unsigned long long* largest, const unsigned long long* y_largest, \
      const int* bad, T* to_X, long long x_step, int x_ld, T* to_y, long long y_step, long long y_first, int y_ld,   \
      int* exponent, int* y_exponent, signed char* status) {                                                         \
    const genkern::Share share{x_blocks, blocks, chunk, rows};                                                       \
    const long long item = share.item();                                                                             \
    genkern::scale<T>(X + item * x_stride, y + item * y_stride, share, n, d, k, largest[item], y_largest + item * k, \
                      bad[item],                                                                                     \
                      {to_X + item * x_step, to_y + item * y_step + y_first, x_ld, y_ld, exponent + item,            \
                       y_exponent + item * k, status + item});                                                       \
  }                                                                                                                  \
  extern "C" __global__ void __launch_bounds__(512, 1)                                                               \
      least_squares_check_##suffix(const T* r, int m, int longer_side, double rcond, const double* ridge,            \
                                   long long ridge_stride, const int* exponent, T* work, signed char* state) {       \
    const long long item = blockIdx.x;                                                                               \
    if (state[item] != genkern::solved) return;                                                                      \
    genkern::check(r + item * m * m, m, longer_side, rcond, ridge[item * ridge_stride], exponent[item],              \
                   work + item * 3 * m, state + item);                                                               \
  }
GENKERN_LARGE(f32, float)
GENKERN_LARGE(f64, double)
