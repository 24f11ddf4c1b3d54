"""Figure of the study max-margin: direction, margin and loss over log t, methods, geometries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from genkern.plots import BLUE, COLUMN_WIDTH, GREY, ORANGE, STYLE, require_matplotlib

if TYPE_CHECKING:
    from genkern.studies import StudyResult

Array = np.ndarray[Any, Any]
GREEN, PURPLE = "#2e8540", "#7b3f9d"
COLORS = {"soudry": GREEN, "gaussian": ORANGE, "digits": BLUE}
LABELS = {"soudry": "Soudry et al., Fig. 1", "gaussian": "Gaussian", "digits": "digits 0 and 1"}


def draw(result: StudyResult) -> Any:
    """Five panels: three over steps to the end of the continuation, two over the steps of a loop."""
    require_matplotlib()
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(COLUMN_WIDTH, 8.8), layout="constrained")
        panels: Any = figure.subfigures(2, 1, height_ratios=(1.3, 1.0))
        upper, lower = panels
        _over_log_time(upper, result)
        methods, geometries = lower.subplots(2, 1, height_ratios=(1.25, 1.0))
        _methods(methods, result)
        _geometries(geometries, result)
    return figure


def _over_log_time(figure: Any, result: StudyResult) -> None:
    """On the axis of log10 t, itself logarithmic: a law like 1 / log t is a straight line."""
    from matplotlib.ticker import FixedLocator, NullLocator

    curves, theory, names = result.curves, result.theory or {}, result.parameters["sets"]
    panels = figure.subplots(3, 1, sharex=True)
    kinds = ("direction", "margin_gap", "scaled_loss")
    titles = ("distance from the\nmax-margin direction", "margin gap\n(relative)", "$t\\,L(w_t)$\n(over its limit)")
    first = np.log10(2.0)
    late, early = curves["steps"] >= 2, curves["exact_steps"] >= 2
    x, x_exact = np.log10(curves["steps"][late]), np.log10(curves["exact_steps"][early])
    for axes, kind, title in zip(panels, kinds, titles, strict=True):
        for row, name in enumerate(names):
            color = COLORS[name.split()[0]]
            exact = curves[f"exact_{kind}"][row][early]
            axes.plot(x_exact, exact, color=color, linewidth=3.2, alpha=0.35, solid_capstyle="butt")
            axes.plot(x, curves[kind][row][late], color=color, linewidth=0.9)
            if kind != "scaled_loss" and result.numbers["sets"][name]["limit"]["direction"] > 1e-6:
                axes.plot(x, theory[kind][row][late], color=color, linewidth=0.9, linestyle="--")
        axes.axvline(x_exact[-1], color=GREY, linewidth=0.6, linestyle=":")
        axes.set(xscale="log", ylabel=title, xlim=(first, x[-1]))
    ticks = [tick for tick in (1, 2, 4, 10, 30, 100, 300) if first <= tick <= x[-1]]
    panels[2].xaxis.set_major_locator(FixedLocator(ticks))
    panels[2].xaxis.set_minor_locator(NullLocator())
    panels[2].set_xticks(ticks, [f"$10^{{{tick}}}$" for tick in ticks])
    for axes, kind, high in zip(panels[:2], kinds[:2], (3.0, 10.0), strict=True):
        low = np.min(curves[kind][:, -1], initial=1.0, where=curves[kind][:, -1] > 1e-6)
        axes.set(yscale="log", ylim=(min(low, 0.1) / 3, high))
        axes.yaxis.set_minor_locator(NullLocator())
    panels[2].axhline(1.0, color="black", linewidth=0.9, linestyle="--")
    panels[2].set(ylim=(0.0, 1.3), xlabel="steps t of gradient descent (axis of log t)")
    text = {"xycoords": panels[0].get_xaxis_transform(), "textcoords": "offset points", "fontsize": 7, "color": GREY}
    panels[0].annotate("each step run", (x_exact[-1], 1.0), (-3, 2), ha="right", **text)
    panels[0].annotate("continued in log t", (x_exact[-1], 1.0), (3, 2), ha="left", **text)
    for name in dict.fromkeys(name.split()[0] for name in names):
        panels[0].plot([], [], color=COLORS[name], linewidth=0.9, label=LABELS[name])
    panels[0].plot([], [], color=GREY, linewidth=3.2, alpha=0.35, label="every step run")
    panels[0].plot([], [], color=GREY, linewidth=0.9, linestyle="--", label="limit of theory")
    figure.legend(
        *panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=2, frameon=False, handlelength=1.6
    )


def _methods(axes: Any, result: StudyResult) -> None:
    curves, slopes = result.curves, result.numbers["slopes"]
    styles = ((BLUE, "-"), (GREEN, ":"), (ORANGE, "-"), (PURPLE, "-"), ("black", "-"))
    for row, (name, (color, style)) in enumerate(zip(slopes, styles, strict=True)):
        gap = np.where(curves["method_gap"][row] > 0, curves["method_gap"][row], np.nan)
        label = f"{name} ({slopes[name]:.2f})".replace("1/sqrt(t)", r"$1/\sqrt{t}$")
        axes.plot(
            curves["method_steps"],
            gap,
            color=color,
            linestyle=style,
            label=label,
        )
    axes.set(xscale="log", yscale="log", ylabel="margin gap\n(relative)", xlabel="steps")
    low = float(np.min(curves["method_gap"], initial=1.0, where=curves["method_gap"] > 0))
    axes.set_ylim(low / 2, 5)
    axes.legend(
        frameon=False, loc="lower center", bbox_to_anchor=(0.42, 1.0), ncols=2, handlelength=1.4, columnspacing=1.0,
        title="methods on the digits (slope of the last decade)", title_fontsize=7,
    )  # fmt: skip


def _geometries(axes: Any, result: StudyResult) -> None:
    curves, numbers = result.curves, result.numbers["geometries"]
    labels = {"l1": r"coordinate: $\ell_1$", "l2": r"gradient: $\ell_2$", "linf": r"sign: $\ell_\infty$"}
    for row, (name, color) in enumerate(zip(numbers, (ORANGE, BLUE, GREEN), strict=True)):
        for seed, gap in enumerate(curves["geometry_gap"][:, row]):
            label = None if seed else labels[name]
            axes.plot(curves["geometry_steps"], np.where(gap > 0, gap, np.nan), color=color, label=label)
    axes.set(xscale="log", yscale="log", ylabel="margin gap\nin the own norm", xlabel="steps")
    axes.legend(frameon=False, loc="lower left", handlelength=1.4)
