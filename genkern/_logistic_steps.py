"""Step sizes and budgets of `logistic_path`, the same for every backend."""

from __future__ import annotations

from typing import Any

import numpy as np

from genkern import _arrays
from genkern.least_squares import singular_values

Array = np.ndarray[Any, Any]
_ALWAYS_CHEAP = 16384  # steps
_CHEAP_FLOPS = 2e9  # about half a second


def runs_every_step(n: int, d: int, counts: Array) -> bool:
    """Whether method="auto" runs every step; a function of the problem's shape, so the batch does not matter."""
    flops = 4.0 * n * min(n, d)
    return bool(counts.size == 0 or counts.max() <= max(_ALWAYS_CHEAP, _CHEAP_FLOPS / max(flops, 1.0)))


def default_step_size(
    X: Array,
    y: Array,
    init: Array,
    loss: Any,
    algorithm: str,
    momentum: float,
    p: float | None,
    backend: str | None,
    n_threads: int,
) -> Array:
    """Step size of every item; whatever is not finite has a status of its own."""
    with np.errstate(all="ignore"):
        if algorithm in ("gd", "heavy_ball"):
            share = 1.0 - momentum if algorithm == "heavy_ball" else 1.0
            if loss == "logistic":
                s = singular_values(X, backend=backend, n_threads=n_threads)
                s_max = (s[..., 0] if s.shape[-1] else s.sum(axis=-1)).astype(np.float64)
                return _reciprocal(s_max * s_max, 4.0 * share)
            margins = y * (_plain(X) * _plain(init)[..., None, :]).sum(axis=-1)
            return _reciprocal(_largest(X, 2.0) ** 2 * _arrays.namespace(X).exp(-margins).sum(axis=-1), share)
        if algorithm == "sign":
            return _reciprocal(_largest(X, 1.0), 0.1)  # its limit misses the largest margin by O(eta)
        if algorithm == "coordinate":
            return _reciprocal(_largest(X, np.inf) ** 2)
        if algorithm == "mirror":
            power = 2.0 if p is None else p
            return _reciprocal(_largest(X, power / (power - 1.0)) ** power)
        return _reciprocal(_largest(X, 2.0) ** 2)


def _plain(array: Array) -> Array:
    plain: Array = _arrays.namespace(array).ascontiguousarray(array, dtype=np.float64)
    return plain  # one layout, one order of summation


def _largest(X: Array, q: float) -> Array:
    norms = _arrays.namespace(X).linalg.norm(_plain(X), ord=q, axis=-1)
    largest: Array = norms.max(axis=-1) if norms.shape[-1] else norms.sum(axis=-1)
    return largest


def _reciprocal(value: Array, numerator: float = 1.0) -> Array:
    xp = _arrays.namespace(value)
    result: Array = xp.where(value == 0, 1.0, numerator / xp.where(value == 0, 1.0, value))
    return result
