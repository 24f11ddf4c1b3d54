"""TEST ONLY: small calls that launch every kernel of a source, with the shapes in which a race or a slip would show.

They are run to see that every kernel is launched and that nothing of the CPU computes in its place
(test_gpu_kernels.py), and again under the sanitizers (test_gpu_races.py). A new source needs a function here, named as
the source.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

import genkern
from gpu import standin


@contextmanager
def shared_memory(allowed: int) -> Iterator[None]:
    """A device whose blocks have so many bytes of shared memory: what needs more goes another way."""
    before = {name: standin.PROPERTIES[name] for name in ("sharedMemPerBlock", "sharedMemPerBlockOptin")}
    standin.PROPERTIES.update(sharedMemPerBlock=allowed, sharedMemPerBlockOptin=allowed)
    standin._forget()
    try:
        yield
    finally:
        standin.PROPERTIES.update(before)
        standin._forget()


def points(cupy: Any, dtype: Any, *shape: int) -> Any:
    """Normal numbers on the GPU."""
    return cupy.asarray(np.random.default_rng(shape).standard_normal(shape).astype(dtype))


def labels(cupy: Any, dtype: Any, *shape: int) -> Any:
    """Of -1 and +1."""
    return cupy.asarray(np.random.default_rng(shape).choice([-1.0, 1.0], shape).astype(dtype))


def features(cupy: Any, dtype: Any) -> None:
    """Sums of one and of more blocks of terms, both kinds of weights, a row that is not finite."""
    X = points(cupy, dtype, 5, 40)
    X[1, 3] = np.nan
    for options in ({"activation": "rff"}, {"activation": "tanh", "weights": "sphere"}, {"activation": "relu"}):
        genkern.random_features(X, 70, **options)
    genkern.random_features(points(cupy, dtype, 3, 270), 9, activation="erf")
    genkern.random_features(points(cupy, dtype, 3, 0), 9)


def _descents(cupy: Any, dtype: Any, n: int, d: int) -> None:
    X, y = points(cupy, dtype, 2, n, d), labels(cupy, dtype, 2, n)
    for algorithm in ("gd", "normalized", "heavy_ball", "accelerated", "sign", "coordinate", "mirror"):
        options = {"p": 3.0} if algorithm == "mirror" else {}
        genkern.logistic_path(X, y, [0, 1, 5], step_size=0.01, algorithm=algorithm, method="exact", **options)


def logistic(cupy: Any, dtype: Any) -> None:
    """Every algorithm in shared memory, of several rows and columns a thread and the other way round."""
    _descents(cupy, dtype, 7, 3)
    _descents(cupy, dtype, 40, 6)
    # A kernel for the tests of the losses alone.
    u = points(cupy, dtype, 100)
    weights = importlib.import_module("genkern._cupy._launch").kernel("logistic", f"logistic_weights_f{8 * u.itemsize}")
    weights((1,), (128,), (u, cupy.empty_like(u), np.int64(100), np.int32(0)))


@contextmanager
def changed(module: str, **constants: Any) -> Iterator[None]:
    """Other numbers in a module of genkern._cupy, so that small problems are cut up as large ones are."""
    found = importlib.import_module(f"genkern._cupy.{module}")
    before = {name: getattr(found, name) for name in constants}
    try:
        vars(found).update(constants)
        yield
    finally:
        vars(found).update(before)


def logistic_large(cupy: Any, dtype: Any) -> None:
    """Every algorithm on data that does not fit into shared memory: several tiles, chunks, groups and columns."""
    with changed("logistic", SMALL_BYTES=0), changed("logistic_large", TILE_BYTES=600, CHUNKS=2):
        _descents(cupy, dtype, 23, 21)
    with changed("logistic", SMALL_BYTES=0), changed("logistic_large", TILE_BYTES=5000, CHUNKS=2):
        _descents(cupy, dtype, 9, 260)


def logistic_wide(cupy: Any, dtype: Any) -> None:
    """Every algorithm on long rows: several chunks of columns and of rows, with a share of the gradient and without."""
    with changed("logistic", SMALL_BYTES=0), changed("logistic_large", TALL=30, COLUMNS=20, WEIGHTS=8):
        _descents(cupy, dtype, 10, 34)
        with changed("logistic_large", SPLIT=2):
            _descents(cupy, dtype, 21, 34)


def logistic_reduce(cupy: Any, dtype: Any) -> None:
    """A wide problem in the coordinates of its rows, one row of which is a multiple of another."""
    X, y = points(cupy, dtype, 2, 4, 300), labels(cupy, dtype, 2, 4)
    X[:, 2] = X[:, 1] * 2
    genkern.logistic_path(X, y, [1, 2000], step_size=0.001, method="exact")


def logistic_measure(cupy: Any, dtype: Any) -> None:
    """One iterate and several, chunks of rows and of columns, of which 16 at a time."""
    with changed("logistic_measure", COLUMNS=32, ROWS=40):
        for count in (1, 5):
            X, y = points(cupy, dtype, 70, 40), labels(cupy, dtype, 70)
            genkern.logistic_path(X, y, range(count), step_size=0.01, method="exact")


def _least_squares(cupy: Any, dtype: Any, n: int, d: int) -> None:
    """Every solver on items of full and of lower rank and one that is not finite."""
    X, y = points(cupy, dtype, 4, n, d), points(cupy, dtype, 4, n, 2)
    X[1, :, 0] = X[1, :, -1]
    X[2, 0, 0] = np.nan
    genkern.lstsq(X, y)
    genkern.lstsq(X, y, ridge=0.3)
    genkern.ridge_path(X, y, [0.0, 0.1])
    genkern.gd_path(X, y, [3, 50], momentum=0.5)
    genkern.gd_path(X, y, [50, 0, 3], nesterov=True)
    genkern.singular_values(X)


def least_squares(cupy: Any, dtype: Any) -> None:
    """Several problems to a block, and a block or more to a problem."""
    _least_squares(cupy, dtype, 5, 3)
    _least_squares(cupy, dtype, 40, 55)


def least_squares_svd(cupy: Any, dtype: Any) -> None:
    """The same, with what does not fit into shared memory outside."""
    _least_squares(cupy, dtype, 6, 5)
    with shared_memory(9000):
        _least_squares(cupy, dtype, 26, 20)


def least_squares_paths(cupy: Any, dtype: Any) -> None:
    """Every filter."""
    _least_squares(cupy, dtype, 6, 9)


def least_squares_large(cupy: Any, dtype: Any) -> None:
    """Problems that do not fit into shared memory, shared among several blocks, and triangles of several tiles."""
    with shared_memory(2000):
        importlib.import_module("genkern._cupy.least_squares_triangles").CHUNK = 300  # type: ignore[attr-defined]
        _least_squares(cupy, dtype, 45, 38)
        _least_squares(cupy, dtype, 38, 45)


CALLS: dict[str, Callable[[Any, Any], None]] = {
    function.__name__: function
    for function in (
        features, least_squares, least_squares_large, least_squares_paths, least_squares_svd, logistic, logistic_large,
        logistic_measure, logistic_reduce, logistic_wide,
    )
}  # fmt: skip
