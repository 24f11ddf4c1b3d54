"""The definition of the hard margin: a dual active-set method that factors its active points anew in every step.

What it returns is proved by duality with exactly rounded sums, so the path by which it was found does not matter.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
EPS = 2.0**-52
_DEPENDENT = 64 * EPS  # a point this close to the span of the active ones, relative to the terms of the sum, is in it
_REFINEMENTS = 10
_SMALLEST = 2.0**-400  # norm of a point relative to the largest entry, so that nothing over- or underflows


def max_margin(
    X: Array, y: Array, tol: float, max_iter: int, coef: Array, margin: Array, dual: Array, support: Array, gap: Array,
    separable: Array, status: Array, n_threads: int,
) -> None:  # fmt: skip
    """Min ||w||^2 / 2 with y_i <x_i, w> >= 1; X (..., n, d), y (..., n), coef (..., d), dual and support (..., n)."""
    for item in np.ndindex(status.shape):
        coef[item], margin[item], dual[item], gap[item] = np.nan, np.nan, np.nan, np.nan
        support[item], separable[item], status[item] = False, False, 1
        if not (np.isfinite(X[item]).all() and np.isfinite(y[item]).all()):
            continue
        Z = y[item].astype(np.float64)[:, None] * X[item].astype(np.float64)
        exponent = int(np.frexp(np.abs(Z).max(initial=0.0))[1])  # Z 2^-exponent has entries of at most 1
        Z = np.ldexp(Z, -exponent)
        w, a, found = solve(Z, max_iter)
        unscale = -2 * exponent if found else 0
        with np.errstate(over="ignore", under="ignore"):
            dual[item], margin[item] = np.ldexp(a, unscale), 0.0
            if found:
                coef[item] = np.ldexp(w, -exponent)
                margin[item] = np.ldexp(1.0 / np.linalg.norm(w), exponent) if np.any(w) else np.inf
            w_out = np.ldexp(coef[item].astype(np.float64), exponent)
            a_out = np.ldexp(dual[item].astype(np.float64), -unscale)
        gap[item] = relative_gap(Z, w_out if found else None, a_out)
        support[item], separable[item] = dual[item] > 0, found
        judged = gap[item] if coef.dtype == np.float64 else relative_gap(Z, w if found else None, a)
        status[item] = 0 if judged <= tol and np.isfinite(gap[item]) else 2


def solve(Z: Array, max_iter: int) -> tuple[Array, Array, bool]:
    """The smallest w with Z w >= 1 and its dual a; or w = 0 and a certificate (or the best that was found)."""
    n, d = Z.shape
    if n == 0:
        return np.zeros(d), np.zeros(0), True
    norms = np.linalg.norm(Z, axis=1)
    if np.any((norms < _SMALLEST) & np.any(Z != 0, axis=1)):
        dual = np.zeros(n)
        dual[np.argmin(norms)] = 1.0
        return np.zeros(d), dual, False
    rows, a, certificate = active_set(Z, norms, max_iter)
    dual = np.zeros(n)
    if not certificate:
        w, a = equality(Z[rows]) if rows else (np.zeros(d), a)
        dual[rows] = np.maximum(a, 0.0)
        smallest = min((exact_dot(row, w) for row in Z), default=1.0)
        if smallest > 0.0:
            return w / smallest, dual, True
        if not rows:
            dual[0] = 1.0
        return np.zeros(d), dual / dual.sum(), False
    # What is left of the sum, projected out once more with exact sums.
    active = rows[:-1]
    if active:
        rest = np.array([exact_dot(column, a) for column in Z[rows].T])
        a[:-1] -= np.linalg.lstsq(Z[active].T, rest, rcond=None)[0]
    dual[rows] = np.maximum(a, 0.0)
    return np.zeros(d), dual / dual.sum(), False


def active_set(Z: Array, norms: Array, max_iter: int) -> tuple[list[int], Array, bool]:
    """Active rows and their multipliers, by Goldfarb and Idnani (1983); True: they are a certificate, last row last."""
    rows: list[int] = []
    ignored: set[int] = set()  # rows whose violation was mere rounding
    w, a = np.zeros(Z.shape[1]), np.zeros(0)
    steps = 0
    while True:
        missing = 1.0 - Z @ w
        missing[[*rows, *ignored]] = 0.0
        missing[missing <= 8 * EPS * (1.0 + np.abs(Z) @ np.abs(w))] = 0.0
        if steps >= max_iter or not np.any(missing):
            return rows, a, False
        enters = int(np.argmax(missing / np.where(norms > 0, norms, 1e-300)))
        z, violation, multiplier = Z[enters], missing[enters], 0.0
        while True:
            # Moving w along `across`, the part of z orthogonal to the active rows, leaves their margins as they are;
            # the multiplier of z grows by t and those of the active rows fall by t r.
            r = np.linalg.lstsq(Z[rows].T, z, rcond=None)[0] if rows else np.zeros(0)
            across = z - Z[rows].T @ r
            length = float(across @ across)
            dependent = math.sqrt(length) <= _DEPENDENT * float(norms[enters] + np.abs(r) @ norms[rows])
            full = math.inf if dependent else violation / length
            ratios = np.array([a[k] / r[k] if r[k] > 0.0 else math.inf for k in range(len(rows))])
            partial = float(ratios.min(initial=math.inf))
            if min(full, partial) == math.inf:
                if violation < 0.5:  # z = sum_j r_j z_j with r <= 0 has margin 0 or less; this is rounding
                    ignored.add(enters)
                    break
                return [*rows, enters], np.append(-r, 1.0), True
            t = min(full, partial)
            a, multiplier, steps = a - t * r, multiplier + t, steps + 1
            if not dependent:
                violation -= t * length
            if full <= partial:
                rows.append(enters)
                before = float(w @ w)
                w, a = equality(Z[rows])
                a = np.maximum(a, 0.0)
                if float(w @ w) > before * (1.0 + 4 * EPS):
                    ignored.clear()
                else:
                    ignored.add(enters)
                break
            leaves = int(np.argmin(ratios))
            del rows[leaves]
            a = np.delete(a, leaves)


def equality(active: Array) -> tuple[Array, Array]:
    """The smallest w with active w = 1, and a with active^T a = w: by QR, refined with exactly rounded residuals."""
    Q, R = np.linalg.qr(active.T)
    v = np.linalg.solve(R.T, np.ones(len(active)))
    w, a = Q @ v, np.linalg.solve(R, v)
    previous = math.inf
    for _ in range(_REFINEMENTS):
        primal = _missing(active, w)
        dual = np.array([exact_dot(np.append(row, 1.0), np.append(a, -x)) for row, x in zip(active.T, w, strict=True)])
        y = np.linalg.solve(R.T, primal) - Q.T @ dual
        change = Q @ y + dual
        size = float(np.linalg.norm(change))
        if not size < previous / 2.0:
            break
        w, a, previous = w + change, a + np.linalg.solve(R, y), size
    # The rounding of a has left its mark on small entries of w: now the margins alone.
    previous = math.inf
    for _ in range(_REFINEMENTS):
        primal = _missing(active, w)
        size = float(np.abs(primal).max())
        if not size < previous / 2.0:
            break
        w_before, previous = w, size
        w = w + Q @ np.linalg.solve(R.T, primal)
    else:
        return w, a
    return (w if size <= previous else w_before), a


def _missing(active: Array, w: Array) -> Array:
    """1 - active w, exactly rounded."""
    return np.array([exact_dot(np.append(row, 1.0), np.append(-w, 1.0)) for row in active])


def relative_gap(Z: Array, w: Array | None, a: Array) -> float:
    """The gap of a primal w and a dual a, or what a certificate a leaves of its sum relative to its terms."""
    total = np.array([exact_dot(column, a) for column in Z.T])
    if w is None:
        terms = math.fsum(a * np.linalg.norm(Z, axis=1))
        if terms == 0.0:
            return (
                1.0 if np.any(Z[a > 0]) else 0.0
            )  # squares that underflow tell nothing; points at 0 are a certificate
        return float(np.linalg.norm(total)) / terms
    if not (np.isfinite(w).all() and np.isfinite(a).all()):
        return math.inf
    smallest = min((exact_dot(row, w) for row in Z), default=1.0)
    primal = math.fsum(w * w) / (2.0 * smallest * smallest) if smallest > 0.0 else math.inf
    dual = math.fsum(a) - math.fsum(total * total) / 2.0
    return max(0.0, 1.0 - dual / primal) if primal > 0.0 else 0.0


def exact_dot(x: Array, y: Array) -> float:
    """The scalar product, rounded once: every product as a sum of two floats, then an exact sum."""
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        return math.nan
    product = x * y
    (x_high, x_low), (y_high, y_low) = _split(x), _split(y)
    error = ((x_high * y_high - product) + x_high * y_low + x_low * y_high) + x_low * y_low
    return math.fsum([*product, *error])


def _split(x: Array) -> tuple[Array, Array]:
    scaled = 134217729.0 * x
    high = scaled - (scaled - x)
    return high, x - high
