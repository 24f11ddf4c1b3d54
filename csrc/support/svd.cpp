#include "support/svd.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <string>

#include "support/lapack.hpp"

namespace genkern {
namespace {

constexpr index_t int_max = std::numeric_limits<int>::max();

// target (n, d) column-major = 2^exponent source, read along the shorter stride.
template <class T>
void copy_scaled(const MatrixView<const T>& source, int exponent, T* target) {
  const index_t n = source.rows, d = source.cols;
  const PowerOfTwo scale(exponent);
  constexpr index_t tile = 64;
  if (std::abs(source.row_stride) <= std::abs(source.col_stride)) {
    for (index_t j = 0; j < d; ++j)
      for (index_t i = 0; i < n; ++i) target[j * n + i] = static_cast<T>(scale * source(i, j));
    return;
  }
  for (index_t jb = 0; jb < d; jb += tile)
    for (index_t i = 0; i < n; ++i)
      for (index_t j = jb; j < std::min(jb + tile, d); ++j) target[j * n + i] = static_cast<T>(scale * source(i, j));
}

}  // namespace

PowerOfTwo::PowerOfTwo(int exponent) {
  exponent = std::clamp(exponent, -2140, 2046);  // beyond, every double becomes 0 or inf all the same
  const int half = exponent / 2;
  // Downwards the larger part goes second, so that only the second product can round.
  first_ = std::ldexp(1.0, exponent < 0 ? half : exponent - half);
  second_ = std::ldexp(1.0, exponent < 0 ? exponent - half : half);
}

template <class T>
int exponent_of(const MatrixView<const T>& view) {
  T largest = 0;
  for (index_t i = 0; i < view.rows; ++i)
    for (index_t j = 0; j < view.cols; ++j) largest = std::max(largest, std::abs(view(i, j)));
  int exponent = 0;
  std::frexp(largest, &exponent);
  return exponent;
}

template <class T>
const T* ThinSvd<T>::scaled_matrix(const MatrixView<const T>& X) {
  T* const a = a_.reserve(n_ * d_);
  copy_scaled(X, -exponent_, a);
  return a;
}

template <class T>
bool ThinSvd<T>::compute(const MatrixView<const T>& X, bool vectors) {
  n_ = X.rows;
  d_ = X.cols;
  r_ = std::min(n_, d_);
  exponent_ = exponent_of(X);
  if (r_ == 0) return true;
  const index_t needed = (vectors ? 4 * std::min(r_, int_max) * r_ : 0) + 128 * (n_ + d_);
  if (needed > int_max)
    throw std::length_error("X of shape (" + std::to_string(n_) + ", " + std::to_string(d_) +
                            ") is too large for an SVD by LAPACK with 32-bit integers");
  T* const scaled = scaled_s_.reserve(r_);
  if (vectors) {
    u_.reserve(n_ * r_);
    vt_.reserve(r_ * d_);
  }
  scaled_matrix(X);
  if (divide_and_conquer(vectors) != 0) {
    scaled_matrix(X);
    if (qr_iteration(vectors) != 0) return false;
  }
  const PowerOfTwo scale(exponent_);
  T* const s = s_.reserve(r_);
  for (index_t i = 0; i < r_; ++i) s[i] = static_cast<T>(scale * scaled[i]);
  return true;
}

// LAPACK reports the size as a T, which for float may have been rounded down.
template <class T>
int ThinSvd<T>::workspace(T query, bool vectors) {
  const double least = vectors ? 4.0 * static_cast<double>(r_) * static_cast<double>(r_) + 7.0 * r_ : 0.0;
  const double size = std::max(static_cast<double>(query) * (1 + 1e-6) + 8, least + 8.0 * (n_ + d_));
  const int lwork = static_cast<int>(std::min(size, static_cast<double>(int_max)));
  work_.reserve(lwork);
  return lwork;
}

template <class T>
int ThinSvd<T>::divide_and_conquer(bool vectors) {
  char job = vectors ? 'S' : 'N';
  int n = static_cast<int>(n_), d = static_cast<int>(d_), ldvt = static_cast<int>(r_), info = 0, lwork = -1;
  int* const iwork = iwork_.reserve(8 * r_);
  T query = 0;
  const auto gesdd = lapack<T>().gesdd;
  gesdd(&job, &n, &d, a_.data(), &n, scaled_s_.data(), u_.data(), &n, vt_.data(), &ldvt, &query, &lwork, iwork, &info);
  if (info != 0) return info;
  lwork = workspace(query, vectors);
  gesdd(&job, &n, &d, a_.data(), &n, scaled_s_.data(), u_.data(), &n, vt_.data(), &ldvt, work_.data(), &lwork, iwork,
        &info);
  return info;
}

template <class T>
int ThinSvd<T>::qr_iteration(bool vectors) {
  char job = vectors ? 'S' : 'N';
  int n = static_cast<int>(n_), d = static_cast<int>(d_), ldvt = static_cast<int>(r_), info = 0, lwork = -1;
  T query = 0;
  const auto gesvd = lapack<T>().gesvd;
  gesvd(&job, &job, &n, &d, a_.data(), &n, scaled_s_.data(), u_.data(), &n, vt_.data(), &ldvt, &query, &lwork, &info);
  if (info != 0) return info;
  lwork = workspace(query, vectors);
  gesvd(&job, &job, &n, &d, a_.data(), &n, scaled_s_.data(), u_.data(), &n, vt_.data(), &ldvt, work_.data(), &lwork,
        &info);
  return info;
}

template class ThinSvd<float>;
template class ThinSvd<double>;
template int exponent_of(const MatrixView<const float>&);
template int exponent_of(const MatrixView<const double>&);

}  // namespace genkern
