// When a QR factorization may answer a least-squares problem: the rule that CPU and GPU kernels share.
//
// Problem: A = QR, m columns. `rcond` must cut no singular value of R, and no square may over- or underflow; an item
//   for which this is not sure goes to an SVD, which decides it.
// Method: bounds, or estimates with a margin of ten, of ||R|| and ||R^{-1}||.
// Numerics: all comparisons are false for a NaN.
// Source: Higham, Accuracy and Stability of Numerical Algorithms, chapter 15; Golub & Van Loan, Matrix
// Computations, 5.3.
#pragma once

#include "device/common.hpp"

namespace device {

template <class T>
struct LstsqRange {
  static constexpr double eps = sizeof(T) == 8 ? 0x1p-52 : 0x1p-23;
  // Norms whose squares, and sums of squares, stay normal numbers.
  static constexpr double high = sizeof(T) == 8 ? 1e140 : 1e15, low = 1 / high;
};

// The rule for one shape: an estimated condition number below `limit` rules out that rcond cuts anything.
template <class T>
struct LstsqRule {
  double limit;
};
template <class T>
GENKERN_HD LstsqRule<T> lstsq_rule(double rcond, double longer_side) {
  const double least = LstsqRange<T>::eps * longer_side;
  return {0.1 / (rcond > least ? rcond : least)};
}
// For ||R||^2 and (||R|| ||R^{-1}||)^2: rcond cuts nothing and no square over- or underflows.
template <class T>
GENKERN_HD bool full_rank(const LstsqRule<T>& rule, double norm2, double condition2) {
  const double norm = GENKERN_SQRT(norm2), condition = GENKERN_SQRT(condition2);
  return condition > 0 && condition < rule.limit && norm < LstsqRange<T>::high &&
         condition < LstsqRange<T>::high * norm;
}
// With ridge > ||X||^2 the coefficients are much smaller than what the reflectors of [R; sqrt(ridge) I] subtract to get
// them; the SVD has no such cancellation.
GENKERN_HD bool moderate(double root, double norm2) { return root * root <= norm2; }
// Is the sum of the sizes of a right side's entries such that no square over- or underflows?
template <class T>
GENKERN_HD bool in_range(double size) {
  return size == 0 || (size > LstsqRange<T>::low && size < LstsqRange<T>::high);
}

// Norm estimates by power iteration start from a fixed vector without structure. Four iterations with R^T R or its
// inverse lose at most the factor |cos|^(1/8) of the norm, cos the start's component along the wanted vector: 0.3 for
// 1e-4, inside the margin of `limit`.
constexpr int estimate_iterations = 4;
template <class T>
GENKERN_HD T estimate_start(long long j) {
  const double turn =
      static_cast<double>(j + 1) * 0.6180339887498949;  // the golden ratio's multiples fill [0, 1) evenly
  return static_cast<T>(turn - static_cast<double>(static_cast<long long>(turn)) - 0.35);
}

// Is rcond sure to cut nothing? Estimates ||R^{-1}|| from below by inverse iteration and takes ||R|| from above, its
// Frobenius norm, then, where that is not enough, from below by power iteration; both with R / ||R||_F, whose numbers
// stay near the condition number whatever the scale of R.
//
// Triangle holds R and a vector x: start() sets x, size() is ||x||, scale(f) x := f x, and solve_transposed(), solve(),
// times(), times_transposed() apply R^{-T}, R^{-1}, R, R^T to it.
template <class T, class Triangle>
GENKERN_HD bool estimates_full_rank(const LstsqRule<T>& rule, const Triangle& triangle, double norm2) {
  const double norm = GENKERN_SQRT(norm2);
  if (!(norm > LstsqRange<T>::low && norm < LstsqRange<T>::high)) return false;
  triangle.start();
  double condition2 = triangle.size();
  for (int iteration = 0; iteration < estimate_iterations; ++iteration) {
    triangle.scale(norm / condition2);
    triangle.solve_transposed();
    triangle.scale(norm);
    triangle.solve();
    condition2 = triangle.size();
    if (iteration == 0 && full_rank(rule, norm2, 1e2 * condition2)) return true;
  }
  if (full_rank(rule, norm2, condition2)) return true;
  triangle.start();
  double share = triangle.size();  // (||R||_2 / ||R||_F)^2
  for (int iteration = 0; iteration < estimate_iterations; ++iteration) {
    triangle.scale(1 / (norm * share));
    triangle.times();
    triangle.scale(1 / norm);
    triangle.times_transposed();
    share = triangle.size();
  }
  return full_rank(rule, norm2, share * condition2);
}

}  // namespace device
