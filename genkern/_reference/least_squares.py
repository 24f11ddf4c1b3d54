"""The definitions of the least-squares family: one SVD per batch item, in float64 whatever the dtype."""

from __future__ import annotations

import decimal
import math
from typing import Any

import numpy as np
import scipy.linalg

Array = np.ndarray[Any, Any]


def lstsq(
    X: Array, y: Array, ridge: Array, rcond: float, coef: Array, rank: Array, residual_norm: Array, status: Array,
    n_threads: int,
) -> None:  # fmt: skip
    """Min ||X w - y||^2 + ridge ||w||^2, the smallest such w; X (..., n, d), y (..., n, k), coef (..., d, k)."""
    for item in np.ndindex(rank.shape):
        coef[item], rank[item], residual_norm[item] = np.nan, 0, np.nan
        try:
            modes = Modes(X[item], y[item], rcond)
        except NotFiniteError:
            status[item] = 1
            continue
        except np.linalg.LinAlgError:
            status[item] = 2
            continue
        gain, exponent = _ridge_filter(modes, float(ridge[item]))
        w = modes.coef(gain)
        interpolates = modes.rank == X.shape[-2] and ridge[item] == 0
        with np.errstate(over="ignore", under="ignore"):
            residual = np.zeros_like(modes.b) if interpolates else modes.X @ np.ldexp(w, exponent) - modes.b
            coef[item] = modes.unscaled(w, exponent)
            residual_norm[item] = np.ldexp(np.linalg.norm(residual, axis=0), modes.y_exponent)
        rank[item], status[item] = modes.rank, 0


def ridge_path(X: Array, y: Array, ridges: Array, rcond: float, coef: Array, n_threads: int) -> None:
    """The solutions of `lstsq` for every ridge; coef (..., r, d, k)."""

    def fill(modes: Modes, coef: Array) -> None:
        for index, ridge in enumerate(ridges):
            gain, exponent = _ridge_filter(modes, float(ridge))
            coef[index] = modes.unscaled(modes.coef(gain), exponent)

    _paths(X, y, rcond, coef, fill)


def gd_path(
    X: Array, y: Array, steps: Array, step_size: Array, momentum: float, nesterov: bool, rcond: float, coef: Array,
    divergent: Array, n_threads: int,
) -> None:  # fmt: skip
    """Gradient descent from zero after `steps` steps (nan step size: 1 / s_max^2); coef (..., t, d, k)."""
    for item in np.ndindex(divergent.shape):
        divergent[item] = False

        def fill(modes: Modes, coef: Array, item: tuple[int, ...] = item) -> None:
            a = _contractions(modes, float(step_size[item]))
            divergent[item] = any(_diverges(value, momentum, nesterov, bool(np.isinf(steps).any())) for value in a)
            if nesterov:
                phi = _nesterov([float(value) for value in a], steps)
            else:
                phi = np.array([_heavy_ball(value, momentum, steps) for value in a]).reshape(len(a), len(steps))
            for index in range(len(steps)):
                with np.errstate(over="ignore", invalid="ignore"):
                    coef[index] = modes.unscaled(modes.coef(phi[:, index] / modes.s))

        _paths(X[item], y[item], rcond, coef[item], fill)


def singular_values(X: Array, s: Array, n_threads: int) -> None:
    """Singular values in descending order; s (..., min(n, d))."""
    for item in np.ndindex(X.shape[:-2]):
        s[item] = np.nan
        if np.isfinite(X[item]).all():
            scaled, exponent = _scaled(X[item].astype(np.float64))
            with np.errstate(over="ignore", under="ignore"):
                s[item] = np.ldexp(_svd(scaled)[1], exponent)


class NotFiniteError(Exception):
    """X or y of this item has an entry that is NaN or infinite."""


class Modes:
    """The kept modes of one item: X = U diag(s) V^T, with X and y scaled by powers of two to entries near 1."""

    def __init__(self, X: Array, y: Array, rcond: float) -> None:
        if not (np.isfinite(X).all() and np.isfinite(y).all()):
            raise NotFiniteError
        self.X, self.x_exponent = _scaled(X.astype(np.float64))
        self.y_exponent = np.frexp(np.abs(y.astype(np.float64)).max(axis=0, initial=0.0))[1]  # each column its own
        self.b = np.ldexp(y.astype(np.float64), -self.y_exponent)
        U, s, Vt = _svd(self.X)
        self.rank = int(np.count_nonzero(s > rcond * s[0])) if s.size else 0
        self.U, self.s, self.Vt = U[:, : self.rank], s[: self.rank], Vt[: self.rank]

    def coef(self, gain: Array) -> Array:
        """The scaled coefficients V diag(gain) U^T b."""
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            return np.asarray(self.Vt.T @ (gain[:, None] * (self.U.T @ self.b)))

    def unscaled(self, w: Array, exponent: int = 0) -> Array:
        """The coefficients in the units of X and y, for gains that are 2^exponent of those given."""
        return np.asarray(np.ldexp(w, self.y_exponent - self.x_exponent + exponent))


def _paths(X: Array, y: Array, rcond: float, coef: Array, fill: Any) -> None:
    for item in np.ndindex(X.shape[:-2]):
        try:
            modes = Modes(X[item], y[item], rcond)
        except (NotFiniteError, np.linalg.LinAlgError):
            coef[item] = np.nan
            continue
        with np.errstate(over="ignore", under="ignore"):
            fill(modes, coef[item])


def _scaled(A: Array) -> tuple[Array, int]:
    exponent = int(np.frexp(np.abs(A).max(initial=0.0))[1])
    return np.ldexp(A, -exponent), exponent


def _svd(A: Array) -> tuple[Array, Array, Array]:
    try:
        U, s, Vt = np.linalg.svd(A, full_matrices=False)
    except np.linalg.LinAlgError:  # divide and conquer failed; the QR iteration is surer
        U, s, Vt = scipy.linalg.svd(A, full_matrices=False, lapack_driver="gesvd")
    return U, s, Vt


def _ridge_filter(modes: Modes, ridge: float) -> tuple[Array, int]:
    """Gains s / (s^2 + ridge) of the scaled s as (numbers, binary exponent), without over- or underflow."""
    with _exact():
        penalty = decimal.Decimal(ridge) * decimal.Decimal(4) ** -modes.x_exponent
        s = [decimal.Decimal(float(value)) for value in modes.s]
        gains = [value / (value * value + penalty) for value in s]
        exponent = round(math.log2(10) * max((gain.adjusted() for gain in gains), default=0))
        return np.array([float(gain * decimal.Decimal(2) ** -exponent) for gain in gains]), exponent


def _contractions(modes: Modes, step_size: float) -> list[decimal.Decimal]:
    """The numbers a = step_size * s^2 of every kept mode."""
    with _exact():
        squares = [decimal.Decimal(float(value)) ** 2 for value in modes.s]
        if math.isnan(step_size):
            return [value / squares[0] for value in squares]
        return [decimal.Decimal(step_size) * decimal.Decimal(4) ** modes.x_exponent * value for value in squares]


def _diverges(a: decimal.Decimal, momentum: float, nesterov: bool, endless: bool) -> bool:
    limit = 4.0 / 3.0 if nesterov else 2.0 * (1.0 + momentum)
    return float(a) > limit or (endless and float(a) == limit)


def _heavy_ball(a: decimal.Decimal, momentum: float, steps: Array) -> list[float]:
    """1 - r_k for r_0 = 1, r_1 = 1 - a, r_{k+1} = (1 + momentum - a) r_k - momentum r_{k-1}, by matrix powers."""
    with _exact():
        beta = decimal.Decimal(momentum)
        one = decimal.Decimal(1)
        # (phi, step) -> next (phi, step) with phi = 1 - r: step' = momentum step + a (1 - phi), phi' = phi + step'.
        powers = [((one - a, beta, a), (-a, beta, a))]
        longest = max((int(k) for k in steps if math.isfinite(k)), default=0)
        for _ in range(longest.bit_length() - 1):
            powers.append(_after(powers[-1], powers[-1]))
        values = []
        for count in steps:
            if math.isinf(count):
                values.append(1.0)
                continue
            phi, step = decimal.Decimal(0), decimal.Decimal(0)
            for bit, (top, bottom) in enumerate(powers):
                if int(count) >> bit & 1:
                    phi, step = (row[0] * phi + row[1] * step + row[2] for row in (top, bottom))
            values.append(float(phi))
        return values


def _after(outer: Any, inner: Any) -> Any:
    """The affine map `outer` after `inner`, each two rows (coefficient of phi, of step, constant)."""
    (p, q) = inner
    return tuple(
        (row[0] * p[0] + row[1] * q[0], row[0] * p[1] + row[1] * q[1], row[0] * p[2] + row[1] * q[2] + row[2])
        for row in outer
    )


def _nesterov(a: list[float], steps: Array) -> Array:
    """1 - r_k by the recursion itself, for all modes at once."""
    rate = np.array(a)
    phi, step = np.zeros_like(rate), np.zeros_like(rate)
    values = np.zeros((len(a), len(steps)))
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        for k in range(1, int(steps.max(initial=0.0)) + 1):
            ahead = phi + (k - 1) / (k + 2) * step
            step = ahead + rate * (1 - ahead) - phi
            phi = phi + step
            values[:, steps == k] = phi[:, None]
    return values


def _exact() -> Any:
    """Sixty digits, and exponents that no float64 problem leaves: (1 - a)^(2^53) is a number."""
    return decimal.localcontext(
        decimal.Context(prec=60, Emax=decimal.MAX_EMAX, Emin=decimal.MIN_EMIN, traps=[decimal.InvalidOperation])
    )
