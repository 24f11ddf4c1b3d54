"""Risk curves: train and test risk at every width, sample size, ridge or step count, for the price of a few solves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from genkern import _checks, _curve_data, _registry
from genkern._curve_spectral import epoch_curve, ridge_curve
from genkern._risk_curve import RiskCurve
from genkern.features import check_law

__all__ = ["RiskCurve", "epoch_curve", "random_feature_curve", "ridge_curve", "sample_curve", "width_curve"]

_SEEDS = 2**64 - 1


def width_curve(
    F: Any,
    y: Any,
    F_test: Any,
    y_test: Any,
    *,
    widths: Any = None,
    ridge: Any = 0.0,
    noise: Any = None,
    classify: bool = False,
    rcond: float | None = None,
    method: str = "auto",
    progress: Any = None,
    backend: str | None = None,
    n_threads: int | None = None,
) -> RiskCurve:
    r"""Risk of least squares on the first p features, for every p at once.

    At width p the coefficients are those of ``lstsq(F[..., :p], y, ridge=ridge, rcond=rcond)``: they minimise
    ``||F_p w - y||^2 + ridge ||w||^2``, and where several w do (ridge 0), their norm. Since each width adds a column to
    the one before, one factorization that grows with p serves them all.

    Parameters
    ----------
    F : array (..., n, P)
        Features of the n training points; batch axes broadcast. Read block by block.
    y : array (..., n) or (..., n, k)
        Targets: one if ``y.ndim == F.ndim - 1``, k if ``y.ndim == F.ndim``.
    F_test : array (..., m, P)
        Features of the m test points.
    y_test : array (..., m) or (..., m, k)
        Targets of the test points, with the axis k if y has it.
    widths : sequence of int, optional
        Widths to measure, in [1, P], in any order and density. Default every width 1..P.
    ridge : float or sequence (r,)
        Penalty >= 0 on the *sum* of squares, as of `lstsq`. A sequence adds the axis r.
    noise : array (..., q, n) or (..., q, n, k), optional
        q draws, each added to y. Risks are then means over the draws, and `bias` and `variance` are measured: pass the
        clean signal as `y_test`. Draws are right-hand sides of one factorization and cost little.
    classify : bool
        Measure the 0-1 error of the test points too.
    rcond : float, optional
        Relative cutoff >= 0 of singular values at every width. Default ``eps * max(n, p)``, eps of the data's dtype.
    method : {"auto", "orthogonal", "woodbury", "svd"}
        Algorithm; see Notes. `RiskCurve.method` tells which was used at each width.
    progress : None, bool or function
        True shows a tqdm bar; a function is called as ``progress(done, total)`` now and then, and once at the end.
    backend : {None, "reference", "cpp", "numba", "cupy"}
        None follows the array and the machine.
    n_threads : int, optional
        Threads at most; None is every core that the process may use. The result does not depend on it.

    Returns
    -------
    RiskCurve
        With axis "width". NaN from the first width on whose data is not finite, and nowhere else.

    Raises
    ------
    ValueError, TypeError
        Arguments of a wrong shape, range, type or dtype.
    BackendUnavailable, DeviceMismatch
        The backend cannot run here; the arrays live on different devices.

    Notes
    -----
    Let ``F_p = Q L V^T`` with orthonormal columns in Q and V and L triangular, and ``S = F_test,p V``. V is never
    formed: memory is ``O(n^2 + n m)`` beside the inputs.

    * "qr": a column in a new direction appends to Q (Gram-Schmidt, twice), L and S. This is how the widths up to the
      rank of F are solved, with the rows ``sqrt(ridge) I`` appended if the ridge is positive.
    * "orthogonal": a column within the span of Q is taken in by one orthogonal transformation of ``[L, Q^T f]`` and
      ``[S, f_test]``. No condition number is squared.
    * "woodbury": with an inverse square root ``J = L^{-1} Q^T`` a block of such columns is a correction of J and S of
      the block's rank, all of it matrix products [1]_. Errors grow with the condition number where it began, not with
      its square. It takes over from "orthogonal" once that number is small enough for a relative error of 1e-10.
    * "svd": where the condition number comes within a factor 10 of ``1/rcond``, the SVD of L decides what is cut off,
      just as `lstsq` does.

    ``method="orthogonal"`` and ``"woodbury"`` choose how dependent columns are taken in (new directions are always
    "qr"), whatever the error estimate says; ``"svd"`` solves every width by an SVD. A column that is 0 on all
    training points gets weight 0. Cost, one target, all widths: ``(4 m n + 6 n^2) P`` flops, against ``O(n^2 P^2)``
    of fresh solves. float32 data is read as it is and computed in float64; the cutoff is then relative to float32's
    eps (as in `lstsq`), so that rounding of the features does not pass for rank.

    `error` is an estimate of the relative error of the test risk from rounding: condition number times eps times the
    size of the terms that were added up. Bits depend neither on `n_threads` nor on the batch (on the numba backend they
    may, from 500 training points on, where it lets BLAS use its threads).

    References
    ----------
    .. [1] A. Andrews, "A square root formulation of the Kalman covariance equations", AIAA Journal 6 (1968).
    """
    data = _curve_data.Data(("F", "y", "F_test", "y_test"), (F, y, F_test, y_test), noise, classify)
    last = data.X.shape[-1]
    values, unique, order = _curve_data.points("widths", widths, last)
    ridges = _curve_data.ridge_values(ridge)
    threads = _checks.threads(n_threads)
    choice = _checks.choice("method", method, _curve_data.CHOICES)
    rcond_value, unit = _curve_data.cutoff(rcond, data.dtype)
    solve = _registry.resolve("width_curve", backend, data.library.device)
    measured = _curve_data.Measured(data, ridges.size, unique.size)
    with _curve_data.progress_hook(progress, measured.error.size, "width_curve") as hook:
        solve(data, unique, np.atleast_1d(ridges), rcond_value, unit, choice, measured, hook, threads)
    return _curve_data.result(data, measured, "width", values, order, ridge=ridges)


def sample_curve(
    X: Any,
    y: Any,
    X_test: Any,
    y_test: Any,
    *,
    samples: Any = None,
    ridge: Any = 0.0,
    noise: Any = None,
    classify: bool = False,
    rcond: float | None = None,
    method: str = "auto",
    progress: Any = None,
    backend: str | None = None,
    n_threads: int | None = None,
) -> RiskCurve:
    """Risk of least squares on the first i training points, for every i at once.

    At sample size i the coefficients are those of ``lstsq(X[..., :i, :], y[..., :i], ridge=ridge, rcond=rcond)``.

    Parameters
    ----------
    X : array (..., n, d)
        Training inputs; batch axes broadcast.
    y, X_test, y_test, ridge, noise, classify, rcond, method, progress, backend, n_threads
        As in `width_curve`, with X in the place of F. `ridge` belongs to the *sum* of squares, so it is the same for
        every sample size.
    samples : sequence of int, optional
        Sample sizes to measure, in [1, n], in any order and density. Default every size 1..n.

    Returns
    -------
    RiskCurve
        With axis "samples". `train_risk` is the mean over the first i training points; `threshold` the first sample
        size at which X has full column rank.

    Raises
    ------
    ValueError, TypeError, BackendUnavailable, DeviceMismatch
        As in `width_curve`.

    Notes
    -----
    The prediction ``X_test X_i^+ y_i`` is the transpose of ``y_i^T (X_i^T)^+ X_test^T``: a width curve in which the
    training points are the features, the targets are their "test points" and the test points are the right-hand
    sides. So the algorithms, and what `method` and `error` mean, are those of `width_curve`.
    With a positive ridge, `train_risk` is the objective less the penalty, accurate to eps times the objective.
    Cost, all sample sizes: ``(4 m d + 6 d^2) n`` flops.
    """
    data = _curve_data.Data(("X", "y", "X_test", "y_test"), (X, y, X_test, y_test), noise, classify)
    values, unique, order = _curve_data.points("samples", samples, data.n)
    ridges = _curve_data.ridge_values(ridge)
    threads = _checks.threads(n_threads)
    choice = _checks.choice("method", method, _curve_data.CHOICES)
    rcond_value, unit = _curve_data.cutoff(rcond, data.dtype)
    solve = _registry.resolve("sample_curve", backend, data.library.device)
    measured = _curve_data.Measured(data, ridges.size, unique.size)
    with _curve_data.progress_hook(progress, measured.error.size, "sample_curve") as hook:
        solve(data, unique, np.atleast_1d(ridges), rcond_value, unit, choice, measured, hook, threads)
    return _curve_data.result(data, measured, "samples", values, order, ridge=ridges)


def random_feature_curve(
    X: Any,
    y: Any,
    X_test: Any,
    y_test: Any,
    *,
    widths: Any,
    activation: str | Callable[[float], float] = "relu",
    weights: str = "gaussian",
    bandwidth: float = 1.0,
    seeds: Any = 0,
    ridge: Any = 0.0,
    noise: Any = None,
    classify: bool = False,
    rcond: float | None = None,
    method: str = "auto",
    progress: Any = None,
    backend: str | None = None,
    n_threads: int | None = None,
) -> RiskCurve:
    """Risk of regression on random features at every width, without ever holding the features.

    The same as ``width_curve(random_features(X, P, ...), y, random_features(X_test, P, ...), y_test, ...)`` with
    ``P = max(widths)``, for every seed; blocks of features are made when they are needed and dropped again, so memory
    does not depend on P.

    Parameters
    ----------
    X : array (..., n, d)
        Training inputs; batch axes broadcast.
    y, X_test, y_test, ridge, noise, classify, rcond, method, progress, n_threads
        As in `width_curve`.
    widths : int or sequence of int
        Widths to measure, >= 1, in any order and density; ``range(1, P + 1)`` for every width.
    activation, weights, bandwidth
        As in `random_features`. A function of your own runs on the numba backend.
    seeds : int or sequence of int (s,)
        Seeds of the features, in [0, 2^64). A sequence adds the axis s.
    backend : {None, "reference", "cpp", "numba", "cupy"}
        None follows the array and the machine; numba for an activation of your own.

    Returns
    -------
    RiskCurve
        With axis "width".

    Raises
    ------
    ValueError, TypeError, BackendUnavailable, DeviceMismatch
        As in `width_curve` and `random_features`.

    Notes
    -----
    Features are made in the dtype of X, the curve from them in float64; see `width_curve`.
    """
    data = _curve_data.Data(("X", "y", "X_test", "y_test"), (X, y, X_test, y_test), noise, classify)
    if widths is None:
        raise TypeError("widths must be an integer or a sequence of integers, got None")
    values, unique, order = _curve_data.points("widths", widths, 2**62)
    ridges = _curve_data.ridge_values(ridge)
    keep_seeds = np.ndim(seeds) > 0
    seed_list = [_checks.integer("seeds", seed, low=0, high=_SEEDS) for seed in (seeds if keep_seeds else [seeds])]
    threads = _checks.threads(n_threads)
    choice = _checks.choice("method", method, _curve_data.CHOICES)
    rcond_value, unit = _curve_data.cutoff(rcond, data.dtype)
    law, backend = check_law(activation, weights, bandwidth, data.dtype, backend, data.library.device)
    solve = _registry.resolve("random_feature_curve", backend, data.library.device)
    measured = _curve_data.Measured(data, ridges.size, unique.size, (len(seed_list),))
    with _curve_data.progress_hook(progress, measured.error.size, "random_feature_curve") as hook:
        solve(data, unique, seed_list, law, np.atleast_1d(ridges), rcond_value, unit, choice, measured, hook, threads)
    if not keep_seeds:
        measured = measured.first()
    return _curve_data.result(
        data,
        measured,
        "width",
        values,
        order,
        ridge=ridges,
        seeds=np.array(seed_list, np.uint64),
        keep_seeds=keep_seeds,
    )
