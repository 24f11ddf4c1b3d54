"""Arrays of any library in, arrays of the same library out.

Kernels see NumPy views, or CuPy ones where the arrays live on a GPU; an array of another library is viewed through
DLPack without a copy, and results go back the same way. Nothing moves between host and GPU here but lists of numbers.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import array_api_compat
import numpy as np

from genkern import _registry
from genkern.errors import BackendUnavailable, DeviceMismatch

_CPU = 1  # DLDeviceType kDLCPU
_HOST = (_CPU, 3, 11)  # and pinned host memory of CUDA and ROCm
_GPU = (2, 13)  # CUDA's own memory, and managed memory
_NAMES = {
    2: "a CUDA GPU",
    13: "a CUDA GPU",
    7: "a Vulkan device",
    8: "a Metal GPU",
    10: "a ROCm GPU",
    14: "a oneAPI device",
}


def _identity(array: np.ndarray[Any, Any]) -> Any:
    return array


@dataclass(frozen=True)
class Library:
    """The array library of a call: its name, how a result becomes one of its arrays, and on which GPU it lives."""

    name: str
    wrap: Callable[[Any], Any]
    device: int | None = None  # number of the GPU; None is host memory

    @property
    def namespace(self) -> Any:
        """NumPy or CuPy: whose arrays the kernels see."""
        return np if self.device is None else _cupy()

    def view(self, name: str, value: Any) -> Any:
        """View of an argument as an array of `namespace`."""
        return to_numpy(name, value) if self.device is None else to_cupy(name, value)

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Any:
        """Memory for a result."""
        return self.namespace.empty(shape, dtype)

    def result(self, memory: Any, out: Any) -> Any:
        """What the caller gets: the filled memory, or his own `out`, of which it is a view."""
        if out is None:
            return self.wrap(memory)
        if self.device is not None and self.name != "cupy":
            self.wrap(memory)  # lets the other library's stream wait for ours, as it does for any array it takes over
        return out


NUMPY = Library("numpy", _identity)


def namespace(array: Any) -> Any:
    """NumPy or CuPy, whichever a view is of."""
    return np if isinstance(array, (np.ndarray, np.generic)) else _cupy()


def on_host(array: Any) -> np.ndarray[Any, Any]:
    """An array as NumPy's; from a GPU it is copied, for what is no array of numbers to the caller."""
    return array if isinstance(array, np.ndarray) else np.asarray(array.get())


def gpu_of(array: Any) -> int | None:
    """Number of the CUDA GPU on which an array of any library lives, None for any other place."""
    if not hasattr(array, "__dlpack_device__"):
        return None
    kind, index = array.__dlpack_device__()
    return int(index) if int(kind) in _GPU else None


def library_of(arguments: dict[str, Any], *, gpu: bool = False) -> Library:
    """Library shared by all arguments that are arrays; lists and numbers go with any of them.

    Without `gpu` arrays must live in host memory.
    """
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
    gpu_index = None
    for name, (kind, index) in devices.items():
        if kind not in _HOST:
            _require_gpu(name, kind, index, gpu)
            gpu_index = index
    if found is None or isinstance(found[1], np.ndarray):
        return NUMPY
    value = found[1]
    if array_api_compat.is_torch_array(value):
        import torch

        return Library("torch", torch.from_dlpack, gpu_index)
    if array_api_compat.is_jax_array(value):
        return Library("jax", _to_jax if gpu_index is None else _to_jax_on_gpu, gpu_index)
    if gpu_index is not None and isinstance(value, _cupy().ndarray):
        return Library("cupy", _identity, gpu_index)
    if array_api_compat.is_array_api_obj(value):
        namespace = array_api_compat.array_namespace(value)
        return Library(namespace.__name__, namespace.from_dlpack, gpu_index)
    if gpu_index is not None:
        raise TypeError(f"{found[0]} must be an array of CuPy, torch or JAX on a GPU, got {type(value).__name__}")
    return NUMPY


def _require_gpu(name: str, kind: int, index: int, gpu: bool) -> None:
    """Refuse an array on a device that no kernel can reach, with the reason."""
    where = f"{name} lives on {_device_name(kind, index)}"
    if kind not in _GPU:
        raise BackendUnavailable(
            f"{where}, and genkern has kernels for the CPU and CUDA only; move it to the CPU first"
        )
    if not gpu:
        raise BackendUnavailable(f"{where}, and is read on the CPU here; move it to the CPU first")
    reason = _registry.unavailable("cupy", index)
    if reason is not None:
        raise BackendUnavailable(f"{where}, and backend='cupy' cannot run: {reason}; move it to the CPU first")
    current = _cupy().cuda.runtime.getDevice()
    if index != current:
        raise DeviceMismatch(
            f"{where}, and the current device is {current}: call genkern within `with cupy.cuda.Device({index}):`"
        )


def to_numpy(name: str, value: Any) -> np.ndarray[Any, Any]:
    """NumPy view (or copy, where no view is possible) of one argument."""
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(f"{name} must be a plain array, got a masked array; fill or drop the masked entries first")
    if isinstance(value, np.ndarray):
        return np.asarray(value)
    if array_api_compat.is_torch_array(value):
        _plain_tensor(name, value)
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


def to_cupy(name: str, value: Any) -> Any:
    """CuPy view of one argument on a GPU; lists and numbers, which live nowhere, are copied to it."""
    cp = _cupy()
    if isinstance(value, cp.ndarray):
        return value
    if array_api_compat.is_torch_array(value):
        _plain_tensor(name, value)
        value = value.resolve_conj().resolve_neg()
    if not hasattr(value, "__dlpack__") or isinstance(value, np.generic):
        host = to_numpy(name, value)
        return cp.asarray(host) if host.dtype.kind in "biufc" else host
    try:
        return cp.from_dlpack(value)
    except (BufferError, RuntimeError, TypeError, ValueError) as error:
        raise TypeError(f"{name} of type {type(value).__name__} cannot be viewed through DLPack: {error}") from error


def to_host(name: str, value: Any) -> np.ndarray[Any, Any]:
    """NumPy array of a result, for files and figures: copied where it lives on a GPU."""
    if hasattr(value, "__dlpack_device__") and value.__dlpack_device__()[0] not in _HOST:
        return np.asarray(to_cupy(name, value).get())
    return to_numpy(name, value)


def _plain_tensor(name: str, value: Any) -> None:
    if value.requires_grad:
        raise TypeError(f"{name} must not require a gradient (genkern does not differentiate): detach() it")
    if value.layout.__repr__() != "torch.strided":
        raise TypeError(f"{name} must be a dense tensor, got layout {value.layout}")


def _cupy() -> Any:
    return importlib.import_module("cupy")


def _to_jax(array: np.ndarray[Any, Any]) -> Any:
    import jax.numpy

    return jax.numpy.asarray(array)  # float64 stays float64 where jax_enable_x64 is set, as everywhere in JAX


def _to_jax_on_gpu(array: Any) -> Any:
    import jax.numpy

    return jax.numpy.from_dlpack(array)


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
