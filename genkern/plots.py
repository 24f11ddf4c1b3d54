"""Figures of risk curves. matplotlib is imported when one is drawn; no window opens and no global state is touched."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from genkern._risk_curve import RiskCurve
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
_RATIOS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100)
_FEW_RATIOS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300)
_NAMES = {"width": "width", "samples": "training samples", "ridge": "ridge", "step": "steps of gradient descent"}


def require_matplotlib() -> None:
    """Raise `ImportError` that names the extra if matplotlib is not installed."""
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as error:
        raise ImportError(f"figures need matplotlib: pip install 'genkern[plot]' ({error})") from error


def style() -> Any:
    """Context in which figures are drawn."""
    require_matplotlib()
    import matplotlib

    return matplotlib.rc_context(STYLE)


def new_figure(height: float) -> Any:
    """Empty figure of one column's width, outside pyplot."""
    from matplotlib.figure import Figure

    return Figure(figsize=(COLUMN_WIDTH, height), layout="constrained")


def double_descent(result: StudyResult) -> Any:
    """Risk, 0-1 error and coefficient norm over width / n: medians and quartile bands over seeds."""
    curves, parameters = result.curves, result.parameters
    n = parameters["n_train"]
    x = curves["widths"] / n
    with style():
        from matplotlib.ticker import MaxNLocator

        figure = new_figure(5.0)
        risk, wrong, norm = figure.subplots(3, 1, sharex=True, height_ratios=(1.5, 1.0, 1.0))
        band(risk, x, curves["test_risk"], BLUE, "test")
        band(risk, x, curves["train_risk"], ORANGE, "train")
        band(wrong, x, 100 * curves["test_error"], BLUE)
        band(norm, x, curves["coef_norm"], BLUE)

        data = (
            f"{parameters['activation']} features of {parameters['data']}, {parameters['label_noise']:.0%} label noise"
        )
        figure.suptitle(f"{data}\n{seeds_text(len(curves['seeds']))}", fontsize=8)
        risk.set(xscale="log", yscale="log", ylabel="squared error\n(sum over classes)")
        limits(risk, curves["test_risk"])
        risk.legend(frameon=False, loc="upper left", handlelength=1.4)
        wrong.set(ylabel="test images\nmisclassified (%)", ylim=(0, None))
        norm.set(yscale="log", ylabel="norm of the\ncoefficients", xlabel=f"width / n   (n = {n} training images)")
        wrong.yaxis.set_major_locator(MaxNLocator(4))
        value_ticks(norm)
        ratio_axis(norm, x)

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


def risk_curve(curve: RiskCurve, ax: Any = None) -> Any:
    """Test and train risk of a `RiskCurve`; see `RiskCurve.plot`."""
    with style():
        axes = new_figure(2.6).subplots() if ax is None else ax
        plain = {name: value for name, value in curve._measured().items() if name in ("train_risk", "test_risk")}
        x = np.asarray(curve.values, dtype=np.float64)
        finite = np.isfinite(x)
        order = np.flatnonzero(finite)[np.argsort(x[finite], kind="stable")]
        ridges = [None] if curve.ridges is None else list(np.asarray(curve.ridges))
        tops = []
        for r, ridge in enumerate(ridges):
            for name, value in plain.items():
                dimensions = curve._dimensions(name)
                if "target" in dimensions:
                    value = value.sum(axis=-1)
                if ridge is not None:
                    value = np.take(value, r, axis=dimensions.index("ridge"))
                rows = value.reshape(-1, value.shape[-1])[:, order]
                label = name.removesuffix("_risk")
                if ridge is None:
                    color = BLUE if label == "test" else ORANGE
                else:
                    color = f"C{r % 10}"
                    label = f"{label}, ridge {ridge:g}"
                band(axes, x[order], rows, color, label, dashed=ridge is not None and name == "train_risk")
                if name == "test_risk":
                    tops.append(rows)
        summed = "\n(sum over targets)" if "target" in curve._dimensions("test_risk") else ""
        axes.set(xlabel=_NAMES[curve.axis], ylabel=f"mean squared error{summed}")
        positive = x[order] > 0
        if curve.axis in ("ridge", "step") and positive.any():
            axes.set_xscale("log" if positive.all() else "symlog", **_linear_part(x[order]))
        shown = [rows for rows in tops if np.any(np.isfinite(rows) & (rows > 0))]
        if shown:
            axes.set_yscale("log")
            limits(axes, *shown)
        if curve.threshold is not None:
            threshold = curve._measured()["threshold"]
            full = threshold[np.isfinite(threshold)]
            if full.size:
                axes.axvline(np.median(full), color=GREY, linewidth=0.7, linestyle=":", label="full rank")
        axes.legend(frameon=False, handlelength=1.4)
    return axes


def _linear_part(x: Array) -> dict[str, Any]:
    """Where a logarithmic axis with a 0 on it becomes linear: below the least positive value."""
    return {} if np.all(x > 0) else {"linthresh": float(np.min(x[x > 0]))}


def limits(axes: Any, *risks: Array, below: float = 5.0) -> None:
    """Limits of a logarithmic axis for bands of curves (s, t).

    Train risks fall to 0 and leave it; peaks of single seeds may, too. The axis begins at the least risk over `below`.
    """
    shown = [np.where(np.isfinite(risk) & (risk > 0), risk, np.nan) for risk in risks]
    low, high = (min(np.nanmin(risk) for risk in shown), max(np.nanmax(median_band(risk)[2]) for risk in shown))
    axes.set_ylim(low / below, 4 * high)
    value_ticks(axes)


def value_ticks(axes: Any) -> None:
    """Few and legible ticks on a logarithmic axis."""
    from matplotlib.ticker import LogLocator, NullLocator

    low, high = axes.get_ylim()
    axes.yaxis.set_minor_locator(NullLocator())
    if high < 100 * low:  # powers of 10 alone would leave the axis bare
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_major_formatter("{x:g}")
    else:
        axes.yaxis.set_major_locator(LogLocator(numticks=6))


def ratio_axis(axes: Any, x: Array) -> None:
    """Ticks and limits of a logarithmic axis of ratios."""
    from matplotlib.ticker import FixedLocator, NullLocator

    ticks = [tick for tick in (_RATIOS if x[-1] < 300 * x[0] else _FEW_RATIOS) if x[0] <= tick <= x[-1]]
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    if len(x) > 1:
        axes.set_xlim(x[0], x[-1])


def seeds_text(count: int) -> str:
    """What the lines and bands are."""
    return "one seed" if count == 1 else f"{count} seeds: median and quartiles"


def median_band(values: Array) -> Array:
    """Lower quartile, median and upper quartile over the first axis; NaN where nothing is finite."""
    bad = np.all(np.isnan(values), axis=0)
    found = np.nanquantile(np.where(bad, 0.0, values), [0.25, 0.5, 0.75], axis=0)
    return np.where(bad, np.nan, found)


def band(axes: Any, x: Array, values: Array, color: str, label: str | None = None, dashed: bool = False) -> None:
    """Median over seeds (first axis) as a line, quartiles as a band."""
    low, middle, high = median_band(values)
    axes.fill_between(x, low, high, color=color, alpha=0.25, linewidth=0)
    axes.plot(x, middle, color=color, label=label, linestyle="--" if dashed else "-")
