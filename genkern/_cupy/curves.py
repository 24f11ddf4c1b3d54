"""Nested curves on a GPU: the engine of `_curve_run` with cuBLAS and cuSOLVER, features made block by block.

One curve after another. A block of columns takes some hundred launches whatever its size, so that a GPU has nothing to
gain on small curves. Memory is ``O(n^2 + n m)`` beside the inputs. What decides how to go on is copied to the host, by
`Device.host` and as single numbers; features, factors and results stay. For a block of new directions the host waits
five times (norms and flags of the columns, their lengths outside the basis, the diagonal of their factor, two singular
values, sizes of the coefficients), for one of dependent columns three times (norms and flags, the size of X, sizes of
the coefficients; a fourth time for singular values where L is updated), in the block that reaches the threshold once or
twice a column, and where an SVD decides once more.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np

from genkern import _curve_data, _curve_run
from genkern._cupy import _launch
from genkern._curve_algebra import Algebra
from genkern._curve_run import Columns, Options

Array = Any  # of CuPy
Numbers = np.ndarray[Any, Any]
Data = _curve_data.Data
Measured = _curve_data.Measured
Hook = Callable[[int], None] | None


class Device(Algebra):
    """Arrays in a GPU's memory.

    cuBLAS is called directly where CuPy would copy: `solve_triangular` copies its triangle at every call, a product one
    that is part of a larger matrix. Its calls go to the current stream, as CuPy's do.
    """

    states = 128  # a launch costs as much as 10^8 flops
    numbers = 1 << 24
    order = "F"  # so that the columns in use are contiguous, as products want them

    def __init__(self) -> None:
        self.xp = _launch.cupy()
        self._blas = self.xp.cuda.cublas
        self._errstate = importlib.import_module("cupyx").errstate
        self._one, self._zero = np.ones(1), np.zeros(1)  # cuBLAS reads them when it is called

    def host(self, values: Array) -> Numbers:
        """Copy of a few numbers that decide what is done next; waits for them."""
        return np.asarray(self.xp.asnumpy(values))

    def device(self, values: Numbers) -> Array:
        """CuPy's array of NumPy's."""
        return self.xp.asarray(values)

    def _solve(self, L: Array, B: Array, trans: int) -> Array:
        """By trsm, with the triangle where it lies and the right sides in a copy of the same order."""
        blas, (L, is_transpose, leading) = self._blas, self._stored(L)
        by_columns = B.ndim == 1 or B.flags.f_contiguous
        X = self.xp.array(B, dtype=np.float64, order="F" if by_columns else "C")
        rows, columns = X.shape if X.ndim == 2 else (X.size, 1)
        if by_columns:  # op(A) X = B for the matrix A that cuBLAS sees, L or its transpose
            side, sizes, turn = blas.CUBLAS_SIDE_LEFT, (rows, columns, rows), bool(trans)
        else:  # X^T op(A) = B^T
            side, sizes, turn = blas.CUBLAS_SIDE_RIGHT, (columns, rows, columns), not trans
        blas.dtrsm(
            self.xp.cuda.get_cublas_handle(), side,
            blas.CUBLAS_FILL_MODE_UPPER if is_transpose else blas.CUBLAS_FILL_MODE_LOWER,
            blas.CUBLAS_OP_T if turn != is_transpose else blas.CUBLAS_OP_N, blas.CUBLAS_DIAG_NON_UNIT,
            *sizes[:2], self._one.ctypes.data, L.data.ptr, leading, X.data.ptr, sizes[2],
        )  # fmt: skip
        return X

    def multiply(self, L: Array, x: Array, *, transposed: bool = False) -> Array:
        """By gemv, with the square matrix where it lies."""
        blas, (L, is_transpose, leading) = self._blas, self._stored(L)
        x, y = self.xp.ascontiguousarray(x), self.xp.empty(len(L))
        blas.dgemv(
            self.xp.cuda.get_cublas_handle(),
            blas.CUBLAS_OP_T if transposed != is_transpose else blas.CUBLAS_OP_N, len(L), len(L),
            self._one.ctypes.data, L.data.ptr, leading, x.data.ptr, 1, self._zero.ctypes.data, y.data.ptr, 1,
        )  # fmt: skip
        return y

    def _stored(self, L: Array) -> tuple[Array, bool, int]:
        """The square matrix, whether its transpose is what lies there column by column, and their distance."""
        row, column = (stride // L.itemsize for stride in L.strides)
        if row == 1 and column >= len(L):
            return L, False, column
        if column == 1 and row >= len(L):
            return L, True, row
        return self.xp.ascontiguousarray(L), True, len(L)

    def cholesky(self, gram: Array) -> Array:
        """Without waiting for cuSOLVER's word: of what is not positive definite it leaves half a factor."""
        with self._errstate(linalg="ignore"):
            return self.xp.linalg.cholesky(gram)

    def _svd(self, A: Array) -> tuple[Array, Array, Array]:
        with self._errstate(linalg="raise"):  # else nothing tells of singular values that are none
            U, s, Vt = self.xp.linalg.svd(A, full_matrices=False)
        return U, s, Vt

    def absorb(self, L: Array, A: Array) -> tuple[Array, Any]:
        """By the QR factorization of the transpose: cuSOLVER has no update. Needed near the threshold only."""
        q, r = self.xp.linalg.qr(self.xp.concatenate([L.T, A.T]))
        return r.T, q

    def turn(self, S: Array, T: Array, U: Any) -> Array:
        """The first r columns of ``[S, T] U``."""
        r = S.shape[1]
        return S @ U[:r] + T @ U[r:]


def width_curve(
    data: Data, widths: Numbers, ridges: Numbers, rcond: float, unit: float, method: str, measured: Measured,
    hook: Hook, threads: int,
) -> None:  # fmt: skip
    """Every listed width of every curve of the batch."""
    options = Options(Device(), widths, ridges, rcond, unit, method, hook)
    for item in np.ndindex(data.batch):
        columns = (_curve_run.stored(options.algebra, F) for F in (data.X[item], data.X_test[item]))
        _curve_run.curves(_curve_run.widths_of(data, item, *columns), options, measured, item)


def random_feature_curve(
    data: Data, widths: Numbers, seeds: list[int], law: dict[str, Any], ridges: Numbers, rcond: float, unit: float,
    method: str, measured: Measured, hook: Hook, threads: int,
) -> None:  # fmt: skip
    """As `width_curve`, with features made block by block."""
    random_features = importlib.import_module("genkern._cupy.features").random_features
    options = Options(Device(), widths, ridges, rcond, unit, method, hook)
    xp = options.algebra.xp

    def made(X: Array, seed: int) -> Columns:
        def columns(p: int, q: int) -> Array:
            F = xp.empty((len(X), q - p), data.dtype)
            random_features(X, F, seed=seed, start=p, n_threads=threads, **law)
            return F.astype(np.float64)

        return columns

    for item in np.ndindex(data.batch):
        for s, seed in enumerate(seeds):
            columns = (made(X, seed) for X in (data.X[item], data.X_test[item]))
            _curve_run.curves(_curve_run.widths_of(data, item, *columns), options, measured, (*item, s))


def sample_curve(
    data: Data, samples: Numbers, ridges: Numbers, rcond: float, unit: float, method: str, measured: Measured,
    hook: Hook, threads: int,
) -> None:  # fmt: skip
    """Every listed sample size of every curve of the batch."""
    options = Options(Device(), samples, ridges, rcond, unit, method, hook)
    for item in np.ndindex(data.batch):
        _curve_run.curves(_curve_run.samples_of(data, item, options), options, measured, item)
