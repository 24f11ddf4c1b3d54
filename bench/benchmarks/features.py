"""Random features: genkern and what a user would run instead, weights drawn anew in every call on both sides.

The peers are values of `backend`. Each is a maker (X, width, activation) -> call, where call() returns the features
(n, width) and the function that gives the weights (d, width) they were made with.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import special

import genkern

from .common import THREADS, finished, host, median_seconds, place, set_threads

Array = np.ndarray[Any, Any]
Call = Callable[[], tuple[Any, Callable[[], Array]]]

# (n, d, width)
SIZES = ((100, 16, 1000), (1000, 64, 4000), (1000, 784, 4000), (20000, 16, 100))
EXACT = {"relu": lambda z: np.maximum(z, 0), "erf": special.erf, "tanh": np.tanh, "cos": np.cos}


def problem(n: int, d: int, dtype: str) -> Array:
    """Standard normal X (n, d). Frozen: another stream makes old timings incomparable."""
    rng = np.random.Generator(np.random.PCG64([20261122, n, d]))
    return rng.standard_normal((n, d)).astype(dtype)


def relative_error(X: Array, features: Any, weights: Array, activation: str) -> float:
    """Largest error over the largest feature, against float64 products of the same weights."""
    exact = EXACT[activation](X.astype(np.float64) @ weights.astype(np.float64) / np.sqrt(X.shape[1]))
    return float(np.abs(host(features) - exact).max() / np.abs(exact).max())


def _genkern(backend: str) -> Callable[[Array, int, str], Call]:
    def make(X: Array, width: int, activation: str) -> Call:
        def weights() -> Array:
            rows = 2.0 ** (2 * np.ceil(np.log2(X.shape[1]) / 2))  # 1/sqrt(rows) is exact: zero columns fill up
            unit = np.sqrt(rows) * np.eye(X.shape[1], int(rows), dtype=X.dtype)
            return genkern.random_features(unit, width, activation="identity")

        (there,) = place(backend, X)
        return finished(
            backend,
            lambda: (
                genkern.random_features(there, width, activation=activation, backend=backend, n_threads=THREADS),
                weights,
            ),
        )

    return make


def _numpy(X: Array, width: int, activation: str) -> Call:
    rng = np.random.default_rng(0)
    scale = X.dtype.type(1 / np.sqrt(X.shape[1]))

    def call() -> tuple[Array, Callable[[], Array]]:
        W = rng.standard_normal((X.shape[1], width), dtype=X.dtype)
        z = X @ W
        z *= scale
        return EXACT[activation](z), lambda: W

    return call


def _torch(X: Array, width: int, activation: str) -> Call:
    import torch

    inputs = torch.from_numpy(X)
    apply = {"relu": torch.relu, "erf": torch.erf, "tanh": torch.tanh, "cos": torch.cos}[activation]
    scale = 1 / np.sqrt(X.shape[1])

    def call() -> tuple[Any, Callable[[], Array]]:
        W = torch.randn(X.shape[1], width, dtype=inputs.dtype)
        return apply((inputs @ W).mul_(scale)), W.numpy

    return call


def _jax(X: Array, width: int, activation: str) -> Call:
    import jax

    jax.config.update("jax_enable_x64", True)
    apply = {
        "relu": jax.nn.relu,
        "erf": jax.scipy.special.erf,
        "tanh": jax.numpy.tanh,
        "cos": jax.numpy.cos,
    }[activation]
    inputs = jax.numpy.asarray(X)

    def draw(key: Any) -> Any:
        return jax.random.normal(key, (X.shape[1], width), inputs.dtype)

    features = jax.jit(lambda X, key: apply(X @ draw(key) / np.sqrt(X.shape[1]).astype(X.dtype)))
    key = jax.random.key(0)
    return lambda: (features(inputs, key).block_until_ready(), lambda: np.asarray(draw(key)))


PEERS = {"numpy": _numpy, "torch": _torch, "jax": _jax}
OURS = ("cpp", "numba", "reference", "cupy")
BACKENDS = {backend: _genkern(backend) for backend in OURS} | PEERS


class _Features:
    timeout = 120.0
    repeat = (3, 7, 5.0)
    warmup_time = 0.2

    def prepare(self, n: int, d: int, width: int, activation: str, dtype: str, backend: str) -> None:
        if backend == "reference" and n * d * width > 1e8:
            raise NotImplementedError("the reference is not made for this size")
        self.X, self.width, self.activation = problem(n, d, dtype), width, activation
        try:
            self.call = BACKENDS[backend](self.X, width, activation)
            self.call()
        except (ImportError, genkern.errors.BackendUnavailable) as error:
            raise NotImplementedError(f"{backend}: {error}") from error
        set_threads(THREADS)

    def error(self) -> float:
        features, weights = self.call()
        return relative_error(self.X, features, weights(), self.activation)

    def nanoseconds(self) -> float:
        return median_seconds(self.call) * 1e9 / (len(self.X) * self.width)


class RandomFeatures(_Features):
    """relu features of n points in d dimensions."""

    params = (["x".join(map(str, size)) for size in SIZES], ["float64", "float32"], list(BACKENDS))
    param_names = ("size", "dtype", "backend")

    def setup(self, size: str, dtype: str, backend: str) -> None:
        n, d, width = map(int, size.split("x"))
        self.prepare(n, d, width, "relu", dtype, backend)

    def time_features(self, size: str, dtype: str, backend: str) -> None:
        self.call()

    def track_ns_per_feature(self, size: str, dtype: str, backend: str) -> float:
        return self.nanoseconds()

    def track_error(self, size: str, dtype: str, backend: str) -> float:
        return self.error()


class Activations(_Features):
    """One size, every activation that costs something."""

    params = (["erf", "tanh", "cos"], ["float64", "float32"], list(BACKENDS))
    param_names = ("activation", "dtype", "backend")

    def setup(self, activation: str, dtype: str, backend: str) -> None:
        self.prepare(1000, 64, 4000, activation, dtype, backend)

    def time_features(self, activation: str, dtype: str, backend: str) -> None:
        self.call()

    def track_ns_per_feature(self, activation: str, dtype: str, backend: str) -> float:
        return self.nanoseconds()

    def track_error(self, activation: str, dtype: str, backend: str) -> float:
        return self.error()


for _class in (RandomFeatures, Activations):
    _class.track_ns_per_feature.unit = "ns"  # type: ignore[attr-defined]
    _class.track_error.unit = "relative error"  # type: ignore[attr-defined]
del _class  # a second name would make report.py measure the class twice
