"""TEST ONLY: carries NumPy arrays to the GPU and results back, so that tests of the other backends run on "cupy" too.

`wrap_public_functions` replaces genkern's public functions once, before any test imports them. A call with
``backend="cupy"`` then gets CuPy arrays in the place of its NumPy arrays, of the same strides and sharing memory as
those do, and what comes back is NumPy's again. Every other call goes straight through.
"""

from __future__ import annotations

import ctypes
import dataclasses
import functools
import inspect
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import genkern
from genkern.errors import BackendUnavailable
from gpu.array import ndarray
from gpu.memory import Memory

ARRAYS = ("X", "y", "F", "F_test", "X_test", "y_test", "noise", "init", "out")


def wrap_public_functions() -> None:
    """Put the carrying wrappers into the package and the modules that hold the functions."""
    for name in genkern.__all__:
        function = getattr(genkern, name)
        if not inspect.isfunction(function) or "backend" not in inspect.signature(function).parameters:
            continue
        if not hasattr(function, "carries"):  # conftest may be imported twice, by pytest and by a test
            wrapper = _carrying(function)
            wrapper.carries = True  # type: ignore[attr-defined]
            setattr(genkern, name, wrapper)


def _carrying(function: Callable[..., Any]) -> Callable[..., Any]:
    signature = inspect.signature(function)

    @functools.wraps(function)
    def call(*args: Any, **options: Any) -> Any:
        if options.get("backend") != "cupy" or "cupy" not in sys.modules:
            return function(*args, **options)
        try:
            bound = signature.bind(*args, **options)
        except TypeError:
            return function(*args, **options)
        if any(_only_on_host(bound.arguments.get(name)) for name in ARRAYS):
            return function(*args, **options)  # every array on the host, so that its own checks speak
        journey = Journey()
        for name in ARRAYS:
            if bound.arguments.get(name) is not None:
                bound.arguments[name] = journey.there(bound.arguments[name], lists=name != "out")
        try:
            result = function(*bound.args, **bound.kwargs)
        except BackendUnavailable as error:
            if "has no cupy version" in str(error):
                pytest.skip(str(error))
            raise
        finally:
            journey.write_back(bound.arguments.get("out"))
        return journey.back(result)

    return call


class Journey:
    """The arrays of one call, there and back."""

    def __init__(self) -> None:
        self.cupy: Any = sys.modules["cupy"]
        self.emulated = self.cupy.ndarray is ndarray
        self.memories: dict[int, tuple[Any, Any, int]] = {}  # of a NumPy base: itself, what it became, its first byte
        self.carried: dict[int, tuple[Any, Any]] = {}  # of an array on the GPU: itself, the one that it came from

    def there(self, value: Any, lists: bool = True) -> Any:
        """The array on the GPU; what NumPy does not hold as numbers is left to the function's own checks."""
        if _foreign(value):
            pytest.skip(f"{type(value).__module__} has no GPU array here")
        if lists and isinstance(value, (list, tuple)):
            try:
                value = np.asarray(value)
            except (TypeError, ValueError):
                return value
        if not isinstance(value, np.ndarray) or isinstance(value, np.ma.MaskedArray) or value.dtype.kind not in "biufc":
            return value
        if not value.dtype.isnative or not value.flags.aligned:
            value = value.astype(value.dtype.newbyteorder("="))  # CuPy has no such arrays
        there = self._emulated(value) if self.emulated else self.cupy.asarray(value)
        self.carried[id(there)] = (there, value)
        return there

    def _emulated(self, value: np.ndarray[Any, Any]) -> ndarray:
        """The same strides in a copy of the memory that the array is a view of."""
        base = value
        while isinstance(base.base, np.ndarray):
            base = base.base
        low, high = np.lib.array_utils.byte_bounds(base)
        if id(base) not in self.memories:
            memory = Memory(high - low)
            memory.bytes[:] = np.frombuffer(ctypes.string_at(low, high - low), np.uint8)
            self.memories[id(base)] = (base, memory, low)
        memory = self.memories[id(base)][1]
        offset = value.__array_interface__["data"][0] - low if value.size else 0
        host = np.ndarray(value.shape, value.dtype, memory.raw.data, memory.first + offset, value.strides)
        there = ndarray(host, memory)
        there.writeable = value.flags.writeable
        return there

    def write_back(self, out: Any) -> None:
        """What the function has written into the caller's `out`; everything else must be as it was."""
        if id(out) in self.carried:
            there, value = self.carried[id(out)]
            if value.flags.writeable:
                value[...] = there.host if self.emulated else there.get()
        for base, memory, low in self.memories.values():
            assert memory.intact() and memory.bytes.tobytes() == ctypes.string_at(low, memory.nbytes), (
                f"an input was written, an array of shape {base.shape}"
            )

    def back(self, result: Any) -> Any:
        """NumPy's arrays again; the very array that was given as `out` if that comes back."""
        if id(result) in self.carried:
            return self.carried[id(result)][1]
        if isinstance(result, self.cupy.ndarray):
            return result.host.copy() if self.emulated else result.get()
        if dataclasses.is_dataclass(result):
            fields = {field.name: self.back(getattr(result, field.name)) for field in dataclasses.fields(result)}
            return dataclasses.replace(result, **fields)
        return result


def _only_on_host(value: Any) -> bool:
    """Is it a NumPy array of a dtype that CuPy does not have?"""
    return isinstance(value, np.ndarray) and (
        value.dtype.kind not in "biufc" or value.dtype.itemsize > 16 // (1 + (value.dtype.kind != "c"))
    )


def _foreign(value: Any) -> bool:
    if hasattr(value, "__dlpack__") and not isinstance(value, (np.ndarray, np.generic, ndarray)):
        return True  # it shows host memory
    return type(value).__module__.split(".")[0] in ("torch", "jax", "jaxlib")
