"""random_features on a GPU: the CPU's bits, and work that does not fit one panel or one grid."""

import numpy as np
import pytest
from gpu import standin

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


def test_work_is_split_into_launches_of_bounded_time(cupy, monkeypatch):
    """Rows after rows: no bit changes, no launch is long by the estimate for a slow card, and few are in flight."""
    from genkern._cupy import _launch, features

    if cupy.ndarray is not standin.ndarray:
        pytest.skip("a real GPU keeps no log of launches")
    X = cupy.asarray(np.random.default_rng(2).standard_normal((400, 30))[:, ::-2])
    whole = genkern.random_features(X, 150, activation="tanh")
    waits, tile = [], 1e-9 * 64 * 64 * (15 + features.ENTRY) / features.MULTIPLY_ADDS[8]
    monkeypatch.setattr(features, "LAUNCH_SECONDS", 3.001 * tile)  # three a multiprocessor
    monkeypatch.setitem(standin.PROPERTIES, "multiProcessorCount", 3)
    monkeypatch.setattr(cupy.cuda.Event, "synchronize", lambda event: waits.append(event))
    for most, rows in ((2, 2), (2**31 - 1, 3)):
        monkeypatch.setitem(standin.PROPERTIES, "maxGridSize", (most, 65535, 65535))
        _launch.forget()
        del standin.LOG.launches[:], waits[:]
        found = genkern.random_features(X, 150, activation="tanh")
        np.testing.assert_array_equal(found.get(), whole.get())
        products = [launch for launch in standin.LOG.launches if launch.kernel == "features_product_f64"]
        assert {launch.grid for launch in products[:-1]} == {(rows, 3, 1)}
        assert len(products) == -(-7 // rows) and len(waits) == len(products) - 2


@pytest.mark.parametrize("n, d, dtype", [(10**6, 10**4, np.float64), (10**7, 100, np.float32), (10**9, 1, np.float64)])
def test_a_launch_of_a_large_product_is_short(cupy, n, d, dtype):
    """By the count of what a launch computes, without computing it."""
    from genkern._cupy import features

    size = np.dtype(dtype).itemsize
    tile = features.TILES[size][0] * features.TILES[size][1] * (d + features.ENTRY)
    multiprocessors = features._launch.limits().multiprocessors
    tiles = features._tiles(tile, size)
    seconds = 1e-9 * tiles / multiprocessors * tile / features.MULTIPLY_ADDS[size]
    assert 0.5 * features.LAUNCH_SECONDS < seconds <= features.LAUNCH_SECONDS
