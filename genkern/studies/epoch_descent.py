"""Test risk over the steps of gradient descent: at the interpolation threshold it falls, then rises to the peak."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import genkern
from genkern import _checks, plots, sweep
from genkern.studies import _cells, _descent_figures, _setting, _weak_features
from genkern.studies._result import StudyResult, prepare

Array = np.ndarray[Any, Any]


def run(
    *,
    out: str | os.PathLike[str] | None = None,
    data: str = "digits",
    n_train: int = 200,
    n_test: int = 800,
    label_noise: float = 0.2,
    activation: str | Callable[[float], float] = "relu",
    widths: Sequence[int] = (60, 200, 1000),
    n_gaussian: int = 100,
    dimensions: Sequence[int] = (50, 100, 300),
    signal: float = 1.0,
    noise: float = 0.25,
    steps: float = 1e8,
    points: int = 41,
    seeds: int | Sequence[int] = 10,
    executor: str | _cells.Executor = "serial",
    store: str | os.PathLike[str] | None = None,
    resume: bool = True,
    progress: _cells.Show = None,
    backend: str | None = None,
    n_threads: int | None = None,
) -> StudyResult:
    """Gradient descent from zero on random features of real images and on Gaussian inputs, in closed form.

    The loss is half the sum of squares. No step is run: `epoch_curve` gives the risk at any step count from one SVD.

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
    widths : sequence of int
        Random features of the images.
    n_gaussian : int
        Training samples of the Gaussian model.
    dimensions : sequence of int
        Dimensions of the Gaussian inputs.
    signal : float
        Squared norm of the Gaussian model's coefficients.
    noise : float
        Variance of the noise in the Gaussian model's responses.
    steps : float
        Largest number of steps, >= 1.
    points : int
        Number of step counts, about, in equal ratios from 1.
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
        `curves`: "seeds" (s,), "steps" (t,), whose last is inf; for the parts "image" and "gaussian" "<part>_widths"
        (w,), features or dimensions, and "<part>_test_risk" and "<part>_train_risk" (s, w, t). Risks on images are
        squared errors summed over the classes; of the Gaussian model, excess risks (test) and mean squares (train).
        Step sizes are 1 / s_max^2 on images and 1 / (sqrt(n) + sqrt(d))^2, its limit, in the Gaussian model. `theory`:
        "gaussian_test_risk" (w, t), the limit of large samples and dimensions. `numbers`: for each part by width, of
        the median over seeds, "best" (least risk) at "best_steps", "final" (at infinitely many steps) and "rise"
        (final over best); "comparison" of mean risks with theory.

    References
    ----------
    A. Ali, J. Z. Kolter, R. J. Tibshirani, "A continuous-time view of early stopping for least squares", AISTATS
    (2019); P. Nakkiran et al., "Deep double descent: where bigger models and more data hurt", ICLR (2020).
    """
    start = time.perf_counter()
    cells = _cells.Cells("epoch-descent", executor, store, resume, progress, n_threads)
    n = _checks.integer("n_gaussian", n_gaussian, low=2)
    signal = _checks.real_number("signal", signal, low=0.0)
    noise = _checks.real_number("noise", noise, low=0.0)
    steps = _checks.real_number("steps", steps, low=1.0, high=2.0**52)
    points = _checks.integer("points", points, low=2)
    at = {
        "image": _setting.grid("widths", widths, 0, None),
        "gaussian": sorted(set(_setting.integers("dimensions", dimensions, low=1))),
    }
    chosen = _setting.seed_list(seeds)
    n_train, n_images, label_noise = _setting.images(data, n_train, n_test, label_noise, chosen)
    kernel: dict[str, Any] = {"backend": backend, "n_threads": n_threads}
    genkern.epoch_curve([[1.0]], [0.0], [[1.0]], [0.0], steps=[1], **kernel)  # refuses a bad backend
    genkern.random_features([[1.0]], 1, activation=activation)
    if out is not None:
        plots.require_matplotlib()
        prepare(out)

    parameters: dict[str, Any] = {
        "data": data,
        "n_train": n_train,
        "n_test": n_test,
        "label_noise": label_noise,
        "activation": _setting.activation_name(activation),
        "widths": at["image"],
        "n_gaussian": n,
        "dimensions": at["gaussian"],
        "signal": signal,
        "noise": noise,
        "steps": steps,
        "points": points,
        "seeds": chosen,
        **kernel,
    }
    common: dict[str, Any] = {name: value for name, value in parameters.items() if name not in ("seeds", "n_threads")}
    common |= {"n_images": n_images, "activation": cells.activation(activation)}
    curves = _setting.by_seed(cells.run(cell, sweep.Grid(seed=chosen), common))
    counts = _counts(steps, points)
    curves |= {
        "seeds": np.array(chosen, dtype=np.uint64),
        "steps": counts,
        "image_widths": np.array(at["image"]),
        "gaussian_widths": np.array(at["gaussian"]),
    }
    theory = {
        "gaussian_test_risk": np.stack(
            [_weak_features.descent_risk(n, p, p, counts, signal, noise) for p in at["gaussian"]]
        )
    }
    numbers: dict[str, Any] = {part: _numbers(counts, curves[f"{part}_test_risk"]) for part in ("image", "gaussian")}
    numbers["comparison"] = _comparison(curves, theory["gaussian_test_risk"])
    source = "Gaussian model: limit of large samples and dimensions"
    report = _setting.report(backend, time.perf_counter() - start, f"{source}; {_setting.NO_THEORY}")
    table = _table(parameters, numbers, source, report["seconds"]["total"])
    result = StudyResult(
        "epoch-descent", parameters, curves, theory, numbers, report, table, _descent_figures.epoch_descent
    )
    if out is not None:
        result.save(out)
    return result


def cell(
    *, seed: int, data: str, n_train: int, n_test: int, n_images: int, label_noise: float, activation: str,
    widths: Sequence[int], n_gaussian: int, dimensions: Sequence[int], signal: float, noise: float, steps: float,
    points: int, backend: str | None,
) -> dict[str, Any]:  # fmt: skip
    """Curves of one seed."""
    counts = _counts(steps, points)
    X, y, X_test, y_test = _setting.image_set(data, n_train, n_images, label_noise, seed)
    F, F_test = (
        genkern.random_features(Z, widths[-1], activation=_cells.imported(activation), seed=seed) for Z in (X, X_test)
    )
    image = [genkern.epoch_curve(F[:, :p], y, F_test[:, :p], y_test, steps=counts, backend=backend) for p in widths]
    gaussian = [
        genkern.epoch_curve(
            *_setting.gaussian_set(n_gaussian, p, signal, noise, n_test, seed),
            steps=counts,
            step_size=_weak_features.descent_step(n_gaussian, p),
            backend=backend,
        )
        for p in dimensions
    ]
    return {
        "image_test_risk": np.stack([np.sum(curve.test_risk, axis=-1) for curve in image]),
        "image_train_risk": np.stack([np.sum(curve.train_risk, axis=-1) for curve in image]),
        "gaussian_test_risk": np.stack([np.asarray(curve.test_risk) for curve in gaussian]),
        "gaussian_train_risk": np.stack([np.asarray(curve.train_risk) for curve in gaussian]),
    }


def _counts(steps: float, points: int) -> Array:
    """Step counts from 1 to `steps`, and infinitely many."""
    return np.append(np.unique(np.rint(np.geomspace(1.0, steps, points))), np.inf)


def _numbers(steps: Array, risk: Array) -> dict[str, Array]:
    """Where the median risk (over seeds) of each width is least, and how far it rises from there."""
    median = np.median(risk, axis=0)
    best = np.argmin(median, axis=-1)
    least = np.min(median, axis=-1)
    return {"best": least, "best_steps": steps[best], "final": median[:, -1], "rise": median[:, -1] / least}


def _comparison(curves: dict[str, Array], theory: Array) -> dict[str, Any]:
    """Risks of the Gaussian model at a few step counts, all of them finite in theory."""
    steps = curves["steps"]
    places = sorted({int(np.argmin(np.abs(np.log(steps[:-1]) - np.log(at)))) for at in (1.0, 10.0, 100.0)})
    labels, measured, expected = [], [], []
    for w, p in enumerate(curves["gaussian_widths"]):
        for t in [*places, len(steps) - 1]:
            if np.isfinite(theory[w, t]):
                labels.append(f"dimension {p}, {'infinitely many' if np.isinf(steps[t]) else f'{steps[t]:.0f}'} steps")
                measured.append(curves["gaussian_test_risk"][:, w, t])
                expected.append(theory[w, t])
    return {"labels": labels, **_setting.beside_theory(np.stack(measured, axis=1), np.array(expected))}


def _table(p: dict[str, Any], numbers: dict[str, Any], source: str, seconds: float) -> str:
    def part(name: str, widths: list[int], unit: str = "width") -> list[str]:
        found = numbers[name]
        lines = [f"{'median over seeds':<28}{'least risk':>12}{'at steps':>12}{'limit':>12}{'limit/least':>13}"]
        for w, width in enumerate(widths):
            lines.append(
                f"{f'{unit} {width}':<28}{found['best'][w]:>12.4g}{found['best_steps'][w]:>12.4g}"
                f"{found['final'][w]:>12.4g}{found['rise'][w]:>13.4g}"
            )
        return lines

    beside = numbers["comparison"]
    return "\n".join(
        [
            f"epoch descent: {len(p['seeds'])} seeds, {seconds:.1f} s",
            "",
            f"{p['activation']} features of {p['n_train']} images of {p['data']}, {p['label_noise']:.0%} label noise",
            *part("image", p["widths"]),
            f"theory: {_setting.NO_THEORY}",
            "",
            f"Gaussian inputs: {p['n_gaussian']} samples, signal {p['signal']:g}, noise {p['noise']:g}",
            *part("gaussian", p["dimensions"], "dimension"),
            *_setting.comparison("excess risk, mean over seeds", beside["labels"], beside),
            f"theory: {source}",
        ]
    )
