"""One least-squares problem after another by Householder QR, compiled by Numba.

``[X, y] = Q [R, c]`` for n >= d, ``X^T = Q R`` for n < d; a ridge is a second QR, of ``[R; sqrt(ridge) I]``, so that
nothing is squared. X and each column of y are scaled by powers of two. Errors are those of Householder QR: a backward
error of a small multiple of ``eps max(n, d)``. No BLAS, so an item's bits do not depend on anything around it.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

Array = np.ndarray[Any, Any]
UNDECIDED = 9  # status of an item whose full rank the QR does not prove
_NOT_FINITE = 10000  # in the place of an exponent


@njit(cache=True, nogil=True, error_model="numpy")
def _exponent(A: Array) -> int:
    """The least e with |x| < 2^e for every entry, or _NOT_FINITE."""
    largest = 0.0
    for x in A.flat:
        if not math.isfinite(x):
            return _NOT_FINITE
        largest = max(largest, abs(x))
    return math.frexp(largest)[1]


@njit(cache=True, nogil=True, error_model="numpy")
def _times_power(x: float, exponent: int) -> float:
    half = exponent // 2
    return x * math.ldexp(1.0, exponent - half) * math.ldexp(1.0, half)


@njit(cache=True, nogil=True, error_model="numpy")
def _triangularize(A: Array, columns: int, tau: Array, work: Array) -> None:
    """Householder QR of the first columns of A (m, q), m >= columns, applied to the others as well.

    R stands above the diagonal and on it, reflector j below (its leading 1 is not stored). Both passes of an update
    run along rows, so that they vectorise and every entry has one order of operations.
    """
    m, q = A.shape
    for j in range(columns):
        total = 0.0
        for i in range(j + 1, m):
            total += float(A[i, j]) * float(A[i, j])
        pivot = float(A[j, j])
        if total == 0.0:
            tau[j] = 0.0
            continue
        norm = math.sqrt(pivot * pivot + total)
        head = pivot + norm if pivot >= 0.0 else pivot - norm
        tau[j] = 2.0 / (1.0 + total / (head * head))
        A[j, j] = pivot - head
        for i in range(j + 1, m):
            A[i, j] = A[i, j] / head
        for c in range(j + 1, q):
            work[c] = A[j, c]
        for i in range(j + 1, m):
            v = A[i, j]
            for c in range(j + 1, q):
                work[c] += v * A[i, c]
        for c in range(j + 1, q):
            work[c] *= tau[j]
            A[j, c] -= work[c]
        for i in range(j + 1, m):
            v = A[i, j]
            for c in range(j + 1, q):
                A[i, c] -= v * work[c]


@njit(cache=True, nogil=True, error_model="numpy")
def _condition_bound(A: Array, p: int, inverse: Array) -> float:
    """||R||_F ||R^-1||_F >= s_max / s_min of the triangle R (p, p) in A; inf or nan where it is singular."""
    size, size_inverse = 0.0, 0.0
    for i in range(p - 1, -1, -1):
        for c in range(i, p):
            size += float(A[i, c]) * float(A[i, c])
            inverse[i, c] = 0.0
        inverse[i, i] = 1.0
        for row in range(i + 1, p):
            v = A[i, row]
            for c in range(row, p):
                inverse[i, c] -= v * inverse[row, c]
        for c in range(i, p):
            inverse[i, c] = inverse[i, c] / A[i, i]
            size_inverse += float(inverse[i, c]) * float(inverse[i, c])
    return math.sqrt(size) * math.sqrt(size_inverse)


@njit(cache=True, nogil=True, error_model="numpy")
def _back_substitute(A: Array, p: int, k: int) -> None:
    """Solve R W = C in place; C stands in A[:p, p:p + k]."""
    for i in range(p - 1, -1, -1):
        for row in range(i + 1, p):
            v = A[i, row]
            for c in range(p, p + k):
                A[i, c] -= v * A[row, c]
        for c in range(p, p + k):
            A[i, c] = A[i, c] / A[i, i]


@njit(cache=True, nogil=True, error_model="numpy")
def solve_chunk(
    X: Array, y: Array, ridge: Array, limit: float, coef: Array, rank: Array, residual_norm: Array, status: Array
) -> None:
    items, n, d = X.shape
    k = y.shape[2]
    p, m = min(n, d), max(n, d)
    tall = n >= d
    A = np.empty((m, p + k), X.dtype)  # [X, y], or [X^T, unused]
    R = np.empty((2 * p, p + k), X.dtype)  # [R c; sqrt(ridge) I 0], or [R^T y; sqrt(ridge) I 0]
    inverse = np.empty((p, p), X.dtype)
    tau, tau2, work = np.empty(p, X.dtype), np.empty(p, X.dtype), np.empty(p + k, X.dtype)
    y_exponents = np.empty(k, np.int64)
    for item in range(items):
        for j in range(d):
            for c in range(k):
                coef[item, j, c] = np.nan
        for c in range(k):
            residual_norm[item, c] = np.nan
            y_exponents[c] = _exponent(y[item, :, c])
        rank[item], status[item] = 0, 1
        x_exponent = _exponent(X[item])
        if x_exponent == _NOT_FINITE or (k > 0 and y_exponents.max() == _NOT_FINITE):
            continue
        status[item] = UNDECIDED
        root = math.sqrt(ridge[item])
        if root > 0.0:
            relative = math.frexp(root)[1] - x_exponent
            # The QR below loses a factor sqrt(ridge) / s_max, and entries of X are near 1: beyond, the SVD is better.
            if relative > 3 or relative < -50:
                continue
            root = _times_power(root, -x_exponent)
        for i in range(n):
            for j in range(d):
                value = _times_power(X[item, i, j], -x_exponent)
                if tall:
                    A[i, j] = value
                else:
                    A[j, i] = value
        for i in range(m):
            for c in range(k):
                A[i, p + c] = _times_power(y[item, i, c], -y_exponents[c]) if tall else 0.0
        _triangularize(A, p, tau, work)
        if not _condition_bound(A, p, inverse) < limit:
            continue

        # The p equations that are left, in R: triangle (tall) or its transpose (wide), with the right-hand sides.
        for i in range(p):
            for j in range(p):
                upper = A[min(i, j), max(i, j)]
                R[i, j] = upper if (j >= i if tall else j <= i) else 0.0
                R[p + i, j] = root if i == j else 0.0
            for c in range(k):
                R[i, p + c] = A[i, p + c] if tall else _times_power(y[item, i, c], -y_exponents[c])
                R[p + i, p + c] = 0.0
        if root > 0.0:
            _triangularize(R, p, tau2, work)
            _back_substitute(R, p, k)
        elif tall:
            _back_substitute(R, p, k)
        else:
            for i in range(p):  # forward: R holds the lower triangle
                for row in range(i):
                    v = R[i, row]
                    for c in range(p, p + k):
                        R[i, c] -= v * R[row, c]
                for c in range(p, p + k):
                    R[i, c] = R[i, c] / R[i, i]
        rank[item], status[item] = p, 0

        for c in range(k):
            total = 0.0
            if root > 0.0:
                for i in range(p):
                    left = float(A[i, p + c]) if tall else float(_times_power(y[item, i, c], -y_exponents[c]))
                    for j in range(p):
                        if tall and j >= i:
                            left -= float(A[i, j]) * float(R[j, p + c])
                        elif not tall and j <= i:
                            left -= float(A[j, i]) * float(R[j, p + c])
                    total += left * left
            if tall:
                for i in range(p, m):
                    total += float(A[i, p + c]) * float(A[i, p + c])
            residual_norm[item, c] = _times_power(math.sqrt(total), y_exponents[c])

        # w = R's solution (tall), or Q of it.
        for i in range(m):
            for c in range(p, p + k):
                A[i, c] = R[i, c] if i < p else 0.0
        if not tall:
            for j in range(p - 1, -1, -1):
                for c in range(p, p + k):
                    work[c] = A[j, c]
                for i in range(j + 1, m):
                    v = A[i, j]
                    for c in range(p, p + k):
                        work[c] += v * A[i, c]
                for c in range(p, p + k):
                    work[c] *= tau[j]
                    A[j, c] -= work[c]
                for i in range(j + 1, m):
                    v = A[i, j]
                    for c in range(p, p + k):
                        A[i, c] -= v * work[c]
        for j in range(d):
            for c in range(k):
                coef[item, j, c] = _times_power(A[j, p + c], y_exponents[c] - x_exponent)
