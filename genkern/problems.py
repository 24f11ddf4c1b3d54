"""Seeded problems: random designs of theory, separable sets, label noise, and two real data sets.

Every generator is a function of its arguments alone: the same bits on every machine and under every NumPy, and frozen
once released. Random numbers come from Philox4x32-10 addressed by (seed, stream, index), so problems are nested:
with the same seed a problem with more samples begins with the samples of the smaller one, the test samples do not
depend on the number of training samples, and sample i of a problem in more dimensions begins with the same normals.

Generators share their addresses: two of them with one seed use the same normals. Give independent problems
different seeds. `random_features` draws from other streams, so its weights may share a problem's seed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from genkern import _checks, _portable, _random
from genkern._datasets import Problem, check_seed, corrupt_labels, digits, mnist
from genkern._spectra import eigenvalues

__all__ = [
    "Problem",
    "corrupt_labels",
    "digits",
    "eigenvalues",
    "gaussian",
    "mnist",
    "separable",
    "soudry",
    "spherical",
]

Array = np.ndarray[Any, Any]
_TEST = 1 << 32  # samples from this index on are test samples


def gaussian(
    n: int,
    d: int,
    *,
    spectrum: str | Sequence[float] | Array = "isotropic",
    signal: float = 1.0,
    noise: float = 1.0,
    n_test: int = 0,
    seed: int = 0,
    coef: Any = None,
    exponent: float | None = None,
    log_exponent: float | None = None,
    spikes: Sequence[float] | float | None = None,
    atoms: Sequence[float] | None = None,
    fraction: float | None = None,
    decay: float | None = None,
    floor: float | None = None,
) -> Problem:
    """Linear regression on Gaussian inputs: `y = <x, coef> + eps`, `x ~ N(0, diag(eigenvalues))`.

    Parameters
    ----------
    n, d : int
        Training samples and dimensions, at least 1.
    spectrum : str or array (d,)
        Eigenvalues of the covariance, see `eigenvalues`, which also takes the parameters from `exponent` on. The
        eigenvectors are the coordinate axes. The trace is not normalised.
    signal : float
        `||coef||^2` ; the direction is uniform on the sphere.
    noise : float
        Variance of eps, which is Gaussian.
    n_test : int
        Number of test samples; with 0 there are none (None).
    seed : int
        In [0, 2^64).
    coef : array (d,), optional
        Coefficients to use in place of random ones; `signal` is then not used.
    exponent, log_exponent, spikes, atoms, fraction, decay, floor
        Parameters of the spectrum.

    Returns
    -------
    Problem
        With `coef`, `eigenvalues` and `noise`; `y_test` is free of noise.
    """
    values = eigenvalues(
        d,
        spectrum,
        exponent=exponent,
        log_exponent=log_exponent,
        spikes=spikes,
        atoms=atoms,
        fraction=fraction,
        decay=decay,
        floor=floor,
    )
    n, n_test, seed, signal, noise = _common(n, n_test, seed, signal, "signal", noise)
    if coef is None:
        direction = _draw(_random.normal, seed, _random.SIGNAL, 0, 1, d)[0]
        coef = direction * np.sqrt(signal / _portable.row_sums(direction * direction))
    else:
        (coef,), _ = _checks.real_arrays(coef=coef)
        if coef.shape != (d,):
            raise ValueError(f"coef must have shape ({d},), got {coef.shape}")
        coef = coef.astype(np.float64)
    scale = np.sqrt(values)
    X = _draw(_random.normal, seed, _random.INPUTS, 0, n, d) * scale
    y = _portable.row_sums(X * coef) + _noise(seed, noise, n)
    if not n_test:
        return Problem(X, y, coef=coef, eigenvalues=values, noise=noise)
    X_test = _draw(_random.normal, seed, _random.INPUTS, _TEST, n_test, d) * scale
    return Problem(X, y, X_test, _portable.row_sums(X_test * coef), coef, values, noise)


def spherical(
    n: int,
    d: int,
    *,
    linear: float = 1.0,
    nonlinear: float = 0.0,
    noise: float = 0.0,
    n_test: int = 0,
    seed: int = 0,
) -> Problem:
    """Regression on inputs that are uniform on the sphere of radius sqrt(d): `y = <x, coef> + q(x) + eps`.

    The setting of Mei and Montanari (2022), where `linear` is F1^2, `nonlinear` F*^2 and `noise` tau^2. The
    nonlinear part is a random polynomial of degree 2 that is orthogonal to constants and to linear functions, `q(x)
    = sum_i g_i x_i x_{i+1}`, g uniform on a sphere.

    Parameters
    ----------
    n, d : int
        Training samples and dimensions; d at least 2 if `nonlinear` > 0.
    linear : float
        `||coef||^2`, which is the variance of `<x, coef>`; the direction is uniform on the sphere.
    nonlinear : float
        Variance of `q(x)`.
    noise : float
        Variance of eps, which is Gaussian.
    n_test, seed : int
        As in `gaussian`.

    Returns
    -------
    Problem
        With `coef` of the linear part, `eigenvalues` (ones) and `noise`; `y_test` is free of noise.
    """
    nonlinear = _checks.real_number("nonlinear", nonlinear, low=0.0)
    d = _checks.integer("d", d, low=2 if nonlinear > 0 else 1)
    n, n_test, seed, linear, noise = _common(n, n_test, seed, linear, "linear", noise)
    direction = _draw(_random.normal, seed, _random.SIGNAL, 0, 1, d)[0]
    coef = direction * np.sqrt(linear / _portable.row_sums(direction * direction))
    products = np.zeros(0)
    if nonlinear > 0:
        # E[x_i^2 x_j^2] = d / (d + 2) on the sphere, and different products are uncorrelated.
        g = _draw(_random.normal, seed, _random.SIGNAL, 1, 1, d - 1)[0]
        products = g * np.sqrt(nonlinear * ((d + 2) / d) / _portable.row_sums(g * g))

    def sample(start: int, count: int) -> tuple[Array, Array]:
        z = _draw(_random.normal, seed, _random.INPUTS, start, count, d)
        x = z * np.sqrt(d / _portable.row_sums(z * z))[:, None]
        value = _portable.row_sums(x * coef)
        if nonlinear > 0:
            value = value + _portable.row_sums(x[:, :-1] * x[:, 1:] * products)
        return x, value

    X, clean = sample(0, n)
    y = clean + _noise(seed, noise, n)
    X_test, y_test = sample(_TEST, n_test) if n_test else (None, None)
    return Problem(X, y, X_test, y_test, coef, np.ones(d), noise)


def separable(n: int, d: int, *, margin: float = 1.0, spread: float = 1.0, n_test: int = 0, seed: int = 0) -> Problem:
    """Two classes whose largest margin (no intercept) is `margin`, along a known direction.

    With u uniform on the unit sphere, the first two samples have `y x = margin u + v` and `margin u - v`, v orthogonal
    to u, so `margin u` is the point of the convex hull of all `y_i x_i` that is nearest to 0: the hard margin is
    `margin` up to rounding (about `1e-16 spread sqrt(d)`). All other samples have
    `<y x, u> = margin + spread (0.1 + |normal|)`, so those two are the support.

    Parameters
    ----------
    n, d : int
        Training samples, at least 2, and dimensions, at least 1.
    margin : float
        The largest margin, `max_w min_i y_i <x_i, w> / ||w||` > 0.
    spread : float
        Standard deviation of the coordinates orthogonal to u, > 0.
    n_test, seed : int
        As in `gaussian`; test samples are drawn as the ones beyond the support.

    Returns
    -------
    Problem
        `y` in {-1, +1}, each with probability 1/2; `coef = u / margin` is the hard-margin solution,
        `min_i y_i <x_i, coef> = 1`.
    """
    margin = _checks.real_number("margin", margin, low=0.0, strict=True)
    spread = _checks.real_number("spread", spread, low=0.0, strict=True)
    d = _checks.integer("d", d, low=1)
    n, n_test, seed, _, _ = _common(_checks.integer("n", n, low=2), n_test, seed, 1.0, "margin", 0.0)
    direction = _draw(_random.normal, seed, _random.SIGNAL, 0, 1, d)[0]
    u = direction / np.sqrt(_portable.row_sums(direction * direction))

    def sample(start: int, count: int, test: int) -> tuple[Array, Array]:
        g = _draw(_random.normal, seed, _random.INPUTS, start, count, d)
        across = g - _portable.row_sums(g * u)[:, None] * u
        beyond = spread * (0.1 + np.abs(_draw(_random.normal, seed, _random.NOISE, test, 1, count)[0]))
        if not test:
            beyond[:2] = 0.0
            across[1] = -across[0]
        y = np.where(_draw(_random.uniform, seed, _random.LABELS, test, 1, count)[0] < 0.5, -1.0, 1.0)
        z = (margin + beyond)[:, None] * u + spread * across
        return y[:, None] * z, y

    X, y = sample(0, n, 0)
    X_test, y_test = sample(_TEST, n_test, 1) if n_test else (None, None)
    return Problem(X, y, X_test, y_test, coef=u / margin)


def soudry() -> Problem:
    """Two-dimensional set of Soudry, Hoffer, Shpigel Nacson, Gunasekar and Srebro (2018), Figure 1.

    The first four of its 16 samples are the support: (0.5, 1.5) and (1.5, 0.5) with y = +1 and their negatives with
    y = -1. The paper does not list its 12 other points, six a class; these are drawn once for all, off the margin.

    Returns
    -------
    Problem
        X (16, 2), y in {-1, +1}, and `coef` = (0.5, 0.5), the hard-margin solution: margin sqrt(2) along (1, 1).
    """
    support = np.array([[0.5, 1.5], [1.5, 0.5]])
    draws = _draw(_random.uniform, 0, _random.INPUTS, 0, 2, 12)
    along = 1.25 + 1.5 * draws[0]  # on the margin the mean of the two coordinates is 1
    across = 3.0 * (draws[1] - 0.5)
    others = np.stack([along + across, along - across], axis=1)
    X = np.concatenate([support, -support, others[:6], -others[6:]])
    y = np.array([1.0, 1.0, -1.0, -1.0] + 6 * [1.0] + 6 * [-1.0])
    return Problem(X, y, coef=np.array([0.5, 0.5]))


def _common(
    n: Any, n_test: Any, seed: Any, strength: Any, strength_name: str, noise: Any
) -> tuple[int, int, int, float, float]:
    return (
        _checks.integer("n", n, low=1, high=_TEST),
        _checks.integer("n_test", n_test, low=0, high=_TEST),
        check_seed(seed),
        _checks.real_number(strength_name, strength, low=0.0),
        _checks.real_number("noise", noise, low=0.0),
    )


def _noise(seed: int, noise: float, n: int) -> Array:
    values: Array = np.sqrt(noise) * _draw(_random.normal, seed, _random.NOISE, 0, 1, n)[0]
    return values


def _draw(numbers: Callable[..., Array], seed: int, stream: int, start: int, count: int, rows: int) -> Array:
    """Array (count, rows): its row i is rows 0..rows-1 of the generator's column start + i."""
    result = np.empty((count, rows))
    block = max(1, (1 << 16) // max(rows, 1))  # temporaries that stay in cache
    for first in range(0, count, block):
        columns = np.arange(start + first, start + min(first + block, count), dtype=np.uint64)
        result[first : first + block] = numbers(seed, stream, columns, rows).T
    return result
