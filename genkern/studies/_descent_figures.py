"""Figures of the sample, ridge and epoch studies: real images above, the Gaussian model below."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from genkern import plots

if TYPE_CHECKING:
    from genkern.studies import StudyResult

Array = np.ndarray[Any, Any]
COLORS = (plots.BLUE, plots.ORANGE, "#2e8b57", "#8e44ad", "#a0522d", "#008b8b")


def sample_descent(result: StudyResult) -> Any:
    """Test and train risk over the number of samples."""
    curves, p = result.curves, result.parameters
    with plots.style():
        figure, image, gaussian = _panels(result)
        for axes, part in ((image, "image"), (gaussian, "gaussian")):
            x = curves[f"{part}_samples"]
            plots.band(axes, x, curves[f"{part}_train_risk"], plots.ORANGE, "train")
            plots.band(axes, x, curves[f"{part}_test_risk"], plots.BLUE, "test")
            _threshold(axes, curves[f"{part}_threshold"], 1.0, "interpolates up to n =", "left")
            axes.set_yscale("log")
            plots.limits(axes, curves[f"{part}_test_risk"])
            axes.set_xlim(0, x[-1])
        _theory(gaussian, curves["gaussian_samples"], result.theory, "gaussian_test_risk", "theory (mean test)")
        _titles(
            image,
            gaussian,
            f"{p['width']} {p['activation']} features of {p['data']}, {p['label_noise']:.0%} label noise",
            f"Gaussian inputs in {p['dimension']} dimensions, noise {p['noise']:g}",
        )
        gaussian.set_xlabel("training samples n")
        image.set_ylabel("squared error\n(sum over classes)")
        gaussian.set_ylabel("test: excess risk\ntrain: squared error")
        image.legend(frameon=False, handlelength=1.4, loc="upper right")
        gaussian.legend(frameon=False, handlelength=1.4, loc="upper right")
    return figure


def ridge_descent(result: StudyResult) -> Any:
    """Test risk over the width at several ridges and at the best one."""
    curves, p = result.curves, result.parameters
    with plots.style():
        figure, image, gaussian = _panels(result, height=5.2)
        for axes, part in ((image, "image"), (gaussian, "gaussian")):
            n = p["n_train"] if part == "image" else p["n_gaussian"]
            x = curves[f"{part}_widths"] / n
            for r, ridge in enumerate(curves[f"{part}_ridges"]):
                color = COLORS[r % len(COLORS)]
                label = f"ridge {ridge:g}" if ridge else "no ridge"
                plots.band(axes, x, curves[f"{part}_test_risk"][:, r], color, label)
                if part == "gaussian" and result.theory is not None:
                    _dashes(axes, x, result.theory["gaussian_test_risk"][r])
            plots.band(axes, x, curves[f"{part}_tuned_risk"], "black", "best ridge")
            _threshold(axes, curves[f"{part}_threshold"], n, "full rank at width", "center")
            axes.set(xscale="log", yscale="log")
            plots.limits(axes, curves[f"{part}_test_risk"][:, 0], curves[f"{part}_tuned_risk"], below=1.5)
            plots.ratio_axis(axes, x)
        _theory(
            gaussian, curves["gaussian_widths"] / p["n_gaussian"], result.theory, "gaussian_tuned_risk", "theory (mean)"
        )
        _titles(
            image,
            gaussian,
            f"{p['activation']} features of {p['data']}, n = {p['n_train']}, {p['label_noise']:.0%} label noise",
            f"Gaussian features, n = {p['n_gaussian']}, noise {p['noise']:g}",
        )
        gaussian.set_xlabel("width / n")
        for axes in (image, gaussian):
            axes.legend(frameon=False, handlelength=1.4, loc="upper left", labelspacing=0.25)
    return figure


def epoch_descent(result: StudyResult) -> Any:
    """Test risk over gradient-descent steps at several widths."""
    curves, p = result.curves, result.parameters
    steps = curves["steps"][:-1]
    with plots.style():
        figure, image, gaussian = _panels(result)
        for axes, part in ((image, "image"), (gaussian, "gaussian")):
            n = p["n_train"] if part == "image" else p["n_gaussian"]
            for w, width in enumerate(curves[f"{part}_widths"]):
                color = COLORS[w % len(COLORS)]
                label = ("width " if part == "image" else "dimension ") + f"{width}" + (" = n" if width == n else "")
                plots.band(axes, steps, curves[f"{part}_test_risk"][:, w, :-1], color, label)
                last = width == curves["gaussian_widths"][-1]
                if part == "gaussian" and result.theory is not None:
                    _dashes(axes, steps, result.theory["gaussian_test_risk"][w, :-1], "theory (mean)" if last else None)
            axes.set(xscale="log", yscale="log", xlim=(steps[0], steps[-1]))
            plots.value_ticks(axes)
        _titles(
            image,
            gaussian,
            f"{p['activation']} features of {p['data']}, n = {p['n_train']}, {p['label_noise']:.0%} label noise",
            f"Gaussian inputs, n = {p['n_gaussian']}, noise {p['noise']:g}",
            pad=6,
        )
        gaussian.set_xlabel("steps of gradient descent")
        for axes in (image, gaussian):
            axes.legend(frameon=False, handlelength=1.4, loc="upper left", labelspacing=0.25)
    return figure


def _panels(result: StudyResult, height: float = 4.6) -> tuple[Any, Any, Any]:
    figure = plots.new_figure(height)
    image, gaussian = figure.subplots(2, 1)
    figure.suptitle(plots.seeds_text(len(result.curves["seeds"])), fontsize=8)
    image.set_ylabel("test squared error\n(sum over classes)")
    gaussian.set_ylabel("excess test risk")
    return figure, image, gaussian


def _titles(image: Any, gaussian: Any, above: str, below: str, pad: float = 14) -> None:
    for axes, text in ((image, above), (gaussian, below)):
        axes.set_title(text, loc="left", pad=pad)


def _dashes(axes: Any, x: Array, value: Array, label: str | None = None) -> None:
    """Theory, where it is finite."""
    shown = np.where(np.isfinite(value), value, np.nan)
    axes.plot(x, shown, color="black", linewidth=0.7, linestyle=(0, (3, 2)), label=label)


def _theory(axes: Any, x: Array, theory: Any, name: str, label: str) -> None:
    if theory is not None:
        _dashes(axes, x, theory[name], label)


def _threshold(axes: Any, threshold: Array, unit: float, line: str, side: str) -> None:
    """Mark the median threshold; `unit` is what one unit of the axis stands for."""
    full = threshold[np.isfinite(threshold)]
    if len(full):
        at = float(np.median(full))
        axes.axvline(at / unit, color=plots.GREY, linewidth=0.7, linestyle="--")
        axes.annotate(
            f"{line} {at:.0f}", (at / unit, 1.0), (0, 3), xycoords=axes.get_xaxis_transform(),
            textcoords="offset points", ha=side, fontsize=7, color=plots.GREY,
        )  # fmt: skip
