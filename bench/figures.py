"""Time of a whole risk curve, against the width it goes to and against the number of samples.

    python bench/figures.py            # bench/figures/curves-time.png

Timed: standard normal features, every width 1..P, the median of the repeats.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from benchmarks import curves
from benchmarks.common import THREADS, seconds, set_threads

from genkern.plots import BLUE, COLUMN_WIDTH, GREY, ORANGE, STYLE, require_matplotlib

N, M = 300, 1000  # of the panel over P
WIDTHS = (250, 500, 1000, 2000, 3000, 4000, 6000, 8000)
SAMPLES = (50, 100, 200, 400, 800)
P, POINTS = 2000, 1000  # of the panel over n
FITTED = 200  # the exponent is that of the sample sizes from here on


def time_curve(n: int, m: int, width: int, repeats: int, step: int = 1) -> float:
    """Seconds for the test risk at every width."""
    size = curves.Size(n, m, width, step)
    call = curves.curve(curves.problem(size, "float64"), size, "cpp", THREADS)
    call()
    return statistics.median(seconds(call) for _ in range(repeats))


def draw(over_width: dict[int, float], over_samples: dict[int, float]) -> Any:
    """Two panels, one column wide."""
    require_matplotlib()
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullLocator

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(COLUMN_WIDTH, 4.2), layout="constrained")
        left, right = figure.subplots(2, 1)
        x, y = np.array(list(over_width)), np.array(list(over_width.values()))
        slope, offset = np.polyfit(x, y, 1)
        left.plot(x, y, "o", color=BLUE, markersize=3.5, label="genkern")
        left.plot(x, slope * x + offset, color=GREY, label=f"line, {1e6 * slope:.3g} µs a width")
        left.set(xlabel=f"P   (n = {N}, m = {M}, every width 1..P)", ylabel="seconds", xlim=(0, None), ylim=(0, None))
        left.legend(frameon=False, loc="upper left")

        x, y = np.array(list(over_samples)), np.array(list(over_samples.values()))
        fit = x >= FITTED
        exponent, constant = np.polyfit(np.log(x[fit]), np.log(y[fit]), 1)
        right.loglog(x, y, "o", color=BLUE, markersize=3.5, label="genkern")
        right.loglog(
            x[fit],
            np.exp(constant) * x[fit] ** exponent,
            color=ORANGE,
            label=rf"$n^{{{exponent:.2f}}}$ from n = {FITTED} on",
        )
        right.set(xlabel=f"n   (m = {POINTS}, every width 1..{P})", ylabel="seconds")
        right.set_xticks(x, [str(value) for value in x])
        right.xaxis.set_minor_locator(NullLocator())
        right.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        right.yaxis.set_major_formatter("{x:g}")
        right.yaxis.set_minor_locator(NullLocator())
        right.legend(frameon=False, loc="upper left")
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description="Time curves against P and against n, and draw both.")
    parser.add_argument("--repeats", type=int, default=5, help="of which the median counts (%(default)s)")
    default = Path(__file__).parent / "figures" / "curves-time.png"
    parser.add_argument("--output", type=Path, default=default, help="image (%(default)s)")
    options = parser.parse_args()
    set_threads(THREADS)
    over_width = {width: time_curve(N, M, width, options.repeats) for width in WIDTHS}
    over_samples = {n: time_curve(n, POINTS, P, options.repeats) for n in SAMPLES}
    for name, times in (("P", over_width), ("n", over_samples)):
        print(name, {size: round(value, 4) for size, value in times.items()})
    options.output.parent.mkdir(parents=True, exist_ok=True)
    draw(over_width, over_samples).savefig(options.output, dpi=200)


if __name__ == "__main__":
    main()
