"""Limiting risk of ridge and of minimum-norm regression as samples and features grow in proportion."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from genkern import _arrays, _checks
from genkern.theory import _arguments, _roots

Array = np.ndarray[Any, Any]
_CHUNK = 1 << 18  # points times eigenvalues that are worked on together: temporaries that stay in cache


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
    the error is of order 1/n away from ``gamma = 1``, and large near it. Relative error about 1e-14 at any gamma and
    ridge: all sums are of terms of one sign. Cost: some 15 evaluations of the sums over k a point.

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
    library = _library(eigenvalues=eigenvalues, weights=weights, alignment=alignment, **arguments)
    (g, lam, r2, sigma2), _ = _arguments.numbers(infinite=("gamma",), **arguments)
    spectrum = _Spectrum(eigenvalues, weights, alignment)
    shape = _arguments.batch_shape(gamma=g, ridge=lam, signal=r2, noise=sigma2, eigenvalues=spectrum.batch)
    bias, variance = np.empty(shape), np.empty(shape)
    for part, gammas, ridges, s, w, a in spectrum.chunks(shape, g, lam):
        kappa = _fixed_point(gammas, ridges, s, w)
        bias.flat[part], variance.flat[part] = _unit_risks(kappa, gammas, ridges, s, w, a)
    bias, variance = r2 * bias, _arguments.product(np.broadcast_to(sigma2, shape), variance)
    wrap = _arguments.wrapper(library)
    return Risk(wrap(bias), wrap(variance), wrap(bias + variance))


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
    """
    library = _library(gamma=gamma, ridge=ridge, eigenvalues=eigenvalues, weights=weights)
    (g, lam), _ = _arguments.numbers(infinite=("gamma",), gamma=gamma, ridge=ridge)
    spectrum = _Spectrum(eigenvalues, weights, None)
    shape = _arguments.batch_shape(gamma=g, ridge=lam, eigenvalues=spectrum.batch)
    kappa = np.empty(shape)
    for part, gammas, ridges, s, w, _ in spectrum.chunks(shape, g, lam):
        kappa.flat[part] = _fixed_point(gammas, ridges, s, w)
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

    References
    ----------
    E. Dobriban, S. Wager, "High-dimensional asymptotics of prediction: ridge regression and classification", Annals of
    Statistics 46 (2018); Hastie et al. as in `ridge_risk`.
    """
    (g, r2, sigma2), wrap = _arguments.numbers(gamma=gamma, signal=signal, noise=noise)
    _arguments.batch_shape(gamma=g, signal=r2, noise=sigma2)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return wrap(np.where(r2 == 0, np.inf, sigma2 * g / r2))


def _library(**arguments: Any) -> _arrays.Library:
    return _arrays.library_of(arguments)


class _Spectrum:
    """Eigenvalues s, their shares w and those of the signal a: (b, k) each, b the product of the shape `batch`."""

    def __init__(self, eigenvalues: Any, weights: Any, alignment: Any) -> None:
        if eigenvalues is None:
            for name, value in (("weights", weights), ("alignment", alignment)):
                if value is not None:
                    raise ValueError(f"{name} must not be given without eigenvalues")
            eigenvalues = np.ones(1)
        s = self._axis("eigenvalues", eigenvalues)
        w = np.ones(s.shape[-1]) if weights is None else self._axis("weights", weights)
        a = w if alignment is None else self._axis("alignment", alignment)
        k = _arguments.batch_shape(eigenvalues=s.shape[-1:], weights=w.shape[-1:], alignment=a.shape[-1:])
        shape = _arguments.batch_shape(eigenvalues=s.shape, weights=w.shape, alignment=a.shape)
        self.batch = shape[:-1]
        self.s, self.w, self.a = (np.broadcast_to(view, shape).reshape(-1, *k) for view in (s, w, a))
        self.w, self.a = self._shares("weights", self.w), self._shares("alignment", self.a)

    @staticmethod
    def _axis(name: str, value: Any) -> Array:
        view = _checks.nonnegative(name, value)
        _checks.minimum_axes(name, view, 1, "(..., k)")
        if view.shape[-1] == 0:
            raise ValueError(f"{name} must have at least one entry, got shape {view.shape}")
        return view

    @staticmethod
    def _shares(name: str, view: Array) -> Array:
        total = view.sum(axis=-1, keepdims=True)
        if not np.all((total > 0) & np.isfinite(total)):
            raise ValueError(f"{name} must have a positive finite sum, got {total[~(total > 0)].ravel()[:1]}")
        shares: Array = view / total
        return shares

    def chunks(self, shape: tuple[int, ...], gamma: Array, ridge: Array) -> Any:
        """Parts of the batch, flat: (slice, gamma, ridge, s, w, a), the last three (1 or points, k)."""
        gammas, ridges = (np.broadcast_to(view, shape).ravel() for view in (gamma, ridge))
        which = np.broadcast_to(np.arange(len(self.s)).reshape(self.batch), shape).ravel()
        length = max(1, _CHUNK // self.s.shape[-1])
        for first in range(0, which.size, length):
            part = slice(first, first + length)
            of = slice(None) if len(self.s) == 1 else which[part]
            yield part, gammas[part], ridges[part], self.s[of], self.w[of], self.a[of]


def _fixed_point(gamma: Array, ridge: Array, s: Array, w: Array) -> Array:
    """The kappa (m,) of gamma and ridge (m,) and spectra s, w (1 or m, k)."""
    active = np.sum(w, axis=-1, where=s > 0) / np.sum(w, axis=-1)  # exactly 1 where every eigenvalue is positive
    with np.errstate(invalid="ignore"):
        g = np.where(active == 0, 0.0, gamma * active)  # features with variance per sample
    kappa: Array = np.where(ridge > 0, ridge, 0.0)
    kappa[g == np.inf] = np.inf
    solve = np.flatnonzero(np.isfinite(g) & (g > 0) & ((ridge > 0) | (g > 1)))
    least = np.broadcast_to(np.min(s, axis=-1, where=s > 0, initial=np.inf), g.shape)[solve]
    mean = np.broadcast_to(np.sum(w * s, axis=-1), g.shape)[solve]
    lam, ratio, excess = ridge[solve], gamma[solve], g[solve] - 1.0
    with np.errstate(divide="ignore", over="ignore"):
        low = np.maximum(lam, least * excess)
        high = np.minimum(lam + ratio * mean, np.where(excess < 0, lam / -excess, np.inf))

    def equation(k: Array, ratio: Array, lam: Array, at: Array) -> Array:
        """1 - lam / k - ratio * sum w s / (s + k), without cancellation where features and samples almost balance."""
        rows, weights = (s, w) if len(s) == 1 else (s[at], w[at])
        column = k[:, None]
        large = rows > column  # s / (s + k) = 1 - k / (s + k)
        terms = np.sum(weights * (np.where(large, -column, rows) / (rows + column)), axis=-1)
        return (1.0 - ratio * np.sum(weights * large, axis=-1)) - lam / k - ratio * terms

    kappa[solve] = _roots.positive_root(equation, low, high, (ratio, lam, solve))
    return kappa


def _unit_risks(kappa: Array, gamma: Array, ridge: Array, s: Array, w: Array, a: Array) -> tuple[Array, Array]:
    """Bias for a signal of 1 and variance for a noise of 1."""
    k = kappa[:, None]
    endless = np.isinf(kappa)
    with np.errstate(divide="ignore", invalid="ignore"):
        kept = np.where(s > 0, s / (s + k), 0.0)
        lost = np.where(s > 0, np.where(endless[:, None], 1.0, k / (s + k)), 1.0)
        A = gamma * np.sum(w * kept**2, axis=-1)
        # 1 - A, as a sum of positive terms by the fixed-point equation.
        slack = np.where(kappa > 0, ridge / kappa + gamma * np.sum(w * kept * lost, axis=-1), 1.0 - A)
    A, slack = np.where(endless, 0.0, A), np.where(endless, 1.0, slack)
    return _arguments.ratio(np.sum(a * s * lost**2, axis=-1), slack), _arguments.ratio(A, slack)
