"""Risks of ridge and minimum-norm regression: published numbers, high precision, identities, and bad arguments."""

import time

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mpmath import mpf
from tolerances import THEORY, THEORY_LOO

import genkern
from genkern import theory

TWO_ATOMS = {"eigenvalues": [4.0, 0.5], "alignment": [0.8, 0.2], "signal": 5.0, "noise": 1.0}


def relative(actual, expected):
    """Error relative to the expected value; 0 where both are the same, infinities included."""
    actual, expected = np.asarray(actual, float), np.asarray(expected, float)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(actual == expected, 0.0, np.abs(actual - expected) / np.abs(expected))


def exact(gamma, ridge, eigenvalues, weights, alignment):
    """kappa, bias and variance for unit signal and noise with 25 digits, by bisection and the defining formulas."""
    with mpmath.workdps(60):
        gamma, ridge = mpf(gamma), mpf(ridge)
        s, w, a = ([mpf(float(x)) for x in values] for values in (eigenvalues, weights, alignment))
        w, a = [x / sum(w) for x in w], [x / sum(a) for x in a]

        def excess(k):
            return 1 - ridge / k - gamma * sum(wj * sj / (sj + k) for sj, wj in zip(s, w, strict=True))

        active = gamma * sum(wj for sj, wj in zip(s, w, strict=True) if sj > 0)
        if ridge == 0 and active <= 1:
            kappa = mpf(0)
        elif gamma == 0:
            kappa = ridge
        else:
            low, high = mpf(10) ** -60, ridge + gamma * sum(wj * sj for sj, wj in zip(s, w, strict=True))
            assert excess(low) <= 0 <= excess(high) * (1 + mpf(10) ** -50)
            for _ in range(100):  # 130 decades to 28 digits
                middle = mpmath.sqrt(low * high)
                low, high = (middle, high) if excess(middle) < 0 else (low, middle)
            kappa = low
        positive = [(sj, wj, aj) for sj, wj, aj in zip(s, w, a, strict=True) if sj > 0]
        A = gamma * sum(wj * sj**2 / (sj + kappa) ** 2 for sj, wj, _ in positive)
        bias = kappa**2 * sum(aj * sj / (sj + kappa) ** 2 for sj, _, aj in positive) / (1 - A)
        return float(kappa), float(bias), float(A / (1 - A))


# -- reference values ------------------------------------------------------------------------------------------------


def test_isotropic_minimum_norm():
    gamma = np.array([0.1, 0.5, 0.9, 1.1, 2.0, 10.0])
    risk = theory.ridge_risk(gamma, signal=5.0, noise=2.0)
    below, above = gamma[:3], gamma[3:]
    np.testing.assert_array_equal(risk.bias[:3], 0.0)
    np.testing.assert_allclose(risk.variance[:3], 2 * below / (1 - below), rtol=1e-14)
    np.testing.assert_allclose(risk.bias[3:], 5 * (1 - 1 / above), rtol=1e-13)
    np.testing.assert_allclose(risk.variance[3:], 2 / (above - 1), rtol=1e-13)
    np.testing.assert_array_equal(risk.total, risk.bias + risk.variance)


def test_isotropic_ridge_and_its_optimum():
    gamma = np.array([0.5, 1.0, 2.0, 4.0])
    best = theory.optimal_ridge(gamma, signal=5.0, noise=1.0)
    np.testing.assert_allclose(best, gamma / 5, rtol=1e-15)
    risk = theory.ridge_risk(gamma, ridge=best, signal=5.0, noise=1.0)
    np.testing.assert_allclose(risk.total, [0.74165739, 1.79128785, 3.10849528, 4.0], atol=5e-9)
    m = (-(1 - gamma + best) + np.sqrt((1 - gamma + best) ** 2 + 4 * gamma * best)) / (2 * gamma * best)
    np.testing.assert_allclose(risk.total, gamma * m, rtol=1e-13)


@pytest.mark.parametrize(
    "gamma, ridge, kappa, bias, variance, digits",
    [
        (2.0, 0.0, 1.41421356, 3.53553391, 1.59099026, 8),
        (2.0, 0.3, 2.06395003, 4.13317257, 0.89807069, 8),
        (4.0, 0.0, 5.576034, 9.17042, 0.56864, 5),
        (0.5, 0.3, 0.464148, 0.39456, 0.36603, 5),
    ],
)
def test_two_atoms(gamma, ridge, kappa, bias, variance, digits):
    risk = theory.ridge_risk(gamma, ridge=ridge, **TWO_ATOMS)
    found = theory.effective_ridge(gamma, ridge=ridge, eigenvalues=[4.0, 0.5])
    half = 0.5 * 10.0**-digits
    assert abs(found - kappa) <= max(half, 0.5e-6 if digits == 5 else 0)
    assert abs(risk.bias - bias) <= 1.01 * half
    assert abs(risk.variance - variance) <= 1.01 * half


def test_stieltjes_transforms_of_the_two_atoms():
    kappa = theory.effective_ridge(2.0, ridge=0.3, eigenvalues=[4.0, 0.5])
    assert (0.3 / kappa - 1 + 2.0) / (2.0 * 0.3) == pytest.approx(1.90892059, abs=5e-9)
    ridgeless = theory.effective_ridge(2.0, eigenvalues=[4.0, 0.5])
    assert 1 / (2.0 * ridgeless) == pytest.approx(0.35355339, abs=5e-9)


def test_finite_sample():
    p = [5, 15, 18, 22, 30, 50, 60]
    expected = [5.654762, 16.625, 62.7, 63.8333, 8.722222, 3.971264, 3.423077]
    actual = theory.finite_sample_risk(20, p, 60, signal=4.0, noise=0.5)
    np.testing.assert_allclose(actual, expected, atol=5e-5)
    np.testing.assert_allclose(np.delete(actual, 3), np.delete(expected, 3), atol=5.1e-7)
    assert np.all(theory.finite_sample_risk(20, [19, 20, 21], 60, signal=4.0, noise=0.5) == np.inf)


def test_misspecified():
    gamma, captured = np.array([0.5, 2.0]), 0.7
    risk = theory.misspecified_risk(gamma, signal=3.0, noise=0.4, captured=captured)
    noise = 0.4 + 3 * 0.3
    np.testing.assert_allclose(risk.total, [0.9 + noise, 0.9 + 2.1 / 2 + noise], rtol=1e-14)
    np.testing.assert_allclose(risk.variance, [noise, noise], rtol=1e-14)


def test_constants_of_early_stopping():
    with mpmath.workdps(40):

        def largest(function, start):
            at = mpmath.findroot(lambda x: mpmath.diff(function, x), start)
            return at, function(at)

        at, ratio = largest(lambda x: (1 - mpmath.exp(-x)) * (1 + x) / x, 1.8)
        assert abs(at - mpf("1.793282")) < 5e-7 and abs(ratio - mpf("1.298426")) < 5e-7
        assert float(ratio**2) == theory.EARLY_STOPPING_BOUND == pytest.approx(1.685909, abs=5e-7)
        at, ratio = largest(lambda x: (mpmath.exp(-2 * x) + (1 - mpmath.exp(-x)) ** 2 / x) * (1 + x), 3.2)
        assert abs(at - mpf("3.2136")) < 5e-5
        assert float(ratio) == theory.OPTIMAL_STOPPING_BOUND == pytest.approx(1.214662, abs=5e-7)


def test_early_stopping_keeps_its_bounds_through_the_kernels():
    """Expected errors of gradient descent with small steps, given X and the true coefficients, over those of ridge."""
    rng = np.random.default_rng(0)
    n, p, noise = 30, 20, 0.5
    ratios, optimal = [], []
    for scale in (np.ones(p), np.arange(1.0, p + 1) ** -0.7):
        X = rng.standard_normal((n, p)) * scale
        step = 1e-3 / np.linalg.norm(X, 2) ** 2
        counts = np.unique(np.geomspace(1, 1e6, 40).round())
        # Filters are linear maps: applied to the identity they give the map from responses to coefficients.
        flow = genkern.gd_path(X, np.eye(n), counts, step_size=step)
        ridge = genkern.ridge_path(X, np.eye(n), 1 / (counts * step))
        coef = rng.standard_normal((p, 50))

        def errors(maps, coef, X=X):
            lost = np.sum((maps @ (X @ coef) - coef) ** 2, axis=1)
            return lost + noise * np.sum(maps**2, axis=(1, 2))[:, None]

        ratios.append(errors(flow, coef) / errors(ridge, coef))
        # On average over coefficients of variance `signal` / p each.
        signal, basis = 2.0, np.sqrt(2.0 / p) * np.eye(p)

        def bayes(maps, basis=basis, X=X):
            return np.sum((maps @ (X @ basis) - basis) ** 2, axis=(1, 2)) + noise * np.sum(maps**2, axis=(1, 2))

        best = theory.optimal_ridge(p / n, signal=signal, noise=noise) * n
        optimal.append(bayes(flow).min() / bayes(genkern.ridge_path(X, np.eye(n), [best]))[0])
    assert np.max(ratios) <= theory.EARLY_STOPPING_BOUND * 1.002  # the steps are finite
    assert np.max(ratios) > 1.4, "the bound must be within sight for the test to mean anything"
    assert min(optimal) >= 1.0 - 1e-9 and max(optimal) <= theory.OPTIMAL_STOPPING_BOUND


# -- high precision --------------------------------------------------------------------------------------------------

SPECTRA = {
    "isotropic": ([1.0], [1.0], [1.0]),
    "two atoms": ([4.0, 0.5], [1.0, 1.0], [0.8, 0.2]),
    "power law": (np.arange(1.0, 41) ** -2, np.ones(40), np.arange(40.0)),
    "scales": ([1e6, 1.0, 1e-6], [0.1, 0.2, 0.7], [0.2, 0.2, 0.6]),
    "degenerate": ([3.0, 0.0, 1.0], [0.3, 0.3, 0.4], [0.2, 0.5, 0.3]),
}


@pytest.mark.parametrize("name", SPECTRA)
def test_against_high_precision(name):
    s, w, a = SPECTRA[name]
    gammas = [1e-3, 0.3, 0.999999, 1 + 1e-9, 1.3, 1.7, 4.0, 1e4]
    ridges = [0.0, 1e-14, 1e-6, 0.2, 50.0]
    gamma, ridge = np.meshgrid(gammas, ridges, indexing="ij")
    expected = np.array([exact(*point, s, w, a) for point in zip(gamma.flat, ridge.flat, strict=True)])
    expected = expected.T.reshape(3, *gamma.shape)
    risk = theory.ridge_risk(gamma, ridge=ridge, eigenvalues=s, weights=w, alignment=a)
    kappa = theory.effective_ridge(gamma, ridge=ridge, eigenvalues=s, weights=w)
    for actual, right in zip((kappa, risk.bias, risk.variance), expected, strict=True):
        assert np.max(relative(actual, right)) <= THEORY


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_companion_forms_agree(data):
    """The two forms of Hastie et al. give the same bias and variance, at solutions of their own fixed points."""
    positive = st.floats(0.05, 20.0)
    k = data.draw(st.integers(1, 5))
    s, w, a = (np.array(data.draw(st.lists(positive, min_size=k, max_size=k))) for _ in range(3))
    gamma, ridge = data.draw(st.floats(0.05, 20.0)), data.draw(st.floats(0.01, 10.0))
    w, a = w / w.sum(), a / a.sum()
    spectrum = {"eigenvalues": s, "weights": w, "alignment": a}

    risk = theory.ridge_risk(gamma, ridge=ridge, **spectrum)
    kappa = theory.effective_ridge(gamma, ridge=ridge, eigenvalues=s, weights=w)
    m = (ridge / kappa - 1 + gamma) / (gamma * ridge)
    share = 1 - gamma + gamma * ridge * m
    assert m == pytest.approx(np.sum(w / (s * share + ridge)), rel=1e-8)
    derivative = np.sum(w * s**2 * share / (s * share + ridge) ** 2)
    derivative /= 1 + gamma * ridge * np.sum(w * s / (s * share + ridge) ** 2)
    bias = ridge**2 * (1 + gamma * derivative) * np.sum(a * s / (ridge + s * share) ** 2)
    assert risk.bias == pytest.approx(bias, rel=1e-8)
    assert risk.variance == pytest.approx(gamma * derivative, rel=1e-7)

    gamma = 1.05 + gamma
    risk = theory.ridge_risk(gamma, **spectrum)
    c0 = 1 / (gamma * theory.effective_ridge(gamma, eigenvalues=s, weights=w))
    assert 1 - 1 / gamma == pytest.approx(np.sum(w / (1 + c0 * gamma * s)), rel=1e-9)
    moments = [np.sum(w * s**j / (1 + c0 * gamma * s) ** 2) for j in (1, 2)]
    variance = gamma * c0 * moments[1] / moments[0]
    assert risk.variance == pytest.approx(variance, rel=1e-9)
    assert risk.bias == pytest.approx((1 + variance) * np.sum(a * s / (1 + c0 * gamma * s) ** 2), rel=1e-9)


# -- properties ------------------------------------------------------------------------------------------------------


def test_limits_of_gamma():
    s, a = np.array([3.0, 1.0, 0.2]), np.array([0.5, 0.2, 0.3])
    for ridge in (0.0, 0.4):
        risk = theory.ridge_risk([0.0, np.inf], ridge=ridge, signal=2.0, eigenvalues=s, alignment=a)
        near = theory.ridge_risk([1e-9, 1e9], ridge=ridge, signal=2.0, eigenvalues=s, alignment=a)
        shrunk = 2 * np.sum(a * s * (ridge / (s + ridge)) ** 2)  # ridge regression that knows Sigma
        np.testing.assert_allclose(risk.bias, [shrunk, 2 * np.sum(a * s)], rtol=1e-14)
        np.testing.assert_array_equal(risk.variance, 0.0)
        np.testing.assert_allclose(near.bias, risk.bias, rtol=1e-7, atol=1e-8)
        np.testing.assert_allclose(near.variance, 0.0, atol=1e-7)
    misspecified = theory.misspecified_risk([0.0, np.inf], signal=2.0, noise=1.0, captured=0.4)
    np.testing.assert_allclose(misspecified.total, [1.2, 2.0], rtol=1e-15)


@settings(max_examples=40, deadline=None)
@given(st.floats(0.05, 10.0), st.floats(0.1, 10.0), st.floats(0.01, 10.0), st.lists(st.floats(0.1, 9.0), min_size=1))
def test_optimal_ridge_is_a_minimum(gamma, signal, noise, eigenvalues):
    best = theory.optimal_ridge(gamma, signal=signal, noise=noise)
    factors = np.array([0.2, 0.9, 0.99, 1.0, 1.01, 1.1, 5.0])
    risk = theory.ridge_risk(gamma, ridge=best * factors, signal=signal, noise=noise, eigenvalues=eigenvalues).total
    assert np.all(risk >= risk[3] * (1 - 1e-14))
    assert risk[0] > risk[1] > risk[2] and risk[-1] > risk[-2] > risk[-3]
    assert theory.ridge_risk(gamma, signal=signal, noise=noise, eigenvalues=eigenvalues).total > risk[3]


def test_optimally_tuned_risk_has_no_peak():
    gamma = np.geomspace(0.01, 100, 400)
    best = theory.optimal_ridge(gamma, signal=2.0, noise=0.1)
    assert np.all(np.diff(theory.ridge_risk(gamma, ridge=best, signal=2.0, noise=0.1).total) > 0)


@pytest.mark.parametrize("name", SPECTRA)
def test_ridge_to_zero_is_continuous(name):
    s, w, a = SPECTRA[name]
    gamma = np.array([0.2, 0.7, 1.6, 5.0])
    options = {"eigenvalues": s, "weights": w, "alignment": a}
    at_zero, near = (theory.ridge_risk(gamma, ridge=ridge, **options) for ridge in (0.0, 1e-15))
    np.testing.assert_allclose(near.variance, at_zero.variance, rtol=1e-6)
    np.testing.assert_allclose(near.bias, at_zero.bias, rtol=1e-6, atol=1e-20)


def test_atoms_mix():
    """Splitting an atom, leaving one without weight, and their order change nothing."""
    gamma = np.array([0.4, 1.0, 3.0])
    plain = theory.ridge_risk(gamma, ridge=0.1, eigenvalues=[2.0, 0.5], weights=[0.3, 0.7], alignment=[0.6, 0.4])
    split = theory.ridge_risk(
        gamma,
        ridge=0.1,
        eigenvalues=[0.5, 2.0, 0.5, 9.0],
        weights=[3.0, 3.0, 4.0, 0.0],
        alignment=[0.1, 0.6, 0.3, 0.0],
    )
    np.testing.assert_allclose(split.total, plain.total, rtol=1e-13)
    scaled = theory.ridge_risk(gamma, ridge=0.7, signal=1 / 7, eigenvalues=[14.0, 3.5], weights=[0.3, 0.7])
    reference = theory.ridge_risk(gamma, ridge=0.1, signal=1.0, eigenvalues=[2.0, 0.5], weights=[0.3, 0.7])
    np.testing.assert_allclose(scaled.total, reference.total, rtol=1e-13)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_atoms_mix_in_any_way(data):
    """An atom in two places is one atom; an eigenvalue's share of the signal may be split in any way between them."""
    k = data.draw(st.integers(1, 5))
    positive = st.lists(st.floats(1e-3, 1e3), min_size=k, max_size=k)
    s, w, a = (np.array(data.draw(positive)) for _ in range(3))
    j, part, share = data.draw(st.integers(0, k - 1)), data.draw(st.floats(0.0, 1.0)), data.draw(st.floats(0.0, 1.0))
    point = {"gamma": data.draw(st.floats(0.05, 20.0)), "ridge": data.draw(st.sampled_from([0.0, 1e-3, 1.0]))}
    plain = theory.ridge_risk(**point, eigenvalues=s, weights=w, alignment=a)
    split_w, split_a = (np.append(values, portion * values[j]) for values, portion in ((w, part), (a, share)))
    split_w[j], split_a[j] = (1 - part) * w[j], (1 - share) * a[j]
    order = np.array(data.draw(st.permutations(range(k + 1))))
    split = theory.ridge_risk(
        **point, eigenvalues=np.append(s, s[j])[order], weights=split_w[order], alignment=split_a[order]
    )
    for one, other in ((plain.bias, split.bias), (plain.variance, split.variance)):
        np.testing.assert_allclose(other, one, rtol=1e-10)  # the weights of the two have rounding of their own


def test_misspecified_with_everything_captured_is_isotropic():
    gamma = np.array([0.0, 0.5, 1.0, 3.0, np.inf])
    whole = theory.misspecified_risk(gamma, signal=2.0, noise=0.3, captured=1.0)
    risk = theory.ridge_risk(gamma, signal=2.0, noise=0.3)
    np.testing.assert_allclose(whole.bias, risk.bias, rtol=1e-13)
    np.testing.assert_allclose(whole.variance, risk.variance, rtol=1e-13)


def test_finite_sample_tends_to_the_limit():
    for gamma, d in ((0.5, 2.0), (3.0, 4.0)):
        n = 10**6
        finite = theory.finite_sample_risk(n, gamma * n, d * n, signal=2.0, noise=0.3) - 0.3
        limit = theory.misspecified_risk(gamma, signal=2.0, noise=0.3, captured=gamma / d).total
        assert finite == pytest.approx(limit, rel=1e-5)


def test_finite_sample_edges():
    risk = theory.finite_sample_risk
    np.testing.assert_array_equal(risk([0, 0, 5, 1], [0, 3, 0, 0], 6, signal=4.0, noise=0.5), 4.5)
    assert risk(5, 5, 6, signal=0.0, noise=0.0) == 0.0  # nothing to fit
    assert risk(6, 6, 6, signal=3.0, noise=0.0) == 0.0  # solved exactly
    assert risk(5, 6, 6, signal=3.0, noise=0.0) == pytest.approx(0.5, rel=1e-15)  # |beta|^2 (1 - n/d)
    assert risk(5, 6, 6, signal=3.0, noise=0.1) == np.inf


def test_divergence_is_infinite_and_alone():
    risk = theory.ridge_risk([0.5, 1.0, 2.0])
    assert risk.variance.tolist() == [1.0, np.inf, 1.0] and risk.bias[1] == 0.0
    assert theory.ridge_risk(1.0, noise=0.0).total == 0.0
    half = theory.ridge_risk([1.0, 2.0], eigenvalues=[1.0, 0.0])
    assert half.variance[0] == pytest.approx(1.0, rel=1e-15) and half.variance[1] == np.inf
    assert theory.misspecified_risk(1.0, signal=1.0, noise=0.0, captured=1.0).total == 0.0
    assert theory.misspecified_risk(1.0, signal=1.0, noise=0.0, captured=0.5).variance == np.inf
    nothing = theory.ridge_risk([0.0, 0.5, 2.0, np.inf], ridge=[[0.0], [1.0]], eigenvalues=[0.0, 0.0])
    np.testing.assert_array_equal(nothing.total, 0.0)
    assert theory.optimal_ridge(2.0, signal=0.0, noise=1.0) == np.inf


# -- cross-validation ------------------------------------------------------------------------------------------------


def leave_one_out(X, y, ridge):
    errors = []
    for i in range(len(X)):
        rest = np.arange(len(X)) != i
        errors.append(y[i] - X[i] @ genkern.lstsq(X[rest], y[rest], ridge=ridge, backend="reference").coef)
    return np.mean(np.square(errors), axis=0)


@pytest.mark.parametrize("ridge", [0.0, 0.7])
@pytest.mark.parametrize("n, d", [(12, 5), (12, 12), (12, 13), (8, 30), (1, 3), (6, 1)])
def test_loo_is_leaving_one_out(n, d, ridge):
    rng = np.random.default_rng(n * d)
    X, y = rng.standard_normal((n, d)), rng.standard_normal((n, 3))
    expected = leave_one_out(X, y, ridge)
    np.testing.assert_allclose(theory.loo_cv(X, y, ridge=ridge), expected, rtol=THEORY_LOO)
    np.testing.assert_allclose(theory.loo_cv(X, y[:, 0], ridge=ridge), expected[0], rtol=THEORY_LOO)


def test_loo_of_low_rank_and_of_a_sample_that_alone_spans_a_direction():
    rng = np.random.default_rng(4)
    X, y = rng.standard_normal((9, 3)) @ rng.standard_normal((3, 7)), rng.standard_normal(9)
    np.testing.assert_allclose(theory.loo_cv(X, y), leave_one_out(X, y, 0.0), rtol=THEORY_LOO)
    lone = np.hstack([rng.standard_normal((9, 3)), np.zeros((9, 1))])
    lone[2] = [0.0, 0.0, 0.0, 2.0]
    lone[5] = 0.0
    np.testing.assert_allclose(theory.loo_cv(lone, y), leave_one_out(lone, y, 0.0), rtol=THEORY_LOO)
    assert theory.loo_cv(np.zeros((3, 2)), [1.0, 2.0, 3.0]) == pytest.approx(14 / 3)
    assert theory.gcv(np.zeros((3, 0)), [1.0, 2.0, 3.0]) == pytest.approx(14 / 3)


@pytest.mark.parametrize("n, d", [(12, 5), (8, 30), (8, 8)])
def test_formulas_of_cross_validation(n, d):
    rng = np.random.default_rng(n + d)
    X, y = rng.standard_normal((n, d)), rng.standard_normal(n)
    for ridge in (0.5, 1e-3):
        H = X @ np.linalg.solve(X.T @ X + ridge * np.eye(d), X.T)
        residual = y - H @ y
        expected = np.mean(residual**2) / (1 - np.trace(H) / n) ** 2
        assert theory.gcv(X, y, ridge=ridge) == pytest.approx(expected, rel=1e-8)
    if n <= d:
        inverse = np.linalg.inv(X @ X.T)
        assert theory.gcv(X, y) == pytest.approx(n * y @ inverse @ inverse @ y / np.trace(inverse) ** 2, rel=1e-9)
        assert theory.loo_cv(X, y) == pytest.approx(np.mean((inverse @ y / np.diag(inverse)) ** 2), rel=1e-9)
        for estimate in (theory.gcv, theory.loo_cv):
            assert estimate(X, y, ridge=1e-12) == pytest.approx(estimate(X, y), rel=1e-8)


def test_cross_validation_batches():
    rng = np.random.default_rng(1)
    X, y = rng.standard_normal((4, 6, 3)), rng.standard_normal((4, 6))
    ridge = np.array([0.0, 0.1, 1.0, 2.0])
    for estimate in (theory.gcv, theory.loo_cv):
        whole = estimate(X, y, ridge=ridge)
        alone = [estimate(X[i], y[i], ridge=ridge[i]) for i in range(4)]
        np.testing.assert_allclose(whole, alone, rtol=1e-13)
        assert estimate(X[0], y[0][:, None], ridge=ridge[:, None]).shape == (4, 1, 1)
        bad = X.copy()
        bad[2, 1, 1] = np.nan
        found = estimate(bad, y, ridge=ridge)
        assert np.isnan(found[2])
        np.testing.assert_array_equal(np.delete(found, 2), np.delete(whole, 2))
        assert np.isnan(estimate(X[0], np.where(np.arange(6) == 3, np.inf, y[0])))


def test_cross_validation_tends_to_the_risk():
    drawn = [
        genkern.problems.gaussian(300, 600, spectrum="two_atom", atoms=(2.0, 0.5), noise=0.5, seed=seed)
        for seed in range(12)
    ]
    X, y = np.stack([problem.X for problem in drawn]), np.stack([problem.y for problem in drawn])
    risk = theory.ridge_risk(2.0, signal=1.0, noise=0.5, eigenvalues=[2.0, 0.5]).total + 0.5
    assert np.mean(theory.loo_cv(X, y)) == pytest.approx(risk, rel=0.08)  # 3600 squares: 2.4 % to a standard error
    assert np.mean(theory.gcv(X, y)) == pytest.approx(risk, rel=0.08)


# -- arguments -------------------------------------------------------------------------------------------------------


def test_everything_broadcasts():
    gamma = np.linspace(0.2, 3.0, 5)
    ridge = np.array([0.1, 1.0])[:, None, None]
    signal, noise = np.array([1.0, 2.0, 3.0])[:, None], np.array(0.5)
    eigenvalues = np.random.default_rng(0).uniform(0.5, 2.0, (3, 1, 4))
    risk = theory.ridge_risk(gamma, ridge=ridge, signal=signal, noise=noise, eigenvalues=eigenvalues)
    assert risk.bias.shape == risk.variance.shape == risk.total.shape == (2, 3, 5)
    one = theory.ridge_risk(gamma[4], ridge=1.0, signal=3.0, noise=0.5, eigenvalues=eigenvalues[2, 0])
    assert isinstance(one.total, np.float64)
    np.testing.assert_allclose(risk.total[1, 2, 4], one.total, rtol=1e-14)
    assert theory.ridge_risk(np.zeros((0, 3))).total.shape == (0, 3)
    assert theory.misspecified_risk(gamma, signal=signal, noise=1.0, captured=ridge).bias.shape == (2, 3, 5)
    assert theory.finite_sample_risk([[3], [4]], [1, 2], 9, signal=1.0, noise=0.0).shape == (2, 2)
    assert theory.optimal_ridge(gamma, signal=signal, noise=1.0).shape == (3, 5)


def test_arrays_of_other_libraries_and_dtypes():
    torch = pytest.importorskip("torch")
    risk = theory.ridge_risk(torch.tensor([0.5, 2.0]), eigenvalues=torch.tensor([1.0, 2.0]))
    assert isinstance(risk.total, torch.Tensor) and risk.total.dtype == torch.float64
    np.testing.assert_allclose(risk.total.numpy(), theory.ridge_risk([0.5, 2.0], eigenvalues=[1, 2]).total)
    assert theory.loo_cv(torch.eye(3), torch.ones(3)).dtype == torch.float64
    gamma = np.array([0.5, 3.0], dtype=np.float32)[::-1]
    gamma.setflags(write=False)
    assert theory.ridge_risk(gamma).total.dtype == np.float64


def test_a_phase_diagram_is_quick():
    gamma, ridge = np.meshgrid(np.linspace(0.02, 10, 100), np.geomspace(1e-8, 10, 100))
    theory.ridge_risk(1.5)
    start = time.perf_counter()
    theory.ridge_risk(gamma, ridge=ridge, eigenvalues=[4.0, 0.5, 0.1])
    assert time.perf_counter() - start < 0.5  # 0.02 s on an idle core


@pytest.mark.parametrize(
    "call, error, message",
    [
        (lambda: theory.ridge_risk(-1.0), ValueError, "gamma must be >= 0, got -1"),
        (lambda: theory.ridge_risk(np.nan), ValueError, "gamma must be >= 0, got nan"),
        (lambda: theory.ridge_risk(1.0, ridge=np.inf), ValueError, "ridge must be finite and >= 0, got inf"),
        (lambda: theory.ridge_risk("2"), TypeError, "gamma must have dtype"),
        (lambda: theory.ridge_risk([1, 2], ridge=[1, 2, 3]), ValueError, r"gamma \(2,\), ridge \(3,\)"),
        (lambda: theory.ridge_risk(1.0, weights=[1.0]), ValueError, "weights must not be given without eigenvalues"),
        (lambda: theory.ridge_risk(1.0, eigenvalues=2.0), ValueError, r"eigenvalues must have shape \(..., k\)"),
        (lambda: theory.ridge_risk(1.0, eigenvalues=[]), ValueError, "eigenvalues must have at least one entry"),
        (
            lambda: theory.ridge_risk(1.0, eigenvalues=[1, 2], weights=[0, 0]),
            ValueError,
            "weights must have a positive",
        ),
        (lambda: theory.ridge_risk(1.0, eigenvalues=[1, 2], alignment=[1, 2, 3]), ValueError, r"alignment \(3,\)"),
        (lambda: theory.ridge_risk(1e200, ridge=1.0, eigenvalues=[1e200]), ValueError, "can be bracketed"),
        (lambda: theory.effective_ridge(2.0, eigenvalues=[-1.0]), ValueError, "eigenvalues must be finite and >= 0"),
        (lambda: theory.misspecified_risk(1.0, signal=1, noise=1, captured=1.5), ValueError, "captured must be <= 1"),
        (lambda: theory.finite_sample_risk(5, 7, 6, signal=1, noise=1), ValueError, "p must be <= d, got p = 7"),
        (lambda: theory.finite_sample_risk(5.5, 7, 8, signal=1, noise=1), ValueError, "n must be whole numbers"),
        (lambda: theory.loo_cv(np.eye(3), np.ones(2)), ValueError, "y must have n = 3 rows"),
        (lambda: theory.gcv(np.zeros((0, 3)), np.ones(0)), ValueError, "X must have at least one row"),
        (lambda: theory.gcv(np.eye(3), np.ones(3), ridge=-1.0), ValueError, "ridge must be finite and >= 0"),
    ],
)
def test_bad_arguments(call, error, message):
    with pytest.raises(error, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_weights_whose_sum_rounds():
    """A hundred hundredths do not add up to 1: the threshold stays where it is, and its neighbourhood exact."""
    for k in (20, 100):
        risk = theory.ridge_risk([1.0, 1 + 2.0**-30, 1 - 2.0**-30], eigenvalues=np.ones(k))
        assert risk.variance[0] == np.inf
        np.testing.assert_allclose(risk.variance[1:], [2.0**30, 2.0**30 - 1], rtol=1e-12)
