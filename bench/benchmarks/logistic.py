"""Gradient descent on the logistic loss: genkern and the loops that a user would write instead, on the same inputs.

The peers are values of `backend`. Each is a maker (Z, eta, steps, threads) -> call, where Z (items, n, d) has the rows
y_i x_i and call() returns the coefficients (items, d) after `steps` steps from zero.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .common import THREADS, finished, host, median_seconds, place, set_threads

Array = np.ndarray[Any, Any]
Call = Callable[[], Any]

# (items, n, d): steps of one call, which takes the fastest peer a tenth of a second or more.
SIZES = {(1000, 32, 8): 500, (256, 100, 20): 500, (1, 200, 1000): 30000, (1, 569, 31): 30000}
OURS = ("cpp", "numba", "reference", "cupy")
FAR = 1e7


def problem(items: int, n: int, d: int, dtype: str) -> tuple[Array, Array]:
    """Standard normal inputs with coin-flip labels, as rows y_i x_i, and the default step sizes.

    Frozen: another stream makes old timings incomparable.
    """
    rng = np.random.Generator(np.random.PCG64([20261124, n, d]))
    Z = rng.standard_normal((items, n, d)) * rng.choice([-1.0, 1.0], (items, n))[..., None]
    return Z.astype(dtype), 4.0 / np.linalg.norm(Z, 2, axis=(1, 2)) ** 2


def plain_loop(Z: Array, eta: float, steps: int) -> Array:
    """One problem in float64, the loop of a textbook."""
    w = np.zeros(Z.shape[1])
    for _ in range(steps):
        w = w + eta * (Z.T @ (1.0 / (1.0 + np.exp(Z @ w))))
    return w


def _genkern(backend: str) -> Callable[[Array, Array, int, int], Call]:
    def make(Z: Array, eta: Array, steps: int, threads: int) -> Call:
        import genkern

        points, labels = place(backend, Z, np.ones(Z.shape[:2], Z.dtype))
        options: dict[str, Any] = {"step_size": eta, "method": "exact", "backend": backend, "n_threads": threads}
        return finished(backend, lambda: genkern.logistic_path(points, labels, steps, **options).coef)

    return make


def _numpy(Z: Array, eta: Array, steps: int, threads: int) -> Call:
    rates, transposed = eta.astype(Z.dtype)[:, None, None], Z.swapaxes(-1, -2)

    def call() -> Array:
        w = np.zeros((len(Z), Z.shape[2], 1), Z.dtype)
        for _ in range(steps):
            w = w + rates * (transposed @ (1 / (1 + np.exp(Z @ w))))
        return w[..., 0]

    return call


def _torch(Z: Array, eta: Array, steps: int, threads: int) -> Call:
    import torch

    A, rates = torch.from_numpy(Z), torch.from_numpy(eta.astype(Z.dtype))[:, None, None]
    transposed = A.mT.contiguous()

    def call() -> Any:
        w = torch.zeros((len(Z), Z.shape[2], 1), dtype=A.dtype)
        with torch.inference_mode():
            for _ in range(steps):
                w = w + rates * (transposed @ torch.sigmoid(-(A @ w)))
        return w[..., 0]

    return call


def _jax(Z: Array, eta: Array, steps: int, threads: int) -> Call:
    import jax

    jax.config.update("jax_enable_x64", True)

    def path(Z: Any, rate: Any) -> Any:
        def step(_: Any, w: Any) -> Any:
            return w + rate * (jax.nn.sigmoid(-(Z @ w)) @ Z)

        return jax.lax.fori_loop(0, steps, step, jax.numpy.zeros(Z.shape[1], Z.dtype))

    A, rates = jax.numpy.asarray(Z), jax.numpy.asarray(eta.astype(Z.dtype))
    if len(Z) == 1:  # faster without the axis of the batch
        alone = jax.jit(path)
        return lambda: alone(A[0], rates[0]).block_until_ready()[None]
    batch = jax.jit(jax.vmap(path))
    return lambda: batch(A, rates).block_until_ready()


def _numba_loop(Z: Array, eta: Array, steps: int, threads: int) -> Call:
    """The loop of a user who compiles it: one problem, scalar code that LLVM may vectorise."""
    import numba

    @numba.njit(fastmath=True)  # type: ignore[untyped-decorator]
    def path(Z: Any, eta: float, steps: int) -> Any:
        n, d = Z.shape
        w, gradient = np.zeros(d), np.zeros(d)
        for _ in range(steps):
            gradient[:] = 0.0
            for i in range(n):
                u = 0.0
                for j in range(d):
                    u += Z[i, j] * w[j]
                weight = 1.0 / (1.0 + np.exp(u))
                for j in range(d):
                    gradient[j] += weight * Z[i, j]
            for j in range(d):
                w[j] += eta * gradient[j]
        return w

    A, rate = np.ascontiguousarray(Z[0]), float(eta[0])
    path(A, rate, 1)
    return lambda: path(A, rate, steps)[None]


PEERS: dict[str, Callable[[Array, Array, int, int], Call]] = {"numpy": _numpy, "torch": _torch, "jax": _jax}
BACKENDS = {backend: _genkern(backend) for backend in OURS} | PEERS


class GradientDescent:
    """Every step run."""

    params = (["x".join(map(str, size)) for size in SIZES], ["float64", "float32"], list(BACKENDS))
    param_names = ("size", "dtype", "backend")
    timeout = 300
    number = 1
    repeat = (3, 7, 5.0)
    warmup_time = 0.2

    def setup(self, size: str, dtype: str, backend: str) -> None:
        items, n, d = map(int, size.split("x"))
        if backend == "reference" and items > 1:
            raise NotImplementedError("the reference is not made for batches")
        self.Z, self.eta = problem(items, n, d, dtype)
        self.steps = SIZES[items, n, d]
        try:
            self.call = BACKENDS[backend](self.Z, self.eta, self.steps, THREADS)
            self.call()
        except ImportError as error:
            raise NotImplementedError(f"{backend}: {error}") from error
        set_threads(THREADS)

    def time_path(self, size: str, dtype: str, backend: str) -> None:
        self.call()

    def track_ns_per_step(self, size: str, dtype: str, backend: str) -> float:
        return median_seconds(self.call) * 1e9 / (self.steps * len(self.Z))

    def track_error(self, size: str, dtype: str, backend: str) -> float:
        exact = plain_loop(self.Z[0].astype(np.float64), float(self.eta[0]), self.steps)
        found = host(self.call())[0]
        return float(np.linalg.norm(found - exact) / np.linalg.norm(exact))


# Peers that run 10^7 steps of one small problem in seconds.
COMPILED = {"jax": _jax, "numba-loop": _numba_loop}


def far_problem() -> tuple[Array, Array]:
    """One separable problem, n = 30, d = 5, and its step size."""
    import genkern

    p = genkern.problems.separable(30, 5, seed=0)
    Z = (p.y[:, None] * p.X)[None]
    return Z, np.array([4.0 / np.linalg.norm(Z[0], 2) ** 2])


class FarSteps:
    """The state after 10^7 steps of one separable problem, n = 30, d = 5: continued, or every step run by a peer."""

    params = (["cpp", "numba", "reference", "cpp-exact", "cupy-exact", *COMPILED],)
    param_names = ("backend",)
    timeout = 300
    number = 1
    repeat = (1, 3, 20.0)
    warmup_time = 0.0

    def setup(self, backend: str) -> None:
        import genkern

        self.Z, eta = far_problem()
        ours = backend.split("-")[0]
        try:
            if backend in COMPILED:
                self.call = COMPILED[backend](self.Z, eta, int(FAR), THREADS)
            else:
                _genkern(ours)(self.Z, eta, 1, THREADS)()  # is it there?
                method = "exact" if backend.endswith("exact") else "continued"
                points, labels = place(ours, self.Z, np.ones((1, 30)))
                options = {"step_size": eta, "method": method, "backend": ours}
                self.call = finished(ours, lambda: genkern.logistic_path(points, labels, FAR, **options).coef)
        except ImportError as error:
            raise NotImplementedError(f"{backend}: {error}") from error
        self.exact = lambda: genkern.logistic_path(self.Z, np.ones((1, 30)), FAR, step_size=eta, method="exact").coef
        set_threads(THREADS)

    def time_far(self, backend: str) -> None:
        self.call()

    def track_error(self, backend: str) -> float:
        exact = self.exact()
        return float(np.linalg.norm(host(self.call()) - exact) / np.linalg.norm(exact))


GradientDescent.track_ns_per_step.unit = "ns"  # type: ignore[attr-defined]
GradientDescent.track_error.unit = "relative error"  # type: ignore[attr-defined]
FarSteps.track_error.unit = "relative error"  # type: ignore[attr-defined]
