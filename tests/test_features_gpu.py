"""random_features on a GPU: the CPU's bits, and work that does not fit one panel or one grid."""

import numpy as np
import pytest

import genkern
from genkern import _registry

ACTIVATIONS = ("identity", "relu", "erf", "tanh", "cos", "sin", "sign", "rff")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("weights", ["gaussian", "sphere"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_bits_of_the_cpu(cupy, activation, weights, dtype):
    if _registry.unavailable("cpp") is not None:
        pytest.skip("cpp is not here")
    for n, d, width in ((3, 1, 5), (70, 30, 150), (5, 600, 70)):
        X = np.random.default_rng(d).standard_normal((n, d)).astype(dtype)
        X[-1, 0] = np.inf
        options = {"activation": activation, "weights": weights, "seed": 2**40 + 9, "start": 2**33}
        expected = genkern.random_features(X, width, backend="cpp", **options)
        np.testing.assert_array_equal(genkern.random_features(X, width, backend="cupy", **options), expected)


@pytest.mark.parametrize("turns", [1e5, 1e7, 1e12])
def test_sines_of_large_arguments(cupy, turns):
    X = turns * np.random.default_rng(0).standard_normal((4, 3))
    z = genkern.random_features(X, 20, activation="identity", backend="cupy")
    for activation in ("cos", "sin"):
        found = genkern.random_features(X, 20, activation=activation, backend="cupy")
        np.testing.assert_allclose(found, getattr(np, activation)(z), rtol=0, atol=4e-16)


def test_panels_and_chunks(cupy, monkeypatch):
    """Many panels, and more pairs of rows for a thread than usual, change no bit."""
    from genkern._cupy import features

    X = np.random.default_rng(1).standard_normal((20, 90))
    whole = genkern.random_features(X, 300, weights="sphere", activation="rff", backend="cupy")
    monkeypatch.setattr(features, "PANEL_BYTES", 90 * 64 * 8)
    monkeypatch.setattr(features, "PAIRS", 3)
    found = genkern.random_features(X, 300, weights="sphere", activation="rff", backend="cupy")
    np.testing.assert_array_equal(found, whole)
