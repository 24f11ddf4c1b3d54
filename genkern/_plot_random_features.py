"""Figure of the study random-features-theory: measured risk on its limit, and where the risk comes from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from genkern import plots

if TYPE_CHECKING:
    from genkern.studies import StudyResult

Array = np.ndarray[Any, Any]
_COLORS = (plots.BLUE, plots.ORANGE, "#2e8b57", "#8e44ad", "#a0522d", "#008b8b")
_AREAS = {
    "floor": ("nonlinear target", "#bbbbbb"),
    "bias": ("bias", "#e3a857"),
    "samples": ("samples", "#5a9e6f"),
    "features": ("features", "#6f9fd8"),
    "noise": ("noise", "#c75d5d"),
}


def draw(result: StudyResult) -> Any:
    """Means over seeds with standard errors and theory; below, by ridge, the sources as stacked areas."""
    curves, theory, p = result.curves, result.theory or {}, result.parameters
    n, d, ridges = p["n_train"], p["dimension"], p["ridges"]
    x, line = curves["widths"] / n, theory["line_width_ratio"] * d / n
    mean, error = _mean(curves["test_risk"])
    top = _top(x, theory["test_risk"])
    with plots.style():
        figure = plots.new_figure(2.1 + 1.7 * len(ridges))
        panels = figure.subplots(1 + len(ridges), 1, sharex=True)
        figure.suptitle(
            f"{p['activation']} features, n = {n}, d = {d}, noise {p['noise']:g}\n"
            f"means and standard errors of {len(curves['seeds'])} seeds",
            fontsize=8,
        )
        for r, ridge in enumerate(ridges):
            color = _COLORS[r % len(_COLORS)]
            panels[0].errorbar(x, mean[r], error[r], color=color, marker="o", markersize=2.5, linestyle="none")
            panels[0].plot(line, _finite(theory["line_test_risk"][r]), color=color, label=_name(ridge))
            _areas(panels[1 + r], x, line, curves, theory, r)
            panels[1 + r].set_title(f"sources of the risk, {_name(ridge)}", loc="left")
        for axes in panels:
            axes.set(xscale="log", ylabel="excess risk", ylim=(0, top))
            axes.axvline(1.0, color=plots.GREY, linewidth=0.7, linestyle=":")
        plots.ratio_axis(panels[-1], line)
        panels[-1].set_xlim(line[0] / 1.05, 1.05 * line[-1])
        panels[-1].set_xlabel("N / n   (points measured, lines and areas theory)")
        panels[0].legend(frameon=False, handlelength=1.4, loc="upper right")
        handles, labels = panels[-1].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False, handlelength=1.4)
    return figure


def _areas(axes: Any, x: Array, line: Array, curves: Any, theory: Any, r: int) -> None:
    """Stacked sources; points of the whole risk and of that without noise."""
    names = [name for name in _AREAS if np.any(theory[f"line_{name}"] > 0)]
    finite = np.isfinite(theory["line_test_risk"][r])  # all but the threshold itself
    parts = [theory[f"line_{name}"][r][finite] for name in names]
    axes.stackplot(
        line[finite],
        *parts,
        labels=[_AREAS[name][0] for name in names],
        colors=[_AREAS[name][1] for name in names],
        alpha=0.75,
        linewidth=0,
    )
    for name, label, fill in (("test_risk", "measured", "black"), ("bias", "measured without noise", "white")):
        mean, error = _mean(curves[name][:, r])
        axes.errorbar(
            x,
            mean,
            error,
            color="black",
            marker="o",
            markersize=2.5,
            markerfacecolor=fill,
            markeredgewidth=0.6,
            elinewidth=0.6,
            linestyle="none",
            label=label,
        )


def _mean(values: Array) -> tuple[Array, Array]:
    """Mean over seeds and its standard error (0 for one seed)."""
    error = values.std(axis=0, ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.zeros(values.shape[1:])
    return values.mean(axis=0), error


def _finite(values: Array) -> Array:
    return np.where(np.isfinite(values), values, np.nan)


def _top(x: Array, risk: Array) -> float:
    """Height that shows all of the theory but the peak itself."""
    away = risk[:, np.abs(np.log(x)) > 0.15]
    return 1.5 * float(np.max(away if away.size else 1.0)) or 1.0


def _name(ridge: float) -> str:
    return f"ridge {ridge:g}" if ridge else "no ridge"
