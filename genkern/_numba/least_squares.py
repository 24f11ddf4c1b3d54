"""Least squares for installs without the compiled module.

`lstsq` factors every item by a Householder QR of its own and proves full rank from the inverse of R; only items
without that proof, and the paths, need an SVD. That is LAPACK's, called from the calling thread alone: several
threads in BLAS at once would change bits, and NumPy offers no way to hold its threads.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from genkern._numba import _driver, householder, spectral_filters
from genkern._reference import least_squares as reference

Array = np.ndarray[Any, Any]
_CHUNK_BYTES = 1 << 20  # of X in one call of the compiled loop: small copies, and Ctrl-C acts between chunks


def lstsq(
    X: Array, y: Array, ridge: Array, rcond: float, coef: Array, rank: Array, residual_norm: Array, status: Array,
    n_threads: int,
) -> None:  # fmt: skip
    """As the public function; X (..., n, d), y (..., n, k), coef (..., d, k)."""
    batch, (n, d), k = X.shape[:-2], X.shape[-2:], y.shape[-1]
    if not batch:
        X, y, ridge, batch = X[None], y[None], ridge[None], (1,)
    items = math.prod(batch)
    outputs = (coef.reshape(items, d, k), rank.reshape(items), residual_norm.reshape(items, k), status.reshape(items))
    # Full rank is proved below this bound of s_max / s_min; the margin covers the rounding errors in R and its inverse.
    limit = 1 / (2 * rcond + 8 * max(n, d, 1) * float(np.finfo(X.dtype).eps))

    def solve(first: int, last: int) -> None:
        index = np.unravel_index(np.arange(first, last), batch)
        # Indexing copies this chunk, so that the loop is compiled for one layout only.
        X_part, y_part, ridge_part = (np.ascontiguousarray(view[index]) for view in (X, y, ridge))
        coef, rank, residual_norm, status = (output[first:last] for output in outputs)
        householder.solve_chunk(X_part, y_part, ridge_part, limit, coef, rank, residual_norm, status)

    length = max(1, _CHUNK_BYTES // max(1, n * d * X.itemsize))
    chunks = [(first, min(first + length, items)) for first in range(0, items, length)]
    _driver.run_chunks(solve, chunks, n_threads)
    for item in np.flatnonzero(outputs[3] == householder.UNDECIDED):
        where = np.unravel_index(item, batch)
        _solve_by_svd(X[where], y[where], float(ridge[where]), rcond, *(output[item : item + 1] for output in outputs))


def ridge_path(X: Array, y: Array, ridges: Array, rcond: float, coef: Array, n_threads: int) -> None:
    """As the public function; coef (..., r, d, k)."""
    for item in np.ndindex(X.shape[:-2]):
        modes = _modes(X[item], y[item], rcond)
        if modes is None:
            coef[item] = np.nan
            continue
        gains = np.empty((ridges.size, modes.rank))
        shifts = [_ridge_gains(modes, float(ridge), gains[r]) for r, ridge in enumerate(ridges)]
        _expand(modes, gains, np.array(shifts, np.int64), coef[item])


def gd_path(
    X: Array, y: Array, steps: Array, step_size: Array, momentum: float, nesterov: bool, rcond: float, coef: Array,
    divergent: Array, n_threads: int,
) -> None:  # fmt: skip
    """As the public function; coef (..., t, d, k)."""
    endless = bool(np.isinf(steps).any())
    limit = 4.0 / 3.0 if nesterov else 2.0 * (1.0 + momentum)
    for item in np.ndindex(divergent.shape):
        modes = _modes(X[item], y[item], rcond)
        divergent[item] = False
        if modes is None:
            coef[item] = np.nan
            continue
        given = float(step_size[item])
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            if math.isnan(given):
                a = (modes.s / modes.s[:1]) ** 2
            else:
                a = np.ldexp(given, 2 * modes.x_exponent) * modes.s * modes.s
            divergent[item] = bool(np.any(a > limit) or (endless and np.any(a == limit)))
            phi = np.empty((steps.size, modes.rank))
            if nesterov:
                spectral_filters.nesterov_filters(a, np.argsort(steps, kind="stable"), steps, phi)
            else:
                spectral_filters.momentum_filters(a, momentum, steps, phi)
            phi /= modes.s
        _expand(modes, phi, np.zeros(steps.size, np.int64), coef[item])


def singular_values(X: Array, s: Array, n_threads: int) -> None:
    """As the public function; s (..., min(n, d))."""
    reference.singular_values(X, s, n_threads)


def _modes(X: Array, y: Array, rcond: float) -> reference.Modes | None:
    try:
        return reference.Modes(X, y, rcond)
    except (reference.NotFiniteError, np.linalg.LinAlgError):
        return None


def _ridge_gains(modes: reference.Modes, ridge: float, gains: Array) -> int:
    """Write the gains of the scaled modes; the true ones are 2^shift of them, beyond the scale of X itself."""
    fraction, exponent = math.frexp(ridge)
    relative = exponent - 2 * modes.x_exponent
    if ridge > 0 and relative > 600:  # s^2 is nothing beside it, and the scaled ridge might overflow
        gains[:] = modes.s / fraction
        return -relative
    spectral_filters.ridge_gains(modes.s, math.ldexp(fraction, relative), gains)
    return 0


def _expand(modes: reference.Modes, gains: Array, shifts: Array, coef: Array) -> Array:
    """Write V diag(gain) U^T y for every row of gains (filters, modes) to coef (filters, d, k); return it scaled."""
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        largest = np.abs(np.where(np.isfinite(gains), gains, 0.0)).max(axis=1, initial=0.0)
        own = np.frexp(largest)[1]
        projections = modes.U.T @ modes.b
        filters, k = gains.shape[0], projections.shape[1]
        weights = np.ldexp(gains, -own[:, None]).T[:, :, None] * projections[:, None, :]
        product = modes.Vt.T @ weights.reshape(modes.rank, filters * k)
        product = product.reshape(coef.shape[1], filters, k).transpose(1, 0, 2)
        shift = (own + shifts)[:, None, None]
        coef[...] = np.ldexp(product, shift + modes.y_exponent - modes.x_exponent)
        return np.asarray(np.ldexp(product, shift))


def _solve_by_svd(
    X: Array, y: Array, ridge: float, rcond: float, coef: Array, rank: Array, residual_norm: Array, status: Array
) -> None:
    modes = _modes(X, y, rcond)
    if modes is None:  # not because of the data, which the QR has seen to be finite
        coef[...], rank[...], residual_norm[...], status[...] = np.nan, 0, np.nan, 2
        return
    gains = np.empty((1, modes.rank))
    shift = _ridge_gains(modes, ridge, gains[0])
    w = _expand(modes, gains, np.array([shift]), coef)[0]
    interpolates = modes.rank == X.shape[0] and ridge == 0
    residual = np.zeros_like(modes.b) if interpolates else modes.X @ w - modes.b
    with np.errstate(over="ignore", under="ignore"):
        residual_norm[...] = np.ldexp(np.linalg.norm(residual, axis=0), modes.y_exponent)
    rank[...], status[...] = modes.rank, 0
