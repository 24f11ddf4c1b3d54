"""Launches of csrc/cuda/logistic_measure.cu: what is reported of logged iterates."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from genkern._cupy import _launch

if TYPE_CHECKING:
    from genkern._cupy.logistic import Call

Array = Any  # of CuPy
SLOTS = 32  # of a reduction over a block, as in the kernels
WORKSPACE = 128 << 20  # bytes of margins at a time, where one iterate does not need more
COLUMNS = 4096  # to a block
ROWS = 2048  # to a block that adds up losses
TOGETHER = 16  # iterates to a block, at most


def pieces(items: int, count: int, points: int, multiple: int) -> Iterator[tuple[slice, int, int]]:
    """Some items, their first iterate and how many: at most `points` iterates together, if it can be a multiple."""
    if points >= count:
        step = points // count
        for first in range(0, items, step):
            yield slice(first, min(items, first + step)), 0, count
        return
    step = points // multiple * multiple or points
    for item in range(items):
        for begin in range(0, count, step):
            yield slice(item, item + 1), begin, min(step, count - begin)


def measure(call: Call, log_loss: Array, margin: Array, norm: Array) -> None:
    """Logarithm of L, margin and norm of every logged iterate; NaN from where it is not finite."""
    n, d, items, count, cp = call.n, call.d, call.items, call.count, _launch.cupy()
    margins, chunks, points = (call.kernel("logistic_measure", name) for name in ("margins", "chunks", "points"))
    column_chunks, row_chunks = max(1, -(-d // COLUMNS)), max(1, -(-n // ROWS))
    # By 50 GFlop/s of float64, a loss for 25 multiply-adds.
    most = min(WORKSPACE // (8 * max(1, n) * column_chunks), int(call.pace.seconds / (4e-11 * max(1, n) * (d + 25))))
    parts = list(pieces(items, count, max(1, most), TOGETHER))
    largest = max((some.stop - some.start) * length for some, _, length in parts)
    work, sums = cp.empty((largest, column_chunks, n)), cp.empty((largest, row_chunks, 2))
    coef, results = call.coef.reshape(items, count, d), [a.reshape(items, count) for a in (log_loss, margin, norm)]
    shared_X, y = call.item_stride == 0, call.y.reshape(items, n)
    X = call.X if shared_X else call.X.reshape(items, n, d)
    loss, done = np.int32(call.loss), 0
    for some, begin, length in parts:
        own, pairs = some.stop - some.start, 1
        while 2 * pairs < min(length, TOGETHER):
            pairs *= 2
        groups, row_blocks = -(-length // (2 * pairs)), -(-n // (256 // pairs))
        if n > 0:
            sizes: tuple[int, ...] = (n, d, count, begin, length, pairs, COLUMNS, column_chunks)
            given = (X if shared_X else X[some], np.int64(call.item_stride), coef[some], work)
            margins(
                (own * groups * row_blocks * column_chunks,), (256,), (*given, *(np.int32(v) for v in sizes)),
                shared_mem=8 * (256 // pairs * 17 + 2 * pairs * 16),
            )  # fmt: skip
        sizes = (n, length, column_chunks, ROWS, row_chunks)
        chunks(
            (own * length * row_chunks,), (128,), (work, y[some], sums, *(np.int32(v) for v in sizes), loss),
            shared_mem=2 * SLOTS * 8,
        )  # fmt: skip
        sizes = (n, d, count, begin, length, row_chunks)
        arrays = (sums, call.status[some], coef[some], *(values[some] for values in results))
        points((own * length,), (128,), (*arrays, *(np.int32(v) for v in sizes), loss), shared_mem=4 * SLOTS * 8)
        done += own * length
        if done < items * count:
            call.launched(float(call.steps[-1]), 0.5 + 0.5 * done / (items * count))
