"""Risk of random-features regression in the proportional limit (Mei and Montanari), with its sources of variance."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from genkern import _checks
from genkern.theory import _arguments
from genkern.theory._feature_risks import UnitRisks
from genkern.theory.activations import activation_moments

Array = np.ndarray[Any, Any]
_FAR = 1e100  # ratios beyond are their limits 0 and inf to a hundred digits, and their squares have none in float64


@dataclass(frozen=True, eq=False)
class RiskDecomposition:
    """Where the risk comes from: ``bias + samples + features + noise + floor`` is the total.

    Attributes
    ----------
    bias : array (...)
        Squared error of the predictor averaged over training inputs, features and noise.
    samples : array (...)
        Variance over the training inputs of the predictor averaged over features and noise.
    features : array (...)
        Variance over the features (the initialization) given the training inputs, averaged over the noise.
    noise : array (...)
        Variance due to the noise of the training responses and the part of the target that acts as noise.
    floor : array (...)
        Squared norm of the target's nonlinear part, which no such predictor learns.
    features_alone : array (...)
        The part of `features` that is there for averaged training inputs: its main effect; the rest is the
        interaction of the two.
    noise_ensembled : array (...)
        The part of `noise` that averaging over features leaves.
    """

    bias: Any
    samples: Any
    features: Any
    noise: Any
    floor: Any
    features_alone: Any
    noise_ensembled: Any


@dataclass(frozen=True, eq=False)
class RandomFeaturesRisk:
    """Excess risk of random-features regression: the noise of a new response is not in it.

    Attributes
    ----------
    bias : array (...)
        ``linear * B``: the risk on the linear part of the target without noise, variance over inputs and features
        included (Mei and Montanari's B).
    variance : array (...)
        ``(noise + nonlinear) * V``.
    total : array (...)
        ``bias + variance + nonlinear``.
    decomposition : RiskDecomposition
        The same total by its sources.
    """

    bias: Any
    variance: Any
    total: Any
    decomposition: RiskDecomposition

    def ensemble(self, members: Any) -> Any:
        """Risk of the mean of `members` >= 1 predictors with independent features and the same training set."""
        K = _checks.nonnegative("members", members, infinite=True)
        if np.any(K < 1):
            raise ValueError(f"members must be >= 1, got {K[K < 1].flat[0]}")
        parts = self.decomposition
        fixed = parts.bias + parts.samples + parts.noise_ensembled + parts.floor
        with np.errstate(invalid="ignore"):
            share = (parts.features + (parts.noise - parts.noise_ensembled)) / K
        return fixed + np.where(np.isinf(K), 0.0, share)  # a divergence that infinitely many average is 0


def random_features_risk(
    width_ratio: Any,
    sample_ratio: Any,
    *,
    ridge: Any = 0.0,
    activation: str | Callable[[float], float] = "relu",
    linear: Any = 1.0,
    nonlinear: Any = 0.0,
    noise: Any = 0.0,
) -> RandomFeaturesRisk:
    r"""Limiting risk of ridge regression on random features, in closed form but for one scalar root.

    The model: inputs :math:`x_i` and weights :math:`\theta_a` uniform on the sphere of radius :math:`\sqrt d` in d
    dimensions, features :math:`\sigma(\langle\theta_a, x\rangle / \sqrt d)`, a = 1..N; responses ``y = b0 + <b, x> +
    q(x) + eps`` with ``||b||^2`` = `linear`, q a centred isotropic random function without linear part of variance
    `nonlinear`, and eps of variance `noise`; coefficients that minimise ``sum_i (y_i - f(x_i))^2 / n + (N ridge / d)
    ||a||^2``. As n, N, d grow with :math:`\psi_1 = N/d` and :math:`\psi_2 = n/d`,

    .. math:: \text{risk} = F_1^2 B + (\tau^2 + F_*^2) V + F_*^2

    with :math:`F_1^2` = `linear`, :math:`F_*^2` = `nonlinear`, :math:`\tau^2` = `noise`. With the moments
    :math:`\mu_1, \mu_*` of `activation_moments`, :math:`s = \mu_1^2 / (\mu_1^2 + x)` and :math:`Z = s + \mu_*^2 / x`,
    x is the root with :math:`Z \le \min(\psi_1, \psi_2)` of

    .. math:: (1 - Z/\psi_1)(1 - Z/\psi_2)\, x = \lambda,

    and with :math:`u = 1 - Z/\psi_1`

    .. math::
        c = \frac{1}{\psi_2} \Bigl(\frac{s^2 u^2}{1 - s^2/\psi_1} + \frac{Z^2}{\psi_1}\Bigr), \quad
        V = \frac{c}{1 - c}, \quad
        B = \frac{1 - s}{1 - c} \Bigl(1 - \frac{s\,u}{1 - s^2/\psi_1}\Bigr).

    Parameters
    ----------
    width_ratio : array (...)
        :math:`\psi_1 = N/d \ge 0`; `inf` is the kernel limit of infinite width.
    sample_ratio : array (...)
        :math:`\psi_2 = n/d \ge 0`; `inf` is the whole distribution.
    ridge : array (...)
        :math:`\lambda \ge 0` in Mei and Montanari's normalisation: `lstsq`'s ridge, which belongs to the sum of
        squares, is ``n N ridge / d``, and that of `ridge_risk` ``N ridge / d``. So at one ridge of `lstsq` the lambda
        falls with the width. 0 is the minimum-norm solution.
    activation : str or function
        As in `activation_moments`; one for all points, and not constant.
    linear, nonlinear, noise : array (...)
        :math:`F_1^2`, :math:`F_*^2` and :math:`\tau^2`, each >= 0.

    Returns
    -------
    RandomFeaturesRisk
        `bias`, `variance`, `total` and `decomposition`, of the shape (...) to which all numbers broadcast. `inf` where
        the risk diverges: without ridge at ``width_ratio == sample_ratio``.

    Raises
    ------
    ValueError, TypeError
        Numbers out of range, shapes that do not broadcast, an activation that is unknown, constant or has no moments;
        numbers so large or small that the root has no bracket in float64.

    Notes
    -----
    To draw it over a measurement take spherical inputs (`problems.spherical`) and ``weights="sphere"``; finite-size
    corrections are of order 1/d away from the threshold. Mei and Montanari assume :math:`\mu_1 \ne 0`; for an even
    activation the value here is the limit :math:`\mu_1 \to 0`, ``B = 1 + V``. All terms are computed as sums of numbers
    of one sign, so that thresholds and small ridges cost no digits: relative error about 1e-13.

    References
    ----------
    S. Mei, A. Montanari, "The generalization error of random features regression: precise asymptotics and the double
    descent curve", Communications on Pure and Applied Mathematics 75 (2022); the form here is equivalent to theirs. The
    sources of variance follow S. d'Ascoli, M. Refinetti, G. Biroli, F. Krzakala, "Double trouble in double descent"
    (ICML 2020) and B. Adlam, J. Pennington, "Understanding double descent requires a fine-grained bias-variance
    decomposition" (NeurIPS 2020).

    Examples
    --------
    >>> from genkern.theory import random_features_risk
    >>> random_features_risk(2.0, 3.0, noise=1.0).variance
    np.float64(2.0)
    """
    arguments = {"width_ratio": width_ratio, "sample_ratio": sample_ratio, "ridge": ridge}
    coefficients = {"linear": linear, "nonlinear": nonlinear, "noise": noise}
    infinite = ("width_ratio", "sample_ratio")
    views, wrap = _arguments.numbers(infinite=infinite, **arguments, **coefficients)
    for name, view in zip(infinite, views[:2], strict=True):
        good = (view == 0) | (view == np.inf) | ((view > 1.0 / _FAR) & (view < _FAR))
        if not np.all(good):
            raise ValueError(f"{name} must be 0, inf or between {1.0 / _FAR:g} and {_FAR:g}, got {view[~good].flat[0]}")
    shape = _arguments.batch_shape(**dict(zip((*arguments, *coefficients), views, strict=True)))
    psi1, psi2, lam, F1, F_star, tau = (np.broadcast_to(view, shape) for view in views)
    moments = activation_moments(activation)
    a, b = moments.mu1**2, moments.mu_star**2
    if a + b == 0:
        raise ValueError("activation must not be constant, got one without variance under a standard normal")

    unit = UnitRisks(psi1.ravel(), psi2.ravel(), lam.ravel(), a, b)
    effective_noise = _arguments.total(tau, F_star)

    def scaled(coefficient: Array, value: Array) -> Array:
        return _arguments.product(coefficient, value.reshape(shape))

    bias, variance = scaled(F1, unit.B), scaled(effective_noise, unit.V)
    parts = RiskDecomposition(
        bias=wrap(scaled(F1, unit.bias)),
        samples=wrap(scaled(F1, unit.samples)),
        features=wrap(scaled(F1, unit.features)),
        noise=wrap(variance),
        floor=wrap(F_star),
        features_alone=wrap(scaled(F1, unit.features_alone)),
        noise_ensembled=wrap(scaled(effective_noise, unit.V_ensembled)),
    )
    return RandomFeaturesRisk(wrap(bias), wrap(variance), wrap(_arguments.total(bias, variance, F_star)), parts)
