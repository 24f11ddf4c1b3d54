"""Argument checks of the families for separable data; as in `_checks`, only these raise for a user's input."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from genkern import _arrays, _checks

Array = np.ndarray[Any, Any]
MAX_STEP = 1e300
_EXACT = 2.0**53  # from here on not every count is a float64


def labels(y: Array, X: Array) -> None:
    """Require y (..., n) of labels -1 and +1 for X (..., n, d). A NaN or an infinity is data: it spoils its item."""
    if y.ndim < 1 or y.shape[-1] != X.shape[-2]:
        raise ValueError(f"y must have shape (..., n) with n = {X.shape[-2]} as X has, got {y.shape}")
    bad = _arrays.namespace(y).isfinite(y) & (abs(y) != 1)
    if bad.any():  # the one number that a call on a GPU waits for
        raise ValueError(f"y must be -1 or +1, got {float(y[bad].ravel()[0]):g}")


def increasing_counts(name: str, value: Any) -> Array:
    """Step counts in [0, 1e300] that do not decrease, floored below 2^53; a number or one-dimensional, float64."""
    (view,), _ = _checks.real_arrays(**{name: value})
    view = view.astype(np.float64, copy=False)
    _checks.at_most_one_axis(name, view)
    good = (view >= 0) & (view <= MAX_STEP)
    if not np.all(good):
        raise ValueError(f"{name} must be numbers in [0, 1e300], got {view[~good].flat[0]:g}")
    if view.ndim and (falls := np.flatnonzero(np.diff(view) < 0)).size:
        at = int(falls[0])
        raise ValueError(f"{name} must be sorted in increasing order, got {view[at + 1]:g} after {view[at]:g}")
    return np.where(view < _EXACT, np.floor(view), view)


def exact_counts(name: str, counts: Array, why: str) -> None:
    """Require counts that a loop can reach."""
    if counts.size and counts.max() >= _EXACT:
        raise ValueError(f"{name} must be below 2^53 where every step is run ({why}), got {counts.max():g}")


def margin_loss(value: Any, names: tuple[str, ...]) -> str | tuple[Callable[..., Any], Callable[..., Any]]:
    """A built-in loss, or a pair of functions of the margin: the loss and its derivative."""
    if callable(value):
        raise TypeError("loss must come with its derivative: give the pair (loss, derivative), got one function")
    if isinstance(value, (tuple, list)):
        if len(value) == 2 and callable(value[0]) and callable(value[1]):
            return value[0], value[1]
        raise TypeError(f"loss must be a name or a pair of functions (loss, derivative), got {len(value)} entries")
    return _checks.choice("loss", value, names)


def reporter(value: Any) -> tuple[Callable[[float], object] | None, Callable[[], object]]:
    """What a kernel calls with the share of work done, and what to call at the end."""
    if value is None or value is False:
        return None, lambda: None
    if value is True:
        try:
            from tqdm import tqdm
        except ImportError as error:
            raise ImportError(f"progress needs the package tqdm: pip install 'genkern[progress]' ({error})") from error
        bar = tqdm(total=100, unit="%", leave=False, file=sys.stderr)
        return lambda share: bar.update(int(100 * share) - bar.n), bar.close
    if callable(value):
        return value, lambda: None
    raise TypeError(f"progress must be None, True, False or a function of the share done, got {type(value).__name__}")
