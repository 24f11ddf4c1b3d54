"""The test side of nested curves: predictions after every column of a block, and what is measured of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.linalg import lapack

from genkern._numba._curve_engine import EPS, SAFETY, Block, Ridge, Train
from genkern._numba._curve_factor import ORTHOGONAL, QR, SVD, WOODBURY, solve

Array = np.ndarray[Any, Any]
Columns = Callable[[int, int], Array]
_COLUMNS = 256  # columns of a second pass taken together
_NUMBERS = 1 << 22  # predictions held together


class Side:
    """``S = T V`` (m, n), filled from its last column backwards as L is."""

    def __init__(self, m: int, n: int) -> None:
        self.S = np.zeros((m, n))  # C order: its transpose is what tpmqrt takes

    def update(self, block: Block, T: Array) -> Array:
        """Take in test columns T (m, count) of a block; returns D (m, a)."""
        step, last = block.step, self.S.shape[1]
        r, a = step.X.shape
        T = T[:, step.active]
        if a == 0:
            return T
        S = self.S[:, last - r :]
        D = solve(step.H, (T - S @ step.X).T).T if step.method == QR else T @ step.tails - S @ step.G
        if step.method == QR:
            self.S[:, last - r - a : last - r] = T[:, ::-1]
        elif step.method == ORTHOGONAL and step.reflectors is not None:
            V, factors = step.reflectors
            top, _, info = lapack.dtpmqrt(0, V, factors, S.T, np.asfortranarray(T.T), side="L", trans="T")
            if info != 0:
                raise AssertionError(f"tpmqrt: argument {-info}")
            self.S[:, last - r :] = top.T
        elif step.method == WOODBURY and step.correction is not None:
            S += (T + D) @ step.correction.T
        return D

    def used(self, r: int) -> Array:
        """The last r columns."""
        return self.S[:, self.S.shape[1] - r :]


class Measure:
    """Sums over test points of what is measured of predictions."""

    def __init__(self, targets: Array, draws: int, classify: bool) -> None:
        self.targets, self.draws, self.classify = targets, draws, classify  # (m, k)
        self.m, self.k = targets.shape

    def of(self, values: Array) -> dict[str, Array]:
        """Of predictions (points, m, K): arrays (points, ...)."""
        values = values.reshape(len(values), self.m, self.draws, self.k)
        found: dict[str, Array] = {}
        with np.errstate(all="ignore"):
            risk = np.mean((values - self.targets[:, None, :]) ** 2, axis=1).reshape(len(values), -1)
            found["test_risk"] = np.where(np.isfinite(risk), risk, np.nan)
            found["square"] = np.mean(values**2, axis=1).reshape(len(values), -1)
            mean = values.mean(axis=2)
            found["bias"] = np.mean((mean - self.targets) ** 2, axis=1)
            found["variance"] = np.mean((values - mean[:, :, None, :]) ** 2, axis=(1, 2))
        if self.classify:
            if self.k == 1:
                wrong = np.sign(values[..., 0]) != np.sign(self.targets)
            else:
                wrong = values.argmax(axis=-1) != self.targets.argmax(axis=-1)[:, None]
            finite = np.isfinite(values).all(axis=(1, 3))
            found["wrong"] = np.where(finite, wrong.mean(axis=1), np.nan)
        return found

    def write(self, out: dict[str, Array], points: Any, values: Array, peak: Array, condition: float) -> None:
        """Measure predictions (points, m, K) into the points of a curve; `peak` is what they were summed up from."""
        found = self.of(values)
        square = found.pop("square")
        for name, value in found.items():
            out[name][points] = value
        with np.errstate(all="ignore"):
            largest = np.maximum(np.sqrt(square.max(axis=0, initial=0.0)), peak)
            share = (condition * np.sqrt(square) + largest) / np.sqrt(found["test_risk"])
            out["error"][points] = SAFETY * EPS * np.max(np.maximum(share, condition), axis=1)


@dataclass
class Later:
    """A point whose coefficients are applied in a second pass: given (p, K), or ``F_p^T alpha``."""

    point: int
    width: int
    alpha: Array | None
    ridge: Ridge | None  # with it, an SVD of the columns decides

    def finish(self, train: Columns, test: Columns, side: WidthTest | SampleTest, out: dict[str, Array]) -> None:
        """Do it."""
        p = self.width
        if self.ridge is not None:
            F = train(0, p)
            operator, condition = truncated(F, self.ridge)
            side.svd(self.point, F, operator, condition, test, out)
            return
        squares = 0.0
        for first in range(0, p, _COLUMNS):
            part = train(first, min(first + _COLUMNS, p)).T @ self.alpha
            squares = squares + np.sum(part**2, axis=0)
        out["coef_norm"][self.point] = np.sqrt(squares)


def truncated(F: Array, ridge: Ridge) -> tuple[Array, float]:
    """``F^T (F F^T + ridge)^{-1}`` (p, n) over the singular values above the cutoff, and the condition number."""
    U, s, Vt = np.linalg.svd(F, full_matrices=False)
    cutoff = ridge.unit * max(F.shape) if np.isnan(ridge.rcond) else ridge.rcond
    kept = s > cutoff * s[0]
    s = s[kept]
    if not s.size:
        return np.zeros(F.shape[::-1]), 1.0
    condition = np.sqrt((s[0] ** 2 + ridge.ridge) / (s[-1] ** 2 + ridge.ridge))
    return (Vt[kept].T * (s / (s**2 + ridge.ridge))) @ U[:, kept].T, float(condition)


class WidthTest:
    """Test points are rows; right-hand sides are targets and draws."""

    def __init__(self, train: Train, targets: Array, draws: int, classify: bool) -> None:
        m, columns = len(targets), train.rhs.shape[1]
        self.train, self.side, self.measure = train, Side(m, train.n), Measure(targets, draws, classify)
        self.prediction = np.zeros((m, columns))
        self.peak = np.zeros(columns)

    def take(self, block: Block, T: Array, listed: list[tuple[int, int]], out: dict[str, Array], dead: bool) -> None:
        """Take in test columns T (m, count) and measure the listed (column, point)."""
        D, z = self.side.update(block, T), block.step.z
        fresh = None if block.u is None else self.side.used(len(block.u)) @ block.u
        code = SVD if block.inverse is not None or self.train.method == "svd" else block.step.method
        together = max(1, _NUMBERS // self.prediction.size)
        done, prediction = 0, self.prediction
        for first in range(0, len(listed), together):
            part = listed[first : first + together]
            points, paths = [point for _, point in part], []
            for column, _ in part:
                state = int(block.states[column])
                prediction = prediction + D[:, done:state] @ z[done:state]
                done = state
                paths.append(fresh if fresh is not None and state == len(z) else prediction)
            states = [int(block.states[column]) for column, _ in part]
            out["coef_norm"][points] = np.sqrt(block.norms[states])
            out["train_risk"][points] = block.train[states] / self.train.n
            out["method"][points] = code
            if not dead:
                self.measure.write(out, points, np.array(paths), self.peak, block.condition)
        self.prediction = fresh if fresh is not None else prediction + D[:, done:] @ z[done:]
        with np.errstate(all="ignore"):
            size = np.sqrt(np.mean(self.prediction**2, axis=0))
        self.peak = size if fresh is not None else np.maximum(self.peak, size)

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
        rhs = self.train.rhs
        coef = operator @ rhs
        used = np.any(F != 0, axis=0)
        prediction = test(0, F.shape[1])[:, used] @ coef[used]
        out["coef_norm"][point] = np.linalg.norm(coef, axis=0)
        out["train_risk"][point] = np.mean((F @ coef - rhs) ** 2, axis=0)
        out["method"][point] = SVD
        self.measure.write(out, [point], prediction[None], np.zeros(rhs.shape[1]), condition)


class SampleTest:
    """Targets (and draws) are rows; right-hand sides are test points, whose predictions are measured transposed."""

    def __init__(self, train: Train, y: Array, targets: Array, draws: int, classify: bool, samples: Array) -> None:
        columns = y.shape[1]
        self.train, self.side, self.measure = train, Side(columns, train.n), Measure(targets, draws, classify)
        self.y, self.samples = y, samples
        self.prediction = np.zeros((columns, train.rhs.shape[1]))
        self.coef = np.zeros((columns, train.n))
        self.residual = np.zeros(columns)  # residual sum of squares; with a ridge from n columns on, the objective
        self.alpha = np.zeros((0, columns))  # with a ridge up to n columns: lambda alpha are the residuals
        self.peak = np.zeros(columns)

    def take(self, block: Block, T: Array, listed: list[tuple[int, int]], out: dict[str, Array], dead: bool) -> None:
        """Take in targets T (k, count) of new training points and measure the listed (column, point)."""
        step, done = block.step, 0
        G, tails = step.G, step.tails
        ignored = np.cumsum(
            np.where(np.isin(np.arange(block.count), step.active), 0.0, T**2), axis=1
        )  # inputs of zeros
        D = self.side.update(block, T)
        fresh = None if block.u is None else self.side.used(len(block.u)) @ block.u
        code = SVD if block.inverse is not None or self.train.method == "svd" else step.method
        prediction, coef, residual, alpha = self.prediction, self.coef, self.residual, self.alpha
        tail = np.zeros((len(D.T), len(D)))
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
                residual = residual + np.sum(new**2, axis=1)
            done = state
            if state == D.shape[1] and fresh is not None:
                prediction, coef = fresh, self._fresh(block)
            if point < 0:
                break
            squares = np.sum(coef**2, axis=1)
            sums = residual + ignored[:, column]
            if ridge is None:
                train = sums
                if block.inverse is not None:
                    S, L = self.side.used(len(block.inverse)), self.train.outer.triangle
                    train = sums + np.sum((S - (S @ block.inverse) @ L) ** 2, axis=1)
            elif ridge.augmented:
                train = ridge.ridge**2 * (np.sum(alpha**2, axis=0) + np.sum(tail**2, axis=0))
            else:
                train = np.maximum(sums - ridge.ridge * squares, 0.0)
            out["coef_norm"][point] = np.sqrt(squares)
            out["method"][point] = code
            if not dead:
                size = self._write(out, point, prediction, block.condition, train)
                self.peak = size if fresh is not None else np.maximum(self.peak, size)
        self.prediction, self.coef, self.residual = prediction, coef, residual + ignored[:, -1]
        if ridge is not None and ridge.augmented:
            self.alpha = np.concatenate([tail[::-1], alpha])

    def _fresh(self, block: Block) -> Array:
        if block.inverse is not None:
            return np.asarray(self.side.used(len(block.inverse)) @ block.inverse @ self.train.outer.Q.T)
        if block.u is None:
            raise AssertionError("no fresh coefficients")
        return self.train.apply(self.side.used(len(block.u)))

    def _write(self, out: dict[str, Array], point: int, prediction: Array, condition: float, train: Array) -> Array:
        out["train_risk"][point] = train / self.samples[point]
        self.measure.write(out, [point], prediction.T[None], self.peak, condition)
        return np.asarray(np.sqrt(np.mean(prediction**2, axis=1)))

    def postponed(self, block: Block, p: int, listed: list[tuple[int, int]]) -> list[Later]:
        """Points of the block that need a second look."""
        if block.doubtful and isinstance(self.train, Ridge):
            return [Later(point, p + column + 1, None, self.train) for column, point in listed]
        return []

    def svd(
        self, point: int, F: Array, operator: Array, condition: float, test: Columns, out: dict[str, Array]
    ) -> None:
        """Measure the coefficients ``y^T operator`` of the first training points, columns of F."""
        y = self.y[: F.shape[1]]
        coef = operator.T @ y
        out["coef_norm"][point] = np.linalg.norm(coef, axis=0)
        out["method"][point] = SVD
        self.peak = np.zeros(y.shape[1])
        self._write(out, point, coef.T @ self.train.rhs, condition, np.sum((F.T @ coef - y) ** 2, axis=0))
