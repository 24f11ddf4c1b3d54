"""Descent on a margin loss for installs without the compiled module, and for losses of the user's own.

The loop is the plain one of the reference, in float64, compiled; the continuation is the reference's own, after a
compiled burn-in.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from functools import lru_cache
from types import FunctionType
from typing import Any

import numba
import numpy as np
from numba.core.errors import NumbaError

from genkern._numba._driver import jit, run_chunks
from genkern._reference import logistic as reference

Array = np.ndarray[Any, Any]
ALGORITHMS = ("gd", "heavy_ball", "normalized", "accelerated", "sign", "coordinate", "mirror")
_PIECE = 4e7  # flops in one call of the compiled loop: Ctrl-C acts between them


@jit
def _margins(columns: Array, w: Array, u: Array) -> None:
    u[:] = 0.0
    for j in range(len(w)):
        for i in range(len(u)):  # whole columns at a time: this loop vectorises, a dot product does not
            u[i] += columns[j, i] * w[j]


@jit
def _log1p_exp(x: float) -> float:
    return math.log1p(math.exp(x)) if x < 0.0 else x + math.log1p(math.exp(-x))


@jit
def _weights(u: Array, s: Array, exponential: bool, normalized: bool) -> None:
    """The numbers -l'(u), over the sum of all l(u) if `normalized`."""
    n = len(u)
    if not normalized:
        for i in range(n):
            s[i] = math.exp(-u[i]) if exponential else 1.0 / (1.0 + math.exp(u[i]))
        return
    least = np.inf
    for i in range(n):
        least = min(least, u[i])
    total = 0.0
    if exponential or least > 40.0:  # log(1 + exp(-u)) = exp(-u) to the last bit, and nothing underflows
        for i in range(n):
            s[i] = math.exp(least - u[i])
            total += s[i]
    else:
        for i in range(n):
            s[i] = 1.0 / (1.0 + math.exp(u[i]))
            total += _log1p_exp(-u[i])
    for i in range(n):
        s[i] /= total


@jit
def _update(
    rows: Array, s: Array, w: Array, memory: Array, g: Array, t: float, eta: float, rate: float, kind: int,
    momentum: float, p: float,
) -> None:  # fmt: skip
    """One step from the weights s: the gradient, and what the algorithm `kind` makes of it."""
    d = len(w)
    g[:] = 0.0
    for i in range(len(s)):
        for j in range(d):
            g[j] += rows[i, j] * s[i]
    if kind == 5:
        largest = 0
        for j in range(1, d):
            if abs(g[j]) > abs(g[largest]):
                largest = j
        if d > 0:
            w[largest] += rate * g[largest]
        return
    for j in range(d):
        if kind == 1:
            following = w[j] + rate * g[j] + momentum * (w[j] - memory[j])
            memory[j] = w[j]
            w[j] = following
        elif kind == 3:
            memory[j] = (t - 1.0) / t * (memory[j] + g[j])
            w[j] += rate * (memory[j] + g[j])
        elif kind == 4:
            w[j] += rate * np.sign(g[j])
        elif kind == 6:
            memory[j] += rate * g[j]
            w[j] = math.copysign(abs(memory[j]) ** (1.0 / (p - 1.0)), memory[j])
        else:
            w[j] += rate * g[j]


@jit
def _advance(
    columns: Array, rows: Array, w: Array, memory: Array, done: int, steps: int, eta: float, kind: int,
    sqrt_schedule: bool, momentum: float, p: float, exponential: bool,
) -> None:  # fmt: skip
    u, s, g = np.empty(len(rows)), np.empty(len(rows)), np.empty(len(w))
    for step in range(steps):
        t = float(done + step + 1)
        _margins(columns, w, u)
        _weights(u, s, exponential, kind > 1)
        _update(rows, s, w, memory, g, t, eta, eta / math.sqrt(t) if sqrt_schedule else eta, kind, momentum, p)


@lru_cache(maxsize=32)  # a compiled loop for each of the pairs used last
def _user_advance(loss: Callable[..., Any], derivative: Callable[..., Any]) -> Callable[..., None]:
    value, slope = (
        numba.njit(nogil=True, error_model="numpy")(function) if isinstance(function, FunctionType) else function
        for function in (loss, derivative)
    )

    def advance(
        columns: Array, rows: Array, w: Array, memory: Array, done: int, steps: int, eta: float, kind: int,
        sqrt_schedule: bool, momentum: float, p: float, exponential: bool,
    ) -> None:  # fmt: skip
        n = len(rows)
        u, s, g = np.empty(n), np.empty(n), np.empty(len(w))
        for step in range(steps):
            t = float(done + step + 1)
            _margins(columns, w, u)
            total = 0.0 if kind > 1 else 1.0
            for i in range(n):
                s[i] = -slope(u[i])
                if kind > 1:
                    total += value(u[i])
            for i in range(n):
                s[i] /= total
            _update(rows, s, w, memory, g, t, eta, eta / math.sqrt(t) if sqrt_schedule else eta, kind, momentum, p)

    compiled: Callable[..., None] = numba.njit(nogil=True, error_model="numpy")(advance)
    return compiled


class Descent:
    """The iterates of one problem, as the reference's class of this name."""

    def __init__(
        self, Z: Array, start: Array, eta: float, loss: reference.Loss, run: Callable[..., None], algorithm: str,
        schedule: str, momentum: float, p: float,
    ) -> None:  # fmt: skip
        self.Z, self.w, self.eta, self.loss, self.count = Z, start.copy(), eta, loss, 0
        self._columns, self._memory = np.ascontiguousarray(Z.T), np.zeros_like(start)
        if algorithm == "heavy_ball":
            self._memory = start.copy()
        elif algorithm == "mirror":
            self._memory = np.sign(start) * np.abs(start) ** (p - 1.0)
        self._run, self._rule = run, (ALGORITHMS.index(algorithm), schedule == "sqrt", momentum, p)
        self._piece = max(1, int(_PIECE / (4.0 * Z.size + 50.0 * len(Z) + 1.0)))

    def advance(self, count: float) -> None:
        """Go on to this count, or until an iterate is not finite."""
        exponential = self.loss.name == "exponential"
        while self.count < count and np.isfinite(self.w).all():
            steps = min(int(count) - self.count, self._piece)
            self._run(
                self._columns, self.Z, self.w, self._memory, self.count, steps, self.eta, *self._rule, exponential
            )
            self.count += steps


def logistic_path(
    X: Array, y: Array, steps: Array, step_size: Array, init: Array, coef: Array, log_loss: Array, margin: Array,
    norm: Array, error: Array, status: Array, *, loss: Any, algorithm: str, schedule: str, momentum: float, p: float,
    continued: bool, rtol: float, progress: Callable[[float], object] | None, n_threads: int,
) -> None:  # fmt: skip
    """The iterates of X (..., n, d), y (..., n) after `steps` (t,); coef (..., t, d), the other results (..., t)."""
    run: Callable[..., None] = _advance
    if not isinstance(loss, str):
        run = _compiled(*loss)
    rule = reference.Loss(loss)
    shares, lock = np.zeros(status.size), threading.Lock()

    def compute(number: int, item: tuple[int, ...]) -> None:
        def report(share: float) -> None:
            shares[number] = share
            if progress is not None:
                with lock:
                    progress(float(shares.mean()))

        Z = reference.signed_rows(X[item], y[item])
        iterates = Descent(
            Z, init[item].astype(np.float64), float(step_size[item]), rule, run, algorithm, schedule, momentum, p
        )
        results = (coef[item], log_loss[item], margin[item], norm[item], error[item])
        status[item] = reference.solve_item(iterates, steps, results, continued, rtol, report)
        report(1.0)

    # LAPACK and BLAS from several threads at once change bits, and NumPy offers no way to hold theirs.
    run_chunks(compute, enumerate(np.ndindex(status.shape)), 1 if continued else n_threads)


def _compiled(loss: Callable[..., Any], derivative: Callable[..., Any]) -> Callable[..., None]:
    """The loop with the user's functions in it."""
    run = _user_advance(loss, derivative)
    try:
        empty = np.empty((0, 0))
        run(empty, empty, np.empty(0), np.empty(0), 0, 0, 1.0, 0, False, 0.0, 2.0, False)  # compiles, once
    except (NumbaError, TypeError, NotImplementedError) as error:
        lines = [line.strip() for line in str(error).splitlines()]
        reason = next((line for line in lines if line and not line.startswith("Failed in nopython")), "")
        raise TypeError(
            "loss must be a pair of functions that numba compiles and that map a real number to a real number "
            f"(backend='reference' calls them as plain Python), but: {reason}"
        ) from error
    return run
