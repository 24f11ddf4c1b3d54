// Batched hard-margin problems: interface of csrc/cpu/margin.inc.
#pragma once

#include <functional>

#include "support/view.hpp"

namespace genkern {

// min ||w||^2 / 2 with y_i <x_i, w> >= 1 for every item of a batch.
template <class T>
struct MarginProblem {
  BatchView<const T> X;  // (items, n, d)
  BatchView<const T> y;  // (items, n, 1): -1 and +1
  double tol;            // of the relative gap
  index_t max_iter;      // steps of the active set
  T* coef;               // (items, d), contiguous
  T* margin;             // (items)
  T* dual;               // (items, n)
  bool* support;         // (items, n)
  double* gap;           // (items)
  bool* separable;       // (items)
  std::int8_t* status;   // (items): 0 ok, 1 non-finite input, 2 gap above tol
};

struct MarginKernels {
  void (*max_margin_f32)(const MarginProblem<float>&, int threads, const std::function<bool()>& interrupted);
  void (*max_margin_f64)(const MarginProblem<double>&, int threads, const std::function<bool()>& interrupted);
};

}  // namespace genkern
