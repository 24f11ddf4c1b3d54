"""The test side of nested sample curves. See `_curve_test`."""

from __future__ import annotations

from typing import Any

import numpy as np

from genkern._curve_engine import Block, Train
from genkern._curve_factor import QR, SVD
from genkern._curve_ridge import Ridge
from genkern._curve_test import Columns, Later, Measure, Side, root_mean_square

Array = Any  # of the algebra's library


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
        return root_mean_square(self.train.algebra.xp, prediction, 1)

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
