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
    """Step size of every item. One that float64 cannot hold is inf or NaN: the item diverges, which its status says."""
    with np.errstate(all="ignore"):
        if algorithm in ("gd", "heavy_ball"):
            share = 1.0 - momentum if algorithm == "heavy_ball" else 1.0
            if loss == "logistic":
                s = singular_values(X, backend=backend, n_threads=n_threads)
                s_max = (s[..., 0] if s.shape[-1] else s.sum(axis=-1)).astype(np.float64)
                return _over(4.0 * share, s_max, 2.0)
            margins = y * (_plain(X) * _plain(init)[..., None, :]).sum(axis=-1)
            loss_of_init = _arrays.namespace(X).exp(-margins).sum(axis=-1) + (X.shape[-2] == 0)  # of nothing: any step
            return _over(share / loss_of_init, _largest(X, 2.0), 2.0)
        if algorithm == "sign":
            return _over(0.1, _largest(X, 1.0), 1.0)  # its limit misses the largest margin by O(eta)
        if algorithm == "coordinate":
            return _over(1.0, _largest(X, np.inf), 2.0)
        if algorithm == "mirror":
            power = 2.0 if p is None else p
            return _over(1.0, _largest(X, power / (power - 1.0)), power)
        return _over(1.0, _largest(X, 2.0), 2.0)


def _plain(array: Array) -> Array:
    plain: Array = _arrays.namespace(array).ascontiguousarray(array, dtype=np.float64)
    return plain  # one layout, one order of summation


def _largest(X: Array, q: float) -> Array:
    xp = _arrays.namespace(X)
    plain = _plain(X)
    if 0 in plain.shape[-2:]:
        zeros: Array = xp.zeros(plain.shape[:-2])
        return zeros
    # A power of two as the unit, so that no power of an entry leaves the range.
    unit = xp.ldexp(1.0, xp.frexp(abs(plain).max(axis=(-1, -2)))[1] - 1)
    norms = xp.linalg.norm(plain / unit[..., None, None], ord=q, axis=-1)
    largest: Array = norms.max(axis=-1) * unit
    return largest


def _over(numerator: Any, size: Array, power: float) -> Array:
    """Step of numerator / size^power; 1 for zeros, where any will do; NaN for 0, which would stand still in silence."""
    xp = _arrays.namespace(size)
    result = xp.where(size == 0, 1.0, numerator / size**power)
    step: Array = xp.where(result == 0, np.nan, result)
    return step
