"""More data can hurt: risk over the number of training samples, at a fixed width."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import genkern
from genkern import _checks, plots, sweep
from genkern.studies import _cells, _descent_figures, _peaks, _setting, _weak_features
from genkern.studies._result import StudyResult, prepare

Array = np.ndarray[Any, Any]
_RATIOS = (0.25, 0.5, 1.5, 2.0, 4.0)  # n / d of the table, away from the threshold


def run(
    *,
    out: str | os.PathLike[str] | None = None,
    data: str = "digits",
    width: int = 150,
    n_train: int = 900,
    n_test: int = 800,
    label_noise: float = 0.1,
    activation: str | Callable[[float], float] = "relu",
    dimension: int = 100,
    n_gaussian: int = 500,
    signal: float = 1.0,
    noise: float = 0.25,
    ridge: float = 0.0,
    seeds: int | Sequence[int] = 20,
    executor: str | _cells.Executor = "serial",
    store: str | os.PathLike[str] | None = None,
    resume: bool = True,
    progress: _cells.Show = None,
    backend: str | None = None,
    n_threads: int | None = None,
) -> StudyResult:
    """Minimum-norm regression on the first n samples, for every n: random features of real images, and Gaussian inputs.

    Parameters
    ----------
    out : path, optional
        Folder for figure.png, results.npz and summary.json.
    data : str
        "digits" (bundled, 8 x 8 pixels) or "mnist" (needs genkern[mnist]).
    width : int
        Random features of the images.
    n_train : int
        Largest number of training images.
    n_test : int
        Test images at most, and test points of the Gaussian model.
    label_noise : float
        Share of training labels replaced by wrong ones; test labels stay right.
    activation : str or callable
        Activation of random_features.
    dimension : int
        Dimensions of the Gaussian inputs.
    n_gaussian : int
        Largest number of training samples of the Gaussian model.
    signal : float
        Squared norm of the Gaussian model's coefficients.
    noise : float
        Variance of the noise in the Gaussian model's responses.
    ridge : float
        Penalty on the sum of squares, as of lstsq.
    seeds : int or sequence of int
        How many seeds (0, 1, ...), or which.
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
        `curves`: "seeds" (s,); of the images "image_samples" (t,), "image_threshold" (s,) (the
        largest n whose samples are fitted exactly; NaN with a ridge) and, of shape (s, t),
        "image_test_risk" and "image_train_risk" (squared error summed over the classes, mean over images),
        "image_test_error" and "image_coef_norm"; of the Gaussian model "gaussian_samples" (u,), "gaussian_threshold"
        (s,), and of shape (s, u) "gaussian_test_risk" (excess risk: the noise of a new response is not in it),
        "gaussian_train_risk" and "gaussian_coef_norm". `theory`: "gaussian_test_risk" (u,), exact in the mean without
        ridge, the limit of large samples with one. `numbers`: for "image" and "gaussian" the figures of the peak as of
        `double_descent`, over samples; "comparison" of mean risks with theory at several n / dimension.

    References
    ----------
    P. Nakkiran, "More data can hurt for linear regression: sample-wise double descent", arXiv:1912.07242 (2019).
    """
    start = time.perf_counter()
    cells = _cells.Cells("sample-descent", executor, store, resume, progress, n_threads)
    width = _checks.integer("width", width, low=1)
    d = _checks.integer("dimension", dimension, low=1)
    n_gaussian = _checks.integer("n_gaussian", n_gaussian, low=1)
    signal = _checks.real_number("signal", signal, low=0.0)
    noise = _checks.real_number("noise", noise, low=0.0)
    ridge = _checks.real_number("ridge", ridge, low=0.0)
    chosen = _setting.seed_list(seeds)
    n_train, n_images, label_noise = _setting.images(data, n_train, n_test, label_noise, chosen)
    kernel: dict[str, Any] = {"backend": backend, "n_threads": n_threads}
    genkern.sample_curve([[1.0]], [0.0], [[1.0]], [0.0], **kernel)  # refuses a bad backend before anything is made
    genkern.random_features([[1.0]], 1, activation=activation)
    if out is not None:
        plots.require_matplotlib()
        prepare(out)

    parameters: dict[str, Any] = {
        "data": data,
        "width": width,
        "n_train": n_train,
        "n_test": n_test,
        "label_noise": label_noise,
        "activation": _setting.activation_name(activation),
        "dimension": d,
        "n_gaussian": n_gaussian,
        "signal": signal,
        "noise": noise,
        "ridge": ridge,
        "seeds": chosen,
        **kernel,
    }
    common: dict[str, Any] = {name: value for name, value in parameters.items() if name not in ("seeds", "n_threads")}
    common |= {"n_images": n_images, "activation": cells.activation(activation)}
    curves = _setting.by_seed(cells.run(cell, sweep.Grid(seed=chosen), common))
    curves |= {name: _setting.with_none(curves[name]) for name in ("image_threshold", "gaussian_threshold")}
    curves |= {
        "seeds": np.array(chosen, dtype=np.uint64),
        "image_samples": np.arange(1, n_train + 1),
        "gaussian_samples": np.arange(1, n_gaussian + 1),
    }
    samples = curves["gaussian_samples"]
    if ridge == 0:
        expected = _weak_features.minimum_norm_risk(samples, d, d, signal, noise)
    else:
        expected = np.array([_weak_features.ridge_risk(n, d, d, ridge, signal, noise) for n in samples])
    theory = {"gaussian_test_risk": expected}

    at = sorted({round(ratio * d) for ratio in _RATIOS if 1 <= round(ratio * d) <= n_gaussian})
    columns = np.array(at, dtype=np.int64) - 1
    beside = _setting.beside_theory(curves["gaussian_test_risk"][:, columns], expected[columns])
    numbers: dict[str, Any] = {
        part: _peaks.numbers(curves[f"{part}_samples"], curves[f"{part}_test_risk"], curves[f"{part}_threshold"])
        for part in ("image", "gaussian")
    }
    numbers["comparison"] = {"samples": at, **beside}
    source = "exact mean at finite size" if ridge == 0 else "limit of large samples and dimensions"
    report = _setting.report(backend, time.perf_counter() - start, f"Gaussian model: {source}; {_setting.NO_THEORY}")
    table = _table(parameters, numbers, report)
    result = StudyResult(
        "sample-descent", parameters, curves, theory, numbers, report, table, _descent_figures.sample_descent
    )
    if out is not None:
        result.save(out)
    return result


def cell(
    *,
    seed: int,
    data: str,
    width: int,
    n_train: int,
    n_test: int,
    n_images: int,
    label_noise: float,
    activation: str,
    dimension: int,
    n_gaussian: int,
    signal: float,
    noise: float,
    ridge: float,
    backend: str | None,
) -> dict[str, Any]:
    """Curves of one seed; a threshold is 0 where there is none."""
    X, y, X_test, y_test = _setting.image_set(data, n_train, n_images, label_noise, seed)
    F, F_test = (
        genkern.random_features(Z, width, activation=_cells.imported(activation), seed=seed) for Z in (X, X_test)
    )
    curve = genkern.sample_curve(F, y, F_test, y_test, ridge=ridge, classify=True, backend=backend)
    found = {f"image_{name}": value for name, value in _setting.totals(curve).items()}
    arrays = _setting.gaussian_set(n_gaussian, dimension, signal, noise, n_test, seed)
    line = genkern.sample_curve(*arrays, ridge=ridge, backend=backend)
    return found | {
        "image_threshold": _interpolated(found["image_train_risk"]),
        "gaussian_test_risk": line.test_risk,
        "gaussian_train_risk": line.train_risk,
        "gaussian_coef_norm": line.coef_norm,
        "gaussian_threshold": _interpolated(np.asarray(line.train_risk)),
    }


def _interpolated(train_risk: Array) -> float:
    """Largest number of leading samples that are fitted exactly; 0 if not even one is."""
    zero = np.flatnonzero(train_risk == 0.0)
    return float(zero[-1] + 1.0) if len(zero) else 0.0


def _table(p: dict[str, Any], numbers: dict[str, Any], report: dict[str, Any]) -> str:
    rows = [
        ("interpolates up to n =", "threshold", ".0f"),
        ("samples at the peak", "peak_width", ".0f"),
        ("test risk at the peak", "peak", ".4g"),
        ("peak / left minimum", "left_ratio", ".4g"),
        ("peak / right minimum", "right_ratio", ".4g"),
    ]
    found = numbers["comparison"]
    return "\n".join(
        [
            f"sample descent: {len(p['seeds'])} seeds, ridge {p['ridge']:g}, {report['seconds']['total']:.1f} s",
            "",
            f"{p['width']} {p['activation']} features of {p['data']}, {p['label_noise']:.0%} of labels wrong, "
            f"1 to {p['n_train']} images",
            *_peaks.rows(numbers["image"], rows),
            f"theory: {_setting.NO_THEORY}",
            "",
            f"Gaussian model in {p['dimension']} dimensions, signal {p['signal']:g}, noise {p['noise']:g}, 1 to "
            f"{p['n_gaussian']} samples",
            *_peaks.rows(numbers["gaussian"], rows),
            *_setting.comparison("excess risk, mean over seeds", [f"n = {n}" for n in found["samples"]], found),
            f"theory: {report['theory'].split(';')[0]}",
        ]
    )
