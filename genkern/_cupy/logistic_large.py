"""Launches of csrc/cuda/logistic_large.cu and logistic_wide.cu: descent beyond the shared memory of a block."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from genkern._cupy import _launch

if TYPE_CHECKING:
    from genkern._cupy.logistic import Call

Array = Any  # of CuPy
SLOTS = 32  # of a reduction over a block, as in the kernels
TALL = 512  # columns at most of a problem whose rows are held in shared memory, as in logistic_large.cu
TILE_BYTES, TILE_ROWS = 32 << 10, 128  # of such rows, at most
CHUNKS = 512  # of rows at most: four blocks to a multiprocessor, of as many as a large GPU has
COLUMNS = 4096  # of a row to a warp
WEIGHTS = 256  # rows to a block, or a multiple of this
SPLIT = 4  # such chunks of rows, from which on the gradient has blocks of its own for each, unless it has CHUNKS anyway
WORKSPACE = 256 << 20  # bytes of sums at a time, where one item does not need more
STEEPEST = 1024  # threads at most that look for the steepest column, of 32 each

Step = Callable[[tuple[Any, ...]], None]


def _power_of_two(least: float) -> int:
    power = 1
    while power < least:
        power *= 2
    return power


@dataclass(frozen=True)
class Tall:
    """How blocks share a problem (n, k) of short rows; of the shape alone, as the order of the sums is."""

    tile: int  # rows in shared memory
    tiles: int  # of a chunk
    chunks: int
    parts: int  # lanes that share a row
    width: int  # threads along the columns
    shared: int  # bytes

    @classmethod
    def of(cls, n: int, k: int, itemsize: int) -> Tall:
        """Tiles as large as allowed, but 64 of them where there are rows for it, of 8 at least."""
        tile = _power_of_two((TILE_BYTES // (k * itemsize) + 1) / 2)
        tile = min(tile, TILE_ROWS, max(8, _power_of_two(n / 64)))
        tiles = -(-n // (tile * CHUNKS))
        shared = (2 * SLOTS + 2) * 8 + (k + tile + max(256, tile * k)) * itemsize
        parts, width = min(32, _power_of_two(k / 4)), min(256, max(4, _power_of_two(k)))
        return cls(tile, tiles, -(-n // (tile * tiles)), parts, width, shared)

    def workspace(self, n: int, k: int, itemsize: int) -> int:
        """Bytes of sums of an item."""
        return self.chunks * (k * itemsize + 16)


@dataclass(frozen=True)
class Wide:
    """How blocks share a problem (n, k) of long rows; of the shape alone."""

    column_chunks: int
    rows: int  # of a chunk
    chunks: int
    split: bool  # whether a chunk has its own share of the gradient
    warps: int  # of a block that takes the step of 32 columns, or adds up a share of it

    @classmethod
    def of(cls, n: int, k: int) -> Wide:
        """A warp of a step has 32 rows or more, or there are 8.

        19 blocks would step k = 600 columns of n = 10^6 rows: there each chunk of rows has that many.
        """
        rows = WEIGHTS * -(-n // (WEIGHTS * CHUNKS))
        chunks = -(-n // rows)
        split = chunks >= SPLIT and -(-k // 32) < CHUNKS
        return cls(-(-k // COLUMNS), rows, chunks, split, 8 if split else min(16, max(8, _power_of_two(n / 32))))

    def workspace(self, n: int, k: int, itemsize: int) -> int:
        """Bytes of sums of an item."""
        return (self.column_chunks + 1) * n * itemsize + self.chunks * (16 + k * itemsize * self.split)


@dataclass(frozen=True)
class Part:
    """Some items of a call."""

    items: int
    A: Array  # (items or 1, n, k)
    y: Array  # (items, n)
    eta: Array  # (items)
    status: Array
    x: Array  # (items, k), as extra
    extra: Array
    path: Array  # (items, count, k)


def descend(call: Call, A: Array, item_stride: int, x: Array, extra: Array, path: Array, triangular: bool) -> None:
    """All steps of A (items, n, k) from x (items, k), which they change, into path (items, t, k)."""
    n, k, items, count = call.n, x.shape[-1], call.items, call.count
    path = path.reshape(items, count, k)
    if n == 0 or k == 0:  # nothing to follow
        path[...] = x.reshape(items, 1, k)
        return
    A = A.reshape(-1, n, k)
    y, eta, x, extra = call.y.reshape(items, n), call.eta.reshape(items), x.reshape(items, k), extra.reshape(items, k)
    arrays = (y, eta, call.status, x, extra, path)
    plan = Tall.of(n, k, x.dtype.itemsize) if k <= TALL else Wide.of(n, k)
    together = max(1, WORKSPACE // plan.workspace(n, k, x.dtype.itemsize))
    for first in range(0, items, together):
        some = slice(first, min(items, first + together))
        matrices = A if item_stride == 0 else A[some]
        _follow(
            call, Part(some.stop - first, matrices, *(a[some] for a in arrays)), plan, first, item_stride, triangular
        )


def _follow(call: Call, part: Part, plan: Tall | Wide, first: int, item_stride: int, triangular: bool) -> None:
    """All steps of the items from `first` on."""
    n, k, items, last = call.n, part.x.shape[-1], part.items, float(call.steps[-1])
    following = int(np.searchsorted(call.steps, 0.0, side="right"))
    part.path[:, :following] = part.x[:, None]
    column_blocks = -(-k // 32)
    bests = _launch.cupy().empty((items, column_blocks), np.int32)
    state = (part.eta, part.x, part.extra, part.path, bests, np.int32(k), np.int32(call.count))
    if isinstance(plan, Tall):
        step = _tall(call, part, plan, item_stride, state, triangular)
    else:
        step = _wide(call, part, plan, item_stride, state, triangular)
    steepest = call.kernel("logistic_large", "steepest") if call.algorithm == "coordinate" else None
    threads = min(STEEPEST, -(-column_blocks // 32) * 32)
    together = max(1, int(call.pace.seconds / (2e-5 + 4e-11 * n * k * items)))  # 100 GFlop/s, 200 GB/s
    for t in range(1, int(last) + 1):
        stop = following
        while stop < call.count and call.steps[stop] <= t:
            stop += 1
        step((np.int32(following), np.int32(stop), np.float64(t)))
        if steepest is not None:
            moved = (part.eta, part.status, part.x, part.extra, bests, np.int32(k), np.float64(t), *call.rule)
            steepest((items,), (threads,), moved, shared_mem=SLOTS * 8)
            if stop > following:
                part.path[:, following:stop] = part.x[:, None]
        following = stop
        if t % together == 0 or t == last:
            call.launched((first * last + items * t) / call.items)


def _tall(
    call: Call, part: Part, plan: Tall, item_stride: int, state: tuple[Any, ...], triangular: bool
) -> Step:  # fmt: skip
    n, k, items, cp, x = call.n, part.x.shape[-1], part.items, _launch.cupy(), part.x
    shares, sums = cp.empty((items, plan.chunks, k), x.dtype), cp.empty((items, plan.chunks, 2))
    run = call.kernel("logistic_large", "pass")
    sizes = (n, k, plan.tile, plan.tiles, plan.chunks, plan.parts, plan.width, triangular)
    given = (
        part.A, np.int64(item_stride), part.y, part.status, x, shares, sums, *(np.int32(v) for v in sizes), *call.rule
    )  # fmt: skip
    finish = _update(call, part, plan.chunks, shares, sums, state)

    def step(logged: tuple[Any, ...]) -> None:
        run((items * plan.chunks,), (256,), given, shared_mem=plan.shared)
        finish(logged)

    return step


def _update(
    call: Call, part: Part, chunks: int, shares: Array, sums: Array, state: tuple[Any, ...]
) -> Step:  # fmt: skip
    """What ends a step where every chunk of rows has its share of the gradient in `shares` (items, chunks, k)."""
    k, added = part.x.shape[-1], (shares, sums, part.status, np.int32(chunks), *state)
    update, threads = call.kernel("logistic_large", "update"), 32 * min(16, max(4, _power_of_two(chunks / 2)))
    shared = (2 * SLOTS + chunks) * 8 + threads * shares.dtype.itemsize
    return lambda logged: update(
        (part.items * -(-k // 32),), (threads,), (*added, *logged, *call.rule), shared_mem=shared
    )  # fmt: skip


def _wide(
    call: Call, part: Part, plan: Wide, item_stride: int, state: tuple[Any, ...], triangular: bool
) -> Step:  # fmt: skip
    n, k, items, cp, x = call.n, part.x.shape[-1], part.items, _launch.cupy(), part.x
    parts, s = cp.empty((items, plan.column_chunks, n), x.dtype), cp.empty((items, n), x.dtype)
    sums = cp.empty((items, plan.chunks, 2))
    margins, weights = call.kernel("logistic_wide", "margins"), call.kernel("logistic_wide", "weights")
    matrix = (part.A, np.int64(item_stride), part.status)
    sizes = tuple(np.int32(v) for v in (n, k, COLUMNS, plan.column_chunks, triangular))
    split = tuple(np.int32(v) for v in (n, plan.column_chunks, plan.rows, plan.chunks))
    finish = (_shares if plan.split else _fused)(call, part, plan, (*matrix, s), sums, state, triangular)

    def step(logged: tuple[Any, ...]) -> None:
        margins((items * -(-n // 8) * plan.column_chunks,), (256,), (*matrix, x, parts, *sizes))
        weights(
            (items * plan.chunks,), (256,), (parts, part.y, part.status, s, sums, *split, *call.rule),
            shared_mem=(2 * SLOTS + 2) * 8,
        )  # fmt: skip
        finish(logged)

    return step


def _fused(
    call: Call, part: Part, plan: Wide, weighted: tuple[Any, ...], sums: Array, state: tuple[Any, ...],
    triangular: bool,
) -> Step:  # fmt: skip
    """Gradient and step at once, 32 columns of all rows to a block."""
    n, k, threads, update = call.n, part.x.shape[-1], 32 * plan.warps, call.kernel("logistic_wide", "step")
    added = (*weighted, sums, *(np.int32(v) for v in (n, plan.rows, plan.chunks, triangular)), *state)
    shared = (2 * SLOTS + plan.chunks) * 8 + threads * part.x.dtype.itemsize
    return lambda logged: update(
        (part.items * -(-k // 32),), (threads,), (*added, *logged, *call.rule), shared_mem=shared
    )  # fmt: skip


def _shares(
    call: Call, part: Part, plan: Wide, weighted: tuple[Any, ...], sums: Array, state: tuple[Any, ...],
    triangular: bool,
) -> Step:  # fmt: skip
    """Shares of the gradient, 32 columns of a chunk of rows to a block, and what ends a step of them."""
    n, k, threads, run = call.n, part.x.shape[-1], 32 * plan.warps, call.kernel("logistic_wide", "shares")
    shares = _launch.cupy().empty((part.items, plan.chunks, k), part.x.dtype)
    given = (*weighted, shares, *(np.int32(v) for v in (n, k, plan.rows, plan.chunks, triangular)))
    blocks, shared = part.items * plan.chunks * -(-k // 32), threads * part.x.dtype.itemsize
    finish = _update(call, part, plan.chunks, shares, sums, state)

    def step(logged: tuple[Any, ...]) -> None:
        run((blocks,), (threads,), given, shared_mem=shared)
        finish(logged)

    return step
