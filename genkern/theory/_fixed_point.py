"""The one fixed point of ridge regression for a spectrum of finitely many eigenvalues, over a batch of points."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from genkern import _checks
from genkern.theory import _arguments, _roots

Array = np.ndarray[Any, Any]
_CHUNK = 1 << 18  # points times eigenvalues that are worked on together: temporaries that stay in cache


class Spectrum:
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

    def chunks(self, shape: tuple[int, ...], gamma: Array, ridge: Array) -> Iterator[tuple[Any, ...]]:
        """Parts of the batch, flat: (slice, gamma, ridge, s, w, a), the last three (1 or points, k)."""
        gammas, ridges = (np.broadcast_to(view, shape).ravel() for view in (gamma, ridge))
        which = np.broadcast_to(np.arange(len(self.s)).reshape(self.batch), shape).ravel()
        length = max(1, _CHUNK // self.s.shape[-1])
        for first in range(0, which.size, length):
            part = slice(first, first + length)
            of = slice(None) if len(self.s) == 1 else which[part]
            yield part, gammas[part], ridges[part], self.s[of], self.w[of], self.a[of]


def effective_ridge(gamma: Array, ridge: Array, s: Array, w: Array) -> Array:
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
        terms = ratio * np.sum(weights * (np.where(large, -column, rows) / (rows + column)), axis=-1)
        share = np.sum(weights * large, axis=-1) / np.sum(weights, axis=-1)  # exactly 1 where all are large
        value: Array = (1.0 - ratio * share) - lam / k - terms
        return value

    kappa[solve] = _roots.positive_root(equation, low, high, (ratio, lam, solve))
    return kappa


def unit_risks(kappa: Array, gamma: Array, ridge: Array, s: Array, w: Array, a: Array) -> tuple[Array, Array]:
    """Bias for a signal of 1 and variance for a noise of 1."""
    k = kappa[:, None]
    endless = np.isinf(kappa)
    with np.errstate(divide="ignore", invalid="ignore"):
        kept = np.where(s > 0, s / (s + k), 0.0)
        lost = np.where(s > 0, np.where(endless[:, None], 1.0, k / (s + k)), 1.0)
        A = _arguments.product(np.sum(w * kept**2, axis=-1) / np.sum(w, axis=-1), gamma)
        # 1 - A, as a sum of positive terms by the fixed-point equation.
        balance = ridge / kappa + _arguments.product(np.sum(w * kept * lost, axis=-1), gamma)
        slack = np.where(kappa > 0, balance, 1.0 - A)
    A, slack = np.where(endless, 0.0, A), np.where(endless, 1.0, slack)
    return _arguments.ratio(np.sum(a * s * lost**2, axis=-1), slack), _arguments.ratio(A, slack)
