"""Limits of random matrices: published numbers, high precision, moments and integrals, samples, and bad arguments."""

import time

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mpmath import mpf
from tolerances import DISTRIBUTION, MP_DENSITY, MP_STIELTJES

from genkern import theory

GAMMAS = [1e-3, 0.05, 0.0625, 0.25, 0.5, 0.97, 1.0, 1.04, 2.0, 16.0, 40.0]
gammas = st.floats(1e-4, 1e3)
shares = st.floats(0.0, 1.0)


def edges(gamma):
    return (1.0 - np.sqrt(gamma)) ** 2, (1.0 + np.sqrt(gamma)) ** 2


def exact_cdf(x, gamma):
    """Integral of the density and the atom, with 30 digits."""
    with mpmath.workdps(30):
        x, gamma = mpf(x), mpf(gamma)
        root = mpmath.sqrt(gamma)
        atom = max(mpf(0), 1 - 1 / gamma) if x >= 0 else mpf(0)
        cosine = (1 + gamma - x) / (2 * root)
        angle = mpmath.acos(min(mpf(1), max(mpf(-1), cosine)))

        def density(t):  # in the angle: no edge is singular
            return 2 * mpmath.sin(t) ** 2 / (mpmath.pi * ((1 - root) ** 2 + 4 * root * mpmath.sin(t / 2) ** 2))

        return float(atom + (mpmath.quad(density, mpmath.linspace(0, angle, 4)) if angle > 0 else 0))


def exact_tracy_widom(s, beta, nodes=40):
    """Determinant of the operator of the Airy kernel, or of its square root, on (s, infinity), with 25 digits."""
    with mpmath.workdps(25):
        t, w = np.polynomial.legendre.leggauss(nodes)
        pairs = []
        for start in t:  # double-precision nodes, refined
            root = mpmath.findroot(lambda u: mpmath.legendre(nodes, u), mpf(float(start)))
            slope = nodes * mpmath.legendre(nodes - 1, root) / (1 - root**2)
            pairs.append((root, 2 / ((1 - root**2) * slope**2)))
        assert abs(float(pairs[3][1]) - w[3]) < 1e-14
        length = (14 if beta == 2 else 24 - mpf(s)) - mpf(s)  # Ai(14) is 1e-16, Ai(12) 1e-13
        x = [mpf(s) + length * (root + 1) / 2 for root, _ in pairs]
        weights = [length * weight / 2 for _, weight in pairs]
        if beta == 2:
            values = [(mpmath.airyai(u), mpmath.airyai(u, derivative=1)) for u in x]
        matrix = mpmath.eye(nodes)
        for i in range(nodes):
            for j in range(i + 1):
                if beta == 1:
                    kernel = mpmath.airyai((x[i] + x[j]) / 2) / 2
                elif i == j:
                    kernel = values[i][1] ** 2 - x[i] * values[i][0] ** 2
                else:
                    wronskian = values[i][0] * values[j][1] - values[i][1] * values[j][0]
                    kernel = wronskian / (x[i] - x[j])
                matrix[i, j] -= mpmath.sqrt(weights[i] * weights[j]) * kernel
                matrix[j, i] = matrix[i, j]
        return float(mpmath.det(matrix))


# -- Marchenko-Pastur: reference values and high precision -----------------------------------------------------------


def test_marchenko_pastur_values():
    assert [f"{theory.marchenko_pastur_cdf(1.0, gamma):.8f}" for gamma in (0.25, 0.5)] == ["0.55339008", "0.57600422"]
    assert f"{theory.marchenko_pastur_cdf(1.0, 2.0) - 0.5:.8f}" == "0.15915494"
    transform = theory.marchenko_pastur_stieltjes(0.3, [0.25, 0.5, 2.0])
    assert [f"{value:.10f}" for value in transform] == ["0.8951461882", "1.0451762419", "2.0000000000"]


@pytest.mark.parametrize("gamma", GAMMAS)
def test_marchenko_pastur_cdf_is_the_integral_of_the_density(gamma):
    a, b = edges(gamma)
    for share in (0.0, 1e-4, 0.3, 0.77, 0.999, 1.0):
        x = a + share * (b - a)
        assert abs(theory.marchenko_pastur_cdf(x, gamma) - exact_cdf(x, gamma)) <= DISTRIBUTION
    # The printed formulas, which cancel: the density's own integral by the arctangents.
    x = a + (b - a) * np.array([0.2, 0.5, 0.9])
    if gamma != 1.0:
        r = np.sqrt((b - x) / (x - a))
        F = 0.5 + np.sqrt((b - x) * (x - a)) / (2 * np.pi * gamma)
        F -= (1 + gamma) / (2 * np.pi * gamma) * np.arctan((r**2 - 1) / (2 * r))
        F += abs(1 - gamma) / (2 * np.pi * gamma) * np.arctan((a * r**2 - b) / (2 * abs(1 - gamma) * r))
        F += 0.5 - 0.5 / gamma if gamma > 1 else 0.0
        assert np.max(np.abs(theory.marchenko_pastur_cdf(x, gamma) - F)) <= 1e-14 / min(gamma, 1.0)


@pytest.mark.parametrize("gamma", GAMMAS)
def test_marchenko_pastur_density(gamma):
    a, b = edges(gamma)
    x = a + (b - a) * np.array([0.01, 0.3, 0.5, 0.9, 0.999])
    with mpmath.workdps(30):
        g = mpf(gamma)
        low, high = (1 - mpmath.sqrt(g)) ** 2, (1 + mpmath.sqrt(g)) ** 2
        exact = [mpmath.sqrt((high - t) * (t - low)) / (2 * mpmath.pi * g * t) for t in map(mpf, x)]
    np.testing.assert_allclose(theory.marchenko_pastur_pdf(x, gamma), np.array(exact, float), rtol=MP_DENSITY / 1e-3)
    outside = theory.marchenko_pastur_pdf([-1.0, a * (1 - 1e-9) - 1e-300, b * (1 + 1e-9), np.inf, -np.inf], gamma)
    assert np.all(outside == 0.0)


@pytest.mark.parametrize("gamma", GAMMAS)
def test_marchenko_pastur_moments(gamma):
    a, b = edges(gamma)
    angle = (np.arange(4000) + 0.5) * np.pi / 4000  # a trapezoidal rule of a periodic function
    x = a + (b - a) * np.sin(angle / 2) ** 2
    weights = theory.marchenko_pastur_pdf(x, gamma) * (b - a) / 2 * np.sin(angle) * np.pi / 4000
    rtol = 1e-11
    assert np.isclose(np.sum(weights), min(1.0, 1.0 / gamma), rtol=rtol)
    assert np.isclose(np.sum(weights * x), 1.0, rtol=rtol)
    assert np.isclose(np.sum(weights * x**2), 1.0 + gamma, rtol=rtol)
    for lam in (0.02, 1.0, 30.0):
        integral = np.sum(weights / (x + lam)) + max(0.0, 1.0 - 1.0 / gamma) / lam
        assert np.isclose(theory.marchenko_pastur_stieltjes(lam, gamma), integral, rtol=rtol)


@settings(max_examples=100, deadline=None)
@given(lam=st.floats(1e-12, 1e12), gamma=gammas)
def test_stieltjes_solves_its_equation(lam, gamma):
    m = theory.marchenko_pastur_stieltjes(lam, gamma)
    with mpmath.workdps(60):
        c, product = 1 - mpf(gamma) + mpf(lam), mpf(gamma) * mpf(lam)
        exact = float((mpmath.sqrt(c**2 + 4 * product) - c) / (2 * product))
    assert abs(m - exact) <= MP_STIELTJES * exact
    # The same number from the fixed point of ridge regression: m = 1 / (s lam / kappa + lam) with s = 1.
    kappa = theory.effective_ridge(gamma, ridge=lam)
    assert np.isclose(m, 1.0 / (lam / kappa + lam), rtol=1e-12)


def test_stieltjes_limits():
    values = theory.marchenko_pastur_stieltjes([0.0, 0.0, 0.0, 0.0, 2.0], [0.0, 0.5, 1.0, 3.0, 0.0])
    assert values.tolist() == [1.0, 2.0, np.inf, np.inf, 1.0 / 3.0]


# -- quantiles --------------------------------------------------------------------------------------------------------


@settings(max_examples=100, deadline=None)
@given(q=shares, gamma=gammas)
def test_quantile_inverts_the_cdf(q, gamma):
    x = theory.marchenko_pastur_quantile(q, gamma)
    atom = max(0.0, 1.0 - 1.0 / gamma)
    a, b = edges(gamma)
    assert x == 0.0 if q < atom else a * (1 - 1e-12) <= x <= b * (1 + 1e-12)
    # Rounding of x itself moves the cdf by the density times eps x.
    slack = 4e-16 * (x + b) * theory.marchenko_pastur_pdf(x, gamma) if x > 0 else 0.0
    assert abs(theory.marchenko_pastur_cdf(x, gamma) - max(q, atom)) <= DISTRIBUTION + min(slack, 1e-9)
    assert theory.marchenko_pastur_cdf(-1.0, gamma) == 0.0 and theory.marchenko_pastur_cdf(b + 1.0, gamma) == 1.0


def test_quantile_ends():
    assert theory.marchenko_pastur_quantile([0.0, 1.0], 0.25).tolist() == [0.25, 2.25]
    assert theory.marchenko_pastur_quantile([0.0, 0.3, 0.5, 1.0], 2.0)[:3].tolist() == [0.0, 0.0, 0.0]
    x = theory.marchenko_pastur_quantile(np.linspace(0, 1, 500), 0.7)
    assert np.all(np.diff(x) > 0)


def test_cdf_is_monotone_and_has_its_atom():
    x = np.linspace(-0.5, 10.0, 5001)
    for gamma in GAMMAS[1:-2]:
        F = theory.marchenko_pastur_cdf(x, gamma)
        assert np.all(np.diff(F) >= -1e-15)
        assert theory.marchenko_pastur_cdf(0.0, gamma) == max(0.0, 1.0 - 1.0 / gamma)
        assert theory.marchenko_pastur_cdf(-1e-300, gamma) == 0.0


def test_samples_follow_the_law():
    # The distance of the distribution functions of one large matrix is of order 1 / p: eigenvalues repel each other.
    rng = np.random.default_rng(0)
    for n, p in ((240, 120), (120, 240)):
        values = np.linalg.eigvalsh((X := rng.standard_normal((n, p))).T @ X / n).clip(0.0)
        bulk = np.sort(values)[max(0, p - n) :]
        F = theory.marchenko_pastur_cdf(bulk, p / n)
        empirical = (np.arange(max(0, p - n), p) + 0.5) / p
        assert np.max(np.abs(F - empirical)) < 5.0 / p
        assert np.max(np.abs(theory.marchenko_pastur_cdf(bulk, 1.4 * p / n) - empirical)) > 5.0 / p


# -- Tracy-Widom ------------------------------------------------------------------------------------------------------

# Mean, variance, skewness, median, 95% quantile, F(-2), F(0).
TRACY_WIDOM = {
    1: ("-1.20653357", "1.60778103", "0.293465", -1.26857462, 0.97931605, "0.2743201979", "0.8319080662"),
    2: ("-1.77108681", "0.81319479", "0.224084", -1.80491241, -0.23247447, "0.4132241425", "0.9693728284"),
}


@pytest.mark.parametrize("beta", [1, 2])
def test_tracy_widom_values(beta):
    mean, variance, skewness, median, upper, at_minus_2, at_0 = TRACY_WIDOM[beta]
    x, w = np.polynomial.legendre.leggauss(200)
    x, w = 12.0 * x + 2.0, 12.0 * w
    F = theory.tracy_widom_cdf(x, beta)
    moments = [14.0**k - np.sum(w * k * x ** (k - 1) * F) for k in (1, 2, 3)]  # by parts, from -10 to 14
    spread = moments[1] - moments[0] ** 2
    third = moments[2] - 3 * moments[0] * moments[1] + 2 * moments[0] ** 3
    assert (f"{moments[0]:.8f}", f"{spread:.8f}", f"{third / spread**1.5:.6f}") == (mean, variance, skewness)
    for place, level in ((median, 0.5), (upper, 0.95)):
        below, above = theory.tracy_widom_cdf([place - 5e-9, place + 5e-9], beta)
        assert below <= level <= above
    values = theory.tracy_widom_cdf([-2.0, 0.0], beta)
    assert [f"{value:.10f}" for value in values] == [at_minus_2, at_0]


@pytest.mark.parametrize("beta", [1, 2])
@pytest.mark.parametrize("s", [-5.3, -2.0, 0.41])
def test_tracy_widom_to_high_precision(s, beta):
    assert abs(theory.tracy_widom_cdf(s, beta) - exact_tracy_widom(s, beta)) <= DISTRIBUTION


@pytest.mark.parametrize("beta", [1, 2])
def test_tracy_widom_tails(beta):
    # Right: trace of the kernel, to leading order; left: exp(-|s|^3 beta / 24) times slower factors.
    s = np.array([5.0, 6.0])
    trace = np.exp(-beta * 2 / 3 * s**1.5) / (4 * np.sqrt(np.pi) * s**0.75 if beta == 1 else 16 * np.pi * s**1.5)
    np.testing.assert_allclose(1.0 - theory.tracy_widom_cdf(s, beta), trace, rtol=0.2)
    assert theory.tracy_widom_cdf([-np.inf, -40.0, 14.0, 1e300, np.inf], beta).tolist() == [0.0, 0.0, 1.0, 1.0, 1.0]
    assert 0.0 <= theory.tracy_widom_cdf(-6.0, beta) <= np.exp(-(6.0**3) * beta / 24)
    F = theory.tracy_widom_cdf(np.linspace(-12.0, 16.0, 20001), beta)
    assert np.all(np.diff(F) >= -1e-13) and F[0] == 0.0 and F[-1] == 1.0


def test_tracy_widom_at_the_edge_of_samples():
    # 400 matrices of each of two sizes: mean of the standardized edge against -1.2065, with 1.27 / sqrt(400) = 0.063.
    rng = np.random.default_rng(1)
    n, p, count = 120, 60, 400
    largest = [np.linalg.norm(rng.standard_normal((n, p)), 2) ** 2 for _ in range(count)]
    root, side = np.sqrt(n - 1.0), np.sqrt(p)
    s = np.sort((np.array(largest) - (root + side) ** 2) / ((root + side) * (1 / root + 1 / side) ** (1 / 3)))
    distance = np.max(np.abs(theory.tracy_widom_cdf(s, 1) - (np.arange(count) + 0.5) / count))
    assert distance < 1.63 / np.sqrt(count)  # 1% level of Kolmogorov and Smirnov
    assert np.max(np.abs(theory.tracy_widom_cdf(s, 2) - (np.arange(count) + 0.5) / count)) > 3 / np.sqrt(count)


# -- spikes -----------------------------------------------------------------------------------------------------------


def test_spike_values():
    result = theory.spiked_covariance([2.0, 3.0], 0.5)
    assert [f"{value:.10f}" for value in result.eigenvalue] == ["3.0000000000", "3.7500000000"]
    assert [f"{value:.10f}" for value in result.cosine_squared] == ["0.3333333333", "0.7000000000"]


@settings(max_examples=100, deadline=None)
@given(spike=st.floats(1e-3, 1e6), gamma=gammas)
def test_spike_transition(spike, gamma):
    result = theory.spiked_covariance(spike, gamma)
    edge = edges(gamma)[1]
    assert result.eigenvalue >= edge * (1 - 1e-14) and 0.0 <= result.cosine_squared < 1.0
    if spike < 1.0 + np.sqrt(gamma):
        assert result.eigenvalue == edge and result.cosine_squared == 0.0
    near = theory.spiked_covariance(1.0 + np.sqrt(gamma) * (1.0 + 1e-6), gamma)  # continuous, to second order
    assert np.isclose(near.eigenvalue, edge, rtol=1e-10) and 0.0 < near.cosine_squared < 1e-5


def test_spike_in_a_sample():
    rng = np.random.default_rng(2)
    n, p, spike = 400, 200, 4.0
    X = rng.standard_normal((n, p))
    X[:, 0] *= np.sqrt(spike)
    values, vectors = np.linalg.eigh(X.T @ X / n)
    limit = theory.spiked_covariance(spike, p / n)
    # The eigenvalue fluctuates by about spike sqrt(2 / n) = 0.28.
    assert abs(values[-1] - limit.eigenvalue) < 0.8
    assert abs(vectors[0, -1] ** 2 - limit.cosine_squared) < 0.1


# -- arguments --------------------------------------------------------------------------------------------------------


def test_arguments_broadcast():
    x, gamma = np.linspace(-1, 4, 7)[:, None], np.array([0.5, 1.0, 3.0])
    for function in (theory.marchenko_pastur_pdf, theory.marchenko_pastur_cdf):
        table = function(x, gamma)
        assert table.shape == (7, 3) and table.dtype == np.float64
        assert np.array_equal(table, [[function(float(a), g) for g in gamma] for a in x[:, 0]])
    s = theory.tracy_widom_cdf(x, [1, 2])
    assert s.shape == (7, 2) and s[3, 1] == theory.tracy_widom_cdf(x[3, 0], 2)
    assert theory.marchenko_pastur_quantile(np.zeros((2, 1)), gamma).shape == (2, 3)
    assert theory.marchenko_pastur_stieltjes(np.ones((2, 1)), gamma).shape == (2, 3)
    assert theory.spiked_covariance(np.ones((2, 1)), gamma).cosine_squared.shape == (2, 3)
    assert theory.tracy_widom_cdf(np.zeros((0, 3)), 1).shape == (0, 3)
    assert theory.marchenko_pastur_quantile(np.zeros((0, 3)), 1.0).shape == (0, 3)


def test_other_libraries():
    torch = pytest.importorskip("torch")
    x = torch.tensor([0.5, 1.0])
    for result in (theory.marchenko_pastur_cdf(x, 0.5), theory.tracy_widom_cdf(x, 1)):
        assert isinstance(result, torch.Tensor) and result.dtype == torch.float64


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: theory.marchenko_pastur_pdf(1.0, 0.0), ValueError, "gamma must be finite and > 0, got 0.0"),
        (lambda: theory.marchenko_pastur_cdf(np.nan, 1.0), ValueError, "x must be numbers, got nan"),
        (lambda: theory.marchenko_pastur_cdf(1j, 1.0), TypeError, "x must be real, got complex"),
        (lambda: theory.marchenko_pastur_quantile(1.5, 1.0), ValueError, "q must be <= 1, got 1.5"),
        (lambda: theory.marchenko_pastur_quantile(-0.5, 1.0), ValueError, "q must be finite and >= 0, got -0.5"),
        (lambda: theory.marchenko_pastur_stieltjes(-0.5, 1.0), ValueError, "lam must be finite and >= 0, got -0.5"),
        (lambda: theory.tracy_widom_cdf(0.0, 4), ValueError, "beta must be 1 or 2, got 4.0"),
        (lambda: theory.tracy_widom_cdf([np.nan], 1), ValueError, "s must be numbers, got nan"),
        (lambda: theory.spiked_covariance(0.0, 1.0), ValueError, "spike must be finite and > 0, got 0.0"),
        (lambda: theory.spiked_covariance(np.ones(2), np.ones(3)), ValueError, "batch axes must broadcast, got spike"),
    ],
)
def test_bad_arguments(call, error, message):
    with pytest.raises(error, match=message.replace("(", r"\(")):
        call()


def test_a_phase_diagram_takes_no_time():
    gamma, level = np.linspace(0.1, 3.0, 100), np.linspace(0.01, 0.99, 100)[:, None]
    theory.tracy_widom_cdf(0.0, 1)
    for call in (
        lambda: theory.marchenko_pastur_cdf(4 * level, gamma),
        lambda: theory.marchenko_pastur_quantile(level, gamma),
        lambda: theory.marchenko_pastur_stieltjes(level, gamma),
        lambda: theory.spiked_covariance(4 * level, gamma),
        lambda: theory.tracy_widom_cdf(np.broadcast_to(6 * level - 4, (100, 100)), 1),
    ):
        start = time.perf_counter()
        call()
        assert time.perf_counter() - start < 1.0
