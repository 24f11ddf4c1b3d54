"""Least squares on a GPU: small problems a team of warps each in shared memory, larger ones by cuSOLVER and cuBLAS."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from genkern._cupy import _launch, least_squares_large

Array = Any
_ELEMENTS_A_WARP = 1024  # of the matrix; each lane has some dozens of multiply-adds for a column then
_WARPS = 8  # of a team and of a block at most, the launch bound of the kernels
_BLOCKS = 8  # of a multiprocessor at most that take items in turn
_PENDING = 3  # status of an item that the QR leaves to the SVD


@dataclass(frozen=True)
class Items:
    """A batch of matrices as the kernels see it: contiguous ones, `stride` elements apart, 0 for one that all share."""

    array: Array
    stride: int
    count: int

    @staticmethod
    def of(view: Array) -> Items:
        """From a view of any strides; only a batch that is one matrix repeated is not copied out."""
        cp = _launch.cupy()
        batch = view.shape[:-2]
        count = int(np.prod(batch, dtype=np.int64))
        repeated = all(stride == 0 or extent == 1 for stride, extent in zip(view.strides, batch, strict=False))
        if count > 0 and repeated:
            return Items(cp.ascontiguousarray(view[(0,) * len(batch)]), 0, count)
        return Items(cp.ascontiguousarray(view), view.shape[-2] * view.shape[-1], count)

    def part(self, first: int, count: int) -> Items:
        """Items first to first + count."""
        if self.stride == 0:
            return Items(self.array, 0, count)
        n, d = self.array.shape[-2:]
        return Items(self.array.reshape(-1, n, d)[first : first + count], self.stride, count)

    def item(self, index: int) -> Array:
        """One matrix."""
        n, d = self.array.shape[-2:]
        return self.array.reshape(-1, n, d)[index if self.stride else 0]


@dataclass(frozen=True)
class Plan:
    """Teams and memory of a launch, by the shape of a problem and the limits of the device alone."""

    warps: int  # of a team
    teams: int  # of a block
    bytes: int  # of shared memory of a block
    columns: int = 0  # right sides at a time
    outside: int = 0  # elements that a team keeps in global memory
    b_inside: bool = False  # the ridge term's matrix is in shared memory
    g_outside: bool = False
    rows_outside: bool = False

    @property
    def block(self) -> tuple[int]:
        return (32 * self.warps * self.teams,)

    def blocks(self, items: int) -> int:
        """Blocks when every team has one item."""
        return -(-items // self.teams)

    def resident(self, items: int) -> int:
        """Blocks when teams take items in turn: as many as the device holds at once."""
        limits = _launch.limits()
        here = max(1, min(_BLOCKS, limits.shared_multiprocessor // (self.bytes + 1024)))
        return min(self.blocks(items), here * limits.multiprocessors)

    def workspace(self, items: int, dtype: Any) -> Array:
        """Global memory for the teams of `resident` blocks, a null pointer if they need none."""
        size = self.resident(items) * self.teams * self.outside
        return _launch.cupy().empty(size, dtype) if size else _launch.NULL


def lstsq(
    X: Array, y: Array, ridge: Any, rcond: float, coef: Array, rank: Array, residual_norm: Array, status: Array,
    n_threads: int,
) -> None:  # fmt: skip
    """Min ||X w - y||^2 + ridge ||w||^2; X (..., n, d), y (..., n, k), coef (..., d, k); `ridge` lives on the host.

    Small problems: a QR of every item, then an SVD of those that it has left pending, known to the device only.
    """
    n, d = X.shape[-2:]
    k = y.shape[-1]
    matrices, sides = Items.of(X), Items.of(y)
    items = matrices.count
    if items == 0:
        return
    penalty, penalty_stride = on_device(ridge)
    qr = None if min(n, d) == 0 else qr_plan(n, d, k, X.dtype.itemsize, bool(ridge.any()))
    svd = None if min(n, d) == 0 else svd_plan(n, d, k, X.dtype.itemsize)
    if qr is None or svd is None:
        least_squares_large.lstsq(
            matrices, sides, ridge, penalty, penalty_stride, rcond, coef, rank, residual_norm, status
        )
        return
    results = (coef, rank, residual_norm, status)
    strides = (matrices.stride, sides.stride, penalty_stride, items)
    sizes = (np.int32(n), np.int32(d), np.int32(k))
    launch(
        "least_squares", "qr", X.dtype, qr, qr.resident(items) if qr.outside else qr.blocks(items),
        (matrices.array, sides.array, penalty, *results, *strides, rcond, *sizes, np.int32(qr.warps),
         np.int32(qr.columns), qr.workspace(items, X.dtype), np.int32(qr.b_inside)),
    )  # fmt: skip
    launch(
        "least_squares_svd", "svd", X.dtype, svd, svd.resident(items),
        (matrices.array, sides.array, penalty, *results, *strides, rcond, *sizes, np.int32(svd.warps),
         svd.workspace(items, X.dtype), np.int32(svd.g_outside), np.int32(svd.rows_outside)),
    )  # fmt: skip


def singular_values(X: Array, s: Array, n_threads: int) -> None:
    """Singular values in descending order; s (..., min(n, d))."""
    n, d = X.shape[-2:]
    if s.size == 0:
        return
    matrices = Items.of(X)
    plan = svd_plan(n, d, 0, X.dtype.itemsize)
    if plan is None or plan.g_outside:
        least_squares_large.singular_values(matrices, s)
        return
    launch(
        "least_squares_svd", "values", X.dtype, plan, plan.resident(matrices.count),
        (matrices.array, s, matrices.stride, matrices.count, np.int32(n), np.int32(d), np.int32(plan.warps)),
    )  # fmt: skip


def launch(family: str, name: str, dtype: Any, plan: Plan, blocks: int, args: tuple[Any, ...]) -> None:
    """One launch of ``least_squares_<name>_<dtype>`` on the current stream."""
    kernel = _launch.kernel(family, f"least_squares_{name}_f{8 * np.dtype(dtype).itemsize}")
    _launch.allow_shared(kernel, plan.bytes)
    kernel((blocks,), plan.block, args, shared_mem=plan.bytes)


def on_device(values: Any) -> tuple[Array, int]:
    """Numbers of the host, one an item, on the device, and the step from item to item: 0 if all are one number."""
    if all(stride == 0 or extent == 1 for stride, extent in zip(values.strides, values.shape, strict=True)):
        return _launch.cupy().asarray(values[(0,) * values.ndim].reshape(1)), 0
    return _launch.cupy().asarray(np.ascontiguousarray(values).reshape(-1)), 1


def qr_plan(n: int, d: int, k: int, itemsize: int, ridged: bool) -> Plan | None:
    """Launch of `least_squares_qr`, None if a problem does not fit into shared memory.

    What an item's bits depend on, its team and its columns, does not depend on whether another item has a ridge.
    """
    l, m = max(n, d), min(n, d)  # noqa: E741
    warps = _warps(l, m)
    columns = min(k, 8 * warps)
    size_b = ridged * m * _leading(m)
    while True:
        size = (m + columns) * _leading(l) + 6 * m + 2 * m * columns
        if _team_bytes(size, itemsize) <= _launch.limits().shared_optin:
            break
        if columns <= 1:
            return None
        columns //= 2
    inside = ridged and _team_bytes(size + size_b, itemsize) <= _launch.limits().shared_optin
    return _plan(
        warps,
        _team_bytes(size + inside * size_b, itemsize),
        columns=columns,
        outside=0 if inside else size_b,
        b_inside=inside,
    )


def svd_plan(n: int, d: int, k: int, itemsize: int) -> Plan | None:
    """Launch of the kernels of csrc/cuda/least_squares_svd.cu; what does not fit stays in global memory."""
    l, m = max(n, d), min(n, d)  # noqa: E741
    warps = _warps(l, m)
    size_g, size_rows = m * _leading(m), k * (m + 2)
    for g_outside, rows_outside in ((False, False), (False, True), (True, False), (True, True)):
        size = (m + warps) * _leading(l) + 4 * m + (not g_outside) * size_g + (not rows_outside) * size_rows
        bytes_needed = _team_bytes(size, itemsize)
        if bytes_needed <= _launch.limits().shared_optin:
            outside = g_outside * size_g + rows_outside * size_rows
            return _plan(warps, bytes_needed, outside=outside, g_outside=g_outside, rows_outside=rows_outside)
    return None


def _plan(warps: int, team_bytes: int, **options: Any) -> Plan:
    """Teams of one warp share a block as long as they fit into the shared memory that needs no asking."""
    teams = 1
    while warps == 1 and 2 * teams <= _WARPS // 2 and 2 * teams * team_bytes <= _launch.limits().shared:
        teams *= 2
    return Plan(warps, teams, teams * team_bytes, **options)


def _warps(l: int, m: int) -> int:  # noqa: E741
    warps = 1
    while warps < _WARPS and 2 * warps * _ELEMENTS_A_WARP <= l * m:
        warps *= 2
    return warps


def _leading(rows: int) -> int:
    """As in csrc/cuda/least_squares_team.hpp."""
    return (rows + 3) // 8 * 8 + 4


def _team_bytes(elements: int, itemsize: int) -> int:
    return -(-elements // 4) * 4 * itemsize + 128
