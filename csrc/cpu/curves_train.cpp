#include "cpu/curves_train.hpp"

#include <cmath>

namespace genkern::curves {
namespace {

constexpr double shrinkage = 1e2;      // it takes in all columns from sqrt(ridge) I if they are at most so much larger
constexpr double cancellation = 1e-3;  // a block ends where the coefficients have shrunk by this factor
constexpr double refresh = 0.03;       // predictions are made anew where they have shrunk by this one
constexpr index_t most_blocks = 8;     // ... and after so many blocks

}  // namespace

void Train::begin(const Part& rhs, const Settings& settings, int threads) {
  outer_.threads = inner_.threads = threads;
  settings_ = settings;
  n = rhs.rows;
  width = 0;
  squares_ = 0;
  steady_ = blocks_ = 0;
  limit = block_ = std::clamp<index_t>(n / 4, 8, 128);
  peak_.assign(static_cast<std::size_t>(rhs.cols), 0);
  const double unit = std::isnan(settings.rcond) ? settings.unit : std::min(settings.unit, settings.rcond);
  outer_.begin(n, n, rhs, static_cast<double>(n) * std::max(unit, eps));
  augmented_ = settings.ridge > 0;
  if (augmented_) {
    Matrix nothing;
    inner_.begin(2 * n, n, nothing.zero(2 * n, rhs.cols), 0);
    residual_.copy(rhs);
  }
}

index_t Train::wanted() const { return augmented_ ? std::min(limit, n - 1 - width) : limit; }

void Train::begin_again() {
  const double root = std::sqrt(settings_.ridge), expected = 4 * std::sqrt(squares_ + settings_.ridge);
  Matrix start;
  start.reshape(n, outer_.rhs->cols);
  gemm('T', 'N', 1, outer_.Q, outer_.rhs, 0, start);
  inner_.begin_diagonal(start, root);
  augmented_ = false;
  width = 0;
  squares_ = 0;
  limit = block_;
  if (settings_.fast && (!settings_.automatic || expected < shrinkage * root)) {
    began_ = root;
    inner_.invert();
  }
}

double Train::cutoff(index_t count) const {
  return std::isnan(settings_.rcond) ? settings_.unit * static_cast<double>(std::max(n, width + count))
                                     : settings_.rcond;
}

bool Train::affordable(double s_max, double s_min) const {
  return settings_.fast && (!settings_.automatic || safety * eps * s_max < fast_error * s_min);
}

void Train::plan(const Part& F, Block& block) {
  Part columns = F;
  block.begins = block.truncated = block.doubtful = block.fresh = false;
  block.alphas.clear();
  for (;;) {
    outer_.sort(columns, sorted_);
    columns = columns.columns(0, sorted_.count);
    const index_t taken = settings_.ridge > 0 ? try_ridge(columns, block) : try_plain(columns, block);
    if (taken == columns.cols) break;
    columns = columns.columns(0, taken);
  }
  block.first = width;
  block.count = columns.cols;
  if (block.count < limit) limit = 2 * block.count;
  limit = block.truncated ? 1 : std::min(2 * limit, block_);
  width += block.count;
  squares_ += sum_of_squares(columns);
  steady_ = sorted_.fresh ? 0 : steady_ + block.count;
}

// Squared norms of the coefficients before the step and after each of its active columns.
void Train::coefficient_norms(const Factor& factor, const Step& step, Matrix& norms) {
  const index_t a = step.a, r = step.r, K = factor.u->cols;
  norms.reshape(a + 1, K);
  path_.reshape(r + a, 1);
  double* const w = path_->data;
  for (index_t k = 0; k < K; ++k) {
    std::copy(factor.u->col(k), factor.u->col(k) + r, w);
    std::fill(w + r, w + r + a, 0.0);
    norms(0, k) = dot(w, w, r);
    for (index_t j = 0; j < a; ++j) {
      const double z = step.z(j, k);
      const double *const g = step.G->col(j), *const t = step.tails->col(j);
      for (index_t i = 0; i < r; ++i) w[i] -= z * g[i];
      for (index_t i = 0; i <= j; ++i) w[r + i] += z * t[i];
      norms(j + 1, k) = dot(w, w, r) + dot(w + r, w + r, j + 1);
    }
  }
}

// How many columns until sums over the block have lost digits.
index_t Train::shrunk(const Matrix& sizes, const std::vector<index_t>& states) const {
  const index_t count = static_cast<index_t>(states.size());
  if (settings_.samples || count == 1) return count;
  index_t first = sizes->rows;
  for (index_t k = 0; k < sizes->cols; ++k) {
    double highest = peak_[static_cast<std::size_t>(k)] * peak_[static_cast<std::size_t>(k)];
    for (index_t i = 0; i < first; ++i) {
      highest = std::max(highest, sizes(i, k));
      if (sizes(i, k) < cancellation * cancellation * highest) first = i;
    }
  }
  for (index_t j = 0; j < count; ++j)
    if (states[static_cast<std::size_t>(j)] >= first) return j + 1;
  return count;
}

// Decides whether the predictions after the block are to be made anew, and of what.
void Train::freshen(Block& block, const Factor& factor) {
  const index_t last = sizes_->rows - 1;
  bool wanted = block.step.method == Method::orthogonal || ++blocks_ >= most_blocks;
  for (index_t k = 0; k < sizes_->cols; ++k) {
    double& peak = peak_[static_cast<std::size_t>(k)];
    for (index_t i = 0; i <= last; ++i) peak = std::max(peak, std::sqrt(sizes_(i, k)));
    wanted = wanted || std::sqrt(sizes_(last, k)) < refresh * peak;
  }
  if (!wanted) return;
  Matrix& u = const_cast<Factor&>(factor).u;
  factor.fresh(u);
  block.u.copy(u);
  block.fresh = true;
  blocks_ = 0;
  for (index_t k = 0; k < u->cols; ++k)
    peak_[static_cast<std::size_t>(k)] = std::sqrt(dot(u->col(k), u->col(k), u->rows));
}

// A block in `block`, or how many columns to try instead.
index_t Train::try_plain(const Part& F, Block& block) {
  Factor& factor = outer_;
  Step& step = block.step;
  const index_t count = F.cols;
  const bool fresh = sorted_.fresh;
  if (fresh && factor.inverted) throw Restart{};
  const double s_max = std::sqrt(squares_ + sum_of_squares(F));
  after_.copy_from(factor.condition);
  if (fresh) after_.update(factor.place(sorted_));
  bool doubtful = false;
  if (!factor.inverted)
    doubtful = settings_.always_svd || !(s_max * cutoff(count) <= svd_margin * after_.s_min);
  else if (settings_.automatic && !(safety * eps * s_max <= 100 * fast_error * began_))
    throw Restart{};
  if (doubtful && count > 1) return 1;
  if (fresh)
    factor.rising(sorted_, step);
  else
    factor.dependent(sorted_.A, sorted_.active, step);
  step.count(count);
  const index_t a = step.a, K = factor.rhs->cols;
  if (settings_.samples) {
    sizes_.zero(1, 0);
    block.norms.reshape(a + 1, 0);
    block.train.reshape(a + 1, 0);
  } else {
    coefficient_norms(factor, step, block.norms);
    sizes_.copy(block.norms);
    const index_t shorter = shrunk(sizes_, step.states);
    if (shorter < count) return shorter;
    block.train.reshape(a + 1, K);
    path_.reshape(n, 1);
    for (index_t k = 0; k < K; ++k) {
      double* const e = path_->data;
      std::copy(factor.residual->col(k), factor.residual->col(k) + n, e);
      block.train(0, k) = dot(e, e, n);
      for (index_t j = 0; j < a; ++j) {
        if (fresh) {
          const double z = step.z(j, k);
          const double* const q = step.q->col(j);
          for (index_t i = 0; i < n; ++i) e[i] -= z * q[i];
        }
        block.train(j + 1, k) = fresh ? dot(e, e, n) : block.train(0, k);
      }
    }
  }
  if (settings_.samples) {
    if (fresh) {
      block.rows.copy(step.q);
    } else {
      factor.back(step.G, moves_);
      factor.to_columns(moves_, block.rows);
    }
  }
  factor.commit(step);
  block.full = factor.start == 0;
  if (factor.inverted) {
    block.condition = s_max / began_;
  } else {
    const double before = after_.s_min;
    if (!fresh) after_.update(factor.triangle());
    factor.condition.copy_from(after_);
    block.condition = after_.s_max / (fresh || count == 1 ? after_.s_min : before);
    if (factor.rank() == 0) block.condition = 1;
  }
  if (block.full && !settings_.samples)
    for (index_t k = 0; k < K; ++k)
      for (index_t i = fresh ? a : 0; i <= a; ++i) block.train(i, k) = 0;
  freshen(block, factor);
  if (block.fresh && !settings_.samples)
    for (index_t k = 0; k < K; ++k) block.norms(a, k) = dot(block.u->col(k), block.u->col(k), block.u->rows);
  if (doubtful) {
    truncate(block, cutoff(count));
  } else if (!factor.inverted && (block.full || (!fresh && steady_ + count >= block_)) && factor.rank() > 0 &&
             affordable(s_max, factor.condition.s_min)) {
    began_ = factor.condition.s_min;
    factor.invert();
  }
  return count;
}

// Solves the width after a block of one column by the SVD of L, if that cuts or is asked for.
void Train::truncate(Block& block, double cut) {
  const Factor& factor = outer_;
  const Condition& condition = factor.condition;
  const index_t r = factor.rank(), K = factor.rhs->cols;
  if (r == 0 || (!settings_.always_svd && condition.s_max * cut <= svd_margin * condition.s_min)) return;
  const Part U = factor.triangle();
  Matrix lower;  // U with zeros below, since tpqrt leaves what was there
  lower.zero(r, r);
  for (index_t j = 0; j < r; ++j) std::copy(U.col(j), U.col(j) + j + 1, lower->col(j));
  if (!svd_.compute({lower->data, r, r, r, 1}, true)) return;
  const double* const s = svd_.s();
  index_t kept = 0;
  while (kept < r && s[kept] > cut * s[0]) ++kept;
  const Part left{const_cast<double*>(svd_.u()), r, kept, r};
  Matrix right;  // (r, kept) V / s
  right.reshape(r, kept);
  for (index_t j = 0; j < kept; ++j)
    for (index_t i = 0; i < r; ++i) right(i, j) = svd_.vt()[i * r + j] / s[j];
  block.inverse.reshape(r, r);
  gemm('N', 'T', 1, right, left, 0, block.inverse);
  block.truncated = block.fresh = true;
  blocks_ = most_blocks;  // the next block starts from these predictions, which are not those of u
  block.condition = kept > 0 ? s[0] / s[kept - 1] : 1;
  block.full = block.full && kept == r;
  Matrix C, projected, dropped;
  C.reshape(r, K);
  gemm('T', 'N', 1, factor.basis(), factor.rhs, 0, C);
  block.u.reshape(r, K);
  gemm('N', 'N', 1, block.inverse, C, 0, block.u);
  if (settings_.samples) return;
  projected.reshape(kept, K);
  gemm('T', 'N', 1, left, C, 0, projected);
  gemm('N', 'N', -1, left, projected, 1, C);
  dropped.copy(factor.residual);
  gemm('N', 'N', 1, factor.basis(), C, 1, dropped);
  const index_t last = block.step.a;
  for (index_t k = 0; k < K; ++k) {
    block.norms(last, k) = dot(block.u->col(k), block.u->col(k), r);
    block.train(last, k) = block.full ? 0 : dot(dropped->col(k), dropped->col(k), n);
  }
}

void Train::apply(const Part& S, Matrix& out) const {
  Matrix back, top;
  if (settings_.ridge == 0) {
    outer_.back(S, back);
    outer_.to_columns(back, out);
    return;
  }
  inner_.back(S, back);
  if (augmented_) {
    top.reshape(n, S.cols);
    gemm('N', 'N', 1, inner_.basis().block(0, 0, n, inner_.rank()), back, 0, top);
    back.swap(top);
  }
  out.reshape(n, S.cols);
  gemm('N', 'N', 1, outer_.Q, back, 0, out);
}

}  // namespace genkern::curves
