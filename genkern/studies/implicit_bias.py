"""Gradient descent from zero picks the interpolator of the smallest norm: an under-determined linear problem."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

import genkern
from genkern import _checks, _plot_implicit_bias, _registry, plots, problems, sweep
from genkern.studies import _cells, _setting
from genkern.studies._result import StudyResult, prepare

Array = np.ndarray[Any, Any]
THEORY = "closed form of gradient descent from the singular values; nothing is averaged, so without standard errors"
STARTS = ("zero", "in the row space", "with a null-space part")
# The picture in the plane: one equation <x, w> = y, so that the interpolators are a line.
PLANE_X, PLANE_Y = np.array([[1.0, 2.0]]), np.array([2.0])
PLANE_STARTS = np.array([[0.0, 0.0], [0.75, 1.5], [1.7, -0.6], [-0.9, 0.7]])  # the last two off the row space


def run(
    *,
    out: str | os.PathLike[str] | None = None,
    n: int = 20,
    d: int = 60,
    noise: float = 0.1,
    steps: int = 500,
    points: int = 60,
    start_norm: float = 1.0,
    seeds: int | Sequence[int] = 1,
    executor: str | _cells.Executor = "serial",
    store: str | os.PathLike[str] | None = None,
    resume: bool = True,
    progress: _cells.Show = None,
    backend: str | None = None,
    n_threads: int | None = None,
) -> StudyResult:
    """Gradient descent on fewer equations than unknowns, from several starts, beside the pseudoinverse solution.

    All w with ``X w = y`` fit equally well. The gradient ``X^T (X w - y)`` lies in the row space of X, so what the
    start w_0 has orthogonal to it stays: the limit is ``X^+ y + (I - X^+ X) w_0``. From zero, and from any start in the
    row space, that is the interpolator of the smallest norm. The iterates are those of `gd_path` with the step size
    ``1 / s_max^2``; a start is a shift of the problem, ``w_k = w_0 + gd_path(X, y - X w_0)_k``.

    Parameters
    ----------
    out : path, optional
        Folder for figure.png, results.npz and summary.json.
    n : int
        Equations; fewer than d.
    d : int
        Unknowns.
    noise : float
        Variance of the noise in y. All of it is interpolated.
    steps : int
        Largest number of steps.
    points : int
        Number of step counts up to it, about; they are spaced evenly.
    start_norm : float
        Norm of the two starts other than zero.
    seeds : int or sequence of int
        How many seeds (0, 1, ...) of the problem and of the starts, or which.
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
        `curves`: "steps" (t,), "seeds" (s,); by seed, start ("zero", "in the row space", "with a null-space part") and
        step, (s, 3, t): "distance" to the solution of the smallest norm, "residual" ``||X w - y||`` and "norm";
        "plane_paths" (3, p, 2), the iterates of the picture in the plane. `theory`: "distance" and "residual" from the
        closed form with the singular values, ``||w_k - X^+ y||^2 = sum_i (1 - s_i^2 / s_max^2)^2k c_i^2 + ||(I - X^+ X)
        w_0||^2``, c_i the parts of ``w_0 - X^+ y`` along the singular vectors. `numbers`, by seed: "minimum_norm" of
        the pseudoinverse solution, "other_norms" of interpolators with a random null-space part, "limit_distance" by
        start and its "theory_limit", and over all seeds "largest_difference" of the curves from theory (relative to the
        norm of the solution), and "loop_difference", of `gd_path` from a plain loop over every step.

    Notes
    -----
    The distances fall like ``(1 - s_min^2 / s_max^2)^k``, s_min the least singular value.
    """
    start = time.perf_counter()
    cells = _cells.Cells("implicit-bias", executor, store, resume, progress, n_threads)
    n = _checks.integer("n", n, low=1)
    d = _checks.integer("d", d, low=2)
    if n >= d:
        raise ValueError(f"n must be less than d = {d}, got {n}")
    steps = _checks.integer("steps", steps, low=1, high=10**6)
    points = _checks.integer("points", points, low=2)
    start_norm = _checks.real_number("start_norm", start_norm, low=0.0)
    kernel: dict[str, Any] = {"backend": backend, "n_threads": n_threads}
    noise = _checks.real_number("noise", noise, low=0.0)
    chosen = _setting.seed_list(seeds)
    genkern.lstsq(np.ones((1, 1)), np.ones(1), **kernel)  # refuses bad options before anything long is done
    if out is not None:
        plots.require_matplotlib()
        prepare(out)

    parameters = {
        "n": n,
        "d": d,
        "noise": noise,
        "steps": steps,
        "points": points,
        "start_norm": start_norm,
        "seeds": chosen,
        "backend": backend,
        "n_threads": n_threads,
    }
    common = {name: value for name, value in parameters.items() if name not in ("seeds", "n_threads")}
    found = _setting.by_seed(cells.run(cell, sweep.Grid(seed=chosen), common))
    curves = {"steps": _counts(steps, points), "seeds": np.array(chosen, dtype=np.uint64)}
    curves |= {name: found[name] for name in ("distance", "residual", "norm")}
    theory = {name: found[f"theory_{name}"] for name in ("distance", "residual")}
    plane_counts = np.arange(13)
    shifted = PLANE_Y - PLANE_STARTS @ PLANE_X.T
    curves["plane_paths"] = PLANE_STARTS[:, None] + genkern.gd_path(
        PLANE_X[None], shifted, plane_counts, step_size=_plane_step(), **kernel
    )
    numbers: dict[str, Any] = {
        name: found[name] for name in ("minimum_norm", "other_norms", "limit_distance", "theory_limit")
    }
    numbers |= {name: float(np.max(found[name])) for name in ("largest_difference", "loop_difference")}
    seconds = {"total": time.perf_counter() - start}
    report = {
        "version": genkern.__version__,
        "backend": backend or _registry.default_backend(),
        "backends": genkern.backends(),
        "seconds": seconds,
        "theory": THEORY,
    }
    table = _table(parameters, numbers, curves, seconds["total"])
    result = StudyResult("implicit-bias", parameters, curves, theory, numbers, report, table, _plot_implicit_bias.draw)
    if out is not None:
        result.save(out)
    return result


def cell(
    *, seed: int, n: int, d: int, noise: float, steps: int, points: int, start_norm: float, backend: str | None
) -> dict[str, Any]:
    """Curves, closed form and numbers of one problem."""
    kernel: dict[str, Any] = {"backend": backend}
    problem = problems.gaussian(n, d, noise=noise, seed=seed)
    X, y = problem.X, problem.y
    best = genkern.lstsq(X, y, **kernel).coef
    _, s, Vt = np.linalg.svd(X, full_matrices=False)
    random = np.random.Generator(np.random.PCG64(seed)).standard_normal((6, d))
    inside = random[0] @ Vt.T @ Vt
    starts = np.stack([np.zeros(d), inside, random[0]])
    norms = np.linalg.norm(starts, axis=1, keepdims=True)
    starts = start_norm * np.divide(starts, norms, out=np.zeros_like(starts), where=norms > 0)
    counts = _counts(steps, points)
    paths = starts[:, None] + genkern.gd_path(X[None], y - starts @ X.T, counts, **kernel)

    # The closed form again, in NumPy and without the kernels.
    parts = (starts - best) @ Vt.T
    beyond = np.array([0.0, 0.0, np.linalg.norm(starts[2] - starts[2] @ Vt.T @ Vt)])
    decay = (1.0 - (s / s[0]) ** 2) ** counts[:, None]
    along = parts[:, None, :] * decay
    theory = np.sqrt(np.sum(along**2, axis=2) + beyond[:, None] ** 2)
    distance = np.linalg.norm(paths - best, axis=2)
    size = float(np.linalg.norm(best))
    others = random[1:] - random[1:] @ Vt.T @ Vt
    return {
        "distance": distance,
        "residual": np.linalg.norm(paths @ X.T - y, axis=2),
        "norm": np.linalg.norm(paths, axis=2),
        "theory_distance": theory,
        "theory_residual": np.sqrt(np.sum((along * s) ** 2, axis=2)),
        "minimum_norm": size,
        "other_norms": np.linalg.norm(
            best + others * (start_norm / np.linalg.norm(others, axis=1, keepdims=True)), axis=1
        ),
        "limit_distance": np.linalg.norm(
            starts + genkern.gd_path(X[None], y - starts @ X.T, np.inf, **kernel) - best, axis=1
        ),
        "theory_limit": beyond,
        "largest_difference": float(np.abs(distance - theory).max()) / size,
        "loop_difference": _loop_difference(X, y, starts, paths, counts, s[0]) / size,
    }


def _counts(steps: int, points: int) -> Array:
    counts: Array = np.unique(np.rint(np.linspace(0, steps, points)))
    return counts


def _plane_step() -> float:
    """A third of the step that would land on the line at once, so that the path shows."""
    return 1.0 / (3.0 * float(np.sum(PLANE_X**2)))


def _loop_difference(X: Array, y: Array, starts: Array, paths: Array, counts: Array, largest: float) -> float:
    """Largest distance of the paths from a loop that runs every step."""
    w, difference, t = starts.copy(), 0.0, 0
    for k in range(int(counts[-1]) + 1):
        if k == counts[t]:
            difference = max(difference, float(np.linalg.norm(w - paths[:, t], axis=1).max()))
            t += 1
        w = w - (w @ X.T - y) @ X / largest**2
    return difference


def _table(p: dict[str, Any], numbers: dict[str, Any], curves: dict[str, Array], seconds: float) -> str:
    lines = [
        f"implicit bias: gradient descent on {p['n']} equations with {p['d']} unknowns, {p['steps']} steps, "
        f"{seconds:.2f} s" + (f"; medians over {len(p['seeds'])} seeds" if len(p["seeds"]) > 1 else ""),
        "",
        f"{'distance to the minimum-norm solution':<40}{'at the end':>12}{'limit':>12}{'theory':>12}",
    ]
    columns = (curves["distance"][..., -1], numbers["limit_distance"], numbers["theory_limit"])
    rows = zip(STARTS, *(np.median(column, axis=0) for column in columns), strict=True)
    lines += [f"{'start ' + name:<40}{end:>12.3g}{limit:>12.3g}{theory:>12.3g}" for name, end, limit, theory in rows]
    others = numbers["other_norms"]
    lines += [
        "",
        f"norm of the minimum-norm solution {np.median(numbers['minimum_norm']):.6g}; of other interpolators "
        f"{others.min():.6g} to {others.max():.6g}",
        f"largest difference of the curves from theory {numbers['largest_difference']:.1e} of that norm, "
        f"from a loop over every step {numbers['loop_difference']:.1e}",
        f"theory: {THEORY}",
    ]
    return "\n".join(lines)
