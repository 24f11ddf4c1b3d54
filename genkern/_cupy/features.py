"""Launches of csrc/cuda/features.cu: random features on a GPU, the weights made there."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from genkern._cupy import _launch
from genkern._cupy._pace import Pace

Array = Any  # of CuPy
# In the order of csrc/cuda/features.cu.
ACTIVATIONS = ("identity", "relu", "erf", "tanh", "cos", "sin", "sign", "rff")
TILES = {4: (128, 128), 8: (64, 64)}  # rows and columns of a block's tile, by the bytes of a number
PANEL_BYTES = 64 << 20  # of weights in memory at once
PAIRS = 16  # of rows of weights that one thread makes
LAUNCH_SECONDS = 0.1  # of a launch at most, by an estimate that is slow for every card: Ctrl-C, watchdogs
ENTRY = 50  # multiply-adds that an activation and the memory of a result cost
MULTIPLY_ADDS = {4: 32, 8: 2}  # of a multiprocessor in a nanosecond on such a card


def random_features(
    X: Array,
    out: Array,
    *,
    activation: str,
    seed: int,
    start: int,
    weights: str,
    bandwidth: float,
    n_threads: int,
) -> None:
    """Write the features of the rows of X (n, d) to out (n, width), which is C-contiguous."""
    (n, d), width = X.shape, out.shape[1]
    if n == 0 or width == 0:
        return
    cp = _launch.cupy()
    itemsize = X.dtype.itemsize
    suffix = "f32" if itemsize == 4 else "f64"
    rows, columns = TILES[itemsize]
    rff = activation == "rff"
    scale = X.dtype.type(1.0 / bandwidth if rff else 1.0 / math.sqrt(max(d, 1)))
    fitting = PANEL_BYTES // (max(d, 1) * itemsize) // columns
    panel = columns * min(max(fitting, 1), -(-width // columns), _launch.limits().grid_y)
    W = cp.empty((d, panel), X.dtype)
    phases = cp.empty(panel, X.dtype) if rff else _launch.NULL
    sphere = weights == "sphere"
    scales = cp.empty(panel, np.float64) if sphere else _launch.NULL
    make = _launch.kernel("features", f"features_weights_{suffix}")
    multiply = _launch.kernel("features", f"features_product_{suffix}")
    law = (np.int64(d), np.uint64(seed))
    chunks = max(1, -(-d // (2 * PAIRS)))
    pairs = PAIRS * -(-chunks // _launch.limits().grid_y)
    tiles = _tiles(rows * columns * (d + ENTRY), itemsize)  # of a launch
    pace = Pace(LAUNCH_SECONDS)
    for first in range(0, width, panel):
        here = np.uint64(start + first)
        lanes = (-(-panel // 128),)
        if sphere:
            _launch.kernel("features", "features_scales_f64")(lanes, (128,), (scales, *law, here, np.int64(panel)))
        make(
            (*lanes, max(1, -(-d // (2 * pairs)))),
            (128,),
            (W, phases, scales, *law, here, np.int64(panel), np.int32(pairs)),
        )
        count = min(panel, width - first)
        across = -(-count // columns)
        together = rows * min(max(1, tiles // across), _launch.limits().grid_x)
        for row in range(0, n, together):
            part = slice(row, min(row + together, n))
            multiply(
                (-(-(part.stop - row) // rows), across),
                (256,),
                (
                    X[part], np.int64(part.stop - row), np.int64(d), np.int64(X.strides[0] // itemsize),
                    np.int64(X.strides[1] // itemsize), W, np.int64(panel), phases, scale,
                    np.int32(ACTIVATIONS.index(activation)), out[part], np.int64(width), np.int64(first),
                    np.int64(count),
                ),
            )  # fmt: skip
            pace.launched((first + count * part.stop / n) / width)


def _tiles(work: int, itemsize: int) -> int:
    """How many tiles of so many multiply-adds a slow card computes in LAUNCH_SECONDS; one a multiprocessor at least."""
    seconds = 1e-9 * work / MULTIPLY_ADDS[itemsize]
    return _launch.limits().multiprocessors * max(1, int(LAUNCH_SECONDS / seconds))
