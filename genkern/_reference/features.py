"""Random features, the definition: generate every weight, add up the products in order, apply the activation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import special

from genkern import _random

Array = np.ndarray[Any, Any]

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "identity": lambda z: z,
    "relu": lambda z: np.maximum(z, 0.0),
    "erf": special.erf,
    "tanh": np.tanh,
    "cos": np.cos,
    "sin": np.sin,
    "sign": np.sign,
    "rff": lambda z: np.sqrt(2.0) * np.cos(z),
}


def feature_weights(seed: int, start: int, d: int, width: int, weights: str) -> Array:
    """Weights ``(d, width)`` of the features start, start + 1, ..."""
    W = _random.normal(seed, _random.WEIGHTS, feature_numbers(start, width), d)
    if weights == "sphere":
        squares = np.zeros(width)
        for row in W:
            squares += row * row
        W *= np.sqrt(float(d)) / np.sqrt(squares)
    return W


def feature_phases(seed: int, start: int, width: int) -> Array:
    """Phases ``(width,)`` of random Fourier features, uniform on [0, 2 pi): row 0 of their stream."""
    uniform: Array = _random.uniform(seed, _random.PHASES, feature_numbers(start, width), 1)[0]
    return 2.0 * np.pi * uniform


def feature_numbers(start: int, width: int) -> Array:
    """The numbers start, start + 1, ... as unsigned 64-bit integers."""
    return np.uint64(start) + np.arange(width, dtype=np.uint64)


def random_features(
    X: Array,
    out: Array,
    *,
    activation: str | Callable[[float], float],
    seed: int,
    start: int,
    weights: str,
    bandwidth: float,
    n_threads: int,
) -> None:
    """Write the features of the rows of X (n, d) to out (n, width)."""
    (n, d), width = X.shape, out.shape[1]
    finite = np.isfinite(X).all(axis=1)
    W = np.zeros((0, width)) if d == 0 else feature_weights(seed, start, d, width, weights)
    W = W.astype(X.dtype).astype(np.float64)
    z = np.zeros((n, width))
    with np.errstate(all="ignore"):
        for i in range(d):  # a matrix product's last bits depend on which columns it computes together
            z += X[:, i, None].astype(np.float64) * W[i]
        if activation == "rff":
            z = z / bandwidth + feature_phases(seed, start, width)
        else:
            z /= np.sqrt(max(d, 1))
        if isinstance(activation, str):
            out[...] = ACTIVATIONS[activation](z)
        else:
            for r in np.flatnonzero(finite):
                out[r] = [_real(activation(value)) for value in z[r].astype(X.dtype)]
    out[~finite] = np.nan


def _real(value: Any) -> float:
    if not np.isrealobj(value) or np.ndim(value) != 0 or isinstance(value, str):
        raise TypeError(f"activation must return a real number, got {value!r}")
    return float(value)
