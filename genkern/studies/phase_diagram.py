"""The risk of ridge regression over features per sample and penalty: a map of thousands of cells, and theory's."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

import genkern
from genkern import _checks, _plot_phase_diagram, plots, problems, sweep, theory
from genkern.studies import _cells, _setting
from genkern.studies._result import StudyResult, prepare

Array = np.ndarray[Any, Any]
_ROWS = 5  # of the table, by gamma
_COLUMNS = 3  # of the table, by ridge


def run(
    *,
    out: str | os.PathLike[str] | None = None,
    n: int = 200,
    gammas: Sequence[float] | None = None,
    ridges: Sequence[float] | None = None,
    signal: float = 1.0,
    noise: float = 0.5,
    seeds: int | Sequence[int] = 10,
    executor: str | _cells.Executor = "serial",
    store: str | os.PathLike[str] | None = None,
    resume: bool = True,
    progress: _cells.Show = None,
    backend: str | None = None,
    n_threads: int | None = None,
) -> StudyResult:
    """Excess risk of ridge regression on isotropic Gaussian inputs, over gamma, features per sample, and the ridge.

    Every cell is a problem and a solve of its own: 2,880 of them by default. A run that is ended goes on from its
    store, here or on a cluster: ``genkern phase-diagram --executor processes --store phase.sweep``.

    Parameters
    ----------
    out : path, optional
        Folder for figure.png, results.npz and summary.json.
    n : int
        Samples, at least 4.
    gammas : sequence of float, optional
        Features per sample; the number of features is the nearest whole one. By default 24 in equal ratios from 0.2
        to 5.
    ridges : sequence of float, optional
        Penalties > 0 on the mean of squares, as of `theory.ridge_risk`. By default 12 in equal ratios from 1e-3 to 10.
    signal : float
        Squared norm of the true coefficients, > 0.
    noise : float
        Variance of the noise of the responses, > 0.
    seeds : int or sequence of int
        How many seeds (0, 1, ...), or which, each a problem for each gamma; at least 2.
    executor : str or concurrent.futures.Executor
        What runs the cells, as of `genkern.sweep.run`: "serial" (all cores to one cell), "threads", "processes",
        "loky", "dask", "mpi", or the address of a Dask scheduler. The numbers are the same.
    store : path, optional
        File for the results of the cells: a run that was ended goes on from it, and more seeds, gammas or ridges add to
        it.
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
        `curves`: "features" (k,), "gamma" (k,), which is features / n, "ridges" (r,), "seeds" (s,) and "risk" (s, k,
        r), the excess risk over the noise, exact in the new input. `theory`: "risk" (k, r), the limit of many samples
        and features, and "best_ridge" (k,), which makes it least. `numbers`: "risk" with the arrays (k, r) "measured",
        "standard_error", "theory" and "difference", in standard errors; "within_two", the share of these below 2;
        "root_mean_square" and "largest_difference"; and "best_ridge" (k,), the ridge of the least measured risk.

    Notes
    -----
    At finite n the means differ from the limit by about ``1 / n`` of their value, more near gamma = 1 with a small
    ridge. All ridges of one seed and gamma share their data, so their differences are alike. With s seeds a
    difference has Student's distribution: with ten, 7.7 % are beyond two standard errors.

    References
    ----------
    T. Hastie, A. Montanari, S. Rosset, R. J. Tibshirani, "Surprises in high-dimensional ridgeless least squares
    interpolation", Annals of Statistics 50 (2022).
    """
    start = time.perf_counter()
    cells = _cells.Cells("phase-diagram", executor, store, resume, progress, n_threads)
    n = _checks.integer("n", n, low=4)
    wanted = np.geomspace(0.2, 5.0, 24).tolist() if gammas is None else gammas
    widths = sorted({max(1, round(value * n)) for value in _setting.reals("gammas", wanted, low=0.0, strict=True)})
    listed = np.geomspace(1e-3, 10.0, 12).tolist() if ridges is None else ridges
    penalties = np.array(sorted(set(_setting.reals("ridges", listed, low=0.0, strict=True))))
    signal = _checks.real_number("signal", signal, low=0.0, strict=True)
    noise = _checks.real_number("noise", noise, low=0.0, strict=True)
    chosen = _setting.seed_list(seeds, low=2)
    kernel: dict[str, Any] = {"backend": backend, "n_threads": n_threads}
    genkern.lstsq(np.ones((1, 1)), np.ones(1), **kernel)  # refuses bad options before anything long is done
    if out is not None:
        plots.require_matplotlib()
        prepare(out)

    grid = sweep.Grid(features=widths, ridge=penalties, seed=chosen)
    found = cells.run(cell, grid, {"n": n, "signal": signal, "noise": noise, "backend": backend})
    shape = len(widths), len(penalties), len(chosen)
    risk = np.moveaxis(np.array([one["risk"] for one in found]).reshape(shape), -1, 0)

    p = np.array(widths)
    gamma = p / n
    closed = {
        "risk": theory.ridge_risk(gamma[:, None], ridge=penalties, signal=signal, noise=noise).total,
        "best_ridge": np.asarray(theory.optimal_ridge(gamma, signal=signal, noise=noise)),
    }
    beside = _setting.beside_theory(risk, closed["risk"])
    away = np.abs(beside["difference"])
    numbers: dict[str, Any] = {
        "risk": beside,
        "within_two": float(np.mean(away < 2.0)),
        "root_mean_square": float(np.sqrt(np.mean(away**2))),
        "largest_difference": float(np.max(away)),
        "best_ridge": penalties[np.argmin(beside["measured"], axis=1)],
    }
    curves = {
        "features": p,
        "gamma": gamma,
        "ridges": penalties,
        "seeds": np.array(chosen, dtype=np.uint64),
        "risk": risk,
    }
    parameters = {
        "n": n,
        "gammas": gamma.tolist(),
        "ridges": penalties.tolist(),
        "signal": signal,
        "noise": noise,
        "seeds": chosen,
        **kernel,
    }
    report = _setting.report(backend, time.perf_counter() - start, "limit of many samples and features")
    table = _table(parameters, curves, closed, numbers, report)
    result = StudyResult("phase-diagram", parameters, curves, closed, numbers, report, table, _plot_phase_diagram.draw)
    if out is not None:
        result.save(out)
    return result


def cell(
    *, features: int, ridge: float, seed: int, n: int, signal: float, noise: float, backend: str | None
) -> dict[str, Any]:
    """Excess risk of one solve; problems of different gammas are independent."""
    drawn = sweep.cell_seed(seed=seed, features=features)
    problem = problems.gaussian(n, features, signal=signal, noise=noise, seed=drawn)
    coef = genkern.lstsq(problem.X, problem.y, ridge=n * ridge, backend=backend).coef
    return {"risk": float(np.sum((coef - problem.coef) ** 2))}


def _table(
    p: dict[str, Any], curves: dict[str, Array], closed: dict[str, Array], numbers: dict[str, Any],
    report: dict[str, Any],
) -> str:  # fmt: skip
    gamma, ridges, beside = curves["gamma"], curves["ridges"], numbers["risk"]
    rows, columns = (
        np.unique(np.rint(np.linspace(0, count - 1, shown)).astype(np.int64))
        for count, shown in ((len(gamma), _ROWS), (len(ridges), _COLUMNS))
    )
    places = [(row, column) for row in rows for column in columns]
    names = [f"gamma = {gamma[row]:.4g}, ridge {ridges[column]:.3g}" for row, column in places]
    shown = {name: np.array([value[place] for place in places]) for name, value in beside.items()}
    return "\n".join(
        [
            f"phase diagram: {curves['risk'].size} ridge regressions of {p['n']} samples, {len(gamma)} gammas, "
            f"{len(ridges)} ridges, {len(p['seeds'])} seeds, {report['seconds']['total']:.1f} s",
            "",
            *_setting.comparison("excess risk, mean over seeds", names, shown),
            "",
            f"{numbers['within_two']:.1%} of the map within two standard errors of theory, root mean square "
            f"{numbers['root_mean_square']:.2f}, largest {numbers['largest_difference']:.1f}",
            f"best ridge over gamma: measured {np.median(numbers['best_ridge'] / gamma):.3g} in the median, "
            f"theory {np.median(closed['best_ridge'] / gamma):.3g}",
            f"theory: {report['theory']}",
        ]
    )
