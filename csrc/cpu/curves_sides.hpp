// The test side of nested curves: a chunk of test points, and the row of targets of a sample curve.
#pragma once

#include "cpu/curves.hpp"

namespace genkern::curves {

// Takes in columns T^T (count, rows) of a block: returns D^T (a, rows) and updates S^T (n, rows), filled from its last
// row backwards as U is. Destroys T.
class Side {
 public:
  void begin(index_t n, index_t rows) { S_.zero(n, rows); }
  Part update(const Block& block, const Part& T);
  Part used(index_t r) const { return S_->below(S_->rows - r); }

 private:
  Matrix S_, active_, D_;
  Buffer<double> work_;
};

// What a block contributes to predictions: pred_i = pred_0 + sum_{j <= i} d_j z_j^T, d_j over test points.
struct Path {
  Part z;                         // (a, K)
  const Matrix* fresh = nullptr;  // (r, K): predictions after it are S fresh; of sample curves (n, K): rhs^T fresh
};

// Sums of the listed states of a block over the points of a chunk.
struct Sums {
  Matrix risk, square, wrong, bias, variance;  // (K, s), (K, s), (q, s), (k, s), (k, s)
  Matrix last;                                 // (K, 1) squares after the block

  void reshape(index_t K, index_t q, index_t k, index_t states);
  void add(const Sums& other);
};

class Chunk {
 public:
  index_t row = 0, rows = 0;
  Sums sums;

  void begin(const Problem& problem, index_t row, index_t rows);
  void take(const Problem& problem, const Block& block, const Path& path, const std::vector<index_t>& states);

 private:
  void measure(const Problem& problem, const Part& prediction, index_t place);
  Side side_;
  Matrix targets_, prediction_, fresh_, T_, D_;
  Buffer<double> scratch_;
};

// The targets of a sample curve as the rows of a test side of their own.
class Labels {
 public:
  void begin(const Problem& problem);
  // Fills the block's norms, train (without `ignored`), weights and fresh coefficients.
  void take(const Problem& problem, const Train& train, Block& block);

 private:
  Side side_;
  Matrix coef_, residual_, alpha_, T_, grown_;  // (d, K), (1, K), (r, K)
};

}  // namespace genkern::curves
