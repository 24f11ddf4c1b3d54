"""Risk peaks at the interpolation threshold and falls again with width: random features on handwritten digits."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import genkern
from genkern import _checks, plots, sweep
from genkern.studies import _cells, _peaks, _setting
from genkern.studies._result import StudyResult, prepare

Array = np.ndarray[Any, Any]


def run(
    *,
    out: str | os.PathLike[str] | None = None,
    data: str = "digits",
    n_train: int = 300,
    n_test: int = 1000,
    label_noise: float = 0.1,
    widths: Sequence[int] | None = None,
    max_width: int | None = None,
    points: int | None = None,
    activation: str | Callable[[float], float] = "relu",
    weights: str = "gaussian",
    bandwidth: float = 1.0,
    ridge: float = 0.0,
    seeds: int | Sequence[int] = 20,
    dtype: str = "float64",
    executor: str | _cells.Executor = "serial",
    store: str | os.PathLike[str] | None = None,
    resume: bool = True,
    progress: _cells.Show = None,
    backend: str | None = None,
    n_threads: int | None = None,
) -> StudyResult:
    """Minimum-norm regression on random features of real images, over the number of features.

    One-hot targets of the 10 classes are fitted with `random_feature_curve` at every width. Each seed has its own split
    into training and test images, its own corrupted labels and its own features; the features of a smaller width are
    the first of a larger one.

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
        Widths to measure. By default every width from 1 to max_width.
    max_width : int, optional
        Largest width, where widths are not listed. By default 10 times n_train.
    points : int, optional
        About so many widths, in equal ratios, in place of every one.
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
    executor : str or concurrent.futures.Executor
        What runs the seeds, as of `genkern.sweep.run`: "serial" (all cores to one cell), "threads", "processes",
        "loky", "dask", "mpi", or the address of a Dask scheduler. The numbers are the same.
    store : path, optional
        File for the results of the seeds: a run that was ended goes on from it, and more seeds add to it.
    resume : bool
        Whether the store may have results already; if not, one that has some is refused.
    progress : bool or function, optional
        Show progress, as of `genkern.sweep.run`; by default a bar, where stderr is a terminal and tqdm is installed.
    backend : str, optional
        Backend of the kernels.
    n_threads : int, optional
        Threads, or worker processes, at most; by default every core.

    Returns
    -------
    StudyResult
        `curves`: "widths" (t,), "seeds" (s,), "threshold" (s,), and of shape (s, t) "train_risk" and "test_risk"
        (squared error of an image, summed over the targets, mean over images; predicting 0 has risk 1), "test_error"
        (share of images with a wrong argmax) and "coef_norm" (Frobenius norm). `theory` is None: no closed form
        applies to real data. `numbers`, by seed and as quartiles over seeds: "threshold" (first width at which the
        features have full row rank; NaN if none up to the last has), "peak" and its "peak_width", "left_minimum" and
        "right_minimum" (the least test risk at smaller and at larger widths), and "left_ratio" and "right_ratio" (the
        peak over them).

    Notes
    -----
    Nonlinear units that are 0 on all training images add no rank, so the threshold lies a little beyond
    `width = n_train`. A unit that is barely positive on a single training image gets a large weight, so single seeds
    may show a large risk at any width below the threshold; medians and quartiles over seeds are robust to it.

    References
    ----------
    M. Belkin, D. Hsu, S. Ma, S. Mandal, "Reconciling modern machine-learning practice and the classical bias-variance
    trade-off", PNAS 116 (2019).
    """
    start = time.perf_counter()
    cells = _cells.Cells("double-descent", executor, store, resume, progress, n_threads)
    _checks.choice("dtype", dtype, ("float64", "float32"))
    ridge = _checks.real_number("ridge", ridge, low=0.0)
    chosen = _setting.seed_list(seeds)
    n_train, n_test, label_noise = _setting.images(data, n_train, n_test, label_noise, chosen)
    limit = 10 * n_train if max_width is None else _checks.integer("max_width", max_width, low=1)
    measured_at = _setting.grid("widths", widths, limit, points)
    options: dict[str, Any] = {"activation": activation, "weights": weights, "bandwidth": bandwidth, "ridge": ridge}
    kernel: dict[str, Any] = {"backend": backend, "n_threads": n_threads}
    genkern.random_feature_curve([[1.0]], [0.0], [[1.0]], [0.0], widths=[1], **options, **kernel)  # are they good?
    if out is not None:
        plots.require_matplotlib()
        prepare(out)
    parameters: dict[str, Any] = {
        "data": data,
        "n_train": n_train,
        "n_test": n_test,
        "label_noise": label_noise,
        "widths": None if widths is None else measured_at,
        "max_width": limit,
        "points": points,
        **options,
        "activation": _setting.activation_name(activation),
        "seeds": chosen,
        "dtype": dtype,
        **kernel,
    }

    common: dict[str, Any] = {name: value for name, value in parameters.items() if name not in ("seeds", "n_threads")}
    common |= {"bandwidth": float(bandwidth), "activation": cells.activation(activation)}
    curves = _setting.by_seed(cells.run(cell, sweep.Grid(seed=chosen), common))
    curves["threshold"] = _setting.with_none(curves["threshold"])
    curves |= {"widths": np.array(measured_at), "seeds": np.array(chosen, dtype=np.uint64)}
    numbers = _peaks.numbers(curves["widths"], curves["test_risk"], curves["threshold"])
    report = _setting.report(backend, time.perf_counter() - start, _setting.NO_THEORY)
    table = _table(parameters, numbers, curves, report["seconds"]["total"])
    result = StudyResult("double-descent", parameters, curves, None, numbers, report, table, plots.double_descent)
    if out is not None:
        result.save(out)
    return result


def cell(
    *,
    seed: int,
    data: str,
    n_train: int,
    n_test: int,
    label_noise: float,
    widths: Sequence[int] | None,
    max_width: int,
    points: int | None,
    activation: str,
    weights: str,
    bandwidth: float,
    ridge: float,
    dtype: str,
    backend: str | None,
) -> dict[str, Any]:
    """Curves of one seed; the threshold is 0 where there is none."""
    X, y, X_test, y_test = (a.astype(dtype) for a in _setting.image_set(data, n_train, n_test, label_noise, seed))
    curve = genkern.random_feature_curve(
        X,
        y,
        X_test,
        y_test,
        widths=_setting.grid("widths", widths, max_width, points),
        activation=_cells.imported(activation),
        weights=weights,
        bandwidth=bandwidth,
        seeds=seed,
        ridge=ridge,
        classify=True,
        backend=backend,
    )
    return _setting.totals(curve) | {"threshold": _setting.or_none(curve.threshold)}


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
    return "\n".join([*head, *_peaks.rows(numbers, rows), "", f"theory: {_setting.NO_THEORY}"])
