"""Risk of random-features regression: published numbers, high precision, the authors' complex form, limits."""

import math
import time

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mpmath import mpf
from tolerances import THEORY

from genkern import theory

RELU = theory.activation_moments("relu")


def with_moments(zeta):
    """An activation with mu0 = 0, mu1 = zeta and mu_star = 1, so that the ridge is lambda bar."""
    return lambda x: zeta * x + (x * x - 1) / math.sqrt(2)


def relu(psi1, psi2, lbar=0.0, **options):
    return theory.random_features_risk(psi1, psi2, ridge=lbar * RELU.mu_star**2, **{"noise": 1.0} | options)


def relative(actual, expected):
    actual, expected = np.asarray(actual, float), np.asarray(expected, float)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(actual == expected, 0.0, np.abs(actual - expected) / np.abs(expected))


def exact(psi1, psi2, lam, moments):
    """B, V, bias, samples, features, features alone, ensembled noise: bisection and the formulas with 60 digits."""
    with mpmath.workdps(60):
        a, b = mpf(moments.mu1) ** 2, mpf(moments.mu_star) ** 2
        psi1, psi2, z2, lbar = mpf(psi1), mpf(psi2), a / b, mpf(lam) / b

        def Z(t):
            return 1 / (1 + t) + 1 / (z2 * t)

        def bisect(function, low, high):
            for _ in range(280):
                middle = mpmath.sqrt(low * high)
                low, high = (middle, high) if function(middle) < 0 else (low, middle)
            return high

        start = bisect(lambda t: min(psi1, psi2) - Z(t), mpf(10) ** -30, mpf(10) ** 30)
        t = start
        if lbar:
            end = start * 2 + 2 * (lbar + (z2 + 1) * 4 * (1 + 1 / psi1) * (1 + 1 / psi2)) / z2
            t = bisect(lambda t: (psi1 - Z(t)) * (psi2 - Z(t)) * z2 * t - psi1 * psi2 * lbar, start, end)
        q, kp = 1 / (1 + t) ** 2, z2 * t * (psi1 - Z(t)) / psi1
        c = (q * (psi1 - 2 * Z(t)) + Z(t) ** 2) / (psi2 * (psi1 - q))
        bracket = t / (1 + t) - kp / (z2 * (1 + t) ** 2) * psi1 / (psi1 - q)
        B, V, bias, ensembled = bracket / (1 - c), c / (1 - c), (t / (1 + t)) ** 2, (q / psi2) / (1 - q / psi2)
        parts = [B, V, bias, bias * ensembled, B - bias - bias * ensembled, bracket - bias, ensembled]
        return [float(part) for part in parts]


def parts_of(risk):
    d = risk.decomposition
    return [risk.bias, risk.variance, d.bias, d.samples, d.features, d.features_alone, d.noise_ensembled]


# -- reference values ------------------------------------------------------------------------------------------------

TABLE = """
.5 0.80997386 0.2        0.80365810 0.19042246 0.80923124
1  0.67185931 0.5        0.63719487 0.41877878 0.66704720
2  0.68489939 2.0        0.41965721 0.78999451 0.60118891
3  inf        inf        0.28772152 0.84213372 0.57709881
4  0.46237449 3.32230872 0.21175808 0.76287937 0.33309013
6  0.17262693 1.32230872 0.14120489 0.61808318 0.16196916
10 0.08984192 0.75088015 0.09413769 0.48295503 0.08945724
30 0.04385024 0.43341983 0.05653842 0.35146852 0.04516501
"""


def test_table_of_relu():
    psi1, *columns = np.array([line.split() for line in TABLE.split("\n") if line], float).T
    ridgeless, ridge = relu(psi1, 3.0), relu(psi1, 3.0, 0.1)
    small = theory.random_features_risk(psi1, 3.0, ridge=1e-3).bias
    for actual, expected in zip(
        (ridgeless.bias, ridgeless.variance, ridge.bias, ridge.variance, small), columns, strict=True
    ):
        np.testing.assert_allclose(actual, expected, rtol=0, atol=5.01e-9)


@pytest.mark.parametrize(
    "psi1, psi2, zeta, lbar, B, V",
    [
        (2, 3, 1.0, 0.0, 1.24264069, 2.0),
        (5, 2, 1.7, 0.3, 0.22299651, 0.48383010),
        (1.2, 1.5, 0.8, 0.01, 2.53385026, 2.90768915),
    ],
)
def test_other_activations(psi1, psi2, zeta, lbar, B, V):
    risk = theory.random_features_risk(psi1, psi2, ridge=lbar, activation=with_moments(zeta), noise=1.0)
    assert risk.bias == pytest.approx(B, abs=5.01e-9)
    assert risk.variance == pytest.approx(V, abs=5.01e-9)


@pytest.mark.parametrize(
    "point, expected",
    [
        ((2, 3, 0.1), (0.08282835, 0.01685395, 0.31997490, 0.78999451, 0.20348049, 0.15161774)),
        ((6, 3, 0.1), (0.03884871, 0.01063268, 0.09172349, 0.61808318, 0.27369452, 0.04841805)),
        ((4, 2, 0.02), (0.05753049, 0.02337417, 0.20416946, 1.21676031, 0.40629196, 0.07106895)),
    ],
)
def test_decomposition_of_relu(point, expected):
    d = relu(*point).decomposition
    actual = (d.bias, d.samples, d.features, d.noise, d.noise_ensembled, d.features_alone)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=5.01e-9)


def test_fewer_features_than_samples_without_ridge_have_the_variance_of_linear_regression():
    psi1, psi2 = np.array([0.1, 0.5, 1.0, 2.0, 2.9]), 3.0
    for activation in ("relu", "tanh", "sign", "identity"):
        risk = theory.random_features_risk(psi1, psi2, activation=activation, noise=1.0)
        expected = psi1 / (psi2 - psi1)
        if activation == "identity":  # at most d features are independent
            expected = np.minimum(psi1, 1) / (psi2 - np.minimum(psi1, 1))
        np.testing.assert_allclose(risk.variance, expected, rtol=1e-12)


# -- moments ---------------------------------------------------------------------------------------------------------

FUNCTIONS = {
    "identity": lambda x: x,
    "relu": lambda x: max(x, mpf(0)),
    "erf": mpmath.erf,
    "tanh": mpmath.tanh,
    "cos": mpmath.cos,
    "sin": mpmath.sin,
    "sign": mpmath.sign,
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_moments_against_high_precision(name):
    with mpmath.workdps(30):
        sigma = FUNCTIONS[name]

        def mean(function):
            return mpmath.quad(lambda x: function(x) * mpmath.npdf(x), [-14, -8, -4, -2, 0, 2, 4, 8, 14])

        mu0, mu1 = mean(sigma), mean(lambda x: x * sigma(x))
        mu_star = mpmath.sqrt(abs(mean(lambda x: (sigma(x) - mu0 - mu1 * x) ** 2)))
        expected = [float(value) for value in (mu0, mu1, mu_star)]
    found = theory.activation_moments(name)
    np.testing.assert_allclose([found.mu0, found.mu1, found.mu_star], expected, rtol=1e-13, atol=2e-13)
    own = theory.activation_moments(lambda x: float(FUNCTIONS[name](mpf(x))))
    np.testing.assert_allclose([own.mu0, own.mu1, own.mu_star], expected, rtol=1e-10, atol=1e-11)


def test_moments_of_relu():
    assert pytest.approx(0.398942, abs=5e-7) == RELU.mu0 and RELU.mu1 == 0.5
    assert RELU.mu_star**2 == pytest.approx(0.09084506, abs=5e-9)
    assert RELU.mu1**2 / RELU.mu_star**2 == pytest.approx(2.75193839, abs=5e-9)


# -- high precision and the authors' form ----------------------------------------------------------------------------


@pytest.mark.parametrize("activation", ["relu", "erf", "sign"])
def test_against_high_precision(activation):
    points = [
        (psi1, psi2, lam)
        for psi1 in (0.05, 0.9, 3.0, 3.0 + 1e-7, 40.0)
        for psi2 in (0.2, 3.0, 25.0)
        for lam in (0.0, 1e-12, 1e-4, 0.5)
        if not (psi1 == psi2 and lam == 0)
    ]
    psi1, psi2, lam = np.array(points).T
    risk = theory.random_features_risk(psi1, psi2, ridge=lam, activation=activation, noise=1.0)
    moments = theory.activation_moments(activation)
    expected = np.array([exact(*point, moments) for point in points]).T
    for actual, right in zip(parts_of(risk), expected, strict=True):
        assert np.max(relative(actual, right)) <= THEORY


def polynomials(chi, psi1, psi2, z2):
    """B and V of Mei and Montanari."""
    z4, z6 = z2**2, z2**3
    E0 = (
        -(chi**5) * z6
        + 3 * chi**4 * z4
        + (psi1 * psi2 - psi2 - psi1 + 1) * chi**3 * z6
        - 2 * chi**3 * z4
        - 3 * chi**3 * z2
        + (psi1 + psi2 - 3 * psi1 * psi2 + 1) * chi**2 * z4
        + 2 * chi**2 * z2
        + chi**2
        + 3 * psi1 * psi2 * chi * z2
        - psi1 * psi2
    )
    E1 = psi2 * chi**3 * z4 - psi2 * chi**2 * z2 + psi1 * psi2 * chi * z2 - psi1 * psi2
    E2 = (
        chi**5 * z6
        - 3 * chi**4 * z4
        + (psi1 - 1) * chi**3 * z6
        + 2 * chi**3 * z4
        + 3 * chi**3 * z2
        + (-psi1 - 1) * chi**2 * z4
        - 2 * chi**2 * z2
        - chi**2
    )
    return E1 / E0, E2 / E0


def authors(psi1, psi2, z2, lbar):
    """Their chi, B and V: the fixed point of two analytic functions."""
    xi = 1j * math.sqrt(psi1 * psi2 * lbar)
    nu1, nu2 = psi1 * 1e-3j, psi2 * 1e-3j
    for _ in range(20000):
        new1 = psi1 / (-xi - nu2 - z2 * nu2 / (1 - z2 * nu1 * nu2))
        new2 = psi2 / (-xi - new1 - z2 * new1 / (1 - z2 * new1 * nu2))
        moved = abs(new1 - nu1) / abs(nu1) + abs(new2 - nu2) / abs(nu2)
        nu1, nu2 = (nu1 + new1) / 2, (nu2 + new2) / 2
        if moved < 1e-15:
            break
    assert moved < 1e-13 and nu1.imag > 0 and nu2.imag > 0
    chi = (nu1 * nu2).real
    return chi, *polynomials(chi, psi1, psi2, z2)


@settings(max_examples=40, deadline=None)
@given(st.floats(0.1, 10.0), st.floats(0.1, 10.0), st.floats(0.3, 3.0), st.floats(0.05, 5.0))
def test_the_authors_complex_form(psi1, psi2, zeta, lbar):
    _, B, V = authors(psi1, psi2, zeta**2, lbar)
    risk = theory.random_features_risk(psi1, psi2, ridge=lbar, activation=with_moments(zeta), noise=1.0)
    assert risk.bias == pytest.approx(B, rel=1e-8)
    assert risk.variance == pytest.approx(V, rel=1e-8)


def test_the_authors_ridgeless_root():
    for psi1, psi2, zeta in ((2.0, 3.0, 1.0), (5.0, 2.0, 1.7), (0.3, 4.0, 0.8)):
        z2, middle = zeta**2, min(psi1, psi2) * zeta**2 - zeta**2 - 1
        chi = -(math.sqrt(middle**2 + 4 * z2 * min(psi1, psi2)) + middle) / (2 * z2)
        B, V = polynomials(chi, psi1, psi2, z2)
        risk = theory.random_features_risk(psi1, psi2, activation=with_moments(zeta), noise=1.0)
        assert risk.bias == pytest.approx(B, rel=1e-9) and risk.variance == pytest.approx(V, rel=1e-9)
        if zeta == 1.0:
            assert chi == pytest.approx(-math.sqrt(2), rel=1e-14)


def test_the_authors_root():
    assert authors(5, 2, 1.7**2, 0.3)[0] == pytest.approx(-0.7222752020, abs=5e-11)
    assert authors(1.2, 1.5, 0.64, 0.01)[0] == pytest.approx(-0.8145523725, abs=5e-11)


# -- limits and identities -------------------------------------------------------------------------------------------


def test_infinite_width_is_the_kernel():
    psi2, lbar = np.array([0.4, 1.0, 3.0]), np.array([[0.01], [1.0]])
    z2 = RELU.mu1**2 / RELU.mu_star**2
    limit, near = relu(np.inf, psi2, lbar), relu(1e9, psi2, lbar)
    for actual, right in zip(parts_of(near), parts_of(limit), strict=True):
        np.testing.assert_allclose(actual, right, rtol=1e-7, atol=1e-8)
    # The root of (psi2 - Z) z2 t = psi2 lbar, a cubic equation in t: multiplied by (1 + t).
    for i, j in np.ndindex(2, 3):
        p, m = psi2[j], lbar[i, 0]
        t = max(np.roots([p * z2, p * z2 - z2 - 1 - p * m, -1 - p * m]).real)
        q = 1 / (1 + t) ** 2
        assert limit.bias[i, j] == pytest.approx((t / (1 + t)) ** 2 / (1 - q / p), rel=1e-12)
        assert limit.variance[i, j] == pytest.approx((q / p) / (1 - q / p), rel=1e-12)
    np.testing.assert_allclose(limit.decomposition.features, 0.0, atol=1e-15)


def test_limits_of_many_and_of_no_samples():
    for lbar in (0.0, 0.3):
        whole, near = relu([0.5, 2.0], np.inf, lbar), relu([0.5, 2.0], 1e9, lbar)
        np.testing.assert_array_equal(whole.variance, 0.0)
        np.testing.assert_allclose(near.bias, whole.bias, rtol=1e-7)
        np.testing.assert_allclose(
            whole.bias, whole.decomposition.bias + whole.decomposition.features_alone, rtol=1e-14
        )
        nothing = relu([0.0, 2.0, 0.0], [3.0, 0.0, 0.0], lbar, nonlinear=0.5)
        np.testing.assert_array_equal(nothing.total, 1.5)
    everything = relu(np.inf, np.inf, linear=2.0, nonlinear=0.5)
    np.testing.assert_allclose(everything.total, 0.5, rtol=1e-14)


@settings(max_examples=60, deadline=None)
@given(
    st.floats(0.05, 20.0),
    st.floats(0.05, 20.0),
    st.floats(0.0, 3.0, allow_subnormal=False),
    st.floats(0.0, 2.0),
    st.floats(0.0, 2.0),
)
def test_sources_add_up(psi1, psi2, ridge, nonlinear, noise):
    if ridge == 0 and abs(psi1 / psi2 - 1) < 1e-6:
        return
    risk = theory.random_features_risk(psi1, psi2, ridge=ridge, linear=1.7, nonlinear=nonlinear, noise=noise)
    d = risk.decomposition
    parts = (d.bias, d.samples, d.features, d.noise, d.floor, d.features_alone, d.noise_ensembled)
    assert min(parts) >= 0
    assert d.bias + d.samples + d.features == pytest.approx(risk.bias, rel=1e-11)
    assert risk.total == pytest.approx(risk.bias + risk.variance + nonlinear, rel=1e-14)
    assert d.noise == risk.variance and d.floor == nonlinear
    assert d.features_alone <= d.features * (1 + 1e-12) and d.noise_ensembled <= d.noise * (1 + 1e-12)
    assert risk.ensemble(1) == pytest.approx(risk.total, rel=1e-12)
    many = d.bias + d.samples + d.noise_ensembled + d.floor
    assert risk.ensemble(np.inf) == pytest.approx(many, rel=1e-12)
    assert np.all(np.diff(risk.ensemble([1.0, 2.0, 8.0])) <= 1e-14)


def test_infinitely_many_average_a_divergence_away():
    """A subnormal ridge counts as none."""
    for ridge in (0.0, 2.2250738585e-313):
        risk = theory.random_features_risk(1.0, 1.0, ridge=ridge, linear=1.7)
        assert risk.total == risk.ensemble(1) == risk.ensemble(10) == np.inf and np.isfinite(risk.ensemble(np.inf))


def test_ridge_to_zero_is_continuous():
    psi1 = np.array([0.5, 2.0, 4.0, 30.0])
    for actual, right in zip(parts_of(relu(psi1, 3.0, 1e-12)), parts_of(relu(psi1, 3.0)), strict=True):
        np.testing.assert_allclose(actual, right, rtol=1e-8)


def test_the_identity_is_ridge_regression_on_a_random_subspace():
    """Linear features of infinite width are isotropic ridge regression: lambda psi1 / psi1 on the mean of squares."""
    psi2, lam = np.array([0.4, 1.5, 6.0]), 0.3
    risk = theory.random_features_risk(np.inf, psi2, ridge=lam, activation="identity", noise=1.0)
    ridge = theory.ridge_risk(1 / psi2, ridge=lam)
    np.testing.assert_allclose(risk.bias, ridge.bias, rtol=1e-12)
    np.testing.assert_allclose(risk.variance, ridge.variance, rtol=1e-12)


def test_functions_that_are_linear_or_even_are_so_to_the_last_digit():
    """A nonlinear part of 1e-16 would be enough to interpolate."""
    assert theory.activation_moments(lambda x: 3 * x + 1).mu_star == 0.0
    assert theory.activation_moments(lambda x: abs(x) - 2).mu1 == 0.0
    own = theory.random_features_risk(2.0, 3.0, activation=lambda x: 3 * x, noise=1.0)
    assert own.variance == pytest.approx(0.5, rel=1e-12)  # of d independent features
    assert theory.activation_moments(lambda x: x + 1e-9 * x * x).mu_star == pytest.approx(1e-9 * 2**0.5, rel=1e-5)


def test_even_activations_learn_no_linear_target():
    risk = theory.random_features_risk(2.0, 5.0, ridge=0.1, activation="cos", noise=1.0)
    assert risk.bias == pytest.approx(1 + risk.variance, rel=1e-13)


def test_divergence_is_infinite_and_alone():
    risk = relu([2.0, 3.0, 4.0], 3.0, nonlinear=0.5)
    assert np.isinf(risk.total).tolist() == [False, True, False]
    assert theory.random_features_risk(3.0, 3.0, linear=0.0).total == 0.0
    assert np.isfinite(relu(3.0, 3.0, 1e-12).total)


# -- arguments -------------------------------------------------------------------------------------------------------


def test_everything_broadcasts():
    psi1, psi2, ridge = np.linspace(0.5, 5, 7), np.array([1.0, 2.5])[:, None], np.array([0.0, 0.1, 1.0])[:, None, None]
    risk = theory.random_features_risk(psi1, psi2, ridge=ridge, noise=0.3, nonlinear=0.1)
    for part in (*parts_of(risk), risk.total, risk.decomposition.noise, risk.decomposition.floor):
        assert part.shape == (3, 2, 7)
    one = theory.random_features_risk(psi1[4], 2.5, ridge=0.1, noise=0.3, nonlinear=0.1)
    assert isinstance(one.total, np.float64) and risk.total[1, 1, 4] == pytest.approx(one.total, rel=1e-13)
    assert risk.ensemble(np.array([1, 2])[:, None, None, None]).shape == (2, 3, 2, 7)


def test_a_phase_diagram_is_quick():
    psi1, psi2 = np.meshgrid(np.geomspace(0.1, 20, 100), np.geomspace(0.1, 20, 100))
    theory.random_features_risk(1.5, 2.0, ridge=0.1)
    start = time.perf_counter()
    theory.random_features_risk(psi1, psi2, ridge=1e-3, noise=0.1)
    assert time.perf_counter() - start < 0.5


@pytest.mark.parametrize(
    "call, error, message",
    [
        (lambda: theory.random_features_risk(-1.0, 1.0), ValueError, "width_ratio must be >= 0, got -1"),
        (lambda: theory.random_features_risk(1.0, np.nan), ValueError, "sample_ratio must be >= 0, got nan"),
        (lambda: theory.random_features_risk(1.0, 1.0, ridge=np.inf), ValueError, "ridge must be finite and >= 0"),
        (lambda: theory.random_features_risk(1.0, 1.0, noise=-1.0), ValueError, "noise must be finite and >= 0"),
        (lambda: theory.random_features_risk([1, 2], [1, 2, 3]), ValueError, "width_ratio .2,., sample_ratio .3,."),
        (lambda: theory.random_features_risk("a", 1.0), TypeError, "width_ratio must have dtype"),
        (lambda: theory.random_features_risk(1.0, 2.0, activation="rff"), ValueError, "activation must be one of"),
        (lambda: theory.random_features_risk(1.0, 2.0, activation=lambda x: 3.0), ValueError, "not be constant"),
        (lambda: theory.random_features_risk(1.0, 2.0, activation=lambda x: "a"), TypeError, "one real number"),
        (lambda: theory.activation_moments(lambda x: math.exp(x * x)), ValueError, "must have moments"),
        (lambda: theory.activation_moments(lambda x: math.nan), ValueError, "must have moments"),
        (lambda: relu(1.0, 2.0).ensemble(0.5), ValueError, "members must be >= 1, got 0.5"),
    ],
)
def test_bad_arguments(call, error, message):
    with pytest.raises(error, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
