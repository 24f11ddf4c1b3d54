"""The closed form of random-features regression beside its measured double descent, with the sources of variance."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import genkern
from genkern import _checks, _plot_random_features, plots, problems, sweep, theory
from genkern.studies import _cells, _setting
from genkern.studies._result import StudyResult, prepare

Array = np.ndarray[Any, Any]
SOURCES = ("floor", "bias", "samples", "features", "noise")
_RATIOS = (0.1, 0.25, 0.5, 0.75, 1.5, 2.0, 4.0, 10.0)  # N / n of the default widths with the table, off the threshold
_NEAR = (0.9, 1.0, 1.1)  # those that are drawn and not in the table
_PAIRS = 8  # noises by seed, each with both signs
_LINE = 300  # points of the theory curves


def run(
    *,
    out: str | os.PathLike[str] | None = None,
    dimension: int = 100,
    n_train: int = 200,
    n_test: int = 1000,
    widths: Sequence[int] | None = None,
    ridges: Sequence[float] = (0.0, 5.0),
    activation: str | Callable[[float], float] = "relu",
    linear: float = 1.0,
    nonlinear: float = 0.0,
    noise: float = 0.25,
    seeds: int | Sequence[int] = 20,
    executor: str | _cells.Executor = "serial",
    store: str | os.PathLike[str] | None = None,
    resume: bool = True,
    progress: _cells.Show = None,
    backend: str | None = None,
    n_threads: int | None = None,
) -> StudyResult:
    """Risk of regression on N random features over N, beside the limit of Mei and Montanari.

    Inputs are uniform on the sphere of radius ``sqrt(dimension)`` (`problems.spherical`), and so are the weights.

    Parameters
    ----------
    out : path, optional
        Folder for figure.png, results.npz and summary.json.
    dimension : int
        Dimensions d of the inputs, at least 2.
    n_train : int
        Training samples n, at least 4.
    n_test : int
        Test points of each seed.
    widths : sequence of int, optional
        Numbers N of features. By default 11 from n_train / 10 to 10 n_train.
    ridges : sequence of float
        Penalties on the sum of squares, as of lstsq.
    activation : str or callable
        Activation of random_features.
    linear : float
        Variance of the linear part of the target.
    nonlinear : float
        Variance of its quadratic part, which no such regression learns at these sizes.
    noise : float
        Variance of the noise of the responses.
    seeds : int or sequence of int
        How many seeds (0, 1, ...) of problem and features, or which.
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
        `curves`: "seeds" (s,), "widths" (t,), "ridges" (r,), and of shape (s, r, t) "test_risk" (excess risk: the noise
        of a new response is not in it), "variance" (its part that is variance over the noise of the training
        responses) and "bias", the rest. `theory`: the same three, of shape (r, t), and the lines "line_width_ratio"
        (l,), which is N / d, and "line_test_risk" and the sources "line_floor", "line_bias", "line_samples",
        "line_features" and "line_noise" of shape (r, l), which add up to it. `numbers`: "at", the widths of the table,
        and for each ridge ("ridge 0", ...) "test_risk", "bias" and "variance", each with the arrays "measured",
        "standard_error", "theory" and "difference", in standard errors. If `dimension`, `n_train` and all widths are
        even, there is "extrapolated" as well: the excess risk twice, less that of a problem of half the size, in which
        the correction of order ``1 / d`` is gone.

    Notes
    -----
    One ridge on the sum of squares is at each width another lambda of Mei and Montanari: ``ridge d / (n N)``. The
    theory is a limit: at dimension d expect differences of order ``1 / d`` of the value, of several ``1 / d`` in the
    variance at large widths, and more near N = n. The source "noise" contains the variance due to the nonlinear part of
    the target; the measured "variance" does not.

    References
    ----------
    S. Mei, A. Montanari, "The generalization error of random features regression: precise asymptotics and the double
    descent curve", Communications on Pure and Applied Mathematics 75 (2022). Sources: as in `random_features_risk`.
    """
    start = time.perf_counter()
    cells = _cells.Cells("random-features-theory", executor, store, resume, progress, n_threads)
    d = _checks.integer("dimension", dimension, low=2)
    n = _checks.integer("n_train", n_train, low=4)
    n_test = _checks.integer("n_test", n_test, low=1)
    chosen_widths = [max(1, round(ratio * n)) for ratio in (*_RATIOS, *_NEAR)] if widths is None else widths
    N = np.array(_setting.grid("widths", chosen_widths, 1, None))
    penalties = np.array(sorted(set(_setting.reals("ridges", ridges, low=0.0))))
    levels = {"linear": linear, "nonlinear": nonlinear, "noise": noise}
    levels = {name: _checks.real_number(name, value, low=0.0) for name, value in levels.items()}
    chosen = _setting.seed_list(seeds)
    kernel: dict[str, Any] = {"backend": backend, "n_threads": n_threads}
    law: dict[str, Any] = {"activation": activation, "weights": "sphere"}
    # Refuse bad options before anything long is done.
    genkern.random_feature_curve([[1.0]], [0.0], [[1.0]], [0.0], widths=[1], **law, **kernel)
    at_points = _closed(N / d, N, n, d, penalties, activation, levels)
    if out is not None:
        plots.require_matplotlib()
        prepare(out)

    common: dict[str, Any] = {
        "dimension": d,
        "n_train": n,
        "n_test": n_test,
        "widths": N.tolist(),
        "ridges": penalties.tolist(),
        "activation": cells.activation(activation),
        **levels,
        "backend": backend,
    }
    curves = _setting.by_seed(cells.run(cell, sweep.Grid(seed=chosen), common))
    half = curves.pop("half_test_risk", None)

    line = np.unique(np.geomspace(N[0], N[-1], _LINE)) / d
    if N[0] < n < N[-1]:
        line = np.union1d(line, [n / d])
    lines = _closed(line, line * d, n, d, penalties, activation, levels)
    closed = {name: at_points[name] for name in ("test_risk", "bias", "variance")}
    closed |= {"line_width_ratio": line, "line_test_risk": lines["test_risk"]}
    closed |= {f"line_{name}": lines[f"source_{name}"] for name in SOURCES}
    curves |= {"seeds": np.array(chosen, dtype=np.uint64), "widths": N, "ridges": penalties}
    shown = np.flatnonzero(np.abs(np.log(N / n)) > 0.15)
    numbers: dict[str, Any] = {"at": N[shown]}
    for r, ridge in enumerate(penalties):
        numbers[f"ridge {ridge:g}"] = {
            name: _setting.beside_theory(curves[name][:, r, shown], closed[name][r, shown], linear)
            for name in ("test_risk", "bias", "variance")
        }
        if half is not None:
            limit = (2.0 * curves["test_risk"] - half)[:, r, shown]
            numbers[f"ridge {ridge:g}"]["extrapolated"] = _setting.beside_theory(limit, closed["test_risk"][r, shown])
    parameters = {
        "dimension": d,
        "n_train": n,
        "n_test": n_test,
        "widths": N.tolist(),
        "ridges": penalties.tolist(),
        "activation": _setting.activation_name(activation),
        **levels,
        "seeds": chosen,
        **kernel,
    }
    about = "Mei and Montanari, limit of large samples, widths and dimensions"
    report = _setting.report(backend, time.perf_counter() - start, about)
    table = _table(parameters, numbers, report)
    result = StudyResult(
        "random-features-theory", parameters, curves, closed, numbers, report, table, _plot_random_features.draw
    )
    if out is not None:
        result.save(out)
    return result


def cell(
    *, seed: int, dimension: int, n_train: int, n_test: int, widths: Sequence[int], ridges: Sequence[float],
    activation: str, linear: float, nonlinear: float, noise: float, backend: str | None,
) -> dict[str, Any]:  # fmt: skip
    """Curves of one seed, and of the problem of half the size where there is one."""
    d, n, N, penalties = dimension, n_train, np.array(widths), np.array(ridges)
    levels = {"linear": linear, "nonlinear": nonlinear, "noise": noise}
    law: dict[str, Any] = {"activation": _cells.imported(activation), "weights": "sphere"}
    kernel: dict[str, Any] = {"backend": backend}
    found = _measure(d, n, n_test, N, penalties, levels, law, seed, kernel)
    if not np.any(np.array([d, n, *N]) % 2):  # the same lambda is half the ridge
        half = _measure(d // 2, n // 2, n_test, N // 2, penalties / 2, levels, law, seed, kernel)
        found["half_test_risk"] = half["test_risk"]
    return found


def _measure(
    d: int,
    n: int,
    n_test: int,
    N: Array,
    ridges: Array,
    levels: dict[str, float],
    law: dict[str, Any],
    seed: int,
    kernel: dict[str, Any],
) -> dict[str, Array]:
    """Risk, bias and variance (r, t) of one seed, over draws of the noise."""
    clean = {"linear": levels["linear"], "nonlinear": levels["nonlinear"]}
    p = problems.spherical(n, d, n_test=n_test, seed=seed, **clean)
    draws = np.sqrt(levels["noise"]) * np.random.Generator(np.random.PCG64(seed)).standard_normal((_PAIRS, n))
    curve = genkern.random_feature_curve(
        p.X,
        p.y,
        p.X_test,
        p.y_test,
        widths=N,
        seeds=seed,
        ridge=ridges,
        noise=np.concatenate([draws, -draws]),  # their mean is 0: the bias is that of clean responses
        **law,
        **kernel,
    )
    return {name: np.asarray(getattr(curve, name)) for name in ("test_risk", "bias", "variance")}


def _closed(
    width_ratio: Array,
    N: Array,
    n: int,
    d: int,
    ridges: Array,
    activation: str | Callable[[float], float],
    levels: dict[str, float],
) -> dict[str, Array]:
    """Limits at all ridges (r, t): the risk, its parts without and with noise, and its sources."""
    lam = ridges[:, None] * d / (n * N)
    risk = theory.random_features_risk(width_ratio, n / d, ridge=lam, activation=activation, **levels)
    clean = theory.random_features_risk(
        width_ratio, n / d, ridge=lam, activation=activation, **(levels | {"noise": 0.0})
    )
    noisy = theory.random_features_risk(
        width_ratio, n / d, ridge=lam, activation=activation, linear=0.0, noise=levels["noise"]
    )
    found = {"test_risk": risk.total, "bias": clean.total, "variance": noisy.variance}
    return found | {f"source_{name}": getattr(risk.decomposition, name) for name in SOURCES}


def _table(p: dict[str, Any], numbers: dict[str, Any], report: dict[str, Any]) -> str:
    lines = [
        f"random features, theory: {p['activation']}, {p['n_train']} samples in {p['dimension']} dimensions, noise "
        f"{p['noise']:g}, {len(p['seeds'])} seeds, {report['seconds']['total']:.1f} s",
    ]
    names = [f"N = {N}" for N in numbers["at"]]
    labels = {"test_risk": "excess risk", "bias": "without noise", "variance": "variance over the noise"}
    labels["extrapolated"] = "risk, less the 1/d term"
    for ridge in p["ridges"]:
        lines.append("")
        for part, found in numbers[f"ridge {ridge:g}"].items():
            lines += _setting.comparison(f"ridge {ridge:g}: {labels[part]}", names, found)
    return "\n".join([*lines, "", f"theory: {report['theory']}"])
