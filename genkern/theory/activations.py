"""What the theory of random features needs of an activation: its moments under a standard normal."""

from __future__ import annotations

import functools
import math
import numbers
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from genkern import _checks
from genkern.features import ACTIVATIONS

_KNOWN = tuple(name for name in ACTIVATIONS if name != "rff")
# Where the adaptive quadrature starts to divide. Common kinks are at 0 and +-1; a normal density is 1e-347 at 40.
_KNOTS = (-40.0, -12.0, -6.0, -3.0, -1.0, 0.0, 1.0, 3.0, 6.0, 12.0, 40.0)
_ACCURACY = 1e-11
_ROUNDING = 1e-13  # a moment below this share of the root mean square is one that is 0: the limits differ from 0 itself


@dataclass(frozen=True)
class ActivationMoments:
    """Moments of an activation sigma under a standard normal G.

    Attributes
    ----------
    mu0 : float
        ``E sigma(G)``.
    mu1 : float
        ``E G sigma(G)``, the weight of its linear part.
    mu_star : float
        Root of ``E sigma(G)^2 - mu0^2 - mu1^2``, the weight of the rest, which acts as noise of the features.
    """

    mu0: float
    mu1: float
    mu_star: float


def activation_moments(activation: str | Callable[[float], float]) -> ActivationMoments:
    """Moments of an activation under a standard normal, in closed form or by adaptive quadrature.

    Parameters
    ----------
    activation : str or function
        ``identity``, ``relu``, ``erf``, ``tanh``, ``cos``, ``sin`` or ``sign``, as in `random_features`, or a function
        of one real number. (``rff`` is no function of ``<w, x> / sqrt(d)`` alone.)

    Returns
    -------
    ActivationMoments
        `mu0`, `mu1`, `mu_star`; accurate to about 1e-15 by name, and to 1e-11 of the root mean square for a function,
        of which moments below 1e-13 of it count as 0.

    Raises
    ------
    ValueError
        Unknown name, or a function whose moments do not come out: not finite, or not to 1e-11.
    TypeError
        A function that gives no real number.

    Examples
    --------
    >>> from genkern.theory import activation_moments
    >>> activation_moments("sign").mu0
    0.0
    """
    if callable(activation):
        return _quadrature(activation)
    return _named(_checks.choice("activation", activation, _KNOWN))


@functools.cache
def _named(name: str) -> ActivationMoments:
    if name == "tanh":
        return replace(_quadrature(math.tanh), mu0=0.0)
    mu0, mu1, squared = {
        "identity": (0.0, 1.0, 0.0),
        "relu": (1 / math.sqrt(2 * math.pi), 0.5, 0.25 - 1 / (2 * math.pi)),
        "erf": (0.0, 2 / math.sqrt(3 * math.pi), 2 / math.pi * math.asin(2 / 3) - 4 / (3 * math.pi)),
        "cos": (math.exp(-0.5), 0.0, math.expm1(-1) ** 2 / 2),
        "sin": (0.0, math.exp(-0.5), math.exp(-1) * (math.sinh(1) - 1)),
        "sign": (0.0, math.sqrt(2 / math.pi), 1 - 2 / math.pi),
    }[name]
    return ActivationMoments(mu0, mu1, math.sqrt(squared))


def _quadrature(function: Callable[[float], float]) -> ActivationMoments:
    def sigma(x: float) -> float:
        value: Any = function(x)
        if not isinstance(value, (numbers.Real, np.number)) or isinstance(value, np.complexfloating):
            raise TypeError(f"activation must give one real number, got {type(value).__name__} at {x:g}")
        return float(value)

    size = math.sqrt(_mean(lambda x: sigma(x) ** 2, 0.0))

    def known(moment: float) -> float:
        return moment if abs(moment) > _ROUNDING * size else 0.0

    mu0 = known(_mean(sigma, size))
    mu1 = known(_mean(lambda x: x * sigma(x), size))
    # Of the residual, not as a difference of moments, so that a small nonlinear part keeps its digits.
    squared = _mean(lambda x: (sigma(x) - mu0 - mu1 * x) ** 2, size**2)
    return ActivationMoments(mu0, mu1, known(math.sqrt(squared)))


def _mean(function: Callable[[float], float], scale: float) -> float:
    """Mean of the function of a standard normal, to `_ACCURACY` of itself and of `scale`."""
    from scipy import integrate

    def weighted(x: float) -> float:
        density = math.exp(-x * x / 2) / math.sqrt(2 * math.pi)
        return function(x) * density if density else 0.0

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", integrate.IntegrationWarning)
        try:
            value, error = integrate.quad(
                weighted, _KNOTS[0], _KNOTS[-1], points=_KNOTS[1:-1], limit=2000, epsrel=1e-13, epsabs=1e-15 * scale
            )
        except OverflowError:
            value, error = math.inf, math.inf
    if not (math.isfinite(value) and error <= _ACCURACY * max(abs(value), scale)):
        raise ValueError(f"activation must have moments under a standard normal, got {value} with error {error:.1e}")
    return float(value)
