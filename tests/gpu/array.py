"""TEST ONLY: arrays that behave as CuPy's do to a program, NumPy underneath.

They report a CUDA device, refuse to become NumPy arrays by themselves and to be mixed with them, and tell a log of
every copy and synchronisation that a GPU would see. Their memory is NaN until it is written, between guard zones.
"""

from __future__ import annotations

import operator
import types
from dataclasses import dataclass
from typing import Any

import numpy as np

from gpu.blas import Pointer
from gpu.memory import CURRENT, LOG, Memory


@dataclass(frozen=True)
class Flags:
    """Those that CuPy's arrays have, and whether a test's array that this one is a copy of is writeable."""

    c_contiguous: bool
    f_contiguous: bool
    owndata: bool
    writeable: bool = True


def allocate(shape: Any, dtype: Any, order: str = "C") -> ndarray:
    """Fresh memory, NaN in every byte."""
    shape = (int(shape),) if np.ndim(shape) == 0 and not isinstance(shape, tuple) else tuple(int(n) for n in shape)
    dtype = np.dtype(dtype)
    count = int(np.prod(shape, dtype=np.int64))
    memory = Memory(count * dtype.itemsize)
    return ndarray(memory.bytes.view(dtype).reshape(shape, order=order), memory)


def own(host: Any) -> ndarray:
    """A copy of a NumPy result in memory of its own."""
    host = np.asarray(host)
    fortran = host.flags.f_contiguous and not host.flags.c_contiguous
    fresh = allocate(host.shape, host.dtype, "F" if fortran else "C")
    fresh.host[...] = host
    return fresh


def unwrap(value: Any) -> Any:
    """What NumPy computes with: arrays inside, numbers as they are; arrays of the host and of other devices refused."""
    if isinstance(value, ndarray):
        if value.memory.device != CURRENT.device:
            raise ValueError(
                f"Array device must be same as the current device: array device = {value.memory.device} while "
                f"current = {CURRENT.device}"
            )
        return value.host
    if isinstance(value, (tuple, list)):
        return type(value)(unwrap(item) for item in value)
    if isinstance(value, np.ndarray):
        raise TypeError(f"Unsupported type {type(value)}: CuPy does not copy NumPy arrays to the GPU by itself")
    return value


def wrap(result: Any, sources: tuple[Any, ...] = ()) -> Any:
    """Results as arrays of this module; a view of an input stays one."""
    if isinstance(result, tuple):
        values = [wrap(item, sources) for item in result]
        return type(result)(*values) if hasattr(result, "_fields") else tuple(values)
    if isinstance(result, list):
        return [wrap(item, sources) for item in result]
    if isinstance(result, np.ndarray):
        for item in sources:
            if isinstance(item, ndarray) and np.may_share_memory(result, item.host):
                return ndarray(result, item.memory)
        return own(result)
    return own(result) if isinstance(result, np.generic) else result


class ndarray:
    """An array on the GPU, as far as genkern uses one."""

    __array_ufunc__ = None
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, host: np.ndarray[Any, Any], memory: Memory) -> None:
        self.host, self.memory = host, memory
        self.writeable = True

    # What it is.
    shape = property(lambda self: self.host.shape)
    dtype = property(lambda self: self.host.dtype)
    ndim = property(lambda self: self.host.ndim)
    size = property(lambda self: self.host.size)
    itemsize = property(lambda self: self.host.itemsize)
    nbytes = property(lambda self: self.host.nbytes)
    strides = property(lambda self: self.host.strides)
    T = property(lambda self: ndarray(self.host.T, self.memory))

    @property
    def flags(self) -> Flags:
        flags = self.host.flags
        return Flags(flags.c_contiguous, flags.f_contiguous, flags.owndata, self.writeable)

    @property
    def data(self) -> Any:
        return types.SimpleNamespace(ptr=Pointer.of(self.address, self.memory))

    @property
    def address(self) -> int:
        return int(self.host.ctypes.data)

    def __dlpack_device__(self) -> tuple[int, int]:
        return (2, self.memory.device)

    def __dlpack__(self, **options: Any) -> Any:
        raise BufferError("the stand-in has no memory on a GPU to show")

    def __array__(self, *args: Any, **options: Any) -> Any:
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Please use `.get()`")

    # What leaves the GPU.
    def get(self) -> np.ndarray[Any, Any]:
        LOG.downloads.append(f"get {self.shape}")
        return self.host.copy()

    def item(self, *index: int) -> Any:
        LOG.downloads.append("item")
        return self.host.item(*index)

    def tolist(self) -> Any:
        LOG.downloads.append(f"tolist {self.shape}")
        return self.host.tolist()

    def __bool__(self) -> bool:
        LOG.downloads.append("bool")
        return bool(self.host)

    def __int__(self) -> int:
        LOG.downloads.append("int")
        return int(self.host)

    def __index__(self) -> int:
        LOG.downloads.append("index")
        return operator.index(self.host)

    def __float__(self) -> float:
        LOG.downloads.append("float")
        return float(self.host)

    # Elements.
    def __len__(self) -> int:
        return len(self.host)

    def __iter__(self) -> Any:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, index: Any) -> ndarray:
        if any(isinstance(part, ndarray) and part.dtype == bool for part in _parts(index)):
            LOG.downloads.append("mask")  # the size of the result
        found = self.host[unwrap(index)]
        if isinstance(found, np.ndarray) and found.base is not None and np.may_share_memory(found, self.host):
            return ndarray(found, self.memory)
        if not isinstance(found, np.ndarray):  # CuPy gives a view without axes
            view = self.host[(*(index if isinstance(index, tuple) else (index,)), ...)]
            return ndarray(view, self.memory)
        return own(found)

    def __setitem__(self, index: Any, value: Any) -> None:
        self.host[unwrap(index)] = unwrap(value)

    # Shapes.
    def reshape(self, *shape: Any, order: str = "C") -> ndarray:
        return wrap(self.host.reshape(*shape, order=order), (self,))

    def transpose(self, *axes: Any) -> ndarray:
        return ndarray(self.host.transpose(*axes), self.memory)

    def swapaxes(self, a: int, b: int) -> ndarray:
        return ndarray(self.host.swapaxes(a, b), self.memory)

    def squeeze(self, axis: Any = None) -> ndarray:
        return ndarray(self.host.squeeze(axis), self.memory)

    def ravel(self, order: str = "C") -> ndarray:
        return wrap(self.host.ravel(order), (self,))

    def view(self, dtype: Any) -> ndarray:
        return ndarray(self.host.view(dtype), self.memory)

    def astype(self, dtype: Any, order: str = "K", copy: bool = True) -> ndarray:
        if not copy and self.dtype == dtype and (order == "K" or self.host.flags[f"{order}_CONTIGUOUS"]):
            return self
        return own(self.host.astype(dtype, order=order))

    def copy(self, order: str = "C") -> ndarray:
        return own(self.host.copy(order))

    def fill(self, value: Any) -> None:
        self.host.fill(unwrap(value))


def _parts(index: Any) -> tuple[Any, ...]:
    return index if isinstance(index, tuple) else (index,)


ndarray.__module__ = "cupy"
