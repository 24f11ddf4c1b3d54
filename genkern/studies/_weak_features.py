"""Regression on the first p of d isotropic Gaussian features: limiting risks of ridge and of gradient descent.

The direction of the signal is uniform, so the first p features are as good as any p. The part of the signal that they
miss is noise to the regression, and a loss that remains.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from genkern import theory

Array = np.ndarray[Any, Any]
_NODES = 600
_NEAREST = 1e-9  # least angle of the nodes: they resolve eigenvalues down to its square


def split(p: Any, d: int, signal: float, noise: float) -> tuple[Array, Array, Array]:
    """Signal within the first p features, signal beyond them, and the noise that the regression meets."""
    seen = signal * np.asarray(p, dtype=np.float64) / d
    return seen, signal - seen, noise + signal - seen


def minimum_norm_risk(n: Any, p: Any, d: int, signal: float, noise: float) -> Array:
    """Exact mean excess risk of minimum-norm regression; infinite for p from n - 1 to n + 1."""
    return np.asarray(theory.finite_sample_risk(n, p, d, signal=signal, noise=noise) - noise)


def ridge_risk(n: int, p: Any, d: int, ridge: Any, signal: float, noise: float) -> Array:
    """Limiting excess risk; `ridge` belongs to the sum of squares."""
    seen, beyond, effective = split(p, d, signal, noise)
    gamma = np.asarray(p, dtype=np.float64) / n
    return np.asarray(
        beyond + theory.ridge_risk(gamma, ridge=np.asarray(ridge) / n, signal=seen, noise=effective).total
    )


def optimal_ridge(n: int, p: Any, d: int, signal: float, noise: float) -> Array:
    """The ridge on the sum of squares that makes `ridge_risk` least: noise met, times d, over the signal."""
    seen, _, effective = split(p, d, signal, noise)
    gamma = np.asarray(p, dtype=np.float64) / n
    return np.asarray(n * theory.optimal_ridge(gamma, signal=seen, noise=effective))


def descent_step(n: int, p: int) -> float:
    """Step size ``1 / (sqrt(n) + sqrt(p))^2`` for the sum of squares over 2: the inverse of the spectrum's edge."""
    return float((np.sqrt(n) + np.sqrt(p)) ** -2)


def descent_risk(n: int, p: int, d: int, steps: Array, signal: float, noise: float) -> Array:
    r"""Limiting excess risk of gradient descent from zero after each of `steps`, at `descent_step`.

    An eigenvalue x of ``X^T X / n`` is fitted by ``phi = 1 - (1 - eta n x)^k``, so the risk is

    .. math::
        \text{beyond} + \text{seen} \int (1 - \phi)^2 dF + \text{noise} \, \frac pn \int \phi^2 / x \, dF

    with the Marchenko-Pastur law F. At infinitely many steps and p = n the last integral diverges: `inf`.
    """
    seen, beyond, effective = split(p, d, signal, noise)
    gamma = p / n
    eta = n * descent_step(n, p)
    x, weight = _marchenko_pastur(gamma)
    with np.errstate(divide="ignore"):
        left = np.exp(np.asarray(steps, dtype=np.float64)[:, None] * np.log1p(-np.minimum(eta * x, 1.0)))
    fitted = 1.0 - left
    empty = max(0.0, 1.0 - 1.0 / gamma)  # share of eigenvalues that are 0
    risk = beyond + seen * (empty + left**2 @ weight) + effective * gamma * (fitted**2 @ (weight / x))
    return np.where(np.isinf(steps) & (p == n), np.inf, risk)


def _marchenko_pastur(gamma: float) -> tuple[Array, Array]:
    """Nodes and weights of integrals over the law without its atom at 0.

    With ``x = low + 2 half sin(angle / 2)^2`` they are Gauss-Legendre ones in log(angle): late steps of gradient
    descent fit ever smaller eigenvalues, which all count alike on a logarithmic scale.
    """
    node, weight = _legendre()
    half_range = np.log(np.pi / _NEAREST) / 2
    angle = np.pi * np.exp(half_range * (node - 1.0))
    low, high = (1.0 - np.sqrt(gamma)) ** 2, (1.0 + np.sqrt(gamma)) ** 2
    half = (high - low) / 2
    x = low + half * 2.0 * np.sin(angle / 2) ** 2
    return x, weight * half_range * angle * (np.sin(angle) * half) ** 2 / (2 * np.pi * gamma * x)


@cache
def _legendre() -> tuple[Array, Array]:
    node, weight = np.polynomial.legendre.leggauss(_NODES)
    return node, weight
