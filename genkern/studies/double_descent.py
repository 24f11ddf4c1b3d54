"""Risk peaks at the interpolation threshold and falls again with width: random features on handwritten digits."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import genkern
from genkern import _checks, _registry, plots, problems
from genkern.studies import _peaks, _progress
from genkern.studies._result import StudyResult, prepare

Array = np.ndarray[Any, Any]
_MEASURES = ("train_risk", "test_risk", "test_error", "coef_norm")
_FEATURE_BYTES = 256 << 20  # seeds are solved together as long as their features fit


def run(
    *,
    out: str | os.PathLike[str] | None = None,
    data: str = "digits",
    n_train: int = 300,
    n_test: int = 1000,
    label_noise: float = 0.1,
    widths: Sequence[int] | None = None,
    max_width: int | None = None,
    points: int = 40,
    activation: str | Callable[[float], float] = "relu",
    weights: str = "gaussian",
    bandwidth: float = 1.0,
    ridge: float = 0.0,
    seeds: int | Sequence[int] = 20,
    dtype: str = "float64",
    progress: bool | None = None,
    backend: str | None = None,
    n_threads: int | None = None,
) -> StudyResult:
    """Minimum-norm regression on random features of real images, over the number of features.

    One-hot targets of the 10 classes are fitted with `random_features` and `lstsq`, a fresh solve at every width. Each
    seed has its own split into training and test images, its own corrupted labels and its own features; the features
    of a smaller width are the first of a larger one.

    Parameters
    ----------
    out : path, optional
        Folder for figure.png, results.npz and summary.json.
    data : str
        "digits" (bundled, 8 x 8 pixels) or "mnist" (needs genkern[mnist]).
    n_train : int
        Training images.
    n_test : int
        Test images at most; fewer where the data has no more.
    label_noise : float
        Share of training labels replaced by wrong ones; test labels stay right.
    widths : sequence of int, optional
        Widths to solve. By default a grid that is dense around the threshold and includes the threshold of each seed.
    max_width : int, optional
        Largest width of the default grid, and of the search for the threshold. By default 10 times n_train.
    points : int
        Number of widths of the default grid, about.
    activation : str or callable
        Activation of random_features.
    weights : str
        "gaussian" or "sphere", the law of the weights of random_features.
    bandwidth : float
        Bandwidth of the activation "rff".
    ridge : float
        Penalty on the sum of squares, as of lstsq.
    seeds : int or sequence of int
        How many seeds (0, 1, ...), or which.
    dtype : str
        "float64" or "float32".
    progress : bool, optional
        Show a progress bar; by default if stderr is a terminal and tqdm is installed.
    backend : str, optional
        Backend of the kernels.
    n_threads : int, optional
        Threads at most; by default every core.

    Returns
    -------
    StudyResult
        `curves`: "widths" (t,), "seeds" (s,), "threshold" (s,), and of shape (s, t) "train_risk" and "test_risk"
        (squared error of an image, summed over the targets, mean over images; predicting 0 has risk 1), "test_error"
        (share of images with a wrong argmax) and "coef_norm" (Frobenius norm). `theory` is None: no closed form
        applies to real data. `numbers`, by seed and as quartiles over seeds: "threshold" (first width at which the
        features have full row rank), "peak" and its "peak_width", "left_minimum" and "right_minimum" (the least test
        risk at smaller and at larger widths), and "left_ratio" and "right_ratio" (the peak over them).

    Notes
    -----
    Nonlinear units that are 0 on all training images add no rank, so the threshold lies a little beyond
    `width = n_train`. It is found by bisection on the rank that `lstsq` reports, which grows with the width. A unit
    that is barely positive on a single training image gets a large weight, so single seeds may show a large risk at
    any width below the threshold; medians and quartiles over seeds are robust to it.

    References
    ----------
    M. Belkin, D. Hsu, S. Ma, S. Mandal, "Reconciling modern machine-learning practice and the classical bias-variance
    trade-off", PNAS 116 (2019).
    """
    start = time.perf_counter()
    _checks.choice("data", data, ("digits", "mnist"))
    _checks.choice("dtype", dtype, ("float64", "float32"))
    n_train = _checks.integer("n_train", n_train, low=10)
    n_test = _checks.integer("n_test", n_test, low=1)
    points = _checks.integer("points", points, low=4)
    ridge = _checks.real_number("ridge", ridge, low=0.0)
    seed_list = _seeds(seeds)
    limit = 10 * n_train if max_width is None else _checks.integer("max_width", max_width, low=1)
    if widths is not None:
        widths = sorted(set(_integers("widths", widths, low=1)))
        limit = max(limit, widths[-1])
    generate = problems.digits if data == "digits" else problems.mnist
    images = 1 + len(_required(generate(n_train=1).X_test))
    n_train = _checks.integer("n_train", n_train, low=10, high=images - 1)
    n_test = min(n_test, images - n_train)
    sets = [generate(n_train=n_train, n_test=n_test, label_noise=label_noise, seed=seed) for seed in seed_list]
    kernel: dict[str, Any] = {"backend": backend, "n_threads": n_threads}
    law: dict[str, Any] = {"activation": activation, "weights": weights, "bandwidth": bandwidth, **kernel}
    genkern.random_features(sets[0].X[:1], 1, **law)  # refuses bad options before anything long or lasting is done
    if out is not None:
        plots.require_matplotlib()
        prepare(out)
    parameters: dict[str, Any] = {
        "data": data,
        "n_train": n_train,
        "n_test": n_test,
        "label_noise": label_noise,
        "widths": widths,
        "max_width": limit,
        "points": points,
        "activation": activation if isinstance(activation, str) else getattr(activation, "__name__", "own"),
        "weights": weights,
        "bandwidth": bandwidth,
        "ridge": ridge,
        "seeds": seed_list,
        "dtype": dtype,
        "backend": backend,
        "n_threads": n_threads,
    }

    def features(index: int, width: int, X: Array, out: Array | None = None) -> Array:
        made: Array = genkern.random_features(X, width, seed=seed_list[index], dtype=np.dtype(dtype), out=out, **law)
        return made

    threshold = np.array([_threshold(features(index, limit, problem.X), kernel) for index, problem in enumerate(sets)])
    seconds = {"thresholds": time.perf_counter() - start}
    grid = np.array(widths if widths is not None else _grid(n_train, limit, points, threshold))
    curves = {name: np.full((len(sets), len(grid)), np.nan) for name in _MEASURES}
    widest = int(grid[-1])
    together = max(1, _FEATURE_BYTES // ((n_train + n_test) * widest * np.dtype(dtype).itemsize))
    with _progress.bar(len(sets) * len(grid), progress, "double-descent") as count:
        for first in range(0, len(sets), together):
            batch = sets[first : first + together]
            X = [np.concatenate([problem.X, _required(problem.X_test)]) for problem in batch]
            y = np.stack([problem.y for problem in batch]).astype(dtype)
            y_test = np.stack([_required(problem.y_test) for problem in batch])
            F = np.empty((len(batch), n_train + n_test, widest), dtype)
            for place, inputs in enumerate(X):
                features(first + place, widest, inputs, out=F[place])
            for t, width in enumerate(grid):
                fit = genkern.lstsq(F[:, :n_train, :width], y, ridge=ridge, **kernel)
                measured = _measure(fit, F[:, n_train:, :width] @ fit.coef, y_test, n_train)
                for name, values in zip(_MEASURES, measured, strict=True):
                    curves[name][first : first + together, t] = values
                count(len(batch))
    seconds["total"] = time.perf_counter() - start

    numbers = _peaks.numbers(grid, curves["test_risk"], threshold)
    curves |= {"widths": grid, "seeds": np.array(seed_list, dtype=np.uint64), "threshold": threshold}
    report = {
        "version": genkern.__version__,
        "backend": backend or _registry.default_backend(),
        "backends": genkern.backends(),
        "seconds": seconds,
        "theory": "no closed form applies to real data",
    }
    table = _table(parameters, numbers, curves, seconds["total"])
    result = StudyResult("double-descent", parameters, curves, None, numbers, report, table, plots.double_descent)
    if out is not None:
        result.save(out)
    return result


def _seeds(seeds: int | Sequence[int]) -> list[int]:
    if isinstance(seeds, (int, np.integer)):
        return list(range(_checks.integer("seeds", seeds, low=1)))
    return _integers("seeds", seeds, low=0, high=2**64 - 1)


def _integers(name: str, values: Any, *, low: int, high: int | None = None) -> list[int]:
    if isinstance(values, (str, bytes)) or not hasattr(values, "__iter__"):
        raise TypeError(f"{name} must be a sequence of integers, got {type(values).__name__}")
    found = [_checks.integer(name, value, low=low, high=high) for value in values]
    if not found:
        raise ValueError(f"{name} must not be empty")
    return found


def _required(test: Array | None) -> Array:
    if test is None:
        raise AssertionError("the data sets have test images")
    return test


def _measure(fit: genkern.LstsqResult, prediction: Array, y_test: Array, n_train: int) -> tuple[Array, ...]:
    """Train risk, test risk, test error and norm of a batch of fits, each (s,)."""
    wrong = np.argmax(prediction, axis=2) != np.argmax(y_test, axis=2)
    return (
        np.sum(fit.residual_norm**2, axis=1) / n_train,
        np.mean(np.sum((prediction - y_test) ** 2, axis=2), axis=1),
        np.where(fit.status == 0, np.mean(wrong, axis=1), np.nan),
        np.sqrt(np.sum(fit.coef**2, axis=(1, 2))),
    )


def _threshold(F: Array, kernel: dict[str, Any]) -> float:
    """First number of leading columns of F (n, P) that has rank n; NaN if all have less."""
    n, limit = F.shape

    def full(width: int) -> bool:
        return bool(genkern.lstsq(F[:, :width], F[:, 0], **kernel).rank == n)

    low, high, step = n - 1, n, 1  # `low` columns never have rank n
    while high < limit and not full(high):
        low, high, step = high, min(high + step, limit), 2 * step
    if n > limit or (high == limit and not full(limit)):
        return float("nan")
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if full(middle) else (middle, high)
    return float(high)


def _grid(n: int, limit: int, points: int, threshold: Array) -> list[int]:
    """Widths from n/20 to the limit, denser towards the thresholds, which are all included."""
    known = threshold[np.isfinite(threshold)].astype(int).tolist()
    last = max([n, *known])
    far = np.geomspace(max(1, min(n // 20, limit)), min(n, limit), points // 4)
    near = n - np.geomspace(1, n // 8, points // 4)
    above = last + np.geomspace(1, max(limit - last, 1), points - 2 * (points // 4))
    grid = {n, *known, *np.rint(np.concatenate([far, near, above])).astype(int).tolist()}
    return sorted(width for width in grid if width <= limit)


def _table(parameters: dict[str, Any], numbers: dict[str, Any], curves: dict[str, Array], seconds: float) -> str:
    p = parameters
    rows = [
        ("threshold (full row rank)", "threshold", ".0f"),
        ("width of the peak", "peak_width", ".0f"),
        ("test risk at the peak", "peak", ".4g"),
        ("least test risk left of it", "left_minimum", ".4g"),
        ("least test risk right of it", "right_minimum", ".4g"),
        ("peak / left minimum", "left_ratio", ".4g"),
        ("peak / right minimum", "right_ratio", ".4g"),
    ]
    head = [
        f"double descent: {p['activation']} features of {p['data']}, {p['n_train']} training and {p['n_test']} test "
        f"images, {p['label_noise']:.0%} of labels wrong, ridge {p['ridge']:g}",
        f"{len(p['seeds'])} seeds, {len(curves['widths'])} widths from {curves['widths'][0]} to "
        f"{curves['widths'][-1]}, {seconds:.1f} s",
        "",
    ]
    return "\n".join([*head, *_peaks.rows(numbers, rows), "", "theory: no closed form applies to real data"])
