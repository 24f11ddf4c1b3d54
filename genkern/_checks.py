"""Every argument check. Only these functions raise for a user's input; each message names the argument."""

from __future__ import annotations

import math
import numbers
import os
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any

import numpy as np

from genkern import _arrays
from genkern.errors import DeviceMismatch

Array = np.ndarray[Any, Any]
MAX_THREADS = 1024
# What n_threads=None may use at most: a sweep shares the cores among its cells.
thread_limit: ContextVar[int] = ContextVar("thread_limit", default=MAX_THREADS)


def real_arrays(**arguments: Any) -> tuple[list[Array], _arrays.Library]:
    """NumPy views of the arguments in their common dtype, float32 or float64, and the caller's array library.

    Integers and booleans become float64. A copy is made only where the dtype changes or the memory is not addressable
    in whole elements (byte-swapped, misaligned, a field of a record).
    """
    return _real_arrays(arguments, gpu=False)


def device_arrays(**arguments: Any) -> tuple[list[Any], _arrays.Library]:
    """The same for arguments that may also live on a GPU, all of them: CuPy views then."""
    return _real_arrays(arguments, gpu=True)


def _real_arrays(arguments: dict[str, Any], gpu: bool) -> tuple[list[Any], _arrays.Library]:
    if all(type(value) is np.ndarray and _ready(value) for value in arguments.values()):
        # Nothing to convert: most calls, and a loop over small problems feels every microsecond of checks.
        dtypes = {value.dtype for value in arguments.values()}
        if len(dtypes) == 1:
            return list(arguments.values()), _arrays.NUMPY
    library = _arrays.library_of(arguments, gpu=gpu)
    views = {name: library.view(name, value) for name, value in arguments.items()}
    for name, view in views.items():
        if view.dtype.kind == "c":
            raise TypeError(f"{name} must be real, got complex dtype {view.dtype}")
        if not (view.dtype.kind in "biu" or (view.dtype.kind == "f" and view.dtype.itemsize in (4, 8))):
            hint = " (of Python objects: convert it first)" if view.dtype.kind == "O" else ""
            raise TypeError(f"{name} must have dtype float32, float64 or an integer one, got {view.dtype}{hint}")
    single = all(view.dtype.newbyteorder("=") == np.float32 for view in views.values())
    dtype = np.dtype(np.float32 if single else np.float64)
    return [_addressable(view.astype(dtype, copy=False)) for view in views.values()], library


_SINGLE, _DOUBLE = np.dtype(np.float32), np.dtype(np.float64)


def _ready(array: Array) -> bool:
    flags = array.flags
    return (array.dtype == _DOUBLE or array.dtype == _SINGLE) and bool(flags.c_contiguous and flags.aligned)


def _addressable(view: Any) -> Any:
    if not isinstance(view, np.ndarray):  # CuPy has no others
        return view
    whole = all(
        stride % view.itemsize == 0 for stride, extent in zip(view.strides, view.shape, strict=True) if extent > 1
    )
    return view if whole and view.flags.aligned else view.copy()


def minimum_axes(name: str, view: Array, axes: int, shape: str) -> None:
    """Require at least `axes` axes."""
    if view.ndim < axes:
        raise ValueError(f"{name} must have shape {shape}, got {view.shape}")


def broadcast_batch(shapes: Mapping[str, tuple[int, ...]]) -> tuple[int, ...]:
    """Shape that the batch axes of all arguments broadcast to."""
    distinct = {shape for shape in shapes.values() if shape}
    if len(distinct) <= 1:
        return distinct.pop() if distinct else ()
    try:
        return np.broadcast_shapes(*shapes.values())
    except ValueError:
        listing = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise ValueError(f"batch axes must broadcast, got {listing}") from None


def broadcast(view: Array, shape: tuple[int, ...]) -> Array:
    """Read-only view of the given shape."""
    if view.shape == shape:
        return view
    broadcast_view: Array = _arrays.namespace(view).broadcast_to(view, shape)
    return broadcast_view


def right_hand_sides(X: Array, y: Array) -> tuple[Array, bool]:
    """Right-hand sides as (..., n, k), and whether the caller gave one right-hand side without the axis k."""
    vector = y.ndim == X.ndim - 1
    if not vector and y.ndim != X.ndim:
        raise ValueError(
            f"y must have one axis less than X, (..., n), or as many, (..., n, k), got shape {y.shape} "
            f"with X of shape {X.shape}"
        )
    if vector:
        y = y[..., None]
    if y.shape[-2] != X.shape[-2]:
        shape = y.shape[:-1] if vector else y.shape
        raise ValueError(f"y must have n = {X.shape[-2]} rows as X has, got shape {shape} with X of shape {X.shape}")
    return y, vector


def cutoff(rcond: Any, dtype: np.dtype[Any], n: int, d: int) -> float:
    """Relative cutoff of singular values; None is eps * max(n, d)."""
    if rcond is None:
        return (2.0**-52 if dtype == _DOUBLE else 2.0**-23) * max(n, d)
    return real_number("rcond", rcond, low=0.0)


def at_most_one_axis(name: str, view: Array) -> None:
    """Require a number or a one-dimensional sequence."""
    if view.ndim > 1:
        raise ValueError(f"{name} must be a number or one-dimensional, got shape {view.shape}")


def positive(name: str, value: Any) -> Array:
    """Finite array of numbers > 0 in float64."""
    return nonnegative(name, value, strict=True)


def step_counts(name: str, value: Any, *, infinite: bool) -> Array:
    """Whole numbers in [0, 2^53) in float64, `inf` among them if `infinite`; a number or one-dimensional."""
    (view,), _ = real_arrays(**{name: value})
    view = view.astype(np.float64, copy=False)
    at_most_one_axis(name, view)
    good = (view >= 0) & (view < 2.0**53) & (view == np.floor(view))
    if infinite:
        good |= view == np.inf
    if not np.all(good):
        allowed = "whole numbers in [0, 2^53) or inf" if infinite else "finite whole numbers in [0, 2^53)"
        raise ValueError(f"{name} must be {allowed}, got {view[~good].flat[0]}")
    return view


def nonnegative(name: str, value: Any, *, strict: bool = False, infinite: bool = False) -> Array:
    """Array of numbers >= 0, or > 0 if `strict`, in float64; finite ones, or `inf` too if `infinite`."""
    if type(value) is float and (0.0 < value < math.inf or (value == 0.0 and not strict)):
        return np.array(value)
    (view,), _ = real_arrays(**{name: value})
    view = view.astype(np.float64, copy=False)
    good = ((view > 0) if strict else (view >= 0)) & (infinite | np.isfinite(view))
    if not np.all(good):
        finite = "" if infinite else "finite and "
        raise ValueError(f"{name} must be {finite}{'>' if strict else '>='} 0, got {view[~good].flat[0]}")
    return view


def real_numbers(name: str, value: Any) -> Array:
    """Array of real numbers in float64, infinite ones too but no NaN."""
    (view,), _ = real_arrays(**{name: value})
    view = view.astype(np.float64, copy=False)
    if np.any(np.isnan(view)):
        raise ValueError(f"{name} must be numbers, got nan")
    return view


def whole_numbers(name: str, value: Any) -> Array:
    """Whole numbers in [0, 2^53) in float64, of any shape."""
    (view,), _ = real_arrays(**{name: value})
    view = view.astype(np.float64, copy=False)
    good = (view >= 0) & (view < 2.0**53) & (view == np.floor(view))
    if not np.all(good):
        raise ValueError(f"{name} must be whole numbers in [0, 2^53), got {view[~good].flat[0]}")
    return view


def real_number(
    name: str, value: Any, *, low: float = -math.inf, high: float = math.inf, strict: bool = False
) -> float:
    """One finite real number in [low, high], or in (low, high) if `strict`."""
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value[()]
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (numbers.Real, np.number)):
        raise TypeError(f"{name} must be a real number, got {type(value).__name__}")
    number = float(value.real)
    inside = low < number < high if strict else low <= number <= high
    if not (math.isfinite(number) and inside):
        bounds = [f"> {low:g}" if strict else f">= {low:g}"] if low > -math.inf else []
        bounds += [f"< {high:g}" if strict else f"<= {high:g}"] if high < math.inf else []
        raise ValueError(f"{name} must be finite{''.join(' and ' + bound for bound in bounds)}, got {value}")
    return number


def integer(name: str, value: Any, *, low: int, high: int | None = None) -> int:
    """One integer in [low, high]."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (numbers.Integral, np.integer)):
        raise TypeError(f"{name} must be an integer, got {type(value).__name__}")
    number = int(value)
    if number < low or (high is not None and number > high):
        bounds = f">= {low}" if high is None else f"in [{low}, {high}]"
        raise ValueError(f"{name} must be {bounds}, got {number}")
    return number


def momentum(name: str, value: Any, nesterov: bool) -> float:
    """Heavy-ball momentum in [0, 1), and 0 beside Nesterov's own schedule."""
    number = real_number(name, value, low=0.0)
    if number >= 1.0:
        raise ValueError(f"{name} must be >= 0 and < 1, got {value}")
    if nesterov and number != 0.0:
        raise ValueError(f"{name} must be 0 with nesterov=True, which has its own schedule, got {value}")
    return number


def divergent_step_size(step_size: float, limit: float, item: tuple[int, ...], endless: bool) -> None:
    """Refuse a step size with which gradient descent does not converge."""
    where = f" in batch item {item}" if item else ""
    hint = "" if endless else " (or say allow_divergence=True)"
    raise ValueError(f"step_size must be below {limit:.17g} to converge{where}, got {step_size:.17g}{hint}")


def flag(name: str, value: Any) -> bool:
    """True or False."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be True or False, got {type(value).__name__}")
    return bool(value)


def choice(name: str, value: Any, options: tuple[str, ...]) -> str:
    """One of a set of names."""
    if not isinstance(value, str) or value not in options:
        shown = repr(value) if isinstance(value, (str, int, float, type(None))) else type(value).__name__
        raise ValueError(f"{name} must be one of {', '.join(options)}, got {shown}")
    return value


def real_dtype(name: str, value: Any, default: np.dtype[Any]) -> np.dtype[Any]:
    """float32 or float64, by any name that NumPy, torch or JAX has for them; None is the default."""
    if value is None:
        return default
    for dtype in (np.dtype(np.float32), np.dtype(np.float64)):
        if str(value) == f"torch.{dtype}":
            return dtype
        try:
            if np.dtype(value) == dtype:
                return dtype
        except (TypeError, ValueError):
            pass
    raise ValueError(f"{name} must be None, float32 or float64, got {value!r}")


def output(
    out: Any,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    library: _arrays.Library,
    inputs: Mapping[str, Array],
) -> Array:
    """Memory for the result: fresh, or the caller's `out` (C-contiguous, writeable, apart from every input)."""
    if out is None:
        memory: Array = library.empty(shape, dtype)
        return memory
    if isinstance(out, (list, tuple)) or not (isinstance(out, np.ndarray) or hasattr(out, "__dlpack__")):
        raise TypeError(f"out must be an array, got {type(out).__name__}")
    there = _arrays.gpu_of(out)
    if None not in (there, library.device) and there != library.device:
        raise DeviceMismatch(f"out must live on the device of the input, got GPU {there} and GPU {library.device}")
    out_library = _arrays.library_of({"out": out}, gpu=True)
    if out_library.name != library.name:
        raise TypeError(f"out must be an array of {library.name} as the input is, got {out_library.name}")
    if out_library.device != library.device:
        raise DeviceMismatch("out must live on the device of the input, got one in host memory and one on a GPU")
    if library.name == "jax":
        raise TypeError("out must be writeable, got a JAX array (they are immutable)")
    view: Array = library.view("out", out)
    if view.shape != shape:
        raise ValueError(f"out must have shape {shape}, got {view.shape}")
    if view.dtype != dtype:
        raise TypeError(f"out must have dtype {dtype}, got {view.dtype}")
    if not getattr(view.flags, "writeable", True):  # CuPy's always are
        raise ValueError("out must be writeable, got a read-only array")
    if not (view.flags.c_contiguous and getattr(view.flags, "aligned", True)):
        raise ValueError(f"out must be C-contiguous and aligned, got strides {view.strides}")
    for name, array in inputs.items():
        if type(array) is type(view) and library.namespace.may_share_memory(view, array):
            raise ValueError(f"out must not overlap {name}, got arrays that share memory")
    return view


def threads(n_threads: Any) -> int:
    """Thread count; None is every core that this process may use."""
    if n_threads is None:
        affinity = getattr(os, "sched_getaffinity", None)
        return min(len(affinity(0)) if affinity is not None else (os.cpu_count() or 1), thread_limit.get())
    return integer("n_threads", n_threads, low=1, high=MAX_THREADS)
