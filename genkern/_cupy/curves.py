"""Nested curves on a GPU: the engine of `_curve_run` with cuBLAS and cuSOLVER, features made block by block.

One curve after another. A block of columns takes some hundred launches whatever its size, so that a GPU has nothing to
gain on small curves. Memory is ``O(n^2 + n m)`` beside the inputs. What decides how to go on (norms and flags of the
columns of a block, sizes of its coefficients) is copied to the host, by `Device.host` and as single numbers; features,
factors and results stay.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np

from genkern import _curve_data, _curve_run
from genkern._cupy import _launch
from genkern._curve_algebra import Algebra
from genkern._curve_run import Columns, Options

Array = Any  # of CuPy
Numbers = np.ndarray[Any, Any]
Data = _curve_data.Data
Measured = _curve_data.Measured
Hook = Callable[[int], None] | None


class Device(Algebra):
    """Arrays in a GPU's memory."""

    states = 128  # a launch costs as much as 10^8 flops
    numbers = 1 << 24

    def __init__(self) -> None:
        self.xp = _launch.cupy()
        self._triangular = importlib.import_module("cupyx.scipy.linalg").solve_triangular

    def host(self, values: Array) -> Numbers:
        """Copy of a few numbers that decide what is done next; waits for them."""
        return np.asarray(self.xp.asnumpy(values))

    def device(self, values: Numbers) -> Array:
        """CuPy's array of NumPy's."""
        return self.xp.asarray(values)

    def _solve(self, L: Array, B: Array, trans: int) -> Array:
        return self._triangular(L, B, lower=True, trans=trans, check_finite=False)

    def absorb(self, L: Array, A: Array) -> tuple[Array, Any]:
        """By the QR factorization of the transpose: cuSOLVER has no update. Needed near the threshold only."""
        q, r = self.xp.linalg.qr(self.xp.concatenate([L.T, A.T]))
        return r.T, q

    def turn(self, S: Array, T: Array, U: Any) -> Array:
        """The first r columns of ``[S, T] U``."""
        r = S.shape[1]
        return S @ U[:r] + T @ U[r:]


def width_curve(
    data: Data, widths: Numbers, ridges: Numbers, rcond: float, unit: float, method: str, measured: Measured,
    hook: Hook, threads: int,
) -> None:  # fmt: skip
    """Every listed width of every curve of the batch."""
    options = Options(Device(), widths, ridges, rcond, unit, method, hook)
    for item in np.ndindex(data.batch):
        columns = (_curve_run.stored(options.algebra, F) for F in (data.X[item], data.X_test[item]))
        _curve_run.curves(_curve_run.widths_of(data, item, *columns), options, measured, item)


def random_feature_curve(
    data: Data, widths: Numbers, seeds: list[int], law: dict[str, Any], ridges: Numbers, rcond: float, unit: float,
    method: str, measured: Measured, hook: Hook, threads: int,
) -> None:  # fmt: skip
    """As `width_curve`, with features made block by block."""
    random_features = importlib.import_module("genkern._cupy.features").random_features
    options = Options(Device(), widths, ridges, rcond, unit, method, hook)
    xp = options.algebra.xp

    def made(X: Array, seed: int) -> Columns:
        def columns(p: int, q: int) -> Array:
            F = xp.empty((len(X), q - p), data.dtype)
            random_features(X, F, seed=seed, start=p, n_threads=threads, **law)
            return F.astype(np.float64)

        return columns

    for item in np.ndindex(data.batch):
        for s, seed in enumerate(seeds):
            columns = (made(X, seed) for X in (data.X[item], data.X_test[item]))
            _curve_run.curves(_curve_run.widths_of(data, item, *columns), options, measured, (*item, s))


def sample_curve(
    data: Data, samples: Numbers, ridges: Numbers, rcond: float, unit: float, method: str, measured: Measured,
    hook: Hook, threads: int,
) -> None:  # fmt: skip
    """Every listed sample size of every curve of the batch."""
    options = Options(Device(), samples, ridges, rcond, unit, method, hook)
    for item in np.ndindex(data.batch):
        _curve_run.curves(_curve_run.samples_of(data, item, options), options, measured, item)
