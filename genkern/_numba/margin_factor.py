"""The active points of a hard-margin problem as a thin QR factorization that is updated, compiled by Numba.

Z (n, d) has the rows y_i x_i; the active ones are Z[rows[:s]]. Row k of Q (m, d) is the k-th orthonormal column, row k
of R (m, m) the k-th column of the triangle. Points enter by Gram-Schmidt, twice where needed, and leave by Givens
rotations. No BLAS, so an item's bits do not depend on anything around it.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from genkern._numba._driver import jit

Array = np.ndarray[Any, Any]
REFINEMENTS = 10


@jit
def dot_of(x: Array, y: Array, count: int) -> float:
    """Of the first `count` entries. Four sums at a time hide the latency of the additions."""
    a = b = c = e = 0.0
    for j in range(0, count - 3, 4):
        a += x[j] * y[j]
        b += x[j + 1] * y[j + 1]
        c += x[j + 2] * y[j + 2]
        e += x[j + 3] * y[j + 3]
    for j in range(count // 4 * 4, count):
        a += x[j] * y[j]
    return (a + b) + (c + e)


@jit
def dot(x: Array, y: Array) -> float:
    """The scalar product."""
    return dot_of(x, y, len(x))


@jit
def precise_dot(x: Array, y: Array, start: float) -> float:
    """``start + <x, y>`` in twice the precision, rounded once (Ogita, Rump, Oishi 2005; products by Dekker 1971)."""
    high, low = start, 0.0
    for j in range(min(len(x), len(y))):
        product = x[j] * y[j]
        s, t = 134217729.0 * x[j], 134217729.0 * y[j]
        x_high, y_high = s - (s - x[j]), t - (t - y[j])
        x_low, y_low = x[j] - x_high, y[j] - y_high
        error = ((x_high * y_high - product) + x_high * y_low + x_low * y_high) + x_low * y_low
        total = high + product
        part = total - high
        low += ((high - (total - part)) + (product - part)) + error
        high = total
    return high + low


@jit
def copy(source: Array, target: Array, count: int) -> None:
    """Loops, here and below: array expressions take Numba seconds to compile."""
    for k in range(count):
        target[k] = source[k]


@jit
def add(factor: float, x: Array, y: Array, count: int) -> None:
    """Add ``factor x`` to y, the first `count` entries."""
    for k in range(count):
        y[k] += factor * x[k]


@jit
def project(Q: Array, s: int, z: Array, c: Array, u: Array) -> float:
    """Coordinates c of z in Q, and u, what is orthogonal to Q; returns ``||u||^2``."""
    copy(z, u, len(u))
    before = dot(z, z)
    length = before
    for attempt in range(2):
        for k in range(s):
            share = dot(Q[k], u)
            add(-share, Q[k], u, len(u))
            c[k] = share if attempt == 0 else c[k] + share
        length = dot(u, u)
        if length >= 0.5 * before:
            break
    return length


@jit
def solve(R: Array, s: int, x: Array) -> None:
    """Overwrite x by ``R^-1 x``."""
    for k in range(s - 1, -1, -1):
        x[k] /= R[k, k]
        add(-x[k], R[k], x, k)


@jit
def solve_transposed(R: Array, s: int, x: Array) -> None:
    """Overwrite x by ``R^-T x``."""
    for k in range(s):
        x[k] = (x[k] - dot_of(R[k], x, k)) / R[k, k]


@jit
def remove(Q: Array, R: Array, s: int, leaving: int, c: Array, u: Array) -> None:
    """Take out an active point; the coordinates c of some point follow, and u regains what is then orthogonal to Q."""
    for k in range(leaving, s - 1):
        r = R[k + 1]
        norm = math.sqrt(r[k] * r[k] + r[k + 1] * r[k + 1])
        cosine, sine = r[k] / norm, r[k + 1] / norm
        for later in range(k + 1, s):
            x, y = R[later, k], R[later, k + 1]
            R[later, k], R[later, k + 1] = cosine * x + sine * y, cosine * y - sine * x
        c[k], c[k + 1] = cosine * c[k] + sine * c[k + 1], cosine * c[k + 1] - sine * c[k]
        for j in range(len(u)):
            x, y = Q[k, j], Q[k + 1, j]
            Q[k, j], Q[k + 1, j] = cosine * x + sine * y, cosine * y - sine * x
        copy(R[k + 1], R[k], k + 1)
    add(c[s - 1], Q[s - 1], u, len(u))


@jit
def columns_of(Z: Array, rows: Array, s: int) -> Array:
    """The active rows of Z, transposed: (d, s)."""
    columns = np.empty((Z.shape[1], s))
    for k in range(s):
        for j in range(Z.shape[1]):
            columns[j, k] = Z[rows[k], j]
    return columns


@jit
def refine(Z: Array, rows: Array, Q: Array, R: Array, s: int, w: Array, a: Array) -> None:
    """Newton's method on ``Z_S w = 1`` and ``Z_S^T a = w`` with precise residuals, then on the first alone."""
    columns = columns_of(Z, rows, s)
    y, rest = np.empty(s), np.empty(len(w))
    previous = math.inf
    for _ in range(REFINEMENTS):
        for k in range(s):
            y[k] = -precise_dot(Z[rows[k]], w, -1.0)
        solve_transposed(R, s, y)
        for j in range(len(w)):
            rest[j] = precise_dot(columns[j], a, -w[j])
        for k in range(s):
            y[k] -= dot(Q[k], rest)
        for k in range(s):
            add(y[k], Q[k], rest, len(w))
        change = math.sqrt(dot(rest, rest))
        if not change < previous / 2.0:
            break
        solve(R, s, y)
        add(1.0, rest, w, len(w))
        add(1.0, y, a, s)
        previous = change
    previous = math.inf  # the rounding of a has left its mark on small entries of w: now the margins alone
    for _ in range(REFINEMENTS):
        largest = 0.0
        for k in range(s):
            y[k] = -precise_dot(Z[rows[k]], w, -1.0)
            largest = max(largest, abs(y[k]))
        if largest > previous:
            copy(rest, w, len(w))
        if not largest < previous / 2.0:
            return
        previous = largest
        copy(w, rest, len(w))
        solve_transposed(R, s, y)
        for k in range(s):
            add(y[k], Q[k], w, len(w))


@jit
def equality(Z: Array, rows: Array, Q: Array, R: Array, s: int, w: Array, a: Array) -> None:
    """The smallest w with margins of 1 at the active points and their multipliers a, free of the steps' rounding."""
    for k in range(s):
        a[k] = 1.0
    solve_transposed(R, s, a)
    for j in range(len(w)):
        w[j] = 0.0
    for k in range(s):
        add(a[k], Q[k], w, len(w))
    solve(R, s, a)
    refine(Z, rows, Q, R, s, w, a)
    for k in range(s):
        a[k] = max(a[k], 0.0)
