"""Elementary functions whose bits are the same on every machine and under every NumPy.

NumPy's own `log` and `exp` differ in the last bit between versions and instruction sets. These use only operations
that IEEE 754 rounds correctly (+, -, *, /, scaling by powers of two), each as one ufunc, so nothing can be fused.
The logarithm is in `_random`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from genkern import _random

Array = np.ndarray[Any, Any]
LN2_HIGH = float.fromhex("0x1.62e42feep-1")  # 32 bits, so that its product with an exponent is exact
LN2_LOW = float.fromhex("0x1.a39ef35793c76p-33")
_EXP = tuple(1.0 / math.factorial(k) for k in range(14, -1, -1))  # Taylor, |r| < 0.35: next term below 1e-18


def exp(x: Array | float) -> Array:
    """Exponential of numbers in [-1000, 700], to 1 ULP; underflow goes through the denormals to 0."""
    x = np.asarray(x, dtype=np.float64)
    power = np.rint(x * (1.0 / math.log(2.0)))
    r = (x - power * LN2_HIGH) - power * LN2_LOW
    series = np.full_like(r, _EXP[0])
    for coefficient in _EXP[1:]:
        series = series * r + coefficient
    result: Array = np.ldexp(series, power.astype(np.int32))
    return result


def power(x: Array, exponent: float) -> Array:
    """`x ** exponent` for positive x; small integer exponents by repeated multiplication."""
    if exponent == int(exponent) and abs(exponent) <= 8:
        result = np.ones_like(x)
        for _ in range(abs(int(exponent))):
            result = result * x
        return 1.0 / result if exponent < 0 else result
    return exp(np.clip(exponent * _random.log(x), -1000.0, 700.0))


def row_sums(terms: Array) -> Array:
    """Sum over the last axis in order: a product by BLAS or a pairwise sum may change its last bit."""
    total: Array = np.add.accumulate(terms, axis=-1)[..., -1]
    return total
