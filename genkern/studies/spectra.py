"""Eigenvalues of sample covariances follow Marchenko-Pastur, their edge Tracy-Widom, and spikes a phase transition."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

import genkern
from genkern import _checks, _plot_spectra, plots, sweep, theory
from genkern.studies import _cells, _setting
from genkern.studies._result import StudyResult, prepare

Array = np.ndarray[Any, Any]
_TW1_MEAN, _TW1_VARIANCE = -1.206533574582, 1.607781034581
_CHUNK_BYTES = 64 << 20


def run(
    *,
    out: str | os.PathLike[str] | None = None,
    n: int = 200,
    p: int = 100,
    draws: int = 40,
    spikes: Sequence[float] | None = None,
    spike_draws: int = 4,
    seeds: int | Sequence[int] = 10,
    executor: str | _cells.Executor = "serial",
    store: str | os.PathLike[str] | None = None,
    resume: bool = True,
    progress: _cells.Show = None,
    backend: str | None = None,
    n_threads: int | None = None,
) -> StudyResult:
    """Spectra of ``X^T X / n``, X Gaussian of n rows and p columns, beside the limits of random-matrix theory.

    Parameters
    ----------
    out : path, optional
        Folder for figure.png, results.npz and summary.json.
    n : int
        Samples.
    p : int
        Dimensions, at least 2.
    draws : int
        Matrices without a spike of each seed.
    spikes : sequence of float, optional
        Largest eigenvalues of the covariance, all others being 1. By default 13 from 1 to three times as far
        as the transition.
    spike_draws : int
        Matrices of each seed for each spike.
    seeds : int or sequence of int
        How many seeds (0, 1, ...), or which; with at least 3 matrices without and 2 for each spike in all.
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
        `curves`: "eigenvalues" (m, min(n, p)) of all m draws, those that are not 0 by construction, "edge" (m,), the
        largest one standardized as in `tracy_widom_cdf`, "spikes" (k,), and for each (k, ...) the largest eigenvalue
        "spike_eigenvalue" and "spike_cosine_squared", of its vector with the spike's direction. `theory`: "x",
        "density" of an eigenvalue that is not 0, "s", "edge_cdf", and by spike "spike_eigenvalue" and
        "spike_cosine_squared".
        `numbers`: "rows" of "measured", "standard_error", "theory" and "difference", in standard errors;
        "cdf_distance" and "edge_distance", the largest of the empirical distribution functions from theory's.

    Notes
    -----
    The two moments are exact at any size for Gaussian entries, ``E tr S / p = 1`` and ``E tr S^2 / p = 1 + (p + 1) /
    n``; all else is a limit, which a large number of draws tells from the matrices of a finite size: differences
    beyond three standard errors there are corrections of order ``n^{-2/3}`` at the edge and ``1 / n`` for spikes,
    and larger ones near the transition. The squared cosine follows from eigenvalues alone, those of S and of S
    without its first row and column.
    """
    start = time.perf_counter()
    cells = _cells.Cells("spectra", executor, store, resume, progress, n_threads)
    n, p = _checks.integer("n", n, low=2), _checks.integer("p", p, low=2)
    draws, spike_draws = _checks.integer("draws", draws, low=1), _checks.integer("spike_draws", spike_draws, low=1)
    chosen = _setting.seed_list(seeds, low=max(-(-3 // draws), -(-2 // spike_draws)))
    gamma = p / n
    places = np.linspace(1.0, 1.0 + 3.0 * np.sqrt(gamma), 13) if spikes is None else spikes
    ell = np.atleast_1d(_checks.positive("spikes", places))
    _checks.at_most_one_axis("spikes", ell)
    kernel: dict[str, Any] = {"backend": backend, "n_threads": n_threads}
    genkern.singular_values(np.ones((1, 1)), **kernel)  # refuses bad options before anything long or lasting is done
    if out is not None:
        plots.require_matplotlib()
        prepare(out)

    common: dict[str, Any] = {
        "n": n,
        "p": p,
        "draws": draws,
        "spikes": ell.tolist(),
        "spike_draws": spike_draws,
        "backend": backend,
    }
    found = cells.run(cell, sweep.Grid(seed=chosen), common)
    values = np.concatenate([one["eigenvalues"] for one in found])
    top, cosine = (np.concatenate([one[name] for one in found], axis=1) for name in ("top", "cosine_squared"))

    root, side = np.sqrt(n - 1.0), np.sqrt(p)
    scale = (root + side) * (1.0 / root + 1.0 / side) ** (1.0 / 3.0)
    edge = (n * values[:, 0] - (root + side) ** 2) / scale
    low, high = (1.0 - np.sqrt(gamma)) ** 2, (1.0 + np.sqrt(gamma)) ** 2
    x, s = np.linspace(low, high, 401), np.linspace(-6.0, 4.0, 401)
    limit = theory.spiked_covariance(ell, gamma)
    closed = {
        "x": x,
        "density": theory.marchenko_pastur_pdf(x, gamma) * max(1.0, gamma),
        "s": s,
        "edge_cdf": theory.tracy_widom_cdf(s, 1),
        "spike_eigenvalue": limit.eigenvalue,
        "spike_cosine_squared": limit.cosine_squared,
    }
    curves = {
        "eigenvalues": values,
        "edge": edge,
        "spikes": ell,
        "spike_eigenvalue": top,
        "spike_cosine_squared": cosine,
    }
    rows = {
        "mean eigenvalue": _row(values.sum(axis=1) / p, 1.0),
        "mean squared eigenvalue": _row((values**2).sum(axis=1) / p, 1.0 + (p + 1.0) / n),
        "edge: mean": _row(edge, _TW1_MEAN),
        "edge: variance": _row((edge - edge.mean()) ** 2 * len(edge) / (len(edge) - 1), _TW1_VARIANCE),
    }
    for index, spike in enumerate(ell):
        rows[f"spike {spike:.3g}: eigenvalue"] = _row(top[index], closed["spike_eigenvalue"][index])
        rows[f"spike {spike:.3g}: cosine^2"] = _row(cosine[index], closed["spike_cosine_squared"][index])
    bulk = (theory.marchenko_pastur_cdf(np.sort(values, axis=None), gamma) - max(0.0, 1.0 - 1.0 / gamma)) * max(
        1, gamma
    )
    numbers = {
        "rows": rows,
        "cdf_distance": _distance(bulk),
        "edge_distance": _distance(theory.tracy_widom_cdf(np.sort(edge), 1)),
        "transition": 1.0 + float(np.sqrt(gamma)),
    }
    parameters = {
        "n": n,
        "p": p,
        "draws": draws,
        "spikes": ell.tolist(),
        "spike_draws": spike_draws,
        "seeds": chosen,
        "backend": backend,
        "n_threads": n_threads,
    }
    about = (
        "the two moments are exact; Marchenko-Pastur, Tracy-Widom and the transition of Baik, Ben Arous and Peche are "
        "limits, from which a finite size is many standard errors away if there are many draws"
    )
    report = _setting.report(backend, time.perf_counter() - start, about)
    table = _table(parameters, numbers, report)
    result = StudyResult("spectra", parameters, curves, closed, numbers, report, table, _plot_spectra.draw)
    if out is not None:
        result.save(out)
    return result


def cell(
    *, seed: int, n: int, p: int, draws: int, spikes: Sequence[float], spike_draws: int, backend: str | None
) -> dict[str, Any]:
    """Eigenvalues (draws, min(n, p)) without a spike; with one the largest and its cosine (k, spike_draws)."""
    generator = np.random.Generator(np.random.PCG64(seed))
    together = max(1, _CHUNK_BYTES // (8 * n * p))
    values = np.empty((draws, min(n, p)))
    top, cosine = np.empty((2, len(spikes), spike_draws))
    for first in range(0, draws, together):
        part = values[first : first + together]
        X = generator.standard_normal((len(part), n, p))
        part[:] = genkern.singular_values(X, backend=backend) ** 2 / n
    for index, spike in enumerate(spikes):
        X = generator.standard_normal((spike_draws, n, p))
        X[:, :, 0] *= np.sqrt(spike)
        whole = genkern.singular_values(X, backend=backend) ** 2 / n
        minor = genkern.singular_values(np.ascontiguousarray(X[:, :, 1:]), backend=backend) ** 2 / n
        top[index], cosine[index] = whole[:, 0], _first_component(whole, minor, p)
    return {"eigenvalues": values, "top": top, "cosine_squared": cosine}


def _first_component(whole: Array, minor: Array, p: int) -> Array:
    """Squared first entry of the top eigenvector: prod (l_1 - m_k) / prod (l_1 - l_k), m of the minor (b, ...)."""
    largest = whole[:, :1]
    whole, minor = (np.pad(v, ((0, 0), (0, size - v.shape[1]))) for v, size in ((whole, p), (minor, p - 1)))
    with np.errstate(divide="ignore"):
        ratio: Array = np.exp(np.sum(np.log(largest - minor) - np.log(largest - whole[:, 1:]), axis=1))
    return ratio


def _row(sample: Array, expected: float) -> dict[str, float]:
    found = _setting.beside_theory(sample, np.asarray(expected, dtype=np.float64))
    return {name: float(value) for name, value in found.items()}


def _distance(F: Array) -> float:
    """Kolmogorov's distance, from the distribution function at the sorted sample."""
    steps = np.arange(len(F) + 1) / len(F)
    return float(max(np.max(F - steps[:-1]), np.max(steps[1:] - F)))


def _table(p: dict[str, Any], numbers: dict[str, Any], report: dict[str, Any]) -> str:
    lines = [
        f"spectra: {len(p['seeds']) * p['draws']} Gaussian matrices of {p['n']} samples in {p['p']} dimensions, "
        f"{len(p['seeds']) * p['spike_draws']} for each of {len(p['spikes'])} spikes, "
        f"{report['seconds']['total']:.1f} s",
        "",
        f"{'':<28}{'measured':>12}{'+-':>10}{'theory':>12}{'std. errors':>13}",
    ]
    lines += [
        f"{name:<28}{row['measured']:>12.5g}{row['standard_error']:>10.2g}{row['theory']:>12.5g}{row['difference']:>13.1f}"
        for name, row in numbers["rows"].items()
    ]
    lines += [
        "",
        f"largest distance of distribution functions: {numbers['cdf_distance']:.4f} from Marchenko-Pastur, "
        f"{numbers['edge_distance']:.4f} from Tracy-Widom",
        f"spikes are found above {numbers['transition']:.4g}",
        f"theory: {report['theory']}",
    ]
    return "\n".join(lines)
