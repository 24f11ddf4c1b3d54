"""Arguments of the closed forms: float64 numbers that broadcast, and results in the caller's array library."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from genkern import _arrays, _checks

Array = np.ndarray[Any, Any]
Wrap = Callable[[Array], Any]


def numbers(*, infinite: tuple[str, ...] = (), **arguments: Any) -> tuple[list[Array], Wrap]:
    """Each argument as a float64 array of numbers >= 0, finite but for the names in `infinite`; and how to return."""
    library = _arrays.library_of(arguments)
    views = [_checks.nonnegative(name, value, infinite=name in infinite) for name, value in arguments.items()]
    return views, wrapper(library)


def wrapper(library: _arrays.Library) -> Wrap:
    """Results as arrays of the library; a single number as a NumPy scalar where the library is NumPy."""

    def wrap(result: Array) -> Any:
        result = np.asarray(result, dtype=np.float64)
        return result[()] if library is _arrays.NUMPY else library.wrap(result)

    return wrap


def batch_shape(**arguments: Array | tuple[int, ...]) -> tuple[int, ...]:
    """Shape that the arguments, given as arrays or as shapes, broadcast to."""
    return _checks.broadcast_batch(
        {name: value if isinstance(value, tuple) else value.shape for name, value in arguments.items()}
    )


def product(coefficient: Array, value: Array) -> Array:
    """Product in which a coefficient of 0 removes even an infinite value."""
    with np.errstate(invalid="ignore", over="ignore"):
        return np.where(coefficient == 0, 0.0, coefficient * value)


def total(*parts: Array) -> Array:
    """Sum of the parts, `inf` beyond float64."""
    with np.errstate(over="ignore"):
        return np.asarray(sum(parts))


def ratio(numerator: Array, denominator: Array) -> Array:
    """Quotient in which 0 / 0 is 0 and every other division by 0 infinite."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return np.where(numerator == 0, 0.0, numerator / denominator)
