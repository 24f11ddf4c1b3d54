"""Large cases of gpu_report.py: data made on the GPU, and certificates where an answer from the CPU takes minutes.

Least squares by the gradient (of the objective, at the result, over that at 0), square systems by their residual (over
the sizes of what it is the difference of), descent by its own rule (the error of the last step, over the length of the
iterate), all in float64 on the GPU. None is an error of the result itself: that is up to the condition number larger.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from benchmarks.common import finished, host
from gpu_cases import CHECKED, Call, Case, cupy_pinv, jax_lstsq, relative, torch_descent, torch_features, torch_lstsq

import genkern

Array = Any  # of CuPy
ROWS = 1 << 18  # of a matrix in float64 at once


@dataclass(frozen=True)
class Large:
    """A case that is built only where there is memory for it."""

    name: str
    dtype: str
    memory: float  # bytes at the peak, roughly
    build: Callable[[], Case]


def normal(shape: tuple[int, ...], dtype: str) -> Array:
    """Standard normal numbers on the GPU."""
    import cupy

    return cupy.random.default_rng(20261124).standard_normal(shape, dtype=dtype)


def gradient(A: Array, b: Array, coef: Array, ridge: float = 0.0) -> float:
    """``||A^T (A w - b) + ridge w|| / ||A^T b||``."""
    import cupy

    w = coef.astype(np.float64)
    found, start = ridge * w, cupy.zeros_like(w)
    for first in range(0, len(A), ROWS):
        part, y = (values[first : first + ROWS].astype(np.float64) for values in (A, b))
        found = found + part.T @ (part @ w - y)
        start = start + part.T @ y
    return float(cupy.linalg.norm(found) / cupy.linalg.norm(start))


def residual(A: Array, b: Array, coef: Array) -> float:
    """``||A w - b|| / (||A|| ||w|| + ||b||)`` with the Frobenius norm of A."""
    import cupy

    A, b, w = (values.astype(np.float64) for values in (A, b, coef))
    size = cupy.linalg.norm(A) * cupy.linalg.norm(w) + cupy.linalg.norm(b)
    return float(cupy.linalg.norm(A @ w - b) / size)


def one_step(Z: Array, eta: float, coef: Array) -> float:
    """How far the second iterate (of two, d) is from a step of gradient descent from the first, over its length."""
    import cupy

    before, after = coef.astype(np.float64)
    slope = cupy.zeros_like(before)
    for first in range(0, len(Z), ROWS):
        part = Z[first : first + ROWS].astype(np.float64)
        slope = slope + part.T @ (1.0 / (1.0 + cupy.exp(part @ before)))
    return float(cupy.linalg.norm(before + eta * slope - after) / cupy.linalg.norm(after))


def solve(n: int, d: int, dtype: str, copies: int) -> Large:
    """One least-squares problem, tall or square."""

    def build() -> Case:
        A, b = normal((n, d), dtype), normal((n,), dtype)
        measure, certificate = (residual, "residual") if n == d else (gradient, "gradient")
        peers: dict[str, Callable[[], Call]] = {
            "torch.linalg.lstsq": lambda: torch_lstsq(A, b),
            "cupy.linalg.pinv": lambda: cupy_pinv(A, b),
        }
        return Case(
            f"lstsq {n} x {d}", dtype, finished("cupy", lambda: genkern.lstsq(A, b).coef),
            lambda coef: measure(A, b, coef.reshape(d)), 2.0 * d * d * (n - d / 3), float((n + 1) * d * A.itemsize),
            peers, {"jax lstsq": lambda: jax_lstsq(A[None], b[None])}, certificate=certificate,
        )  # fmt: skip

    return Large(f"lstsq {n} x {d}", dtype, copies * n * d * np.dtype(dtype).itemsize, build)


def batch(items: int, n: int, d: int, dtype: str) -> Large:
    """Wide problems of full rank."""

    def build() -> Case:
        A, b = normal((items, n, d), dtype), normal((items, n), dtype)
        few = [host(values[:CHECKED]).astype(np.float64) for values in (A, b)]
        exact = genkern.lstsq(*few, backend="reference").coef
        peers: dict[str, Callable[[], Call]] = {
            "torch.linalg.lstsq": lambda: torch_lstsq(A, b),
            "cupy.linalg.pinv": lambda: cupy_pinv(A, b),
        }
        return Case(
            f"lstsq {n} x {d}, {items} problems", dtype, finished("cupy", lambda: genkern.lstsq(A, b).coef),
            lambda coef: relative(coef[:CHECKED], exact), items * 2.0 * n * n * (d - n / 3),
            float(A.nbytes + b.nbytes + items * d * A.itemsize), peers,
            {"jax lstsq": lambda: jax_lstsq(A, b)},
        )  # fmt: skip

    return Large(f"lstsq {n} x {d}, {items} problems", dtype, 4 * items * n * d * np.dtype(dtype).itemsize, build)


def ridges(n: int, dtype: str) -> Large:
    """Ten penalties of a square problem."""
    values = np.logspace(0, 4, 10)

    def build() -> Case:
        import cupy

        A, b = normal((n, n), dtype), normal((n,), dtype)

        def each() -> Any:
            gram, side = A.T @ A, A.T @ b
            eye = cupy.eye(n, dtype=A.dtype)
            return cupy.stack([cupy.linalg.solve(gram + A.dtype.type(value) * eye, side) for value in values])

        return Case(
            f"ridge_path {n} x {n}, {len(values)} ridges", dtype,
            finished("cupy", lambda: genkern.ridge_path(A, b, values)),
            lambda coef: max(gradient(A, b, w, float(v)) for w, v in zip(coef, values, strict=True)),
            2.0 * n * n * n * 4 / 3 + 4.0 * n * n * len(values), float(A.nbytes + n * len(values) * A.itemsize),
            {"cupy normal equations, a solve each": lambda: finished("cupy", each)}, certificate="gradient",
        )  # fmt: skip

    return Large(f"ridge_path {n} x {n}", dtype, 10 * n * n * np.dtype(dtype).itemsize, build)


def features(n: int, d: int, most: int, dtype: str, memory: float) -> Large:
    """As many features as 40% of the memory holds; the first and the last are compared with the reference."""
    itemsize = np.dtype(dtype).itemsize
    width = int(min(most, 0.4 * memory // (n * itemsize)))

    def build() -> Case:
        X = normal((n, d), dtype)
        few, ends = host(X[:CHECKED]).astype(np.float64), min(64, width)
        exact = np.concatenate([
            genkern.random_features(few, ends, start=start, backend="reference") for start in (0, width - ends)
        ], axis=1)  # fmt: skip

        def error(found: Any) -> float:
            columns = [host(found[:CHECKED, part]) for part in (slice(None, ends), slice(width - ends, None))]
            return relative(np.concatenate(columns, axis=1), exact)

        return Case(
            f"random_features {n} x {d}, width {width}", dtype,
            finished("cupy", lambda: genkern.random_features(X, width)), error, 2.0 * n * d * width,
            float((d + width) * n * itemsize), {"torch randn, matmul, relu": lambda: torch_features(X, width)},
            comparable=False,
        )  # fmt: skip

    return Large(f"random_features {n} x {d}, width {width}", dtype, (width + 2 * d) * n * itemsize, build)


def descent(n: int, d: int, steps: int, dtype: str) -> Large:
    """Gradient descent on the logistic loss of one problem, every step."""
    eta = float((np.sqrt(n) + np.sqrt(d)) ** -2)
    name = f"logistic_path {n} x {d}, {steps} steps"

    def build() -> Case:
        import cupy

        Z, labels = normal((n, d), dtype), cupy.ones(n, dtype)
        return Case(
            name, dtype,
            finished("cupy", lambda: genkern.logistic_path(
                Z, labels, [steps - 1, steps], step_size=eta, method="exact").coef),
            lambda coef: one_step(Z, eta, coef[-2:]), 4.0 * n * d * steps, float(Z.nbytes),
            {"torch loop": lambda: torch_descent(Z[None], [eta], steps)}, comparable=False, certificate="one step",
        )  # fmt: skip

    return Large(name, dtype, (4 * n * d + 2 * min(n, d) ** 2) * 8, build)


def large(dtype: str, quick: bool, memory: float) -> Iterator[Large]:
    """All of them, for a card with so many bytes."""
    yield solve(2000 if quick else 10**7, 10 if quick else 50, dtype, 6)
    yield solve(48 if quick else 8192, 48 if quick else 8192, dtype, 8)
    yield batch(*((3, 12, 20) if quick else (1000, 256, 512)), dtype)
    yield ridges(40 if quick else 4096, dtype)
    yield features(*((200, 10, 300) if quick else (10**5, 100, 10**5)), dtype, memory)
    yield descent(*((3000, 4, 5) if quick else (10**6, 20, 200)), dtype)
    yield descent(*((10, 300, 20) if quick else (1000, 10000, 3000)), dtype)


def subnormal() -> str:
    """What becomes of float32 numbers near 1e-40, in a sentence: CuPy compiles kernels so that they count as 0."""
    import cupy

    A = (1e-40 * np.random.default_rng(0).standard_normal((64, 16))).astype(np.float32)
    told = []
    for where, X in (("here", cupy.asarray(A)), ("on the CPU", A)):
        found = genkern.lstsq(X, X[:, 0])
        seen = float((host(genkern.random_features(X, 1000, activation="identity")) != 0).mean())
        largest = float(np.abs(host(found.coef)).max())
        told.append(
            f"{where} lstsq finds rank {int(found.rank)} and coefficients up to {largest:.1e}, and {seen:.0%} of "
            "random features (identity) are not 0"
        )
    return f"float32 data near 1e-40 (64 x 16): {'; '.join(told)}."
