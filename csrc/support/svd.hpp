// Thin singular value decomposition of one strided matrix by LAPACK, with a workspace that is kept between
// matrices.
//
// Method: gesdd (divide and conquer); where that does not converge, gesvd (QR iteration).
// Numerics: the matrix is scaled by a power of two to entries near 1, so that no size of entries over- or
//   underflows; U diag(s) V^T differs from it by a small multiple of eps s_max, eps of T: for float the
//   computation is in float. Singular values much below s_max have no relative accuracy.
// Cost: about 6 n d r + 20 r^3 flops with vectors, r = min(n, d). LAPACK cannot be interrupted.
// Call it with a SingleThreadedBlas guard where the bits must not depend on the number of threads.
#pragma once

#include "support/buffer.hpp"
#include "support/view.hpp"

namespace genkern {

template <class T>
class ThinSvd {
 public:
  // X (n, d) finite; either side may be 0. False if neither method converges. Throws std::length_error if the
  // workspace is beyond LAPACK's integers (min(n, d) above about 23,000).
  bool compute(const MatrixView<const T>& X, bool vectors);

  index_t size() const { return r_; }                     // r = min(n, d)
  const T* s() const { return s_.data(); }                // (r) descending; inf where the true value overflows
  const T* u() const { return u_.data(); }                // (n, r) column-major
  const T* vt() const { return vt_.data(); }              // (r, d) column-major
  const T* scaled_s() const { return scaled_s_.data(); }  // (r): s = 2^exponent scaled_s
  int exponent() const { return exponent_; }

  // The scaled matrix 2^-exponent X, (n, d) column-major; the next compute() overwrites it.
  const T* scaled_matrix(const MatrixView<const T>& X);

 private:
  int divide_and_conquer(bool vectors);
  int qr_iteration(bool vectors);
  int workspace(T query, bool vectors);

  index_t n_ = 0, d_ = 0, r_ = 0;
  int exponent_ = 0;
  Buffer<T> a_, s_, scaled_s_, u_, vt_, work_;
  Buffer<int> iwork_;
};

// x 2^exponent for any exponent, with one rounding.
class PowerOfTwo {
 public:
  explicit PowerOfTwo(int exponent);
  double operator*(double x) const { return x * first_ * second_; }

 private:
  double first_, second_;
};

// The least e with |x| < 2^e for all entries x of the finite view; 0 if all are zero.
template <class T>
int exponent_of(const MatrixView<const T>& view);

}  // namespace genkern
