// A block of columns with a positive ridge; see curves_train.hpp.
#include <cmath>

#include "cpu/curves_train.hpp"

namespace genkern::curves {

index_t Train::try_ridge(const Part& F, Block& block) {
  Factor &outer = outer_, &inner = inner_;
  Step& step = block.step;
  const index_t count = F.cols, start = outer.start, K = outer.rhs->cols;
  const index_t g = sorted_.fresh ? sorted_.W->rows : 0;
  if (g > 0 && !augmented_ && count > 1) return 1;
  const double s_max = std::sqrt(squares_ + sum_of_squares(F));
  after_.copy_from(outer.condition);
  if (g > 0) after_.update(outer.place(sorted_));
  block.doubtful = settings_.always_svd || !(s_max * cutoff(count) <= svd_margin * after_.s_min);
  if (block.doubtful && count > 1) return 1;

  // Coordinates in the basis with the new directions, whose right-hand sides appear now.
  const Part q = sorted_.q->columns(0, g);
  coordinates_.zero(n, count);
  Matrix found;
  found.reshape(g, K);
  gemm('T', 'N', 1, q, outer.rhs, 0, found);
  for (index_t j = 0; j < count; ++j) {
    std::copy(sorted_.A->col(j), sorted_.A->col(j) + (n - start), coordinates_->col(j) + start);
    for (index_t i = 0; i < g; ++i) coordinates_(start - 1 - i, j) = sorted_.W(i, j);
  }
  for (index_t k = 0; k < K; ++k)
    for (index_t i = 0; i < start; ++i) {
      const index_t direction = start - 1 - i;
      inner.rhs(i, k) = inner.residual(i, k) = direction < g ? found(direction, k) : 0.0;
    }
  const Part extended = outer.Q->columns(start - g, n - start + g);
  for (index_t j = 0; j < g; ++j) std::copy(q.col(j), q.col(j) + n, outer.Q->col(start - 1 - j));

  if (augmented_) {
    columns_.zero(2 * n, count);
    copy(coordinates_, columns_->block(0, 0, n, count));
    for (index_t j = 0; j < count; ++j) columns_(n + width + j, j) = std::sqrt(settings_.ridge);
    inner.sort(columns_, inner_sorted_);
    if (inner_sorted_.count < count) return inner_sorted_.count;
    inner.place(inner_sorted_);
    inner.rising(inner_sorted_, step);
    mapped_.reshape(n, step.a);
    gemm('N', 'N', 1, extended, step.q->block(start - g, 0, n - start + g, step.a), 0, mapped_);
    augmented_states(block);
  } else {
    if (g > 0) inner.fresh(inner.u);
    inner.dependent(coordinates_, sorted_.active, step);
    update_states(block);
    if (settings_.samples) {
      inner.back(step.G, moves_);
      mapped_.reshape(n, step.a);
      gemm('N', 'N', 1, extended, moves_->block(start - g, 0, n - start + g, step.a), 0, mapped_);
    }
  }
  step.count(count);
  const index_t shorter = shrunk(sizes_, step.states);
  if (shorter < count) return shorter;
  if (settings_.samples) block.rows.copy(mapped_);

  if (augmented_) gemm('N', 'N', -1, mapped_, step.z, 1, residual_);
  if (g > 0) {
    if (!augmented_ && inner.inverted) began_ = std::sqrt(settings_.ridge);
    gemm('T', 'N', 1, q, outer.residual, 0, found);
    gemm('N', 'N', -1, q, found, 1, outer.residual);
    outer.start -= g;
    outer.condition.copy_from(after_);
  }
  inner.commit(step);
  const double whole = std::sqrt(s_max * s_max + settings_.ridge);
  if (inner.inverted) {
    block.condition = whole / began_;
    if (settings_.automatic && !(safety * eps * block.condition <= 100 * fast_error)) throw Restart{};
  } else {
    // Directions that no column has yet are apart from the rest: their entries of L do not count.
    const index_t seen = augmented_ ? inner.start : outer.start;
    const double before = width > 0 ? inner.condition.s_min : std::sqrt(settings_.ridge);
    inner.condition.update(inner.U->block(seen, seen, n - seen, n - seen));
    const double least = count > 1 ? std::min(before, inner.condition.s_min) : inner.condition.s_min;
    block.condition = seen < n ? inner.condition.s_max / least : 1;
    if (!augmented_ && width + count >= n - 1 && seen < n && affordable(whole, inner.condition.s_min)) {
      began_ = inner.condition.s_min;
      inner.invert();
    }
  }
  block.full = outer.start == 0;
  freshen(block, inner);
  return count;
}

// Up to n - 1 columns: the coefficients are those of the columns themselves, the residual is followed.
void Train::augmented_states(Block& block) {
  const Step& step = block.step;
  const index_t a = step.a, K = outer_.rhs->cols;
  if (settings_.samples) {
    sizes_.zero(1, 0);
    return;
  }
  coefficient_norms(inner_, step, block.norms);
  sizes_.copy(block.norms);
  block.train.reshape(a + 1, K);
  path_.reshape(n, 1);
  double* const e = path_->data;
  for (index_t k = 0; k < K; ++k) {
    std::copy(residual_->col(k), residual_->col(k) + n, e);
    block.train(0, k) = dot(e, e, n);
    for (index_t j = 0; j < a; ++j) {
      const double z = step.z(j, k);
      const double* const q = mapped_->col(j);
      for (index_t i = 0; i < n; ++i) e[i] -= z * q[i];
      block.train(j + 1, k) = dot(e, e, n);
    }
  }
}

// From n columns on: alpha = L^-T u gives residuals ridge alpha and coefficients F^T alpha, of squared norm
// |u|^2 - ridge |alpha|^2 unless that cancels.
void Train::update_states(Block& block) {
  constexpr double lost = 1e-4;
  const Step& step = block.step;
  const index_t a = step.a, K = outer_.rhs->cols, start = outer_.start;
  const double ridge = settings_.ridge;
  if (settings_.samples) {
    sizes_.zero(1, 0);
    return;
  }
  coefficient_norms(inner_, step, block.norms);
  sizes_.copy(block.norms);
  const index_t g = sorted_.fresh ? sorted_.W->rows : 0;
  const Part q = sorted_.q->columns(0, g);
  Matrix outside, part, alpha;
  outside.copy(outer_.residual);
  part.reshape(g, K);
  gemm('T', 'N', 1, q, outside, 0, part);
  gemm('N', 'N', -1, q, part, 1, outside);
  inner_.back(inner_.u, alpha);
  inner_.back(step.G, moves_);
  block.train.reshape(a + 1, K);
  // Before a new direction its right-hand side counts already: that state is not measured.
  std::vector<char> cancels(static_cast<std::size_t>(a + 1), 0);
  const auto walk = [&](const auto& visit) {
    path_.copy(alpha);
    for (index_t i = 0; i <= a; ++i) {
      for (index_t k = 0; k < K && i > 0; ++k) {
        const double z = step.z(i - 1, k);
        const double* const move = moves_->col(i - 1);
        double* const w = path_->col(k);
        for (index_t l = 0; l < n; ++l) w[l] -= z * move[l];
      }
      visit(i);
    }
  };
  walk([&](index_t i) {
    for (index_t k = 0; k < K; ++k) {
      const double penalty = ridge * dot(path_->col(k), path_->col(k), n), rest = sizes_(i, k) - penalty;
      if (rest < lost * sizes_(i, k) && (i > 0 || g == 0)) cancels[static_cast<std::size_t>(i)] = 1;
      block.norms(i, k) = std::max(rest, 0.0);
      block.train(i, k) = dot(outside->col(k), outside->col(k), n) + ridge * penalty;
    }
  });
  if (std::find(cancels.begin(), cancels.end(), 1) == cancels.end()) return;
  const Part extended = outer_.Q->columns(start - g, n - start + g);
  block.alphas.resize(static_cast<std::size_t>(a + 1));
  walk([&](index_t i) {
    if (cancels[static_cast<std::size_t>(i)] == 0) return;
    Matrix& out = block.alphas[static_cast<std::size_t>(i)];
    out.reshape(n, K);
    gemm('N', 'N', 1, extended, path_->block(start - g, 0, n - start + g, K), 0, out);
  });
}

}  // namespace genkern::curves
