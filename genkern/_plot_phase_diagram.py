"""Figure of the study phase-diagram: maps of the measured risk, of theory's, and of their difference."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from genkern import plots

if TYPE_CHECKING:
    from genkern.studies import StudyResult

Array = np.ndarray[Any, Any]
_LIMIT = 4.0  # standard errors at the ends of the colours


def draw(result: StudyResult) -> Any:
    """Two maps on one scale of colours and the difference in standard errors, with the best ridge on each."""
    curves, theory, numbers = result.curves, result.theory or {}, result.numbers
    gamma, ridges = curves["gamma"], curves["ridges"]
    measured, closed = numbers["risk"]["measured"], theory["risk"]
    with plots.style():
        from matplotlib.colors import LogNorm
        from matplotlib.ticker import LogLocator, NullLocator

        figure = plots.new_figure(6.6)
        panels = figure.subplots(3, 1, sharex=True, sharey=True)
        figure.suptitle(
            f"excess risk of ridge regression, n = {result.parameters['n']}, noise {result.parameters['noise']:g}, "
            f"{len(curves['seeds'])} seeds",
            fontsize=8,
        )
        both = np.concatenate([measured.ravel(), closed.ravel()])
        scale = LogNorm(float(both.min()), float(both.max()))
        x, y = _edges(gamma), _edges(ridges)
        maps = (
            ("measured, mean over seeds; dots: its best ridge", measured, {"norm": scale, "cmap": "viridis"}),
            ("theory; dashed: its best ridge", closed, {"norm": scale, "cmap": "viridis"}),
            (
                "measured less theory",
                numbers["risk"]["difference"],
                {"vmin": -_LIMIT, "vmax": _LIMIT, "cmap": "RdBu_r"},
            ),
        )
        drawn = []
        for axes, (title, values, colors) in zip(panels, maps, strict=True):
            drawn.append(axes.pcolormesh(x, y, values.T, rasterized=True, **colors))
            axes.axvline(1.0, color="black", linewidth=0.7, linestyle=":")
            axes.set_title(title, loc="left")
            axes.set(xscale="log", yscale="log", ylabel="ridge")
        panels[0].plot(gamma, numbers["best_ridge"], color="white", marker="o", markersize=2.5, linestyle="none")
        panels[1].plot(gamma, theory["best_ridge"], color="white", linestyle="--")
        for axes in panels:
            axes.set(xlim=(x[0], x[-1]), ylim=(y[0], y[-1]))
        plots.ratio_axis(panels[-1], x)
        panels[-1].set_xlabel(r"$\gamma$ = features / samples")
        bar = figure.colorbar(drawn[0], ax=panels[:2], label="excess risk")
        bar.ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        bar.ax.yaxis.set_minor_locator(NullLocator())
        bar.ax.yaxis.set_major_formatter("{x:g}")
        figure.colorbar(drawn[2], ax=panels[2], label="standard errors", extend="both")
    return figure


def _edges(values: Array) -> Array:
    """Bounds of cells around values on a logarithmic axis."""
    logs = np.log(values)
    middle = (logs[1:] + logs[:-1]) / 2.0 if len(logs) > 1 else logs + 0.5
    edges: Array = np.exp(np.concatenate([[2.0 * logs[0] - middle[0]], middle, [2.0 * logs[-1] - middle[-1]]]))
    return edges[: len(logs) + 1]
