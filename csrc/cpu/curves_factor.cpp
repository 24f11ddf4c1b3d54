#include <cmath>
#include <limits>
#include <vector>

#include "cpu/curves_factor.hpp"
#include "support/thread_pool.hpp"

namespace genkern::curves {
namespace {

constexpr double small_gram = 1e3;  // squared norm of X up to which I + X^T X is formed

}  // namespace

void Step::count(index_t columns) {
  states.assign(static_cast<std::size_t>(columns), 0);
  std::size_t next = 0;
  for (index_t j = 0; j < columns; ++j) {
    if (next < active.size() && active[next] == j) ++next;
    states[static_cast<std::size_t>(j)] = static_cast<index_t>(next);
  }
}

void Factor::begin(index_t rows_, index_t size_, const Part& rhs_, double tolerance_) {
  rows = rows_;
  size = start = size_;
  tolerance = tolerance_;
  Q.zero(rows, size);
  U.zero(size, size);
  rhs.copy(rhs_);
  residual.copy(rhs_);
  u.reshape(0, rhs_.cols);
  inverted = whole = false;
  condition.small.reshape(0, 1);
  condition.large.reshape(0, 1);
  condition.s_max = 0;
  condition.s_min = std::numeric_limits<double>::infinity();
}

void Factor::begin_diagonal(const Part& rhs_, double entry) {
  begin(rhs_.rows, rhs_.rows, rhs_, 0);
  start = 0;
  for (index_t i = 0; i < size; ++i) {
    Q(i, i) = 1;
    U(i, i) = entry;
  }
  u.copy(rhs_);
  for (index_t j = 0; j < u->cols; ++j)
    for (index_t i = 0; i < u->rows; ++i) u(i, j) /= entry;
}

Part Factor::place(const Sorted& s) {
  const index_t g = s.W->rows, r = rank();
  for (index_t j = 0; j < g; ++j) {
    const index_t column = s.active[static_cast<std::size_t>(j)], row = start - 1 - j;
    for (index_t i = 0; i < row; ++i) U(row, i) = 0;
    for (index_t i = 0; i < r; ++i) U(row, start + i) = s.A(i, column);
    for (index_t i = 0; i < g; ++i) U(row, start - 1 - i) = i <= j ? s.W(i, column) : 0.0;
  }
  return U->block(start - g, start - g, r + g, r + g);
}

// Parts of fixed size, so that the bits do not depend on the number of threads.
void Factor::slices(index_t size, const std::function<void(index_t, index_t)>& body) const {
  constexpr index_t slice = 256;
  parallel_for((size + slice - 1) / slice, threads,
               [&](index_t i, int) { body(i * slice, std::min(slice, size - i * slice)); });
}

void Factor::finish(Step& step) {
  const index_t a = step.a;
  step.G.copy(step.X);
  trsm('R', 'L', 'T', step.H, step.G);
  step.tails.zero(a, a);
  for (index_t i = 0; i < a; ++i) step.tails(i, i) = 1;
  trsm('L', 'L', 'T', step.H, step.tails);
}

void Factor::rising(const Sorted& s, Step& step) {
  const index_t a = static_cast<index_t>(s.active.size()), r = rank();
  step.method = Method::qr;
  step.active = s.active;
  step.r = r;
  step.a = a;
  step.X.reshape(r, a);
  step.H.zero(a, a);
  for (index_t j = 0; j < a; ++j) {
    const index_t column = s.active[static_cast<std::size_t>(j)];
    std::copy(s.A->col(column), s.A->col(column) + r, step.X->col(j));
    for (index_t i = 0; i <= j; ++i) step.H(j, i) = s.W(i, column);
  }
  step.A.copy(step.X);
  trsm('L', 'U', 'T', triangle(), step.X);
  step.q.copy(s.q->columns(0, a));
  step.z.reshape(a, residual->cols);
  gemm('T', 'N', 1, step.q, residual, 0, step.z);
  finish(step);
}

void Factor::dependent(const Part& A, const std::vector<index_t>& active, Step& step) {
  const index_t a = static_cast<index_t>(active.size()), r = rank();
  step.method = inverted ? Method::woodbury : Method::orthogonal;
  step.active = active;
  step.r = r;
  step.a = a;
  step.A.reshape(A.rows, a);
  for (index_t j = 0; j < a; ++j) {
    const double* const column = A.col(active[static_cast<std::size_t>(j)]);
    std::copy(column, column + A.rows, step.A->col(j));
  }
  if (inverted) {
    step.X.reshape(r, a);
    slices(r, [&](index_t first, index_t count) {
      gemm('N', 'N', 1, J->block(first, 0, count, J->cols), step.A, 0, step.X->block(first, 0, count, a));
    });
  } else {
    step.X.copy(step.A);
    trsm('L', 'U', 'T', triangle(), step.X);
  }
  step.q.reshape(rows, 0);
  step.H.zero(a, a);
  for (index_t i = 0; i < a; ++i) step.H(i, i) = 1;
  bool small = sum_of_squares(step.X) < small_gram;
  if (small) {
    gemm('T', 'N', 1, step.X, step.X, 1, step.H);
    small = cholesky(step.H);
    for (index_t j = 0; j < a; ++j)
      for (index_t i = 0; i < j; ++i) step.H(i, j) = 0;
  }
  if (small)
    finish(step);
  else
    orthonormal(step);
  step.z.reshape(a, u->cols);
  gemm('T', 'N', 1, step.G, u, 0, step.z);
  if (!inverted) return;
  // X (I + H)^-T = G - G (I + H)^-T
  inner_.copy(step.G);
  for (index_t i = 0; i < a; ++i) step.H(i, i) += 1;
  trsm('R', 'L', 'T', step.H, inner_);
  for (index_t i = 0; i < a; ++i) step.H(i, i) -= 1;
  step.correction.copy(step.G);
  for (index_t i = 0; i < r * a; ++i) step.correction->data[i] -= inner_->data[i];
}

// [I; X] = [tails; G] H^T by reflectors: G of length at most 1 however large X is.
void Factor::orthonormal(Step& step) {
  const index_t a = step.a, r = step.r;
  gram_.zero(a, a);
  step.tails.zero(a, a);
  for (index_t i = 0; i < a; ++i) gram_(i, i) = step.tails(i, i) = 1;
  stacked_.copy(step.X);
  factors_.reshape(reflector_block, a);
  append_qr(gram_, stacked_, factors_, work_);
  step.G.zero(r, a);
  apply_qr('N', stacked_, factors_, step.tails, step.G, work_);
  for (index_t i = 0; i < a; ++i) {
    const double sign = gram_(i, i) < 0 ? -1 : 1;
    for (index_t j = 0; j < a; ++j) {
      step.H(j, i) = j >= i ? sign * gram_(i, j) : 0.0;
      step.tails(j, i) = j <= i ? sign * step.tails(j, i) : 0.0;
    }
    for (index_t j = 0; j < r; ++j) step.G(j, i) *= sign;
  }
}

void Factor::commit(Step& step) {
  const index_t a = step.a, r = step.r, K = u->cols;
  if (a == 0) return;
  if (step.method == Method::qr) {
    gemm('N', 'N', -1, step.q, step.z, 1, residual);
    Matrix grown;
    grown.reshape(r + a, K);
    copy(u, grown->block(a, 0, r, K));
    gemm('N', 'N', -1, step.G, step.z, 1, grown->block(a, 0, r, K));
    inner_.reshape(a, K);
    gemm('N', 'N', 1, step.tails, step.z, 0, inner_);
    for (index_t j = 0; j < a; ++j) {
      for (index_t k = 0; k < K; ++k) grown(a - 1 - j, k) = inner_(j, k);
      std::copy(step.q->col(j), step.q->col(j) + rows, Q->col(start - 1 - j));
    }
    u.swap(grown);
    start -= a;
  } else if (step.method == Method::orthogonal) {
    step.V.reshape(a, r);
    for (index_t i = 0; i < r; ++i)
      for (index_t j = 0; j < a; ++j) step.V(j, i) = step.A(i, j);
    step.T.reshape(reflector_block, r);
    append_qr(triangle(), step.V, step.T, work_);
    fresh(u);
  } else {
    inner_.reshape(a, J->cols);
    slices(J->cols, [&](index_t first, index_t count) {
      const Part part = J->columns(first, count), inner = inner_->columns(first, count);
      gemm('T', 'N', 1, step.G, part, 0, inner);
      gemm('N', 'N', -1, step.correction, inner, 1, part);
    });
    gemm('N', 'N', -1, step.correction, step.z, 1, u);
  }
}

void Factor::fresh(Matrix& out) const {
  const index_t r = rank(), K = rhs->cols;
  if (inverted && whole) {
    out.reshape(r, K);
    gemm('N', 'N', 1, J, rhs, 0, out);
    return;
  }
  Matrix coordinates;
  coordinates.reshape(r, K);
  gemm('T', 'N', 1, basis(), rhs, 0, coordinates);
  if (inverted) {
    out.reshape(r, K);
    gemm('N', 'N', 1, J, coordinates, 0, out);
  } else {
    trsm('L', 'U', 'T', triangle(), coordinates);
    out.swap(coordinates);
  }
}

void Factor::back(const Part& B, Matrix& out) const {
  if (inverted) {
    out.reshape(J->cols, B.cols);
    gemm('T', 'N', 1, J, B, 0, out);
  } else {
    out.copy(B);
    trsm('L', 'U', 'N', triangle(), out);
  }
}

void Factor::to_columns(const Part& coordinates, Matrix& out) const {
  if (inverted && whole) {
    out.copy(coordinates);
    return;
  }
  out.reshape(rows, coordinates.cols);
  gemm('N', 'N', 1, basis(), coordinates, 0, out);
}

void Factor::invert() {
  const index_t r = rank();
  whole = start == 0;
  J.zero(r, whole ? rows : r);
  for (index_t j = 0; j < J->cols; ++j)
    for (index_t i = 0; i < r; ++i) J(i, j) = whole ? Q(j, start + i) : (i == j ? 1.0 : 0.0);
  trsm('L', 'U', 'T', triangle(), J);
  inverted = true;
}

}  // namespace genkern::curves
