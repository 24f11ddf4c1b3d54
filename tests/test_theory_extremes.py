"""Closed forms at the ends of their ranges, and next to their thresholds, against many digits."""

import itertools

import mpmath
import numpy as np
import pytest
from mpmath import mpf
from tolerances import DISTRIBUTION, MP_DENSITY, MP_STIELTJES, THEORY, THEORY_EXPLICIT, THEORY_LOO

from genkern import theory

TINY = mpf(10) ** -290  # below, numbers of float64 lose digits


def far(actual, exact):
    """Relative error; 0 where both are the same in float64, and absolute where float64 has no digits."""
    if float(exact) == actual:
        return 0.0
    with mpmath.workdps(40):
        return float(abs(mpf(float(actual)) - exact) / max(abs(exact), TINY))


# -- Marchenko-Pastur ------------------------------------------------------------------------------------------------

NARROW = [1e-12, 1e-10, 3e-7, 1e-4, 1e4, 3e7, 1e10, 1e12]
MIDDLE = [0.2499, 0.2501, 1 - 1e-3, 1 - 1e-9, 1 - 2.0**-53, 1.0, 1 + 2.0**-52, 1 + 1e-9, 1.001, 3.99, 4.01]


def exact_law(x, gamma):
    """Distribution function and density, by closed forms that cancel."""
    x, g = mpf(x), mpf(gamma)
    root, atom = mpmath.sqrt(g), max(mpf(0), 1 - 1 / g)
    if not (1 - root) ** 2 < x < (1 + root) ** 2:
        return (mpf(1) if x >= (1 + root) ** 2 else atom if x >= 0 else mpf(0)), mpf(0)
    cosine = (1 + g - x) / (2 * root)
    angle, q = mpmath.acos(cosine), min(root, 1 / root)
    S = mpmath.atan2(q * mpmath.sin(angle), 1 - q * cosine)
    share = (angle + S - (S - q * mpmath.sin(angle)) / q**2) / mpmath.pi / max(1, g)
    return atom + share, mpmath.sqrt(((1 + root) ** 2 - x) * (x - (1 - root) ** 2)) / (2 * mpmath.pi * g * x)


def across(gamma):
    """Points across the support, its edges and their neighbours in float64 among them; and the width of the support."""
    with mpmath.workdps(60):
        root = mpmath.sqrt(mpf(gamma))
        low, high = (1 - root) ** 2, (1 + root) ** 2
        shares = [mpf(10) ** -k for k in (20, 12, 8, 4, 2, 1)] + [mpf(0)]
        points = [low + share * (high - low) for share in shares] + [high - share * (high - low) for share in shares]
        points = np.array([float(x) for x in (*points, low + (high - low) / 3, low + (high - low) * 5 / 7)])
    return np.concatenate([points, np.nextafter(points, np.inf), np.nextafter(points, 0.0)]), low, high


@pytest.mark.parametrize("gamma", [0.3, 5.0])
def test_the_exact_law_is_the_integral_of_its_density(gamma):
    with mpmath.workdps(60):
        for x in (mpf(8) / 5, mpf(2), mpf(9) / 4):
            slope = mpmath.diff(lambda t: exact_law(t, gamma)[0], x)
            assert abs(slope - exact_law(x, gamma)[1]) < mpf(10) ** -25
        assert abs(exact_law((1 + mpmath.sqrt(mpf(gamma))) ** 2 - mpf(10) ** -50, gamma)[0] - 1) < mpf(10) ** -25


@pytest.mark.parametrize("gamma", NARROW + MIDDLE)
def test_marchenko_pastur(gamma):
    x, low, high = across(gamma)
    found = zip(x, theory.marchenko_pastur_cdf(x, gamma), theory.marchenko_pastur_pdf(x, gamma), strict=True)
    with mpmath.workdps(80):
        for at, F, f in found:
            exact_F, exact_f = exact_law(float(at), gamma)
            assert abs(mpf(float(F)) - exact_F) <= DISTRIBUTION / 1000
            # The density goes like the root of the distance to an edge, which has the rounding of x and of the edge.
            edge = float(min(mpf(at) - low, high - mpf(at)) / (high - low))
            assert f >= 0.0 and (edge < 1e-12 or far(f, exact_f) <= MP_DENSITY / edge)


@pytest.mark.parametrize("gamma", [*NARROW, 1e-200, 1e200])
def test_marchenko_pastur_far_out(gamma):
    below, above = theory.marchenko_pastur_cdf([-1e300, np.inf], gamma)
    assert (below, above) == (0.0, 1.0)
    assert theory.marchenko_pastur_pdf([-np.inf, 0.0, np.inf], gamma).tolist() == [0.0] * 3
    middle = max(gamma, 1.0)
    atom = 1 - 1 / middle
    assert theory.marchenko_pastur_cdf(middle, gamma) == pytest.approx(atom + 0.5 / middle, rel=0.01)
    peak = 1 / (np.pi * np.sqrt(gamma) * middle)  # of a semicircle
    assert theory.marchenko_pastur_pdf(middle, gamma) == pytest.approx(peak, rel=0.02)


def test_stieltjes():
    gammas = [1e-300, 1e-12, 0.5, 1 - 1e-12, 1.0, 1 + 1e-12, 1e3, 1e12, 1e200, 1e300]
    for gamma, lam in itertools.product(gammas, [1e-300, 1e-20, 1e-3, 1.0, 1e8, 1e199, 1e300]):
        with mpmath.workdps(1300):
            c, product = 1 - mpf(gamma) + mpf(lam), mpf(gamma) * mpf(lam)
            exact = (mpmath.sqrt(c * c + 4 * product) - c) / (2 * product)
        assert far(theory.marchenko_pastur_stieltjes(lam, gamma), exact) <= MP_STIELTJES


# -- Tracy-Widom -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("s", [-9.9, -7.0, 9.0])
def test_tracy_widom_tails(s):
    """Determinants of Ai(x + y + s), with 30 digits and more nodes."""
    nodes = 44
    with mpmath.workdps(30):
        rule = []
        for start in np.polynomial.legendre.leggauss(nodes)[0]:
            root = mpmath.findroot(lambda t: mpmath.legendre(nodes, t), mpf(float(start)))
            slope = nodes * mpmath.legendre(nodes - 1, root) / (1 - root**2)
            rule.append((root, 2 / ((1 - root**2) * slope**2)))
        length = 20 - mpf(s)
        x, w = ([length * v / 2 for v in values] for values in ([r + 1 for r, _ in rule], [v for _, v in rule]))
        A = mpmath.matrix(nodes)
        for i, j in itertools.combinations_with_replacement(range(nodes), 2):
            A[i, j] = A[j, i] = mpmath.sqrt(w[i] * w[j]) * mpmath.airyai(x[i] + x[j] + s)
        first = mpmath.det(mpmath.eye(nodes) - A)
        exact = (first, first * mpmath.det(mpmath.eye(nodes) + A))
        found = theory.tracy_widom_cdf(s, [1, 2])
        assert (
            max(abs(mpf(float(value)) - right) for value, right in zip(found, exact, strict=True)) <= DISTRIBUTION / 10
        )
    assert theory.tracy_widom_cdf([-40.0, -20.0, 20.0], 1).tolist() == [0.0, 0.0, 1.0]


# -- ridge regression ------------------------------------------------------------------------------------------------


def exact_ridge(gamma, ridge, s, w, a):
    """kappa, bias and variance: bisection, and the defining formulas, with digits enough for a ridge of 1e-300."""
    with mpmath.workdps(360):
        gamma, ridge = mpf(gamma), mpf(ridge)
        s, w, a = ([mpf(float(x)) for x in values] for values in (s, w, a))
        w, a = [x / sum(w) for x in w], [x / sum(a) for x in a]

        def excess(k):
            return 1 - ridge / k - gamma * sum(wj * sj / (sj + k) for sj, wj in zip(s, w, strict=True))

        kappa = mpf(0)
        if ridge > 0 or gamma > 1:
            low = mpmath.log(ridge if ridge else mpf(10) ** -330)
            high = mpmath.log(ridge + gamma * sum(wj * sj for sj, wj in zip(s, w, strict=True)))
            while high - low > mpf(10) ** -30:
                middle = (low + high) / 2
                low, high = (middle, high) if excess(mpmath.exp(middle)) < 0 else (low, middle)
            kappa = mpmath.exp(low)
        kept = gamma * sum(wj * (sj / (sj + kappa)) ** 2 for sj, wj in zip(s, w, strict=True))
        slack = 1 - kept
        if kappa:
            slack = ridge / kappa + gamma * sum(
                wj * sj * kappa / (sj + kappa) ** 2 for sj, wj in zip(s, w, strict=True)
            )
        if slack == 0:
            return kappa, mpf(0), mpmath.inf
        return (
            kappa,
            kappa**2 * sum(aj * sj / (sj + kappa) ** 2 for sj, aj in zip(s, a, strict=True)) / slack,
            kept / slack,
        )


SPECTRA = {
    "isotropic": ([1.0], [1.0], [1.0]),
    "rare and large": ([5e3, 1.0], [1e-8, 1.0], [0.5, 0.5]),
    "rare and small": ([1.0, 1e-6], [1.0, 1e-8], [1e-8, 1.0]),
    "twelve decades": ([1e6, 1.0, 1e-6], [1.0, 1.0, 1.0], [0.2, 0.3, 0.5]),
}


@pytest.mark.parametrize("name", SPECTRA)
def test_ridge_risk(name):
    s, w, a = SPECTRA[name]
    for gamma in (1e-8, 1 - 2.0**-53, 1.0, 1 + 1e-8, 1.5, 1e8):
        for ridge in (0.0, 1e-300, 1e-12, 1.0, 1e300):
            kappa = theory.effective_ridge(gamma, ridge=ridge, eigenvalues=s, weights=w)
            risk = theory.ridge_risk(gamma, ridge=ridge, eigenvalues=s, weights=w, alignment=a)
            exact = exact_ridge(gamma, ridge, s, w, a)
            assert max(map(far, (kappa, risk.bias, risk.variance), exact)) <= THEORY


def test_optimal_ridge_neither_overflows_nor_underflows():
    best = theory.optimal_ridge([1e200, 1e-200], signal=[1e300, 1e-300], noise=[1e200, 1e-200])
    np.testing.assert_allclose(best, [1e100, 1e-100], rtol=THEORY_EXPLICIT)
    assert theory.optimal_ridge(1e200, signal=1e-200, noise=1.0) == np.inf  # 1e400


def test_risks_beyond_float64_are_infinite():
    for risk in (
        theory.ridge_risk(1 - 1e-12, signal=1.0, noise=1e300),
        theory.misspecified_risk(1 - 1e-12, signal=1.0, noise=1e300, captured=1.0),
        theory.random_features_risk(1.0, 1 - 1e-12, noise=1e300),
    ):
        assert risk.variance == risk.total == np.inf and np.isfinite(risk.bias)


def test_misspecified_and_finite_risk_next_to_the_threshold():
    for gamma in (1 - 2.0**-53, 1 - 1e-9, 1 + 2.0**-52, 1 + 1e-9):
        risk = theory.misspecified_risk(gamma, signal=1.0, noise=1e-3, captured=1 - 2.0**-50)
        with mpmath.workdps(40):
            g, noise = mpf(gamma), mpf(1e-3) + mpf(2) ** -50
            bias = mpf(2) ** -50 + (1 - mpf(2) ** -50) * max(mpf(0), 1 - 1 / g)
            assert far(risk.bias, bias) <= THEORY_EXPLICIT
            assert far(risk.variance, noise * (g / (1 - g) if g < 1 else 1 / (g - 1))) <= THEORY_EXPLICIT
    n, d = 2**40, 2**52
    for p in (n - 2, n + 2, d):
        found = theory.finite_sample_risk(n, p, d, signal=1e-9, noise=1.0)
        with mpmath.workdps(60):
            N, P, D = mpf(n), mpf(p), mpf(d)
            if p < n:
                exact = ((1 - P / D) * mpf(1e-9) + 1) * (1 + P / (N - P - 1))
            else:
                exact = mpf(1e-9) * (1 - N / D * (2 - (D - N - 1) / (P - N - 1))) + 1 + N / (P - N - 1)
            assert far(found, exact) <= THEORY_EXPLICIT


# -- random features -------------------------------------------------------------------------------------------------


def exact_features(psi1, psi2, lam, moments):
    """B, V, bias, samples, features, features alone, ensembled noise, in the variable t, with 100 digits."""
    with mpmath.workdps(100):
        a, b = mpf(moments.mu1) ** 2, mpf(moments.mu_star) ** 2
        psi1, psi2, z2, lbar = mpf(psi1), mpf(psi2), a / b, mpf(lam) / b

        def Z(t):
            return 1 / (1 + t) + 1 / (z2 * t)

        low = min(psi1, psi2)
        middle = low * z2 - z2 - 1
        root = mpmath.sqrt(middle**2 + 4 * low * z2)
        t = (root - middle) / (2 * low * z2)
        if lbar:
            start, end = t, 2 * t + 10 * (lbar + (z2 + 1) * 4 * (1 + 1 / psi1) * (1 + 1 / psi2)) / z2
            while end - start > start * mpf(10) ** -75:
                at = mpmath.sqrt(start * end)
                above = (psi1 - Z(at)) * (psi2 - Z(at)) * z2 * at > psi1 * psi2 * lbar
                start, end = (start, at) if above else (at, end)
            t = end
        q, kp = 1 / (1 + t) ** 2, z2 * t * (psi1 - Z(t)) / psi1
        c = (q * (psi1 - 2 * Z(t)) + Z(t) ** 2) / (psi2 * (psi1 - q))
        bracket = t / (1 + t) - kp / (z2 * (1 + t) ** 2) * psi1 / (psi1 - q)
        B, bias, ensembled = bracket / (1 - c), (t / (1 + t)) ** 2, (q / psi2) / (1 - q / psi2)
        return B, c / (1 - c), bias, bias * ensembled, B - bias - bias * ensembled, bracket - bias, ensembled


@pytest.mark.parametrize("name", ["relu", "nearly linear", "nearly even"])
def test_random_features_risk(name):
    own = {"nearly linear": lambda x: x + 1e-5 * (x * x - 1), "nearly even": lambda x: 1e-6 * x + x * x - 1}
    activation = own.get(name, name)
    moments = theory.activation_moments(activation)
    ratios = [1e-6, 0.5, 1 - 1e-9, 1.0, 1e6]
    for psi1, psi2, ridge in itertools.product(ratios, ratios, [0.0, 1e-12, 1e-3, 1e6]):
        risk = theory.random_features_risk(psi1, psi2, ridge=ridge, activation=activation, noise=1.0)
        if psi1 == psi2 and ridge == 0:
            assert risk.bias == risk.variance == np.inf
            continue
        d = risk.decomposition
        found = (risk.bias, risk.variance, d.bias, d.samples, d.features, d.features_alone, d.noise_ensembled)
        exact = exact_features(psi1, psi2, ridge, moments)
        assert max(0.0 if abs(y) < 1e-40 > x else far(x, y) for x, y in zip(found, exact, strict=True)) <= THEORY


# -- cross-validation ------------------------------------------------------------------------------------------------


def exact_cross_validation(X, y, ridge):
    """Leave-one-out by refitting, and the formula of GCV, with 120 digits; a ridge of 0 is one of 1e-45."""
    with mpmath.workdps(120):
        rows = [[mpf(float(v)) for v in row] for row in X]
        penalty = mpf(ridge) if ridge else mpf(float(np.max(np.abs(X)) or 1.0)) ** 2 * mpf(10) ** -45
        K = mpmath.matrix([[sum(p * q for p, q in zip(r, t, strict=True)) for t in rows] for r in rows])
        target = [mpf(float(v)) for v in y]
        errors = []
        for i in range(len(rows)):
            rest = [j for j in range(len(rows)) if j != i]
            fitted = mpf(0)
            if rest:
                inner = mpmath.matrix([[K[j, k] + (penalty if j == k else 0) for k in rest] for j in rest])
                weights = mpmath.lu_solve(inner, mpmath.matrix([target[j] for j in rest]))
                fitted = sum(K[i, j] * weights[row] for row, j in enumerate(rest))
            errors.append(target[i] - fitted)
        inverse = (K + penalty * mpmath.eye(len(rows))) ** -1
        trace = sum(inverse[i, i] for i in range(len(rows)))
        squares = sum(v * v for v in inverse * mpmath.matrix(target))
        return sum(e * e for e in errors) / len(rows), len(rows) * squares / trace**2


def degenerate_designs():
    rng = np.random.default_rng(0)
    wide, tall = rng.integers(-3, 4, (4, 7)).astype(float), rng.integers(-3, 4, (7, 3)).astype(float)
    low_rank = rng.integers(-2, 3, (6, 2)).astype(float) @ rng.integers(-2, 3, (2, 5)).astype(float)
    yield "wide", wide
    yield "a zero row among independent ones", np.vstack([wide, np.zeros(7)])
    yield "a row twice", np.vstack([wide, wide[0]])
    yield "a row and its multiples", np.vstack([wide[:3], 2 * wide[0], -wide[0]])
    yield "low rank", low_rank
    yield "a row that alone spans a direction", np.block([[tall, np.zeros((7, 1))], [np.zeros((1, 3)), 2.0]])
    yield "one row", wide[:1]
    yield "one zero row", np.zeros((1, 3))
    yield "one column", tall[:, :1]
    yield "nothing but zeros", np.zeros((3, 2))
    yield "huge", 1e150 * wide
    yield "minute", 1e-150 * tall


@pytest.mark.parametrize(
    "name, X", list(degenerate_designs()), ids=lambda value: value if isinstance(value, str) else ""
)
def test_cross_validation(name, X):
    y = np.random.default_rng(1).standard_normal(len(X))
    scale = np.max(np.abs(X)) ** 2 or 1.0
    for ridge in (0.0, 1e-9 * scale, 0.3 * scale):
        loo, gcv = exact_cross_validation(X, y, ridge)
        assert far(theory.loo_cv(X, y, ridge=ridge), loo) <= THEORY_LOO
        assert far(theory.gcv(X, y, ridge=ridge), gcv) <= THEORY_LOO


def test_cross_validation_at_the_ends_of_the_ridge():
    rng = np.random.default_rng(2)
    for X in (rng.standard_normal((4, 6)), rng.standard_normal((6, 3))):
        y = rng.standard_normal(len(X))
        for estimate in (theory.loo_cv, theory.gcv):
            ends = estimate(X, y, ridge=np.array([1e-310, 1e-200, 1e-100, 1e300]))
            np.testing.assert_allclose(ends, [*3 * [estimate(X, y)], np.mean(y**2)], rtol=1e-12)
            assert estimate(1e-200 * X, y, ridge=0.1) == pytest.approx(np.mean(y**2), rel=1e-12)
            assert estimate(1e200 * X, y, ridge=0.1) == pytest.approx(estimate(X, y), rel=1e-12)
