// The train side of nested curves: what a block of columns does to the factorization F = Q L V^T.
//
// Q (rows, size) and U = L^T (size, size), upper triangular, are filled from their last column backwards, so that a new
// direction in front keeps U a triangle: the parts in use begin at `start`. V is never formed. Instead of U there may
// be J = L^-1 Q^T, an inverse square root of F F^T, which acts on columns themselves where Q is square. For a block
// with X = L^-1 Q^T F_b and an upper triangle H^T (H is stored, a lower one),
//   new directions, F_b = Q A + q W:  H^T = W,                  z = q^T rhs,
//   dependent columns:                H H^T = I + X^T X,        z = G^T u,
// the coefficients after its first i columns are [u - sum_j G_j z_j; sum_j (H^-T)_j z_j] with G = X H^-T. L takes
// dependent columns in by an orthogonal transformation of [L, A]; J as J -= X (I + H)^-T H^-1 X^T J (Andrews 1968),
// where H comes from a QR of [I; X] unless X is small: the Gram matrix squares what is large in X. Cost of b columns:
// new 8 n r b, orthogonal 3 n^2 b, woodbury 6 n^2 b flops.
#pragma once

#include <functional>
#include <limits>
#include <vector>

#include "support/matrix.hpp"

namespace genkern::curves {

enum class Method : int { none, qr, orthogonal, woodbury, svd };

// Estimates of the extreme singular values of a growing triangle, by power iterations that go on from block to block.
struct Condition {
  Matrix small, large;  // (r, 1) vectors
  double s_max = 0, s_min = std::numeric_limits<double>::infinity();

  void update(const Part& U);
  void copy_from(const Condition& other);
};

// What a block does. Of its columns, a are active (the others are 0).
struct Step {
  Method method = Method::none;
  index_t r = 0, a = 0;
  std::vector<index_t> active;  // (a) places of the active columns
  std::vector<index_t> states;  // (columns) number of active columns up to each, by count()
  Matrix X, H, z, G, tails;     // (r, a), (a, a), (a, K), (r, a), (a, a) upper: H^-T
  Matrix q;                     // (rows, a) new directions
  Matrix A;                     // (r, a) coordinates
  Matrix correction;            // (r, a) of woodbury: S += (T + D) correction^T
  Matrix V, T;                  // of orthogonal: (a, r) and (block, r), reflectors of tpqrt

  void count(index_t columns);
};

// Columns sorted into new directions, dependent ones and zeros; as many leading ones as are of one kind (zeros go with
// either).
struct Sorted {
  index_t count = 0;
  bool fresh = false;           // new directions
  std::vector<index_t> active;  // columns that are not 0
  Matrix A, W, q;               // (r, b), (g, b), (rows, g): F = Q A + q W
};

class Factor {
 public:
  index_t rows = 0, size = 0, start = 0;
  double tolerance = 0;  // a column whose part outside the basis is relatively smaller is no new direction
  Matrix Q, U, J;
  bool inverted = false, whole = false;  // J in the place of U; J acts on columns, not on their coordinates
  Matrix rhs, residual;                  // (rows, K)
  int threads = 1;                       // for products with J, where no others are at work
  Matrix u;                              // (r, K)
  Condition condition;

  void begin(index_t rows, index_t size, const Part& rhs, double tolerance);
  void begin_diagonal(const Part& rhs, double entry);  // L = entry I, Q = I

  index_t rank() const { return size - start; }
  Part triangle() const { return U->block(start, start, rank(), rank()); }
  Part basis() const { return Q->columns(start, rank()); }

  void sort(const Part& F, Sorted& sorted);
  // Writes the new columns in front; returns the larger triangle, which counts from commit() on.
  Part place(const Sorted& sorted);
  void rising(const Sorted& sorted, Step& step);
  void dependent(const Part& A, const std::vector<index_t>& active, Step& step);
  void commit(Step& step);
  void fresh(Matrix& u) const;                                  // L^-1 Q^T rhs
  void back(const Part& B, Matrix& out) const;                  // L^-T B, in coordinates (or whole)
  void to_columns(const Part& coordinates, Matrix& out) const;  // Q times these (or these, if whole)
  void invert();

 private:
  void finish(Step& step);
  void orthonormal(Step& step);
  void slices(index_t size, const std::function<void(index_t, index_t)>& body) const;
  Matrix coordinates_, again_, moved_, inner_, gram_, stacked_, factors_;
  Buffer<double> work_, vector_;
};

}  // namespace genkern::curves
