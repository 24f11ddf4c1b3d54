"""Spectral filters of one singular value; the same forms as csrc/device/spectral_filters.hpp, which explains them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

Array = np.ndarray[Any, Any]


@njit(cache=True, nogil=True, error_model="numpy")
def ridge_gains(s: Array, ridge: float, gains: Array) -> None:
    """Write s / (s^2 + ridge), without squaring s."""
    for i in range(s.size):
        share = ridge / s[i]
        if share <= s[i]:
            gains[i] = 1.0 / (s[i] + share)
        else:
            inverse = s[i] / ridge
            gains[i] = inverse / (1.0 + s[i] * inverse)


@njit(cache=True, nogil=True, error_model="numpy")
def gd_filter(a: float, k: float) -> float:
    """1 - (1 - a)^k."""
    if k == 0:
        return 0.0
    if math.isinf(k):
        return 1.0
    if a == 1.0:
        return 1.0
    if a < 1.0:
        return -math.expm1(k * math.log1p(-a))
    exponent = k * math.log1p(a - 2.0)
    return -math.expm1(exponent) if k % 2.0 == 0.0 else 1.0 + math.exp(exponent)


@njit(cache=True, nogil=True, error_model="numpy")
def heavy_ball_series(a: float, beta: float, k: float) -> float:
    """Phi of heavy ball while (k + 1) |1 - z| <= 1 for both roots z."""
    N = k + 1.0
    total_of_roots, product = N * ((1.0 - beta) + a), N * N * a
    binomial, h, h_before, total = k / (2.0 * N), 1.0, 0.0, 0.0
    for m in range(1, 41):
        total += binomial * h if m % 2 == 1 else -binomial * h
        if abs(binomial) * (m + 1) < 1e-18:
            break
        h, h_before = total_of_roots * h - product * h_before, h
        binomial *= (k - m) / (N * (m + 2.0))
    return product * total


@njit(cache=True, nogil=True, error_model="numpy")
def _quotient(power: float, k: float, root: float, difference: float) -> float:
    """(z1^k - z2^k) / (z1 - z2) from z1 = root > 0 and z1^k = power."""
    if difference == 0.0:
        return k * power / root
    ratio = difference / root
    return power / difference if ratio >= 1.0 else power * -math.expm1(k * math.log1p(-ratio)) / difference


@njit(cache=True, nogil=True, error_model="numpy")
def heavy_ball_filter(a: float, beta: float, k: float) -> float:
    """1 - r_k for r_0 = 1, r_1 = 1 - a, r_(k+1) = (1 + beta - a) r_k - beta r_(k-1)."""
    if beta == 0.0:
        return gd_filter(a, k)
    if k == 0.0:
        return 0.0
    if math.isinf(k):
        return 1.0
    root = math.sqrt(beta)
    gap = (1.0 - beta) / (1.0 + root)
    low, high = gap * gap, (1.0 + root) * (1.0 + root)
    if a <= low:
        difference = math.sqrt((low - a) * (high - a))
        d2 = ((1.0 - beta) + a + difference) / 2.0
        d1 = a / d2
        if (k + 1.0) * d2 <= 1.0:
            return heavy_ball_series(a, beta, k)
        z1, exponent = 1.0 - d1, k * math.log1p(-d1)
        return -math.expm1(exponent) - beta / z1 * d1 * _quotient(math.exp(exponent), k, z1, difference)
    sign = 1.0 if k % 2.0 == 0.0 else -1.0
    if a >= high:
        difference = math.sqrt((a - low) * (a - high))
        y1 = (a - 1.0 - beta + difference) / 2.0
        y2 = beta / y1
        rate = math.log1p(-(2.0 * (1.0 + beta) - a) / (1.0 - y2)) if y2 < y1 / 2.0 else math.log(y1)
        power = math.exp(k * rate)
        return 1.0 - sign * (power + (y2 + beta) * _quotient(power, k, y1, difference))
    if (k + 1.0) * math.sqrt(a) <= 1.0:
        return heavy_ball_series(a, beta, k)
    below, above = math.sqrt(a - low), math.sqrt(high - a)
    power, sine = math.exp(k / 2.0 * math.log(beta)), below * above / (2.0 * root)
    if a <= 1.0 + beta:
        angle = 2.0 * math.atan2(below, above)
        return 1.0 - power * (math.cos(k * angle) + (1.0 - beta - a) / (2.0 * root) * (math.sin(k * angle) / sine))
    angle = 2.0 * math.atan2(above, below)
    return 1.0 - sign * power * (math.cos(k * angle) + (a - 1.0 + beta) / (2.0 * root) * (math.sin(k * angle) / sine))


@njit(cache=True, nogil=True, error_model="numpy")
def momentum_filters(a: Array, beta: float, steps: Array, phi: Array) -> None:
    """Phi (steps, modes) of gradient descent or heavy ball."""
    for t in range(steps.size):
        for i in range(a.size):
            phi[t, i] = heavy_ball_filter(a[i], beta, steps[t])


@njit(cache=True, nogil=True, error_model="numpy")
def nesterov_filters(a: Array, order: Array, steps: Array, phi: Array) -> None:
    """Phi (steps, modes) of Nesterov's schedule, mode by mode; `order` sorts the steps."""
    for i in range(a.size):
        value, increment, done, settled = 0.0, 0.0, 0.0, False
        for t in order:
            while done < steps[t] and not settled:
                stop = min(steps[t], done + 256.0)
                while done < stop:
                    done += 1.0
                    ahead = (done - 1.0) / (done + 2.0) * increment
                    increment = ahead + a[i] * (1.0 - value - ahead)
                    value += increment
                rest = 1.0 - value
                settled = a[i] <= 1.0 and rest * rest + increment * increment / a[i] < 2.0**-120
            phi[t, i] = 1.0 if settled else value
