// The train side of a nested curve: takes in columns a block at a time, decides how, and says what the test side is to
// do.
//
// Plain (ridge 0): one Factor with the basis of the columns. Ridge: the minimum-norm problem on [F, sqrt(ridge) I];
// `outer` finds the rank of F and gives coordinates, `inner` works on these: up to n - 1 columns by new directions of
// columns with the rows sqrt(ridge) I below, from n columns on by dependent columns from L = sqrt(ridge) I. Errors are
// estimated as `safety` eps times a condition number, and decide between the orthogonal and the woodbury form; where
// the condition number comes near 1 / rcond, an SVD of L decides what is cut off.
#pragma once

#include "cpu/curves_factor.hpp"
#include "support/svd.hpp"

namespace genkern::curves {

constexpr double eps = 0x1p-52, safety = 2;
constexpr double fast_error = 1e-10;  // of the woodbury form where it takes over, by its estimate
constexpr double svd_margin = 0.1;    // an SVD decides once the condition number exceeds this share of 1 / rcond

// A column was not what the woodbury form had assumed: go through all columns again without it.
struct Restart {};

struct Settings {
  double ridge = 0, rcond = 0, unit = eps;  // rcond NaN: unit max(n, p)
  bool automatic = true, fast = true, always_svd = false;
  bool samples = false;  // the dual problem: rows are wanted, norms are not
};

// One step as the test side sees it.
struct Block {
  Step step;
  index_t first = 0, count = 0;  // columns
  double condition = 0;
  bool full = false;       // full row rank after it
  bool begins = false;     // forget what came before
  bool truncated = false;  // an SVD has cut (one column only)
  bool doubtful = false;   // with a ridge: an SVD of the columns so far is to decide what is cut off
  bool fresh = false;      // predictions after it are S u
  Matrix norms, train;     // (a + 1, K) squared norms of the coefficients and of the training residual
  Matrix rows;             // (n, a) of the dual problem: z = rows^T rhs
  Matrix weights;          // (a, K) of the dual problem: D^T, what the rows contribute to each row of targets
  Matrix ignored;  // (count, K) of the dual problem: sums of squared targets of inputs of zeros, column by column
  Matrix coef;     // (n, K) of the dual problem: fresh coefficients after it
  Matrix u;        // (r, K) fresh coefficients after it
  Matrix inverse;  // (r, r) of truncated: pseudo-inverse of L with its cutoff
  std::vector<Matrix> alphas;  // with a ridge, after each column whose norm has lost its digits: F_p^T alpha; (n, K)
};

class Train {
 public:
  index_t n = 0, width = 0, limit = 0;

  void begin(const Part& rhs, const Settings& settings, int threads);
  // How many columns to offer at most; begin_again() first if it is 0.
  index_t wanted() const;
  void begin_again();
  // Takes in as many of the columns F (n, b) as make one step.
  void plan(const Part& F, Block& block);
  // S L^-1 Q^T for S^T (r, m): rows of the operator from right-hand sides to predictions, as columns (n, m).
  void apply(const Part& S, Matrix& out) const;
  const Factor& outer() const { return outer_; }
  const Settings& settings() const { return settings_; }
  bool augmented() const { return augmented_; }

 private:
  index_t try_plain(const Part& F, Block& block);
  index_t try_ridge(const Part& F, Block& block);
  void augmented_states(Block& block);
  void update_states(Block& block);
  double cutoff(index_t count) const;
  index_t shrunk(const Matrix& sizes, const std::vector<index_t>& states) const;
  void freshen(Block& block, const Factor& factor);
  void truncate(Block& block, double cutoff);
  bool affordable(double s_max, double s_min) const;
  void coefficient_norms(const Factor& factor, const Step& step, Matrix& norms);

  Settings settings_;
  Factor outer_, inner_;
  bool augmented_ = false;
  index_t steady_ = 0, block_ = 0, blocks_ = 0;
  double squares_ = 0, began_ = 0;
  std::vector<double> peak_;
  Sorted sorted_, inner_sorted_;
  Condition after_;
  Matrix residual_, coordinates_, columns_, path_, moves_, mapped_, sizes_;
  ThinSvd<double> svd_;
};

}  // namespace genkern::curves
