"""Descent on a margin loss, the definition: the plain loop, in float64 whatever the dtype, one item after another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import special

from genkern._reference import logistic_flow

Array = np.ndarray[Any, Any]
_TAIL = 40.0  # margins from here on have log(1 + exp(-u)) = exp(-u) to the last bit


class Loss:
    """A margin loss l(u) of an array of margins."""

    def __init__(self, loss: str | tuple[Callable[..., Any], Callable[..., Any]]) -> None:
        self.name = loss if isinstance(loss, str) else "user"
        self._functions = None if isinstance(loss, str) else loss

    def weights(self, u: Array) -> Array:
        """The numbers -l'(u)."""
        if self._functions is not None:
            return np.array([-_real(self._functions[1](value)) for value in u])
        values: Array = np.exp(-u) if self.name == "exponential" else special.expit(-u)
        return values

    def log(self, u: Array) -> Array:
        """Log l(u), also where l(u) underflows."""
        if self._functions is not None:
            values: Array = np.log(np.array([_real(self._functions[0](value)) for value in u]))
            return values
        if self.name == "exponential":
            return -u
        return np.where(u > _TAIL, -u, np.log(np.logaddexp(0.0, -np.minimum(u, _TAIL))))

    def log_sum(self, u: Array) -> float:
        """Log of the sum of the losses."""
        return float(special.logsumexp(self.log(u))) if len(u) else -np.inf

    def normalized_weights(self, u: Array) -> Array:
        """The numbers -l'(u_i) / sum_j l(u_j)."""
        if len(u) == 0:
            return u
        if self._functions is not None:
            return np.asarray(self.weights(u) / np.exp(self.log_sum(u)))
        log_weights = -u if self.name == "exponential" else -np.logaddexp(0.0, u)
        values: Array = np.exp(log_weights - self.log_sum(u))
        return values


def _real(value: Any) -> float:
    if not np.isrealobj(value) or np.ndim(value) != 0 or isinstance(value, str):
        raise TypeError(f"loss and its derivative must return a real number, got {value!r}")
    return float(value)


class Descent:
    """The iterates of one problem with z_i = y_i x_i the rows of Z."""

    def __init__(
        self, Z: Array, start: Array, eta: float, loss: Loss, algorithm: str = "gd", schedule: str = "constant",
        momentum: float = 0.0, p: float = 2.0,
    ) -> None:  # fmt: skip
        self.Z, self.eta, self.loss, self.algorithm = Z, eta, loss, algorithm
        self.schedule, self.momentum, self.p = schedule, momentum, p
        self.count, self.w = 0, start.copy()
        self.before = start.copy()  # heavy ball
        self.velocity = np.zeros_like(start)  # accelerated
        self.dual = np.sign(start) * np.abs(start) ** (p - 1.0)  # mirror: the gradient of its potential

    def step(self) -> None:
        """One step."""
        self.count += 1
        t, u = float(self.count), self.Z @ self.w
        rate = self.eta / np.sqrt(t) if self.schedule == "sqrt" else self.eta
        if self.algorithm in ("gd", "heavy_ball"):
            g = self.Z.T @ self.loss.weights(u)
        else:
            g = self.Z.T @ self.loss.normalized_weights(u)
        if self.algorithm in ("gd", "normalized"):
            self.w = self.w + rate * g
        elif self.algorithm == "heavy_ball":
            self.before, self.w = self.w, self.w + rate * g + self.momentum * (self.w - self.before)
        elif self.algorithm == "accelerated":
            self.velocity = (t - 1.0) / t * (self.velocity + g)
            self.w = self.w + rate * (self.velocity + g)
        elif self.algorithm == "sign":
            self.w = self.w + rate * np.sign(g)
        elif self.algorithm == "coordinate":
            j = int(np.argmax(np.abs(g))) if len(g) else 0
            self.w = self.w.copy()
            self.w[j : j + 1] += rate * g[j : j + 1]
        else:
            self.dual = self.dual + rate * g
            self.w = np.sign(self.dual) * np.abs(self.dual) ** (1.0 / (self.p - 1.0))

    def advance(self, count: float) -> None:
        """Go on to this count, or until an iterate is not finite."""
        while self.count < count and np.isfinite(self.w).all():
            self.step()


def logistic_path(
    X: Array, y: Array, steps: Array, step_size: Array, init: Array, coef: Array, log_loss: Array, margin: Array,
    norm: Array, error: Array, status: Array, *, loss: Any, algorithm: str, schedule: str, momentum: float, p: float,
    continued: bool, rtol: float, progress: Callable[[float], object] | None, n_threads: int,
) -> None:  # fmt: skip
    """The iterates of X (..., n, d), y (..., n) after `steps` (t,); coef (..., t, d), the other results (..., t)."""
    items = list(np.ndindex(status.shape))
    for number, item in enumerate(items):

        def report(share: float, number: int = number) -> None:
            if progress is not None:
                progress((number + share) / len(items))

        iterates = Descent(
            signed_rows(X[item], y[item]), init[item].astype(np.float64),
            float(step_size[item]), Loss(loss), algorithm, schedule, momentum, p,
        )  # fmt: skip
        results = (coef[item], log_loss[item], margin[item], norm[item], error[item])
        status[item] = solve_item(iterates, steps, results, continued, rtol, report)
    if progress is not None:
        progress(1.0)


def signed_rows(X: Array, y: Array) -> Array:
    """The matrix Z of rows y_i x_i, in one layout: BLAS's order of summation depends on it."""
    return np.ascontiguousarray(y.astype(np.float64)[:, None] * X.astype(np.float64))


def solve_item(
    iterates: Any, steps: Array, results: tuple[Array, ...], continued: bool, rtol: float,
    report: Callable[[float], None],
) -> int:  # fmt: skip
    """Fill the results of one item, coef (t, d) and the others (t,), and return its status."""
    coef, *others, error = results
    for values in (coef, *others, error):
        values[...] = np.nan
    if not (np.isfinite(iterates.Z).all() and np.isfinite(iterates.w).all()):
        return 1
    with np.errstate(all="ignore"):
        if continued:
            coef[...], estimate = logistic_flow.continued(iterates, steps, rtol, report)
            # What float32 cannot hold is an error, too.
            error[...] = np.where(estimate > 0, np.maximum(estimate, np.finfo(coef.dtype).eps), 0.0)
        else:
            coef[...], error[...] = exact(iterates, steps, report), 0.0
        finite = np.isfinite(coef).all(axis=1)
        coef[~finite] = np.nan
        _measure(iterates.loss, iterates.Z, coef.astype(np.float64), *others)
    if (error > max(rtol, float(np.finfo(coef.dtype).eps))).any():
        return 3
    return 0 if finite.all() else 2


def exact(iterates: Any, steps: Array, report: Callable[[float], None]) -> Array:
    """The iterates (t, d), every step run."""
    path = np.empty((len(steps), len(iterates.w)))
    for index, count in enumerate(steps):
        for stop in np.arange(iterates.count, count, 10_000.0)[1:]:
            iterates.advance(stop)
            report(stop / steps[-1])
        iterates.advance(count)
        path[index] = iterates.w
    return path


def _measure(loss: Any, Z: Array, path: Array, log_loss: Array, margin: Array, norm: Array) -> None:
    """The logarithm of L, margin and norm of every point of a path (t, d)."""
    for index, w in enumerate(path):
        u = Z @ w
        norm[index] = np.linalg.norm(w)
        log_loss[index] = loss.log_sum(u)
        margin[index] = u.min(initial=np.inf) / norm[index] if len(u) else np.inf / norm[index]
