"""TEST ONLY: a stand-in for the CuPy names that genkern uses, its kernels run by the emulator on the CPU.

`installed()` puts it into ``sys.modules["cupy"]`` for the length of a test. Nothing in genkern knows of it. A name that
is missing here is an AttributeError: add it if CuPy has it, with CuPy's behaviour.
"""

from __future__ import annotations

import ctypes
import functools
import importlib
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gpu import compile, numerics
from gpu.array import ndarray
from gpu.device import PROPERTIES, CUDARuntimeError, cuda, properties
from gpu.memory import CURRENT, LOG, Memory


class EmulationError(AssertionError):
    """A launch that a GPU would refuse, or whose result would be undefined."""


@dataclass(frozen=True)
class Launch:
    """One launch, for the log; `arguments` only while launches are recorded."""

    source: str
    kernel: str
    grid: tuple[int, int, int]
    block: tuple[int, int, int]
    shared: int
    stream: Any
    arguments: tuple[Any, ...] | None = None


# Every kernel that was launched since Python started; whether threads and blocks run in the reverse order; whether
# the log keeps the arguments' bytes.
LAUNCHED: set[str] = set()
SETTINGS = types.SimpleNamespace(reverse=False, record=False)


class RawModule:
    """Compiles the emulated kernels in the place of NVRTC."""

    def __init__(self, code: str | None = None, *, options: tuple[str, ...] = (), backend: str = "nvrtc") -> None:
        assert code is not None and backend == "nvrtc"
        assert "--std=c++17" in options and "--fmad=false" in options, options
        folders = [Path(option[2:]) for option in options if option.startswith("-I")]
        assert len(folders) == 1, options
        self.source, self.kernels = _compiled(code, folders[0])

    def get_function(self, name: str) -> RawKernel:
        if name not in self.kernels:
            raise CUDARuntimeError(f"CUDA_ERROR_NOT_FOUND: named symbol not found: {name}")
        return RawKernel(self.source, self.kernels[name])


@functools.cache
def _compiled(code: str, folder: Path) -> tuple[str, dict[str, compile.Kernel]]:
    return compile.name_of(code, folder), compile.load(compile.build(code, csrc=folder))


class RawKernel:
    """Launches one emulated kernel."""

    def __init__(self, source: str, kernel: compile.Kernel) -> None:
        self._source, self._kernel, self.name = source, kernel, kernel.name
        self._shared: dict[int, int] = {}  # by device, each of which has a kernel of its own

    @property
    def max_dynamic_shared_size_bytes(self) -> int:
        return int(self._shared.get(CURRENT.device, properties()["sharedMemPerBlock"]))

    @max_dynamic_shared_size_bytes.setter
    def max_dynamic_shared_size_bytes(self, value: int) -> None:
        if value > properties()["sharedMemPerBlockOptin"]:
            raise EmulationError(f"{self.name}: {value} bytes of shared memory are more than the device has")
        self._shared[CURRENT.device] = value

    @property
    def max_threads_per_block(self) -> int:
        return self._kernel.bound or int(properties()["maxThreadsPerBlock"])

    def __call__(self, grid: Any, block: Any, args: Any, *, shared_mem: int = 0) -> None:
        grid, block = ((*map(int, size), 1, 1)[:3] for size in (grid, block))
        threads = block[0] * block[1] * block[2]
        if min(*grid, *block) < 1 or any(n > most for n, most in zip(grid, properties()["maxGridSize"], strict=True)):
            raise EmulationError(f"{self.name}: grid {grid} of blocks {block} cannot be launched")
        if threads > self.max_threads_per_block or block[2] > 64:
            raise EmulationError(
                f"{self.name}: {threads} threads, of which a block may have {self.max_threads_per_block}"
            )
        allowed = self.max_dynamic_shared_size_bytes
        if shared_mem > allowed:
            raise EmulationError(f"{self.name}: {shared_mem} bytes of shared memory, of which {allowed} are allowed")
        parameters = self._kernel.parameters
        if len(args) != len(parameters):
            raise EmulationError(f"{self.name} takes {len(parameters)} arguments, got {len(args)}")
        values = [self._argument(i, *pair) for i, pair in enumerate(zip(parameters, args, strict=True))]
        record = _bytes_of(args) if SETTINGS.record else None
        LOG.launches.append(Launch(self._source, self.name, grid, block, shared_mem, cuda.current, record))
        LAUNCHED.add(self.name)
        error = self._kernel(grid, block, shared_mem, values, SETTINGS.reverse)
        if error is not None:
            raise EmulationError(f"{self.name}: {error}")
        for i, value in enumerate(args):
            if isinstance(value, ndarray) and not value.memory.intact():
                raise EmulationError(f"{self.name} wrote outside of the memory of argument {i}")

    def _argument(self, index: int, parameter: str, value: Any) -> Any:
        """The bytes of one argument, as strict as a C++ compiler would be; CuPy itself is not."""
        where = f"argument {index} of {self.name}"
        if parameter[0] in "PC":
            if isinstance(value, np.uintp) and value == 0:
                return ctypes.c_void_p(0)
            if not isinstance(value, ndarray):  # nor None, of which CuPy 13 makes no null pointer
                raise EmulationError(f"{where} must be an array or np.uintp(0), got {type(value).__name__}")
            if value.memory.device != CURRENT.device:
                raise EmulationError(f"{where} lives on device {value.memory.device}, not on {CURRENT.device}")
            kind, size = parameter[1], int(parameter[2])
            there = "u" if value.dtype.kind == "b" else value.dtype.kind
            if (there, value.dtype.itemsize) != (kind, size):
                raise EmulationError(f"{where} points to {kind}{size}, got an array of {value.dtype}")
            if not (value.flags.c_contiguous or value.flags.f_contiguous or parameter[0] == "C"):
                raise EmulationError(f"{where} is written and must be contiguous, got strides {value.strides}")
            return ctypes.c_void_p(value.address)
        dtype = np.dtype(parameter)
        if type(value) is int and parameter in ("i8", "u8"):
            return (ctypes.c_int64 if parameter == "i8" else ctypes.c_uint64)(value)
        if type(value) is float and parameter == "f8":
            return ctypes.c_double(value)
        if isinstance(value, np.generic) and value.dtype == dtype:
            return np.ctypeslib.as_ctypes_type(dtype)(value.item())
        raise EmulationError(f"{where} must be {dtype} (a NumPy scalar), got {value!r} of type {type(value).__name__}")


def _bytes_of(args: Any) -> tuple[Any, ...]:
    """Arguments as they are before the launch: (memory, offset, bytes) of arrays, scalars themselves."""
    return tuple(
        (a.memory, a.address - a.memory.bytes.ctypes.data, a.memory.bytes.tobytes()) if isinstance(a, ndarray) else a
        for a in args
    )


def _modules() -> dict[str, types.ModuleType]:
    """The modules that genkern imports."""
    names = {**numerics.names(), "cuda": cuda, "ndarray": ndarray, "RawModule": RawModule, "RawKernel": RawKernel}
    found = {"cupy": types.ModuleType("cupy", "stand-in for tests"), "cupyx": types.ModuleType("cupyx")}
    vars(found["cupy"]).update(names, __version__="14.0.0+standin")
    for name in ("cupyx.scipy", "cupyx.scipy.linalg"):
        found[name] = types.ModuleType(name)
    vars(found["cupyx.scipy.linalg"]).update(numerics.cupyx_names())
    vars(found["cupyx.scipy"])["linalg"] = found["cupyx.scipy.linalg"]
    vars(found["cupyx"]).update(scipy=found["cupyx.scipy"], errstate=numerics.errstate)
    return found


def _forget() -> None:
    """Genkern's memory of backends, and its modules that hold CuPy."""
    registry = importlib.import_module("genkern._registry")
    registry._unavailable_on_host.cache_clear()
    registry._implementation.cache_clear()
    package = importlib.import_module("genkern")
    for name in [name for name in sys.modules if name.split(".")[:2] == ["genkern", "_cupy"]]:
        del sys.modules[name]
    vars(package).pop("_cupy", None)


@contextmanager
def installed() -> Iterator[types.ModuleType]:
    """The stand-in in CuPy's place; a real CuPy comes back afterwards."""
    modules = _modules()
    before = {name: module for name, module in sys.modules.items() if name.split(".")[0] in ("cupy", "cupyx")}
    for name in before:
        del sys.modules[name]
    sys.modules.update(modules)
    _forget()
    blas = importlib.import_module("genkern._numba._blas")
    try:
        with blas.blas_threads(1):  # small products, on which BLAS's threads wait for each other
            yield modules["cupy"]
    finally:
        for name in modules:
            sys.modules.pop(name, None)
        sys.modules.update(before)
        _forget()


def to_gpu(*names: str) -> str:
    """Code for an interpreter of its own: its NumPy arrays of these names go to the GPU, or to the stand-in for one."""
    moved = "".join(f"{name} = cupy.asarray({name})\n" for name in names)
    return (
        "import sys\nfrom genkern import _registry\n"
        "if _registry.unavailable('cupy') is not None:\n"
        f"    sys.path.insert(0, {str(Path(__file__).parents[1])!r})\n"
        "    from gpu import standin\n    context = standin.installed()\n    context.__enter__()\n"
        f"import cupy\n{moved}"
    )


__all__ = ["LAUNCHED", "LOG", "PROPERTIES", "SETTINGS", "EmulationError", "Memory", "installed", "to_gpu"]
