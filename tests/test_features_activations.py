"""Activations: every built-in one against its exact value, and functions of the user's own."""

import gc
import weakref

import mpmath
import numba
import numpy as np
import pytest
import tolerances

import genkern
from genkern import random_features

EXACT = {
    "identity": lambda x: x,
    "relu": lambda x: max(x, mpmath.mpf(0)),
    "erf": mpmath.erf,
    "tanh": mpmath.tanh,
    "cos": mpmath.cos,
    "sin": mpmath.sin,
    "sign": mpmath.sign,
    "rff": lambda x: mpmath.sqrt(2) * mpmath.cos(x),
}


def points():
    rng = np.random.default_rng(5)
    spread = [rng.uniform(-limit, limit, 400) for limit in (1e-300, 1e-9, 1e-2, 0.4, 1, 3, 6.5, 40, 1e4, 1e6)]
    multiples = np.arange(1, 60) * np.pi / 2  # where sine and cosine cancel
    edges = [0.0, -0.0, 5e-324, -5e-324, 0.17, 1.0, -1.0, 5.95, 20.0, -20.0, 3e5 * np.pi, 1e6]
    huge = [1e7, -3e10, 1e22, 2.0**900, 1.7e308]
    return np.concatenate([*spread, multiples, edges, huge])


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", EXACT)
def test_compiled_activation_against_exact_values(native, name, dtype):
    x = points()
    x = x[np.abs(x) < np.finfo(dtype).max].astype(dtype)
    found = native.activate(name, x)
    assert found.dtype == dtype
    bound = tolerances.ACTIVATION_ULPS[name][0 if dtype == np.float64 else 1]
    with mpmath.workdps(360 if dtype == np.float64 else 60):
        for argument, value in zip(x, found, strict=True):
            exact = EXACT[name](mpmath.mpf(float(argument)))
            unit = mpmath.mpf(float(np.spacing(np.abs(dtype(float(exact))))))
            assert abs(mpmath.mpf(float(value)) - exact) <= bound * unit, (argument, value)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", EXACT)
def test_special_values(native, name, dtype):
    limits = {"identity": np.inf, "relu": np.inf, "erf": 1.0, "tanh": 1.0, "sign": 1.0}
    found = native.activate(name, np.array([np.nan, np.inf, 0.0, -0.0], dtype))
    assert np.isnan(found[0])
    assert found[1] == limits[name] if name in limits else np.isnan(found[1])
    if name in ("identity", "erf", "tanh", "sin"):
        assert np.signbit(found[2:]).tolist() == [False, True]


USERS = {
    "plain": lambda z: z * z if z > 0.0 else 0.1 * z,
    "jitted": numba.njit(lambda z: z * z if z > 0.0 else 0.1 * z),
}


@pytest.mark.parametrize("backend", [None, "numba", "reference"])
@pytest.mark.parametrize("kind", USERS)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_user_activation(backend, kind, dtype):
    X = np.random.default_rng(0).standard_normal((30, 7)).astype(dtype)
    z = random_features(X, 150, activation="identity", backend="reference", seed=2).astype(float)
    found = random_features(X, 150, activation=USERS[kind], backend=backend, seed=2)
    assert found.dtype == dtype
    np.testing.assert_allclose(found, np.where(z > 0, z * z, 0.1 * z), rtol=0, atol=40 * np.finfo(dtype).eps)


def test_user_activation_is_nested_and_independent_of_threads():
    X = np.random.default_rng(0).standard_normal((300, 7))
    whole = random_features(X, 300, activation=USERS["plain"], n_threads=1)
    assert np.array_equal(random_features(X, 300, activation=USERS["plain"], n_threads=3), whole)
    assert np.array_equal(random_features(X, 100, start=117, activation=USERS["plain"]), whole[:, 117:217])


def test_closures_are_told_apart():
    X = np.ones((2, 3))

    def scaled(by):
        return lambda z: by * z

    twice, thrice = (random_features(X, 4, activation=scaled(by)) for by in (2.0, 3.0))
    np.testing.assert_allclose(thrice, 1.5 * twice, rtol=1e-14)


def test_functions_that_numba_knows_itself():
    import math

    X = np.random.default_rng(0).standard_normal((5, 3))
    np.testing.assert_allclose(
        random_features(X, 4, activation=math.tanh), random_features(X, 4, activation="tanh"), rtol=1e-14
    )


def test_compiled_once_and_released():
    from genkern._numba import features

    X = np.ones((2, 3))

    def activation(z):
        return 2.0 * z

    random_features(X, 4, activation=activation)
    before = features._user_activation.cache_info()
    random_features(X, 40, activation=activation, seed=1)
    after = features._user_activation.cache_info()
    assert (after.misses, after.hits) == (before.misses, before.hits + 1)
    assert after.maxsize is not None
    reference = weakref.ref(activation)
    features._user_activation.cache_clear()
    del activation
    gc.collect()
    assert reference() is None


def undefined(z):
    return missing_name(z)  # noqa: F821


UNUSABLE = {
    "name": undefined,
    "pair": lambda z: (z, z),
    "complex": lambda z: 1j * z,
    "text": lambda z: "x",
    "arguments": lambda a, b: a,
    "object": object().__eq__,
}


@pytest.mark.parametrize("kind", UNUSABLE)
def test_function_that_does_not_compile(kind):
    with pytest.raises(TypeError, match=r"^activation must be a function that numba compiles .*reference"):
        random_features(np.ones((2, 3)), 4, activation=UNUSABLE[kind])


@pytest.mark.parametrize("kind", ["pair", "complex", "text"])
def test_reference_wants_numbers(kind):
    with pytest.raises(TypeError, match=r"^activation must return a real number, got"):
        random_features(np.ones((2, 3)), 4, activation=UNUSABLE[kind], backend="reference")


@pytest.mark.parametrize("backend", ["numba", "reference"])
@pytest.mark.parametrize("n_threads", [1, 3])
def test_what_the_function_raises_comes_through(backend, n_threads):
    def picky(z):
        if z > 1.0:
            raise ZeroDivisionError("too large")
        return z

    with pytest.raises(ZeroDivisionError, match="too large"):
        random_features(np.full((100, 3), 5.0), 400, activation=picky, backend=backend, n_threads=n_threads)


@pytest.mark.parametrize("backend", ["numba", "reference"])
def test_function_does_not_see_rows_that_are_not_finite(backend):
    def picky(z):
        if z != z:
            raise ValueError("NaN")
        return 1.0

    X = np.ones((3, 4))
    X[1, 2] = np.nan
    found = random_features(X, 5, activation=picky, backend=backend)
    assert np.isnan(found[1]).all() and (found[[0, 2]] == 1).all()


def test_cpp_takes_no_function():
    with pytest.raises(ValueError, match=r"^activation must be one of .* with backend='cpp', got a function"):
        genkern.random_features(np.ones((2, 3)), 4, activation=abs, backend="cpp")
