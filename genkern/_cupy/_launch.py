"""What every launch needs: the compiled kernels and the limits of the device."""

from __future__ import annotations

import hashlib
import importlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

# No contraction, as on the CPU: a fused multiply-add stands where a kernel asks for it.
OPTIONS = ("--std=c++17", "--fmad=false")
ADDED = ("-ftz=true",)  # by CuPy, to all that it compiles: float32 numbers below 1.2e-38 count as 0 in a kernel
NULL = np.uintp(0)  # in the place of an array among a kernel's arguments: not every CuPy makes it of None

_modules: dict[tuple[int, str], Any] = {}
_kernels: dict[tuple[int, str, str], Any] = {}
_limits: dict[int, Limits] = {}


@dataclass(frozen=True)
class Limits:
    """What a device allows. Bytes of shared memory are those of one block."""

    shared: int  # without asking
    shared_optin: int  # with `max_dynamic_shared_size_bytes` of the kernel set
    shared_multiprocessor: int  # of all blocks of a multiprocessor together
    multiprocessors: int
    threads: int  # of a block
    threads_multiprocessor: int
    warp: int
    grid_x: int
    grid_y: int
    grid_z: int
    memory: int  # bytes of the device


def cupy() -> Any:
    """CuPy, imported when first used."""
    return importlib.import_module("cupy")


def sources() -> Path:
    """The folder with cuda/*.cu and the headers they include: shipped in the package, or that of a checkout."""
    packaged = Path(__file__).parents[1] / "_csrc"
    return packaged if packaged.is_dir() else Path(__file__).parents[2] / "csrc"


@cache
def source(family: str) -> str:
    """Text of csrc/cuda/<family>.cu and a digest of all headers, since CuPy keeps compiled kernels by their text."""
    folder = sources()
    digest = hashlib.sha256()
    for header in sorted([*folder.glob("device/*.hpp"), *folder.glob("cuda/*.hpp")]):
        digest.update(header.read_bytes())
    return (folder / "cuda" / f"{family}.cu").read_text() + f"\n// headers {digest.hexdigest()}\n"


def kernel(family: str, name: str) -> Any:
    """Kernel `name` of csrc/cuda/<family>.cu for the current device, a `cupy.RawKernel`.

    It is called as ``k(grid, block, args, shared_mem=bytes)`` and runs on the current stream. Above
    ``limits().shared`` bytes set ``k.max_dynamic_shared_size_bytes`` first, see `allow_shared`.
    """
    cp = cupy()
    device = cp.cuda.runtime.getDevice()
    found = _kernels.get((device, family, name))
    if found is None:
        module = _modules.get((device, family))
        if module is None:
            module = cp.RawModule(code=source(family), options=(*OPTIONS, f"-I{sources()}"))
            _modules[device, family] = module
        found = _kernels[device, family, name] = module.get_function(name)
    return found


def allow_shared(function: Any, bytes_needed: int) -> None:
    """Raise the kernel's limit of dynamic shared memory where the default one is too small."""
    device = limits()
    if bytes_needed > device.shared_optin:
        raise ValueError(f"{bytes_needed} bytes of shared memory are more than the {device.shared_optin} of the device")
    if bytes_needed > device.shared and function.max_dynamic_shared_size_bytes < bytes_needed:
        function.max_dynamic_shared_size_bytes = bytes_needed


def limits() -> Limits:
    """Limits of the current device."""
    runtime = cupy().cuda.runtime
    device = runtime.getDevice()
    found = _limits.get(device)
    if found is None:
        there = runtime.getDeviceProperties(device)
        found = _limits[device] = Limits(
            shared=int(there["sharedMemPerBlock"]),
            shared_optin=int(there["sharedMemPerBlockOptin"]),
            shared_multiprocessor=int(there["sharedMemPerMultiprocessor"]),
            multiprocessors=int(there["multiProcessorCount"]),
            threads=int(there["maxThreadsPerBlock"]),
            threads_multiprocessor=int(there["maxThreadsPerMultiProcessor"]),
            warp=int(there["warpSize"]),
            grid_x=int(there["maxGridSize"][0]),
            grid_y=int(there["maxGridSize"][1]),
            grid_z=int(there["maxGridSize"][2]),
            memory=int(there["totalGlobalMem"]),
        )
    return found


def forget() -> None:
    """Drop every compiled kernel and what is known of the devices."""
    _modules.clear()
    _kernels.clear()
    _limits.clear()
