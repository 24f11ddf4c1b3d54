"""The test side of nested curves: predictions after every column of a block, and what is measured of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from genkern._curve_algebra import Algebra
from genkern._curve_engine import EPS, SAFETY, Block, Train
from genkern._curve_factor import ORTHOGONAL, QR, SVD, WOODBURY
from genkern._curve_ridge import Ridge

Array = Any  # of the algebra's library
Columns = Callable[[int, int], Array]
_COLUMNS = 256  # columns of a second pass taken together
_NUMBERS = 1 << 22  # predictions held together


class Side:
    """``S = T V`` (m, n), filled from its last column backwards as L is."""

    def __init__(self, algebra: Algebra, m: int, n: int) -> None:
        self.algebra = algebra
        self.S = algebra.xp.zeros((m, n), order=algebra.order)

    def update(self, block: Block, T: Array) -> Array:
        """Take in test columns T (m, count) of a block; returns D (m, a)."""
        step, last = block.step, self.S.shape[1]
        r, a = step.X.shape
        if a < T.shape[1]:
            T = T[:, self.algebra.device(step.active)]
        if a == 0:
            return T
        S = self.S[:, last - r :]
        if step.method == QR:
            D = self.algebra.solve(step.H, (T - S @ step.X).T).T
            self.S[:, last - r - a : last - r] = T[:, ::-1]
            return D
        D = T @ step.tails - S @ step.G
        if step.method == ORTHOGONAL:
            self.S[:, last - r :] = self.algebra.turn(S, T, step.reflectors)
        elif step.method == WOODBURY and step.correction is not None:
            S += (T + D) @ step.correction.T
        return D

    def used(self, r: int) -> Array:
        """The last r columns."""
        return self.S[:, self.S.shape[1] - r :]


class Measure:
    """Sums over test points of what is measured of predictions."""

    def __init__(self, algebra: Algebra, targets: Array, draws: int, classify: bool) -> None:
        self.algebra = algebra
        self.targets, self.draws, self.classify = targets, draws, classify  # (m, k)
        self.m, self.k = targets.shape

    def of(self, values: Array) -> dict[str, Array]:
        """Of predictions (m, points, K): arrays (points, ...)."""
        xp, points = self.algebra.xp, values.shape[1]
        values = values.reshape(self.m, points, self.draws, self.k)
        found: dict[str, Array] = {}
        with np.errstate(all="ignore"):
            risk = xp.mean((values - self.targets[:, None, None, :]) ** 2, axis=0).reshape(points, -1)
            found["test_risk"] = xp.where(xp.isfinite(risk), risk, np.nan)
            found["square"] = xp.mean(values**2, axis=0).reshape(points, -1)
            mean = values.mean(axis=2)
            found["bias"] = xp.mean((mean - self.targets[:, None, :]) ** 2, axis=0)
            found["variance"] = xp.mean((values - mean[:, :, None, :]) ** 2, axis=(0, 2))
        if self.classify:
            if self.k == 1:
                wrong = xp.sign(values[..., 0]) != xp.sign(self.targets)[:, None, :]
            else:
                wrong = values.argmax(axis=-1) != self.targets.argmax(axis=-1)[:, None, None]
            finite = xp.isfinite(values).all(axis=(0, 3))
            found["wrong"] = xp.where(finite, wrong.mean(axis=0), np.nan)
        return found

    def write(self, out: dict[str, Array], points: slice, values: Array, peak: Array, condition: float) -> None:
        """Measure predictions (m, points, K) into the points of a curve; `peak` is what they were summed up from."""
        xp, found = self.algebra.xp, self.of(values)
        square = found.pop("square")
        for name, value in found.items():
            out[name][points] = value
        with np.errstate(all="ignore"):
            largest = xp.maximum(xp.sqrt(square.max(axis=0)), peak)
            share = (condition * xp.sqrt(square) + largest) / xp.sqrt(found["test_risk"])
            out["error"][points] = SAFETY * EPS * xp.maximum(share, condition).max(axis=1)


class Solved(Protocol):
    """A test side that measures coefficients which an SVD has solved for."""

    train: Train

    def svd(
        self, point: int, F: Array, operator: Array, condition: float, test: Columns, out: dict[str, Array]
    ) -> None:
        """Measure them."""


@dataclass
class Later:
    """A point whose coefficients are applied in a second pass: given (p, K), or ``F_p^T alpha``."""

    point: int
    width: int
    alpha: Array | None
    ridge: Ridge | None  # with it, an SVD of the columns decides

    def finish(self, train: Columns, test: Columns, side: Solved, out: dict[str, Array]) -> None:
        """Do it."""
        p, xp = self.width, side.train.algebra.xp
        if self.ridge is not None:
            F = train(0, p)
            operator, condition = truncated(F, self.ridge)
            side.svd(self.point, F, operator, condition, test, out)
            return
        squares: Array = 0.0
        for first in range(0, p, _COLUMNS):
            part = train(first, min(first + _COLUMNS, p)).T @ self.alpha
            squares = squares + xp.sum(part**2, axis=0)
        out["coef_norm"][self.point] = xp.sqrt(squares)


def truncated(F: Array, ridge: Ridge) -> tuple[Array, float]:
    """``F^T (F F^T + ridge)^{-1}`` (p, n) over the singular values above the cutoff, and the condition number."""
    xp = ridge.algebra.xp
    found = ridge.algebra.svd(F)
    if found is None:
        return xp.full(F.shape[::-1], np.nan), np.nan
    U, s, Vt = found
    cutoff = ridge.unit * max(F.shape) if np.isnan(ridge.rcond) else ridge.rcond
    values = ridge.algebra.host(s)
    kept = int(np.sum(values > cutoff * values[0]))
    if kept == 0:
        return xp.zeros(F.shape[::-1]), 1.0
    s = s[:kept]
    condition = np.sqrt((values[0] ** 2 + ridge.ridge) / (values[kept - 1] ** 2 + ridge.ridge))
    return (Vt[:kept].T * (s / (s**2 + ridge.ridge))) @ U[:, :kept].T, float(condition)


def root_mean_square(xp: Any, prediction: Array, axis: int) -> Array:
    """Root mean square; 0 for NaN, the predictions of a width that was not solved, from which none is summed up."""
    size = xp.sqrt(xp.mean(prediction**2, axis=axis))
    return xp.where(xp.isnan(size), 0.0, size)


class WidthTest:
    """Test points are rows; right-hand sides are targets and draws."""

    def __init__(self, train: Train, targets: Array, draws: int, classify: bool) -> None:
        m, columns, algebra = len(targets), train.rhs.shape[1], train.algebra
        self.train, self.side = train, Side(algebra, m, train.n)
        self.measure = Measure(algebra, targets, draws, classify)
        self.prediction = algebra.xp.zeros((m, columns))
        self.peak = algebra.xp.zeros(columns)

    def take(self, block: Block, T: Array, listed: list[tuple[int, int]], out: dict[str, Array], dead: bool) -> None:
        """Take in test columns T (m, count) and measure the listed (column, point)."""
        xp, D, z = self.train.algebra.xp, self.side.update(block, T), block.step.z
        (m, columns), a = self.prediction.shape, len(z)
        fresh = None if block.u is None else self.side.used(len(block.u)) @ block.u
        code = SVD if block.inverse is not None or self.train.method == "svd" else block.step.method
        together = max(1, min(self.train.algebra.states, _NUMBERS // self.prediction.size))
        done, prediction = 0, self.prediction
        for first in range(0, len(listed), together):
            part = listed[first : first + together]
            points = slice(part[0][1], part[-1][1] + 1)
            states = block.states[[column for column, _ in part]]
            stop, places = int(states[-1]), self.train.algebra.device(states)
            # All sums over columns of D z up to a state in one product.
            below = self.train.algebra.device(np.arange(done, stop)[:, None] < states)
            shares = xp.where(below[:, :, None], z[done:stop, None, :], 0.0)
            sums = (D[:, done:stop] @ shares.reshape(stop - done, len(part) * columns)).reshape(m, len(part), columns)
            values = prediction[:, None, :] + sums
            prediction = prediction + D[:, done:stop] @ z[done:stop]
            done = stop
            if fresh is not None and stop == a:
                values[:, int(np.searchsorted(states, a)) :] = fresh[:, None, :]
            out["coef_norm"][points] = xp.sqrt(block.norms[places])
            out["train_risk"][points] = block.train[places] / self.train.n
            out["method"][points] = code
            if not dead:
                self.measure.write(out, points, values, self.peak, block.condition)
        self.prediction = fresh if fresh is not None else prediction + D[:, done:] @ z[done:]
        with np.errstate(all="ignore"):
            size = root_mean_square(xp, self.prediction, 0)
        self.peak = size if fresh is not None else xp.maximum(self.peak, size)

    def postponed(self, block: Block, p: int, listed: list[tuple[int, int]]) -> list[Later]:
        """Points of the block that need a second pass."""
        if block.doubtful and isinstance(self.train, Ridge):
            return [Later(point, p + column + 1, None, self.train) for column, point in listed]
        if block.alphas is None:
            return []
        return [Later(point, p + column + 1, block.alphas[block.states[column]], None) for column, point in listed]

    def svd(
        self, point: int, F: Array, operator: Array, condition: float, test: Columns, out: dict[str, Array]
    ) -> None:
        """Measure the coefficients ``operator @ rhs`` of the first columns F."""
        rhs, xp = self.train.rhs, self.train.algebra.xp
        coef = operator @ rhs
        used = xp.any(F != 0, axis=0)
        T = xp.where(used, test(0, F.shape[1]), 0.0)
        out["coef_norm"][point] = xp.linalg.norm(coef, axis=0)
        out["train_risk"][point] = xp.mean((F @ coef - rhs) ** 2, axis=0)
        out["method"][point] = SVD
        values = (T @ xp.where(used[:, None], coef, 0.0))[:, None, :]
        self.measure.write(out, slice(point, point + 1), values, xp.zeros(rhs.shape[1]), condition)
