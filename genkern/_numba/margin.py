"""Hard margins for installs without the compiled module: the method of the C++ kernel, item after item."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from genkern._numba import _driver
from genkern._numba._driver import jit
from genkern._numba.margin_active_set import CERTIFICATE, EPS, SOLVED, UNDECIDED, run
from genkern._numba.margin_factor import columns_of, dot, precise_dot, project, solve

Array = np.ndarray[Any, Any]
_CHUNK_BYTES = 1 << 20  # of X in one call of the compiled loop: small copies, and Ctrl-C acts between chunks
_SMALLEST = 2.0**-400  # norm of a point relative to the largest entry


def max_margin(
    X: Array, y: Array, tol: float, max_iter: int, coef: Array, margin: Array, dual: Array, support: Array, gap: Array,
    separable: Array, status: Array, n_threads: int,
) -> None:  # fmt: skip
    """As the public function; X (..., n, d), y (..., n), coef (..., d), dual and support (..., n)."""
    batch, (n, d) = X.shape[:-2], X.shape[-2:]
    if not batch:
        X, y, batch = X[None], y[None], (1,)
    items = math.prod(batch)
    rows = (coef.reshape(items, d), dual.reshape(items, n), support.reshape(items, n))
    numbers = (margin.reshape(items), gap.reshape(items), separable.reshape(items), status.reshape(items))

    def solve_chunk(first: int, last: int) -> None:
        index = np.unravel_index(np.arange(first, last), batch)
        # Copies in float64, so that the loop is compiled once, for one dtype and layout.
        X_part, y_part = (np.ascontiguousarray(view[index], np.float64) for view in (X, y))
        parts = [view[first:last] for view in (*rows, *numbers)]
        wide = [np.empty(part.shape) if part.dtype == np.float32 else part for part in parts]
        _solve_items(X_part, y_part, tol, max_iter, X.dtype == np.float32, *wide)
        for part, result in zip(parts, wide, strict=True):
            part[...] = result

    length = max(1, _CHUNK_BYTES // max(1, n * d * X.itemsize))
    chunks = [(first, min(first + length, items)) for first in range(0, items, length)]
    _driver.run_chunks(solve_chunk, chunks, n_threads)


@jit
def _solve_items(
    X: Array, y: Array, tol: float, max_iter: int, single: bool, coef: Array, dual: Array, support: Array,
    margin: Array, gap: Array, separable: Array, status: Array,
) -> None:  # fmt: skip
    items, n, d = X.shape
    Z, norms = np.empty((n, d)), np.empty(n)
    most = min(n, d)
    w, a, rows = np.zeros(d), np.zeros(most + 1), np.zeros(most + 1, np.int64)
    Q, R = np.empty((most, d)), np.empty((most, most))
    for item in range(items):
        support[item] = False
        separable[item] = False
        exponent = _load(X[item], y[item], Z, norms)
        if exponent == _NOT_FINITE:
            coef[item], dual[item], margin[item], gap[item], status[item] = np.nan, np.nan, np.nan, np.nan, 1
            continue
        coef[item], dual[item], margin[item], gap[item], status[item] = np.nan, 0.0, 0.0, 0.0, 0
        if n == 0:
            coef[item], margin[item], separable[item] = 0.0, np.inf, True
            continue
        outcome, s = UNDECIDED, 0
        in_range = True
        for i in range(n):
            for j in range(d):
                in_range = in_range and (norms[i] >= _SMALLEST or Z[i, j] == 0.0)
        if in_range:
            outcome, s = run(Z, norms, max_iter, w, a, rows, Q, R)
        found, s = _finish(Z, norms, outcome, s, w, a, rows, Q, R)
        own = _relative_gap(Z, norms, found, w, rows, a, s)
        separable[item] = found
        unscale = 0
        if found:
            margin[item] = _times_power(1.0 / math.sqrt(dot(w, w)), exponent)
            for j in range(d):
                coef[item, j] = _rounded(_times_power(w[j], -exponent), single)
                w[j] = _times_power(coef[item, j], exponent)
            unscale = -2 * exponent
        for k in range(s):
            dual[item, rows[k]] = _rounded(_times_power(a[k], unscale), single)
            support[item, rows[k]] = dual[item, rows[k]] > 0
            a[k] = _times_power(dual[item, rows[k]], -unscale)
        # Of the numbers as they are returned; for float64 they are the same but for under- and overflow.
        gap[item] = _relative_gap(Z, norms, found, w, rows, a, s)
        judged = own if single else gap[item]
        status[item] = 0 if judged <= tol and math.isfinite(gap[item]) else 2


_NOT_FINITE = 10000  # in the place of an exponent


@jit
def _load(X: Array, y: Array, Z: Array, norms: Array) -> int:
    """Write y_i x_i, scaled so that the largest entry is in [1/2, 1), and the norms; return the exponent."""
    largest = 0.0
    for i in range(len(Z)):
        if not math.isfinite(y[i]):
            return _NOT_FINITE
        for j in range(Z.shape[1]):
            Z[i, j] = y[i] * X[i, j]
            if not math.isfinite(Z[i, j]):
                return _NOT_FINITE
            largest = max(largest, abs(Z[i, j]))
    exponent = math.frexp(largest)[1]
    for i in range(len(Z)):
        for j in range(Z.shape[1]):
            Z[i, j] = _times_power(Z[i, j], -exponent)
        norms[i] = math.sqrt(dot(Z[i], Z[i]))
    return exponent


@jit
def _times_power(x: float, exponent: int) -> float:
    third = exponent // 3
    return x * math.ldexp(1.0, third) * math.ldexp(1.0, third) * math.ldexp(1.0, exponent - 2 * third)


@jit
def _rounded(x: float, single: bool) -> float:
    return float(np.float32(x)) if single else x


@jit
def _finish(
    Z: Array, norms: Array, outcome: int, s: int, w: Array, a: Array, rows: Array, Q: Array, R: Array
) -> tuple[bool, int]:
    """Turn what `run` left into w with smallest margin 1 and its dual, or into a certificate; returns which, and s."""
    if outcome == SOLVED and s > 0:
        smallest = _smallest_margin(Z, norms, w)
        if smallest > 0.0:
            for j in range(len(w)):
                w[j] /= smallest
            return True, s
    elif outcome == CERTIFICATE:  # what is left of the sum, projected out once more
        columns = columns_of(Z, rows, s + 1)
        c, u, rest = np.zeros(s + 1), np.empty(len(w)), np.empty(len(w))
        for j in range(len(w)):
            rest[j] = precise_dot(columns[j], a, 0.0)
        project(Q, s, rest, c, u)
        solve(R, s, c)
        for k in range(s):
            a[k] = max(a[k] - c[k], 0.0)
        s += 1
    else:
        a[0], rows[0], s = 1.0, np.argmin(norms), 1
    total = 0.0
    for k in range(s):
        total += a[k]
    for k in range(s):
        a[k] /= total
    return False, s


@jit
def _smallest_margin(Z: Array, norms: Array, w: Array) -> float:
    """``min_i <z_i, w>``, precisely for the points that can be the smallest."""
    unit = (len(w) + 8) * EPS * math.sqrt(dot(w, w))
    bound = math.inf
    for i in range(len(Z)):
        bound = min(bound, dot(Z[i], w) + unit * norms[i])
    smallest = math.inf
    for i in range(len(Z)):
        if not dot(Z[i], w) - unit * norms[i] > bound:
            smallest = min(smallest, precise_dot(Z[i], w, 0.0))
    return smallest


@jit
def _relative_gap(Z: Array, norms: Array, found: bool, w: Array, rows: Array, a: Array, s: int) -> float:
    """Gap of w and the multipliers a of `rows`; if none was found, what a leaves of its sum relative to its terms."""
    columns = columns_of(Z, rows, s)
    square, total, terms = 0.0, 0.0, 0.0
    for j in range(len(w)):
        square += precise_dot(columns[j], a, 0.0) ** 2
    for k in range(s):
        total += a[k]
        terms += a[k] * norms[rows[k]]
    if not found:
        if terms > 0.0:
            return math.sqrt(square) / terms
        for k in range(s):
            for j in range(len(w)):
                if a[k] > 0.0 and columns[j, k] != 0.0:  # squares that underflow tell nothing
                    return 1.0
        return 0.0  # points at 0 are a certificate
    smallest = _smallest_margin(Z, norms, w)
    gap = 1.0 - (total - square / 2.0) / (dot(w, w) / (2.0 * smallest * smallest))
    return max(gap, 0.0) if smallest > 0.0 and math.isfinite(gap) else math.inf
