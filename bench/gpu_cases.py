"""The cases of gpu_report.py: calls of genkern on a GPU, what others do with the same arrays, and the least work."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from benchmarks import features, least_squares, logistic
from benchmarks.common import finished, host, place
from benchmarks.curves import SIZES as CURVES
from benchmarks.curves import problem as curve_problem

import genkern

Array = np.ndarray[Any, Any]
Call = Callable[[], Any]
# (n, d): problems in one batch, d <= n as torch's solver on a GPU has it.
SOLVES = {(16, 8): 65536, (32, 16): 32768, (64, 32): 16384, (128, 64): 4096, (256, 128): 512, (2048, 1024): 1}
CHECKED = 4  # items of a batch that are compared with the reference


@dataclass(frozen=True)
class Case:
    """One row: a call of genkern, the same of others, and the least work of the problem."""

    name: str
    dtype: str
    call: Call
    error: Callable[[Any], float]
    flops: float
    bytes: float
    peers: dict[str, Callable[[], Call]]
    late: dict[str, Callable[[], Call]] = field(default_factory=dict)  # peers that keep the memory they have had: JAX
    comparable: bool = True  # do the peers compute the very numbers?
    certificate: str = ""  # what the error is, if not against the reference


def relative(found: Any, exact: Array) -> float:
    """Largest error over the largest entry."""
    return float(np.abs(host(found) - exact).max() / np.abs(exact).max())


def solves(dtype: str, quick: bool) -> list[Case]:
    """Batches of least-squares problems of full rank, one right-hand side."""
    cases = []
    for (n, d), items in SOLVES.items():
        if quick:
            n, d, items = max(8, n // 8), max(4, d // 8), min(items, 2)
        X, y = least_squares.problem(n, d, items, dtype)
        A, b = place("cupy", X, y)
        few = slice(0, CHECKED)
        exact = genkern.lstsq(X[few].astype(float), y[few].astype(float), backend="reference").coef
        cases.append(
            Case(
                f"lstsq {n} x {d}, {items} problems",
                dtype,
                finished("cupy", lambda A=A, b=b: genkern.lstsq(A, b).coef),
                lambda coef, exact=exact: relative(coef[:CHECKED], exact),
                items * least_squares.flops(d, n),
                float(X.nbytes + y.nbytes + items * d * X.itemsize),
                {
                    "torch.linalg.lstsq": lambda A=A, b=b: torch_lstsq(A, b),
                    "cupy.linalg.pinv": lambda A=A, b=b: cupy_pinv(A, b),
                },
                {"jax lstsq": lambda A=A, b=b: jax_lstsq(A, b)},
            )
        )
    return cases


def random_features(dtype: str, quick: bool) -> list[Case]:
    """relu features, the weights made in the call."""
    cases = []
    for n, d, width in ((100, 16, 300), (70, 300, 40)) if quick else (*features.SIZES, (20000, 784, 8192)):
        X = features.problem(n, d, dtype)
        (there,) = place("cupy", X)
        exact = genkern.random_features(X[:CHECKED].astype(float), width, backend="reference")
        cases.append(
            Case(
                f"random_features {n} x {d}, width {width}",
                dtype,
                finished("cupy", lambda there=there, width=width: genkern.random_features(there, width)),
                lambda found, exact=exact: relative(found[:CHECKED], exact),
                2.0 * n * d * width,
                float(X.nbytes + n * width * X.itemsize),
                {"torch randn, matmul, relu": lambda there=there, width=width: torch_features(there, width)},
                comparable=False,
            )
        )
    return cases


def descents(dtype: str, quick: bool) -> list[Case]:
    """Every step of gradient descent on the logistic loss."""
    cases = []
    for (items, n, d), steps in logistic.SIZES.items():
        if quick:
            items, n, steps = min(items, 3), min(n, 50), 20
        Z, eta = logistic.problem(items, n, d, dtype)
        points, labels = place("cupy", Z, np.ones(Z.shape[:2], Z.dtype))
        exact = logistic.plain_loop(Z[0].astype(float), float(eta[0]), steps)

        def call(points: Any = points, labels: Any = labels, steps: int = steps, eta: Array = eta) -> Any:
            return genkern.logistic_path(points, labels, steps, step_size=eta, method="exact").coef

        cases.append(
            Case(
                f"logistic_path {n} x {d}, {items} problems, {steps} steps",
                dtype,
                finished("cupy", call),
                lambda coef, exact=exact: relative(coef[0], exact),
                4.0 * items * n * d * steps,
                float(Z.nbytes),
                {"torch loop": lambda Z=points, eta=eta, steps=steps: torch_descent(Z, eta, steps)},
            )
        )
    return cases


def curves(dtype: str, quick: bool) -> list[Case]:
    """Risk at every listed width."""
    cases = []
    for name in ("small",) if quick else tuple(CURVES):
        size = CURVES[name]
        data = curve_problem(size, dtype)
        there = place("cupy", data.F, data.y, data.F_test, data.y_test)
        widths = size.widths
        checked = [widths[0], widths[len(widths) // 2]]
        arguments = (data.F, data.y, data.F_test, data.y_test)
        exact = genkern.width_curve(*arguments, widths=checked, backend="reference").test_risk

        def error(found: Any, exact: Array = exact) -> float:
            return relative(host(found)[..., [0, found.shape[-1] // 2]], exact)

        cases.append(
            Case(
                f"width_curve {name}: {size.n} + {size.m} points, {size.P} columns, {size.seeds} seed(s)",
                dtype,
                finished(
                    "cupy", lambda there=there, widths=widths: genkern.width_curve(*there, widths=widths).test_risk
                ),
                error,
                size.flops,
                float(sum(array.nbytes for array in arguments)),
                {},
            )
        )
    return cases


def torch_lstsq(A: Any, b: Any) -> Call:
    import torch

    X, y = torch.from_dlpack(A), torch.from_dlpack(b)[..., None]
    return _torch(lambda: torch.linalg.lstsq(X, y, driver="gels").solution[..., 0])


def torch_features(X: Any, width: int) -> Call:
    import torch

    A = torch.from_dlpack(X)
    scale = X.shape[1] ** -0.5

    def call() -> Any:  # in place: there may be no memory for a second result
        return (A @ torch.randn(A.shape[1], width, dtype=A.dtype, device=A.device)).mul_(scale).relu_()

    return _torch(call)


def torch_descent(Z: Any, eta: Any, steps: int) -> Call:
    """The loop that a user writes, for a batch of problems with labels 1."""
    import torch

    A = torch.from_dlpack(Z)
    rates = torch.as_tensor(eta, dtype=A.dtype, device=A.device).reshape(-1, 1, 1)

    def call() -> Any:
        w = torch.zeros((len(A), A.shape[2], 1), dtype=A.dtype, device=A.device)
        with torch.inference_mode():
            for _ in range(steps):
                w = w + rates * (A.mT @ torch.sigmoid(-(A @ w)))
        return w[..., 0]

    return _torch(call)


def _torch(call: Call) -> Call:
    import torch

    def synchronised() -> Any:
        result = call()
        torch.cuda.synchronize()
        return result

    return synchronised


def cupy_pinv(A: Any, b: Any) -> Call:
    import cupy

    return finished("cupy", lambda: cupy.matmul(cupy.linalg.pinv(A), b[..., None])[..., 0])


def jax_lstsq(A: Any, b: Any) -> Call:
    import jax

    jax.config.update("jax_enable_x64", True)
    X, y = jax.numpy.from_dlpack(A), jax.numpy.from_dlpack(b)
    solve = jax.jit(jax.vmap(lambda A, b: jax.numpy.linalg.lstsq(A, b)[0]))
    return lambda: solve(X, y).block_until_ready()
