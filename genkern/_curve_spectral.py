"""Curves whose points share one spectrum: over the ridge and over the steps of gradient descent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from genkern import _arrays, _checks, _curve_data
from genkern._risk_curve import RiskCurve
from genkern.least_squares import singular_values
from genkern.least_squares_paths import gd_path, ridge_path

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
        coef: Array = ridge_path(X, rhs, values[part], rcond=rcond, backend=backend, n_threads=n_threads)
        return coef

    def slope(s: Array) -> Array:  # d(gain)/d(s) relative to gain / s_max, at its largest over the modes
        with np.errstate(divide="ignore", invalid="ignore"):
            xp = _arrays.namespace(s)
            modes = s[..., None]
            gain: Array = xp.where(modes > 0, s[..., :1, None] * modes / (modes**2 + xp.asarray(values)), 0.0)
            return gain

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
        coef: Array = gd_path(
            X, rhs, values[part], step_size=step_size, momentum=momentum, nesterov=nesterov, rcond=rcond,
            backend=backend, n_threads=n_threads,
        )  # fmt: skip
        return coef

    def slope(s: Array) -> Array:  # a filter of at most min(1, k s^2 / s_max^2): the smallest modes count once reached
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            xp = _arrays.namespace(s)
            reached = xp.minimum(1.0, (s / s[..., :1])[..., None] ** 2 * xp.asarray(np.maximum(values, 1.0)))
            gain: Array = xp.where(s[..., None] > 0, s[..., :1, None] / s[..., None] * reached, 0.0)
            return gain

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
    xp = data.library.namespace
    s = singular_values(data.X, backend=backend, n_threads=n_threads).astype(np.float64)
    cut = _checks.cutoff(rcond, data.dtype, n, d)
    if s.shape[-1]:
        condition = xp.maximum(slope(xp.where(s > cut * s[..., :1], s, 0.0)).max(axis=-2), 1.0)  # (..., t)
    else:
        condition = xp.ones((*data.batch, values.size))
    with _curve_data.progress_hook(progress, measured.error.size, f"{axis}_curve") as hook:
        for first in range(0, values.size, together):
            part = slice(first, min(first + together, values.size))
            coef = path(data.X, rhs, part).astype(np.float64)  # (..., t, d, k)
            for item in np.ndindex(data.batch):
                for t in range(coef.shape[-3]):
                    w = coef[(*item, t)]
                    point = (*item, 0, first + t)
                    measure_point(data, item, point, measured, w)
                    scale = xp.sqrt(xp.maximum(_scale(data, item), measured.test_risk[point]))
                    with np.errstate(divide="ignore", invalid="ignore"):
                        share = (scale / xp.sqrt(measured.test_risk[point])).max()
                        amplification = 8 * float(np.finfo(data.dtype).eps) * condition[(*item, first + t)]
                        measured.error[point] = amplification * share
                    measured.method[point] = xp.where(xp.isfinite(w).all(), _curve_data.METHODS.index("svd"), 0)
            if hook is not None:
                hook(part.stop * int(np.prod(data.batch)))
    return _curve_data.result(data, measured, axis, values, np.arange(values.size), ridge=None, threshold=False)


def _scale(data: _curve_data.Data, item: tuple[int, ...]) -> Array:
    """Mean square of the test targets, for each right-hand side."""
    scale: Array = data.library.namespace.tile((data.targets[item] ** 2).mean(axis=0), data.draws)
    return scale


def measure_point(
    data: _curve_data.Data, item: tuple[int, ...], point: tuple[int, ...], measured: _curve_data.Measured, w: Array
) -> None:
    """Measure coefficients w (d, q k) of one point of one curve."""
    with np.errstate(all="ignore"):
        residual = data.X[item].astype(np.float64) @ w - data.rhs[item]
        measured.train_risk[point] = (residual**2).mean(axis=0)
        prediction = data.X_test[item].astype(np.float64) @ w
    measure_prediction(data, item, point, measured, prediction)
    with np.errstate(all="ignore"):
        measured.coef_norm[point] = _arrays.namespace(w).linalg.norm(w, axis=0)


def measure_prediction(
    data: _curve_data.Data,
    item: tuple[int, ...],
    point: tuple[int, ...],
    measured: _curve_data.Measured,
    prediction: Array,
) -> None:
    """Measure predictions (m, q k) of one point of one curve."""
    xp = _arrays.namespace(prediction)
    targets = data.targets[item]
    drawn = prediction.reshape(data.m, data.draws, data.k)
    with np.errstate(all="ignore"):
        risk = ((drawn - targets[:, None, :]) ** 2).mean(axis=0).ravel()
        measured.test_risk[point] = xp.where(xp.isfinite(risk), risk, np.nan)
        mean = drawn.mean(axis=1)
        measured.bias[point] = ((mean - targets) ** 2).mean(axis=0)
        measured.variance[point] = ((drawn - mean[:, None, :]) ** 2).mean(axis=(0, 1))
        if data.k == 1:
            wrong = xp.sign(drawn[..., 0]) != xp.sign(targets)
        else:
            wrong = drawn.argmax(axis=-1) != targets.argmax(axis=-1)[:, None]
        measured.wrong[point] = xp.where(xp.isfinite(prediction).all(), wrong.mean(axis=0), np.nan)
