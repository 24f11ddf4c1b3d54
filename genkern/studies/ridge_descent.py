"""Ridge flattens the peak, and the best ridge at every width has none."""

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
_RATIOS = (0.25, 0.5, 1.0, 1.5, 2.0, 3.0)  # width / n of the table


def run(
    *,
    out: str | os.PathLike[str] | None = None,
    data: str = "digits",
    n_train: int = 200,
    n_test: int = 800,
    label_noise: float = 0.2,
    activation: str | Callable[[float], float] = "relu",
    n_gaussian: int = 100,
    dimension: int = 400,
    signal: float = 1.0,
    noise: float = 0.25,
    widths: Sequence[int] | None = None,
    max_width: int | None = None,
    points: int | None = None,
    ridges: Sequence[float] = (1e-3, 1e-1, 10.0),
    gaussian_ridges: Sequence[float] = (1.0, 10.0, 100.0),
    tuning: int = 9,
    seeds: int | Sequence[int] = 10,
    executor: str | _cells.Executor = "serial",
    store: str | os.PathLike[str] | None = None,
    resume: bool = True,
    progress: _cells.Show = None,
    backend: str | None = None,
    n_threads: int | None = None,
) -> StudyResult:
    """Ridge regression at every width, at several penalties and at the best of every width.

    On random features of real images the best ridge is that of the least test risk among a grid, seed by seed and width
    by width. In the Gaussian model, which uses the first p of its isotropic features, it is known: the variance that
    the regression meets as noise (with the signal of the features left out), times d, over the signal.

    Parameters
    ----------
    out : path, optional
        Folder for figure.png, results.npz and summary.json.
    data : str
        "digits" (bundled, 8 x 8 pixels) or "mnist" (needs genkern[mnist]).
    n_train : int
        Training images.
    n_test : int
        Test images at most, and test points of the Gaussian model.
    label_noise : float
        Share of training labels replaced by wrong ones; test labels stay right.
    activation : str or callable
        Activation of random_features.
    n_gaussian : int
        Training samples of the Gaussian model.
    dimension : int
        Features in all of the Gaussian model.
    signal : float
        Squared norm of the Gaussian model's coefficients, > 0.
    noise : float
        Variance of the noise in the Gaussian model's responses.
    widths : sequence of int, optional
        Widths to measure; the Gaussian model has no more than `dimension`. By default every width.
    max_width : int, optional
        Largest width on the images, where widths are not listed. By default 5 times n_train.
    points : int, optional
        About so many widths, in equal ratios, in place of every one.
    ridges : sequence of float
        Penalties > 0 on the sum of squares that are drawn for the images, beside 0 and the best.
    gaussian_ridges : sequence of float
        The same for the Gaussian model.
    tuning : int
        Penalties among which the best is sought on the images: equal ratios from 1e-4 to 1e4, beside those drawn.
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
        `curves`: "seeds" (s,); for the parts "image" and "gaussian" "<part>_widths" (t,), "<part>_ridges" (r,), whose
        first is 0, "<part>_test_risk" (s, r, t), "<part>_tuned_risk" (s, t), "<part>_tuned_ridge" (s, t) or (t,) and
        "<part>_threshold" (s,). Risks on images are squared errors summed over the classes; of the Gaussian model,
        excess risks. `theory`: "gaussian_test_risk" (r, t) and "gaussian_tuned_risk" (t,); without ridge exact in the
        mean, with one the limit of large samples. `numbers`: for each part the figures of the ridgeless peak as of
        `double_descent`; "<part>_rise": the largest rise of the median risk with the width, over its least value at
        smaller widths (1 is none), "ridgeless" and "tuned"; "comparison" of mean risks with theory.

    References
    ----------
    P. Nakkiran, P. Venkat, S. Kakade, T. Ma, "Optimal regularization can mitigate double descent", ICLR (2021).
    """
    start = time.perf_counter()
    cells = _cells.Cells("ridge-descent", executor, store, resume, progress, n_threads)
    n = _checks.integer("n_gaussian", n_gaussian, low=2)
    d = _checks.integer("dimension", dimension, low=1)
    signal = _checks.real_number("signal", signal, low=0.0, strict=True)
    noise = _checks.real_number("noise", noise, low=0.0)
    tuning = _checks.integer("tuning", tuning, low=1)
    drawn = {
        "image": [0.0, *sorted(set(_setting.reals("ridges", ridges, low=0.0, strict=True)))],
        "gaussian": [0.0, *sorted(set(_setting.reals("gaussian_ridges", gaussian_ridges, low=0.0, strict=True)))],
    }
    chosen = _setting.seed_list(seeds)
    n_train, n_images, label_noise = _setting.images(data, n_train, n_test, label_noise, chosen)
    limit = 5 * n_train if max_width is None else _checks.integer("max_width", max_width, low=1)
    at = {
        "image": _setting.grid("widths", widths, limit, points),
        "gaussian": _setting.grid("widths", widths, d, points),
    }
    at["gaussian"] = [p for p in at["gaussian"] if p <= d]
    if not at["gaussian"]:
        raise ValueError(f"widths must have one <= dimension = {d}, got {at['image']}")
    kernel: dict[str, Any] = {"backend": backend, "n_threads": n_threads}
    genkern.random_feature_curve([[1.0]], [0.0], [[1.0]], [0.0], widths=[1], activation=activation, **kernel)
    if out is not None:
        plots.require_matplotlib()
        prepare(out)

    parameters: dict[str, Any] = {
        "data": data,
        "n_train": n_train,
        "n_test": n_test,
        "label_noise": label_noise,
        "activation": _setting.activation_name(activation),
        "n_gaussian": n,
        "dimension": d,
        "signal": signal,
        "noise": noise,
        "widths": None if widths is None else at["image"],
        "max_width": limit,
        "points": points,
        "ridges": drawn["image"][1:],
        "gaussian_ridges": drawn["gaussian"][1:],
        "tuning": tuning,
        "seeds": chosen,
        **kernel,
    }
    common: dict[str, Any] = {name: value for name, value in parameters.items() if name not in ("seeds", "n_threads")}
    common |= {"n_images": n_images, "activation": cells.activation(activation)}
    curves = _setting.by_seed(cells.run(cell, sweep.Grid(seed=chosen), common))
    curves |= {name: _setting.with_none(curves[name]) for name in ("image_threshold", "gaussian_threshold")}
    best, theory = _gaussian_theory(n, d, at["gaussian"], drawn["gaussian"], signal, noise)
    curves |= {"gaussian_tuned_ridge": best, "seeds": np.array(chosen, dtype=np.uint64)}
    for part in ("image", "gaussian"):
        curves |= {f"{part}_widths": np.array(at[part]), f"{part}_ridges": np.array(drawn[part])}
    numbers: dict[str, Any] = {}
    for part in ("image", "gaussian"):
        ridgeless, tuned = curves[f"{part}_test_risk"][:, 0], curves[f"{part}_tuned_risk"]
        numbers[part] = _peaks.numbers(curves[f"{part}_widths"], ridgeless, curves[f"{part}_threshold"])
        numbers[f"{part}_rise"] = {"ridgeless": _rise(ridgeless), "tuned": _rise(tuned)}
    numbers["comparison"] = _comparison(curves, theory, n)
    source = "Gaussian model: exact mean at finite size without ridge, limit of large samples with one"
    report = _setting.report(backend, time.perf_counter() - start, f"{source}; {_setting.NO_THEORY}")
    table = _table(parameters, numbers, source, report["seconds"]["total"])
    result = StudyResult(
        "ridge-descent", parameters, curves, theory, numbers, report, table, _descent_figures.ridge_descent
    )
    if out is not None:
        result.save(out)
    return result


def cell(
    *, seed: int, data: str, n_train: int, n_test: int, n_images: int, label_noise: float, activation: str,
    n_gaussian: int, dimension: int, signal: float, noise: float, widths: Sequence[int] | None, max_width: int,
    points: int | None, ridges: Sequence[float], gaussian_ridges: Sequence[float], tuning: int, backend: str | None,
) -> dict[str, Any]:  # fmt: skip
    """Curves of one seed; a threshold is 0 where there is none."""
    kernel: dict[str, Any] = {"backend": backend}
    drawn = [0.0, *ridges]
    search = np.array(sorted({*drawn, *np.geomspace(1e-4, 1e4, tuning).tolist()}))
    images = _setting.image_set(data, n_train, n_images, label_noise, seed)
    image = genkern.random_feature_curve(
        *images, widths=_setting.grid("widths", widths, max_width, points),
        activation=_cells.imported(activation), seeds=seed, ridge=search, **kernel,
    )  # fmt: skip
    risk = np.sum(image.test_risk, axis=-1)

    n, d = n_gaussian, dimension
    within = [p for p in _setting.grid("widths", widths, d, points) if p <= d]
    X, y, X_test, y_test = _setting.gaussian_set(n, d, signal, noise, n_test, seed)
    line = genkern.width_curve(X, y, X_test, y_test, widths=within, ridge=[0.0, *gaussian_ridges], **kernel)
    best = _weak_features.optimal_ridge(n, within, d, signal, noise)
    tuned = np.empty(len(within))
    for t, (p, ridge) in enumerate(zip(within, best, strict=True)):  # each width has a ridge of its own
        coef = genkern.lstsq(X[:, :p], y, ridge=float(ridge), **kernel).coef
        tuned[t] = np.mean((X_test[:, :p] @ coef - y_test) ** 2)
    return {
        "image_test_risk": risk[np.isin(search, drawn)],
        "image_tuned_risk": np.min(risk, axis=0),
        "image_tuned_ridge": search[np.nanargmin(risk, axis=0)],
        "image_threshold": _setting.or_none(image.threshold),
        "gaussian_test_risk": line.test_risk,
        "gaussian_tuned_risk": tuned,
        "gaussian_threshold": _setting.or_none(line.threshold),
    }


def _gaussian_theory(
    n: int, d: int, widths: list[int], ridges: list[float], signal: float, noise: float
) -> tuple[Array, dict[str, Array]]:
    """The best ridge of every width, and theory of the Gaussian model."""
    best = _weak_features.optimal_ridge(n, widths, d, signal, noise)
    exact = _weak_features.minimum_norm_risk(n, widths, d, signal, noise)
    limits = [_weak_features.ridge_risk(n, widths, d, ridge, signal, noise) for ridge in ridges[1:]]
    return best, {
        "gaussian_test_risk": np.stack([exact, *limits]),
        "gaussian_tuned_risk": _weak_features.ridge_risk(n, widths, d, best, signal, noise),
    }


def _rise(risk: Array) -> float:
    """Largest median risk over the least one at a smaller width; 1 if the median never rises."""
    median = np.median(risk, axis=0)
    return float(np.max(median / np.minimum.accumulate(median)))


def _comparison(curves: dict[str, Array], theory: dict[str, Array], n: int) -> dict[str, Any]:
    widths = curves["gaussian_widths"]
    places = sorted({int(np.argmin(np.abs(widths - ratio * n))) for ratio in _RATIOS})
    labels, measured, expected = [], [], []
    for t in places:
        lines = [
            ("ridgeless", curves["gaussian_test_risk"][:, 0, t], theory["gaussian_test_risk"][0, t]),
            ("best ridge", curves["gaussian_tuned_risk"][:, t], theory["gaussian_tuned_risk"][t]),
        ]
        for name, values, value in lines:
            if np.isfinite(value):
                labels.append(f"width {widths[t]}, {name}")
                measured.append(values)
                expected.append(value)
    return {"labels": labels, **_setting.beside_theory(np.stack(measured, axis=1), np.array(expected))}


def _table(p: dict[str, Any], numbers: dict[str, Any], source: str, seconds: float) -> str:
    rows = [
        ("ridgeless: width of the peak", "peak_width", ".0f"),
        ("ridgeless: peak", "peak", ".4g"),
        ("peak / left minimum", "left_ratio", ".4g"),
        ("peak / right minimum", "right_ratio", ".4g"),
    ]

    def part(name: str) -> list[str]:
        rise = numbers[f"{name}_rise"]
        return [
            *_peaks.rows(numbers[name], rows),
            f"rise of the median risk with the width: ridgeless to {rise['ridgeless']:.4g} times what it was, "
            f"best ridge to {rise['tuned']:.4g} times",
        ]

    found = numbers["comparison"]
    return "\n".join(
        [
            f"ridge descent: {len(p['seeds'])} seeds, {seconds:.1f} s",
            "",
            f"{p['activation']} features of {p['n_train']} images of {p['data']}, {p['label_noise']:.0%} label noise",
            *part("image"),
            f"theory: {_setting.NO_THEORY}",
            "",
            f"Gaussian model: {p['n_gaussian']} samples, first features of {p['dimension']}, signal {p['signal']:g}, "
            f"noise {p['noise']:g}",
            *part("gaussian"),
            *_setting.comparison("excess risk, mean over seeds", found["labels"], found),
            f"theory: {source}",
        ]
    )
