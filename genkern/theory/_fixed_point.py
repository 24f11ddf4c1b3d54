"""The one fixed point of ridge regression for a spectrum of finitely many eigenvalues, over a batch of points."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from genkern import _checks
from genkern.theory import _arguments, _roots
from genkern.theory._shares import Shares

Array = np.ndarray[Any, Any]
_CHUNK = 1 << 18  # points times eigenvalues that are worked on together: temporaries that stay in cache


class Spectrum:
    """Eigenvalues s, largest first, their shares w and those of the signal a: (b, k) each, for b items of `batch`."""

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
        s, w, a = (np.broadcast_to(view, shape).reshape(-1, *k) for view in (s, w, a))
        order = np.argsort(-s, axis=-1, kind="stable")
        self.s, self.w, self.a = (np.take_along_axis(view, order, axis=-1) for view in (s, w, a))
        sizes = self.w
        self.w, self.a = self._normalised("weights", self.w), self._normalised("alignment", self.a)
        self.shares = Shares(sizes)
        self._positive = np.count_nonzero(self.s, axis=-1)
        self._least = np.min(self.s, axis=-1, where=self.s > 0, initial=np.inf)
        self._mean = np.sum(self.w * self.s, axis=-1)

    @staticmethod
    def _axis(name: str, value: Any) -> Array:
        view = _checks.nonnegative(name, value)
        _checks.minimum_axes(name, view, 1, "(..., k)")
        if view.shape[-1] == 0:
            raise ValueError(f"{name} must have at least one entry, got shape {view.shape}")
        return view

    @staticmethod
    def _normalised(name: str, view: Array) -> Array:
        with np.errstate(over="ignore"):
            total = view.sum(axis=-1, keepdims=True)
        good = (total > 0) & np.isfinite(total)
        if not np.all(good):
            raise ValueError(f"{name} must have a positive finite sum, got {total[~good].flat[0]}")
        shares: Array = view / total
        return shares

    def chunks(self, shape: tuple[int, ...], gamma: Array, ridge: Array) -> Iterator[tuple[Any, ...]]:
        """Parts of the batch, flat: (slice, gamma, ridge, rows), the last of them indices into s, w and a."""
        gammas, ridges = (np.broadcast_to(view, shape).ravel() for view in (gamma, ridge))
        which = np.broadcast_to(np.arange(len(self.s)).reshape(self.batch), shape).ravel()
        length = max(1, _CHUNK // self.s.shape[-1])
        for first in range(0, which.size, length):
            part = slice(first, first + length)
            yield part, gammas[part], ridges[part], which[part]

    def effective_ridge(self, gamma: Array, ridge: Array, rows: Array) -> Array:
        """The kappa (m,) of gamma and ridge (m,) and the spectra of those rows."""
        positive = self._positive[rows]
        finite = np.where(gamma == np.inf, 0.0, gamma)
        excess = -self.shares.left(finite, positive, rows)  # features with variance per sample, less 1
        kappa: Array = np.where(ridge > 0, ridge, 0.0)
        kappa[(gamma == np.inf) & (positive > 0)] = np.inf
        solve = np.flatnonzero(np.isfinite(gamma) & (excess > -1) & ((ridge > 0) | (excess > 0)))
        least, mean = self._least[rows[solve]], self._mean[rows[solve]]
        lam, ratio, beyond = ridge[solve], gamma[solve], excess[solve]
        with np.errstate(divide="ignore", over="ignore"):
            low = np.maximum(lam, least * beyond)
            high = np.minimum(lam + ratio * mean, np.where(beyond < 0, lam / -beyond, np.inf))
        kappa[solve] = _roots.positive_root(self._equation, low, high, (ratio, lam, rows[solve]))
        return kappa

    def _equation(self, k: Array, ratio: Array, lam: Array, rows: Array) -> Array:
        """1 - lam / k - ratio * sum w s / (s + k), without cancellation where features and samples almost balance."""
        s, w = self._of(rows)
        column = k[:, None]
        large = s > column  # s / (s + k) = 1 - k / (s + k)
        terms = ratio * np.sum(w * (np.where(large, -column, s) / (s + column)), axis=-1)
        value: Array = self.shares.left(ratio, np.count_nonzero(large, axis=-1), rows) - lam / k - terms
        return value

    def _of(self, rows: Array) -> tuple[Array, Array]:
        return (self.s, self.w) if len(self.s) == 1 else (self.s[rows], self.w[rows])

    def unit_risks(self, kappa: Array, gamma: Array, ridge: Array, rows: Array) -> tuple[Array, Array]:
        """Bias for a signal of 1 and variance for a noise of 1."""
        s, w = self._of(rows)
        a = self.a if len(self.a) == 1 else self.a[rows]
        k = kappa[:, None]
        endless = np.isinf(kappa)
        with np.errstate(divide="ignore", invalid="ignore"):
            kept = np.where(s > 0, s / (s + k), 0.0)
            lost = np.where(s > 0, np.where(endless[:, None], 1.0, k / (s + k)), 1.0)
            A = _arguments.product(np.sum(w * kept**2, axis=-1), gamma)
            # 1 - A, as a sum of positive terms by the fixed-point equation.
            balance = ridge / kappa + _arguments.product(np.sum(w * kept * lost, axis=-1), gamma)
        # Without ridge and with fewer features than samples nothing is lost, and it is their number that counts.
        few = self.shares.left(np.where(gamma == np.inf, 0.0, gamma), self._positive[rows], rows)
        A, slack = np.where(endless, 0.0, A), np.where(endless, 1.0, np.where(kappa > 0, balance, few))
        return _arguments.ratio(np.sum(a * s * lost**2, axis=-1), slack), _arguments.ratio(A, slack)
