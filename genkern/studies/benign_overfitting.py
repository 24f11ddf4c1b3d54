"""An interpolator of noisy labels is harmless, lossy or ruined, by the tail of the covariance."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

import genkern
from genkern import _checks, _plot_benign, plots, problems, sweep, theory
from genkern.studies import _cells, _setting
from genkern.studies._result import StudyResult, prepare

Array = np.ndarray[Any, Any]
SPECTRA = ("benign", "tempered", "catastrophic")


def run(
    *,
    out: str | os.PathLike[str] | None = None,
    samples: Sequence[int] = (25, 50, 100, 200),
    signal: float = 1.0,
    noise: float = 1.0,
    seeds: int | Sequence[int] = 20,
    executor: str | _cells.Executor = "serial",
    store: str | os.PathLike[str] | None = None,
    resume: bool = True,
    progress: _cells.Show = None,
    backend: str | None = None,
    n_threads: int | None = None,
) -> StudyResult:
    """Excess risk of the minimum-norm interpolator over the number of samples, for three sequences of covariances.

    ================  ===================================================================  ==========================
    "benign"          ``exp(-k) + n^{-1}``, ``k <= n^{3/2}``                               all terms vanish
    "tempered"        ``k^{-3/2}``, ``k <= 10 n``                                          the risk goes to a constant
    "catastrophic"    ``exp(-sqrt(k) / 2)``, ``k <= 10 n``                                 the risk grows
    ================  ===================================================================  ==========================

    The signal lies along the largest eigenvalue.

    Parameters
    ----------
    out : path, optional
        Folder for figure.png, results.npz and summary.json.
    samples : sequence of int
        Numbers of samples n, each in [4, 2000].
    signal : float
        Squared norm of the true coefficients.
    noise : float
        Variance of the noise of the labels.
    seeds : int or sequence of int
        How many seeds (0, 1, ...), or which, each a problem for each n and spectrum; at least 2.
    executor : str or concurrent.futures.Executor
        What runs the cells, as of `genkern.sweep.run`: "serial" (all cores to one cell), "threads", "processes",
        "loky", "dask", "mpi", or the address of a Dask scheduler. The numbers are the same.
    store : path, optional
        File for the results of the cells: a run that was ended goes on from it, and more seeds add to it.
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
        `curves`: "samples" (m,), "risk" (3, m, seeds), the excess risk over the noise, exact in the test inputs,
        "train_risk" (3, m, seeds). `theory`: (3, m) "risk", the deterministic equivalent of `ridge_risk`, "bound",
        noise times ``k* / n + n / R_k*`` (up to constants, the variance alone), "critical_index", and "terms" (3, m, 3)
        of `benign_overfitting`. `numbers`: by spectrum the arrays "measured", "standard_error", "theory" and
        "difference", in standard errors, and "growth", the measured exponent of the risk in n.

    Notes
    -----
    The equivalent is a limit: at small n expect differences of order 1 / n of the value.

    References
    ----------
    P. L. Bartlett, P. M. Long, G. Lugosi, A. Tsigler, "Benign overfitting in linear regression", PNAS 117 (2020).
    """
    start = time.perf_counter()
    cells = _cells.Cells("benign-overfitting", executor, store, resume, progress, n_threads)
    if isinstance(samples, (str, bytes)) or not hasattr(samples, "__iter__"):
        raise TypeError(f"samples must be a sequence of integers, got {type(samples).__name__}")
    sizes = sorted({_checks.integer("samples", n, low=4, high=2000) for n in samples})
    if not sizes:
        raise ValueError("samples must not be empty")
    signal = _checks.real_number("signal", signal, low=0.0)
    noise = _checks.real_number("noise", noise, low=0.0, strict=True)
    chosen = _setting.seed_list(seeds, low=2)
    kernel: dict[str, Any] = {"backend": backend, "n_threads": n_threads}
    genkern.lstsq(np.ones((1, 1)), np.ones(1), **kernel)  # refuses bad options before anything long is done
    if out is not None:
        plots.require_matplotlib()
        prepare(out)

    shape = (len(SPECTRA), len(sizes))
    grid = sweep.Grid(spectrum=SPECTRA, n=sizes, seed=chosen)
    found = cells.run(cell, grid, {"signal": signal, "noise": noise, "backend": backend})
    risk, train = (np.array([one[name] for one in found]).reshape(*shape, -1) for name in ("risk", "train_risk"))
    exact, bound, index = np.empty((3, *shape))
    terms = np.empty((*shape, 3))
    for a, name in enumerate(SPECTRA):
        for b, n in enumerate(sizes):
            s = eigenvalues(name, n)
            verdict = theory.benign_overfitting(s, n)
            bound[a, b], index[a, b], terms[a, b] = noise * verdict.bound, verdict.critical_index, verdict.terms
            exact[a, b] = theory.ridge_risk(
                len(s) / n, signal=signal, noise=noise, eigenvalues=s, alignment=np.arange(len(s)) == 0
            ).total

    numbers: dict[str, Any] = {}
    for a, name in enumerate(SPECTRA):
        beside = _setting.beside_theory(risk[a].T, exact[a])
        growth = np.polyfit(np.log(sizes), np.log(beside["measured"]), 1)[0] if len(sizes) > 1 else np.nan
        numbers[name] = {**beside, "growth": float(growth)}
    curves = {"samples": np.array(sizes), "risk": risk, "train_risk": train}
    closed = {"risk": exact, "bound": bound, "critical_index": index, "terms": terms}
    parameters = {
        "samples": sizes,
        "signal": signal,
        "noise": noise,
        "seeds": chosen,
        "backend": backend,
        "n_threads": n_threads,
    }
    about = "deterministic equivalent of the minimum-norm interpolator; bound: noise (k*/n + n/R_k*), up to constants"
    report = _setting.report(backend, time.perf_counter() - start, about)
    table = _table(parameters, numbers, closed, report)
    result = StudyResult("benign-overfitting", parameters, curves, closed, numbers, report, table, _plot_benign.draw)
    if out is not None:
        result.save(out)
    return result


def cell(*, spectrum: str, n: int, seed: int, signal: float, noise: float, backend: str | None) -> dict[str, Any]:
    """Risks of one interpolator."""
    s = eigenvalues(spectrum, n)
    true = np.zeros(len(s))
    true[0] = np.sqrt(signal)
    problem = problems.gaussian(n, len(s), spectrum=s, noise=noise, coef=true, seed=seed)
    fit = genkern.lstsq(problem.X, problem.y, backend=backend)
    return {"risk": np.sum(s * (fit.coef - true) ** 2), "train_risk": fit.residual_norm**2 / n}


def eigenvalues(name: str, n: int) -> Array:
    """Spectrum of n samples, largest first."""
    if name == "benign":
        k = np.arange(1.0, round(n**1.5) + 1.0)
        return np.exp(-k) + 1.0 / n
    k = np.arange(1.0, 10.0 * n + 1.0)
    return np.exp(-np.sqrt(k) / 2.0) if name == "catastrophic" else k**-1.5


def _table(p: dict[str, Any], numbers: dict[str, Any], closed: dict[str, Array], about: dict[str, Any]) -> str:
    lines = [
        f"benign overfitting: minimum-norm interpolation of labels with noise {p['noise']:g}, {len(p['seeds'])} seeds, "
        f"{about['seconds']['total']:.1f} s",
        "",
        f"{'excess risk':<14}{'n':>6}{'measured':>10}{'+-':>9}{'theory':>10}{'std. errors':>13}{'bound':>10}{'k*':>6}"
        f"{'r_0/n':>9}{'k*/n':>8}{'n/R_k*':>9}",
    ]
    for a, name in enumerate(SPECTRA):
        row = numbers[name]
        for b, n in enumerate(p["samples"]):
            first, head, tail = closed["terms"][a, b]
            lines.append(
                f"{name:<14}{n:>6}{row['measured'][b]:>10.4g}{row['standard_error'][b]:>9.2g}{row['theory'][b]:>10.4g}"
                f"{row['difference'][b]:>13.1f}{closed['bound'][a, b]:>10.4g}{closed['critical_index'][a, b]:>6.0f}"
                f"{first:>9.3g}{head:>8.3g}{tail:>9.3g}"
            )
    growth = ", ".join(f"{name} {numbers[name]['growth']:+.2f}" for name in SPECTRA)
    return "\n".join([*lines, "", f"exponent of the risk in n: {growth}", f"theory: {about['theory']}"])
