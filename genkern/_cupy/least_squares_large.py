"""Least squares of problems beyond shared memory, one after another by cuSOLVER and cuBLAS."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from genkern._cupy import _launch

Array = Any


@dataclass(frozen=True)
class Modes:
    """The singular value decompositions of a batch as csrc/cuda/least_squares_paths.cu takes them."""

    s: Array  # (items, m) descending, of X 2^-exponent
    exponent: Array  # (items)
    basis: Array  # (items, m, d)
    projections: Array  # (items, m, k) = U^T y, of y 2^-y_exponent
    y_exponent: Array  # (items, k)
    status: Array  # (items)


@dataclass(frozen=True)
class Scaled:
    """X and y of a batch by powers of two with entries below 1; zeros in the place of what is not finite."""

    X: Array
    y: Array
    exponent: Array
    y_exponent: Array
    status: Array  # 0, or 1 where an entry is not finite


def scaled(matrices: Any, sides: Any) -> Scaled:
    """By one block an item."""
    cp = _launch.cupy()
    items, (n, d), k = matrices.count, matrices.array.shape[-2:], sides.array.shape[-1]
    dtype = matrices.array.dtype
    result = Scaled(
        cp.empty((items, n, d), dtype), cp.empty((items, n, k), dtype), cp.empty(items, np.int32),
        cp.empty((items, k), np.int32), cp.empty(items, np.int8),
    )  # fmt: skip
    kernel = _launch.kernel("least_squares_large", f"least_squares_scale_f{8 * dtype.itemsize}")
    kernel(
        (items,), (256,),
        (matrices.array, sides.array, matrices.stride, sides.stride, np.int32(n), np.int32(d), np.int32(k),
         result.X, result.y, result.exponent, result.y_exponent, result.status),
    )  # fmt: skip
    return result


def modes(matrices: Any, sides: Any) -> Modes:
    """By cuSOLVER's SVD, of which CuPy says nothing if it does not converge; status 2 where a result is not finite."""
    cp = _launch.cupy()
    at = scaled(matrices, sides)
    items, n, d = at.X.shape
    m, k, dtype = min(n, d), at.y.shape[-1], at.X.dtype
    found = Modes(
        cp.empty((items, m), dtype), at.exponent, cp.empty((items, m, d), dtype), cp.empty((items, m, k), dtype),
        at.y_exponent, at.status,
    )  # fmt: skip
    for item in range(items):
        _decompose(at, found, item)
    return found


def _decompose(at: Scaled, found: Modes, item: int) -> Array:
    cp = _launch.cupy()
    U, s, Vt = cp.linalg.svd(at.X[item], full_matrices=False)
    found.s[item], found.basis[item] = s, Vt
    found.projections[item] = cp.matmul(U.T, at.y[item])
    found.status[item] = cp.where(cp.isfinite(s).all(), at.status[item], np.int8(2))
    return U


def singular_values(matrices: Any, s: Array) -> None:
    """Of every item; s (..., min(n, d))."""
    cp = _launch.cupy()
    values = s.reshape(-1, s.shape[-1])
    none = type(matrices)(cp.empty((matrices.array.shape[-2], 0), s.dtype), 0, matrices.count)
    at = scaled(matrices, none)
    for item in range(matrices.count):
        found = _unscaled(cp.linalg.svd(at.X[item], compute_uv=False), at.exponent[item])
        values[item] = cp.where(at.status[item] == 0, found, s.dtype.type(np.nan))


def lstsq(
    matrices: Any, sides: Any, ridge: Any, rcond: float, coef: Array, rank: Array, residual_norm: Array, status: Array
) -> None:
    """QR of one item after another, SVD where the rule of full rank says so; the host asks for the answer each time."""
    cp = _launch.cupy()
    at = scaled(matrices, sides)
    items, n, d = at.X.shape
    m, k = min(n, d), at.y.shape[-1]
    coef, rank, status = coef.reshape(items, d, k), rank.reshape(items), status.reshape(items)
    residual_norm = residual_norm.reshape(items, k)
    status[...] = at.status
    if m == 0:
        rank[...] = 0
        coef[...] = 0
        norms = _unscaled(cp.sqrt((at.y.astype(np.float64) ** 2).sum(axis=1)), at.y_exponent)
        residual_norm[...] = cp.where(status[:, None] == 0, norms, np.nan)
        return
    states = at.status.get()
    for item in range(items):
        penalty = float(ridge.reshape(-1)[item])
        if states[item] != 0:
            coef[item], residual_norm[item], rank[item] = np.nan, np.nan, 0
            continue
        done = k > 0 and _by_qr(matrices.item(item), sides.item(item), penalty, rcond, coef[item], residual_norm[item])
        if done:
            rank[item] = m
        else:
            _by_svd(at, item, penalty, rcond, coef, rank, residual_norm, status)


def _by_qr(X: Array, y: Array, ridge: float, rcond: float, coef: Array, residual_norm: Array) -> bool:
    """Solve one item if its QR factorization may; see csrc/cuda/least_squares.cu for the forms."""
    cp = _launch.cupy()
    solve_triangular = importlib.import_module("cupyx.scipy.linalg").solve_triangular
    (n, d), k = X.shape, y.shape[-1]
    m, wide = min(n, d), n < d
    Q, R = cp.linalg.qr(X.T if wide else X)
    work, full = cp.empty(2 * m, X.dtype), cp.empty(1, np.int8)
    _launch.kernel("least_squares_large", f"least_squares_check_f{8 * X.dtype.itemsize}")(
        (1,), (32,),
        (cp.ascontiguousarray(R.T), np.int32(m), y, np.int32(n), np.int32(k), np.int32(max(n, d)), rcond,
         cp.full(1, ridge), work, full),
    )  # fmt: skip
    if not int(full[0]):
        return False
    if ridge == 0:
        coef[...] = cp.matmul(Q, solve_triangular(R, y, trans=1)) if wide else solve_triangular(R, cp.matmul(Q.T, y))
        residual_norm[...] = 0
        if n == m:
            return True
    else:
        root = X.dtype.type(np.sqrt(ridge))
        Q2, R2 = cp.linalg.qr(cp.concatenate([R, root * cp.eye(m, dtype=X.dtype)]))
        if wide:
            z = cp.matmul(Q2, solve_triangular(R2, y, trans=1))
            coef[...] = cp.matmul(Q, z[:m])
            residual_norm[...] = root * cp.linalg.norm(z[m:], axis=0)
            return True
        coef[...] = solve_triangular(R2, cp.matmul(Q2[:m].T, cp.matmul(Q.T, y)))
    residual_norm[...] = cp.linalg.norm(y - cp.matmul(X, coef), axis=0)
    return True


def _by_svd(
    at: Scaled, item: int, ridge: float, rcond: float, coef: Array, rank: Array, residual_norm: Array, status: Array
) -> None:
    paths = importlib.import_module("genkern._cupy.least_squares_paths")
    cp = _launch.cupy()
    n, d = at.X.shape[1:]
    m, k, dtype = min(n, d), at.y.shape[-1], at.X.dtype
    own = slice(item, item + 1)
    found = Modes(
        cp.empty((1, m), dtype), at.exponent[own], cp.empty((1, m, d), dtype), cp.empty((1, m, k), dtype),
        at.y_exponent[own], status[own],
    )  # fmt: skip
    U = _decompose(Scaled(at.X[own], at.y[own], *(a[own] for a in (at.exponent, at.y_exponent, at.status))), found, 0)
    gains, shift = paths.ridge_gains(found, cp.full(1, ridge), 0, 1, rcond)
    paths.expand(found, gains, shift, coef[own])
    s, p = found.s[0].astype(np.float64), found.projections[0]
    kept = s > rcond * s[0]
    rank[item] = kept.sum() * (found.status[0] == 0)
    # What the ridge and the cutoff leave of each mode, and what lies outside of all.
    left = cp.where(kept, 1 - s * _unscaled(gains[0, 0].astype(np.float64), shift[0, 0]) if ridge else 0.0, 1.0)
    outside = at.y[item] - cp.matmul(U, p)
    squares = (outside.astype(np.float64) ** 2).sum(axis=0) + ((left[:, None] * p) ** 2).sum(axis=0)
    exact = (rank[item] == n) & (ridge == 0)
    residual_norm[item] = cp.where(exact, 0.0, _unscaled(cp.sqrt(squares), at.y_exponent[item]))


def _unscaled(values: Array, exponent: Array) -> Array:
    """Values 2^exponent, in float64 and rounded once."""
    return _launch.cupy().ldexp(values.astype(np.float64), exponent)
