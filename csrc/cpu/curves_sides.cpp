#include "cpu/curves_sides.hpp"

#include <cmath>

#include "support/isa.hpp"

namespace genkern::curves {

Part Side::update(const Block& block, const Part& T) {
  const Step& step = block.step;
  const index_t a = step.a, r = step.r, rows = T.cols, n = S_->rows;
  Part columns = T;
  if (a < T.rows) {
    active_.reshape(a, rows);
    for (index_t i = 0; i < rows; ++i)
      for (index_t j = 0; j < a; ++j) active_(j, i) = T(step.active[static_cast<std::size_t>(j)], i);
    columns = active_;
  }
  D_.reshape(a, rows);
  if (a == 0) return D_;
  const Part S = used(r);
  if (step.method == Method::qr) {
    copy(columns, D_);
    gemm('T', 'N', -1, step.X, S, 1, D_);
    trsm('L', 'L', 'N', step.H, D_);
    for (index_t i = 0; i < rows; ++i)
      for (index_t j = 0; j < a; ++j) S_(n - r - 1 - j, i) = columns(j, i);
    return D_;
  }
  double check = 0;  // 0 unless an entry is not finite: its zero weights in earlier columns would spoil these
  for (index_t i = 0; i < a * rows; ++i) check += 0 * columns.data[i];
  if (check == 0) {
    gemm('T', 'N', 1, step.tails, columns, 0, D_);
    gemm('T', 'N', -1, step.G, S, 1, D_);
  } else {
    copy(columns, D_);
    gemm('T', 'N', -1, step.X, S, 1, D_);
    trsm('L', 'L', 'N', step.H, D_);
  }
  if (step.method == Method::orthogonal) {
    apply_qr('T', step.V, step.T, S, columns, work_);
  } else {
    for (index_t i = 0; i < rows; ++i)
      for (index_t j = 0; j < a; ++j) columns(j, i) += D_(j, i);
    gemm('N', 'N', 1, step.correction, columns, 1, S);
  }
  return D_;
}

void Sums::reshape(index_t K, index_t q, index_t k, index_t states) {
  risk.zero(K, states);
  square.zero(K, states);
  wrong.zero(q, states);
  bias.zero(k, states);
  variance.zero(k, states);
  last.zero(K, 1);
}

void Sums::add(const Sums& other) {
  const auto sum = [](const Matrix& to, const Matrix& from) {
    for (index_t i = 0; i < to->rows * to->cols; ++i) to->data[i] += from->data[i];
  };
  sum(risk, other.risk);
  sum(square, other.square);
  sum(wrong, other.wrong);
  sum(bias, other.bias);
  sum(variance, other.variance);
  sum(last, other.last);
}

void Chunk::begin(const Problem& problem, index_t row_, index_t rows_) {
  row = row_;
  rows = rows_;
  targets_.copy(problem.targets.block(row, 0, rows, problem.targets.cols));
  prediction_.zero(rows, problem.draws * problem.targets.cols);
  if (!problem.settings.samples) side_.begin(problem.n, rows);
}

void Chunk::measure(const Problem& problem, const Part& prediction, index_t place) {
  kernels().curves.measure({rows, prediction.cols, targets_->cols, problem.draws, prediction.data, targets_->data,
                            problem.classify, sums.risk->col(place), sums.square->col(place), sums.wrong->col(place),
                            sums.bias->col(place), sums.variance->col(place), scratch_.reserve(2 * rows)});
}

void Chunk::take(const Problem& problem, const Block& block, const Path& path, const std::vector<index_t>& states) {
  const Step& step = block.step;
  const index_t a = step.a, K = prediction_->cols;
  if (block.begins) begin(problem, row, rows);
  sums.reshape(K, problem.draws, targets_->cols, static_cast<index_t>(states.size()));
  if (problem.settings.samples) {
    D_.reshape(rows, a);
    gemm('T', 'N', 1, problem.rhs.columns(row, rows), block.rows, 0, D_);
  } else {
    T_.reshape(block.count, rows);
    problem.columns->test(block.first, row, T_, scratch_);
    for (index_t i = 0; i < block.count * rows && problem.scale != 1; ++i) T_->data[i] *= problem.scale;
    const Part D = side_.update(block, T_);
    D_.reshape(rows, a);
    for (index_t i = 0; i < rows; ++i)
      for (index_t j = 0; j < a; ++j) D_(i, j) = D(j, i);
  }
  if (path.fresh != nullptr) {
    fresh_.reshape(rows, K);
    if (problem.settings.samples)
      gemm('T', 'N', 1, problem.rhs.columns(row, rows), *path.fresh, 0, fresh_);
    else
      gemm('T', 'N', 1, side_.used((*path.fresh)->rows), *path.fresh, 0, fresh_);
  }
  index_t done = 0, place = 0;
  for (const index_t state : states) {
    for (; done < state; ++done)
      kernels().curves.advance(prediction_->data, D_->col(done), path.z.data + done, path.z.ld, rows, K);
    measure(problem, path.fresh != nullptr && state == a ? *fresh_ : *prediction_, place++);
  }
  if (path.fresh != nullptr)
    prediction_.swap(fresh_);
  else
    gemm('N', 'N', 1, D_->columns(done, a - done), path.z.below(done), 1, prediction_);
  for (index_t k = 0; k < K; ++k) sums.last(k, 0) = dot(prediction_->col(k), prediction_->col(k), rows);
}

void Labels::begin(const Problem& problem) {
  const index_t K = problem.labels.cols;
  side_.begin(problem.n, K);
  coef_.zero(problem.n, K);
  residual_.zero(1, K);
  alpha_.reshape(0, K);
}

void Labels::take(const Problem& problem, const Train& train, Block& block) {
  const Step& step = block.step;
  const index_t a = step.a, r = step.r, K = problem.labels.cols, d = problem.n;
  const double ridge = train.settings().ridge;
  if (block.begins) begin(problem);
  T_.reshape(block.count, K);
  for (index_t k = 0; k < K; ++k)
    for (index_t j = 0; j < block.count; ++j) T_(j, k) = problem.labels(block.first + j, k);
  block.ignored.zero(block.count, K);
  for (index_t j = 0, next = 0; j < block.count; ++j) {
    const bool active = next < a && step.active[static_cast<std::size_t>(next)] == j;
    next += active ? 1 : 0;
    for (index_t k = 0; k < K; ++k)
      block.ignored(j, k) = (j > 0 ? block.ignored(j - 1, k) : 0) + (active ? 0 : T_(j, k) * T_(j, k));
  }
  block.weights.copy(side_.update(block, T_));
  const bool augmented = block.step.method == Method::qr && ridge > 0;
  block.norms.reshape(a + 1, K);
  block.train.reshape(a + 1, K);
  if (augmented) {
    grown_.zero(a + r, K);
    copy(alpha_, grown_->block(a, 0, r, K));
  }
  for (index_t k = 0; k < K; ++k) {
    double* const w = coef_->col(k);
    double& residual = residual_(0, k);
    for (index_t i = 0; i <= a; ++i) {
      if (i > 0) {
        const double z = block.weights(i - 1, k);
        const double* const row = block.rows->col(i - 1);
        for (index_t l = 0; l < d; ++l) w[l] += z * row[l];
        if (augmented) {
          const double *const G = step.G->col(i - 1), *const tail = step.tails->col(i - 1);
          double* const alpha = grown_->col(k);
          for (index_t l = 0; l < r; ++l) alpha[a + l] -= z * G[l];
          for (index_t l = 0; l < i; ++l) alpha[a - 1 - l] += z * tail[l];
        } else if (step.method != Method::qr) {
          residual += z * z;
        }
      }
      const double squares = dot(w, w, d);
      block.norms(i, k) = squares;
      if (augmented)
        block.train(i, k) = ridge * ridge * dot(grown_->col(k), grown_->col(k), a + r);
      else
        block.train(i, k) = ridge > 0 ? std::max(residual - ridge * squares, 0.0) : residual;
    }
  }
  if (augmented) alpha_.swap(grown_);
  for (index_t k = 0; k < K && block.count > 0; ++k) residual_(0, k) += block.ignored(block.count - 1, k);
  if (!block.fresh) return;
  if (block.truncated) {
    Matrix back, S;
    S.copy(side_.used(block.inverse->rows));
    back.reshape(S->rows, K);
    gemm('T', 'N', 1, block.inverse, S, 0, back);
    coef_.reshape(d, K);
    gemm('N', 'N', 1, train.outer().basis(), back, 0, coef_);
    for (index_t k = 0; k < K; ++k) trmv('U', 'N', train.outer().triangle(), back->col(k));
    for (index_t k = 0; k < K; ++k) {
      double lost = 0;
      for (index_t i = 0; i < S->rows; ++i) {
        const double difference = S(i, k) - back(i, k);
        lost += difference * difference;
      }
      block.train(a, k) += lost;
    }
  } else {
    train.apply(side_.used(block.u->rows), coef_);
  }
  for (index_t k = 0; k < K; ++k) block.norms(a, k) = dot(coef_->col(k), coef_->col(k), d);
  block.coef.copy(coef_);
}

}  // namespace genkern::curves
