"""Figure of the study interpolation-threshold: bias and variance over gamma in three models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from genkern import plots

if TYPE_CHECKING:
    from genkern.studies import StudyResult

Array = np.ndarray[Any, Any]


def draw(result: StudyResult) -> Any:
    """Measured bias, variance and their sum with standard errors, on the curves of theory."""
    from genkern.studies.interpolation_threshold import MODELS

    curves, theory, p = result.curves, result.theory or {}, result.parameters
    x, line = curves["gamma"], theory["line_gamma"]
    titles = {
        "isotropic": "isotropic",
        "misspecified": rf"misspecified: unseen share $(1 + \gamma)^{{-{p['decay']:g}}}$",
        "two_atom": "two atoms: eigenvalues 4 and 0.5",
    }
    with plots.style():
        figure = plots.new_figure(6.0)
        panels = figure.subplots(3, 1, sharex=True)
        figure.suptitle(
            f"minimum-norm regression, n = {p['n']}\nmeans and standard errors of {curves['bias'].shape[1]} draws",
            fontsize=8,
        )
        for a, (axes, model) in enumerate(zip(panels, MODELS, strict=True)):
            bias, variance = curves["bias"][a], curves["variance"][a]
            lines = theory["line_bias"][a], theory["line_variance"][a]
            # The sum is below the variance, so that both show where there is no bias.
            for name, values, closed, color, size in (
                ("sum", bias + variance, lines[0] + lines[1], "black", 2.0),
                ("bias", bias, lines[0], plots.ORANGE, 1.0),
                ("variance", variance, lines[1], plots.BLUE, 1.0),
            ):
                mean, error = values.mean(axis=0), values.std(axis=0, ddof=1) / np.sqrt(len(values))
                axes.errorbar(x, mean, error, color=color, marker="o", markersize=1.5 + size, linestyle="none")
                axes.plot(line, np.where(np.isfinite(closed), closed, np.nan), color=color, linewidth=size, label=name)
            axes.set_ylim(0, _top(x, bias.mean(axis=0) + variance.mean(axis=0)))
            axes.axvline(1.0, color=plots.GREY, linewidth=0.7, linestyle=":")
            axes.set_title(titles[model], loc="left")
            axes.set(xscale="log", ylabel="excess risk")
        plots.ratio_axis(panels[-1], line)
        panels[-1].set_xlim(line[0] / 1.05, 1.05 * line[-1])
        panels[-1].set_xlabel(r"$\gamma = d / n$   (points measured, lines theory)")
        panels[0].legend(frameon=False, handlelength=1.4, loc="upper left")
        panels[0].annotate(
            r"$\gamma = 1$",
            (1.0, 1.0),
            (0, 3),
            xycoords=panels[0].get_xaxis_transform(),
            textcoords="offset points",
            ha="center",
            fontsize=7,
            color=plots.GREY,
            annotation_clip=True,
        ).set_in_layout(False)  # it may be off the axis
    return figure


def _top(x: Array, total: Array) -> float:
    """Height that shows all points but the nearest ones to the peak."""
    away = total[np.abs(np.log(x)) > np.log(1.2)]
    return 1.3 * float(np.max(away if len(away) else total)) or 1.0
