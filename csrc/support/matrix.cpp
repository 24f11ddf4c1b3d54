#include "support/matrix.hpp"

#include <stdexcept>

#include "support/lapack.hpp"

namespace genkern {
namespace {

int narrow(index_t value) { return static_cast<int>(value); }

}  // namespace

Part Matrix::copy(const Part& other) {
  reshape(other.rows, other.cols);
  genkern::copy(other, part_);
  return part_;
}

void copy(const Part& from, const Part& to) {
  for (index_t j = 0; j < from.cols; ++j) std::copy(from.col(j), from.col(j) + from.rows, to.col(j));
}

void gemm(char op_a, char op_b, double alpha, const Part& A, const Part& B, double beta, const Part& C) {
  if (C.rows == 0 || C.cols == 0) return;
  int m = narrow(C.rows), n = narrow(C.cols), k = narrow(op_a == 'N' ? A.cols : A.rows);
  if (k == 0) {
    for (index_t j = 0; j < C.cols; ++j)
      for (index_t i = 0; i < C.rows; ++i) C(i, j) = beta == 0 ? 0.0 : beta * C(i, j);
    return;
  }
  int lda = narrow(A.ld), ldb = narrow(B.ld), ldc = narrow(C.ld);
  lapack<double>().gemm(&op_a, &op_b, &m, &n, &k, &alpha, A.data, &lda, B.data, &ldb, &beta, C.data, &ldc);
}

void gemv(char op, double alpha, const Part& A, const double* x, double beta, double* y) {
  const index_t out = op == 'N' ? A.rows : A.cols, in = op == 'N' ? A.cols : A.rows;
  if (out == 0) return;
  if (in == 0) {
    for (index_t i = 0; i < out; ++i) y[i] = beta == 0 ? 0.0 : beta * y[i];
    return;
  }
  int m = narrow(A.rows), n = narrow(A.cols), lda = narrow(A.ld), one = 1;
  lapack<double>().gemv(&op, &m, &n, &alpha, A.data, &lda, const_cast<double*>(x), &one, &beta, y, &one);
}

void trsm(char side, char uplo, char op, const Part& T, const Part& B) {
  if (B.rows == 0 || B.cols == 0) return;
  char diag = 'N';
  int m = narrow(B.rows), n = narrow(B.cols), lda = narrow(T.ld), ldb = narrow(B.ld);
  double one = 1;
  lapack<double>().trsm(&side, &uplo, &op, &diag, &m, &n, &one, T.data, &lda, B.data, &ldb);
}

void trsv(char uplo, char op, const Part& T, double* x) {
  if (T.rows == 0) return;
  char diag = 'N';
  int n = narrow(T.rows), lda = narrow(T.ld), one = 1;
  lapack<double>().trsv(&uplo, &op, &diag, &n, T.data, &lda, x, &one);
}

void trmv(char uplo, char op, const Part& T, double* x) {
  if (T.rows == 0) return;
  char diag = 'N';
  int n = narrow(T.rows), lda = narrow(T.ld), one = 1;
  lapack<double>().trmv(&uplo, &op, &diag, &n, T.data, &lda, x, &one);
}

bool cholesky(const Part& A) {
  if (A.rows == 0) return true;
  char uplo = 'L';
  int n = narrow(A.rows), lda = narrow(A.ld), info = 0;
  lapack<double>().potrf(&uplo, &n, A.data, &lda, &info);
  return info == 0;
}

void append_qr(const Part& R, const Part& B, const Part& T, Buffer<double>& work) {
  if (R.rows == 0 || B.rows == 0) return;
  int m = narrow(B.rows), n = narrow(R.cols), l = 0, nb = narrow(std::min(reflector_block, R.cols)), info = 0;
  int lda = narrow(R.ld), ldb = narrow(B.ld), ldt = narrow(T.ld);
  lapack<double>().tpqrt(&m, &n, &l, &nb, R.data, &lda, B.data, &ldb, T.data, &ldt,
                         work.reserve(reflector_block * R.cols), &info);
  if (info != 0) throw std::logic_error("tpqrt: bad argument");
}

void apply_qr(char op, const Part& B, const Part& T, const Part& C, const Part& D, Buffer<double>& work) {
  if (C.rows == 0 || C.cols == 0 || B.rows == 0) return;
  char side = 'L';
  int m = narrow(D.rows), n = narrow(D.cols), k = narrow(B.cols), l = 0, info = 0;
  int nb = narrow(std::min(reflector_block, B.cols)), ldv = narrow(B.ld), ldt = narrow(T.ld);
  int lda = narrow(C.ld), ldb = narrow(D.ld);
  lapack<double>().tpmqrt(&side, &op, &m, &n, &k, &l, &nb, B.data, &ldv, T.data, &ldt, C.data, &lda, D.data, &ldb,
                          work.reserve(reflector_block * D.cols), &info);
  if (info != 0) throw std::logic_error("tpmqrt: bad argument");
}

double dot(const double* x, const double* y, index_t count) {
  double sums[4] = {0, 0, 0, 0};
  index_t i = 0;
  for (; i + 4 <= count; i += 4)
    for (index_t l = 0; l < 4; ++l) sums[l] += x[i + l] * y[i + l];
  for (; i < count; ++i) sums[0] += x[i] * y[i];
  return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

double sum_of_squares(const Part& A) {
  double sum = 0;
  for (index_t j = 0; j < A.cols; ++j) sum += dot(A.col(j), A.col(j), A.rows);
  return sum;
}

}  // namespace genkern
