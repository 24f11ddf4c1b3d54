"""The paths that the study max-margin follows: three data sets, five methods, three geometries."""

from __future__ import annotations

from typing import Any

import numpy as np

import genkern
from genkern import problems
from genkern.studies import _margin_limits

Array = np.ndarray[Any, Any]
# Method of the comparison -> (algorithm, schedule, law of the margin gap)
METHODS = {
    "gradient descent": ("gd", "constant", "1 / log t"),
    "heavy ball": ("heavy_ball", "constant", "1 / log t"),
    "normalised, 1/sqrt(t)": ("normalized", "sqrt", "log t / sqrt(t)"),
    "normalised": ("normalized", "constant", "1 / t"),
    "accelerated": ("accelerated", "constant", "1 / t^2"),
}
# Norm -> (algorithm, order of the norm)
DUAL_ORDERS = {"l1": np.inf, "l2": 2.0, "linf": 1.0}
GEOMETRIES = {"l1": ("coordinate", 1.0), "l2": ("normalized", 2.0), "linf": ("sign", np.inf)}


def counts(last: int, points: int) -> Array:
    counts: Array = np.unique(np.rint(np.geomspace(1, last, points)))
    return counts


def data(name: str, n: int, d: int, seed: int) -> tuple[Array, Array]:
    """X and y of a data set."""
    if name == "soudry":
        problem = problems.soudry()
        return problem.X, problem.y
    if name == "digits":
        problem = problems.digits(n_train=360, n_test=0, classes=(0, 1), targets="signs")
        return np.column_stack([problem.X, np.ones(len(problem.y))]), problem.y
    problem = problems.gaussian(n, d, spectrum=1.0 / np.arange(1.0, d + 1.0), noise=0.0, seed=seed)
    kept = np.abs(problem.y) > 0.1 * np.std(problem.y)
    return np.column_stack([problem.X, np.ones(n)])[kept], np.sign(problem.y[kept])


def follow(
    X: Array, y: Array, steps: Array, whole: Array, loss: str, kernel: dict[str, Any]
) -> tuple[dict[str, Array], dict[str, Any]]:
    """Curves and numbers of one data set."""
    Z = y[:, None] * X
    best = genkern.max_margin(X, y, **kernel)
    if not best.separable:
        raise ValueError("n must be such that the data is separable; these points are not")
    w_hat, largest = best.coef, float(best.margin)
    path = genkern.logistic_path(X, y, steps, loss=loss, method="continued", **kernel)
    loop = genkern.logistic_path(X, y, whole, loss=loss, method="exact", **kernel)
    step_size = float(path.step_size)
    tilde, basis = _margin_limits.offset(Z, w_hat, step_size)
    logs = np.log(steps)
    rest = path.coef[-1] - w_hat * logs[-1]
    tilde = tilde + (rest - rest @ basis.T @ basis)
    limits = _margin_limits.limits(Z, w_hat, tilde, step_size)

    def measures(path: genkern.LogisticPath) -> dict[str, Array]:
        half = np.sin(path.angle(w_hat) / 2.0)
        return {
            "direction": 2.0 * half,
            "margin_gap": 1.0 - path.margin / largest,
            "scaled_loss": np.exp(path.log_loss + np.log(path.steps) - np.log(limits["loss"])),
        }

    measured = measures(path)
    on_margin = Z[Z @ w_hat <= 1.0 + 1e-8]
    numbers = {
        "largest_margin": largest,
        "length": float(np.linalg.norm(w_hat)),
        "gap": float(best.gap),
        "on_margin": len(on_margin),
        "rank": len(basis),
        "rank_of_data": int(np.linalg.matrix_rank(X)),
        "limit": limits,
        "at_the_end": {
            "direction": float(measured["direction"][-1] * logs[-1]),
            "margin": float(measured["margin_gap"][-1] * logs[-1]),
            "loss": float(measured["scaled_loss"][-1] * limits["loss"]),
        },
        "continued_difference": float(
            np.max(np.linalg.norm(path.coef[: len(whole)] - loop.coef, axis=1) / np.linalg.norm(loop.coef, axis=1))
        ),
        "estimated_error": float(np.max(path.error)),
        "status": int(path.status),
        "step_size": step_size,
        "slowest_exponent": _margin_limits.slowest_exponent(Z, w_hat, best.dual),
    }
    exact = {f"exact_{key}": value for key, value in measures(loop).items()}
    return measured | {"norm": path.norm, "error": path.error} | exact, numbers


def laws(steps: Array, numbers: dict[str, Any]) -> dict[str, Array]:
    """What theory says of the curves, from the numbers of their data set."""
    logs, limits = np.log(steps), numbers["limit"]
    with np.errstate(divide="ignore", invalid="ignore"):
        return {
            "direction": limits["direction"] / logs,
            "margin_gap": limits["margin"] / logs,
            "scaled_loss": np.ones(len(steps)),
            "norm": numbers["length"] * logs,
        }


def methods(X: Array, y: Array, steps: Array, loss: str, kernel: dict[str, Any]) -> tuple[Array, Array]:
    """1 - margin / largest margin of every method, and its slope over the last decade of steps, both logarithmic."""
    largest = float(genkern.max_margin(X, y, **kernel).margin)
    gaps = []
    for algorithm, schedule, _ in METHODS.values():
        options: dict[str, Any] = {"algorithm": algorithm, "schedule": schedule, "method": "exact", **kernel}
        gaps.append(1.0 - genkern.logistic_path(X, y, steps, loss=loss, **options).margin / largest)
    late = steps >= steps[-1] / 10
    logs = np.log10(np.maximum(np.stack(gaps)[:, late], 1e-16))
    return np.stack(gaps), np.polyfit(np.log10(steps[late]), logs.T, 1)[0]


def geometries(steps: Array, seed: int, loss: str, kernel: dict[str, Any]) -> dict[str, Array]:
    """Each norm's own method on one random set: 1 - margin / largest margin over steps, and the margins at the end."""
    X = problems.gaussian(6, 12, noise=0.0, seed=seed).X
    y = np.ones(6)
    lengths = {name: np.linalg.norm(X, ord=order, axis=1).max() for name, order in DUAL_ORDERS.items()}
    sizes = {"l1": 4.0 / lengths["l1"] ** 2, "l2": 4.0 / lengths["l2"] ** 2, "linf": 4.0 / lengths["linf"]}
    gaps, largest_margins, reached = [], [], []
    for name, (algorithm, order) in GEOMETRIES.items():
        # 4 times the default steps, divided by sqrt(t): constant ones leave a gap of the order of the step.
        options: dict[str, Any] = {"algorithm": algorithm, "schedule": "sqrt", "step_size": sizes[name], **kernel}
        path = genkern.logistic_path(X, y, steps, loss=loss, method="exact", **options)
        margins = np.min(path.coef @ X.T, axis=1) / np.linalg.norm(path.coef, ord=order, axis=1)
        if order == 2:
            largest = float(genkern.max_margin(X, y, **kernel).margin)
        else:
            largest = _margin_limits.largest_margin(X, order)
        gaps.append(1.0 - margins / largest)
        largest_margins.append(largest)
        reached.append(margins[-1])
    return {"gap": np.stack(gaps), "largest_margin": np.array(largest_margins), "reached": np.array(reached)}
