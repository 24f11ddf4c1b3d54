"""The compiled weights of the margin losses against exact values, and losses of the user's own."""

import math

import mpmath
import numba
import numpy as np
import pytest
from tolerances import WEIGHT_ULPS

import genkern

EXACT = {"logistic": lambda u: 1 / (1 + mpmath.exp(u)), "exponential": lambda u: mpmath.exp(-u)}


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("loss", EXACT)
def test_weights_against_exact_values(native, loss, dtype):
    rng = np.random.default_rng(6)
    limit = 700 if dtype == np.float64 else 86
    spread = [rng.uniform(-scale, scale, 1000) for scale in (1e-300, 1e-9, 1e-2, 1, 3, 10, 40, limit)]
    halves = np.arange(-60, 60) * 0.5 * math.log(2)  # where the reduced argument is largest
    u = np.concatenate([*spread, halves, np.nextafter(halves, 1), [0.0, -0.0, limit]]).astype(dtype)
    found = native.margin_weights(loss, u)
    assert found.dtype == dtype
    with mpmath.workdps(40):
        for argument, value in zip(u, found, strict=True):
            exact = EXACT[loss](mpmath.mpf(float(argument)))
            unit = mpmath.mpf(float(np.spacing(dtype(float(exact)))))
            assert abs(mpmath.mpf(float(value)) - exact) < WEIGHT_ULPS * unit, (argument, value)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_weights_at_the_ends(native, dtype):
    edges = np.array([np.nan, np.inf, -np.inf, 800.0, -800.0], dtype)
    np.testing.assert_array_equal(native.margin_weights("logistic", edges), [np.nan, 0, 1, 0, 1])
    np.testing.assert_array_equal(native.margin_weights("exponential", edges), [np.nan, 0, np.inf, 0, np.inf])
    top = {np.float64: 709.7, np.float32: 88.7}[dtype]
    found = native.margin_weights("exponential", np.array([-top, top], dtype))
    np.testing.assert_allclose(found[0], np.exp(top), rtol=1e-5)
    assert 0 <= found[1] < 2.5 * np.finfo(dtype).tiny
    u = np.linspace(-5, 5, 37).astype(dtype)  # no multiple of a vector
    for count in range(1, 37):
        np.testing.assert_array_equal(
            native.margin_weights("logistic", u[:count]), native.margin_weights("logistic", u)[:count]
        )


def softplus(u):
    return math.log1p(math.exp(-u))


def softplus_slope(u):
    return -1.0 / (1.0 + math.exp(u))


@pytest.mark.parametrize("algorithm", ["gd", "heavy_ball", "normalized", "accelerated", "coordinate"])
@pytest.mark.parametrize("backend", [None, "numba", "reference"])
def test_a_loss_of_the_users_own(backend, algorithm):
    X, y = genkern.problems.soudry().X, genkern.problems.soudry().y
    options = {"step_size": 0.05, "algorithm": algorithm}
    expected = genkern.logistic_path(X, y, [1, 50], backend="reference", **options)
    for pair in ((softplus, softplus_slope), (numba.njit(softplus), numba.njit(softplus_slope))):
        path = genkern.logistic_path(X, y, [1, 50], loss=pair, backend=backend, **options)
        np.testing.assert_allclose(path.coef, expected.coef, rtol=1e-12)
        np.testing.assert_allclose(path.log_loss, expected.log_loss, rtol=1e-12)
        assert path.status == 0


def test_a_polynomial_tail_has_another_limit():
    """l(u) = 1 / (1 + u) for u > 0: no exponential tail, so not the direction of the largest margin."""
    X, y = np.array([[1.0, 0.2], [0.3, 1.0]]), np.ones(2)
    pair = (lambda u: 1 / (1 + u) if u > 0 else 1 - u, lambda u: -1 / (1 + u) ** 2 if u > 0 else -1.0)
    path = genkern.logistic_path(X, y, [10, 1e6], loss=pair, step_size=0.1)
    assert path.error.tolist() == [0, 0] and path.loss[1] < path.loss[0]
    with pytest.raises(ValueError, match=r"^steps must be below 2\^53"):
        genkern.logistic_path(X, y, 1e30, loss=pair, step_size=0.1)


def test_unusable_losses():
    X, y = np.eye(2), np.ones(2)
    for pair in ((lambda u: "x", lambda u: "x"), (softplus, lambda a, b: a), (softplus, object().__eq__)):
        with pytest.raises(TypeError, match=r"^loss must be a pair of functions that numba compiles") as caught:
            genkern.logistic_path(X, y, 3, loss=pair, step_size=1.0)
        assert "\n" not in str(caught.value)
    with pytest.raises(TypeError, match=r"^loss and its derivative must return a real number"):
        genkern.logistic_path(X, y, 3, loss=(softplus, lambda u: "x"), step_size=1.0, backend="reference")
    with pytest.raises(genkern.errors.BackendUnavailable, match="needs numba"):
        genkern.logistic_path(X, y, 3, loss=(softplus, softplus_slope), step_size=1.0, backend="cpp")
