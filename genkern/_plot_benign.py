"""Figure of the study benign-overfitting: excess risk over samples, and the terms of the theory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from genkern.plots import BLUE, COLUMN_WIDTH, ORANGE, STYLE, require_matplotlib

if TYPE_CHECKING:
    from genkern.studies import StudyResult

GREEN = "#2e8540"


def draw(result: StudyResult) -> Any:
    """Measured risk with standard errors, its deterministic equivalent and the bound, by spectrum."""
    require_matplotlib()
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullFormatter

    from genkern.studies.benign_overfitting import SPECTRA

    n, theory = result.curves["samples"], result.theory or {}
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(COLUMN_WIDTH, 3.4), layout="constrained")
        axes = figure.subplots()
        for a, (name, color) in enumerate(zip(SPECTRA, (GREEN, BLUE, ORANGE), strict=True)):
            row = result.numbers[name]
            axes.errorbar(
                n, row["measured"], row["standard_error"], color=color, marker="o", markersize=3, linestyle="none"
            )
            axes.plot(n, theory["risk"][a], color=color, label=name)
            axes.plot(n, theory["bound"][a], color=color, linestyle=":")
        axes.plot([], [], color="black", marker="o", markersize=3, linestyle="none", label="measured")
        axes.plot([], [], color="black", label="deterministic equivalent")
        axes.plot([], [], color="black", linestyle=":", label=r"noise $(k^*/n + n/R_{k^*})$")
        axes.set(xscale="log", yscale="log", xlabel="samples n", ylabel="excess risk")
        axes.set_xticks(n, [f"{value}" for value in n])
        axes.xaxis.set_minor_formatter(NullFormatter())
        figure.suptitle(f"interpolation of noisy labels, {len(result.parameters['seeds'])} seeds", fontsize=8)
        figure.legend(loc="outside lower center", ncols=2, frameon=False)
        axes.set_ylim(None, 2.0 * float(np.max(theory["risk"])))
    return figure
