"""Random features in Numba: the compiled kernel's loops, with a user's own activation compiled in."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from types import FunctionType
from typing import Any

import numba
import numpy as np
from numba.core.errors import NumbaError

from genkern import _random
from genkern._numba._driver import jit, run_chunks

Array = np.ndarray[Any, Any]
Word = Any  # a uint64, as Numba keeps apart from its other integers

TILE = 64  # columns whose weights are made together
DEPTH = 256  # rows of weights held at once; the sum over d is in blocks of this many terms
NAMES = ("identity", "relu", "erf", "tanh", "cos", "sin", "sign", "rff")

_LOG, _SIN, _COS = _random.LOG, _random.SIN, _random.COS
_LN2_HIGH, _LN2_LOW = _random.LN2_HIGH, _random.LN2_LOW
_HALF_PI_HIGH, _HALF_PI_LOW = _random.HALF_PI_HIGH, _random.HALF_PI_LOW
_LOW = np.uint64(0xFFFFFFFF)
_M0, _M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_STEP0, _STEP1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
_11, _32 = np.uint64(11), np.uint64(32)


@jit
def _block(seed: Word, stream: Word, column: Word, pair: Word) -> tuple[float, float]:
    """Both uniforms of a Philox4x32-10 block."""
    x0, x1, x2, x3 = pair, column & _LOW, column >> _32, stream
    k0, k1 = seed & _LOW, seed >> _32
    for _ in range(10):
        a, b = x0 * _M0, x2 * _M1
        x0, x1, x2, x3 = (b >> _32) ^ x1 ^ k0, b & _LOW, (a >> _32) ^ x3 ^ k1, a & _LOW
        k0, k1 = (k0 + _STEP0) & _LOW, (k1 + _STEP1) & _LOW
    first, second = ((x1 << _32) | x0) >> _11, ((x3 << _32) | x2) >> _11
    return (float(first) + 0.5) * 2.0**-53, (float(second) + 0.5) * 2.0**-53


@jit
def _normal_pair(u: float, v: float) -> tuple[float, float]:
    mantissa, exponent = math.frexp(u)  # mantissa in [1/2, 1)
    if mantissa < 0.7071067811865476:
        mantissa, exponent = 2.0 * mantissa, exponent - 1
    f = mantissa - 1.0
    s = f / (2.0 + f)
    z = s * s
    value = _LOG[6]
    for i in range(5, -1, -1):
        value = value * z + _LOG[i]
    logarithm = exponent * _LN2_HIGH + (f - (s * (f - z * value) - exponent * _LN2_LOW))
    radius = math.sqrt(-2.0 * logarithm)

    quarters = 4.0 * v
    nearest = np.rint(quarters)
    r = quarters - nearest
    z = r * r
    value = _SIN[5]
    for i in range(4, -1, -1):
        value = value * z + _SIN[i]
    sine = _HALF_PI_HIGH * r + r * (_HALF_PI_LOW + z * value)
    value = _COS[6]
    for i in range(5, -1, -1):
        value = value * z + _COS[i]
    cosine = 1.0 + z * value
    quadrant = int(nearest) & 3
    if quadrant & 1:
        sine, cosine = cosine, sine
    if quadrant >= 2:
        sine = -sine
    if quadrant == 1 or quadrant == 2:
        cosine = -cosine
    return radius * cosine, radius * sine


@jit
def normal(seed: Word, stream: Word, start: Word, values: Array) -> None:
    """Fill values (rows, columns) with the normals of columns start, start + 1, ...; for tests."""
    rows, columns = values.shape
    for i in range(0, rows, 2):
        for j in range(columns):
            u, v = _block(seed, stream, start + np.uint64(j), np.uint64(i // 2))
            even, odd = _normal_pair(u, v)
            values[i, j] = even
            if i + 1 < rows:
                values[i + 1, j] = odd


@jit
def _fill_block(seed: Word, start: Word, first: int, scales: Array, W: Array) -> None:
    rows, columns = W.shape
    for i in range(0, rows, 2):
        for j in range(columns):
            u, v = _block(seed, np.uint64(0), start + np.uint64(j), np.uint64((first + i) // 2))
            even, odd = _normal_pair(u, v)
            W[i, j] = even * scales[j]
            if i + 1 < rows:
                W[i + 1, j] = odd * scales[j]


@jit
def _sphere_scales(seed: Word, start: Word, d: int, scales: Array) -> None:
    for j in range(scales.size):
        squares = 0.0
        for i in range(0, d, 2):
            u, v = _block(seed, np.uint64(0), start + np.uint64(j), np.uint64(i // 2))
            even, odd = _normal_pair(u, v)
            squares += even * even
            if i + 1 < d:
                squares += odd * odd
        scales[j] = math.sqrt(float(d)) / math.sqrt(squares)


@jit
def _products(
    X: Array,
    out: Array,
    row: int,
    column: int,
    count: int,
    seed: Word,
    start: Word,
    sphere: bool,
    rff: bool,
    scale: float,
) -> None:
    """Pre-activations of the rows of X, to out[row : row + len(X), column : column + count]."""
    n, d = X.shape
    first_feature = start + np.uint64(column)
    scales = np.ones(count)
    if sphere:
        _sphere_scales(seed, first_feature, d, scales)
    phases = np.zeros(count, X.dtype)
    if rff:
        for j in range(count):
            phases[j] = 2.0 * np.pi * _block(seed, np.uint64(1), first_feature + np.uint64(j), np.uint64(0))[0]
    sums = np.empty(count, X.dtype)
    W = np.empty((DEPTH, count), X.dtype)
    out[row : row + n, column : column + count] = 0
    for first in range(0, d, DEPTH):
        rows = min(DEPTH, d - first)
        _fill_block(seed, first_feature, first, scales, W[:rows])
        for r in range(n):
            sums[:] = 0
            whole = rows - rows % 4
            for i in range(0, whole, 4):  # four terms at a time, still added one after the other
                x0, x1, x2, x3 = X[r, first + i], X[r, first + i + 1], X[r, first + i + 2], X[r, first + i + 3]
                for j in range(count):
                    total = sums[j] + x0 * W[i, j]
                    total = total + x1 * W[i + 1, j]
                    total = total + x2 * W[i + 2, j]
                    sums[j] = total + x3 * W[i + 3, j]
            for i in range(whole, rows):
                for j in range(count):
                    sums[j] += X[r, first + i] * W[i, j]
            for j in range(count):
                out[row + r, column + j] += sums[j]
    for r in range(n):
        for j in range(count):
            out[row + r, column + j] = out[row + r, column + j] * scale + phases[j]


@jit
def _activate(out: Array, finite: Array, row: int, row_end: int, column: int, column_end: int, kind: int) -> None:
    for r in range(row, row_end):
        for j in range(column, column_end):
            z = out[r, j]
            if not finite[r]:
                z = np.nan
            elif kind == 1:
                z = max(z, 0.0) if z == z else z
            elif kind == 2:
                z = math.erf(z)
            elif kind == 3:
                z = math.tanh(z)
            elif kind == 4:
                z = np.cos(z)
            elif kind == 5:
                z = np.sin(z)
            elif kind == 6:
                z = np.sign(z)
            elif kind == 7:
                z = math.sqrt(2.0) * np.cos(z)
            out[r, j] = z


@lru_cache(maxsize=32)  # a compiled loop for each of the functions used last
def _user_activation(function: Callable[[float], float]) -> Callable[..., None]:
    scalar: Any = (
        numba.njit(nogil=True, error_model="numpy")(function) if isinstance(function, FunctionType) else function
    )

    def activate(out: Array, finite: Array, row: int, row_end: int, column: int, column_end: int, kind: int) -> None:
        for r in range(row, row_end):
            for j in range(column, column_end):
                out[r, j] = scalar(out[r, j]) if finite[r] else np.nan

    compiled: Callable[..., None] = numba.njit(nogil=True, error_model="numpy")(activate)
    return compiled


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
    rff, kind = activation == "rff", 0
    activate: Callable[..., None] = _activate
    if isinstance(activation, str):
        kind = NAMES.index(activation)
    else:
        try:
            activate = _user_activation(activation)
            activate(np.empty((0, 0), out.dtype), np.empty(0, np.bool_), 0, 0, 0, 0, 0)  # compiles, once for a dtype
        except (NumbaError, TypeError, NotImplementedError) as error:
            lines = [line.strip() for line in str(error).splitlines()]
            reason = next((line for line in lines if line and not line.startswith("Failed in nopython")), "")
            raise TypeError(
                "activation must be a function that numba compiles and that maps a real number to a real number "
                f"(backend='reference' calls it as plain Python), but: {reason}"
            ) from error
    scale = X.dtype.type(1.0 / bandwidth if rff else 1.0 / math.sqrt(max(d, 1)))
    key, first, sphere = np.uint64(seed), np.uint64(start), weights == "sphere" and d > 0
    finite = np.empty(n, np.bool_)

    def compute(row: int, row_end: int, column: int, column_end: int) -> None:
        rows = np.array(X[row:row_end], order="C")
        finite[row:row_end] = np.isfinite(rows).all(axis=1)  # every tile of columns writes the same
        _products(rows, out, row, column, column_end - column, key, first, sphere, rff, scale)
        activate(out, finite, row, row_end, column, column_end, kind)

    block = max(min(n, 40_000_000 // (TILE * (d + 64))), 64)
    chunks = [
        (row, min(row + block, n), column, min(column + TILE, width))
        for column in range(0, width, TILE)
        for row in range(0, n, block)
    ]
    run_chunks(compute, chunks, n_threads)
