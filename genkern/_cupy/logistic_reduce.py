"""Launches of csrc/cuda/logistic_reduce.cu: wide problems in the coordinates of the span of their rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from genkern._cupy import _launch
from genkern._cupy.logistic_measure import pieces

if TYPE_CHECKING:
    from genkern._cupy.logistic import Call

Array = Any  # of CuPy
SLOTS = 32  # of a reduction over a block, as in the kernels
ONE_BLOCK = 1e7  # n^2 d at most of a problem that one block reduces, in 0.02 seconds on a slow card
POINTS = 8  # iterates to a thread, as in the kernel


@dataclass(frozen=True)
class Reduced:
    """X = L Q, or one X for all, and init = origin + Q^T c of every item."""

    Q: Array  # (items or 1, n, d), float64
    L: Array  # (items or 1, n, n), float64, lower triangular
    origin: Array  # (items, d)
    c: Array  # (items, n)
    q_stride: int
    l_stride: int


def reduced(call: Call) -> Reduced:
    """Of X and init of a call; the way depends on the shape alone."""
    n, d, items, cp = call.n, call.d, call.items, _launch.cupy()
    matrices = 1 if call.item_stride == 0 else items
    found = Reduced(
        cp.empty((matrices, n, d)), cp.zeros((matrices, n, n)), cp.empty((items, d)), cp.zeros((items, n)),
        min(matrices - 1, 1) * n * d, min(matrices - 1, 1) * n * n,
    )  # fmt: skip
    (_by_blocks if n * n * d <= ONE_BLOCK else _by_cusolver)(call, found, matrices)
    return found


def _by_blocks(call: Call, found: Reduced, matrices: int) -> None:
    n, d, items = call.n, call.d, call.items
    rows, origin = (call.kernel("logistic_reduce", name) for name in ("rows", "origin"))
    taken = _launch.cupy().empty((items, n))
    X, sizes = call.X.reshape(matrices, n, d), (np.int32(n), np.int32(d))
    # A barrier takes some of 20 microseconds a row, the caches give a block 10 GB a second.
    each = 2e-5 * n + 1.6e-9 * n * n * d
    together = call.limits.multiprocessors * max(1, int(call.pace.seconds / each))
    for first in range(0, matrices, together):
        some = slice(first, min(matrices, first + together))
        matrix = (X[some], found.Q[some], found.L[some])
        rows((some.stop - first,), (256,), (*matrix, taken[some], *sizes), shared_mem=2 * SLOTS * 8)
        if some.stop < matrices:
            call.launched(0.0)
    for first in range(0, items, together):
        some = slice(first, min(items, first + together))
        own = slice(None) if found.q_stride == 0 else some
        given = (found.Q[own], np.int64(found.q_stride), call.start.reshape(items, d)[some], call.status[some])
        origin((some.stop - first,), (256,), (*given, found.origin[some], found.c[some], taken[some], *sizes))
        if some.stop < items:
            call.launched(0.0)


def _by_cusolver(call: Call, found: Reduced, matrices: int) -> None:
    """One after another, so that no bit depends on the batch; arrays of their own are aligned alike."""
    n, d, cp = call.n, call.d, _launch.cupy()
    X, start, basis = call.X.reshape(matrices, n, d), call.start.reshape(call.items, d), None
    for item in range(call.items):
        if item < matrices:
            Q, R = cp.linalg.qr(X[item].astype(np.float64).T)
            found.Q[item], found.L[item] = Q.T, R.T
            basis = cp.ascontiguousarray(Q.T)
        left, c = start[item].astype(np.float64), cp.zeros(n)
        for _ in range(2):  # twice is enough
            taken = cp.matmul(basis, left)
            c = c + taken
            left = left - cp.matmul(taken, basis)
        found.origin[item], found.c[item] = left, c
        call.launched(0.0)


def points(call: Call, found: Reduced, path: Array) -> None:
    """The iterates w = origin + Q^T c of path (items, t, n), into the call's results."""
    n, d, items, count = call.n, call.d, call.items, call.count
    kernel, coef, status = call.kernel("logistic_reduce", "points"), call.coef.reshape(items, count, d), call.status
    most = max(1, int(call.pace.seconds / (2e-11 * n * d)))
    done = 0
    for some, begin, length in pieces(items, count, most, POINTS):
        own = slice(None) if found.q_stride == 0 else some
        blocks = (some.stop - some.start) * -(-length // POINTS) * -(-d // 256)
        arrays = (path[some], found.Q[own], np.int64(found.q_stride), found.origin[some], status[some], coef[some])
        kernel((blocks,), (256,), (*arrays, *(np.int32(v) for v in (n, d, count, begin, length))))
        done += (some.stop - some.start) * length
        if done < items * count:
            call.launched(float(call.steps[-1]), 0.5 * done / (items * count))
