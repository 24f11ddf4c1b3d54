// Descent on a margin loss, batched: interface of csrc/cpu/logistic.inc.
#pragma once

#include <atomic>
#include <functional>

#include "device/descent_rule.hpp"
#include "support/view.hpp"

namespace genkern {

struct DescentRule {
  MarginLoss loss;
  DescentAlgorithm algorithm;
  bool sqrt_schedule;  // eta / sqrt(t) instead of eta
  double momentum;     // of heavy ball
  double p;            // of mirror descent
};

// The iterates of every item at the given step counts.
template <class T>
struct LogisticProblem {
  BatchView<const T> X;         // (items, n, d)
  BatchView<const T> y;         // (items, n, 1): -1 or +1
  BatchView<const T> init;      // (items, d, 1)
  BatchView<const double> eta;  // (items, 1, 1)
  const double* steps;          // (count): not decreasing
  index_t count;
  DescentRule rule;
  bool continued;                  // follow the modified flow after a burn-in
  double rtol;                     // its error at most, or status 3
  T* coef;                         // (items, count, d)
  T *log_loss, *margin, *norm;     // (items, count)
  double* error;                   // (items, count)
  std::int8_t* status;             // (items): 0 fine, 1 non-finite input, 2 diverged, 3 error above rtol
  std::atomic<double>* work_done;  // share of the call, for reports of progress
};

struct LogisticKernels {
  void (*path_f32)(const LogisticProblem<float>&, int threads, const std::function<bool()>& interrupted);
  void (*path_f64)(const LogisticProblem<double>&, int threads, const std::function<bool()>& interrupted);
  // The weights -l'(u) alone, for tests of their accuracy.
  void (*weights_f32)(MarginLoss, const float* u, float* weights, index_t count);
  void (*weights_f64)(MarginLoss, const double* u, double* weights, index_t count);
};

}  // namespace genkern
