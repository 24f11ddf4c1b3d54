"""Nested curves against fresh solves: every algorithm where it is weakest, all kinds of rank, and honest estimates."""

import functools

import fresh
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tolerances import CURVE_CONDITION, CURVE_DISHONEST, CURVE_ESTIMATE, CURVE_RELATIVE

import genkern
from genkern import problems

EPS = 2.0**-52
RIDGES = (0.0, 1e-8, 1e-2, 1.0)
SLOW_RIDGES = (0.0, 1e-2)  # for the stand-in of a GPU, whose engine is that of numba: each call costs it 20 us
ACTIVATIONS = ("identity", "relu", "erf", "tanh", "cos", "sin", "sign", "rff")
N, M, P = 40, 30, 120


def tolerance(condition):
    return np.maximum(CURVE_RELATIVE, CURVE_CONDITION * EPS * condition)


def assert_close(result, expected, y):
    bound = tolerance(expected["condition"])[:, None]
    for name in fresh.MEASURED:
        found, wanted, floor = np.asarray(getattr(result, name)), expected[name], 1e-300
        assert found.shape == wanted.shape
        if name == "train_risk":  # residuals that are 0 but for rounding have no relative accuracy
            found, wanted = np.sqrt(found), np.sqrt(wanted)
            floor = CURVE_CONDITION * EPS * expected["condition"][:, None] * np.sqrt(np.mean(y**2, axis=0))
        error = np.abs(found - wanted)
        assert np.all(error <= bound * wanted + floor), (name, float((error / (bound * wanted + floor)).max()))


def true_error(result, expected):
    return np.max(np.abs(np.asarray(result.test_risk) - expected["test_risk"]) / expected["test_risk"], axis=-1)


def gaussian(rng):
    return rng.standard_normal((N, P)), rng.standard_normal((M, P))


def conditioned(rng, condition):
    """Features whose kernel matrix has about this condition number at every width beyond n."""
    U = np.linalg.qr(rng.standard_normal((N, N)))[0] * np.logspace(0, -np.log10(condition) / 2, N)
    return U @ rng.standard_normal((N, P)) / np.sqrt(N), rng.standard_normal((M, P))


def duplicated_columns(rng):
    F, F_test = gaussian(rng)
    for X in (F, F_test):
        X[:, 7], X[:, 20:30], X[:, 60] = X[:, 3], X[:, :10], X[:, 61]
    F[:, 2] = F[:, 50] = 0.0
    return F, F_test


def duplicated_rows(rng):
    F, F_test = gaussian(rng)
    F[5], F[31] = F[9], F[9]
    return F, F_test


def low_rank(rng):
    F, F_test = gaussian(rng)
    mix = rng.standard_normal((12, 70))
    F[:, :70], F_test[:, :70] = F[:, :12] @ mix, F_test[:, :12] @ mix
    return F, F_test


def constant(rng):
    return np.ones((N, P)), np.ones((M, P))


def graded(rng):
    F, F_test = gaussian(rng)
    scale = np.logspace(0, -12, P)
    return F * scale, F_test * scale


def graded_upwards(rng):
    F, F_test = gaussian(rng)
    scale = np.logspace(-12, 0, P)
    return F * scale, F_test * scale


FEATURES = {
    "gaussian": gaussian,
    **{f"condition 1e{c}": functools.partial(conditioned, condition=10.0**c) for c in (3, 6, 9, 12, 14)},
    "duplicated columns": duplicated_columns,
    "duplicated rows": duplicated_rows,
    "low rank": low_rank,
    "constant": constant,
    "graded": graded,
    "graded upwards": graded_upwards,
}


@functools.cache
def case(name):
    """Features of training and test points, targets (n, 2) and (m, 2)."""
    rng = np.random.default_rng(len(name) + sum(map(ord, name)))
    if name in FEATURES:
        F, F_test = FEATURES[name](rng)
        return F, rng.standard_normal((N, 2)), F_test, rng.standard_normal((M, 2))
    data = problems.digits(n_train=N, n_test=M, label_noise=0.1, seed=1)
    X, X_test = data.X, data.X_test
    if name == "identity":  # fewer inputs than training points: the rank stays below n
        X, X_test = X[:, 20:40], X_test[:, 20:40]
    make = functools.partial(genkern.random_features, width=P, activation=name, seed=2, backend="reference")
    return make(X), data.y[:, :2], make(X_test), data.y_test[:, :2]


@functools.cache
def expected_widths(name, ridge):
    F, y, F_test, y_test = case(name)
    return fresh.widths(F, y, F_test, y_test, range(1, P + 1), ridge=ridge)


@functools.cache
def expected_samples(name, ridge):
    F, y, F_test, y_test = sample_case(name)
    return fresh.samples(F, y, F_test, y_test, range(1, P + 1), ridge=ridge)


@functools.cache
def sample_case(name):
    """The width case lying on its side: P training points in N dimensions."""
    F, _, F_test, _ = case(name)
    rng = np.random.default_rng(3)
    X = np.ascontiguousarray(F.T)
    return X, rng.standard_normal((P, 2)), F_test[:, :N].copy(), rng.standard_normal((M, 2))


@pytest.mark.parametrize("name", [*FEATURES, *ACTIVATIONS])
def test_every_width_is_a_fresh_solve(backend, name):
    F, y, F_test, y_test = case(name)
    for ridge in SLOW_RIDGES if backend == "cupy" else RIDGES:
        result = genkern.width_curve(F, y, F_test, y_test, ridge=ridge, backend=backend)
        expected = expected_widths(name, ridge)
        assert_close(result, expected, y)
        ranks = [np.linalg.matrix_rank(F[:, :p], rtol=EPS * max(N, p)) for p in range(1, P + 1)]
        full = [p for p, rank in enumerate(ranks, 1) if rank == N]
        assert (result.threshold == full[0]) if full else np.isnan(result.threshold)


@pytest.mark.parametrize("name", [*FEATURES, "relu"])
def test_every_sample_size_is_a_fresh_solve(backend, name):
    X, y, X_test, y_test = sample_case(name)
    for ridge in SLOW_RIDGES if backend == "cupy" else RIDGES:
        result = genkern.sample_curve(X, y, X_test, y_test, ridge=ridge, backend=backend)
        expected = dict(expected_samples(name, ridge))
        # With a ridge the residual is the objective less the penalty: accurate to eps times the objective.
        size = np.arange(1, P + 1)[:, None]
        objective = expected["train_risk"] + ridge * expected["coef_norm"] ** 2 / size
        floor = CURVE_CONDITION * EPS * expected["condition"][:, None] * objective
        close = np.abs(result.train_risk - expected["train_risk"]) <= floor + CURVE_RELATIVE * expected["train_risk"]
        assert np.all(close)
        expected["train_risk"] = np.asarray(result.train_risk)
        assert_close(result, expected, y)


@pytest.mark.parametrize("method", ["orthogonal", "woodbury", "svd"])
def test_every_algorithm_can_be_forced(backend, method):
    if backend == "reference":
        pytest.skip("the reference has one method")
    for name in ("relu",) if backend == "cupy" else ("gaussian", "condition 1e3", "relu"):
        F, y, F_test, y_test = case(name)
        for ridge in (0.0, 1e-2):
            result = genkern.width_curve(F, y, F_test, y_test, ridge=ridge, method=method, backend=backend)
            assert_close(result, expected_widths(name, ridge), y)
            assert set(np.unique(result.method)) == ({"svd"} if method == "svd" else {"qr", method})
    X, y, X_test, y_test = sample_case("gaussian")
    result = genkern.sample_curve(X, y, X_test, y_test, method=method, backend=backend)
    assert_close(result, expected_samples("gaussian", 0.0), y)
    assert set(np.unique(result.method)) == ({"svd"} if method == "svd" else {"qr", method})


def test_the_choice_follows_the_condition(backend):
    """Each algorithm occurs by itself: where the condition number calls for it."""
    if backend == "reference":
        pytest.skip("the reference has one method")

    def methods(name, ridge=0.0):
        F, y, F_test, y_test = case(name)
        return set(np.unique(genkern.width_curve(F, y, F_test, y_test, ridge=ridge, backend=backend).method))

    assert methods("gaussian") == {"qr", "woodbury"}
    assert methods("condition 1e12") == {"qr", "orthogonal"}
    assert "orthogonal" in methods("gaussian", ridge=1e-8) or "woodbury" in methods("gaussian", ridge=1e-8)
    rng = np.random.default_rng(0)
    F, F_test = rng.standard_normal((10, 30)), rng.standard_normal((5, 30))
    F[:, 4] = F[:, 3] * (1 + 1e-13 * rng.standard_normal(10))  # a direction that only an SVD can tell from rounding
    y, y_test = rng.standard_normal((10, 1)), rng.standard_normal((5, 1))
    result = genkern.width_curve(F, y, F_test, y_test, backend=backend)
    assert "svd" in result.method and result.method[-1] != "svd"
    for rcond in (1e-10, 1e-3):
        result = genkern.width_curve(F, y, F_test, y_test, rcond=rcond, backend=backend)
        assert_close(result, fresh.widths(F, y, F_test, y_test, range(1, 31), rcond=rcond), y)
        assert "svd" in result.method


@pytest.mark.usefixtures("native")
def test_estimates_are_honest():
    backend = "cpp"
    honest = []
    for name in [*FEATURES, *ACTIVATIONS]:
        F, y, F_test, y_test = case(name)
        for ridge in RIDGES:
            for method in ("auto", "orthogonal"):
                result = genkern.width_curve(F, y, F_test, y_test, ridge=ridge, method=method, backend=backend)
                true = true_error(result, expected_widths(name, ridge))
                honest.append(CURVE_ESTIMATE * np.asarray(result.error) >= true)
    honest = np.concatenate(honest)
    assert len(honest) > 10_000
    assert np.mean(honest) >= 1 - CURVE_DISHONEST
    # Where the woodbury form is used against the estimate's advice, the estimate says so.
    F, y, F_test, y_test = case("condition 1e12")
    result = genkern.width_curve(F, y, F_test, y_test, method="woodbury", backend=backend)
    assert (
        np.mean(CURVE_ESTIMATE * np.asarray(result.error) >= true_error(result, expected_widths("condition 1e12", 0.0)))
        >= 0.95
    )
    assert np.asarray(result.error)[N:].min() > 1e-9


@given(
    n=st.integers(1, 24), width=st.integers(1, 60), m=st.integers(1, 8), k=st.integers(1, 3), rank=st.integers(1, 24),
    ridge=st.sampled_from((0.0, 1e-8, 1e-2, 1.0, 1e3)), decades=st.integers(0, 2), repeats=st.integers(0, 6),
    zeros=st.integers(0, 4), listed=st.integers(1, 60), seed=st.integers(0, 2**20), samples=st.booleans(),
)  # fmt: skip
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_shape_rank_and_list(backend, n, width, m, k, rank, ridge, decades, repeats, zeros, listed, seed, samples):
    rng = np.random.default_rng(seed)
    left, right = rng.standard_normal((n + m, rank)), rng.standard_normal((rank, width))
    full = left @ (np.logspace(0, -decades, rank)[:, None] * right) / np.sqrt(rank)
    for _ in range(repeats):
        i, j = rng.integers(width, size=2)
        full[:, i] = full[:, j]
    full[:n, rng.integers(width, size=zeros)] = 0.0
    F, F_test = full[:n], full[n:]
    y, y_test = rng.standard_normal((n, k)), rng.standard_normal((m, k))
    if samples:
        points = np.unique(rng.integers(1, n + 1, size=listed))
        result = genkern.sample_curve(F, y, F_test, y_test, samples=points, ridge=ridge, backend=backend)
        expected = fresh.samples(F, y, F_test, y_test, points, ridge=ridge)
    else:
        points = np.unique(rng.integers(1, width + 1, size=listed))
        result = genkern.width_curve(F, y, F_test, y_test, widths=points, ridge=ridge, backend=backend)
        expected = fresh.widths(F, y, F_test, y_test, points, ridge=ridge)
    bound = tolerance(expected["condition"])[:, None]
    wanted = expected["test_risk"]
    assert np.all(np.abs(result.test_risk - wanted) <= bound * np.maximum(wanted, np.mean(y_test**2, axis=0)))
    wanted = expected["coef_norm"]
    assert np.all(np.abs(result.coef_norm - wanted) <= bound * wanted + 1e-300)
    size = points[:, None] if samples else n
    objective = expected["train_risk"] + ridge * wanted**2 / size + np.mean(y**2) * EPS
    assert np.all(np.abs(result.train_risk - expected["train_risk"]) <= bound * objective)


@pytest.mark.usefixtures("native")
def test_finite_sample_formula():
    """Breiman and Freedman 1983; Belkin, Hsu, Xu 2020: random p of d Gaussian features, test error with its noise."""
    n, d, signal, noise, draws = 20, 60, 4.0, 0.5, 3000
    p = np.array([5, 10, 14, 27, 32, 40, 50, 60])
    below, above = p[p < n], p[p > n]
    expected = np.concatenate([
        ((1 - below / d) * signal + noise) * (1 + below / (n - below - 1)),
        signal * (1 - n / d * (2 - (d - n - 1) / (above - n - 1))) + noise * (1 + n / (above - n - 1)),
    ])  # fmt: skip
    rng = np.random.default_rng(0)
    coef = rng.standard_normal((draws, d, 1))
    coef *= np.sqrt(signal / np.sum(coef**2, axis=1, keepdims=True))
    X, X_test = rng.standard_normal((draws, n, d)), rng.standard_normal((draws, 100, d))
    y = (X @ coef)[..., 0] + np.sqrt(noise) * rng.standard_normal((draws, n))
    y_test = (X_test @ coef)[..., 0]
    risk = genkern.width_curve(X, y, X_test, y_test, widths=p).test_risk + noise
    z = (risk.mean(axis=0) - expected) / (risk.std(axis=0) / np.sqrt(draws))
    assert np.all(np.abs(z) < 4), z  # eight values: one in 2,000 runs by chance, and the seed is fixed
    assert np.all(risk.std(axis=0) / np.sqrt(draws) < 0.05 * expected)
