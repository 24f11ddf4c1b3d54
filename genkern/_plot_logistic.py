"""Figure of a `LogisticPath`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from genkern import _arrays, plots

if TYPE_CHECKING:
    from genkern.logistic import LogisticPath


def draw(path: LogisticPath, angle: Any = None) -> Any:
    """Loss, margin, norm and angle over steps, one line an item; what is continued is dashed."""
    plots.require_matplotlib()
    import matplotlib
    from matplotlib.figure import Figure

    steps = np.atleast_1d(_arrays.to_host("steps", path.steps))
    shown = steps > 0
    panels = [
        ("log10 of the loss", _arrays.to_host("log_loss", path.log_loss) / np.log(10.0), "linear"),
        ("margin", _arrays.to_host("margin", path.margin), "linear"),
        ("norm of the\ncoefficients", _arrays.to_host("norm", path.norm), "linear"),
    ]
    if angle is not None:
        panels.append(("angle (rad)", _arrays.to_host("angle", angle), "log"))
    exact = (_arrays.to_host("error", path.error) == 0).reshape(-1, len(steps))
    with matplotlib.rc_context(plots.STYLE):
        figure = Figure(figsize=(plots.COLUMN_WIDTH, 1.3 * len(panels) + 0.4), layout="constrained")
        axes = figure.subplots(len(panels), 1, sharex=True)
        for axis, (label, values, scale) in zip(axes, panels, strict=True):
            for line, run in zip(values.reshape(-1, len(steps)), exact, strict=True):
                joined = np.flatnonzero(run)[-1] if run.any() else 0  # the lines meet at the last exact point
                head, tail = shown & run, shown & (np.arange(len(steps)) >= joined)
                axis.plot(steps[head], line[head], color=plots.BLUE)
                axis.plot(steps[tail], line[tail], color=plots.BLUE, linestyle="--")
            axis.set(xscale="log", yscale=scale, ylabel=label)
        axes[-1].set_xlabel("steps (dashed: continued)")
    return figure
