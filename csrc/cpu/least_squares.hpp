// Batched minimum-norm least squares: interface of csrc/cpu/least_squares.inc.
#pragma once

#include <functional>

#include "support/view.hpp"

namespace genkern {

// min ||X w - y||^2 + ridge ||w||^2 for every item of a batch; ridge 0 means the minimum-norm solution.
template <class T>
struct LstsqProblem {
  BatchView<const T> X;           // (items, n, d)
  BatchView<const T> y;           // (items, n, k)
  BatchView<const double> ridge;  // (items, 1, 1), >= 0
  double rcond;                   // singular values at or below rcond * s_max count as zero
  T* coef;                        // (items, d, k), contiguous
  std::int32_t* rank;             // (items)
  T* residual_norm;               // (items, k)
  std::int8_t* status;            // (items): 0 ok, 1 non-finite input, 2 did not converge
};

struct LeastSquaresKernels {
  void (*lstsq_f32)(const LstsqProblem<float>&, int threads, const std::function<bool()>& interrupted);
  void (*lstsq_f64)(const LstsqProblem<double>&, int threads, const std::function<bool()>& interrupted);
};

}  // namespace genkern
