// Column-major matrices of doubles, parts of them, and the BLAS operations on these by name.
#pragma once

#include <algorithm>

#include "support/buffer.hpp"
#include "support/view.hpp"

namespace genkern {

// A part of column-major memory: entry (i, j) at data[i + j ld].
struct Part {
  double* data = nullptr;
  index_t rows = 0, cols = 0, ld = 1;

  double& operator()(index_t i, index_t j) const { return data[i + j * ld]; }
  double* col(index_t j) const { return data + j * ld; }
  Part block(index_t i, index_t j, index_t m, index_t n) const { return {data + i + j * ld, m, n, ld}; }
  Part columns(index_t j, index_t n) const { return block(0, j, rows, n); }
  Part below(index_t i) const { return block(i, 0, rows - i, cols); }
};

// Memory of its own, kept when the matrix shrinks.
class Matrix {
 public:
  // Shape (rows, cols); the values are unspecified.
  Part reshape(index_t rows, index_t cols) {
    part_ = {buffer_.reserve(std::max<index_t>(rows * cols, 1)), rows, cols, std::max<index_t>(rows, 1)};
    return part_;
  }
  Part zero(index_t rows, index_t cols) {
    reshape(rows, cols);
    std::fill(part_.data, part_.data + rows * cols, 0.0);
    return part_;
  }
  Part copy(const Part& other);
  operator const Part&() const { return part_; }
  const Part& operator*() const { return part_; }
  const Part* operator->() const { return &part_; }
  double& operator()(index_t i, index_t j) const { return part_(i, j); }
  void swap(Matrix& other) {
    buffer_.swap(other.buffer_);
    std::swap(part_, other.part_);
  }

 private:
  Buffer<double> buffer_;
  Part part_;
};

void copy(const Part& from, const Part& to);
// C = alpha op(A) op(B) + beta C; op is the transpose where the letter is 'T'.
void gemm(char op_a, char op_b, double alpha, const Part& A, const Part& B, double beta, const Part& C);
// y = alpha op(A) x + beta y for contiguous vectors.
void gemv(char op, double alpha, const Part& A, const double* x, double beta, double* y);
// B = op(T)^-1 B, or B op(T)^-1 with side 'R'; uplo 'U' or 'L' says which triangle T is.
void trsm(char side, char uplo, char op, const Part& T, const Part& B);
void trsv(char uplo, char op, const Part& T, double* x);  // x = op(T)^-1 x
void trmv(char uplo, char op, const Part& T, double* x);  // x = op(T) x
bool cholesky(const Part& A);                             // lower triangle in place; false if not positive definite
// QR of the upper triangle R on top of B (b, r), both in place; T (block, r) are the factors of the reflectors.
constexpr index_t reflector_block = 32;
void append_qr(const Part& R, const Part& B, const Part& T, Buffer<double>& work);
// Its Q, or the transpose of it with op 'T', applied to C (r, m) on top of D (b, m).
void apply_qr(char op, const Part& B, const Part& T, const Part& C, const Part& D, Buffer<double>& work);

double dot(const double* x, const double* y, index_t count);
double sum_of_squares(const Part& A);

}  // namespace genkern
