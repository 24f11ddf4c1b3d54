"""Figure of the study implicit-bias: the plane of two unknowns, and distances over steps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from genkern.plots import BLUE, COLUMN_WIDTH, GREY, ORANGE, STYLE, require_matplotlib

if TYPE_CHECKING:
    from genkern.studies import StudyResult

GREEN = "#2e8540"
COLORS = (BLUE, GREEN, ORANGE)
LABELS = ("zero", "in the row space", "with a null part")


def draw(result: StudyResult) -> Any:
    """One equation in the plane with its paths, and the distance to the minimum-norm solution beside theory."""
    require_matplotlib()
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(COLUMN_WIDTH, 5.4), layout="constrained")
        plane, distance = figure.subplots(2, 1, height_ratios=(1.25, 1.0))
        _plane(plane, result)
        _distance(distance, result)
    return figure


def _plane(axes: Any, result: StudyResult) -> None:
    from genkern.studies.implicit_bias import PLANE_X, PLANE_Y

    x, y = PLANE_X[0], float(PLANE_Y[0])
    best = x * y / float(x @ x)
    along = np.array([x[1], -x[0]]) / np.linalg.norm(x)
    turn = np.linspace(0.0, 2.0 * np.pi, 200)
    for factor in (0.5, 1.0, 1.5, 2.0):
        radius = factor * float(np.linalg.norm(best))
        axes.plot(radius * np.cos(turn), radius * np.sin(turn), color=GREY, linewidth=0.5, linestyle=(0, (1, 2)))
    ends = best + np.array([[-3.0], [3.0]]) * along
    axes.plot(*ends.T, color="black", linewidth=0.9, label=r"all solutions, $\langle x, w\rangle = y$")
    for path, color in zip(result.curves["plane_paths"], (*COLORS, ORANGE), strict=True):
        axes.plot(*path.T, color=color, marker="o", markersize=2.2, linewidth=0.9)
        axes.plot(*path[0], color=color, marker="o", markersize=4.5, markerfacecolor="white")
    others = best + np.array([[-1.75], [1.25], [2.0]]) * along
    axes.plot(*others.T, color="black", marker="x", markersize=4.5, linestyle="none", label="other interpolators")
    axes.plot(*best, color="black", marker="*", markersize=9, linestyle="none", label="of the smallest norm")
    axes.plot([], [], color=GREY, linewidth=0.5, linestyle=(0, (1, 2)), label="contours of the norm")
    for color, label in zip(COLORS, LABELS, strict=True):
        axes.plot([], [], color=color, marker="o", markersize=2.2, linewidth=0.9, label=f"start: {label}")
    axes.set(xlim=(-1.9, 2.6), ylim=(-1.3, 1.95), xlabel=r"$w_1$", ylabel=r"$w_2$", aspect="equal")
    axes.figure.legend(
        *axes.get_legend_handles_labels(), loc="outside upper center", ncols=2, frameon=False, handlelength=1.6
    )


def _distance(axes: Any, result: StudyResult) -> None:
    theory = result.theory or {}
    size = result.numbers["minimum_norm"][:, None, None]
    closed, measured = theory["distance"] / size, result.curves["distance"] / size
    steps = result.curves["steps"]
    every = slice(None, None, max(1, len(steps) // 20))
    for row, color in enumerate(COLORS):
        axes.plot(steps, closed[:, row].T, color=color, linewidth=0.9)
        axes.plot(steps[every], measured[:, row, every].T, color=color, marker="o", markersize=2.6, linestyle="none")
    axes.plot([], [], color=GREY, marker="o", markersize=2.6, linestyle="none", label="gradient descent")
    axes.plot([], [], color=GREY, linewidth=0.9, label="closed form")
    parameters = result.parameters
    axes.set(yscale="log", xlabel="steps of gradient descent", ylabel=r"$\|w_k - X^+y\|\;/\;\|X^+y\|$")
    axes.set_title(f"{parameters['n']} equations, {parameters['d']} unknowns", fontsize=8)
    axes.set_ylim(max(float(np.min(closed)), 1e-15) / 3, 3 * float(np.max(closed)))
    axes.legend(frameon=False, loc="center right", handlelength=1.4)
