// One nested curve on its way: blocks, chunks, and what is left for a second pass. Private to curves.cpp and
// curves_second_pass.cpp.
#pragma once

#include <cmath>
#include <limits>
#include <memory>

#include "cpu/curves_sides.hpp"

namespace genkern::curves {

constexpr index_t chunk_rows = 256;
constexpr index_t second_pass = 256;     // columns of a second pass taken together
constexpr double least_ridge = 1e-290;   // below it a ridge is 0
constexpr double few_numbers = 1 << 22;  // predictions and dual coefficients of few listed widths
constexpr double none = std::numeric_limits<double>::quiet_NaN();

// A point whose coefficients are summed up or solved for once all columns have gone by.
struct Later {
  index_t point, width;
  Matrix alpha;  // (n, K), or empty: an SVD of the columns decides
};

// A listed width whose coefficients F_p^T alpha are applied in a second pass over the features.
struct Listed {
  index_t point, width;
  double condition;
  Matrix alpha;  // (n, K)
};

// A block on its way, with the points that it is measured at.
struct Slot {
  Block block;
  Path path;
  std::vector<index_t> states, points, places;  // states in order, without repeats; place of each point's state
  bool ready = false;
};

class Curve {
 public:
  Curve(const Problem& problem, int threads, const std::function<bool()>& interrupted)
      : p_(problem), threads_(threads), interrupted_(interrupted) {}

  void run();

 private:
  index_t predictions() const;

  void blocks();

  void forget_test_side();

  // Whether so few widths are listed that S is not worth its cost.
  bool is_few() const;

  // Blocks that end at listed widths, whose coefficients are kept as F_p^T alpha.
  void few_blocks();

  void keep(const Block& block, index_t t);

  // Predictions at the listed widths: columns once more, each block within one listed width and the next.
  void apply_listed();

  // Looks for Ctrl-C outside of parallel regions too.
  void poll() const;

  void note_threshold(const Block& block);

  // The next block, or none.
  void lead(Slot& slot);

  // The points of the block beyond those that are measured already.
  void list(Slot& slot);

  // Adds up the chunks and writes the points.
  void reduce(Slot& slot);

  void write(const Sums& sums, index_t s, index_t t, index_t q, index_t k);

  void finish(const Later& entry);

  // With a ridge: the SVD of the first columns, and all test points at once.
  void solve(const Later& entry);

  void record(const Matrix& prediction, index_t t, double condition);

  // A power of two that brings the first columns, or the root of the ridge, near 1, where squares could leave the
  // range.
  void find_scale();

  const Problem& p_;
  Problem scaled_;
  const int threads_;
  const std::function<bool()>& interrupted_;
  Train train_;
  Labels labels_;
  std::vector<std::unique_ptr<Chunk>> chunks_;
  Slot slots_[2];
  std::vector<double> peak_;
  std::vector<Later> later_;
  Matrix F_;
  Buffer<double> scratch_;
  double scale_ = 1, threshold_ = none;
  index_t since_ = 0;
  bool restart_ = false, few_ = false;
  std::vector<Listed> listed_;
};

}  // namespace genkern::curves
