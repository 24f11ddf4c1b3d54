"""Ridge and gradient-descent paths on a GPU: one SVD an item, gains of the filters, and a product with the basis."""

from __future__ import annotations

from typing import Any

import numpy as np

from genkern._cupy import _launch, least_squares_large
from genkern._cupy.least_squares import Items, launch, on_device, svd_plan
from genkern._cupy.least_squares_large import Modes

Array = Any
_CHUNK_BYTES = 256 << 20  # of modes and gains at a time
_STEPS_A_LAUNCH = 1 << 16  # of Nesterov's recursion: some milliseconds
_THREADS = 256


def ridge_path(X: Array, y: Array, ridges: Any, rcond: float, coef: Array, n_threads: int) -> None:
    """The solutions of `lstsq` for every ridge; coef (..., r, d, k)."""
    values = _launch.cupy().asarray(ridges)

    def gains(found: Modes, part: slice) -> tuple[Array, Array]:
        return ridge_gains(found, values, 0, ridges.size, rcond)

    _path(X, y, coef, gains)


def gd_path(
    X: Array, y: Array, steps: Any, step_size: Any, momentum: float, nesterov: bool, rcond: float, coef: Array,
    divergent: Array, n_threads: int,
) -> None:  # fmt: skip
    """Gradient descent from zero after `steps` steps (nan step size: 1 / s_max^2); coef (..., t, d, k)."""
    cp = _launch.cupy()
    flags = divergent.reshape(-1)
    flags[...] = False
    counts = cp.asarray(steps)
    sizes, stride = on_device(step_size) if divergent.size else (counts, 0)
    endless = bool(np.isinf(steps).any())

    def gains(found: Modes, part: slice) -> tuple[Array, Array]:
        items, m = found.s.shape
        rates = cp.empty((items, m), np.float64)
        _kernel("rates", found)(
            (_blocks(32 * items),), (_THREADS,),
            (found.s, found.exponent, sizes[part] if stride else sizes, stride, items, np.int32(m), rcond, momentum,
             np.int32(nesterov), np.int32(endless), rates, flags[part]),
        )  # fmt: skip
        phi = _nesterov(rates, steps) if nesterov else _launch.NULL
        result, shift = _empty_gains(found, steps.size)
        if steps.size:
            _kernel("descent_gains", found)(
                (_blocks(32 * items * steps.size),), (_THREADS,),
                (found.s, rates, phi, counts, items, np.int32(steps.size), np.int32(m), rcond, momentum, result, shift),
            )  # fmt: skip
        return result, shift

    _path(X, y, coef, gains)


def _path(X: Array, y: Array, coef: Array, gains: Any) -> None:
    """Modes and gains of some items at a time; coef (..., filters, d, k)."""
    n, d = X.shape[-2:]
    filters, k, m = coef.shape[-3], coef.shape[-1], min(n, d)
    matrices, sides = Items.of(X), Items.of(y)
    if m == 0 or matrices.count == 0:
        coef[...] = 0
        return
    target = coef.reshape(matrices.count, filters, d, k)
    numbers = n * (d + k) + m * (m + k) + (n * d if n < d else 0)  # beyond shared memory
    bytes_an_item = X.dtype.itemsize * (numbers + m * (1 + d + k + filters)) + 16 * m * (1 + filters)
    together = max(1, min(matrices.count, _CHUNK_BYTES // bytes_an_item))
    for first in range(0, matrices.count, together):
        count = min(together, matrices.count - first)
        found = modes(matrices.part(first, count), sides.part(first, count))
        part = slice(first, first + count)
        factors, shift = gains(found, part)
        expand(found, factors, shift, target[part])


def modes(matrices: Items, sides: Items) -> Modes:
    """The decompositions of a batch: in shared memory, or by cuSOLVER."""
    cp = _launch.cupy()
    items, (n, d), k = matrices.count, matrices.array.shape[-2:], sides.array.shape[-1]
    m, dtype = min(n, d), matrices.array.dtype
    plan = svd_plan(n, d, k, dtype.itemsize)
    if plan is None or plan.g_outside:
        return least_squares_large.modes(matrices, sides)
    found = Modes(
        cp.empty((items, m), dtype), cp.empty(items, np.int32), cp.empty((items, m, d), dtype),
        cp.empty((items, m, k), dtype), cp.empty((items, k), np.int32), cp.empty(items, np.int8),
    )  # fmt: skip
    launch(
        "least_squares_svd", "modes", dtype, plan, plan.resident(items),
        (matrices.array, sides.array, found.s, found.exponent, found.basis, found.projections, found.y_exponent,
         found.status, matrices.stride, sides.stride, items, np.int32(n), np.int32(d), np.int32(k),
         np.int32(plan.warps), plan.workspace(items, dtype), np.int32(plan.g_outside), np.int32(plan.rows_outside)),
    )  # fmt: skip
    return found


def ridge_gains(found: Modes, ridges: Array, stride: int, filters: int, rcond: float) -> tuple[Array, Array]:
    """Gains (items, filters, m) times 2^shift (items, filters); item i's ridges stand at i * stride."""
    items, m = found.s.shape
    gains, shift = _empty_gains(found, filters)
    if filters:
        _kernel("ridge_gains", found)(
            (_blocks(32 * items * filters),), (_THREADS,),
            (found.s, found.exponent, ridges, stride, items, np.int32(filters), np.int32(m), rcond, gains, shift),
        )  # fmt: skip
    return gains, shift


def expand(found: Modes, gains: Array, shift: Array, coef: Array) -> None:
    """Coefficients (items, filters, d, k) from the gains of each filter."""
    items, filters, m = gains.shape
    d, k = coef.shape[-2:]
    if coef.size == 0:
        return
    blocks = items * -(-d // 128) * -(-filters * k // 8)
    _kernel("expand", found)(
        (blocks,), (128,),
        (found.basis, found.projections, gains, shift, found.exponent, found.y_exponent, found.status,
         np.int32(filters), np.int32(m), np.int32(d), np.int32(k), coef),
    )  # fmt: skip


def _nesterov(rates: Array, steps: Any) -> Array:
    """Phi (items, t, m) of Nesterov's schedule.

    Long recursions run some steps a launch, and between launches the host asks whether any mode still moves, so that
    Ctrl-C acts and settled modes end it.
    """
    cp = _launch.cupy()
    items, m = rates.shape
    phi = cp.empty((items, steps.size, m), np.float64)
    if steps.size == 0:
        return phi
    order = np.argsort(steps, kind="stable")
    ascending = steps[order]
    counts, places = cp.asarray(ascending), cp.asarray(order.astype(np.int32))
    states, moving = cp.empty((items, m, 2), np.float64), cp.zeros(1, np.int32)
    last, done = float(ascending[-1]), -1.0
    kernel = _launch.kernel("least_squares_paths", "least_squares_nesterov")
    while True:
        stop = min(last, max(done, 0.0) + _STEPS_A_LAUNCH)
        following = int(np.searchsorted(ascending, done, side="right"))
        if done >= 0.0:
            if not int(moving[0]):
                stop = last  # nothing is left to do but to write
            moving.fill(0)
        kernel(
            (_blocks(items * m),), (_THREADS,),
            (rates, counts, places, np.int32(steps.size), np.int32(following), items * m, np.int32(m), done, stop,
             states, phi, moving),
        )  # fmt: skip
        done = stop
        if done >= last:
            return phi


def _empty_gains(found: Modes, filters: int) -> tuple[Array, Array]:
    cp = _launch.cupy()
    items, m = found.s.shape
    return cp.empty((items, filters, m), found.s.dtype), cp.empty((items, filters), np.int32)


def _kernel(name: str, found: Modes) -> Any:
    return _launch.kernel("least_squares_paths", f"least_squares_{name}_f{8 * found.s.dtype.itemsize}")


def _blocks(threads: int) -> int:
    return -(-threads // _THREADS)
