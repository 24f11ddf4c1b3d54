#include "cpu/least_squares_svd.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <vector>

#include "device/spectral_filters.hpp"
#include "support/lapack.hpp"

namespace genkern {
namespace {

constexpr index_t filter_columns = 64;  // right-hand sides in one product of expand(): a few hundred KB

// C (m, n) = op(A) (m, p) B (p, n), column-major.
template <class T>
void multiply(char op, index_t m, index_t n, index_t p, const T* A, index_t lda, const T* B, index_t ldb, T beta, T* C,
              index_t ldc) {
  char plain = 'N';
  int m_ = static_cast<int>(m), n_ = static_cast<int>(n), p_ = static_cast<int>(p);
  int lda_ = static_cast<int>(lda), ldb_ = static_cast<int>(ldb), ldc_ = static_cast<int>(ldc);
  T one = 1;
  lapack<T>().gemm(&op, &plain, &m_, &n_, &p_, &one, const_cast<T*>(A), &lda_, const_cast<T*>(B), &ldb_, &beta, C,
                   &ldc_);
}

}  // namespace

template <class T>
bool Modes<T>::compute(ThinSvd<T>& svd, const MatrixView<const T>& X, const MatrixView<const T>& y, double rcond) {
  svd_ = &svd;
  n_ = X.rows;
  d_ = X.cols;
  k_ = y.cols;
  rank_ = 0;
  if (k_ > std::numeric_limits<int>::max() / 2) throw std::length_error("y has too many columns");
  if (!svd.compute(X, true)) return false;
  const T* const s = svd.scaled_s();
  while (rank_ < svd.size() && static_cast<double>(s[rank_]) > rcond * static_cast<double>(s[0])) ++rank_;

  T* const b = b_.reserve(n_ * k_);  // (n, k) column-major, each column scaled
  int* const exponents = y_exponents_.reserve(k_);
  for (index_t c = 0; c < k_; ++c) {
    const MatrixView<const T> column{y.data + c * y.col_stride, n_, 1, y.row_stride, 0};
    exponents[c] = exponent_of(column);
    const PowerOfTwo scale(-exponents[c]);
    for (index_t i = 0; i < n_; ++i) b[c * n_ + i] = static_cast<T>(scale * column(i, 0));
  }
  T* const projections = projections_.reserve(rank_ * k_);
  if (rank_ > 0 && k_ > 0) multiply('T', rank_, k_, n_, svd.u(), n_, b, n_, T(0), projections, rank_);
  return true;
}

template <class T>
void Modes<T>::expand(const double* gains, const int* shifts, index_t filters, T* coef) {
  last_ = nullptr;
  if (rank_ == 0 || k_ == 0 || d_ == 0) {
    std::fill(coef, coef + filters * d_ * k_, T(0));
    return;
  }
  const index_t together = std::max<index_t>(1, filter_columns / k_);
  T* const weights = weights_.reserve(std::min(together, filters) * k_ * rank_);
  T* const expanded = expanded_.reserve(std::min(together, filters) * k_ * d_);
  std::vector<int> shift(static_cast<std::size_t>(together));
  for (index_t first = 0; first < filters; first += together) {
    const index_t count = std::min(together, filters - first);
    for (index_t f = 0; f < count; ++f) {
      const double* const gain = gains + (first + f) * rank_;
      double largest = 0;
      for (index_t i = 0; i < rank_; ++i) largest = std::max(largest, std::isfinite(gain[i]) ? std::abs(gain[i]) : 0.0);
      int& own = shift[static_cast<std::size_t>(f)];
      std::frexp(largest, &own);
      const PowerOfTwo scale(-own);
      for (index_t c = 0; c < k_; ++c)
        for (index_t i = 0; i < rank_; ++i)
          weights[(f * k_ + c) * rank_ + i] =
              static_cast<T>((scale * gain[i]) * static_cast<double>(projections_.data()[c * rank_ + i]));
      own -= shifts[first + f];
    }
    multiply('T', d_, count * k_, rank_, svd_->vt(), svd_->size(), weights, rank_, T(0), expanded, d_);
    for (index_t f = 0; f < count; ++f)
      for (index_t c = 0; c < k_; ++c) {
        const PowerOfTwo scale(shift[static_cast<std::size_t>(f)] + y_exponents_.data()[c] - exponent());
        const T* const column = expanded + (f * k_ + c) * d_;
        T* const target = coef + (first + f) * d_ * k_ + c;
        for (index_t j = 0; j < d_; ++j) target[j * k_] = static_cast<T>(scale * static_cast<double>(column[j]));
      }
    last_ = expanded + (count - 1) * k_ * d_;
    last_shift_ = shift[static_cast<std::size_t>(count - 1)];
  }
}

template <class T>
void Modes<T>::residual_norms(const MatrixView<const T>& X, T* norms) {
  T* const b = b_.data();  // becomes the residual b - A w
  if (last_ != nullptr) {
    T* const w = weights_.reserve(d_ * k_);
    const PowerOfTwo scale(last_shift_);
    for (index_t i = 0; i < d_ * k_; ++i) w[i] = static_cast<T>(-(scale * static_cast<double>(last_[i])));
    if (n_ > 0) multiply('N', n_, k_, d_, svd_->scaled_matrix(X), n_, w, d_, T(1), b, n_);
  }
  for (index_t c = 0; c < k_; ++c) {
    double sum = 0;
    for (index_t i = 0; i < n_; ++i) sum += static_cast<double>(b[c * n_ + i]) * static_cast<double>(b[c * n_ + i]);
    norms[c] = static_cast<T>(PowerOfTwo(y_exponents_.data()[c]) * std::sqrt(sum));
  }
}

template <class T>
int ridge_gains(const Modes<T>& modes, double ridge, double* gains) {
  const ScaledRidge scaled(ridge, modes.exponent());
  for (index_t i = 0; i < modes.rank(); ++i) gains[i] = scaled.gain(static_cast<double>(modes.scaled_s()[i]));
  return scaled.shift;
}

template <class T>
int svd_lstsq(ThinSvd<T>& svd, const MatrixView<const T>& X, const MatrixView<const T>& y, double ridge, double rcond,
              T* coef, T* residual_norm, std::int32_t* rank) {
  Modes<T> modes;
  if (!modes.compute(svd, X, y, rcond)) {
    const T nan = std::numeric_limits<T>::quiet_NaN();
    std::fill(coef, coef + X.cols * y.cols, nan);
    std::fill(residual_norm, residual_norm + y.cols, nan);
    *rank = 0;
    return 2;
  }
  std::vector<double> gains(static_cast<std::size_t>(modes.rank()));
  const int shift = ridge_gains(modes, ridge, gains.data());
  modes.expand(gains.data(), &shift, 1, coef);
  *rank = static_cast<std::int32_t>(modes.rank());
  if (modes.rank() == X.rows && ridge == 0)
    std::fill(residual_norm, residual_norm + y.cols, T(0));
  else
    modes.residual_norms(X, residual_norm);
  return 0;
}

template class Modes<float>;
template class Modes<double>;
template int ridge_gains(const Modes<float>&, double, double*);
template int ridge_gains(const Modes<double>&, double, double*);
template int svd_lstsq(ThinSvd<float>&, const MatrixView<const float>&, const MatrixView<const float>&, double, double,
                       float*, float*, std::int32_t*);
template int svd_lstsq(ThinSvd<double>&, const MatrixView<const double>&, const MatrixView<const double>&, double,
                       double, double*, double*, std::int32_t*);

}  // namespace genkern
