"""The hard margin: the smallest w with every margin at least 1, its dual, and the proof that it is the smallest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from genkern import _checks, _checks_separable, _registry

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, eq=False)
class MaxMargin:
    """Hard-margin solutions of a batch of two-class problems, arrays of the caller's library.

    Attributes
    ----------
    coef : array (..., d)
        The smallest w with ``min_i y_i <x_i, w> = 1``; NaN where `separable` is False.
    margin : array (...)
        ``1 / ||coef||``, the distance of the nearest point from the hyperplane; 0 where `separable` is False.
    dual : array (..., n)
        Multipliers ``a >= 0`` with ``coef = sum_i a_i y_i x_i``. Where `separable` is False, a certificate of that:
        ``a >= 0``, ``sum a = 1`` and ``sum_i a_i y_i x_i = 0``.
    support : array (..., n), bool
        ``dual > 0``: at most ``min(n, d)`` linearly independent points on the margin (further points may lie on it,
        copies of these say), or the points of the certificate.
    gap : array (...), float64
        Relative duality gap ``1 - D / P`` of the arrays returned, with ``P = ||coef||^2 / (2 m^2)``,
        ``m = min_i y_i <x_i, coef>`` and ``D = sum a - ||sum_i a_i y_i x_i||^2 / 2``: ``coef / m`` has margins of 1,
        and no such vector has a squared norm below ``(1 - gap) 2 P``. Where `separable` is False, what is left of the
        certificate's sum, relative to its terms: ``||sum_i a_i y_i x_i|| / sum_i a_i ||x_i||``.
    separable : array (...), bool
        Some w has all ``y_i <x_i, w> > 0``; `coef` is one.
    status : array (...), int8
        0 solved, 1 X or y of this item is not finite, 2 the gap is above `tol`: `max_iter` was reached, or float64
        cannot do better. Then `coef` and `dual` are the best found, and `gap` holds for them.
    """

    coef: Any
    margin: Any
    dual: Any
    support: Any
    gap: Any
    separable: Any
    status: Any


def max_margin(
    X: Any,
    y: Any,
    *,
    tol: float = 1e-10,
    max_iter: int | None = None,
    backend: str | None = None,
    n_threads: int | None = None,
) -> MaxMargin:
    r"""Hard-margin support vector machine without intercept, for a batch of problems, with a proof of each answer.

    ``min ||w||^2 / 2`` subject to ``y_i <x_i, w> >= 1`` for all i, and its dual ``max sum a - ||sum_i a_i y_i x_i||^2 /
    2`` over ``a >= 0``. Gradient descent on the logistic or the exponential loss of the same data converges to the
    direction of w. For an intercept, append a column of ones to X (which is then penalised as well).

    Parameters
    ----------
    X : array (..., n, d)
        Points; batch axes broadcast. float32 comes back as float32, integers become float64.
    y : array (..., n)
        Labels -1 and +1; they may all be equal.
    tol : float
        Relative duality gap > 0 up to which an answer counts as solved. The method ends at the rounding of float64
        whatever `tol` is, which only decides `status`.
    max_iter : int, optional
        Steps at most, each of which takes one point into the active set or drops one. Default ``100 + 10 (n + d)``;
        a support of s points takes about 2 s steps.
    backend : {None, "reference", "cpp", "numba"}
        None follows the array and the machine.
    n_threads : int, optional
        Threads at most, one for each item of the batch; None is every core that the process may use.

    Returns
    -------
    MaxMargin
        `coef`, `margin`, `dual`, `support`, `gap`, `separable`, `status`. Non-finite data spoils its own item only.

    Raises
    ------
    ValueError, TypeError
        Arguments of a wrong shape, range, type or dtype; labels other than -1 and +1.
    BackendUnavailable, DeviceMismatch
        The backend cannot run here; the arrays live on different devices.

    Notes
    -----
    Method: the dual active-set method of Goldfarb and Idnani (1983) on a QR factorization of the active points, whose
    condition number is not squared. It starts at ``w = 0``, takes in a violated point and keeps the dual feasible; a
    point that depends on the active ones and cannot enter yields the certificate. Primal and dual are then refined
    with residuals of twice the precision, and `gap` is computed so from what is returned. A margin below about
    ``1e-14 max ||x_i||`` cannot be told from 0: the item counts as not separable, or has status 2.

    The gap sees the rounding of `coef` and `dual` themselves; where columns differ in scale by many orders of
    magnitude that may be more than `tol`, and then status is 2 however exact the result. float32 data is solved in
    float64 and rounded at the end; the gap is that of the rounded arrays, while `status` judges before rounding.

    Where several duals are optimal (copies of points, or more points on the margin than dimensions), the backend
    decides which of them is returned; `coef` is unique. ``n == 0`` has coef 0 and margin infinity. The bits of an item
    depend neither on `n_threads` nor on its batch. Cost: ``O(s (n + s) d)`` for a support of s points, in practice less
    than ``s / 4`` passes over X. Ctrl-C acts within an item too, but on the backend "numba".

    Examples
    --------
    >>> import numpy as np
    >>> from genkern import max_margin
    >>> X = np.array([[0.5, 1.5], [1.5, 0.5], [-0.5, -1.5], [-2.5, -1.5]])
    >>> result = max_margin(X, np.array([1, 1, -1, -1]))
    >>> bool(result.separable), result.coef.round(12), float(result.margin.round(6))
    (True, array([0.5, 0.5]), 1.414214)
    """
    (X_view, y_view), library = _checks.device_arrays(X=X, y=y)
    dtype = _checks.device_arrays(X=X)[0][0].dtype  # labels of integers do not make float32 data float64
    X_view, y_view = X_view.astype(dtype, copy=False), y_view.astype(dtype, copy=False)
    _checks.minimum_axes("X", X_view, 2, "(..., n, d)")
    _checks_separable.labels(y_view, X_view)
    tolerance = _checks.real_number("tol", tol, low=0.0, strict=True)
    n, d = X_view.shape[-2:]
    limit = 100 + 10 * (n + d) if max_iter is None else _checks.integer("max_iter", max_iter, low=1, high=2**62)
    batch = _checks.broadcast_batch({"X": X_view.shape[:-2], "y": y_view.shape[:-1]})
    threads = _checks.threads(n_threads)
    solve = _registry.resolve("max_margin", backend, library.device)

    coef = library.empty((*batch, d), X_view.dtype)
    margin = library.empty(batch, X_view.dtype)
    dual = library.empty((*batch, n), X_view.dtype)
    support = library.empty((*batch, n), np.bool_)
    gap = library.empty(batch, np.float64)
    separable = library.empty(batch, np.bool_)
    status = library.empty(batch, np.int8)
    solve(
        _checks.broadcast(X_view, (*batch, n, d)),
        _checks.broadcast(y_view, (*batch, n)),
        tolerance,
        limit,
        coef,
        margin,
        dual,
        support,
        gap,
        separable,
        status,
        threads,
    )
    return MaxMargin(*map(library.wrap, (coef, margin, dual, support, gap, separable, status)))
