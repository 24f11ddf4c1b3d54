"""Least squares of problems beyond shared memory, from their triangles: by cuBLAS, or by cuSOLVER's SVD."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from genkern._cupy import _launch
from genkern._cupy.least_squares_triangles import Triangles, factored, norms, parts, scaled, states, unscaled

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


def modes(matrices: Any, sides: Any) -> Modes:
    """Of some items; zeros where the status is not 0."""
    at = factored(matrices, sides)
    found = _no_modes(at, slice(None), matrices.array.shape[-1])
    for item, state in enumerate(at.status.get()):
        if state == 0:
            _decompose(at, item, found, item)
    return found


def singular_values(matrices: Any, s: Array) -> None:
    """Of every item; s (..., min(n, d))."""
    cp = _launch.cupy()
    values = s.reshape(-1, s.shape[-1])
    none = type(matrices)(cp.empty((matrices.array.shape[-2], 0), s.dtype), 0, matrices.count)
    for part in parts(matrices, none):
        count = part.stop - part.start
        at = factored(matrices.part(part.start, count), none.part(part.start, count))
        values[part] = np.nan
        for item, state in enumerate(at.status.get()):
            found = _svd(at.R(item), compute_uv=False) if state == 0 else None
            if found is not None:
                values[part.start + item] = unscaled(found, at.exponent[item])


def lstsq(
    matrices: Any, sides: Any, ridge: Any, penalty: Array, penalty_stride: int, rcond: float, coef: Array, rank: Array,
    residual_norm: Array, status: Array,
) -> None:  # fmt: skip
    """QR of all items of a part, then one answer to the host: which of them R may solve, and which need an SVD.

    `penalty` is `ridge` on the device. Each SVD waits once more, since cuSOLVER has to be asked whether it converged.
    """
    items, (n, d), k = matrices.count, matrices.array.shape[-2:], sides.array.shape[-1]
    ridge = ridge.reshape(-1)
    results = (coef.reshape(items, d, k), rank.reshape(items), residual_norm.reshape(items, k), status.reshape(items))
    for part in parts(matrices, sides):
        count = part.stop - part.start
        own = (matrices.part(part.start, count), sides.part(part.start, count))
        into = tuple(result[part] for result in results)
        if min(n, d) == 0:
            _empty(*own, *into)
        else:
            _part(*own, ridge[part], penalty[part] if penalty_stride else penalty, penalty_stride, rcond, *into)


def _empty(matrices: Any, sides: Any, coef: Array, rank: Array, residual_norm: Array, status: Array) -> None:
    """Without rows or columns: the residual is y."""
    cp = _launch.cupy()
    at = scaled(matrices, sides)
    status[...] = at.status
    rank[...] = 0
    coef[...] = cp.where(at.status == 0, 0.0, np.nan)[:, None, None]
    lengths = unscaled(cp.sqrt((at.y.astype(np.float64) ** 2).sum(axis=1)), at.y_exponent)
    residual_norm[...] = cp.where(at.status[:, None] == 0, lengths, np.nan)


def _part(
    matrices: Any, sides: Any, ridge: Any, penalty: Array, penalty_stride: int, rcond: float, coef: Array, rank: Array,
    residual_norm: Array, status: Array,
) -> None:  # fmt: skip
    cp = _launch.cupy()
    at = factored(matrices, sides)
    n, d = matrices.array.shape[-2:]
    state = states(at, max(n, d), penalty, penalty_stride, rcond)
    status[...] = at.status
    rank[...] = cp.asarray(np.where(state == 0, min(n, d), 0).astype(np.int32))
    shift = at.y_exponent - at.exponent[:, None]
    roots = cp.ldexp(cp.sqrt(penalty), -at.exponent).astype(at.c.dtype)
    for item, answer in enumerate(state):
        if answer == 1:
            coef[item] = residual_norm[item] = np.nan
        elif answer == 0 and at.c.shape[-1]:
            w, norm = _by_qr(at, item, roots[item] if ridge[item] else None)
            coef[item] = unscaled(w, shift[item])
            residual_norm[item] = unscaled(norm, at.y_exponent[item])
    for item, answer in enumerate(state):
        if answer == 3:
            own = slice(item, item + 1)
            single = penalty[own] if penalty_stride else penalty
            _by_svd(at, item, float(ridge[item]), single, rcond, coef[own], rank[own], residual_norm[own], status[own])


def _by_qr(at: Triangles, item: int, root: Array) -> tuple[Array, Array]:
    """Scaled coefficients and norms of the residuals; `root` of the ridge term. Forms: csrc/cuda/least_squares.cu."""
    cp = _launch.cupy()
    solve_triangular = importlib.import_module("cupyx.scipy.linalg").solve_triangular
    R, c, rest = at.R(item), at.sides(item), at.rest[item]
    m, wide = len(R), bool(at.bases)
    if root is None:
        z = solve_triangular(R, c, trans=int(wide))
    else:
        Q2, R2 = cp.linalg.qr(cp.concatenate([R, root * cp.eye(m, dtype=R.dtype)]))
        if wide:
            z = cp.matmul(Q2, solve_triangular(R2, c, trans=1))
            z, rest = z[:m], root * norms(z[m:])
        else:
            z = solve_triangular(R2, cp.matmul(Q2[:m].T, c))
            rest = cp.hypot(rest, norms(c - cp.matmul(R, z)))
    return (cp.matmul(at.bases[item], z) if wide else z), rest


def _by_svd(
    at: Triangles, item: int, ridge: float, penalty: Array, rcond: float, coef: Array, rank: Array,
    residual_norm: Array, status: Array,
) -> None:  # fmt: skip
    """One item, all arrays with an axis of length 1 for it."""
    paths = importlib.import_module("genkern._cupy.least_squares_paths")
    cp = _launch.cupy()
    found = _no_modes(at, slice(item, item + 1), coef.shape[1])
    _decompose(at, item, found, 0)
    gains, shift = paths.ridge_gains(found, penalty, 0, 1, rcond)
    paths.expand(found, gains, shift, coef)
    s, p = found.s[0].astype(np.float64), found.projections[0]
    kept = s > rcond * s[0]
    rank[0] = kept.sum() * (found.status[0] == 0)
    status[...] = found.status
    # What the ridge and the cutoff leave of each mode, and what lies outside of all.
    left = cp.where(kept, 1 - s * unscaled(gains[0, 0], shift[0, 0]) if ridge else 0.0, 1.0)
    lengths = cp.hypot(at.rest[item], norms(left[:, None] * p))
    lengths = cp.where((rank[0] == at.n) & (ridge == 0), 0.0, unscaled(lengths, at.y_exponent[item]))
    residual_norm[0] = cp.where(found.status[0] == 0, lengths, np.nan)


def _no_modes(at: Triangles, items: slice, d: int) -> Modes:
    cp = _launch.cupy()
    exponent, y_exponent, status = at.exponent[items], at.y_exponent[items], at.status[items]
    m, k = at.c.shape[1:]
    count, dtype = len(exponent), at.c.dtype
    return Modes(
        cp.zeros((count, m), dtype), exponent, cp.zeros((count, m, d), dtype), cp.zeros((count, m, k), dtype),
        y_exponent, status.copy(),
    )  # fmt: skip


def _decompose(at: Triangles, item: int, found: Modes, place: int) -> None:
    """R = U diag(s) V^T; for n < d X = R^T Q^T changes the sides of U and V."""
    cp = _launch.cupy()
    decomposition = _svd(at.R(item), full_matrices=False)
    if decomposition is None:
        found.status[place] = 2
        return
    U, s, Vt = decomposition
    found.s[place] = s
    found.basis[place] = cp.matmul(U.T, at.bases[item].T) if at.bases else Vt
    found.projections[place] = cp.matmul(Vt if at.bases else U.T, at.sides(item))
    found.status[place] = cp.where(cp.isfinite(s).all(), found.status[place], np.int8(2))


def _svd(R: Array, **options: Any) -> Any:
    """Of a triangle by cuSOLVER, None if that did not converge: of which CuPy says nothing unless it is told to ask."""
    with importlib.import_module("cupyx").errstate(linalg="raise"):
        try:
            return _launch.cupy().linalg.svd(R, **options)
        except np.linalg.LinAlgError:
            return None
