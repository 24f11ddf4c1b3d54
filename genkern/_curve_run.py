"""Nested curves in any array library: problems, and the loop over blocks of their columns. See `_curve_engine`."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from genkern import _curve_data
from genkern._curve_algebra import Algebra
from genkern._curve_engine import Restart, Train
from genkern._curve_plain import Plain
from genkern._curve_ridge import Ridge
from genkern._curve_sample_test import SampleTest
from genkern._curve_test import Later, WidthTest

Array = Any  # of the algebra's library
Numbers = np.ndarray[Any, Any]
Data = _curve_data.Data
Measured = _curve_data.Measured
Hook = Callable[[int], None] | None
LEAST_RIDGE = 1e-290  # below it a ridge is 0
Columns = Callable[[int, int], Array]  # (p, q) -> columns p .. q - 1 in float64


@dataclass
class Problem:
    """One curve: columns of the training and test side, right-hand sides, and where they go."""

    train: Columns  # (n, q - p)
    test: Columns  # (m, q - p)
    rhs: Array  # (n, K)
    new_test: Callable[[Train], WidthTest | SampleTest]
    samples: bool

    def scaled(self, scale: float) -> Problem:
        """The same with columns (and the test points of a sample curve) multiplied by a number."""

        def times(columns: Columns) -> Columns:
            return lambda p, q: scale * columns(p, q)

        test = self.test if self.samples else times(self.test)
        rhs = scale * self.rhs if self.samples else self.rhs
        return replace(self, train=times(self.train), test=test, rhs=rhs)


class Options:
    """What all curves of a call share, and the count of points that are done."""

    def __init__(
        self, algebra: Algebra, points: Numbers, ridges: Numbers, rcond: float, unit: float, method: str, hook: Hook
    ) -> None:
        self.algebra, self.points, self.ridges = algebra, points, ridges
        self.rcond, self.unit, self.method, self.hook = rcond, unit, method, hook
        self.done = 0

    def count(self, points: int) -> None:
        """Tell of points that are done."""
        self.done += points
        if self.hook is not None:
            self.hook(self.done)


def widths_of(data: Data, item: tuple[int, ...], train: Columns, test: Columns) -> Problem:
    """The width curve of one item with these columns."""

    def new_test(factor: Train) -> WidthTest:
        return WidthTest(factor, data.targets[item], data.draws, data.classify)

    return Problem(train, test, data.rhs[item], new_test, False)


def samples_of(data: Data, item: tuple[int, ...], options: Options) -> Problem:
    """The sample curve of one item: training points are the columns, test points the right-hand sides."""
    xp = options.algebra.xp
    X, y, targets = data.X[item], data.rhs[item], data.targets[item]

    def new_test(train: Train) -> SampleTest:
        return SampleTest(train, y, targets, data.draws, data.classify, options.points)

    rhs = xp.array(data.X_test[item].T, dtype=np.float64)
    return Problem(stored(options.algebra, X.T), stored(options.algebra, y.T), rhs, new_test, True)


def stored(algebra: Algebra, F: Array) -> Columns:
    """Columns of an array."""
    return lambda p, q: algebra.xp.array(F[:, p:q], dtype=np.float64, order="F")


def curves(problem: Problem, options: Options, measured: Measured, place: tuple[int, ...]) -> None:
    """The curves of one problem, one for each ridge."""
    xp = options.algebra.xp
    for r, ridge in enumerate(options.ridges):
        out = {name: value[(*place, r)] for name, value in vars(measured).items() if name != "threshold"}
        done = options.done
        finite = bool(xp.isfinite(problem.rhs).all())
        if len(options.points) and (finite or problem.samples):
            seen = problem if finite else replace(problem, rhs=xp.where(xp.isfinite(problem.rhs), problem.rhs, 0.0))
            threshold = _curve(seen, float(ridge), options, out)
            if not finite:  # test points of a sample curve: all but the test side is measured
                for name in ("test_risk", "wrong", "bias", "variance", "error"):
                    out[name][...] = np.nan
            if r == 0:
                measured.threshold[place] = threshold
        options.count(done + len(options.points) - options.done)


def _curve(problem: Problem, ridge: float, options: Options, out: dict[str, Array]) -> float:
    fast, since, scale = True, 0, _scale(options.algebra, problem, ridge, int(options.points[-1]))
    ridge *= scale**2
    later: list[Later] = []
    if scale != 1.0:
        problem = problem.scaled(scale)
    while True:
        arguments = (options.algebra, problem.rhs, options.rcond, options.unit, options.method, fast, problem.samples)
        train: Train = Ridge(*arguments, ridge) if ridge >= LEAST_RIDGE else Plain(*arguments)
        try:
            threshold = _blocks(problem, train, options, since, later, out)
        except Restart:
            fast, since = False, max(since, train.width)
            continue
        out["coef_norm"] *= scale
        return threshold


def _scale(algebra: Algebra, problem: Problem, ridge: float, last: int) -> float:
    """A power of two that brings the first columns, or the root of the ridge, near 1: squares stay in the range."""
    for first in range(0, last, 64):
        F = problem.train(first, min(first + 64, last))
        largest = float(algebra.xp.where(algebra.xp.isfinite(F), algebra.xp.abs(F), 0.0).max())
        if largest > 0:
            exponent = math.frexp(max(largest, math.sqrt(ridge)))[1]
            return 2.0**-exponent if abs(exponent) > 64 else 1.0
    return 1.0


def _blocks(
    problem: Problem, train: Train, options: Options, since: int, later: list[Later], out: dict[str, Array]
) -> float:
    """Block after block; points up to column `since` are measured already."""
    points, n, algebra, xp = options.points, len(problem.rhs), options.algebra, options.algebra.xp
    test = problem.new_test(train)
    last, threshold, dead = int(points[-1]), np.nan, False
    while train.width < last:
        p = train.width
        end = min(p + train.limit, last)
        if isinstance(train, Ridge) and train.augmented:
            if p >= n - 1:
                since = max(since, p)
                train.begin_again()
                test = problem.new_test(train)
                continue
            end = min(end, n - 1)
        F, T = problem.train(p, end), problem.test(p, end)
        used = xp.any(F != 0, axis=0)
        if not problem.samples:  # a feature that is 0 on the training points has weight 0
            T = xp.where(used, T, 0.0)
        with np.errstate(all="ignore"):
            looks = xp.isfinite(F).all(axis=0), xp.isfinite(T).all(axis=0), used, xp.linalg.norm(F, axis=0)
        good, good_test, used, norms = algebra.host(xp.stack([look.astype(np.float64) for look in looks]))
        count = _leading(good)
        if problem.samples:  # a training point ends where its targets are not finite
            count = min(count, _leading(good_test))
        if count == 0:
            break
        if not (problem.samples or dead):
            finite = _leading(good_test[:count])
            dead, count = finite == 0, finite or count
        if dead:
            T = xp.zeros_like(T)
        block = train.plan(F[:, :count], norms[:count], used[:count] != 0)
        count = block.count
        if block.full and np.isnan(threshold):
            threshold = p + 1 + int(np.argmax(block.states == block.states[-1]))
        first, stop = np.searchsorted(points, (p + 1, p + count + 1))
        listed = [(int(points[t]) - p - 1, int(t)) for t in range(first, stop) if points[t] > since]
        test.take(block, T[:, :count], listed, out, dead)
        if listed:
            later += test.postponed(block, p, listed)
            options.count(len(listed))
    for entry in later:
        entry.finish(problem.train, problem.test, test, out)
    return float(threshold)


def _leading(flags: Numbers) -> int:
    """How many of the first are not 0."""
    return len(flags) if flags.all() else int(np.argmin(flags))
