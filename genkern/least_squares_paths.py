"""The whole ridge and gradient-descent paths of least squares from one decomposition."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from genkern import _checks, _registry
from genkern.least_squares import singular_values

Array = np.ndarray[Any, Any]


def ridge_path(
    X: Any,
    y: Any,
    ridges: Any,
    *,
    rcond: float | None = None,
    out: Any = None,
    backend: str | None = None,
    n_threads: int | None = None,
) -> Any:
    """Ridge regression at many ridge values for the price of one SVD.

    ``coef(ridge) = V diag(s / (s^2 + ridge)) U^T y`` over the singular values ``s > rcond * s_max``, as in `lstsq`:
    the ridge belongs to the sum of squares, and at 0 the solution is the minimum-norm one.

    Parameters
    ----------
    X, y, rcond, backend, n_threads
        As in `lstsq`.
    ridges : float or array (r,)
        Finite values >= 0 in any order. A number adds no axis, a sequence adds the axis r.
    out : array of the result's shape, optional
        Memory for the result, as in `lstsq`.

    Returns
    -------
    array (..., r, d) or (..., r, d, k)
        Coefficients; NaN for an item whose X or y is not finite, or whose SVD does not converge.

    Raises
    ------
    ValueError, TypeError, BackendUnavailable, DeviceMismatch
        As in `lstsq`.

    Notes
    -----
    The SVD of one item runs on one thread and cannot be interrupted; Ctrl-C acts between items. float32 data is
    decomposed in float32, with errors of the order of ``eps s_max`` in every singular value.
    """
    ridge_values = _checks.nonnegative("ridges", ridges)
    _checks.at_most_one_axis("ridges", ridge_values)
    path = _Path(X, y, ridge_values, rcond, out, n_threads, own={"ridges": ridge_values})
    solve = _registry.resolve("ridge_path", backend, path.library.device)
    solve(path.X, path.rhs, np.atleast_1d(ridge_values), path.cutoff, path.coef, path.threads)
    return path.result()


def gd_path(
    X: Any,
    y: Any,
    steps: Any,
    *,
    step_size: Any = None,
    momentum: float = 0.0,
    nesterov: bool = False,
    allow_divergence: bool = False,
    rcond: float | None = None,
    out: Any = None,
    backend: str | None = None,
    n_threads: int | None = None,
) -> Any:
    r"""Gradient descent on ``||X w - y||^2 / 2`` from zero, at any step counts, without iterating over X.

    Every method is a filter of the SVD: ``coef_k = V diag((1 - r_k(s)) / s) U^T y`` over the singular values
    ``s > rcond * s_max`` with ``r_0 = 1``, ``r_1 = 1 - a``, ``a = step_size * s^2`` and

    * gradient descent: ``r_k = (1 - a)^k``;
    * heavy ball, ``w_{k+1} = w_k - step_size grad + momentum (w_k - w_{k-1})``:
      ``r_{k+1} = (1 + momentum - a) r_k - momentum r_{k-1}``, evaluated in closed form;
    * Nesterov, ``z = w_k + m (w_k - w_{k-1})``, ``w_{k+1} = z - step_size grad(z)``, where step number j = 1, 2, ...
      has ``m = (j - 1) / (j + 2)``.

    Parameters
    ----------
    X, y, backend, n_threads
        As in `lstsq`.
    steps : float or array (t,)
        Step counts in any order: whole numbers in [0, 2^53), or ``inf`` (the minimum-norm solution; not with
        `nesterov`). A number adds no axis, a sequence adds the axis t.
    step_size : float or array (...), optional
        Step size > 0 for the *sum* of squares over 2, broadcast over the batch. Default ``1 / s_max^2``.
    momentum : float
        Heavy-ball momentum in [0, 1).
    nesterov : bool
        Use Nesterov's schedule; takes no `momentum`. Its filter is a recursion whose cost grows with the largest count,
        some nanoseconds a step and singular value until the mode has converged; Ctrl-C stops it.
    allow_divergence : bool
        Evaluate a path that diverges; all counts must be finite then.
    rcond : float, optional
        As in `lstsq`; modes at or below the cutoff stay 0 for every count.
    out : array of the result's shape, optional
        Memory for the result, as in `lstsq`; undefined after an exception.

    Returns
    -------
    array (..., t, d) or (..., t, d, k)
        Coefficients; NaN for an item whose X or y is not finite, or whose SVD does not converge.

    Raises
    ------
    ValueError
        Also if the step size of an item diverges: above ``2 / s_max^2`` (gradient descent),
        ``2 (1 + momentum) / s_max^2`` (heavy ball), ``4 / (3 s_max^2)`` (Nesterov); for ``inf`` the limit itself
        does not converge.
    TypeError, BackendUnavailable, DeviceMismatch
        As in `lstsq`.

    Notes
    -----
    The SVD of one item runs on one thread and cannot be interrupted; Ctrl-C acts between items. Sources: Ali, Kolter,
    Tibshirani, "A continuous-time view of early stopping for least squares" (AISTATS 2019), for the filters of
    gradient descent; Polyak (1964) and Su, Boyd, Candes (JMLR 2016) for the two accelerated methods.
    """
    nesterov = _checks.flag("nesterov", nesterov)
    allow_divergence = _checks.flag("allow_divergence", allow_divergence)
    beta = _checks.momentum("momentum", momentum, nesterov)
    counts = _checks.step_counts("steps", steps, infinite=not nesterov)
    endless = bool(np.any(np.isinf(counts)))
    sizes = np.array(math.nan) if step_size is None else _checks.positive("step_size", step_size)
    path = _Path(X, y, counts, rcond, out, n_threads, own={"steps": counts, "step_size": sizes}, batched=("step_size",))
    sizes = _checks.broadcast(sizes, path.batch)
    solve = _registry.resolve("gd_path", backend, path.library.device)

    divergent = path.library.empty(path.batch, np.bool_)
    solve(
        path.X, path.rhs, np.atleast_1d(counts), sizes, beta, nesterov, path.cutoff, path.coef, divergent, path.threads
    )
    if divergent.any() and (endless or not allow_divergence):
        item = np.unravel_index(int(divergent.argmax()), path.batch)
        s_max = float(singular_values(path.X[item], backend=backend, n_threads=path.threads)[0])
        limit = (4.0 / 3.0 if nesterov else 2.0 * (1.0 + beta)) / s_max / s_max
        _checks.divergent_step_size(float(sizes[item]), limit, tuple(int(i) for i in item), endless)
    return path.result()


class _Path:
    """The checked arguments that both paths share; `axis` are the values along the path's own axis."""

    def __init__(
        self,
        X: Any,
        y: Any,
        axis: Array,
        rcond: float | None,
        out: Any,
        n_threads: int | None,
        own: dict[str, Array],
        batched: tuple[str, ...] = (),
    ) -> None:
        (X_view, y_view), self.library = _checks.device_arrays(X=X, y=y)
        _checks.minimum_axes("X", X_view, 2, "(..., n, d)")
        rhs, vector = _checks.right_hand_sides(X_view, y_view)
        n, d = X_view.shape[-2:]
        k = rhs.shape[-1]
        shapes = {"X": X_view.shape[:-2], "y": rhs.shape[:-2]}
        self.batch = _checks.broadcast_batch(shapes | {name: own[name].shape for name in batched})
        self.cutoff = _checks.cutoff(rcond, X_view.dtype, n, d)
        self.threads = _checks.threads(n_threads)
        shape = (*self.batch, *axis.shape, d, *(() if vector else (k,)))
        memory = _checks.output(out, shape, X_view.dtype, self.library, {"X": X_view, "y": y_view} | own)
        self.X = _checks.broadcast(X_view, (*self.batch, n, d))
        self.rhs = _checks.broadcast(rhs, (*self.batch, n, k))
        self.coef = memory.reshape((*self.batch, axis.size, d, k))
        self._memory, self._out = memory, out

    def result(self) -> Any:
        """The coefficients in the caller's library, or the caller's own `out`."""
        return self.library.result(self._memory, self._out)
