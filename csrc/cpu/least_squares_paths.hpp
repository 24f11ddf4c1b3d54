// Ridge and gradient-descent paths of a batch of least-squares problems, and singular values.
//
// Method: one SVD a problem (cpu/least_squares_svd.hpp), then a filter for every point of the path; problems over
//   the threads, each with one BLAS thread, so that the bits of one depend neither on the number of threads nor
//   on its batch. Ctrl-C acts between problems: LAPACK cannot be interrupted.
// Non-finite data, or an SVD that does not converge, makes that problem's result NaN and no other.
#pragma once

#include <functional>

#include "support/view.hpp"

namespace genkern {

// coef (items, ridges, d, k) for X (items, n, d), y (items, n, k), ridges (count).
template <class T>
void ridge_path(const BatchView<const T>& X, const BatchView<const T>& y, const double* ridges, index_t count,
                double rcond, T* coef, int threads, const std::function<bool()>& interrupted);

struct GdMethod {
  const double* steps;  // (count): whole numbers, or inf (not with Nesterov's schedule)
  index_t count;
  double momentum;  // of heavy ball, in [0, 1)
  bool nesterov;
};

// coef (items, steps, d, k); step_size (items), nan for 1 / s_max^2; divergent (items) tells whether it diverges.
template <class T>
void gd_path(const BatchView<const T>& X, const BatchView<const T>& y, const GdMethod& method,
             const BatchView<const double>& step_size, double rcond, T* coef, bool* divergent, int threads,
             const std::function<bool()>& interrupted);

// s (items, min(n, d)), descending.
template <class T>
void singular_values(const BatchView<const T>& X, T* s, int threads, const std::function<bool()>& interrupted);

}  // namespace genkern
