// Paths of least squares from the modes of a batch of problems: gains of the filters, and the coefficients from them.
//
// Problem: coef_f = V diag(gain_f) P, P = U^T y, over the singular values s > rcond * s_max: for a ridge gain =
//   s / (s^2 + ridge), for gradient descent (1 - r_k(a)) / s with a = step_size s^2 (device/spectral_filters.hpp).
// Method: gains in float64, one warp for all modes of an item and a filter, each filter scaled by a power of two so
//   that its largest gain is near 1; then a product of V with 8 scaled columns at a time for 128 rows.
//   Nesterov's recursion takes a thread per mode, some steps a launch.
// Shapes: s (items, m) in descending order, of X 2^-exponent; basis (items, m, d); projections (items, m, k), of y
//   2^-y_exponent; gains (items, filters, m) times 2^-shift, shift (items, filters); coef (items, filters, d, k).
// Cost: 2 m d k flops a filter and item, one load of V for 8 multiply-adds; coef is written once.
// Numerics: those of the filters; the scales of X, y and the gains come back in one rounding at the end.
// Source: see device/spectral_filters.hpp.
#include "cuda/least_squares_team.hpp"
#include "device/spectral_filters.hpp"

namespace genkern {
namespace {

constexpr int expand_rows = 128, expand_columns = 8, expand_modes = 64;

// Item and filter of this warp; false if there is none.
__device__ bool own_filter(long long items, int filters, long long* item, int* filter) {
  const long long index = (static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x) / 32;
  *item = filters > 0 ? index / filters : items;
  *filter = static_cast<int>(index - *item * filters);
  return *item < items;
}

// gain(i) of the kept modes, scaled, to gains (m); the others' are 0.
template <class T, class Gain>
__device__ void write_gains(const T* s, int m, double rcond, int relative, T* gains, int* shift, const Gain& gain) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const double cutoff = m > 0 ? rcond * static_cast<double>(s[0]) : 0;
  const auto value = [&](int i) { return static_cast<double>(s[i]) > cutoff ? gain(i) : 0.0; };
  double largest = 0;
  for (int i = lane; i < m; i += 32) {
    const double size = fabs(value(i));
    largest = is_finite(size) && size > largest ? size : largest;
  }
  const int own = exponent_of(lanes_max(largest));
  const Scale<double> scale(-own);
  for (int i = lane; i < m; i += 32) gains[i] = static_cast<T>(scale(value(i)));
  if (lane == 0) *shift = own - relative;
}

template <class T>
__device__ void ridge_gains(const T* s, const int* exponent, const double* ridges, long long ridge_stride,
                            long long items, int filters, int m, double rcond, T* gains, int* shifts) {
  long long item;
  int filter;
  if (!own_filter(items, filters, &item, &filter)) return;
  const ScaledRidge penalty(ridges[item * ridge_stride + filter], exponent[item]);
  const long long at = item * filters + filter;
  const T* const own = s + item * m;
  write_gains(own, m, rcond, penalty.shift, gains + at * m, shifts + at,
              [&](int i) { return penalty.gain(static_cast<double>(own[i])); });
}

// a = step_size s^2 of every mode (0 where the cutoff acts), 1 / s_max^2 for a NaN; does the method diverge?
template <class T>
__device__ void descent_rates(const T* s, const int* exponent, const double* step_size, long long step_stride,
                              long long items, int m, double rcond, double momentum, int nesterov, int endless,
                              double* rates, unsigned char* divergent) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const long long item = (static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x) / 32;
  if (item >= items) return;
  const double given = step_size[item * step_stride], eta = ldexp(given, 2 * exponent[item]);
  const double largest = m > 0 ? static_cast<double>(s[item * m]) : 0;
  double diverges = 0;
  for (int i = lane; i < m; i += 32) {
    const double value = static_cast<double>(s[item * m + i]), share = value / largest;
    const bool kept = value > rcond * largest;
    const double a = !kept ? 0 : given == given ? eta * value * value : share * share;
    if (kept && gd_diverges(a, momentum, nesterov != 0, endless != 0)) diverges = 1;
    rates[item * m + i] = a;
  }
  diverges = lanes_max(diverges);
  if (lane == 0) divergent[item] = diverges != 0;
}

// phi of Nesterov's schedule at the counts that lie in (from, to], which ascend in `counts` from place `next` on, and
// at those equal to 0 when `from` is -1. The state of a mode is kept between launches.
__device__ void nesterov_filters(const double* rates, const double* counts, const int* order, int filters, int next,
                                 long long modes, int m, double from, double to, double2* states, double* phi,
                                 int* moving) {
  const long long mode = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (mode >= modes) return;
  const double a = rates[mode];
  NesterovState state;
  if (from >= 0) {
    state.phi = states[mode].x;
    state.increment = states[mode].y;
  }
  double done = from >= 0 ? from : 0;
  bool settled = a == 0 || state.settled(a);
  const long long item = mode / m, place = mode - item * m;
  for (int index = next; index <= filters; ++index) {
    const double target = index < filters && counts[index] <= to ? counts[index] : to;
    while (done < target && !settled) {
      const double stop = target - done > 256 ? done + 256 : target;
      for (double j = done + 1; j <= stop; ++j) state.step(a, (j - 1) / (j + 2));
      done = stop;
      settled = state.settled(a);
      if (settled) {
        state.phi = 1;
        state.increment = 0;
      }
    }
    done = target > done ? target : done;
    if (index == filters || counts[index] > to) break;
    phi[(item * filters + order[index]) * m + place] = state.phi;
  }
  states[mode] = make_double2(state.phi, state.increment);
  if (!settled) atomicOr(moving, 1);
}

// phi / s of every kept mode, phi given or that of heavy ball.
template <class T>
__device__ void descent_gains(const T* s, const double* rates, const double* phi, const double* counts, long long items,
                              int filters, int m, double rcond, double momentum, T* gains, int* shifts) {
  long long item;
  int filter;
  if (!own_filter(items, filters, &item, &filter)) return;
  const long long at = item * filters + filter;
  const T* const own = s + item * m;
  write_gains(own, m, rcond, 0, gains + at * m, shifts + at, [&](int i) {
    const double value =
        phi != nullptr ? phi[at * m + i] : heavy_ball_filter(rates[item * m + i], momentum, counts[filter]);
    return value / static_cast<double>(own[i]);
  });
}

// coef of 128 rows and 8 of the filters * k columns of one item.
template <class T>
__device__ void expand(const T* basis, const T* projections, const T* gains, const int* shifts, const int* exponents,
                       const int* y_exponents, const signed char* statuses, int filters, int m, int d, int k, T* coef) {
  __shared__ T weights[expand_modes][expand_columns];
  const long long columns = static_cast<long long>(filters) * k,
                  tiles = (columns + expand_columns - 1) / expand_columns;
  const long long strips = (d + expand_rows - 1) / expand_rows, block = blockIdx.x;
  const long long item = block / (strips * tiles), strip = block / tiles % strips, tile = block % tiles;
  const int row = static_cast<int>(strip) * expand_rows + static_cast<int>(threadIdx.x);
  T sum[expand_columns] = {};
  for (int first = 0; first < m; first += expand_modes) {
    const int count = m - first < expand_modes ? m - first : expand_modes;
    for (int t = static_cast<int>(threadIdx.x); t < count * expand_columns; t += expand_rows) {
      const int mode = first + t / expand_columns;
      const long long column = tile * expand_columns + t % expand_columns;
      const long long filter = column / k, r = column % k;
      weights[t / expand_columns][t % expand_columns] =
          column < columns ? gains[(item * filters + filter) * m + mode] * projections[(item * m + mode) * k + r]
                           : T(0);
    }
    __syncthreads();
    for (int i = 0; i < count && row < d; ++i) {
      const T entry = basis[(item * m + first + i) * d + row];
      for (int c = 0; c < expand_columns; ++c) sum[c] = fma(entry, weights[i][c], sum[c]);
    }
    __syncthreads();
  }
  if (row >= d) return;
  const bool bad = statuses[item] != 0;
  for (int c = 0; c < expand_columns; ++c) {
    const long long column = tile * expand_columns + c;
    if (column >= columns) break;
    const long long filter = column / k, r = column % k;
    const int shift = shifts[item * filters + filter] + y_exponents[item * k + r] - exponents[item];
    coef[((item * filters + filter) * d + row) * k + r] = bad ? not_a_number<T>() : unscaled(sum[c], shift);
  }
}

}  // namespace
}  // namespace genkern

#define GENKERN_PATHS(suffix, T)                                                                                     \
  extern "C" __global__ void __launch_bounds__(256, 2) least_squares_ridge_gains_##suffix(                           \
      const T* s, const int* exponent, const double* ridges, long long ridge_stride, long long items, int filters,   \
      int m, double rcond, T* gains, int* shift) {                                                                   \
    genkern::ridge_gains(s, exponent, ridges, ridge_stride, items, filters, m, rcond, gains, shift);                 \
  }                                                                                                                  \
  extern "C" __global__ void __launch_bounds__(256, 2) least_squares_rates_##suffix(                                 \
      const T* s, const int* exponent, const double* step_size, long long step_stride, long long items, int m,       \
      double rcond, double momentum, int nesterov, int endless, double* rates, unsigned char* divergent) {           \
    genkern::descent_rates(s, exponent, step_size, step_stride, items, m, rcond, momentum, nesterov, endless, rates, \
                           divergent);                                                                               \
  }                                                                                                                  \
  extern "C" __global__ void __launch_bounds__(256, 2) least_squares_descent_gains_##suffix(                         \
      const T* s, const double* rates, const double* phi, const double* counts, long long items, int filters, int m, \
      double rcond, double momentum, T* gains, int* shift) {                                                         \
    genkern::descent_gains(s, rates, phi, counts, items, filters, m, rcond, momentum, gains, shift);                 \
  }                                                                                                                  \
  extern "C" __global__ void __launch_bounds__(128, 4) least_squares_expand_##suffix(                                \
      const T* basis, const T* projections, const T* gains, const int* shift, const int* exponent,                   \
      const int* y_exponent, const signed char* status, int filters, int m, int d, int k, T* coef) {                 \
    genkern::expand(basis, projections, gains, shift, exponent, y_exponent, status, filters, m, d, k, coef);         \
  }
GENKERN_PATHS(f32, float)
GENKERN_PATHS(f64, double)

extern "C" __global__ void __launch_bounds__(256, 2)
    least_squares_nesterov(const double* rates, const double* counts, const int* order, int filters, int next,
                           long long modes, int m, double from, double to, double* states, double* phi, int* moving) {
  genkern::nesterov_filters(rates, counts, order, filters, next, modes, m, from, to, reinterpret_cast<double2*>(states),
                            phi, moving);
}
