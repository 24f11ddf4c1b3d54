"""The closed forms against experiments that run through the kernels.

Each experiment gives bias and variance of a fit *given* its inputs and features, as traces: a fit is linear in the
responses, so that fitting the columns of the identity gives the whole map, and only inputs and features are drawn. The
covariance of the features of a new input is exact too. Risks at d dimensions differ from the limit by c / d + O(1 /
d^2), and ``2 R(2d) - R(d)`` by O(1 / d^2) only.
"""

import functools
import math

import numpy as np
import pytest
from scipy import special, stats

import genkern
from genkern import theory

# Chance that `check` refuses a right formula, at most. Of 20 other seeds it refused none, in either test, and their
# p-values passed for uniform ones.
SIGNIFICANCE = 0.01
SEED = 20261201  # set down before the first run of this file in its present form
EXACT = 1e-10  # less than this is rounding: a bias of 0, or one that is the same for all inputs
ERROR_RIDGE, ERROR_FEATURES = 0.005, 0.01  # largest standard error, relative to the value
PILOT = 100  # draws that say how many are needed


def p_values(z):
    """How unlike independent standard normal numbers z are: the largest of them, their spread, their distribution."""
    z = np.asarray(z)
    largest = -math.expm1(z.size * math.log1p(-2 * stats.norm.sf(np.max(np.abs(z)))))
    spread = stats.chi2(z.size).cdf(np.sum(z**2))
    return largest, 2 * min(spread, 1 - spread), stats.kstest(z, "norm").pvalue


def means(risks, controls):
    """Mean of risks (k, 2), less what they share with controls (k, c) of mean 0; squared error, degrees of freedom."""
    design = np.hstack([np.ones((len(risks), 1)), controls])
    fit = np.linalg.lstsq(design, risks)[0]
    freedom = len(risks) - design.shape[1]
    left = np.sum((risks - design @ fit) ** 2, axis=0) / freedom
    return fit[0], left * np.linalg.inv(design.T @ design)[0, 0], freedom


def richardson(draw, size, target, least):
    """Estimates of the limits, their standard errors, about `target` of the values, and degrees of freedom.

    From `draw(size, count)` at a size and at its double, where the standard deviation is about half and a draw costs
    about 8 times as much. How many, at least `least`, is said by draws that are not used again.
    """
    mean, square, freedom = means(*draw(size, PILOT))
    known = mean > EXACT
    deviation = np.max(np.sqrt(freedom * square[known]) / mean[known])
    count = max(least, math.ceil(5 * (deviation / 2 / target) ** 2))
    small, small_square, small_freedom = means(*draw(size, 4 * count))
    large, large_square, large_freedom = means(*draw(2 * size, count))
    square = 4 * large_square + small_square
    parts = (4 * large_square) ** 2 / large_freedom + small_square**2 / small_freedom
    with np.errstate(invalid="ignore"):
        return 2 * large - small, np.sqrt(square), np.where(square > EXACT**2, square**2 / parts, 1.0)  # after Welch


def scores(measured, errors, freedom, expected):
    """z-scores of the points whose value is not known exactly: Student's t at the quantile of its own distribution."""
    drawn = errors > EXACT * np.maximum(expected, 1.0)
    t = (measured[drawn] - expected[drawn]) / errors[drawn]
    return np.copysign(stats.norm.isf(stats.t(freedom[drawn]).sf(np.abs(t))), t)


def check(points, expected, largest_error):
    """Bias and variance (points, 2) have the risks expected, and not those of a formula that is 3 % off."""
    measured, errors, freedom = (np.array(values) for values in zip(*points, strict=True))
    expected = np.array(expected)
    assert np.all(errors <= np.maximum(largest_error * expected, EXACT))
    known = errors <= EXACT * np.maximum(expected, 1.0)  # the same for all inputs, so that the formula is exact
    np.testing.assert_allclose(measured[known], expected[known], rtol=EXACT, atol=EXACT)
    level = SIGNIFICANCE / 6  # three p-values of two columns
    for column in zip(measured.T, errors.T, freedom.T, expected.T, strict=True):
        assert min(p_values(scores(*column))) > level
        for wrong in (0.97, 1.03):
            assert min(p_values(scores(*column[:3], wrong * column[3]))) < level


# -- ridge -----------------------------------------------------------------------------------------------------------

SIZES = [(32, 128), (48, 96), (112, 64), (96, 48), (128, 32)]  # features and samples, the smaller of both sizes
RIDGES = [0.0, 0.2, 1.0]
SPECTRA = {
    "isotropic": ([1.0], [1.0]),
    "two atoms": ([4.0, 0.5], [0.8, 0.2]),
    "power law": (np.arange(1.0, 5) ** -1.5, [0.4, 0.3, 0.2, 0.1]),
}


def ridge_draws(rng, size, draws, ridge, spectrum):
    """Bias and variance of fits on Gaussian inputs, for signals of random direction within each eigenspace.

    Controls are the squares of the inputs in each eigenspace, and the squared norm of their covariance.
    """
    d, n = size
    atoms = len(SPECTRA[spectrum][0])
    s, a = (np.repeat(values, d // atoms) for values in SPECTRA[spectrum])
    a = a / a.sum()
    risks, controls = [], []
    for first in range(0, draws, 50):  # temporaries of some MB
        X = rng.standard_normal((min(50, draws - first), n, d)) * np.sqrt(s)
        maps = genkern.lstsq(X, np.broadcast_to(np.eye(n), (len(X), n, n)), ridge=n * ridge).coef
        lost = maps @ X - np.eye(d)
        risks.append(np.stack([(lost**2 @ a) @ s, np.sum(maps**2, axis=2) @ s], axis=1))
        energy = (np.mean(X**2, axis=1) / s - 1).reshape(len(X), atoms, -1).mean(axis=2)
        gram = X @ np.swapaxes(X, 1, 2) if n < d else np.swapaxes(X, 1, 2) @ X
        norm = np.sum(gram**2, axis=(1, 2)) / n**2 / ((1 + 1 / n) * np.sum(s**2) + np.sum(s) ** 2 / n) - 1
        controls.append(np.hstack([energy, norm[:, None]]))
    return np.concatenate(risks), np.concatenate(controls)


def test_ridge_risk():
    rng = np.random.default_rng([SEED, 0])
    points = [(size, ridge, name) for size in SIZES for ridge in RIDGES for name in SPECTRA]
    assert len(points) == 45
    measured, expected = [], []
    for size, ridge, name in points:
        s, a = SPECTRA[name]
        risk = theory.ridge_risk(size[0] / size[1], ridge=ridge, eigenvalues=s, alignment=a)
        draw = functools.partial(ridge_draws, rng, ridge=ridge, spectrum=name)
        measured.append(richardson(draw, np.array(size), 0.7 * ERROR_RIDGE, 32))
        expected.append([risk.bias, risk.variance])
    check(measured, expected, ERROR_RIDGE)


# -- random features -------------------------------------------------------------------------------------------------

FEATURES = [
    (psi1, psi2, ridge, activation)
    for activation in ("relu", "sign")
    for psi1, psi2 in ((0.5, 1.0), (0.5, 2.0), (1.0, 2.0), (2.0, 1.0), (2.5, 1.0))
    for ridge in (0.003, 0.03)
] + [(0.5, 2.0, 0.0, "relu"), (2.0, 1.0, 0.0, "relu"), (0.5, 2.0, 0.0, "sign"), (2.0, 1.0, 0.0, "sign")]


def covariances(directions, activation):
    """E sigma(x) sigma(x)^T and E sigma(x) x^T of features with weights `directions` (..., N, d) on the sphere."""
    d = directions.shape[-1]
    cosine = np.clip(directions @ np.swapaxes(directions, -1, -2) / d, -1.0, 1.0)
    if activation == "relu":
        angle = np.arccos(cosine)
        return (np.sqrt(1 - cosine**2) + (np.pi - angle) * cosine) / (2 * np.pi), directions / (2 * math.sqrt(d))
    size = math.exp(special.gammaln(d / 2) - special.gammaln((d + 1) / 2)) / math.sqrt(math.pi)
    return 2 / np.pi * np.arcsin(cosine), size * directions


def feature_draws(rng, d, draws, psi1, psi2, ridge, activation):
    """B and V: the risk on linear targets of random direction without noise, and that of noise alone."""
    n, width = round(psi2 * d), round(psi1 * d)
    found = []
    for _ in range(draws):
        X = rng.standard_normal((n, d))
        X *= math.sqrt(d) / np.linalg.norm(X, axis=1, keepdims=True)
        law = {"seed": int(rng.integers(2**63)), "weights": "sphere"}
        F = genkern.random_features(X, width, activation=activation, **law)
        directions = genkern.random_features(math.sqrt(d) * np.eye(d), width, activation="identity", **law).T
        second, cross = covariances(directions, activation)
        maps = genkern.lstsq(F, np.hstack([X, np.eye(n)]), ridge=n * width * ridge / d).coef
        squares = np.sum(maps * (second @ maps), axis=0)
        bias = 1.0 + (np.sum(squares[:d]) - 2.0 * np.sum(cross * maps[:, :d])) / d
        found.append([bias, np.sum(squares[d:])])
    return np.array(found), np.zeros((draws, 0))


@pytest.mark.parametrize("activation", ["relu", "sign"])
def test_covariances_are_those_of_the_sphere(activation):
    rng = np.random.default_rng(1)
    x, w = (rng.standard_normal((count, 4)) for count in (200000, 3))
    x, w = (2.0 * rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (x, w))
    F = np.maximum(x @ w.T / 2, 0) if activation == "relu" else np.sign(x @ w.T)
    second, cross = covariances(w, activation)
    np.testing.assert_allclose(F.T @ F / len(F), second, atol=0.01)
    np.testing.assert_allclose(F.T @ x / len(F), cross, atol=0.01)


def test_random_features_risk():
    rng = np.random.default_rng([SEED, 1])
    measured, expected = [], []
    for psi1, psi2, ridge, activation in FEATURES:
        risk = theory.random_features_risk(psi1, psi2, ridge=ridge, activation=activation, noise=1.0)
        draw = functools.partial(feature_draws, rng, psi1=psi1, psi2=psi2, ridge=ridge, activation=activation)
        measured.append(richardson(draw, round(48 / min(psi1, psi2, 1.0)), 0.7 * ERROR_FEATURES, 24))
        expected.append([risk.bias, risk.variance])
    check(measured, expected, ERROR_FEATURES)
