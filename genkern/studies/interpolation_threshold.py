"""Bias and variance of minimum-norm regression part at the interpolation threshold: one saturates, one diverges."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

import genkern
from genkern import _checks, _plot_interpolation, plots, problems, sweep, theory
from genkern.studies import _cells, _setting
from genkern.studies._result import StudyResult, prepare

Array = np.ndarray[Any, Any]
MODELS = ("isotropic", "misspecified", "two_atom")
_GAMMAS = (0.1, 0.2, 0.3, 0.5, 0.7, 0.8, 0.9, 1.1, 1.25, 1.5, 2.0, 3.0, 5.0, 10.0)
_PAIRS = 16  # noises by draw of the inputs, each with both signs
_UNSEEN = 20  # features that the misspecified regression does not see
_LINE = 300  # points of the theory curves on each side of the threshold
_ROWS = 6  # of the table, by model and part
_CHUNK_BYTES = 32 << 20


def run(
    *,
    out: str | os.PathLike[str] | None = None,
    n: int = 60,
    gammas: Sequence[float] = _GAMMAS,
    signal: float = 5.0,
    noise: float = 1.0,
    decay: float = 2.0,
    draws: int = 10,
    seeds: int | Sequence[int] = 10,
    executor: str | _cells.Executor = "serial",
    store: str | os.PathLike[str] | None = None,
    resume: bool = True,
    progress: _cells.Show = None,
    backend: str | None = None,
    n_threads: int | None = None,
) -> StudyResult:
    """Bias and variance of minimum-norm regression over gamma, features per sample, in three models.

    ================  ==============================================================================================
    "isotropic"       standard normal inputs
    "misspecified"    standard normal inputs, of which the regression sees d; these hold the share ``1 - (1 +
                      gamma)^-decay`` of the signal, and the rest acts as noise
    "two_atom"        a covariance whose eigenvalues are 4 in half of the dimensions and 0.5 in the other half
    ================  ==============================================================================================

    Parameters
    ----------
    out : path, optional
        Folder for figure.png, results.npz and summary.json.
    n : int
        Samples, at least 4.
    gammas : sequence of float
        Features per sample; the number of features is the nearest whole one.
    signal : float
        Squared norm of the true coefficients, all of the same size.
    noise : float
        Variance of the noise of the responses.
    decay : float
        How fast the misspecified model finds its signal as it grows.
    draws : int
        Sets of inputs of each seed, for each model and gamma.
    seeds : int or sequence of int
        How many seeds (0, 1, ...), or which; with at least 2 draws in all.
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
        `curves`: "features" (k,), "gamma" (k,), which is features / n, and (3, m, k) "bias" and "variance", by model,
        of all m draws, exact in the new input. `theory`: (3, k) "bias" and "variance", limits for many samples and
        features; (2, k) "exact", the exact mean of their sum for n Gaussian samples in the first two models, infinite
        for n - 1 to n + 1 features; and the lines "line_gamma" (l,), "line_bias" and "line_variance" (3, l). `numbers`:
        by model "bias" and "variance" and, in the first two, "total" (beside "exact"), each with the arrays "measured",
        "standard_error", "theory" and "difference", in standard errors.

    Notes
    -----
    Bias and variance are those given the inputs seen. A fit is linear in the responses, so that of the clean responses
    gives the bias, and those of the noises alone (with the features that are not seen) the variance. At finite n the
    means differ from the limits by about ``1 / n`` of their value, more near the threshold, where single draws also
    have heavy tails.

    References
    ----------
    T. Hastie, A. Montanari, S. Rosset, R. J. Tibshirani, "Surprises in high-dimensional ridgeless least squares
    interpolation", Annals of Statistics 50 (2022).
    """
    start = time.perf_counter()
    cells = _cells.Cells("interpolation-threshold", executor, store, resume, progress, n_threads)
    n = _checks.integer("n", n, low=4)
    widths = sorted({max(1, round(value * n)) for value in _setting.reals("gammas", gammas, low=0.0, strict=True)})
    signal = _checks.real_number("signal", signal, low=0.0)
    noise = _checks.real_number("noise", noise, low=0.0)
    decay = _checks.real_number("decay", decay, low=0.0)
    draws = _checks.integer("draws", draws, low=1)
    chosen = _setting.seed_list(seeds, low=2 if draws == 1 else 1)
    kernel: dict[str, Any] = {"backend": backend, "n_threads": n_threads}
    genkern.lstsq(np.ones((1, 1)), np.ones(1), **kernel)  # refuses bad options before anything long is done
    if out is not None:
        plots.require_matplotlib()
        prepare(out)

    p = np.array(widths)
    gamma = p / n
    share = 1.0 - (1.0 + gamma) ** -decay
    common: dict[str, Any] = {
        "n": n,
        "features": widths,
        "signal": signal,
        "noise": noise,
        "decay": decay,
        "draws": draws,
        "backend": backend,
    }
    found = cells.run(cell, sweep.Grid(seed=chosen), common)
    bias, variance = (np.concatenate([one[name] for one in found], axis=1) for name in ("bias", "variance"))

    limits = [_limit(model, gamma, signal, noise, decay, p) for model in MODELS]
    below = np.geomspace(gamma[0], 1.0, _LINE)
    line = np.unique(np.concatenate([below, np.geomspace(1.0, gamma[-1], _LINE), gamma]))
    line = line[(line >= gamma[0]) & (line <= gamma[-1])]
    lines = [_limit(model, line, signal, noise, decay) for model in MODELS]
    lost = np.stack([np.zeros(len(p)), signal * (1.0 - share)])
    closed = {
        "bias": np.stack([risk.bias for risk in limits]),
        "variance": np.stack([risk.variance for risk in limits]),
        "exact": theory.finite_sample_risk(n, p, p, signal=signal - lost, noise=noise + lost) - noise,
        "line_gamma": line,
        "line_bias": np.stack([risk.bias for risk in lines]),
        "line_variance": np.stack([risk.variance for risk in lines]),
    }
    numbers: dict[str, Any] = {}
    for a, model in enumerate(MODELS):
        numbers[model] = {
            "bias": _setting.beside_theory(bias[a], closed["bias"][a], signal),
            "variance": _setting.beside_theory(variance[a], closed["variance"][a]),
        }
        if a < len(closed["exact"]):
            numbers[model]["total"] = _setting.beside_theory(bias[a] + variance[a], closed["exact"][a])
    curves = {"features": p, "gamma": gamma, "bias": bias, "variance": variance}
    parameters = {
        "n": n,
        "gammas": gamma.tolist(),
        "signal": signal,
        "noise": noise,
        "decay": decay,
        "draws": draws,
        "seeds": chosen,
        **kernel,
    }
    about = "limits of many samples and features; the total of the first two models: exact mean at finite size"
    report = _setting.report(backend, time.perf_counter() - start, about)
    table = _table(parameters, numbers, report)
    result = StudyResult(
        "interpolation-threshold", parameters, curves, closed, numbers, report, table, _plot_interpolation.draw
    )
    if out is not None:
        result.save(out)
    return result


def cell(
    *, seed: int, n: int, features: Sequence[int], signal: float, noise: float, decay: float, draws: int,
    backend: str | None,
) -> dict[str, Any]:  # fmt: skip
    """Bias and variance (3, draws, k) of one seed."""
    generator = np.random.Generator(np.random.PCG64(seed))
    share = 1.0 - (1.0 + np.array(features) / n) ** -decay
    bias, variance = np.empty((2, len(MODELS), draws, len(features)))
    for k, width in enumerate(features):
        together = max(1, _CHUNK_BYTES // (8 * n * width))
        for a, model in enumerate(MODELS):
            seen = signal * share[k] if model == "misspecified" else signal
            s = _eigenvalues(model, width)
            for first in range(0, draws, together):
                part = slice(first, min(first + together, draws))
                count = part.stop - first
                found = _measure(generator, count, n, s, seen, signal - seen, noise, {"backend": backend})
                bias[a, part, k], variance[a, part, k] = found
    return {"bias": bias, "variance": variance}


def _eigenvalues(model: str, p: int) -> Array:
    return problems.eigenvalues(p, "two_atom" if model == "two_atom" else "isotropic")


def _measure(
    generator: np.random.Generator,
    draws: int,
    n: int,
    s: Array,
    seen: float,
    unseen: float,
    noise: float,
    kernel: dict[str, Any],
) -> tuple[Array, Array]:
    """Bias and variance (draws,), given n inputs with covariance diag(s), for signals within and beyond them."""
    p = len(s)
    beta = np.full(p, np.sqrt(seen / p))
    X = generator.standard_normal((draws, n, p)) * np.sqrt(s)
    responses = np.empty((draws, n, 1 + _PAIRS))
    responses[..., 0] = X @ beta
    responses[..., 1:] = np.sqrt(noise) * generator.standard_normal((draws, n, _PAIRS))
    if unseen > 0:
        theta = np.full(_UNSEEN, np.sqrt(unseen / _UNSEEN))
        responses[..., 1:] += generator.standard_normal((draws, n, _PAIRS, _UNSEEN)) @ theta
    coef = genkern.lstsq(X, responses, **kernel).coef  # a noise of the other sign has the same square
    bias = unseen + (coef[..., 0] - beta) ** 2 @ s
    return bias, np.mean(np.einsum("bpq,p->bq", coef[..., 1:] ** 2, s), axis=1)


def _limit(model: str, gamma: Array, signal: float, noise: float, decay: float, p: Array | None = None) -> theory.Risk:
    """Limiting risk; of the two-atom model with the shares that p features have."""
    if model == "misspecified":
        captured = 1.0 - (1.0 + gamma) ** -decay
        return theory.misspecified_risk(gamma, signal=signal, noise=noise, captured=captured)
    if model == "isotropic":
        return theory.ridge_risk(gamma, signal=signal, noise=noise)
    atoms = problems.eigenvalues(2, "two_atom")
    first = np.full(len(gamma), 0.5) if p is None else [np.mean(_eigenvalues(model, d) == atoms[0]) for d in p]
    weights = np.stack([first, 1.0 - np.asarray(first)], axis=-1)
    return theory.ridge_risk(gamma, signal=signal, noise=noise, eigenvalues=atoms, weights=weights)


def _table(p: dict[str, Any], numbers: dict[str, Any], report: dict[str, Any]) -> str:
    lines = [
        f"interpolation threshold: {p['n']} samples, signal {p['signal']:g}, noise {p['noise']:g}, "
        f"{len(p['seeds']) * p['draws']} draws, "
        f"{report['seconds']['total']:.1f} s",
    ]
    rows = np.unique(np.rint(np.linspace(0, len(p["gammas"]) - 1, _ROWS)).astype(np.int64))
    names = [f"gamma = {p['gammas'][row]:.4g}" for row in rows]
    for model in MODELS:
        lines.append("")
        for part, found in numbers[model].items():
            about = "total, exact mean" if part == "total" else part
            shown = {name: value[rows] for name, value in found.items()}
            lines += _setting.comparison(f"{model.replace('_', ' ')}: {about}", names, shown)
    return "\n".join([*lines, "", f"theory: {report['theory']}"])
