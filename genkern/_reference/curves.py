"""The definition of nested risk curves: a fresh solve at every point of every curve."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from genkern import _curve_data
from genkern._curve_spectral import measure_prediction
from genkern._reference.features import random_features
from genkern._reference.least_squares import lstsq

Array = np.ndarray[Any, Any]
Data = _curve_data.Data
Measured = _curve_data.Measured
Hook = Callable[[int], None] | None


def width_curve(
    data: Data, widths: Array, ridges: Array, rcond: float, unit: float, method: str, measured: Measured, hook: Hook,
    threads: int,
) -> None:  # fmt: skip
    """Every width p: `lstsq` on the first p columns."""
    for item in np.ndindex(data.batch):
        features = data.X[item].astype(np.float64), data.X_test[item].astype(np.float64)
        _widths(data, item, item, features, widths, ridges, rcond, unit, measured)
        if hook is not None:
            hook(int(np.count_nonzero(~np.isnan(measured.error))))


def random_feature_curve(
    data: Data, widths: Array, seeds: list[int], law: dict[str, Any], ridges: Array, rcond: float, unit: float,
    method: str, measured: Measured, hook: Hook, threads: int,
) -> None:  # fmt: skip
    """All features first, then as `width_curve`."""
    for item in np.ndindex(data.batch):
        for s, seed in enumerate(seeds):
            features = []
            for X in (data.X[item], data.X_test[item]):
                F = np.empty((len(X), int(widths.max(initial=0))), data.dtype)
                random_features(X, F, seed=seed, start=0, n_threads=threads, **law)
                features.append(F.astype(np.float64))
            _widths(data, item, (*item, s), (features[0], features[1]), widths, ridges, rcond, unit, measured)
            if hook is not None:
                hook(int(np.count_nonzero(~np.isnan(measured.error))))


def sample_curve(
    data: Data, samples: Array, ridges: Array, rcond: float, unit: float, method: str, measured: Measured, hook: Hook,
    threads: int,
) -> None:  # fmt: skip
    """Every sample size i: `lstsq` on the first i rows."""
    d = data.X.shape[-1]
    for item in np.ndindex(data.batch):
        X, X_test = data.X[item].astype(np.float64), data.X_test[item].astype(np.float64)
        full = [i for i in range(1, data.n + 1) if _rank(X[:i], rcond, unit) == d]
        measured.threshold[item] = full[0] if full else np.nan
        for r, ridge in enumerate(ridges):
            for t, size in enumerate(samples):
                point = (*item, r, t)
                _solve(data, item, point, X[:size], data.rhs[item][:size], X_test, ridge, rcond, unit, measured)


def _widths(
    data: Data, item: tuple[int, ...], place: tuple[int, ...], features: tuple[Array, Array], widths: Array,
    ridges: Array, rcond: float, unit: float, measured: Measured,
) -> None:  # fmt: skip
    F, F_test = features
    full = [p for p in range(1, F.shape[1] + 1) if _rank(F[:, :p], rcond, unit) == data.n]
    measured.threshold[place] = full[0] if full else np.nan
    for r, ridge in enumerate(ridges):
        for t, width in enumerate(widths):
            point = (*place, r, t)
            _solve(data, item, point, F[:, :width], data.rhs[item], F_test[:, :width], ridge, rcond, unit, measured)


def _rank(X: Array, rcond: float, unit: float) -> int:
    """Singular values above the cutoff; -1 if X is not finite."""
    if not np.isfinite(X).all():
        return -1
    s = np.linalg.svd(X, compute_uv=False)
    return int(np.sum(s > _cutoff(X, rcond, unit) * s[0]))


def _cutoff(X: Array, rcond: float, unit: float) -> float:
    return unit * max(X.shape) if np.isnan(rcond) else rcond


def _solve(
    data: Data, item: tuple[int, ...], point: tuple[int, ...], X: Array, rhs: Array, X_test: Array, ridge: float,
    rcond: float, unit: float, measured: Measured,
) -> None:  # fmt: skip
    n, d = X.shape
    columns = rhs.shape[1]
    w, rank, status = np.empty((d, columns)), np.empty((), np.int32), np.empty((), np.int8)
    residual = np.empty(columns)
    cutoff = _cutoff(X, rcond, unit)
    lstsq(X, rhs, np.array(ridge), cutoff, w, rank, residual, status, 1)
    if status != 0:
        return
    with np.errstate(all="ignore"):
        measured.train_risk[point] = residual**2 / n
        measured.coef_norm[point] = np.linalg.norm(w, axis=0)
        used = np.any(
            X != 0, axis=0
        )  # a column that is 0 on the training points has weight 0, whatever it is elsewhere
        prediction = X_test[:, used] @ w[used]
        s = np.linalg.svd(X, compute_uv=False)
        kept = s[s > cutoff * s[0]]
        condition = np.sqrt((kept[0] ** 2 + ridge) / (kept[-1] ** 2 + ridge)) if kept.size else 1.0
    measure_prediction(data, item, point, measured, prediction)
    with np.errstate(all="ignore"):
        share = np.sqrt(np.mean(prediction**2, axis=0) / measured.test_risk[point])
        measured.error[point] = 8 * np.finfo(np.float64).eps * condition * np.max(np.maximum(share, 1.0))
    measured.method[point] = _curve_data.METHODS.index("svd")
