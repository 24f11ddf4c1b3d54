// The basis of the columns of a nested curve: which of them are new directions, and how near to dependent they are.
#include <cmath>
#include <limits>
#include <vector>

#include "cpu/curves_factor.hpp"

namespace genkern::curves {
namespace {

double norm(const double* x, index_t count) { return std::sqrt(dot(x, x, count)); }

void subtract(double* x, const double* y, double factor, index_t count) {
  for (index_t i = 0; i < count; ++i) x[i] -= factor * y[i];
}

// Scales to length 1 and returns the length.
double unit(double* x, index_t count) {
  const double length = norm(x, count);
  for (index_t i = 0; i < count; ++i) x[i] /= length;
  return length;
}

// The vector with ones in front of what it was, of length r.
void grow(Matrix& vector, index_t r) {
  const index_t old = vector->rows;
  Matrix grown;
  grown.reshape(r, 1);
  std::fill(grown->data, grown->data + (r - old), 1 / std::sqrt(static_cast<double>(r)));
  if (old > 0) std::copy(vector->data, vector->data + old, grown->data + (r - old));
  vector.swap(grown);
}

}  // namespace

void Condition::update(const Part& U) {
  const index_t r = U.rows;
  if (r == 0) return;
  grow(small, r);
  grow(large, r);
  double inverse = 0, length = 0;
  for (int iteration = 0; iteration < 3; ++iteration) {
    trsv('U', 'T', U, small->data);  // L^-1, then L^-T, each to length 1: squares must not leave the range
    inverse = unit(small->data, r);
    trsv('U', 'N', U, small->data);
    inverse = std::sqrt(inverse) * std::sqrt(norm(small->data, r));
    trmv('U', 'N', U, large->data);  // L^T, then L
    length = unit(large->data, r);
    trmv('U', 'T', U, large->data);
    length = std::sqrt(length) * std::sqrt(norm(large->data, r));
    unit(small->data, r);
    unit(large->data, r);
  }
  if (std::isfinite(inverse) && std::isfinite(length) && length > 0) {
    s_min = 1 / inverse;
    s_max = length;
  } else {
    s_min = 0;
    small.reshape(0, 1);
    large.reshape(0, 1);
  }
}

void Condition::copy_from(const Condition& other) {
  small.copy(other.small);
  large.copy(other.large);
  s_max = other.s_max;
  s_min = other.s_min;
}

void Factor::sort(const Part& F, Sorted& s) {
  const index_t b = F.cols, r = rank();
  s.active.clear();
  s.fresh = false;
  s.count = b;
  std::vector<double> norms(static_cast<std::size_t>(b));
  for (index_t j = 0; j < b; ++j) norms[static_cast<std::size_t>(j)] = norm(F.col(j), rows);
  const auto all = [&](index_t count) {
    for (index_t j = 0; j < count; ++j)
      if (norms[static_cast<std::size_t>(j)] > 0) s.active.push_back(j);
  };
  s.q.reshape(rows, 0);
  s.W.reshape(0, b);
  if (whole) {
    s.A.copy(F);
    return all(b);
  }
  const Part basis = this->basis();
  s.A.reshape(r, b);
  gemm('T', 'N', 1, basis, F, 0, s.A);
  if (start == 0) return all(b);
  Matrix& E = moved_;
  E.copy(F);
  gemm('N', 'N', -1, basis, s.A, 1, E);
  again_.reshape(r, b);
  gemm('T', 'N', 1, basis, E, 0, again_);
  gemm('N', 'N', -1, basis, again_, 1, E);
  for (index_t j = 0; j < b; ++j) subtract(s.A->col(j), again_->col(j), -1, r);

  Matrix W;
  W.zero(b, b);
  s.q.reshape(rows, b);
  index_t found = 0;
  double* const h = vector_.reserve(b + r);
  double* const g = h + b;
  bool dependent_before = false;
  for (index_t j = 0; j < b; ++j) {
    const double size_j = norms[static_cast<std::size_t>(j)];
    if (size_j == 0) continue;
    double* const e = E->col(j);
    const Part q = s.q->columns(0, found);
    for (int pass = 0; pass < 2 && found > 0; ++pass) {
      gemv('T', 1, q, e, 0, h);
      gemv('N', -1, q, h, 1, e);
      subtract(W->col(j), h, -1, found);
    }
    double length = norm(e, rows);
    if (length < 0.1 * size_j) {  // what cancelled may have left components in the basis
      for (int pass = 0; pass < 2; ++pass) {
        gemv('T', 1, basis, e, 0, g);
        gemv('T', 1, q, e, 0, h);
        gemv('N', -1, basis, g, 1, e);
        gemv('N', -1, q, h, 1, e);
        subtract(s.A->col(j), g, -1, r);
        subtract(W->col(j), h, -1, found);
      }
      length = norm(e, rows);
    }
    if (length > tolerance * size_j && found < start) {
      if (dependent_before) {
        s.count = j;
        break;
      }
      W(found, j) = length;
      double* const target = s.q->col(found++);
      for (index_t i = 0; i < rows; ++i) target[i] = e[i] / length;
    } else if (found > 0) {
      s.count = j;
      break;
    } else {
      dependent_before = true;
    }
  }
  s.fresh = found > 0;
  s.W.reshape(found, b);
  for (index_t j = 0; j < b; ++j)
    for (index_t i = 0; i < found; ++i) s.W(i, j) = W(i, j);
  all(s.count);
}

}  // namespace genkern::curves
