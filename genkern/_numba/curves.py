"""Nested curves without the compiled module: the engine of `_curve_run` on NumPy, features by `_numba.features`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from genkern import _curve_data, _curve_run
from genkern._curve_algebra import Algebra
from genkern._curve_run import Columns, Options, Problem
from genkern._numba._blas import blas_threads
from genkern._numba.features import random_features

Array = np.ndarray[Any, Any]
Data = _curve_data.Data
Measured = _curve_data.Measured
Hook = Callable[[int], None] | None
LARGE = 500  # rows from which BLAS may use several threads


def width_curve(
    data: Data, widths: Array, ridges: Array, rcond: float, unit: float, method: str, measured: Measured, hook: Hook,
    threads: int,
) -> None:  # fmt: skip
    """Every listed width of every curve of the batch."""
    options = Options(Algebra(), widths, ridges, rcond, unit, method, hook)
    for item in np.ndindex(data.batch):
        columns = (_curve_run.stored(options.algebra, F) for F in (data.X[item], data.X_test[item]))
        _curves(_curve_run.widths_of(data, item, *columns), options, measured, item, threads)


def random_feature_curve(
    data: Data, widths: Array, seeds: list[int], law: dict[str, Any], ridges: Array, rcond: float, unit: float,
    method: str, measured: Measured, hook: Hook, threads: int,
) -> None:  # fmt: skip
    """As `width_curve`, with features made block by block."""
    options = Options(Algebra(), widths, ridges, rcond, unit, method, hook)

    def made(X: Array, seed: int) -> Columns:
        def columns(p: int, q: int) -> Array:
            F = np.empty((len(X), q - p), data.dtype)
            random_features(X, F, seed=seed, start=p, n_threads=threads, **law)
            return F.astype(np.float64)

        return columns

    for item in np.ndindex(data.batch):
        for s, seed in enumerate(seeds):
            columns = (made(X, seed) for X in (data.X[item], data.X_test[item]))
            _curves(_curve_run.widths_of(data, item, *columns), options, measured, (*item, s), threads)


def sample_curve(
    data: Data, samples: Array, ridges: Array, rcond: float, unit: float, method: str, measured: Measured, hook: Hook,
    threads: int,
) -> None:  # fmt: skip
    """Every listed sample size of every curve of the batch."""
    options = Options(Algebra(), samples, ridges, rcond, unit, method, hook)
    for item in np.ndindex(data.batch):
        _curves(_curve_run.samples_of(data, item, options), options, measured, item, threads)


def _curves(problem: Problem, options: Options, measured: Measured, place: tuple[int, ...], threads: int) -> None:
    with blas_threads(threads if len(problem.rhs) >= LARGE else 1):
        _curve_run.curves(problem, options, measured, place)
