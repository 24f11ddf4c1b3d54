"""What nested curves need of an array library beside NumPy's names: here from NumPy and SciPy; a GPU has its own."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.linalg import lapack, solve_triangular

Array = Any  # of the library at hand


class Algebra:
    """Arrays in host memory."""

    xp: Any = np
    states = 16  # widths whose predictions are made by one product: more of them are more flops, less are more calls
    numbers = 1 << 18  # of a temporary array
    order = "C"  # of the test side: its transpose is what tpmqrt takes

    def host(self, values: Array) -> np.ndarray[Any, Any]:
        """NumPy's array of a few numbers that decide what is done next."""
        return np.asarray(values)

    def device(self, values: np.ndarray[Any, Any]) -> Array:
        """The library's array of NumPy's."""
        return values

    def solve(self, L: Array, B: Array, *, transposed: bool = False) -> Array:
        """``L^{-1} B`` or ``L^{-T} B`` for a lower triangle L."""
        if L.size == 0 or B.size == 0:
            return self.xp.zeros(B.shape)
        return self._solve(L, B, int(transposed))

    def _solve(self, L: Array, B: Array, trans: int) -> Array:
        return solve_triangular(L, B, lower=True, trans=trans, check_finite=False)

    def multiply(self, L: Array, x: Array, *, transposed: bool = False) -> Array:
        """``L x`` or ``L^T x`` for a vector."""
        return L.T @ x if transposed else L @ x

    def cholesky(self, gram: Array) -> Array | None:
        """Lower factor of a positive definite matrix. Of another: None, or on a GPU anything, and no word of it."""
        try:
            return np.linalg.cholesky(gram)
        except np.linalg.LinAlgError:
            return None

    def svd(self, A: Array) -> tuple[Array, Array, Array] | None:
        """``U, s, V^T`` with min(A.shape) columns and rows; None if it does not converge."""
        try:
            U, s, Vt = self._svd(A)
        except np.linalg.LinAlgError:
            return None
        return U, s, Vt

    def _svd(self, A: Array) -> tuple[Array, Array, Array]:
        U, s, Vt = np.linalg.svd(A, full_matrices=False)
        return U, s, Vt

    def absorb(self, L: Array, A: Array) -> tuple[Array, Any]:
        """Lower triangle M and an orthogonal transformation U with ``[L, A] U = [M, 0]``; L (r, r), A (r, a)."""
        upper, V, T, info = lapack.dtpqrt(0, min(len(L), 32), L.T, np.asfortranarray(A.T))
        if info != 0:
            raise AssertionError(f"tpqrt: argument {-info}")
        return np.triu(upper).T, (V, T)

    def turn(self, S: Array, T: Array, U: Any) -> Array:
        """The first r columns of ``[S, T] U`` for the U of `absorb`; S (m, r), T (m, a)."""
        V, factors = U
        top, _, info = lapack.dtpmqrt(0, V, factors, S.T, np.asfortranarray(T.T), side="L", trans="T")
        if info != 0:
            raise AssertionError(f"tpmqrt: argument {-info}")
        return top.T
