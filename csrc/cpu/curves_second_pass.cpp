// Second passes over the columns of a nested curve: few listed widths, norms that were put off, SVDs with a ridge.
#include "cpu/curves_run.hpp"
#include "support/isa.hpp"
#include "support/thread_pool.hpp"

namespace genkern::curves {

void Curve::forget_test_side() {
  const index_t K = predictions(), k = p_.targets.cols;
  std::fill(p_.out.test_risk, p_.out.test_risk + p_.count * K, none);
  std::fill(p_.out.wrong, p_.out.wrong + p_.count * p_.draws, none);
  std::fill(p_.out.bias, p_.out.bias + p_.count * k, none);
  std::fill(p_.out.variance, p_.out.variance + p_.count * k, none);
  std::fill(p_.out.error, p_.out.error + p_.count, none);
}

bool Curve::is_few() const {
  if (p_.settings.samples || p_.settings.ridge > 0 || !p_.settings.automatic) return false;
  const double n = static_cast<double>(p_.n), m = static_cast<double>(p_.m), K = static_cast<double>(p_.rhs.cols);
  const double count = static_cast<double>(p_.count);
  double sum = 0;
  for (index_t t = 0; t < p_.count; ++t) sum += static_cast<double>(p_.points[t]);
  const double apart = 2 * m * K * sum + 4 * n * n * K * count;
  const double all = 4 * m * n * static_cast<double>(p_.points[p_.count - 1]);
  return 2 * apart < all && (m + n) * K * count < few_numbers;
}

void Curve::few_blocks() {
  for (;;) {
    Slot& slot = slots_[0];
    lead(slot);
    if (!slot.ready) return;
    const Block& block = slot.block;
    note_threshold(block);
    if (!slot.points.empty()) keep(block, slot.points.back());
    poll();
  }
}

void Curve::keep(const Block& block, index_t t) {
  const index_t state = block.step.a, K = p_.rhs.cols;
  Listed entry{t, block.first + block.count, block.condition, {}};
  const Factor& factor = train_.outer();
  Matrix u, back;
  if (block.truncated) {
    u.copy(block.u);
    back.reshape(u->rows, K);
    gemm('T', 'N', 1, block.inverse, u, 0, back);
    entry.alpha.reshape(p_.n, K);
    gemm('N', 'N', 1, factor.basis(), back, 0, entry.alpha);
  } else {
    factor.fresh(u);
    factor.back(u, back);
    factor.to_columns(back, entry.alpha);
  }
  for (index_t c = 0; c < K; ++c) {
    p_.out.coef_norm[t * K + c] = scale_ * std::sqrt(dot(u->col(c), u->col(c), u->rows));
    p_.out.train_risk[t * K + c] = block.train(state, c) / static_cast<double>(p_.n);
  }
  p_.out.method[t] = static_cast<std::int8_t>(block.truncated ? Method::svd : block.step.method);
  listed_.push_back(std::move(entry));
  if (p_.done != nullptr) ++*p_.done;
}

void Curve::apply_listed() {
  const index_t K = p_.rhs.cols, entries = static_cast<index_t>(listed_.size());
  const index_t chunks = (p_.m + chunk_rows - 1) / chunk_rows;
  Matrix alphas, weights, predictions, prediction;
  std::vector<Matrix> columns(static_cast<std::size_t>(chunks));
  std::vector<Buffer<double>> scratch(static_cast<std::size_t>(chunks));
  alphas.reshape(p_.n, entries * K);
  for (index_t e = 0; e < entries; ++e) copy(listed_[static_cast<std::size_t>(e)].alpha, alphas->columns(e * K, K));
  predictions.zero(p_.m, entries * K);
  index_t active = 0;  // the first entry that has the columns at hand
  for (index_t first = 0; active < entries;) {
    const index_t width = listed_[static_cast<std::size_t>(active)].width;
    const index_t count = std::min(second_pass, width - first), used = (entries - active) * K;
    F_.reshape(p_.n, count);
    p_.columns->train(first, F_, scratch_);
    for (index_t i = 0; i < p_.n * count && scale_ != 1; ++i) F_->data[i] *= scale_;
    weights.reshape(count, used);
    gemm('T', 'N', 1, F_, alphas->columns(active * K, used), 0, weights);
    parallel_for(
        chunks, threads_,
        [&](index_t c, int) {
          const index_t row = c * chunk_rows, rows = std::min(chunk_rows, p_.m - row);
          Matrix& T = columns[static_cast<std::size_t>(c)];
          T.reshape(count, rows);
          p_.columns->test(first, row, T, scratch[static_cast<std::size_t>(c)]);
          for (index_t j = 0; j < count; ++j) {
            const bool dead = dot(F_->col(j), F_->col(j), p_.n) == 0;
            for (index_t i = 0; i < rows; ++i) T(j, i) = dead ? 0 : T(j, i) * scale_;
          }
          gemm('T', 'N', 1, T, weights, 1, predictions->block(row, active * K, rows, used));
        },
        interrupted_);
    first += count;
    if (first == width) ++active;
  }
  for (index_t e = 0; e < entries; ++e) {
    prediction.copy(predictions->columns(e * K, K));
    record(prediction, listed_[static_cast<std::size_t>(e)].point, listed_[static_cast<std::size_t>(e)].condition);
  }
}

void Curve::finish(const Later& entry) {
  const index_t K = p_.rhs.cols;
  if (entry.alpha->cols == 0) return solve(entry);
  std::vector<double> squares(static_cast<std::size_t>(K), 0);
  Matrix part;
  for (index_t first = 0; first < entry.width; first += second_pass) {
    const index_t count = std::min(second_pass, entry.width - first);
    F_.reshape(p_.n, count);
    p_.columns->train(first, F_, scratch_);
    part.reshape(count, K);
    gemm('T', 'N', scale_, F_, entry.alpha, 0, part);
    for (index_t k = 0; k < K; ++k) squares[static_cast<std::size_t>(k)] += dot(part->col(k), part->col(k), count);
    poll();
  }
  for (index_t k = 0; k < K; ++k)
    p_.out.coef_norm[entry.point * K + k] = scale_ * std::sqrt(squares[static_cast<std::size_t>(k)]);
}

void Curve::solve(const Later& entry) {
  const index_t n = p_.n, w = entry.width, K = predictions(), t = entry.point;
  const bool samples = p_.settings.samples;
  Matrix F, labels, coef, right, prediction, product;
  F.reshape(n, w);
  p_.columns->train(0, F, scratch_);
  ThinSvd<double> svd;
  if (!svd.compute({F->data, n, w, 1, n}, true)) return;
  const double* const s = svd.s();
  const double cut =
      std::isnan(p_.settings.rcond) ? p_.settings.unit * static_cast<double>(std::max(n, w)) : p_.settings.rcond;
  index_t kept = 0;
  while (kept < svd.size() && s[kept] > cut * s[0]) ++kept;
  const Part U{const_cast<double*>(svd.u()), n, kept, n};
  right.reshape(w, kept);
  for (index_t j = 0; j < kept; ++j)
    for (index_t i = 0; i < w; ++i) right(i, j) = svd.vt()[i * svd.size() + j];
  // Width curves: coefficients V f(s) U^T rhs; sample curves: U f(s) V^T labels.
  const Part y = samples ? p_.labels.block(0, 0, w, K) : p_.rhs;
  labels.copy(y);
  product.reshape(kept, K);
  if (samples)
    gemm('T', 'N', 1, right, labels, 0, product);
  else
    gemm('T', 'N', 1, U, labels, 0, product);
  for (index_t k = 0; k < K; ++k)
    for (index_t i = 0; i < kept; ++i) product(i, k) *= s[i] / (s[i] * s[i] + p_.settings.ridge);
  coef.reshape(samples ? n : w, K);
  if (samples)
    gemm('N', 'N', 1, U, product, 0, coef);
  else
    gemm('N', 'N', 1, right, product, 0, coef);
  gemm(samples ? 'T' : 'N', 'N', 1, F, coef, -1, labels);
  prediction.zero(p_.m, K);
  if (samples) {
    gemm('T', 'N', 1, p_.rhs, coef, 0, prediction);
  } else {
    Matrix T;
    for (index_t first = 0; first < w; first += second_pass) {
      const index_t count = std::min(second_pass, w - first);
      T.reshape(count, p_.m);
      p_.columns->test(first, 0, T, scratch_);
      for (index_t j = 0; j < count; ++j)
        if (dot(F->col(first + j), F->col(first + j), n) == 0)
          for (index_t i = 0; i < p_.m; ++i) T(j, i) = 0;
      gemm('T', 'N', 1, T, coef->block(first, 0, count, K), 1, prediction);
    }
  }
  for (index_t k = 0; k < K; ++k) {
    p_.out.coef_norm[t * K + k] = std::sqrt(dot(coef->col(k), coef->col(k), coef->rows));
    p_.out.train_risk[t * K + k] =
        dot(labels->col(k), labels->col(k), labels->rows) / static_cast<double>(labels->rows);
  }
  const double ridge = p_.settings.ridge;
  const double condition = kept > 0 ? std::sqrt((s[0] * s[0] + ridge) / (s[kept - 1] * s[kept - 1] + ridge)) : 1;
  record(prediction, t, condition);
  p_.out.method[t] = static_cast<std::int8_t>(Method::svd);
}

void Curve::record(const Matrix& prediction, index_t t, double condition) {
  const index_t K = prediction->cols, k = p_.targets.cols;
  Sums sums;
  sums.reshape(K, p_.draws, k, 1);
  Buffer<double> scratch;
  Matrix targets;
  targets.copy(p_.targets);
  kernels().curves.measure({p_.m, K, k, p_.draws, prediction->data, targets->data, p_.classify, sums.risk->data,
                            sums.square->data, sums.wrong->data, sums.bias->data, sums.variance->data,
                            scratch.reserve(2 * p_.m)});
  const double m = static_cast<double>(p_.m);
  double error = condition;
  for (index_t c = 0; c < K; ++c) {
    const double risk = sums.risk(c, 0) / m;
    p_.out.test_risk[t * K + c] = std::isfinite(risk) ? risk : none;
    const double share = (condition + 1) * std::sqrt(sums.square(c, 0) / sums.risk(c, 0));
    error = std::isnan(share) ? share : std::max(error, share);
  }
  p_.out.error[t] = safety * eps * error;
  write(sums, 0, t, p_.draws, k);
}

}  // namespace genkern::curves
