"""The test side of nested curves: predictions after every column of a block, and what is measured of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from genkern._curve_algebra import Algebra
from genkern._curve_engine import EPS, SAFETY, Block, Ridge, Train
from genkern._curve_factor import ORTHOGONAL, QR, SVD, WOODBURY

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


@dataclass
class Later:
    """A point whose coefficients are applied in a second pass: given (p, K), or ``F_p^T alpha``."""

    point: int
    width: int
    alpha: Array | None
    ridge: Ridge | None  # with it, an SVD of the columns decides

    def finish(self, train: Columns, test: Columns, side: WidthTest | SampleTest, out: dict[str, Array]) -> None:
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


def _size(xp: Any, prediction: Array, axis: int) -> Array:
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
            size = _size(xp, self.prediction, 0)
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


class SampleTest:
    """Targets (and draws) are rows; right-hand sides are test points, whose predictions are measured transposed."""

    def __init__(
        self, train: Train, y: Array, targets: Array, draws: int, classify: bool, samples: np.ndarray[Any, Any]
    ) -> None:
        columns, algebra = y.shape[1], train.algebra
        xp = algebra.xp
        self.train, self.side = train, Side(algebra, columns, train.n)
        self.measure = Measure(algebra, targets, draws, classify)
        self.y, self.samples = y, samples
        self.prediction = xp.zeros((columns, train.rhs.shape[1]))
        self.coef = xp.zeros((columns, train.n))
        self.residual = xp.zeros(columns)  # residual sum of squares; with a ridge from n columns on, the objective
        self.alpha = xp.zeros((0, columns))  # with a ridge up to n columns: lambda alpha are the residuals
        self.peak = xp.zeros(columns)

    def take(self, block: Block, T: Array, listed: list[tuple[int, int]], out: dict[str, Array], dead: bool) -> None:
        """Take in targets T (k, count) of new training points and measure the listed (column, point)."""
        step, done, xp = block.step, 0, self.train.algebra.xp
        G, tails = step.G, step.tails
        zero = np.isin(np.arange(block.count), step.active, invert=True)  # inputs of zeros
        ignored = xp.cumsum(xp.where(self.train.algebra.device(zero), T**2, 0.0), axis=1)
        D = self.side.update(block, T)
        fresh = None if block.u is None else self.side.used(len(block.u)) @ block.u
        code = SVD if block.inverse is not None or self.train.method == "svd" else step.method
        prediction, coef, residual, alpha = self.prediction, self.coef, self.residual, self.alpha
        tail = xp.zeros(D.shape[::-1])
        ridge = self.train if isinstance(self.train, Ridge) else None
        stops = [*((int(block.states[column]), point, column) for column, point in listed), (D.shape[1], -1, -1)]
        for state, point, column in stops:
            new = D[:, done:state]
            prediction = prediction + new @ step.z[done:state]
            coef = coef + new @ block.rows[done:state]
            if ridge is not None and ridge.augmented:
                alpha = alpha - G[:, done:state] @ new.T
                tail = tail + tails[:, done:state] @ new.T
            elif step.method != QR:
                residual = residual + xp.sum(new**2, axis=1)
            done = state
            if state == D.shape[1] and fresh is not None:
                prediction, coef = fresh, self._fresh(block)
            if point < 0:
                break
            squares = xp.sum(coef**2, axis=1)
            sums = residual + ignored[:, column]
            if ridge is None:
                train = sums
                if block.inverse is not None:
                    S, L = self.side.used(len(block.inverse)), self.train.outer.triangle
                    train = sums + xp.sum((S - (S @ block.inverse) @ L) ** 2, axis=1)
            elif ridge.augmented:
                train = ridge.ridge**2 * (xp.sum(alpha**2, axis=0) + xp.sum(tail**2, axis=0))
            else:
                train = xp.maximum(sums - ridge.ridge * squares, 0.0)
            out["coef_norm"][point] = xp.sqrt(squares)
            out["method"][point] = code
            if not dead:
                size = self._write(out, point, prediction, block.condition, train)
                self.peak = size if fresh is not None else xp.maximum(self.peak, size)
        self.prediction, self.coef, self.residual = prediction, coef, residual + ignored[:, -1]
        if ridge is not None and ridge.augmented:
            self.alpha = xp.concatenate([tail[::-1], alpha])

    def _fresh(self, block: Block) -> Array:
        if block.inverse is not None:
            return self.side.used(len(block.inverse)) @ block.inverse @ self.train.outer.Q.T
        if block.u is None:
            raise AssertionError("no fresh coefficients")
        return self.train.apply(self.side.used(len(block.u)))

    def _write(self, out: dict[str, Array], point: int, prediction: Array, condition: float, train: Array) -> Array:
        out["train_risk"][point] = train / self.samples[point]
        self.measure.write(out, slice(point, point + 1), prediction.T[:, None, :], self.peak, condition)
        return _size(self.train.algebra.xp, prediction, 1)

    def postponed(self, block: Block, p: int, listed: list[tuple[int, int]]) -> list[Later]:
        """Points of the block that need a second look."""
        if block.doubtful and isinstance(self.train, Ridge):
            return [Later(point, p + column + 1, None, self.train) for column, point in listed]
        return []

    def svd(
        self, point: int, F: Array, operator: Array, condition: float, test: Columns, out: dict[str, Array]
    ) -> None:
        """Measure the coefficients ``y^T operator`` of the first training points, columns of F."""
        y, xp = self.y[: F.shape[1]], self.train.algebra.xp
        coef = operator.T @ y
        out["coef_norm"][point] = xp.linalg.norm(coef, axis=0)
        out["method"][point] = SVD
        self.peak = xp.zeros(y.shape[1])
        self._write(out, point, coef.T @ self.train.rhs, condition, xp.sum((F.T @ coef - y) ** 2, axis=0))
