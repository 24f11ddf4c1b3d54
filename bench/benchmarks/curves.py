"""Nested curves: genkern and the fresh solves that a user would run instead, on the same features.

The peers are values of `backend`. Each is a maker (problem, threads) -> call, where call(width) returns the test risk
of every seed from a fresh least-squares solve and its predictions. Features are inputs on both sides: making them is in
nobody's time.

A peer is timed at SAMPLED of the widths, the middles of as many equal parts of the list, and its whole curve is their
mean times the length of the list: extrapolated. genkern is always timed on the whole curve.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

import genkern

from .common import THREADS, finished, host, median_seconds, place, set_threads

Array = np.ndarray[Any, Any]
Call = Callable[[int], Array]
SAMPLED = 10


class Size(NamedTuple):
    """n training and m test points, widths step, 2 step, ... up to P, for a number of seeds."""

    n: int
    m: int
    P: int
    step: int = 1
    seeds: int = 1

    @property
    def widths(self) -> list[int]:
        return list(range(self.step, self.P + 1, self.step))

    @property
    def sample(self) -> list[int]:
        """Widths at which a peer is timed."""
        widths = self.widths
        parts = min(SAMPLED, len(widths))
        return [widths[int((part + 0.5) * len(widths) / parts - 0.5)] for part in range(parts)]

    @property
    def flops(self) -> float:
        """Of all widths, one target."""
        return float((4 * self.m * self.n + 6 * self.n**2) * self.P * self.seeds)


SIZES = {
    "small": Size(50, 100, 200),
    "every": Size(1000, 4000, 4000),
    "hundreds": Size(1000, 4000, 4000, step=100),
    "seeds": Size(100, 1000, 400, seeds=200),
}
STREAMED = {"small": Size(50, 100, 2000), "long": Size(500, 1000, 100_000)}
OURS = ("cpp", "numba", "reference", "cupy")


@dataclass
class Problem:
    """F (seeds, n, P), y (seeds, n), F_test (seeds, m, P), y_test (seeds, m)."""

    F: Array
    y: Array
    F_test: Array
    y_test: Array


def problem(size: Size, dtype: str) -> Problem:
    """Standard normal features and a noisy linear target. Frozen: another stream makes old timings incomparable."""
    rng = np.random.Generator(np.random.PCG64([20261124, size.n, size.m, size.P, size.seeds]))
    F = rng.standard_normal((size.seeds, size.n, size.P)).astype(dtype)
    F_test = rng.standard_normal((size.seeds, size.m, size.P)).astype(dtype)
    target = rng.standard_normal(size.P).astype(dtype) / np.sqrt(size.P, dtype=dtype)
    y = F @ target + rng.standard_normal((size.seeds, size.n)).astype(dtype) / 4
    return Problem(F, y, F_test, F_test @ target)


def fresh_risk(data: Problem, width: int, seed: int) -> float:
    """Test risk of one seed by NumPy's SVD solve in float64."""
    F, F_test = (A[seed, :, :width].astype(np.float64) for A in (data.F, data.F_test))
    coef = np.linalg.lstsq(F, data.y[seed].astype(np.float64))[0]
    return float(np.mean((F_test @ coef - data.y_test[seed].astype(np.float64)) ** 2))


def checked_widths(size: Size) -> list[int]:
    """A width below n, one at n, and one above."""
    widths = size.widths
    return sorted({size.sample[0], min(widths, key=lambda width: abs(width - size.n)), size.sample[-1]})


def relative_error(data: Problem, size: Size, risks: Callable[[int], Array]) -> float:
    """Largest difference of the first seed's test risk from that of a fresh solve, relative to it."""
    fresh = {width: fresh_risk(data, width, 0) for width in checked_widths(size)}
    return max(abs(float(risks(width)[0]) - risk) / risk for width, risk in fresh.items())


def _torch_gels(data: Problem, threads: int) -> Call:
    import torch

    F, F_test = torch.from_numpy(data.F), torch.from_numpy(data.F_test)
    y, y_test = torch.from_numpy(data.y)[..., None], torch.from_numpy(data.y_test)[..., None]

    def call(width: int) -> Array:
        with torch.inference_mode():
            coef = torch.linalg.lstsq(F[..., :width], y, driver="gels").solution
            return ((F_test[..., :width] @ coef - y_test) ** 2).mean(dim=(1, 2)).numpy()

    return call


def _looped(solve: Callable[[Array, Array], Array]) -> Callable[[Problem, int], Call]:
    def make(data: Problem, threads: int) -> Call:
        def call(width: int) -> Array:
            risks = []
            for F, y, F_test, y_test in zip(data.F, data.y, data.F_test, data.y_test, strict=True):
                error = F_test[:, :width] @ solve(F[:, :width], y) - y_test
                risks.append(error @ error / len(error))
            return np.array(risks)

        return call

    return make


def _scipy_gelsy(F: Array, y: Array) -> Array:
    from scipy.linalg import lstsq

    return lstsq(F, y, lapack_driver="gelsy", check_finite=False)[0]


def curve(data: Problem, size: Size, backend: str, threads: int) -> Callable[[], Array]:
    """A call that returns genkern's test risks (seeds, widths)."""
    widths = size.widths
    arguments = place(backend, data.F, data.y, data.F_test, data.y_test)
    return finished(
        backend,
        lambda: genkern.width_curve(*arguments, widths=widths, backend=backend, n_threads=threads).test_risk,
    )


def streamed(size: Size, backend: str | None = None) -> Array:
    """Test risk at every width of relu features of standard normal inputs, which are never held."""
    rng = np.random.Generator(np.random.PCG64([20261124, size.n, size.m]))
    X, X_test = rng.standard_normal((size.n, 64)), rng.standard_normal((size.m, 64))
    y, y_test = np.sin(X[:, 0]) + rng.standard_normal(size.n) / 4, np.sin(X_test[:, 0])
    arguments = (X, y, X_test, y_test) if backend is None else place(backend, X, y, X_test, y_test)
    return genkern.random_feature_curve(*arguments, widths=size.widths, backend=backend, n_threads=THREADS).test_risk


PEERS: dict[str, Callable[[Problem, int], Call]] = {
    "torch-gels": _torch_gels,
    "scipy-gelsy": _looped(_scipy_gelsy),
    "numpy": _looped(lambda F, y: np.linalg.lstsq(F, y)[0]),
}


class WidthCurve:
    """Test risk over widths. A peer's `time_curve` is of the sampled widths only; `track_ns_per_width` compares."""

    params = (list(SIZES), ["float64", "float32"], [*OURS, *PEERS])
    param_names = ("size", "dtype", "backend")
    timeout = 600
    number = 1
    repeat = (1, 3, 10.0)
    warmup_time = 0.0

    def setup(self, size: str, dtype: str, backend: str) -> None:
        self.size = SIZES[size]
        if backend == "reference" and size != "small":
            raise NotImplementedError("the reference is not made for this size")
        self.data = problem(self.size, dtype)
        try:
            if backend in OURS:
                self.call = curve(self.data, self.size, backend, THREADS)
            else:
                solve = PEERS[backend](self.data, THREADS)
                solve(self.size.step)
                self.call = lambda: np.stack([solve(width) for width in self.size.sample], axis=-1)
        except ImportError as error:
            raise NotImplementedError(f"{backend}: {error}") from error
        self.widths = self.size.widths if backend in OURS else self.size.sample
        self.solve = None if backend in OURS else solve
        set_threads(THREADS)

    def time_curve(self, size: str, dtype: str, backend: str) -> None:
        self.call()

    def track_ns_per_width(self, size: str, dtype: str, backend: str) -> float:
        """Of one width and one seed; a peer's mean over the sampled widths."""
        return median_seconds(self.call) * 1e9 / (len(self.widths) * self.size.seeds)

    def track_error(self, size: str, dtype: str, backend: str) -> float:
        if self.solve is not None:
            return relative_error(self.data, self.size, self.solve)
        risks = host(self.call())
        return relative_error(self.data, self.size, lambda width: risks[:, self.widths.index(width)])


class StreamedCurve:
    """Every width of random features that are made block by block: memory is independent of P."""

    params = (list(STREAMED), ["cpp", "numba", "cupy"])
    param_names = ("size", "backend")
    timeout = 600

    def setup(self, size: str, backend: str) -> None:
        if not genkern.backends()[backend].startswith("available"):
            raise NotImplementedError(genkern.backends()[backend])
        set_threads(THREADS)

    def peakmem_stream(self, size: str, backend: str) -> None:
        streamed(STREAMED[size], backend)


WidthCurve.track_ns_per_width.unit = "ns"  # type: ignore[attr-defined]
WidthCurve.track_error.unit = "relative error"  # type: ignore[attr-defined]
