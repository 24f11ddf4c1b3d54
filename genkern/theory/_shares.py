"""How far the largest eigenvalues of a spectrum are from having as many directions as there are samples."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
_UNITS = (2.0**-26, 2.0**-52)  # sums of up to 2^26 multiples of either, below 1 and below the other, are exact
_SPLIT = 2.0**27 + 1.0  # Dekker's: halves whose products are exact
_CLOSE = 0.125


class Shares:
    """Shares of the weights (b, k) that the first j of them have."""

    def __init__(self, w: Array) -> None:
        rest = np.ldexp(w, -np.frexp(np.max(w, axis=-1, keepdims=True))[1])
        parts = []
        for unit in _UNITS:
            parts.append(np.rint(rest / unit) * unit)
            rest = rest - parts[-1]
        start = np.zeros((len(w), 1))
        # Sums of the first j, j = 0..k, in three parts, of which the first two are exact.
        self._sums = [np.hstack([start, np.cumsum(part, axis=-1)]) for part in (*parts, rest)]
        whole = np.sum(self._sums[::-1], axis=0)
        self._share = whole / whole[:, -1:]

    def left(self, gamma: Array, count: Array, rows: Array) -> Array:
        """``1 - gamma * share`` of the first `count` weights of the rows: (m,) each, without cancellation.

        A spectrum with few large eigenvalues has a threshold of its own where they are as many as the samples. Next to
        it the fixed point is as exact as this number, of which a rounded share would leave no digit.
        """
        left: Array = 1.0 - gamma * self._share[rows, count]
        close = np.flatnonzero(np.abs(left) < _CLOSE)
        if close.size:
            gamma, count, rows = gamma[close], count[close], rows[close]
            totals = [sums[rows, -1] for sums in self._sums]
            terms = totals.copy()
            for sums in self._sums:
                terms += [-part for part in _product(gamma, sums[rows, count])]
            left[close] = _sum(terms) / (totals[0] + (totals[1] + totals[2]))
        return left


def _product(x: Array, y: Array) -> tuple[Array, Array]:
    """The product rounded, and its rounding error (Dekker)."""
    product = x * y
    (a, b), (c, d) = _halves(x), _halves(y)
    return product, ((a * c - product) + a * d + b * c) + b * d


def _halves(x: Array) -> tuple[Array, Array]:
    upper = _SPLIT * x
    upper = upper - (upper - x)
    return upper, x - upper


def _sum(terms: list[Array]) -> Array:
    """Sum as if in three times the precision (Ogita, Rump and Oishi)."""
    for _ in range(2):
        for i in range(1, len(terms)):
            x, y = terms[i], terms[i - 1]
            terms[i] = x + y
            z = terms[i] - x
            terms[i - 1] = (x - (terms[i] - z)) + (y - z)
    total: Array = np.sum(terms[:-1], axis=0) + terms[-1]
    return total
