"""Figures of the studies. matplotlib is imported when one is drawn; no window opens and no global state is touched."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from genkern.studies import StudyResult

Array = np.ndarray[Any, Any]

COLUMN_WIDTH = 3.4  # inches, one column of a two-column paper
BLUE, ORANGE, GREY = "#1f5fa8", "#d9730d", "#555555"
STYLE: Any = {
    "font.size": 8,
    "axes.labelsize": 8,
    "axes.titlesize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "lines.linewidth": 1.1,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
}


def require_matplotlib() -> None:
    """Raise `ImportError` that names the extra if matplotlib is not installed."""
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as error:
        raise ImportError(f"figures need matplotlib: pip install 'genkern[plot]' ({error})") from error


def double_descent(result: StudyResult) -> Any:
    """Risk, 0-1 error and coefficient norm over width / n: medians and quartile bands over seeds."""
    require_matplotlib()
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.ticker import FixedLocator, LogLocator, MaxNLocator, NullLocator

    curves, parameters = result.curves, result.parameters
    n = parameters["n_train"]
    x = curves["widths"] / n
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(COLUMN_WIDTH, 5.0), layout="constrained")
        risk, wrong, norm = figure.subplots(3, 1, sharex=True, height_ratios=(1.5, 1.0, 1.0))
        band(risk, x, curves["test_risk"], BLUE, "test")
        band(risk, x, curves["train_risk"], ORANGE, "train")
        band(wrong, x, 100 * curves["test_error"], BLUE)
        band(norm, x, curves["coef_norm"], BLUE)

        data = (
            f"{parameters['activation']} features of {parameters['data']}, {parameters['label_noise']:.0%} label noise"
        )
        figure.suptitle(f"{data}\n{_seeds(len(curves['seeds']))}", fontsize=8)
        risk.set(xscale="log", yscale="log", ylabel="squared error\n(sum over classes)")
        # The train risk falls to 0 and leaves the panel; peaks of single seeds may, too.
        top = np.nanmax(np.nanquantile(curves["test_risk"], 0.75, axis=0))
        risk.set_ylim(np.nanmin(curves["test_risk"]) / 5, 4 * top)
        risk.legend(frameon=False, loc="upper left", handlelength=1.4)
        wrong.set(ylabel="test images\nmisclassified (%)", ylim=(0, None))
        norm.set(yscale="log", ylabel="norm of the\ncoefficients", xlabel=f"width / n   (n = {n} training images)")
        wrong.yaxis.set_major_locator(MaxNLocator(4))
        for axes in (risk, norm):
            low, high = axes.get_ylim()
            axes.yaxis.set_minor_locator(NullLocator())
            if high < 100 * low:  # powers of 10 alone would leave the axis bare
                axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
                axes.yaxis.set_major_formatter("{x:g}")
            else:
                axes.yaxis.set_major_locator(LogLocator(numticks=6))
        ticks = [tick for tick in (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100) if x[0] <= tick <= x[-1]]
        norm.xaxis.set_major_locator(FixedLocator(ticks))
        norm.xaxis.set_minor_locator(NullLocator())
        norm.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        if len(x) > 1:
            norm.set_xlim(x[0], x[-1])

        full = curves["threshold"][np.isfinite(curves["threshold"])]
        for axes in (risk, wrong, norm):
            axes.axvline(1.0, color=GREY, linewidth=0.7, linestyle=":")
            if len(full):
                axes.axvline(np.median(full) / n, color=GREY, linewidth=0.7, linestyle="--")
        mark = {"xycoords": risk.get_xaxis_transform(), "textcoords": "offset points", "fontsize": 7, "color": GREY}
        risk.annotate("width = n", (1.0, 1.0), (-3, 3), ha="right", **mark)
        if len(full):
            risk.annotate(f"full rank: {np.median(full):.0f}", (np.median(full) / n, 1.0), (3, 3), ha="left", **mark)
    return figure


def _seeds(count: int) -> str:
    return "one seed" if count == 1 else f"{count} seeds: median and quartiles"


def band(axes: Any, x: Array, values: Array, color: str, label: str | None = None) -> None:
    """Median over seeds (first axis) as a line, quartiles as a band."""
    low, middle, high = np.nanquantile(values, [0.25, 0.5, 0.75], axis=0)
    axes.fill_between(x, low, high, color=color, alpha=0.25, linewidth=0)
    axes.plot(x, middle, color=color, label=label)
