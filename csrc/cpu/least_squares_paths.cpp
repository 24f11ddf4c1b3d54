#include "cpu/least_squares_paths.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "cpu/least_squares_svd.hpp"
#include "device/spectral_filters.hpp"
#include "support/lapack.hpp"
#include "support/thread_pool.hpp"

namespace genkern {
namespace {

template <class T>
bool finite(const MatrixView<const T>& view) {
  T check = 0;  // 0 x is 0 for a finite x and NaN for every other
  for (index_t i = 0; i < view.rows; ++i)
    for (index_t j = 0; j < view.cols; ++j) check += T(0) * view(i, j);
  return check == 0;
}

template <class T>
struct Worker {
  ThinSvd<T> svd;
  Modes<T> modes;
  std::vector<double> gains;
  std::vector<int> shifts;
};

// Calls fill(item, worker) for every problem, whose coef has `size` entries, once its modes are known.
template <class T, class Fill>
void for_each_problem(const BatchView<const T>& X, const BatchView<const T>& y, double rcond, index_t filters, T* coef,
                      int threads, const std::function<bool()>& interrupted, const Fill& fill) {
  const index_t items = X.size(), size = filters * X.cols * y.cols;
  threads = static_cast<int>(std::clamp<index_t>(items, 1, threads));
  std::vector<Worker<T>> workers(static_cast<std::size_t>(threads));
  const SingleThreadedBlas guard;
  parallel_for(
      items, threads,
      [&](index_t item, int index) {
        Worker<T>& worker = workers[static_cast<std::size_t>(index)];
        const MatrixView<const T> matrix = X[item], rhs = y[item];
        if (!finite(matrix) || !finite(rhs) || !worker.modes.compute(worker.svd, matrix, rhs, rcond)) {
          std::fill(coef + item * size, coef + (item + 1) * size, std::numeric_limits<T>::quiet_NaN());
          return;
        }
        worker.gains.resize(static_cast<std::size_t>(filters * worker.modes.rank()));
        worker.shifts.assign(static_cast<std::size_t>(filters), 0);
        fill(item, worker);
        worker.modes.expand(worker.gains.data(), worker.shifts.data(), filters, coef + item * size);
      },
      interrupted);
}

// phi of Nesterov's schedule for the contractions a (modes): gains (count, modes) become phi.
// All modes advance together; those that have settled leave.
void nesterov_filters(const std::vector<double>& a, const GdMethod& method, double* gains) {
  const std::size_t modes = a.size();
  std::vector<index_t> order(static_cast<std::size_t>(method.count));
  std::iota(order.begin(), order.end(), index_t{0});
  std::stable_sort(order.begin(), order.end(), [&](index_t p, index_t q) { return method.steps[p] < method.steps[q]; });
  std::vector<NesterovState> states(modes);
  std::vector<std::size_t> active(modes);
  std::iota(active.begin(), active.end(), std::size_t{0});
  double done = 0;
  for (const index_t index : order) {
    const double target = method.steps[index];
    while (done < target && !active.empty()) {
      const double stop = std::min(target, done + 256);
      for (std::size_t mode : active) {
        NesterovState state = states[mode];
        for (double j = done + 1; j <= stop; ++j) state.step(a[mode], (j - 1) / (j + 2));
        if (state.settled(a[mode])) state = {1, 0};
        states[mode] = state;
      }
      active.erase(
          std::remove_if(active.begin(), active.end(), [&](std::size_t mode) { return states[mode].settled(a[mode]); }),
          active.end());
      done = stop;
      check_interrupt();
    }
    done = std::max(done, target);
    for (std::size_t mode = 0; mode < modes; ++mode)
      gains[index * static_cast<index_t>(modes) + static_cast<index_t>(mode)] = states[mode].phi;
  }
}

}  // namespace

template <class T>
void ridge_path(const BatchView<const T>& X, const BatchView<const T>& y, const double* ridges, index_t count,
                double rcond, T* coef, int threads, const std::function<bool()>& interrupted) {
  for_each_problem(X, y, rcond, count, coef, threads, interrupted, [&](index_t, Worker<T>& worker) {
    for (index_t f = 0; f < count; ++f)
      worker.shifts[static_cast<std::size_t>(f)] =
          ridge_gains(worker.modes, ridges[f], worker.gains.data() + f * worker.modes.rank());
  });
}

template <class T>
void gd_path(const BatchView<const T>& X, const BatchView<const T>& y, const GdMethod& method,
             const BatchView<const double>& step_size, double rcond, T* coef, bool* divergent, int threads,
             const std::function<bool()>& interrupted) {
  const index_t items = X.size();
  std::fill(divergent, divergent + items, false);
  const bool endless = std::any_of(method.steps, method.steps + method.count, [](double k) { return std::isinf(k); });
  for_each_problem(X, y, rcond, method.count, coef, threads, interrupted, [&](index_t item, Worker<T>& worker) {
    const index_t rank = worker.modes.rank();
    const T* const s = worker.modes.scaled_s();
    const double given = step_size[item](0, 0);
    const double eta = PowerOfTwo(2 * worker.modes.exponent()) * given;
    std::vector<double> a(static_cast<std::size_t>(rank));
    for (index_t i = 0; i < rank; ++i) {
      const double value = static_cast<double>(s[i]), share = value / static_cast<double>(s[0]);
      a[static_cast<std::size_t>(i)] = std::isnan(given) ? share * share : eta * value * value;
      if (gd_diverges(a[static_cast<std::size_t>(i)], method.momentum, method.nesterov, endless))
        divergent[item] = true;
    }
    double* const gains = worker.gains.data();
    if (method.nesterov) {
      nesterov_filters(a, method, gains);
    } else {
      for (index_t f = 0; f < method.count; ++f)
        for (index_t i = 0; i < rank; ++i)
          gains[f * rank + i] = heavy_ball_filter(a[static_cast<std::size_t>(i)], method.momentum, method.steps[f]);
    }
    for (index_t f = 0; f < method.count; ++f)
      for (index_t i = 0; i < rank; ++i) gains[f * rank + i] /= static_cast<double>(s[i]);
  });
}

template <class T>
void singular_values(const BatchView<const T>& X, T* s, int threads, const std::function<bool()>& interrupted) {
  const index_t items = X.size(), size = std::min(X.rows, X.cols);
  threads = static_cast<int>(std::clamp<index_t>(items, 1, threads));
  std::vector<ThinSvd<T>> workers(static_cast<std::size_t>(threads));
  const SingleThreadedBlas guard;
  parallel_for(
      items, threads,
      [&](index_t item, int index) {
        ThinSvd<T>& svd = workers[static_cast<std::size_t>(index)];
        const MatrixView<const T> matrix = X[item];
        if (finite(matrix) && svd.compute(matrix, false))
          std::copy(svd.s(), svd.s() + size, s + item * size);
        else
          std::fill(s + item * size, s + (item + 1) * size, std::numeric_limits<T>::quiet_NaN());
      },
      interrupted);
}

#define GENKERN_INSTANTIATE(T)                                                                                       \
  template void ridge_path(const BatchView<const T>&, const BatchView<const T>&, const double*, index_t, double, T*, \
                           int, const std::function<bool()>&);                                                       \
  template void gd_path(const BatchView<const T>&, const BatchView<const T>&, const GdMethod&,                       \
                        const BatchView<const double>&, double, T*, bool*, int, const std::function<bool()>&);       \
  template void singular_values(const BatchView<const T>&, T*, int, const std::function<bool()>&);
GENKERN_INSTANTIATE(float)
GENKERN_INSTANTIATE(double)
#undef GENKERN_INSTANTIATE

}  // namespace genkern
