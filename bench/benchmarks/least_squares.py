"""Batched minimum-norm least squares: genkern and what a user would run instead, on the same inputs.

The peers are values of `backend`. Each is a maker (X, y, threads) -> call, where call() returns coef (items, d) in the
peer's own library. Backward-stable peers stand in PEERS. UNSTABLE holds the shortcut through the normal equations,
which squares the condition number; it is shown for comparison only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .common import THREADS, finished, host, median_seconds, place, set_threads

Array = np.ndarray[Any, Any]
Call = Callable[[], Any]

# (n, d): problems in one batch, so that the fastest peer needs about a tenth of a second.
SIZES = {
    (8, 16): 16384,
    (16, 32): 6144,
    (32, 64): 2048,
    (64, 128): 512,
    (128, 256): 96,
    (256, 512): 24,
    (1024, 2048): 1,
}
OURS = ("cpp", "numba", "reference", "cupy")


def problem(n: int, d: int, items: int, dtype: str) -> tuple[Array, Array]:
    """Standard normal X (items, n, d) and y (items, n). Frozen: another stream makes old timings incomparable."""
    rng = np.random.Generator(np.random.PCG64([20261122, n, d]))
    X = rng.standard_normal((items, n, d)).astype(dtype)
    return X, rng.standard_normal((items, n)).astype(dtype)


def flops(n: int, d: int) -> float:
    """Of one Householder LQ solve with one right-hand side, n <= d."""
    return 2.0 * n * n * (d - n / 3) + 4.0 * n * d


def forward_error(X: Array, y: Array, coef: Any) -> float:
    """Largest relative error of the first few items, against solutions refined in extended precision."""
    worst = 0.0
    for A, b, w in list(zip(X, y, host(coef), strict=True))[:4]:
        A, b = A.astype(np.longdouble), b.astype(np.longdouble)
        A64 = A.astype(np.float64)
        gram = A64 @ A64.T
        dual = np.zeros(len(b), np.longdouble)
        for _ in range(8):  # each gains the digits that float64 has left at the condition of the Gram matrix
            residual = b - A @ (A.T @ dual)
            dual += np.linalg.solve(gram, residual.astype(np.float64))
        exact = A.T @ dual
        worst = max(worst, float(np.linalg.norm(w - exact) / np.linalg.norm(exact)))
    return worst


def _torch(driver: str) -> Callable[[Array, Array, int], Call]:
    def make(X: Array, y: Array, threads: int) -> Call:
        import torch

        A, b = torch.from_numpy(X), torch.from_numpy(y)[..., None]
        return lambda: torch.linalg.lstsq(A, b, driver=driver).solution[..., 0]

    return make


def _scipy(driver: str) -> Callable[[Array, Array, int], Call]:
    def make(X: Array, y: Array, threads: int) -> Call:
        import scipy
        from scipy.linalg import lstsq

        options = {"lapack_driver": driver, "check_finite": False}
        if tuple(map(int, scipy.__version__.split(".")[:2])) >= (1, 18):  # batches in C
            b = y[..., None]
            return lambda: lstsq(X, b, **options)[0][..., 0]
        return lambda: np.stack([lstsq(A, b, **options)[0] for A, b in zip(X, y, strict=True)])

    return make


def _numpy(X: Array, y: Array, threads: int) -> Call:
    return lambda: np.stack([np.linalg.lstsq(A, b)[0] for A, b in zip(X, y, strict=True)])


def _numpy_pinv(X: Array, y: Array, threads: int) -> Call:
    b = y[..., None]
    return lambda: (np.linalg.pinv(X) @ b)[..., 0]


def _jax(X: Array, y: Array, threads: int) -> Call:
    import jax

    jax.config.update("jax_enable_x64", True)
    solve = jax.jit(jax.vmap(lambda A, b: jax.numpy.linalg.lstsq(A, b)[0]))
    A, b = jax.numpy.asarray(X), jax.numpy.asarray(y)
    return lambda: solve(A, b).block_until_ready()


def _normal_equations_numpy(X: Array, y: Array, threads: int) -> Call:
    b, Xt = y[..., None], X.swapaxes(-1, -2)
    return lambda: (Xt @ np.linalg.solve(X @ Xt, b))[..., 0]


def _normal_equations_torch(X: Array, y: Array, threads: int) -> Call:
    import torch

    A, b = torch.from_numpy(X), torch.from_numpy(y)[..., None]
    return lambda: (A.mT @ torch.linalg.solve(A @ A.mT, b))[..., 0]


def _genkern(backend: str) -> Callable[[Array, Array, int], Call]:
    def make(X: Array, y: Array, threads: int) -> Call:
        import genkern

        A, b = place(backend, X, y)
        return finished(backend, lambda: genkern.lstsq(A, b, backend=backend, n_threads=threads).coef)

    return make


PEERS: dict[str, Callable[[Array, Array, int], Call]] = {
    "torch-gels": _torch("gels"),
    "torch-gelsy": _torch("gelsy"),
    "torch-gelsd": _torch("gelsd"),
    "scipy-gelsy": _scipy("gelsy"),
    "scipy-gelsd": _scipy("gelsd"),
    "numpy": _numpy,
    "numpy-pinv": _numpy_pinv,
    "jax": _jax,
}
UNSTABLE = {
    "unstable-numpy": _normal_equations_numpy,
    "unstable-torch": _normal_equations_torch,
}
BACKENDS = {**{name: _genkern(name) for name in OURS}, **PEERS, **UNSTABLE}


class Lstsq:
    """X (items, n, d) full rank with d = 2n, one right-hand side."""

    params = ([f"{n}x{d}" for n, d in SIZES], ["float64", "float32"], list(BACKENDS))
    param_names = ("size", "dtype", "backend")
    timeout = 300
    number = 1
    repeat = (3, 7, 5.0)
    warmup_time = 0.2

    def setup(self, size: str, dtype: str, backend: str) -> None:
        n, d = map(int, size.split("x"))
        self.X, self.y = problem(n, d, SIZES[n, d], dtype)
        try:
            self.call = BACKENDS[backend](self.X, self.y, THREADS)
        except ImportError as error:
            raise NotImplementedError(f"{backend}: {error}") from error
        set_threads(THREADS)

    def time_batch(self, size: str, dtype: str, backend: str) -> None:
        self.call()

    def track_ns_per_problem(self, size: str, dtype: str, backend: str) -> float:
        return median_seconds(self.call) * 1e9 / len(self.X)

    def track_error(self, size: str, dtype: str, backend: str) -> float:
        return forward_error(self.X, self.y, self.call())


Lstsq.track_ns_per_problem.unit = "ns"  # type: ignore[attr-defined]
Lstsq.track_error.unit = "relative error"  # type: ignore[attr-defined]
