// Nested risk curves: predictions T_p F_p^+ rhs for growing numbers p of columns, and what is measured of them.
//
// Width curves: columns are features, (n) on the training side and (m) on the test side; right-hand sides are targets
// and draws of noise. Sample curves are the dual problem: columns are training points (d), with one row of targets on
// the test side, and the right-hand sides are the test points. See curves_factor.hpp for the algorithms and their cost.
//
// A block of columns is planned on the training side while the test points, in chunks of fixed size, take in the block
// before: the bits do not depend on the number of threads.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>

#include "cpu/curves_train.hpp"

namespace genkern::curves {

// Where columns come from, in float64. Called from several threads at once.
class Columns {
 public:
  virtual ~Columns() = default;
  // Columns [p, p + count) of the training side to F (n, count).
  virtual void train(index_t p, const Part& F, Buffer<double>& scratch) const = 0;
  // Rows [row, row + rows) of columns [p, p + count) of the test side to T (count, rows).
  virtual void test(index_t p, index_t row, const Part& T, Buffer<double>& scratch) const = 0;
};

// Of one curve at one ridge, contiguous: (t, K), (t, q) or (t, k) by points.
struct Output {
  double *train_risk, *test_risk, *coef_norm, *wrong, *bias, *variance, *error, *threshold;
  std::int8_t* method;
};

struct Problem {
  const Columns* columns = nullptr;
  index_t n = 0, m = 0;  // rows of a column; test points
  Part rhs;              // (n, K), of sample curves (n, m)
  Part targets;          // (m, k)
  Part labels;           // of sample curves (N, q k): targets of the training points
  index_t draws = 1;
  bool classify = false;
  const index_t* points = nullptr;  // increasing numbers of columns at which to measure
  index_t count = 0;
  double scale = 1;  // of the columns, a power of two
  Settings settings;
  Output out{};
  std::atomic<index_t>* done = nullptr;  // points measured so far
};

void run(const Problem& problem, int threads, const std::function<bool()>& interrupted);

// Test points of one chunk with their predictions; see curves.inc.
struct Measure {
  index_t rows, columns, targets_count, draws;  // columns = draws targets_count
  const double* prediction;                     // (rows, columns)
  const double* targets;                        // (rows, targets_count)
  bool classify;
  double *risk, *square, *wrong, *bias, *variance;  // sums over rows: (columns), (columns), (draws), (k), (k)
  double* scratch;                                  // (2 rows)
};

}  // namespace genkern::curves

namespace genkern {

struct CurvesKernels {
  // prediction (rows, columns) += d (rows) z (columns)^T, z with a stride.
  void (*advance)(double* prediction, const double* d, const double* z, index_t stride, index_t rows, index_t columns);
  void (*measure)(const curves::Measure&);
};

}  // namespace genkern
