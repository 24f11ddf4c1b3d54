"""Figure of the study spectra: histogram, edge, and spikes beside their limits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from genkern.plots import BLUE, COLUMN_WIDTH, GREY, ORANGE, STYLE, require_matplotlib

if TYPE_CHECKING:
    from genkern.studies import StudyResult


def draw(result: StudyResult) -> Any:
    """Eigenvalues and Marchenko-Pastur, the edge and Tracy-Widom, spikes and their transition."""
    require_matplotlib()
    import matplotlib
    from matplotlib.figure import Figure

    curves, theory, p = result.curves, result.theory or {}, result.parameters
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(COLUMN_WIDTH, 6.4), layout="constrained")
        bulk, edge, spike = figure.subplots(3, 1)
        figure.suptitle(f"{p['n']} samples in {p['p']} dimensions, {len(curves['edge'])} draws", fontsize=8)
        bulk.hist(curves["eigenvalues"].ravel(), bins=80, density=True, color=BLUE, alpha=0.35, label="measured")
        bulk.plot(theory["x"], theory["density"], color="black", label="Marchenko-Pastur")
        bulk.set(xlabel="eigenvalue", ylabel="density", ylim=(0, None))
        if p["n"] == p["p"]:
            bulk.set_ylim(0, 2.0)
        edge.hist(curves["edge"], bins=20, density=True, color=BLUE, alpha=0.35, label="measured")
        edge.plot(
            theory["s"], np.gradient(theory["edge_cdf"], theory["s"]), color="black", label="Tracy-Widom, beta = 1"
        )
        edge.set(xlabel="largest eigenvalue, standardized", ylabel="density", xlim=(-5.5, 4))
        order = np.argsort(curves["spikes"])
        x = curves["spikes"][order]
        right = spike.twinx()
        for axes, name, color in ((spike, "spike_eigenvalue", BLUE), (right, "spike_cosine_squared", ORANGE)):
            values = curves[name][order]
            error = values.std(axis=1, ddof=1) / np.sqrt(values.shape[1])
            axes.errorbar(x, values.mean(axis=1), error, color=color, marker="o", markersize=2.5, linestyle="none")
            axes.plot(*_limit(x, name, p["p"] / p["n"]), color=color)
        spike.axvline(result.numbers["transition"], color=GREY, linewidth=0.7, linestyle=":")
        spike.annotate(
            r"$1 + \sqrt{p / n}$", (result.numbers["transition"], 1.0), (0, 3), xycoords=spike.get_xaxis_transform(),
            textcoords="offset points", ha="center", fontsize=7, color=GREY,
        )  # fmt: skip
        spike.set(xlabel="spike: eigenvalue of the covariance\n(points measured, lines Baik, Ben Arous and Péché)")
        spike.set_ylabel("largest eigenvalue", color=BLUE)
        right.set_ylabel(r"$\cos^2$ with its direction", color=ORANGE)
        right.set_ylim(0, 1)
        right.spines["right"].set_visible(True)
        edge.set_ylim(0, 1.35 * edge.get_ylim()[1])
        for axes in (bulk, edge):
            axes.legend(frameon=False, loc="upper right")
    return figure


def _limit(x: Any, name: str, gamma: float) -> tuple[Any, Any]:
    from genkern import theory

    places = np.linspace(x[0], x[-1], 200)
    return places, getattr(theory.spiked_covariance(places, gamma), name.removeprefix("spike_"))
