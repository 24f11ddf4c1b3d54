"""Leave-one-out and generalised cross-validation of ridge and minimum-norm regression, without refitting."""

from __future__ import annotations

from typing import Any

import numpy as np

from genkern import _checks
from genkern.theory import _arguments

Array = np.ndarray[Any, Any]
_NOTHING = 1e-250  # a ridge that differs from its limit 0 by less than rounding, and would underflow


def loo_cv(X: Any, y: Any, *, ridge: Any = 0.0) -> Any:
    r"""Mean squared leave-one-out error of ridge or minimum-norm regression.

    With the hat matrix ``H = X (X^T X + ridge I)^{-1} X^T`` it is, exactly,

    .. math:: \frac1n \sum_i \Bigl(\frac{y_i - \hat y_i}{1 - H_{ii}}\Bigr)^2.

    Without ridge it is the limit ``ridge -> 0``; where X has full row rank, so that both differences are 0, that is
    ``mean_i ([(X X^T)^{-1} y]_i / [(X X^T)^{-1}]_{ii})^2``.

    Parameters
    ----------
    X : array (..., n, d)
        Design matrices, n >= 1.
    y : array (..., n) or (..., n, k)
        Responses: one if ``y.ndim == X.ndim - 1``, k of them if ``y.ndim == X.ndim``.
    ridge : float or array (...)
        Penalty >= 0 on the *sum* of squares, as of `lstsq`: n times that of `ridge_risk`. Every fit without one sample
        has this same penalty.

    Returns
    -------
    array (...) or (..., k)
        float64. NaN for an item whose X or y is not finite.

    Raises
    ------
    ValueError, TypeError
        Arguments of a wrong shape, range or type.

    Notes
    -----
    Directions with singular values at most ``eps max(n, d)`` of the largest count as absent, as in `lstsq`. In the
    proportional limit of `ridge_risk`, this and `gcv` both converge to its total plus the noise. Cost: one SVD an item.

    References
    ----------
    T. Hastie, A. Montanari, S. Rosset, R. J. Tibshirani, "Surprises in high-dimensional ridgeless least squares
    interpolation", Annals of Statistics 50 (2022), for the ridgeless limits.
    """
    fit = _Residuals(X, y, ridge)
    lost = fit.leverage_left == 0  # without ridge, rows whose leave-one-out fit loses a direction
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        errors = np.where(
            lost[..., None], fit.next_residual / fit.next_left[..., None], fit.residual / fit.leverage_left[..., None]
        )
    return fit.result(np.mean(errors**2, axis=-2))


def gcv(X: Any, y: Any, *, ridge: Any = 0.0) -> Any:
    r"""Generalised cross-validation of ridge or minimum-norm regression.

    .. math::
        \frac{\frac1n \|y - \hat y\|^2}{(1 - \operatorname{tr} H / n)^2}, \qquad H = X (X^T X + \lambda I)^{-1} X^T,

    with :math:`\lambda` = `ridge`. Without ridge it is the limit ``ridge -> 0``, which for X of full row rank is
    ``n y^T (X X^T)^{-2} y / (tr (X X^T)^{-1})^2``.

    Parameters
    ----------
    X, y, ridge
        As in `loo_cv`.

    Returns
    -------
    array (...) or (..., k)
        float64. NaN for an item whose X or y is not finite.

    Raises
    ------
    ValueError, TypeError
        As in `loo_cv`.

    References
    ----------
    As in `loo_cv`.
    """
    fit = _Residuals(X, y, ridge)
    left: Array = np.mean(fit.leverage_left, axis=-1, keepdims=True)
    next_left: Array = np.mean(fit.next_left, axis=-1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        # Divided before they are squared, which may underflow.
        squares: Array = np.mean((fit.residual / left[..., None, :]) ** 2, axis=-2)
        limit: Array = np.mean((fit.next_residual / next_left[..., None, :]) ** 2, axis=-2)
    value: Array = np.where(left == 0, limit, squares)
    return fit.result(value)


class _Residuals:
    """`(I - H) y` and the diagonal of `I - H`, and the same at the next order in the ridge, for where both vanish.

    With ``X = U diag(s) V^T``, ``I - H = (I - U U^T) + U diag(ridge / (s^2 + ridge)) U^T``. Without ridge that is
    the first part, unless it is 0, where to first order ``I - H = ridge U diag(1 / s^2) U^T``.
    """

    def __init__(self, X: Any, y: Any, ridge: Any) -> None:
        (X_view, y_view), self._library = _checks.real_arrays(X=X, y=y)
        _checks.minimum_axes("X", X_view, 2, "(..., n, d)")
        rhs, self._vector = _checks.right_hand_sides(X_view, y_view)
        penalty = _checks.nonnegative("ridge", ridge)
        n, d = X_view.shape[-2:]
        if n == 0:
            raise ValueError(f"X must have at least one row, got shape {X_view.shape}")
        _checks.broadcast_batch({"X": X_view.shape[:-2], "y": rhs.shape[:-2], "ridge": penalty.shape})
        X64, rhs = X_view.astype(np.float64), rhs.astype(np.float64)
        usable, usable_rhs = np.all(np.isfinite(X64), axis=(-2, -1)), np.all(np.isfinite(rhs), axis=-2)
        rhs = np.where(usable_rhs[..., None, :], rhs, 0.0)
        U, s, _ = np.linalg.svd(np.where(usable[..., None, None], X64, 0.0), full_matrices=False)
        unit = np.finfo(np.float64).eps * max(n, d)
        top = np.max(s, axis=-1, keepdims=True, initial=0.0)
        kept = s > unit * top
        scale = np.where(top > 0, top, 1.0)
        s = np.where(kept, s / scale, 1.0)
        with np.errstate(divide="ignore", over="ignore", under="ignore"):
            penalty = (
                penalty[..., None] / scale / scale
            )  # in units of the largest singular value, >= eps among those kept
            penalty = np.where(penalty < _NOTHING, 0.0, penalty)
            share = np.where(kept, 1.0 / (1.0 + s**2 / penalty), 1.0)  # of each direction that the residual keeps
            inverse = np.where(kept, 1.0 / s**2, 0.0)
        U = np.where(kept[..., None, :], U, 0.0)
        coordinates = np.swapaxes(U, -1, -2) @ rhs
        # Rows that alone span a direction have nothing outside, all rows if the rank is n, but rounding of n terms.
        outside_left = 1.0 - np.sum(U**2, axis=-1)
        inside = (outside_left <= n * unit) | (np.sum(kept, axis=-1) == n)[..., None]
        outside = np.where(inside[..., None], 0.0, rhs - U @ coordinates)
        outside_left = np.where(inside, 0.0, outside_left)
        self.residual = outside + U @ (share[..., None] * coordinates)
        self.leverage_left = outside_left + np.sum(U**2 * share[..., None, :], axis=-1)
        self.next_residual = U @ (inverse[..., None] * coordinates)
        self.next_left = np.sum(U**2 * inverse[..., None, :], axis=-1)
        self._bad = ~(usable[..., None] & usable_rhs)

    def result(self, value: Array) -> Any:
        value = np.where(self._bad, np.nan, value)
        return _arguments.wrapper(self._library)(value[..., 0] if self._vector else value)
