"""Curves whose points share one spectrum: over the ridge and over the steps of gradient descent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from genkern import _checks, _curve_data
from genkern._risk_curve import RiskCurve
from genkern.least_squares import gd_path, ridge_path, singular_values

Array = np.ndarray[Any, Any]
_BYTES = 64 << 20  # of coefficients held at once


def ridge_curve(
    X: Any,
    y: Any,
    X_test: Any,
    y_test: Any,
    *,
    ridges: Any,
    noise: Any = None,
    classify: bool = False,
    rcond: float | None = None,
    progress: Any = None,
    backend: str | None = None,
    n_threads: int | None = None,
) -> RiskCurve:
    """Risk of ridge regression at many penalties, from one SVD.

    The coefficients are those of `ridge_path`: they minimise ``||X w - y||^2 + ridge ||w||^2``.

    Parameters
    ----------
    X : array (..., n, d)
        Training inputs; batch axes broadcast. float32 is computed in float32, as in `ridge_path`.
    y, X_test, y_test, noise, classify, rcond, progress, backend, n_threads
        As in `width_curve`, with X in the place of F.
    ridges : float or sequence (t,)
        Penalties >= 0 on the *sum* of squares, in any order.

    Returns
    -------
    RiskCurve
        With axis "ridge", method "svd", and no `threshold`.

    Raises
    ------
    ValueError, TypeError, BackendUnavailable, DeviceMismatch
        As in `width_curve`.
    """
    values = np.atleast_1d(_curve_data.ridge_values(ridges, "ridges"))

    def path(X: Array, rhs: Array, part: slice) -> Array:
        return np.asarray(ridge_path(X, rhs, values[part], rcond=rcond, backend=backend, n_threads=n_threads))

    def slope(s: Array) -> Array:  # d(gain)/d(s) relative to gain / s_max, at its largest over the modes
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(s[..., None] > 0, s[..., :1, None] * s[..., None] / (s[..., None] ** 2 + values), 0.0)

    data = _curve_data.Data(("X", "y", "X_test", "y_test"), (X, y, X_test, y_test), noise, classify)
    return _measure(data, "ridge", values, path, slope, rcond, progress, backend, n_threads)


def epoch_curve(
    X: Any,
    y: Any,
    X_test: Any,
    y_test: Any,
    *,
    steps: Any,
    step_size: Any = None,
    momentum: float = 0.0,
    nesterov: bool = False,
    noise: Any = None,
    classify: bool = False,
    rcond: float | None = None,
    progress: Any = None,
    backend: str | None = None,
    n_threads: int | None = None,
) -> RiskCurve:
    """Risk of gradient descent from zero at any step counts, in closed form from one SVD.

    The coefficients are those of `gd_path`: gradient descent on ``||X w - y||^2 / 2``.

    Parameters
    ----------
    X : array (..., n, d)
        Training inputs; batch axes broadcast. float32 is computed in float32, as in `gd_path`.
    y, X_test, y_test, noise, classify, rcond, progress, backend, n_threads
        As in `width_curve`, with X in the place of F.
    steps : float or sequence (t,)
        Step counts in any order: whole numbers in [0, 2^53), or ``inf`` (not with `nesterov`).
    step_size : float or array (...), optional
        As in `gd_path`: for the *sum* of squares over 2, default ``1 / s_max^2``.
    momentum, nesterov
        As in `gd_path`.

    Returns
    -------
    RiskCurve
        With axis "step", method "svd", and no `threshold`.

    Raises
    ------
    ValueError, TypeError, BackendUnavailable, DeviceMismatch
        As in `width_curve` and `gd_path`.
    """
    values = np.atleast_1d(_checks.step_counts("steps", steps, infinite=not nesterov))

    def path(X: Array, rhs: Array, part: slice) -> Array:
        return np.asarray(
            gd_path(
                X, rhs, values[part], step_size=step_size, momentum=momentum, nesterov=nesterov, rcond=rcond,
                backend=backend, n_threads=n_threads,
            )
        )  # fmt: skip

    def slope(s: Array) -> Array:  # a filter of at most min(1, k s^2 / s_max^2): the smallest modes count once reached
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            reached = np.minimum(1.0, (s / s[..., :1])[..., None] ** 2 * np.maximum(values, 1.0))
            return np.where(s[..., None] > 0, s[..., :1, None] / s[..., None] * reached, 0.0)

    data = _curve_data.Data(("X", "y", "X_test", "y_test"), (X, y, X_test, y_test), noise, classify)
    return _measure(data, "step", values, path, slope, rcond, progress, backend, n_threads)


def _measure(
    data: _curve_data.Data,
    axis: str,
    values: Array,
    path: Callable[[Array, Array, slice], Array],
    slope: Callable[[Array], Array],
    rcond: float | None,
    progress: Any,
    backend: str | None,
    n_threads: int | None,
) -> RiskCurve:
    """Risks of the coefficients of a path, a slice of its points at a time."""
    measured = _curve_data.Measured(data, 1, values.size)
    n, d = data.X.shape[-2:]
    columns = data.rhs.shape[-1]
    together = max(1, _BYTES // (8 * max(1, d * columns * int(np.prod(data.batch)))))
    rhs = data.rhs.astype(data.dtype)
    s = np.asarray(singular_values(data.X, backend=backend, n_threads=n_threads), dtype=np.float64)
    cut = _checks.cutoff(rcond, data.dtype, n, d)
    s = np.where(s > cut * s[..., :1], s, 0.0) if s.shape[-1] else s
    condition = slope(s).max(axis=-2, initial=0.0)  # (..., t)
    with _curve_data.progress_hook(progress, measured.error.size, f"{axis}_curve") as hook:
        for first in range(0, values.size, together):
            part = slice(first, min(first + together, values.size))
            coef = path(data.X, rhs, part).astype(np.float64)  # (..., t, d, k)
            for item in np.ndindex(data.batch):
                for t in range(coef.shape[-3]):
                    w = coef[(*item, t)]
                    point = (*item, 0, first + t)
                    measure_point(data, item, point, measured, w)
                    scale = np.sqrt(np.maximum(_scale(data, item), measured.test_risk[point]))
                    with np.errstate(divide="ignore", invalid="ignore"):
                        share = np.max(scale / np.sqrt(measured.test_risk[point]))
                    measured.error[point] = (
                        8 * np.finfo(data.dtype).eps * max(condition[(*item, first + t)], 1.0) * share
                    )
                    measured.method[point] = _curve_data.METHODS.index("svd") if np.isfinite(w).all() else 0
            if hook is not None:
                hook(part.stop * int(np.prod(data.batch)))
    return _curve_data.result(data, measured, axis, values, np.arange(values.size), ridge=None, threshold=False)


def _scale(data: _curve_data.Data, item: tuple[int, ...]) -> Array:
    """Mean square of the test targets, for each right-hand side."""
    return np.asarray(np.tile(np.mean(data.targets[item] ** 2, axis=0), data.draws))


def measure_point(
    data: _curve_data.Data, item: tuple[int, ...], point: tuple[int, ...], measured: _curve_data.Measured, w: Array
) -> None:
    """Measure coefficients w (d, q k) of one point of one curve."""
    with np.errstate(all="ignore"):
        residual = data.X[item].astype(np.float64) @ w - data.rhs[item]
        measured.train_risk[point] = np.mean(residual**2, axis=0)
        prediction = data.X_test[item].astype(np.float64) @ w
    measure_prediction(data, item, point, measured, prediction)
    with np.errstate(all="ignore"):
        measured.coef_norm[point] = np.linalg.norm(w, axis=0)


def measure_prediction(
    data: _curve_data.Data,
    item: tuple[int, ...],
    point: tuple[int, ...],
    measured: _curve_data.Measured,
    prediction: Array,
) -> None:
    """Measure predictions (m, q k) of one point of one curve."""
    targets = data.targets[item]
    drawn = prediction.reshape(data.m, data.draws, data.k)
    with np.errstate(all="ignore"):
        risk = np.mean((drawn - targets[:, None, :]) ** 2, axis=0).ravel()
        measured.test_risk[point] = np.where(np.isfinite(risk), risk, np.nan)
        mean = drawn.mean(axis=1)
        measured.bias[point] = np.mean((mean - targets) ** 2, axis=0)
        measured.variance[point] = np.mean((drawn - mean[:, None, :]) ** 2, axis=(0, 1))
    if not np.isfinite(prediction).all():
        return
    if data.k == 1:
        wrong = np.sign(drawn[..., 0]) != np.sign(targets)
    else:
        wrong = drawn.argmax(axis=-1) != targets.argmax(axis=-1)[:, None]
    measured.wrong[point] = wrong.mean(axis=0)
