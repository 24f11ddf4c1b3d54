"""Minimum-norm least squares and singular values, in batches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from genkern import _checks, _registry


@dataclass(frozen=True, eq=False)
class LstsqResult:
    """Solution of a batch of least-squares problems, arrays of the caller's library.

    Attributes
    ----------
    coef : array (..., d) or (..., d, k)
        Coefficients; NaN where `status` is not 0.
    rank : array (...), int32
        Singular values of X above the cutoff, whatever the ridge; 0 where `status` is not 0.
    residual_norm : array (...) or (..., k)
        ``||X coef - y||``; exactly 0 where ``rank == n`` and the ridge is 0, since the solution then interpolates.
    status : array (...), int8
        0 solved, 1 X or y of this item is not finite, 2 the SVD did not converge.
    """

    coef: Any
    rank: Any
    residual_norm: Any
    status: Any


def lstsq(
    X: Any,
    y: Any,
    *,
    ridge: Any = 0.0,
    rcond: float | None = None,
    out: Any = None,
    backend: str | None = None,
    n_threads: int | None = None,
) -> LstsqResult:
    r"""Least squares with the smallest norm, or ridge regression, for a batch of problems.

    With the thin SVD ``X = U diag(s) V^T`` the solution is ``coef = V diag(s / (s^2 + ridge)) U^T y`` over the
    singular values ``s > rcond * s_max``; it minimises ``||X w - y||^2 + ridge ||w||^2`` and, where several w do,
    ``||w||``. The cutoff also acts for ``ridge > 0``, so that the limit ``ridge -> 0`` is the value at 0.
    The ridge here belongs to the *sum* of squares: it is n times the ridge of a mean of squares.

    Parameters
    ----------
    X : array (..., n, d)
        Real design matrices; batch axes broadcast. float32 is solved in float32, integers become float64.
    y : array (..., n) or (..., n, k)
        Right-hand sides: one of them if ``y.ndim == X.ndim - 1``, k of them if ``y.ndim == X.ndim``. So a batch of y
        for one X (n, d) is ``y`` (b, n) with ``X[None]``.
    ridge : float or array (...)
        Penalty >= 0, broadcast over the batch.
    rcond : float, optional
        Relative cutoff >= 0 of singular values. Default ``eps * max(n, d)``, eps of the dtype.
    out : array (..., d) or (..., d, k), optional
        Memory for `coef`: C-contiguous, of the result's dtype, apart from the inputs.
    backend : {None, "reference", "cpp", "numba", "cupy"}
        None follows the array and the machine: arrays on a GPU go to "cupy".
    n_threads : int, optional
        Threads at most; None is every core that the process may use.

    Returns
    -------
    LstsqResult
        `coef`, `rank`, `residual_norm`, `status`. Non-finite data spoils its own item only.

    Raises
    ------
    ValueError, TypeError
        Arguments of a wrong shape, range, type or dtype.
    BackendUnavailable, DeviceMismatch
        The backend cannot run here; the arrays live on different devices.

    Notes
    -----
    Empty problems are their limits: coef 0 and rank 0 for ``n == 0``, residual ``||y||`` for ``d == 0``. The bits
    of an item depend neither on `n_threads` nor on its batch. Ctrl-C acts within an item too, but for an item that
    may be rank deficient (or of extreme scale or ridge): that one goes to an SVD of LAPACK on one thread. JAX
    without ``jax_enable_x64`` holds float64 results (of integers, say) as float32, as all of JAX does. Cost: ``O(n
    d min(n, d))`` an item.
    """
    (X_view, y_view), library = _checks.device_arrays(X=X, y=y)
    _checks.minimum_axes("X", X_view, 2, "(..., n, d)")
    rhs, vector = _checks.right_hand_sides(X_view, y_view)
    ridge_view = _checks.nonnegative("ridge", ridge)
    n, d = X_view.shape[-2:]
    k = rhs.shape[-1]
    cutoff = _checks.cutoff(rcond, X_view.dtype, n, d)
    batch = _checks.broadcast_batch({"X": X_view.shape[:-2], "y": rhs.shape[:-2], "ridge": ridge_view.shape})
    threads = _checks.threads(n_threads)
    columns = () if vector else (k,)
    inputs = {"X": X_view, "y": y_view, "ridge": ridge_view}
    coef = _checks.output(out, (*batch, d, *columns), X_view.dtype, library, inputs)
    solve = _registry.resolve("lstsq", backend, library.device)

    rank = library.empty(batch, np.int32)
    residual_norm = library.empty((*batch, *columns), X_view.dtype)
    status = library.empty(batch, np.int8)
    solve(
        _checks.broadcast(X_view, (*batch, n, d)),
        _checks.broadcast(rhs, (*batch, n, k)),
        _checks.broadcast(ridge_view, batch),
        cutoff,
        coef.reshape((*batch, d, k)),
        rank,
        residual_norm.reshape((*batch, k)),
        status,
        threads,
    )
    return LstsqResult(
        library.result(coef, out),
        library.wrap(rank),
        library.wrap(residual_norm),
        library.wrap(status),
    )


def singular_values(X: Any, *, out: Any = None, backend: str | None = None, n_threads: int | None = None) -> Any:
    """Singular values of a batch of matrices, in descending order.

    Parameters
    ----------
    X : array (..., n, d)
        Real matrices. float32 is decomposed in float32, integers become float64.
    out : array (..., min(n, d)), optional
        Memory for the result, as in `lstsq`.
    backend, n_threads
        As in `lstsq`.

    Returns
    -------
    array (..., min(n, d))
        Each within a small multiple of ``eps s_max``; NaN for an item that is not finite or does not converge.

    Raises
    ------
    ValueError, TypeError, BackendUnavailable, DeviceMismatch
        As in `lstsq`.
    """
    (view,), library = _checks.device_arrays(X=X)
    _checks.minimum_axes("X", view, 2, "(..., n, d)")
    threads = _checks.threads(n_threads)
    s = _checks.output(out, (*view.shape[:-2], min(view.shape[-2:])), view.dtype, library, {"X": view})
    _registry.resolve("singular_values", backend, library.device)(view, s, threads)
    return library.result(s, out)
