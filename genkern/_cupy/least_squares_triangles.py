"""Problems beyond shared memory, reduced to triangles by cuSOLVER's QR: one after another, and none is waited for.

What CuPy offers for a whole batch is not used. It does not have cuBLAS's geqrfBatched. `cupy.linalg.qr` of a batch
calls geqrf in a loop too and holds copies of all items meanwhile. gesvdjBatched ends at 32 x 32, and
gesvdaStridedBatched loses the small singular values on which a rank depends. The batched products and triangular solves
may choose their kernels by the number of items, on which an item's bits must not depend.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from genkern._cupy import _launch

Array = Any
CHUNK = 1 << 14  # entries that a block measures or scales
_THREADS = 256  # of such a block, and columns of y that it takes at most
_PART = 8  # the items that are held at once take up to this part of the device's memory


@dataclass(frozen=True)
class Scaled:
    """X and y of some items by powers of two with entries below 1; zeros in the place of what is not finite."""

    X: Array  # (items, n, d), or [X, y] (items, n, d + k) if `appended`
    y: Array  # (items, n, k), or that same array
    appended: bool
    exponent: Array  # (items)
    y_exponent: Array  # (items, k)
    status: Array  # (items): 0, or 1 where an entry is not finite


@dataclass(frozen=True)
class Triangles:
    """QR of some items: with A the tall one of the scaled X and its transpose, A = QR.

    n >= d: ||X w - y||^2 = ||R w - c||^2 + rest^2. n < d: X w = y has the solutions w = Q z, R^T z = c, and what is
    orthogonal to Q.
    """

    n: int
    columns: Array  # (items, m, m): R^T, so that R is column-major
    c: Array  # (items, m, k): Q^T y if n >= d, y if n < d
    rest: Array  # (items, k) in float64: what of y is outside of the range of A, 0 if n <= d
    bases: list[Array]  # Q (d, n) of every item if n < d, else none
    exponent: Array
    y_exponent: Array
    status: Array

    def R(self, item: int) -> Array:
        """Of one item, column-major. In memory of its own, since cuBLAS may choose its kernels by the alignment."""
        return self.columns[item].copy().T

    def sides(self, item: int) -> Array:
        """The c of one item, in memory of its own."""
        return self.c[item].copy()


def parts(matrices: Any, sides: Any) -> Iterator[slice]:
    """Items whose scaled copies and triangles take an eighth of the device's memory together; one item at least.

    An item that is larger takes its own size twice, scaled and as cuSOLVER's copy; with a Q, which it has if n < d or
    if there are many right sides, three times, and some columns of y in float64 as well.
    """
    (n, d), k, items = matrices.array.shape[-2:], sides.array.shape[-1], matrices.count
    m = min(n, d)
    numbers = n * (d + k) + m * (m + k) + (n * d if n < d else 0) + 3 * (k + m)
    together = max(1, _launch.limits().memory // _PART // (matrices.array.dtype.itemsize * numbers + 64))
    for first in range(0, items, min(together, 1 << 20)):
        yield slice(first, min(items, first + min(together, 1 << 20)))


def scaled(matrices: Any, sides: Any, append: bool = False) -> Scaled:
    """Two passes over the data, every item shared among many blocks; `append` puts y behind the columns of X."""
    cp = _launch.cupy()
    items, (n, d), k = matrices.count, matrices.array.shape[-2:], sides.array.shape[-1]
    dtype = matrices.array.dtype
    X = cp.empty((items, n, d + k if append else d), dtype)
    y = X if append else cp.empty((items, n, k), dtype)
    at = Scaled(
        X, y, append, cp.zeros(items, np.int32), cp.zeros((items, k), np.int32), cp.zeros(items, np.int8)
    )  # fmt: skip
    # Shares of a block, by the shape alone: CHUNK entries of X, or as many of up to 256 columns of y.
    width = min(k, _THREADS)
    rows = min(n, max(CHUNK // width, _THREADS // width)) if n * k else 0
    x_blocks = -(-n * d // CHUNK)
    blocks = x_blocks + (-(-n // rows) * -(-k // _THREADS) if rows else 0)
    if blocks == 0:
        return at
    largest, y_largest, bad = cp.zeros(items, np.uint64), cp.zeros((items, k), np.uint64), cp.zeros(items, np.int32)
    given = (
        matrices.array, sides.array, matrices.stride, sides.stride, np.int32(n), np.int32(d), np.int32(k), x_blocks,
        blocks, np.int32(CHUNK), np.int32(rows), largest, y_largest, bad,
    )  # fmt: skip
    x_ld, y_ld = X.shape[-1], y.shape[-1]
    targets = (
        X, n * x_ld, np.int32(x_ld), y, n * y_ld, d if append else 0, np.int32(y_ld), at.exponent, at.y_exponent,
        at.status,
    )  # fmt: skip
    kernel("measure", dtype)((items * blocks,), (_THREADS,), given)
    kernel("scale", dtype)((items * blocks,), (_THREADS,), (*given, *targets))
    return at


def factored(matrices: Any, sides: Any) -> Triangles:
    """The triangles of some items; nothing waits for them.

    A few right sides (2 k <= d) are further columns of the factorization and become Q^T y themselves, so that no Q is
    computed: half of the work and of the memory. More of them are multiplied by Q.
    """
    cp = _launch.cupy()
    items, (n, d), k = matrices.count, matrices.array.shape[-2:], sides.array.shape[-1]
    m, wide = min(n, d), n < d
    at = scaled(matrices, sides, append=not wide and 2 * k <= m)
    columns = cp.empty((items, m, m), at.X.dtype)
    c = at.y if wide else cp.empty((items, m, k), at.X.dtype)
    rest, bases = cp.zeros((items, k), np.float64), []
    shared = matrices.stride == 0 and not at.appended  # one matrix, of which one factorization does
    Q = None
    for item in range(items):
        if Q is None:
            Q = _factor(at, item, columns[item], c[item], rest[item])
        else:
            columns[item] = columns[item - 1]
        if wide:
            bases.append(Q)
        elif Q is not None:
            _project(Q, at.y[item], c[item], rest[item])
        Q = Q if shared else None
    return Triangles(n, columns, c, rest, bases, at.exponent, at.y_exponent, at.status)


def _factor(at: Scaled, item: int, columns: Array, c: Array, rest: Array) -> Array:
    """One item's triangle, and Q where there is one. What cuSOLVER needed besides is free again after it."""
    cp = _launch.cupy()
    n, m = at.X.shape[1], len(columns)
    if not at.appended:
        Q, R = cp.linalg.qr(at.X[item].T if n < at.X.shape[2] else at.X[item])
        columns[...] = R.T
        return Q
    R = cp.linalg.qr(at.X[item], mode="r")
    columns[...], c[...] = R[:m, :m].T, R[:m, m:]
    if n > m:
        rest[...] = norms(R[m:, m:])
    return None


def _project(Q: Array, y: Array, c: Array, rest: Array) -> None:
    """Q^T y and the norms of what it leaves, for a quarter as many columns at a time as Q has, or 16."""
    cp = _launch.cupy()
    rows, m = Q.shape
    step = max(m // 4, 16)
    for first in range(0, y.shape[1], step):
        own = slice(first, first + step)
        own_y = y[:, own].copy()  # aligned like that of any other item
        own_c = cp.matmul(Q.T, own_y)
        c[:, own] = own_c
        if rows > m:
            rest[own] = norms(own_y - cp.matmul(Q, own_c))


def states(at: Triangles, longer_side: int, penalty: Array, penalty_stride: int, rcond: float) -> Any:
    """On the host: 0 where R answers, 1 where an entry is not finite, 3 where the singular values have to."""
    cp = _launch.cupy()
    items, m = at.columns.shape[:2]
    state = at.status.copy()
    kernel("check", at.columns.dtype)(
        (items,), (32 * min(16, -(-m // 16)),),
        (at.columns, np.int32(m), np.int32(longer_side), rcond, penalty, penalty_stride, at.exponent,
         cp.empty((items, 3, m), at.columns.dtype), state),
    )  # fmt: skip
    return state.get()


def norms(columns: Array) -> Array:
    """Of the columns, in float64."""
    return _launch.cupy().sqrt((columns.astype(np.float64) ** 2).sum(axis=0))


def unscaled(values: Array, exponent: Array) -> Array:
    """Values 2^exponent, in float64 and rounded once."""
    return _launch.cupy().ldexp(values.astype(np.float64), exponent)


def kernel(name: str, dtype: Any) -> Any:
    """Of csrc/cuda/least_squares_large.cu."""
    return _launch.kernel("least_squares_large", f"least_squares_{name}_f{8 * np.dtype(dtype).itemsize}")
