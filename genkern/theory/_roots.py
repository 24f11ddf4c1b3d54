"""Roots of the fixed-point equations, many at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
_SLACK = 0.1  # both brackets are exact bounds of the root, which rounding may put on the wrong side of it


def positive_root(function: Callable[..., Array], low: Array, high: Array, args: tuple[Array, ...]) -> Array:
    """Roots in [low, high] of increasing functions of a positive number, to a few rounding units.

    Chandrupatla's method in the logarithm of the variable, since roots lie many orders of magnitude apart. All arrays
    have one axis, of the same length; the function is called with those entries that have not converged.

    Raises
    ------
    ValueError
        The function does not change sign between `low` and `high`.
    """
    if low.size == 0:
        return np.zeros(0)
    from scipy.optimize import elementwise  # takes longer to import than all of genkern

    with np.errstate(all="ignore"):
        bracket = (np.log(low) - _SLACK, np.log(high) + _SLACK)
        found = elementwise.find_root(lambda u, *rest: function(np.exp(u), *rest), bracket, args=args)
    if not np.all(found.success):
        at = int(np.argmin(found.success))
        raise ValueError(
            f"no solution of the fixed-point equation can be bracketed, got a bracket from {low[at]} to {high[at]}: "
            "the arguments are too large or too small for float64"
        )
    root: Array = np.exp(found.x)
    return root
