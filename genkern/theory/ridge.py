"""Limiting risk of ridge and of minimum-norm regression as samples and features grow in proportion."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from genkern import _arrays
from genkern.theory import _arguments
from genkern.theory._fixed_point import Spectrum

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, eq=False)
class Risk:
    """Excess risk, `E (x^T (coef - true))^2`: the noise of a new response is not in it.

    Attributes
    ----------
    bias : array (...)
        Squared bias, given the inputs.
    variance : array (...)
        Variance over the noise of the training responses, given the inputs.
    total : array (...)
        Their sum.
    """

    bias: Any
    variance: Any
    total: Any


def ridge_risk(
    gamma: Any,
    *,
    ridge: Any = 0.0,
    signal: Any = 1.0,
    noise: Any = 1.0,
    eigenvalues: Any = None,
    weights: Any = None,
    alignment: Any = None,
) -> Risk:
    r"""Limiting risk of ridge and of minimum-norm regression, for any covariance and any signal.

    The model is ``y = <x, beta> + eps`` with ``x = Sigma^{1/2} z``, z of independent entries of variance 1, and
    ``coef = (X^T X / n + ridge I)^{-1} X^T y / n``, or its limit ``ridge -> 0``. As n and p grow with ``p / n =
    gamma``, with H the distribution of the eigenvalues s of Sigma and G the one weighted by the signal,

    .. math::
        \kappa = \lambda + \kappa \gamma \int \frac{s}{s + \kappa} dH, \qquad
        A = \gamma \int \frac{s^2}{(s + \kappa)^2} dH, \\
        \text{bias} = \|\beta\|^2 \frac{\kappa^2 \int s / (s + \kappa)^2 dG}{1 - A}, \qquad
        \text{variance} = \sigma^2 \frac{A}{1 - A},

    with :math:`\lambda` = `ridge` and :math:`\kappa` the largest solution (0 where `ridge` is 0 and fewer features
    than samples have variance). Isotropic inputs without ridge: ``variance = noise gamma / (1 - gamma)`` and no bias
    below ``gamma = 1``, ``noise / (gamma - 1)`` and ``signal (1 - 1 / gamma)`` above.

    Parameters
    ----------
    gamma : array (...)
        Features per sample, p / n >= 0; `inf` is a sample of no size.
    ridge : array (...)
        Penalty >= 0 on the *mean* of squares: `lstsq`'s, which belongs to the sum, over n. In terms of the lambda of
        `random_features_risk` it is ``gamma`` times ``n lambda / d`` for p features.
    signal : array (...)
        ``||beta||^2``.
    noise : array (...)
        Variance of eps.
    eigenvalues : array (..., k), optional
        Eigenvalues of Sigma, >= 0. By default Sigma is the identity.
    weights : array (..., k), optional
        Share of the dimensions that each eigenvalue has (H); only the ratios count. By default all the same.
    alignment : array (..., k), optional
        Share of ``||beta||^2`` that lies along each eigenvalue's directions (G); only the ratios count. By default
        that of a random direction, which is `weights`.

    Returns
    -------
    Risk
        Of shape (...), to which all arguments broadcast, the last three without their axis k. `inf` where the risk
        diverges: without ridge, where exactly n features have variance.

    Raises
    ------
    ValueError
        Numbers out of range, shapes that do not broadcast, or numbers so large or small that the fixed point has no
        bracket in float64.
    TypeError
        Arguments that are not real numbers.

    Notes
    -----
    Valid for n and p both large, whatever beta with the alignment G if z is rotationally invariant; at finite size
    the error is of order 1/n away from ``gamma = 1``, and large near it. Relative rounding error about 1e-14 at any
    gamma, next to thresholds too, and 2e-13 at ridges of 1e-300: all sums are of terms of one sign. Cost: some 15
    evaluations of the sums over k a point.

    References
    ----------
    T. Hastie, A. Montanari, S. Rosset, R. J. Tibshirani, "Surprises in high-dimensional ridgeless least squares
    interpolation", Annals of Statistics 50 (2022), whose ridgeless and ridge forms are equivalent to this one.

    Examples
    --------
    >>> from genkern.theory import ridge_risk
    >>> risk = ridge_risk([0.5, 2.0], signal=1.0, noise=1.0)
    >>> risk.bias, risk.variance
    (array([0. , 0.5]), array([1., 1.]))
    """
    arguments = {"gamma": gamma, "ridge": ridge, "signal": signal, "noise": noise}
    library = _arrays.library_of(arguments | {"eigenvalues": eigenvalues, "weights": weights, "alignment": alignment})
    (g, lam, r2, sigma2), _ = _arguments.numbers(infinite=("gamma",), **arguments)
    spectrum = Spectrum(eigenvalues, weights, alignment)
    shape = _arguments.batch_shape(gamma=g, ridge=lam, signal=r2, noise=sigma2, eigenvalues=spectrum.batch)
    bias, variance = np.empty(shape), np.empty(shape)
    for part, *points in spectrum.chunks(shape, g, lam):
        kappa = spectrum.effective_ridge(*points)
        bias.flat[part], variance.flat[part] = spectrum.unit_risks(kappa, *points)
    bias, variance = _arguments.product(r2, bias), _arguments.product(sigma2, variance)
    wrap = _arguments.wrapper(library)
    return Risk(wrap(bias), wrap(variance), wrap(_arguments.total(bias, variance)))


def effective_ridge(gamma: Any, *, ridge: Any = 0.0, eigenvalues: Any = None, weights: Any = None) -> Any:
    """The kappa of `ridge_risk`: the ridge that acts, as if the covariance were known.

    Parameters
    ----------
    gamma, ridge, eigenvalues, weights
        As in `ridge_risk`.

    Returns
    -------
    array (...)
        ``kappa >= ridge``, in the units of `ridge`. Its inverse is the companion Stieltjes transform ``v(-ridge)``, and
        that of the spectrum of ``X^T X / n`` is ``m(-ridge) = (ridge / kappa - 1 + gamma) / (gamma ridge)``.

    Raises
    ------
    ValueError, TypeError
        As in `ridge_risk`.

    References
    ----------
    As in `ridge_risk`.
    """
    library = _arrays.library_of({"gamma": gamma, "ridge": ridge, "eigenvalues": eigenvalues, "weights": weights})
    (g, lam), _ = _arguments.numbers(infinite=("gamma",), gamma=gamma, ridge=ridge)
    spectrum = Spectrum(eigenvalues, weights, None)
    shape = _arguments.batch_shape(gamma=g, ridge=lam, eigenvalues=spectrum.batch)
    kappa = np.empty(shape)
    for part, *points in spectrum.chunks(shape, g, lam):
        kappa.flat[part] = spectrum.effective_ridge(*points)
    return _arguments.wrapper(library)(kappa)


def optimal_ridge(gamma: Any, *, signal: Any, noise: Any) -> Any:
    """The ridge that makes the total of `ridge_risk` least: ``noise gamma / signal``.

    It is optimal for a signal of random direction (`alignment` by default) whatever the covariance, since ridge
    regression at this value is the posterior mean under ``beta ~ N(0, signal / p I)``. With it the risk has no peak.

    Parameters
    ----------
    gamma, signal, noise : array (...)
        As in `ridge_risk`. A signal of 0 has an infinite optimum, also without noise.

    Returns
    -------
    array (...)
        In the units of `ridge_risk`; times n it is `lstsq`'s ridge, ``noise p / signal``.

    Raises
    ------
    ValueError, TypeError
        As in `ridge_risk`.

    Notes
    -----
    At any n and p it is the best one on average over such signals, of the risk given the inputs too.

    References
    ----------
    E. Dobriban, S. Wager, "High-dimensional asymptotics of prediction: ridge regression and classification", Annals of
    Statistics 46 (2018); Hastie et al. as in `ridge_risk`.
    """
    (g, r2, sigma2), wrap = _arguments.numbers(gamma=gamma, signal=signal, noise=noise)
    _arguments.batch_shape(gamma=g, signal=r2, noise=sigma2)
    parts = [np.frexp(view) for view in (sigma2, g, r2)]  # a product of the first two may overflow or underflow
    (m1, e1), (m2, e2), (m3, e3) = parts
    with np.errstate(divide="ignore", invalid="ignore", over="ignore", under="ignore"):
        return wrap(np.where(r2 == 0, np.inf, np.ldexp(m1 * m2 / m3, e1 + e2 - e3)))
