"""Arrays of any library in, arrays of the same library out.

Kernels see NumPy views; an array of another library that lives in host memory is viewed through DLPack without a
copy, and results go back the same way.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import array_api_compat
import numpy as np

from genkern.errors import BackendUnavailable, DeviceMismatch

_CPU = 1  # DLDeviceType kDLCPU
_HOST = (_CPU, 3, 11)  # and pinned host memory of CUDA and ROCm
_NAMES = {2: "a CUDA GPU", 7: "a Vulkan device", 8: "a Metal GPU", 10: "a ROCm GPU", 14: "a oneAPI device"}


def _identity(array: np.ndarray[Any, Any]) -> Any:
    return array


@dataclass(frozen=True)
class Library:
    """The array library of a call: its name, and how a NumPy result becomes one of its arrays."""

    name: str
    wrap: Callable[[np.ndarray[Any, Any]], Any]


NUMPY = Library("numpy", _identity)


def library_of(arguments: dict[str, Any]) -> Library:
    """Library shared by all arguments that are arrays; lists and numbers go with any of them."""
    found: tuple[str, Any] | None = None
    devices: dict[str, tuple[int, int]] = {}
    for name, value in arguments.items():
        if value is None or isinstance(value, (list, tuple, int, float, complex, np.generic)):
            continue
        if hasattr(value, "__dlpack_device__"):
            device = value.__dlpack_device__()
            devices[name] = (int(device[0]), int(device[1]))
        if found is None:
            found = (name, value)
        elif _library_name(value) != _library_name(found[1]):
            raise TypeError(
                f"{found[0]} and {name} must be arrays of one library, "
                f"got {_library_name(found[1])} and {_library_name(value)}"
            )
    on = {name: (0, 0) if kind in _HOST else (kind, index) for name, (kind, index) in devices.items()}
    if len(set(on.values())) > 1:
        raise DeviceMismatch(
            "all arrays must live on one device, got "
            + ", ".join(f"{name} on {_device_name(*devices[name])}" for name in on)
        )
    for name, (kind, index) in devices.items():
        if kind not in _HOST:
            raise BackendUnavailable(
                f"{name} lives on {_device_name(kind, index)}, and this version of genkern has kernels for host memory "
                "only; move it to the CPU first"
            )
    if found is None or isinstance(found[1], np.ndarray):
        return NUMPY
    value = found[1]
    if array_api_compat.is_torch_array(value):
        import torch

        return Library("torch", torch.from_dlpack)
    if array_api_compat.is_jax_array(value):
        return Library("jax", _to_jax)
    if array_api_compat.is_array_api_obj(value):
        namespace = array_api_compat.array_namespace(value)
        return Library(namespace.__name__, namespace.from_dlpack)
    return NUMPY


def to_numpy(name: str, value: Any) -> np.ndarray[Any, Any]:
    """NumPy view (or copy, where no view is possible) of one argument."""
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(f"{name} must be a plain array, got a masked array; fill or drop the masked entries first")
    if isinstance(value, np.ndarray):
        return np.asarray(value)
    if array_api_compat.is_torch_array(value):
        if value.requires_grad:
            raise TypeError(f"{name} must not require a gradient (genkern does not differentiate): detach() it")
        if value.layout.__repr__() != "torch.strided":
            raise TypeError(f"{name} must be a dense tensor, got layout {value.layout}")
        try:
            # Not through DLPack: NumPy marks what comes from a tensor's unversioned capsule as read-only.
            return np.asarray(value.resolve_conj().resolve_neg().numpy())
        except TypeError as error:  # bfloat16 and the like have no NumPy dtype
            raise TypeError(f"{name} must have dtype float32, float64 or an integer one, got {value.dtype}") from error
    if hasattr(value, "__dlpack__") and not isinstance(value, np.generic):
        try:
            return np.from_dlpack(value)
        except (BufferError, RuntimeError, TypeError) as error:
            raise TypeError(
                f"{name} of type {type(value).__name__} cannot be viewed through DLPack: {error}"
            ) from error
    try:
        return np.asarray(value)
    except ValueError as error:  # ragged nesting
        raise ValueError(
            f"{name} must be a rectangular array of numbers, got nested sequences of unequal length"
        ) from error


def _to_jax(array: np.ndarray[Any, Any]) -> Any:
    import jax.numpy

    return jax.numpy.asarray(array)  # float64 stays float64 where jax_enable_x64 is set, as everywhere in JAX


def _library_name(value: Any) -> str:
    if array_api_compat.is_torch_array(value):
        return "torch"
    if array_api_compat.is_jax_array(value):
        return "jax"
    if array_api_compat.is_numpy_array(value):
        return "numpy"
    if hasattr(value, "__dlpack__"):
        return type(value).__module__.split(".")[0]
    return "numpy"  # objects that NumPy converts: data frames, memory views, arrays of other protocols


def _device_name(kind: int, index: int) -> str:
    return "the CPU" if kind in _HOST else f"{_NAMES.get(kind, f'device type {kind}')} ({index})"
