"""Limits of random-matrix theory for sample covariances: the law of Marchenko and Pastur."""

from __future__ import annotations

from typing import Any

import numpy as np

from genkern import _arrays, _checks
from genkern.theory import _arguments

Array = np.ndarray[Any, Any]
_SERIES_BELOW, _SERIES_TERMS = 0.25, 26  # 0.25^26 is below eps / 2


def _edges(gamma: Array) -> tuple[Array, Array]:
    root = np.sqrt(gamma)
    return ((1.0 - gamma) / (1.0 + root)) ** 2, (1.0 + root) ** 2


def _distances(x: Array, gamma: Array) -> tuple[Array, Array]:
    """Distances x - a and b - x, to rounding of the larger of them.

    For gamma far from 1 the edges are far from 0 against their distance, of which a difference of x and an edge would
    lose the digits: ``offset`` is x - 1 - gamma, with the edges at -2 sqrt(gamma) and 2 sqrt(gamma). For gamma near 1
    the lower edge is near 0, and x - a keeps its digits.
    """
    (a, b), side = _edges(gamma), 2.0 * np.sqrt(gamma)
    offset = (x - np.maximum(gamma, 1.0)) - np.minimum(gamma, 1.0)
    narrow = (gamma < 0.25) | (gamma > 4.0)
    return np.where(narrow, offset + side, x - a), np.where(narrow, side - offset, b - x)


def _points(x: Any, gamma: Any) -> tuple[Array, Array, _arguments.Wrap]:
    library = _arrays.library_of({"x": x, "gamma": gamma})
    x_view, g = _checks.real_numbers("x", x), _checks.positive("gamma", gamma)
    _arguments.batch_shape(x=x_view, gamma=g)
    return x_view, g, _arguments.wrapper(library)


def marchenko_pastur_pdf(x: Any, gamma: Any) -> Any:
    r"""Density of the Marchenko-Pastur law, without its atom at 0.

    Limit of the distribution of the eigenvalues of ``X^T X / n``, with X of n rows and p columns of independent entries
    of mean 0 and variance 1, as ``p / n -> gamma``:

    .. math::
        f(x) = \frac{\sqrt{(b - x)(x - a)}}{2 \pi \gamma x} \; (a < x < b), \qquad a, b = (1 \mp \sqrt{\gamma})^2,

    and for ``gamma > 1`` an atom of ``1 - 1 / gamma`` at 0, the null space. Means: ``E x = 1``, ``E x^2 = 1 + gamma``.

    Parameters
    ----------
    x : array (...)
        Eigenvalues, any real number. For entries of variance v divide x, and the density, by v.
    gamma : array (...)
        Features per sample p / n > 0.

    Returns
    -------
    array (...)
        0 outside of [a, b]; `inf` at ``x = 0`` for ``gamma = 1``, where the density is not bounded. Relative error of a
        few rounding units, over the distance to the nearer edge in units of ``b - a``.

    Raises
    ------
    ValueError, TypeError
        Arguments out of range, not real, or of shapes that do not broadcast.

    References
    ----------
    V. A. Marchenko, L. A. Pastur, Mathematics of the USSR-Sbornik 1 (1967).
    """
    x, g, wrap = _points(x, gamma)
    from_a, to_b = _distances(x, g)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore", under="ignore"):
        density = np.sqrt(to_b) / np.sqrt(g) / (2.0 * np.pi) * (np.sqrt(from_a) / np.sqrt(g)) / x
    inside = (from_a > 0) & (to_b > 0)
    return wrap(np.where(inside, density, np.where((x == 0) & (g == 1), np.inf, 0.0)))


def _ratio(gamma: Array) -> Array:
    """Whichever of sqrt(gamma) and its inverse is at most 1."""
    ratio: Array = np.sqrt(np.minimum(gamma, 1.0 / np.maximum(gamma, 1.0)))
    return ratio


def _bulk(angle: Array, q: Array) -> Array:
    """(2 / pi) int_0^angle sin^2 / (1 + q^2 - 2 q cos) in [0, 1], for 0 < q <= 1.

    Term by term sin(t) / (1 + q^2 - 2 q cos t) is the sum over k >= 1 of q^(k - 1) sin kt, so that the integral is
    angle + S - (S - q sin angle) / q^2 with S the sum over k of q^k sin(k angle) / k, the argument of 1 / (1 - q e^it).
    """
    sine, cosine = np.sin(angle), np.cos(angle)
    S = np.arctan2(q * sine, 1.0 - q * cosine)
    rest = (S - q * sine) / np.maximum(q, _SERIES_BELOW) ** 2
    small = q < _SERIES_BELOW
    if np.any(small):  # the difference above cancels
        series = np.zeros(np.broadcast_shapes(angle.shape, q.shape))
        for k in range(_SERIES_TERMS, 1, -1):
            series = np.sin(k * angle) / k + q * series
        rest = np.where(small, series, rest)
    mass: Array = np.clip((angle + S - rest) / np.pi, 0.0, 1.0)
    return mass


def marchenko_pastur_cdf(x: Any, gamma: Any) -> Any:
    r"""Distribution function of the Marchenko-Pastur law, with its atom at 0.

    With ``x = 1 + gamma - 2 sqrt(gamma) cos t``, ``q = min(sqrt gamma, 1 / sqrt gamma)`` and the angle
    ``S = arg 1 / (1 - q e^{it})``,

    .. math::
        F(x) = \Bigl(1 - \frac1\gamma\Bigr)_+ + \frac{1}{\pi \max(1, \gamma)}
            \Bigl(t + S - \frac{S - q \sin t}{q^2}\Bigr).

    Parameters
    ----------
    x, gamma
        As in `marchenko_pastur_pdf`.

    Returns
    -------
    array (...)
        In [0, 1], continuous from the right: the atom belongs to ``x = 0``. The absolute error is below 1e-15 for x as
        given, at any gamma; where it is so small that [a, b] is a few rounding units wide, x itself cannot say more.

    Raises
    ------
    ValueError, TypeError
        As in `marchenko_pastur_pdf`.

    References
    ----------
    The integral of the density of Marchenko and Pastur (1967), in a form without cancellation.
    """
    x, g, wrap = _points(x, gamma)
    from_a, to_b = _distances(x, g)
    angle = 2.0 * np.arctan2(np.sqrt(np.maximum(from_a, 0.0)), np.sqrt(np.maximum(to_b, 0.0)))
    bulk = _bulk(angle, _ratio(g))
    bulk = np.where(to_b <= 0, 1.0, np.where(from_a <= 0, 0.0, bulk))
    share = 1.0 / np.maximum(g, 1.0)
    return wrap(np.where(x < 0, 0.0, (1.0 - share) + share * bulk))


def marchenko_pastur_quantile(q: Any, gamma: Any) -> Any:
    """Quantile of the Marchenko-Pastur law: the smallest x with ``marchenko_pastur_cdf(x, gamma) >= q``.

    Applied to uniform numbers it samples the law, and to ``(i - 1/2) / p`` it gives the places of p eigenvalues.

    Parameters
    ----------
    q : array (...)
        Probabilities in [0, 1].
    gamma : array (...)
        Features per sample p / n > 0.

    Returns
    -------
    array (...)
        0 in the atom, ``0 < q <= 1 - 1 / gamma``; the lower edge a at the foot of the bulk, also for ``q = 0`` where
        there is no atom, and the upper edge b at ``q = 1``. The error corresponds to one of about 1e-15 in q, which
        near the edges, where the density vanishes, moves x by up to about ``1e-10 sqrt(gamma)``.

    Raises
    ------
    ValueError, TypeError
        Arguments out of range, not real, or of shapes that do not broadcast.
    """
    library = _arrays.library_of({"q": q, "gamma": gamma})
    level, g = _checks.nonnegative("q", q), _checks.positive("gamma", gamma)
    if np.any(level > 1):
        raise ValueError(f"q must be <= 1, got {level[level > 1].flat[0]}")
    shape = _arguments.batch_shape(q=level, gamma=g)
    level, g = (np.broadcast_to(view, shape).ravel() for view in (level, g))
    target = np.where(g > 1, 1.0 - g * (1.0 - level), level)  # share of the bulk
    ratio = _ratio(g)
    angle = np.where(target >= 1, np.pi, 0.0)
    solve = np.flatnonzero((target > 0) & (target < 1))
    if solve.size:
        from scipy.optimize import elementwise  # takes longer to import than all of genkern

        found = elementwise.find_root(
            lambda t, r, wanted: _bulk(t, r) - wanted,
            (np.zeros(solve.size), np.full(solve.size, np.pi)),
            args=(ratio[solve], target[solve]),
        )
        if not np.all(found.success):
            raise ValueError(f"no quantile can be bracketed, got q = {level[solve][~found.success][0]}")
        angle[solve] = found.x
    a, _ = _edges(g)
    x = a + 4.0 * np.sqrt(g) * np.sin(angle / 2.0) ** 2
    return _arguments.wrapper(library)(np.where((g > 1) & (target <= 0), 0.0, x).reshape(shape))


def marchenko_pastur_stieltjes(lam: Any, gamma: Any) -> Any:
    r"""Stieltjes transform of the Marchenko-Pastur law, atom included, at ``-lam``: the mean of ``1 / (x + lam)``.

    .. math::
        m(-\lambda) = \frac{-c + \sqrt{c^2 + 4 \gamma \lambda}}{2 \gamma \lambda}, \qquad c = 1 - \gamma + \lambda.

    It is the limit of ``tr (X^T X / n + lam I)^{-1} / p``.

    Parameters
    ----------
    lam : array (...)
        Ridge on the mean of squares, that of `ridge_risk`, >= 0.
    gamma : array (...)
        Features per sample p / n >= 0.

    Returns
    -------
    array (...)
        At ``lam = 0`` it is ``1 / (1 - gamma)`` below ``gamma = 1`` and `inf` from there on. Relative error of a few
        rounding units: the form without cancellation is taken for either sign of c.

    Raises
    ------
    ValueError, TypeError
        Arguments out of range, not real, or of shapes that do not broadcast.

    References
    ----------
    As in `marchenko_pastur_pdf`; the limit holds for independent entries of mean 0 and variance 1.
    """
    (ridge, g), wrap = _arguments.numbers(lam=lam, gamma=gamma)
    _arguments.batch_shape(lam=ridge, gamma=g)
    c = (1.0 - g) + ridge
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        root = np.hypot(c, 2.0 * np.sqrt(g) * np.sqrt(ridge))
        positive = 1.0 / (c / 2.0 + root / 2.0)
        negative = (root / 2.0 - c / 2.0) / g / ridge
    return wrap(np.where(c > 0, positive, np.where(ridge > 0, negative, np.inf)))
