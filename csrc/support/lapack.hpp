// BLAS and LAPACK from SciPy's capsules (scipy.linalg.cython_blas, cython_lapack): the library that SciPy
// itself uses, without a link-time dependency. The capsule's name is the C signature, and it is checked.
#pragma once

#include <string>

namespace genkern {

template <class T>
struct Lapack {
  // C = alpha op(A) op(B) + beta C: transa, transb, m, n, k, alpha, A, lda, B, ldb, beta, C, ldc.
  void (*gemm)(char*, char*, int*, int*, int*, T*, T*, int*, T*, int*, T*, T*, int*);
  // y = alpha op(A) x + beta y: trans, m, n, alpha, A, lda, x, incx, beta, y, incy.
  void (*gemv)(char*, int*, int*, T*, T*, int*, T*, int*, T*, T*, int*);
  // B = alpha op(A)^-1 B or alpha B op(A)^-1: side, uplo, transa, diag, m, n, alpha, A, lda, B, ldb.
  void (*trsm)(char*, char*, char*, char*, int*, int*, T*, T*, int*, T*, int*);
  // x = op(A)^-1 x and x = op(A) x: uplo, trans, diag, n, A, lda, x, incx.
  void (*trsv)(char*, char*, char*, int*, T*, int*, T*, int*);
  void (*trmv)(char*, char*, char*, int*, T*, int*, T*, int*);
  // Cholesky factorization: uplo, n, A, lda, info.
  void (*potrf)(char*, int*, T*, int*, int*);
  // Thin SVD by divide and conquer: jobz, m, n, A, lda, s, U, ldu, VT, ldvt, work, lwork, iwork, info.
  void (*gesdd)(char*, int*, int*, T*, int*, T*, T*, int*, T*, int*, T*, int*, int*, int*);
  // Thin SVD by QR iteration, slower and surer: jobu, jobvt, m, n, A, lda, s, U, ldu, VT, ldvt, work, lwork,
  // info.
  void (*gesvd)(char*, char*, int*, int*, T*, int*, T*, T*, int*, T*, int*, T*, int*, int*);
  // QR of a triangle on top of a pentagon: m, n, l, nb, A, lda, B, ldb, T, ldt, work, info.
  void (*tpqrt)(int*, int*, int*, int*, T*, int*, T*, int*, T*, int*, T*, int*);
  // Its Q applied: side, trans, m, n, k, l, nb, V, ldv, T, ldt, A, lda, B, ldb, work, info.
  void (*tpmqrt)(char*, char*, int*, int*, int*, int*, int*, T*, int*, T*, int*, T*, int*, T*, int*, T*, int*);
};

// Looks the functions up once; call it with the GIL held before any kernel that uses them. Throws
// std::runtime_error when SciPy lacks a function or its signature is not the expected one.
void load_lapack();

// The functions, after load_lapack().
template <class T>
const Lapack<T>& lapack();

// Holds the BLAS library at one thread for as long as any guard lives (the setting belongs to the process, so
// guards are counted). Does nothing where the library has no such switch: MKL or Accelerate builds, say.
class SingleThreadedBlas {
 public:
  SingleThreadedBlas();
  ~SingleThreadedBlas();
  SingleThreadedBlas(const SingleThreadedBlas&) = delete;
  SingleThreadedBlas& operator=(const SingleThreadedBlas&) = delete;
};

// Name of the thread switch in use ("" if none was found), after load_lapack().
std::string blas_thread_switch();

}  // namespace genkern
