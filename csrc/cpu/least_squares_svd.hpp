// Least squares by a singular value decomposition, one problem at a time: what every spectral filter needs.
//
// Problem: coef = V diag(gain) U^T y over the singular values s > rcond s_max of X (n, d), y (n, k); the gain is
//   1/s for the minimum-norm solution, s / (s^2 + ridge) for ridge regression, filters of csrc/device for paths.
// Numerics: X, each column of y and the gains are scaled by powers of two to numbers near 1 and the result is
//   scaled back in double, so that neither data near the ends of T's range nor an extreme ridge over- or
//   underflows on the way; filters are evaluated in double, products are made in T by BLAS.
// Cost: the SVD, then 2 n r k flops for U^T y and 2 d r k for each filter.
#pragma once

#include "support/svd.hpp"

namespace genkern {

// The kept modes of one problem.
template <class T>
class Modes {
 public:
  // X and y finite. False if the SVD does not converge. `svd` must stay as it is while this is in use.
  bool compute(ThinSvd<T>& svd, const MatrixView<const T>& X, const MatrixView<const T>& y, double rcond);

  index_t rank() const { return rank_; }
  int exponent() const { return svd_->exponent(); }
  const T* scaled_s() const { return svd_->scaled_s(); }  // (rank): s = 2^exponent scaled_s

  // coef (filters, d, k) contiguous: filter f has the gains 2^-(exponent() + shift[f]) gains (filters, rank).
  void expand(const double* gains, const int* shifts, index_t filters, T* coef);
  // ||X coef - y|| per column for the last filter that expand() has seen; norms (k).
  void residual_norms(const MatrixView<const T>& X, T* norms);

 private:
  ThinSvd<T>* svd_ = nullptr;
  index_t n_ = 0, d_ = 0, k_ = 0, rank_ = 0;
  int last_shift_ = 0;
  const T* last_ = nullptr;  // (d, k) column-major, scaled
  Buffer<T> b_, projections_, weights_, expanded_;
  Buffer<int> y_exponents_;
};

// Gains of ridge regression for the scaled modes: gains (rank); the return value is their shift for expand().
template <class T>
int ridge_gains(const Modes<T>& modes, double ridge, double* gains);

// One problem of lstsq: coef (d, k) row-major and contiguous, residual_norm (k), rank. X and y finite. Returns
// the status: 0 solved, 2 the SVD did not converge (coef and residual_norm are NaN, rank 0).
template <class T>
int svd_lstsq(ThinSvd<T>& svd, const MatrixView<const T>& X, const MatrixView<const T>& y, double ridge, double rcond,
              T* coef, T* residual_norm, std::int32_t* rank);

}  // namespace genkern
