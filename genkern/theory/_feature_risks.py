"""The scalar root of random-features regression, and the risks per unit of signal and of noise that follow from it."""

from __future__ import annotations

from typing import Any

import numpy as np

from genkern.theory import _arguments, _roots

Array = np.ndarray[Any, Any]


class UnitRisks:
    """B, V and their parts for unit coefficients, at flat psi1, psi2, lambda; a = mu1^2, b = mu_star^2."""

    def __init__(self, psi1: Array, psi2: Array, lam: Array, a: float, b: float) -> None:
        ratio, product = _arguments.ratio, _arguments.product
        x, u1, u2 = _solve(psi1, psi2, lam, a, b)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            i1, i2 = 1.0 / psi1, 1.0 / psi2
            s = np.where(np.isinf(x), 0.0, ratio(np.full_like(x, a), a + x))
            T = 1.0 - s if a == 0 else np.where(np.isinf(x), 1.0, x / (a + x))  # 1 - s
            rest = ratio(np.full_like(x, b), x)
            rest[np.isinf(psi1) & np.isinf(psi2)] = 0.0  # it enters divided by one of them, and may be infinite here
            y = T * s + rest  # Z - s^2
            d1, d2 = u1 + y * i1, u2 + y * i2  # 1 - s^2 / psi1, 1 - s^2 / psi2
            c = i2 * (ratio(s**2 * u1**2, d1) + (s + rest) ** 2 * i1)
            left = u2 + i2 * ratio(u1 * y, d1)  # 1 - c
            self.bias = T**2
            self.features_alone = T * s * ratio(y * i1, d1)
            self.V_ensembled = ratio(s**2 * i2, d2)
            interaction = T**2 * ratio(y * i1, d1) * ratio(y * i2, d2)
        self.samples = product(self.bias, self.V_ensembled)
        self.features = ratio(self.features_alone + interaction, left)
        self.B = ratio(self.bias + self.features_alone, left)
        self.V = ratio(c, left)
        nothing = (psi1 == 0) | (psi2 == 0)
        self.bias, self.B = np.where(nothing, 1.0, self.bias), np.where(nothing, 1.0, self.B)
        for name in ("V", "V_ensembled", "samples", "features", "features_alone"):
            setattr(self, name, np.where(nothing, 0.0, getattr(self, name)))


def _solve(psi1: Array, psi2: Array, lam: Array, a: float, b: float) -> tuple[Array, Array, Array]:
    """The root x, and 1 - Z(x) / psi1 and 1 - Z(x) / psi2, without cancellation.

    With x0 the ridgeless root, Z(x0) = psi = min(psi1, psi2), the unknown is e = x - x0, in which
    ``psi - Z = e (a / ((a + x) (a + x0)) + b / (x x0))``. For b = 0 and psi > 1 there is no such x0, and there
    ``psi - Z = (psi - 1) + x / (a + x)``.
    """
    low, high = np.minimum(psi1, psi2), np.maximum(psi1, psi2)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        balance = np.where(np.isinf(high), 0.0, low / high)
        beyond = np.where(np.isinf(high), 1.0, (high - low) / high)  # 1 - balance
        middle = a * (low - 1.0) - b
        root = np.hypot(middle, 2.0 * np.sqrt(a * b * low))
        start = np.where(middle <= 0, (root - middle) / (2.0 * low), 2.0 * a * b / (middle + root))
        gap = np.where((b == 0) & (low > 1), low - 1.0, 0.0)
        u_low = np.where(gap > 0, gap / low, 0.0)
    x = start.copy()
    endless = np.isinf(low)
    x[endless], u_low[endless] = lam[endless], 1.0

    def share(e: Array, low: Array, start: Array, gap: Array) -> Array:
        """1 - Z / low at x = start + e."""
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            slope = a / (a + start + e) / (a + start) + (b / (start + e) / start if b else 0.0)
        left: Array = (gap + e * slope) / low
        return left

    def equation(e: Array, low: Array, start: Array, gap: Array, lam: Array, balance: Array, beyond: Array) -> Array:
        u = share(e, low, start, gap)
        value: Array = u * (beyond + balance * u) * (start + e) - lam
        return value

    solve = np.flatnonzero((lam > 0) & (low > 0) & ~endless)
    if solve.size:
        penalty, ratio, distant = (view[solve] for view in (lam, low, high))
        args = (ratio, start[solve], gap[solve])
        # Each share is at most 1, and that of `low` times x at most e: so e is at least lambda.
        upper = penalty + (a + b) * (1.0 / ratio + 1.0 / distant)
        e = _roots.positive_root(equation, penalty, upper, (*args, penalty, balance[solve], beyond[solve]))
        x[solve], u_low[solve] = start[solve] + e, share(e, *args)
    u_high = np.where(endless, 1.0, beyond + balance * u_low)
    first = psi1 <= psi2
    return x, np.where(first, u_low, u_high), np.where(first, u_high, u_low)
