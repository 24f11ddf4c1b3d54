"""Launches of csrc/cuda/logistic*.cu: every step of descent on a margin loss, for a batch of problems on a GPU."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from genkern._cupy import _launch, logistic_large, logistic_measure, logistic_reduce
from genkern._cupy._pace import Pace

Array = Any  # of CuPy
LOSSES = ("logistic", "exponential")  # in the order of csrc/device/descent_rule.hpp
ALGORITHMS = ("gd", "normalized", "heavy_ball", "accelerated", "sign", "coordinate", "mirror")
SPANNING = ("gd", "heavy_ball", "normalized", "accelerated")  # their iterates stay in init + the span of the rows
SMALL_BYTES = 227 << 10  # of shared memory of a problem that a block holds, where the device has so much
SLOTS = 32  # of a reduction over a block, as in the kernels
LAUNCH_SECONDS = 0.02  # of a launch at most, by an estimate that is slow for every card: Ctrl-C, progress, watchdogs


def logistic_path(
    X: Array, y: Array, steps: np.ndarray[Any, Any], step_size: Array, init: Array, coef: Array, log_loss: Array,
    margin: Array, norm: Array, error: Array, status: Array, *, loss: str, algorithm: str, schedule: str,
    momentum: float, p: float, continued: bool, rtol: float, progress: Callable[[float], object] | None,
    n_threads: int,
) -> None:  # fmt: skip
    """The iterates of X (..., n, d), y (..., n) after `steps` (t,); coef (..., t, d), the other results (..., t)."""
    (n, d), cp = X.shape[-2:], _launch.cupy()
    finite = _finite(X, 2) & _finite(y, 1) & _finite(init, 1)
    status[...] = cp.where(finite, 0, 1)
    error[...] = 0.0
    if coef.size + log_loss.size == 0:
        return
    parameter = momentum if algorithm == "heavy_ball" else p
    rule = (LOSSES.index(loss), ALGORITHMS.index(algorithm), int(schedule == "sqrt"), parameter)
    call = Call(X, y, steps, step_size, init, coef, status, rule, Pace(LAUNCH_SECONDS, progress))
    last = float(steps[-1])
    # Twice the flops of the CPU's condition for the same: they are slower ones.
    if algorithm in SPANNING and n < d and last * (4 * n * d - 2 * n * n) > 8 * n * n * d:
        call.in_coordinates()
    else:
        call.run(call.X, call.item_stride, call.start, call.coef, triangular=False)
    logistic_measure.measure(call, log_loss, margin, norm)
    error[...] = cp.where(cp.isnan(coef).any(axis=-1) & (status == 1)[..., None], cp.nan, error)
    status[...] = cp.where(status == 1, 1, cp.where(cp.isnan(norm).any(axis=-1), 2, 0))
    call.pace.finish()


def _unrepeated(a: Array, own: int) -> Array:
    """One copy of what the batch axes, all but the last `own`, repeat: such axes have length 1."""
    return a[tuple(slice(0, 1) if stride == 0 else slice(None) for stride in a.strides[: a.ndim - own])]


def _finite(a: Array, own: int) -> Array:
    """Whether every number of an item is finite, of lengths that broadcast; nothing repeated is looked at twice."""
    return _launch.cupy().isfinite(_unrepeated(a, own)).all(axis=tuple(range(-own, 0)))


@dataclass(frozen=True)
class Shape:
    """How a block holds a problem (n, k) in shared memory."""

    threads: int
    row_parts: int  # lanes that share a row
    column_parts: int  # lanes that share a column
    stride: int  # of rows, an odd multiple of row_parts
    shared: int  # bytes

    @classmethod
    def of(cls, n: int, k: int, itemsize: int) -> Shape:
        """One thread a row or column, or several where there are more threads than these."""
        threads = min(512, max(32, -(-max(n, k) // 32) * 32))
        row_parts, column_parts = _parts(threads, n), _parts(threads, k)
        stride = row_parts * (-(-k // row_parts) | 1)
        return cls(threads, row_parts, column_parts, stride, 3 * SLOTS * 8 + (n * stride + 2 * k + n) * itemsize)


def _parts(threads: int, outputs: int) -> int:
    parts = 1
    while parts < 32 and 2 * parts * outputs <= threads:
        parts *= 2
    return parts


class Call:
    """One call of `logistic_path`, its items in one axis."""

    def __init__(
        self, X: Array, y: Array, steps: np.ndarray[Any, Any], step_size: Array, init: Array, coef: Array,
        status: Array, rule: tuple[int, int, int, float], pace: Pace,
    ) -> None:  # fmt: skip
        cp = _launch.cupy()
        self.items, (self.n, self.d), self.count = status.size, X.shape[-2:], len(steps)
        one = _unrepeated(X, 2)
        shared_X = X.ndim > 2 and one.size == self.n * self.d
        # A kernel has one stride for all items: X that only some batch axes repeat is copied out, item by item.
        self.X = cp.ascontiguousarray(one.reshape(self.n, self.d) if shared_X else X)
        self.item_stride = 0 if shared_X else self.n * self.d
        self.y, self.start = cp.ascontiguousarray(y), cp.ascontiguousarray(init)
        self.steps, self.steps_there = steps, cp.asarray(steps)
        self.eta = cp.ascontiguousarray(cp.asarray(step_size, dtype=np.float64))
        self.coef, self.status, self.pace = coef, status.reshape(-1), pace
        self.rule = (*(np.int32(value) for value in rule[:3]), np.float64(rule[3]))
        self.loss, self.algorithm, self.parameter = rule[0], ALGORITHMS[rule[1]], rule[3]
        self.dtype = X.dtype
        self.limits = _launch.limits()

    def kernel(self, family: str, name: str) -> Any:
        """The kernel for the data's dtype."""
        return _launch.kernel(family, f"{family}_{name}_{'f32' if self.dtype.itemsize == 4 else 'f64'}")

    def launched(self, steps: float, reported: float = 0.0) -> None:
        """So many steps of every item are queued, and what is done for so much, of 1, of the iterates to report.

        An iterate to report counts as a step. Everything is done when `Pace.finish` says so.
        """
        self.pace.launched((steps + self.count * reported) / (float(self.steps[-1]) + self.count))

    def in_coordinates(self) -> None:
        """Wide problems in the n coordinates of their span."""
        found = logistic_reduce.reduced(self)
        path = _launch.cupy().empty((self.items, self.count, self.n), self.dtype)
        start = found.c.astype(self.dtype)
        self.run(found.L.astype(self.dtype, copy=False), found.l_stride, start, path, triangular=True)
        logistic_reduce.points(self, found, path)

    def run(self, A: Array, item_stride: int, start: Array, path: Array, triangular: bool) -> None:
        """All steps from `start` (items, k) into path (items, t, k)."""
        k, cp = start.shape[-1], _launch.cupy()
        x, extra = start.copy(), cp.zeros_like(start)
        if self.algorithm == "heavy_ball":
            extra = start.copy()
        elif self.algorithm == "mirror":
            sizes = cp.abs(start.astype(np.float64)) ** (self.parameter - 1.0)
            extra = cp.copysign(sizes, start).astype(self.dtype)
        shape = Shape.of(self.n, k, self.dtype.itemsize)
        if shape.shared <= min(SMALL_BYTES, self.limits.shared_optin):
            self._small(A, item_stride, x, extra, path, k, shape, triangular)
        else:
            logistic_large.descend(self, A, item_stride, x, extra, path, triangular)

    def _small(
        self, A: Array, item_stride: int, x: Array, extra: Array, path: Array, k: int, shape: Shape, triangular: bool
    ) -> None:
        descend = self.kernel("logistic", "descend")
        _launch.allow_shared(descend, shape.shared)
        together = max(1, int(self.pace.seconds / self.seconds(k, shape)))
        done, following, last = 0.0, 0, float(self.steps[-1])
        while True:
            until = min(last, done + together)
            descend(
                (self.items,),
                (shape.threads,),
                (
                    A, np.int64(item_stride), self.y, self.eta, self.status, x, extra, path, self.steps_there,
                    *(np.int32(v) for v in (self.n, k, shape.stride, self.count, following)), np.float64(done),
                    np.float64(until), *(np.int32(v) for v in (shape.row_parts, shape.column_parts, triangular)),
                    *self.rule,
                ),
                shared_mem=shape.shared,
            )  # fmt: skip
            self.launched(until)
            done, following = until, int(np.searchsorted(self.steps, until, side="right"))
            if done >= last:
                return

    def seconds(self, k: int, shape: Shape) -> float:
        """Of a step of all items, for a slow card: 2000 cycles of latency at 1 GHz, 16 multiply-adds a cycle."""
        each = -(-self.items // self.limits.multiprocessors)
        waves = -(-each // max(1, min(16, self.limits.shared_multiprocessor // shape.shared)))
        return float(1e-9 * (2000 * waves + each * self.n * (k + 10) / 8))
