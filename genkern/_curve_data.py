"""What every risk curve shares: checked inputs, memory for what is measured, and the result made of it."""

from __future__ import annotations

import copy
import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from genkern import _arrays, _checks
from genkern._risk_curve import RiskCurve

Array = np.ndarray[Any, Any]
# Names of the algorithms, in the order of their codes in the kernels; code 0 is a point that was not solved.
METHODS = ("", "qr", "orthogonal", "woodbury", "svd")
CHOICES = ("auto", "orthogonal", "woodbury", "svd")


class Data:
    """Training and test sets of a batch of curves, every right-hand side (draw by draw) as a column."""

    def __init__(
        self,
        names: tuple[str, str, str, str],
        arguments: tuple[Any, Any, Any, Any],
        noise: Any = None,
        classify: bool = False,
    ) -> None:
        given = dict(zip(names, arguments, strict=True))
        if noise is not None:
            given["noise"] = noise
        views, self.library = _checks.device_arrays(**given)
        X, y, X_test, y_test = views[:4]
        axes = f"(..., n, {'P' if names[0] == 'F' else 'd'})"
        _checks.minimum_axes(names[0], X, 2, axes)
        _checks.minimum_axes(names[2], X_test, 2, axes.replace("n", "m"))
        if X_test.shape[-1] != X.shape[-1]:
            raise ValueError(
                f"{names[2]} must have {X.shape[-1]} columns as {names[0]} has, got shape {X_test.shape} with "
                f"{names[0]} of shape {X.shape}"
            )
        for name, view in ((names[0], X), (names[2], X_test)):
            if view.shape[-2] < 1:
                raise ValueError(f"{name} must have at least one row, got shape {view.shape}")
        rhs, self.vector = _right_sides(names[:2], X, y)
        targets, vector = _right_sides(names[2:], X_test, y_test)
        if vector != self.vector or targets.shape[-1] != rhs.shape[-1]:
            raise ValueError(
                f"{names[3]} must have the targets of y, got shape {y_test.shape} with y of shape {y.shape}"
            )
        self.draws, batches = 1, {names[0]: X.shape[:-2], names[2]: X_test.shape[:-2], names[1]: rhs.shape[:-2]}
        batches[names[3]] = targets.shape[:-2]
        self.n, self.m, self.k = X.shape[-2], X_test.shape[-2], rhs.shape[-1]
        self.noisy = noise is not None
        if self.noisy:
            rhs, self.draws = _with_noise(rhs, views[4], self.vector)
            batches["noise"] = rhs.shape[:-2]
        self.batch = _checks.broadcast_batch(batches)
        self.dtype = X.dtype
        self.X = _checks.broadcast(X, (*self.batch, *X.shape[-2:]))
        self.X_test = _checks.broadcast(X_test, (*self.batch, *X_test.shape[-2:]))
        self.rhs = _plain(rhs, (*self.batch, self.n, self.draws * self.k))
        self.targets = _plain(targets, (*self.batch, self.m, self.k))
        self.classify = _checks.flag("classify", classify)


class Measured:
    """Memory (float64) for what the kernels measure; `extra` are axes between the batch and the ridges.

    On a GPU where the data is on one.
    """

    def __init__(self, data: Data, ridges: int, points: int, extra: tuple[int, ...] = ()) -> None:
        shape = (*data.batch, *extra, ridges, points)
        xp = data.library.namespace
        columns = data.draws * data.k
        self.train_risk = xp.full((*shape, columns), np.nan)
        self.test_risk = xp.full((*shape, columns), np.nan)
        self.coef_norm = xp.full((*shape, columns), np.nan)
        self.wrong = xp.full((*shape, data.draws), np.nan)
        self.bias = xp.full((*shape, data.k), np.nan)
        self.variance = xp.full((*shape, data.k), np.nan)
        self.method = xp.zeros(shape, np.int8)
        self.error = xp.full(shape, np.nan)
        self.threshold = xp.full((*data.batch, *extra), np.nan)

    def first(self) -> Measured:
        """Without the last axis of `extra`, which has one element."""
        found = copy.copy(self)
        batch = self.threshold.ndim - 1
        vars(found).update({name: value.take(0, axis=batch) for name, value in vars(self).items()})
        return found


def result(
    data: Data,
    measured: Measured,
    axis: str,
    values: Array,
    order: Array,
    *,
    ridge: Array | None,
    seeds: Array | None = None,
    keep_seeds: bool = False,
    threshold: bool = True,
) -> RiskCurve:
    """The curve in the caller's library and dtype; `order` picks the points as the caller has listed them."""
    single_ridge = ridge is None or ridge.ndim == 0
    places = data.library.namespace.asarray(order)

    def out(value: Array) -> Any:
        return data.library.wrap(value.astype(data.dtype, order="C"))

    def targets(value: Array) -> Any:
        value = value.take(places, axis=value.ndim - 2)
        if single_ridge:
            value = value.squeeze(axis=value.ndim - 3)
        return out(value[..., 0] if data.vector else value)

    def mean(value: Array) -> Array:
        averaged: Array = value.reshape(*value.shape[:-1], data.draws, data.k).mean(axis=-2)
        return averaged

    def scalar(value: Array) -> Array:
        value = value.take(places, axis=value.ndim - 1)
        return value.squeeze(axis=value.ndim - 2) if single_ridge else value

    return RiskCurve(
        axis=axis,
        values=values,
        train_risk=targets(mean(measured.train_risk)),
        test_risk=targets(mean(measured.test_risk)),
        coef_norm=targets(mean(measured.coef_norm)),
        test_error=out(scalar(measured.wrong.mean(axis=-1))) if data.classify else None,
        bias=targets(measured.bias) if data.noisy else None,
        variance=targets(measured.variance) if data.noisy else None,
        method=np.array(METHODS)[_arrays.on_host(scalar(measured.method))],
        error=out(scalar(measured.error)),
        threshold=out(measured.threshold) if threshold else None,
        seeds=seeds if keep_seeds else None,
        ridges=None if single_ridge else ridge,
    )


def points(name: str, values: Any, last: int) -> tuple[Array, Array, Array]:
    """Listed widths or sample counts: as given, sorted without repeats, and where each given one is among these."""
    if values is None:
        every = np.arange(1, last + 1)
        return every, every, np.arange(last)
    if isinstance(values, (str, bytes)):
        raise TypeError(f"{name} must be a sequence of integers, got {type(values).__name__}")
    listed = np.asarray(_arrays.to_numpy(name, [values] if isinstance(values, (int, np.integer)) else values))
    if listed.ndim != 1:
        raise ValueError(f"{name} must be a one-dimensional sequence, got shape {listed.shape}")
    if listed.size and listed.dtype.kind not in "iu":
        raise TypeError(f"{name} must be integers, got dtype {listed.dtype}")
    if listed.size and not (int(listed.min()) >= 1 and int(listed.max()) <= last):
        bad = listed[(listed < 1) | (listed > last)][0]
        raise ValueError(f"{name} must be in [1, {last}], got {bad}")
    listed = listed.astype(np.int64)
    unique, order = np.unique(listed, return_inverse=True)
    return listed, unique, order


def ridge_values(ridge: Any, name: str = "ridge") -> Array:
    """One ridge (no axis) or several, >= 0."""
    values = _checks.nonnegative(name, ridge)
    _checks.at_most_one_axis(name, values)
    return values


def cutoff(rcond: Any, dtype: np.dtype[Any]) -> tuple[float, float]:
    """The relative cutoff (NaN: eps max(n, p) at every width p) and eps of the data's dtype."""
    given = math.nan if rcond is None else _checks.real_number("rcond", rcond, low=0.0)
    return given, float(np.finfo(dtype).eps)


@contextmanager
def progress_hook(progress: Any, total: int, label: str) -> Iterator[Callable[[int], None] | None]:
    """What the kernels tell how many points are done, or None.

    `progress` is True (a tqdm bar), a function ``progress(done, total)``, or None or False (silence).
    """
    if progress is None or progress is False:
        yield None
    elif callable(progress):
        yield lambda done: progress(done, total)
        progress(total, total)
    elif progress is True:
        try:
            from tqdm import tqdm
        except ImportError as error:
            raise ImportError(f"progress needs the package tqdm: pip install 'genkern[progress]' ({error})") from error
        with tqdm(total=total, desc=label, leave=False, file=sys.stderr) as bar:

            def show(done: int) -> None:
                bar.update(done - bar.n)

            yield show
            show(total)
    else:
        raise TypeError(f"progress must be None, True, False or a function, got {type(progress).__name__}")


def _right_sides(names: tuple[str, ...], X: Array, y: Array) -> tuple[Array, bool]:
    vector = y.ndim == X.ndim - 1
    if not vector and y.ndim != X.ndim:
        raise ValueError(
            f"{names[1]} must have one axis less than {names[0]} or as many, got shape {y.shape} with {names[0]} of "
            f"shape {X.shape}"
        )
    rows = y[..., None] if vector else y
    if rows.shape[-2] != X.shape[-2]:
        raise ValueError(
            f"{names[1]} must have {X.shape[-2]} rows as {names[0]} has, got shape {y.shape} with {names[0]} of shape "
            f"{X.shape}"
        )
    if rows.shape[-1] < 1:
        raise ValueError(f"{names[1]} must have at least one target, got shape {y.shape}")
    return rows, vector


def _with_noise(rhs: Array, noise: Array, vector: bool) -> tuple[Array, int]:
    """Y plus every draw, (..., n, q k) with the draws outermost."""
    draws = noise[..., None] if vector else noise
    n, k = rhs.shape[-2:]
    if draws.ndim < 3 or draws.shape[-2:] != (n, k) or draws.shape[-3] < 1:
        shape = f"(..., q, {n})" if vector else f"(..., q, {n}, {k})"
        raise ValueError(f"noise must have shape {shape} with q >= 1, got {noise.shape}")
    q = draws.shape[-3]
    batch = _checks.broadcast_batch({"y": rhs.shape[:-2], "noise": draws.shape[:-3]})
    noisy = _checks.broadcast(rhs[..., None, :, :], (*batch, q, n, k)) + draws
    return noisy.swapaxes(-3, -2).reshape(*batch, n, q * k), q


def _plain(view: Array, shape: tuple[int, ...]) -> Array:
    """float64, each item contiguous; batch axes may be broadcast."""
    return _checks.broadcast(_arrays.namespace(view).ascontiguousarray(view, dtype=np.float64), shape)
