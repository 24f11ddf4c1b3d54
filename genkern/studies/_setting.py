"""What the studies of risk curves share: their parameters, their data, and how a risk stands beside theory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

import genkern
from genkern import RiskCurve, _checks, _registry, problems

Array = np.ndarray[Any, Any]
NO_THEORY = "no closed form applies to real data"


def seed_list(seeds: int | Sequence[int], low: int = 1) -> list[int]:
    """How many seeds (0, 1, ...), or which; at least `low` of them, and none twice."""
    if isinstance(seeds, (int, np.integer)):
        return list(range(_checks.integer("seeds", seeds, low=low)))
    found = integers("seeds", seeds, low=0, high=2**64 - 1)
    if len(set(found)) < max(low, len(found)):
        raise ValueError(f"seeds must be {low} different ones at least and name none twice, got {found}")
    return found


def integers(name: str, values: Any, *, low: int, high: int | None = None) -> list[int]:
    """Integers in [low, high], at least one of them."""
    if isinstance(values, (str, bytes)) or not hasattr(values, "__iter__"):
        raise TypeError(f"{name} must be a sequence of integers, got {type(values).__name__}")
    found = [_checks.integer(name, value, low=low, high=high) for value in values]
    if not found:
        raise ValueError(f"{name} must not be empty")
    return found


def reals(name: str, values: Any, *, low: float, strict: bool = False) -> list[float]:
    """Finite numbers >= low, or > low if `strict`, at least one of them."""
    if isinstance(values, (str, bytes)) or not hasattr(values, "__iter__"):
        raise TypeError(f"{name} must be a sequence of numbers, got {type(values).__name__}")
    found = [_checks.real_number(name, value, low=low, strict=strict) for value in values]
    if not found:
        raise ValueError(f"{name} must not be empty")
    return found


def grid(name: str, listed: Sequence[int] | None, last: int, points: int | None) -> list[int]:
    """Listed values in order, or every one of 1..last, or about `points` of these in equal ratios."""
    if listed is not None:
        return sorted(set(integers(name, listed, low=1)))
    if points is None:
        return list(range(1, last + 1))
    points = _checks.integer("points", points, low=4)
    return sorted({int(value) for value in np.rint(np.geomspace(1, last, points))})


def images(data: str, n_train: int, n_test: int, label_noise: float, seeds: list[int]) -> tuple[int, int, float]:
    """Training images, test images (fewer where the data has no more) and label noise, checked."""
    _checks.choice("data", data, ("digits", "mnist"))
    n_train = _checks.integer("n_train", n_train, low=10)
    n_test = _checks.integer("n_test", n_test, low=1)
    available = 1 + len(required((problems.digits if data == "digits" else problems.mnist)(n_train=1).X_test))
    n_train = _checks.integer("n_train", n_train, low=10, high=available - 1)
    n_test = min(n_test, available - n_train)
    image_set(data, n_train, n_test, label_noise, seeds[0])
    return n_train, n_test, float(label_noise)


def image_set(data: str, n_train: int, n_test: int, label_noise: float, seed: int) -> tuple[Array, ...]:
    """Real images with one-hot targets, X, y, X_test, y_test: each seed has its own split and its own wrong labels."""
    generate = problems.digits if data == "digits" else problems.mnist
    p = generate(n_train=n_train, n_test=n_test, label_noise=label_noise, seed=seed)
    return p.X, p.y, required(p.X_test), required(p.y_test)


def gaussian_set(n: int, d: int, signal: float, noise: float, n_test: int, seed: int) -> tuple[Array, ...]:
    """Isotropic Gaussian problem: X (n, d), y (n,), X_test (m, d), clean y_test (m,)."""
    p = problems.gaussian(n, d, signal=signal, noise=noise, n_test=n_test, seed=seed)
    return p.X, p.y, required(p.X_test), required(p.y_test)


def required(test: Array | None) -> Array:
    """The test part of a problem that has one."""
    if test is None:
        raise AssertionError("the problem has test points")
    return test


def totals(curve: RiskCurve) -> dict[str, Array]:
    """Risks summed over the targets, the 0-1 error, and the Frobenius norm of the coefficients."""
    return {
        "train_risk": np.sum(curve.train_risk, axis=-1),
        "test_risk": np.sum(curve.test_risk, axis=-1),
        "test_error": np.asarray(curve.test_error),
        "coef_norm": np.sqrt(np.sum(np.asarray(curve.coef_norm) ** 2, axis=-1)),
    }


def by_seed(curves: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
    """Arrays of single seeds with their common first axis."""
    return {name: np.stack([curve[name] for curve in curves]) for name in curves[0]}


def or_none(value: Any) -> float:
    """A positive number as it is and NaN as 0: a cell whose results have a NaN counts as failed."""
    return 0.0 if np.isnan(value) else float(value)


def with_none(values: Any) -> Array:
    """The numbers of `or_none` as they were."""
    values = np.asarray(values, dtype=np.float64)
    return np.where(values == 0.0, np.nan, values)


def activation_name(activation: str | Callable[[float], float]) -> str:
    """The name of an activation, for the parameters."""
    return activation if isinstance(activation, str) else getattr(activation, "__name__", "own")


def report(backend: str | None, seconds: float, theory: str) -> dict[str, Any]:
    """Version, backends, time and where the theory comes from."""
    return {
        "version": genkern.__version__,
        "backend": backend or _registry.default_backend(),
        "backends": genkern.backends(),
        "seconds": {"total": seconds},
        "theory": theory,
    }


def beside_theory(measured: Array, theory: Array, scale: float = 0.0) -> dict[str, Array]:
    """Mean over seeds (the first axis), its standard error, theory, and their difference in standard errors.

    One seed has no standard error: NaN. Less than 1e-12 of `scale` is rounding, which has no standard error either: a
    difference of 0.
    """
    count = len(measured)
    mean = np.mean(measured, axis=0)
    error = np.std(measured, axis=0, ddof=1) / np.sqrt(count) if count > 1 else np.full(mean.shape, np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        difference = np.where(np.abs(mean - theory) < 1e-12 * scale, 0.0, (mean - theory) / error)
    return {"measured": mean, "standard_error": error, "theory": np.asarray(theory), "difference": difference}


def comparison(title: str, labels: Sequence[str], found: Mapping[str, Array]) -> list[str]:
    """Lines of a table: measured, theory, and the difference in standard errors."""
    lines = [f"{title:<40}{'measured':>12}{'theory':>12}{'std. errors':>13}"]
    for label, mean, theory, difference in zip(
        labels, found["measured"], found["theory"], found["difference"], strict=True
    ):
        lines.append(f"{label:<40}{mean:>12.4g}{theory:>12.4g}{difference:>13.1f}")
    return lines
