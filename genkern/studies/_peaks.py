"""The figures of a double descent: each seed's peak and the minima beside it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def numbers(widths: Array, risk: Array, threshold: Array) -> dict[str, Any]:
    """Peak of every curve of risk (s, t) over widths (t,), the minima on both sides of it, and quartiles over seeds."""
    names = ("peak", "peak_width", "left_minimum", "right_minimum", "left_ratio", "right_ratio")
    values: dict[str, Array] = {"threshold": threshold} | {name: np.full(len(risk), np.nan) for name in names}
    for s, row in enumerate(risk):
        if np.all(np.isnan(row)):
            continue
        top = int(np.nanargmax(row))
        values["peak"][s], values["peak_width"][s] = row[top], widths[top]
        for side, part in (("left", row[:top]), ("right", row[top + 1 :])):
            if np.any(np.isfinite(part)):
                values[f"{side}_minimum"][s] = np.nanmin(part)
                values[f"{side}_ratio"][s] = row[top] / np.nanmin(part)
    quartiles = {}
    for name, value in values.items():
        finite = value[np.isfinite(value)]
        quartiles[name] = np.quantile(finite, [0.25, 0.5, 0.75]) if len(finite) else np.full(3, np.nan)
    return {"by_seed": values, "quartiles": quartiles}


def rows(numbers: dict[str, Any], names: Sequence[tuple[str, str, str]]) -> list[str]:
    """Lines of a table: (label, name of the number, format) over seeds."""
    heads = ("least", "quartile", "median", "quartile", "largest")
    lines = [f"{'over seeds':<28}" + "".join(f"{head:>11}" for head in heads)]
    for label, name, style in names:
        values = numbers["by_seed"][name]
        spread = (np.min(values), *numbers["quartiles"][name], np.max(values))
        lines.append(f"{label:<28}" + "".join(f"{value:>11{style}}" for value in spread))
    return lines
