"""Gradient descent on separable data goes to the maximal margin like 1 / log t; others go faster, or elsewhere."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

import genkern
from genkern import _checks, _plot_max_margin, _registry, plots, sweep
from genkern.studies import _cells, _margin_paths, _setting
from genkern.studies._result import StudyResult, prepare

Array = np.ndarray[Any, Any]
THEORY = "limits from w_hat and w_tilde, and laws of the rates; nothing is averaged, so without standard errors"
SETS = ("soudry", "gaussian", "digits")


def run(
    *,
    out: str | os.PathLike[str] | None = None,
    data: str = "all",
    n: int = 569,
    d: int = 30,
    loss: str = "logistic",
    max_steps: float = 1e100,
    exact_steps: int = 10000,
    points: int = 60,
    method_steps: int = 10000,
    geometry_steps: int = 30000,
    seeds: int | Sequence[int] = (30,),
    executor: str | _cells.Executor = "serial",
    store: str | os.PathLike[str] | None = None,
    resume: bool = True,
    progress: _cells.Show = None,
    backend: str | None = None,
    n_threads: int | None = None,
) -> StudyResult:
    """Direction, margin and loss of gradient descent on separable data over the logarithm of time.

    The direction of w tends to the hard margin's like 1 / log t, so no loop ever shows it: `logistic_path` runs the
    first steps one by one and continues them in log t to 10^100 and beyond. `max_margin` gives what they tend to.

    Parameters
    ----------
    out : path, optional
        Folder for figure.png, results.npz and summary.json.
    data : str
        "soudry" (two-dimensional set of Figure 1 of the paper), "gaussian" (n points whose d columns have variances 1/k
        and whose labels a random plane decides, and a bias column: about the size of the breast-cancer data), "digits"
        (bundled images of 0 and 1, and a bias column), or "all" three.
    n : int
        Points of "gaussian"; those within 0.1 standard deviations of the plane are left out.
    d : int
        Columns of "gaussian" besides the bias.
    loss : str
        "logistic" or "exponential".
    max_steps : float
        Last step of the continuation, at most 1e300.
    exact_steps : int
        Steps that are also run one by one, as a check of the continuation.
    points : int
        Step counts on each axis, about.
    method_steps : int
        Steps of each method of the comparison, on the digits.
    geometry_steps : int
        Steps of each geometry, on 6 random points in 12 dimensions.
    seeds : int or sequence of int
        How many seeds (0, 1, ...) of the Gaussian data and of the geometries' points, or which. The default is one
        whose remainder dies out early.
    executor : str or concurrent.futures.Executor
        What runs the parts, as of `genkern.sweep.run`: "serial" (all cores to one cell), "threads", "processes",
        "loky", "dask", "mpi", or the address of a Dask scheduler. The numbers are the same.
    store : path, optional
        File for the results of the parts: a run that was ended goes on from it, and more seeds add to it.
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
        `curves`: "steps" (t,) and, by data set, of which each seed has its own "gaussian", (sets, t): "direction"
        ``||w/||w|| - w_hat/||w_hat|| ||``, "margin_gap" ``1 - margin / largest margin``, "scaled_loss" ``t L eta /
        ||w_hat||^2``, "norm", "error" (estimated, relative); "exact_steps" (e,) and "exact_direction",
        "exact_margin_gap", "exact_scaled_loss" of the loop; "method_steps" and "method_gap" (methods, m);
        "geometry_steps" and "geometry_gap" (s, 3, g), by seed, 1 - margin / largest margin in the l1, l2 and l_inf
        norm. `theory`: "direction" and "margin_gap", their limits over log t; "scaled_loss", 1; "norm", ``||w_hat|| log
        t``. `numbers`: by data set "largest_margin" and its proof "gap", "on_margin" (points), "rank" (of them),
        "rank_of_data", each "limit" beside what the path has "at_the_end" ("direction", "margin", "loss"),
        "continued_difference" from the loop, the largest "estimated_error", and "slowest_exponent" (below); "slopes" of
        the methods over the last decade of `method_steps`; "geometries".

    Notes
    -----
    ``w(t) = w_hat log t + w_tilde`` up to terms that fall like ``t^-p``, p the "slowest_exponent": the least eigenvalue
    of ``sum alpha_n z_n z_n^T`` over the points on the margin, or by how much the next point's margin exceeds 1. It is
    often below 0.01, and then 10^100 steps are not enough to see the limits. Where the points on the margin span the
    data, theory gives w_tilde and so every limit. Elsewhere the part of w_tilde outside that span depends on the whole
    history; it is then read off the end of the path, and the limit of the direction, alone, rests on it. Soudry's set
    is symmetric: both of its limits are 0, and the direction falls like a power of t.

    References
    ----------
    D. Soudry, E. Hoffer, M. S. Nacson, S. Gunasekar, N. Srebro, "The implicit bias of gradient descent on separable
    data", JMLR 19 (2018). M. S. Nacson et al., "Convergence of gradient descent on separable data", AISTATS 2019.
    Z. Ji, N. Srebro, M. Telgarsky, "Fast margin maximization via dual acceleration", ICML 2021.
    """
    start = time.perf_counter()
    cells = _cells.Cells("max-margin", executor, store, resume, progress, n_threads)
    _checks.choice("data", data, (*SETS, "all"))
    _checks.choice("loss", loss, ("logistic", "exponential"))
    n = _checks.integer("n", n, low=10)
    d = _checks.integer("d", d, low=1)
    max_steps = _checks.real_number("max_steps", max_steps, low=100.0, high=1e300)
    exact_steps = _checks.integer("exact_steps", exact_steps, low=10, high=10**7)
    points = _checks.integer("points", points, low=10)
    method_steps = _checks.integer("method_steps", method_steps, low=100, high=10**7)
    geometry_steps = _checks.integer("geometry_steps", geometry_steps, low=100, high=10**7)
    kernel: dict[str, Any] = {"backend": backend, "n_threads": n_threads}
    chosen = _setting.seed_list(seeds)
    genkern.max_margin(np.ones((1, 1)), np.ones(1), **kernel)  # refuses bad options before anything long or lasting
    if out is not None:
        plots.require_matplotlib()
        prepare(out)

    sets: list[dict[str, Any]] = []
    for name in SETS if data == "all" else (data,):
        sets += [{"part": name, "seed": seed} for seed in (chosen if name == "gaussian" else [None])]
    many = len(chosen) > 1
    names = [f"{one['part']} {one['seed']}" if many and one["seed"] is not None else one["part"] for one in sets]
    others: list[dict[str, Any]] = [{"part": "methods", "seed": None}]
    others += [{"part": "geometries", "seed": seed} for seed in chosen]
    common: dict[str, Any] = {
        "n": n,
        "d": d,
        "loss": loss,
        "max_steps": max_steps,
        "exact_steps": int(min(exact_steps, max_steps)),
        "points": points,
        "method_steps": method_steps,
        "geometry_steps": geometry_steps,
        "backend": backend,
    }
    found = cells.run(cell, sweep.Grid.from_list([*sets, *others]), common)
    exact_steps = common["exact_steps"]
    steps, whole = _steps(max_steps, exact_steps, points)
    measured, methods, geometries = found[: len(sets)], found[len(sets)], found[len(sets) + 1 :]
    numbers: dict[str, Any] = {"sets": {name: _nested(one) for name, one in zip(names, measured, strict=True)}}
    curves: dict[str, Any] = {"steps": steps, "exact_steps": whole}
    curves |= _setting.by_seed([{key: one[key] for key in one if isinstance(one[key], np.ndarray)} for one in measured])
    theory = _setting.by_seed([_margin_paths.laws(steps, of) for of in numbers["sets"].values()])
    curves["method_steps"] = _margin_paths.counts(method_steps, points)
    curves["method_gap"] = methods["gap"]
    numbers["slopes"] = dict(zip(_margin_paths.METHODS, map(float, methods["slopes"]), strict=True))
    curves["geometry_steps"] = _margin_paths.counts(geometry_steps, points)
    curves["geometry_gap"] = np.stack([one["gap"] for one in geometries])
    numbers["geometries"] = {
        name: {
            "algorithm": algorithm,
            "largest_margin": np.array([one["largest_margin"][row] for one in geometries]),
            "reached": np.array([one["reached"][row] for one in geometries]),
        }
        for row, (name, (algorithm, _)) in enumerate(_margin_paths.GEOMETRIES.items())
    }
    seconds = {"total": time.perf_counter() - start}
    parameters = {
        "data": data,
        "sets": names,
        "n": n,
        "d": d,
        "loss": loss,
        "max_steps": max_steps,
        "exact_steps": exact_steps,
        "points": points,
        "method_steps": method_steps,
        "geometry_steps": geometry_steps,
        "seeds": chosen,
        "backend": backend,
        "n_threads": n_threads,
    }
    report = {
        "version": genkern.__version__,
        "backend": backend or _registry.default_backend(),
        "backends": genkern.backends(),
        "seconds": seconds,
        "theory": THEORY,
    }
    table = _table(parameters, numbers, seconds["total"])
    result = StudyResult("max-margin", parameters, curves, theory, numbers, report, table, _plot_max_margin.draw)
    if out is not None:
        result.save(out)
    return result


def cell(
    *, part: str, seed: int | None, n: int, d: int, loss: str, max_steps: float, exact_steps: int, points: int,
    method_steps: int, geometry_steps: int, backend: str | None,
) -> dict[str, Any]:  # fmt: skip
    """One data set, the comparison of the methods, or one of the geometries."""
    kernel: dict[str, Any] = {"backend": backend}
    if part == "geometries":
        return dict(_margin_paths.geometries(_margin_paths.counts(geometry_steps, points), seed or 0, loss, kernel))
    if part == "methods":
        counts = _margin_paths.counts(method_steps, points)
        gap, slopes = _margin_paths.methods(*_margin_paths.data("digits", n, d, 0), counts, loss, kernel)
        return {"gap": gap, "slopes": slopes}
    steps, whole = _steps(max_steps, exact_steps, points)
    curves, numbers = _margin_paths.follow(*_margin_paths.data(part, n, d, seed or 0), steps, whole, loss, kernel)
    for name, value in numbers.items():
        inner = value.items() if isinstance(value, dict) else ()
        curves |= {f"{name}.{key}": one for key, one in inner} if inner else {name: value}
    return curves


def _nested(found: dict[str, Any]) -> dict[str, Any]:
    """Numbers of a data set from its cell's results, in which ``limit.direction`` stands for one within another."""
    numbers: dict[str, Any] = {}
    for name, value in found.items():
        if not isinstance(value, np.ndarray):
            outer, _, inner = name.partition(".")
            if inner:
                numbers.setdefault(outer, {})[inner] = value
            else:
                numbers[name] = value
    return numbers


def _steps(max_steps: float, exact_steps: int, points: int) -> tuple[Array, Array]:
    """Counts of the continuation, and those that are also run one by one."""
    whole = _margin_paths.counts(exact_steps, points // 2)
    later = np.exp(np.geomspace(np.log(exact_steps), np.log(max_steps), points))  # evenly on the axis of log t
    later[-1] = max_steps
    return np.concatenate([whole, later[1:][later[1:] > exact_steps]]), whole


def _table(p: dict[str, Any], numbers: dict[str, Any], seconds: float) -> str:
    lines = [
        f"max margin: gradient descent on the {p['loss']} loss to step {p['max_steps']:g}, {seconds:.1f} s",
        "",
        f"{'':<12}{'largest':>12}{'duality':>9}{'log t direction':>20}{'log t margin gap':>20}{'t L':>12}{'slowest':>9}"
        f"{'loop':>8}",
        f"{'':<12}{'margin':>12}{'gap':>9}{'end':>10}{'limit':>10}{'end':>10}{'limit':>10}{'over limit':>12}"
        f"{'t^-p, p':>9}{'differs':>8}",
    ]
    for name, of in numbers["sets"].items():
        end, limit = of["at_the_end"], of["limit"]
        lines.append(
            f"{name:<12}{of['largest_margin']:>12.8f}{of['gap']:>9.0e}{end['direction']:>10.4g}"
            f"{limit['direction']:>10.4g}{end['margin']:>10.4g}{limit['margin']:>10.4g}"
            f"{end['loss'] / limit['loss']:>12.7f}{of['slowest_exponent']:>9.2g}{of['continued_difference']:>8.0e}"
        )
    lines += ["", f"{'slope of the margin gap on digits':<36}{'measured':>10}   law"]
    for name, slope in numbers["slopes"].items():
        lines.append(f"{name:<36}{slope:>10.2f}   {_margin_paths.METHODS[name][2]}")
    lines += ["", f"{'geometry, 6 points in 12 dimensions':<36}{'reached':>12}{'largest margin':>16}"]
    for name, of in numbers["geometries"].items():
        lines += [
            f"{name + ' by ' + of['algorithm']:<36}{reached:>12.6f}{largest:>16.6f}"
            for reached, largest in zip(of["reached"], of["largest_margin"], strict=True)
        ]
    return "\n".join([*lines, "", f"theory: {THEORY}"])
