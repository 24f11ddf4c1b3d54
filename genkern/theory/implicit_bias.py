"""Where gradient descent on separable data goes: the direction, and the offset from it."""

from __future__ import annotations

from typing import Any

import numpy as np

from genkern import _checks
from genkern.margin import max_margin
from genkern.theory import _arguments

Array = np.ndarray[Any, Any]
_ON_MARGIN = 1e-10  # a margin this close to 1, relative to ||x|| ||w_hat||, is one of 1
_NO_WEIGHT = 1e-13  # of the largest alpha_i ||x_i||: below, rounding decides, and the minimum may be at infinity
_NEWTON_STEPS = 200
_SAFE_STEP = 0.1  # of every exponent: the weights change by a tenth at most, and Newton's error falls


def gd_direction_limit(X: Any, y: Any, *, step_size: Any, loss: str = "exponential") -> tuple[Any, Any]:
    r"""Limits of gradient descent from 0 on separable data: ``w(t) = w_hat log t + w_tilde + o(1)``.

    Gradient descent on the *sum* of the losses of the margins ``<z_i, w>``, ``z_i = y_i x_i``, does not converge, but

    .. math::
        \hat w = \arg\min \|w\|^2 \;\text{subject to all}\; \langle z_i, w \rangle \ge 1, \qquad
        \eta \, e^{-\langle z_i, \tilde w \rangle} = \alpha_i \;\text{on the support}, \quad
        \hat w = \sum_i \alpha_i z_i,

    with :math:`\eta` = `step_size`. With P the projector on ``w_hat``, the distance of the direction ``w / ||w||`` from
    its limit times ``log t`` tends to ``||(I - P) w_tilde|| / ||w_hat||``, ``1 - cos`` times ``log^2 t`` to half the
    square of that, and the loss times t to ``||w_hat||^2 / step_size``.

    Parameters
    ----------
    X : array (..., n, d)
        Points; no intercept.
    y : array (..., n)
        Labels -1 and +1.
    step_size : array (...)
        Constant step size > 0, for the sum of the losses; with their mean, give it over n. It must be small enough for
        descent to converge. For the gradient *flow*, t is its time and `step_size` is 1.
    loss : {"exponential", "logistic"}
        Both have the tail ``exp(-margin)`` and so the same limits.

    Returns
    -------
    w_hat : array (..., d)
        The hard-margin solution of `max_margin`; NaN where the data is not separable or not finite.
    w_tilde : array (..., d)
        NaN too where theory gives no value: where the support does not span the data (the rest of the limit then
        depends on the path), or a point on the margin has no weight (probability 0 for continuous data).

    Raises
    ------
    ValueError, TypeError
        Arguments of a wrong shape, range, type or dtype; labels other than -1 and +1.

    Notes
    -----
    Where more points lie on the margin than they have dimensions, copies for instance, the weights are not unique, and
    those of the limit are found with it: it minimizes ``step_size sum_i exp(-<z_i, w>) + <w_hat, w>`` over the span of
    the points on the margin, a strictly convex function, here by Newton's method. The remainder falls like a
    power of t that the data sets.

    References
    ----------
    D. Soudry, E. Hoffer, M. Shpigel Nacson, S. Gunasekar, N. Srebro, "The implicit bias of gradient descent on
    separable data", JMLR 19 (2018), Theorems 3 and 4 of the ICLR version.

    Examples
    --------
    >>> import numpy as np
    >>> from genkern.theory import gd_direction_limit
    >>> X = np.array([[1.0, 2.0], [2.0, -0.3], [2.5, 1.5], [3.0, 2.0]])
    >>> w_hat, w_tilde = gd_direction_limit(X, np.ones(4), step_size=1.0)
    >>> w_hat.round(6).tolist(), w_tilde.round(6).tolist()
    ([0.534884, 0.232558], [0.895558, 0.516065])
    """
    _checks.choice("loss", loss, ("exponential", "logistic"))
    (points, labels), library = _checks.real_arrays(X=X, y=y)
    points, labels = points.astype(np.float64, copy=False), labels.astype(np.float64, copy=False)
    eta = _checks.positive("step_size", step_size)
    solved = max_margin(points, labels)
    d = points.shape[-1]
    shape = _arguments.batch_shape(X=points.shape[:-2], y=labels.shape[:-1], step_size=eta)
    w_hat = np.where((solved.status != 1)[..., None], solved.coef, np.nan)
    known = solved.separable & (solved.status == 0)
    w_hat, w_tilde = np.broadcast_to(w_hat, (*shape, d)), np.full((*shape, d), np.nan)
    z = np.broadcast_to(points * labels[..., None], (*shape, *points.shape[-2:]))
    dual = np.broadcast_to(solved.dual, (*shape, points.shape[-2]))
    known, eta = np.broadcast_to(known, shape), np.broadcast_to(eta, shape)
    for item in np.ndindex(shape):
        if known[item]:
            w_tilde[item] = _offset(z[item], w_hat[item], dual[item], float(eta[item]))
    return library.wrap(w_hat.copy()), library.wrap(w_tilde)


def _offset(z: Array, w_hat: Array, dual: Array, eta: float) -> Array:
    """w_tilde of one problem, or NaN."""
    d = z.shape[1]
    if len(z) == 0:
        return np.zeros(d)
    lengths = np.linalg.norm(z, axis=1) * np.linalg.norm(w_hat)
    on_margin = (z @ w_hat - 1.0 <= _ON_MARGIN * lengths) | (dual > 0)
    support = z[on_margin]
    _, values, directions = np.linalg.svd(support, full_matrices=False)
    basis = directions[values > max(z.shape) * np.finfo(np.float64).eps * values[0]]  # (r, d), of the support's span
    outside = np.linalg.norm(z - (z @ basis.T) @ basis, axis=1)
    if np.any(outside > 1e-10 * np.linalg.norm(z, axis=1)):
        return np.full(d, np.nan)
    rows, target = support @ basis.T, basis @ w_hat
    weights = np.maximum(dual[on_margin], 1e-3 * np.max(dual) / len(z))
    u = np.linalg.lstsq(rows, np.log(eta / weights), rcond=None)[0]
    found = _minimize(rows, target, eta, u)
    return np.full(d, np.nan) if found is None else found @ basis


def _minimize(rows: Array, target: Array, eta: float, u: Array) -> Array | None:
    """Minimizer of eta sum exp(-rows u) + target u by Newton's method with step halving; None if there is none."""

    def value(at: Array) -> float:
        return float(eta * np.sum(np.exp(-rows @ at)) + target @ at)

    with np.errstate(over="ignore", invalid="ignore"):
        for _ in range(_NEWTON_STEPS):
            a = eta * np.exp(-rows @ u)
            root = np.sqrt(a)[:, None] * rows
            # The Newton step as a least-squares problem, whose condition number is that of the root.
            triangle: Array = np.asarray(np.linalg.qr(root, mode="r"))
            if not np.all(np.isfinite(triangle)) or np.any(np.diag(triangle) == 0.0):
                return None
            step = np.linalg.solve(triangle, np.linalg.solve(triangle.T, rows.T @ a - target))
            change = np.max(np.abs(rows @ step))
            if change < 1e-7:  # the next error is the square of this
                force = a * np.linalg.norm(rows, axis=1)
                return u + step if np.min(force) > _NO_WEIGHT * np.max(force) else None
            size, start = 1.0, value(u)
            # A small step needs no halving, and rounding of the value would not let it pass.
            while change > _SAFE_STEP and not value(u + size * step) < start and size > 1e-12:
                size /= 2.0
            u = u + size * step
    return None
