"""Whether the kernels can run on a device, and why not."""

from __future__ import annotations

import os
from typing import Any

from genkern._cupy._launch import cupy, sources

OLDEST = 14  # CuPy's version
OLDEST_CUDA = 12000  # that it is built for
CAPABILITY = 70  # independent threads within a warp
CAPABILITY_CUDA13 = 75  # CUDA 13 compiles for no older ones
_EXTRAS = "pip install 'genkern[cuda12]' or 'genkern[cuda13]', by the CUDA version that nvidia-smi shows"

_usable: set[int] = set()


def unavailable(device: int | None = None) -> str | None:
    """Why no kernel can run on a device, the current one by default, or None.

    That a device can be used is remembered, by its number. A reason is not: a driver may be busy, or memory used up.
    """
    if device is not None and device in _usable:
        return None
    try:
        cp = cupy()
    except ModuleNotFoundError as error:
        if error.name == "cupy":
            return f"CuPy is not installed ({_EXTRAS})"
        return f"CuPy does not load: {_one_line(error)}"
    except Exception as error:  # a library of CUDA that is missing shows in many ways
        return f"CuPy does not load: {_one_line(error)} (is it for the CUDA of this machine? {_EXTRAS})"
    if not hasattr(cp, "__version__"):
        return f"CuPy is not installed, and {', '.join(cp.__path__)} is what was left of one ({_EXTRAS})"
    try:
        reason = _wrong_cupy(cp)  # first: without a driver that fits, CUDA does not tell the current device
        if reason is not None:
            return reason
        if device is None:
            device = int(cp.cuda.runtime.getDevice())
            if device in _usable:
                return None
        reason = _reason(cp, device)
    except cp.cuda.runtime.CUDARuntimeError as error:
        return f"no GPU can be used: {_one_line(error)}{_visible()}"
    if reason is None:
        _usable.add(device)
    return reason


def description() -> str:
    """The devices and the versions in use, for `genkern.backends()`."""
    cp = cupy()
    runtime = cp.cuda.runtime
    current, count = runtime.getDevice(), runtime.getDeviceCount()
    told = []
    for device in range(count):
        reason = unavailable(device)
        name = f"{_name(cp, device)}, compute capability {_capability(cp, device) / 10}"
        if count > 1:
            name = f"GPU {device}{', the current one' if device == current else ''}: {name}"
        told.append(name + (f", which cannot be used: {reason}" if reason is not None else ""))
    versions = f"CuPy {cp.__version__} for CUDA {_cuda(runtime.runtimeGetVersion())}"
    return "; ".join(told) + (", " if count == 1 else "; ") + versions


def _wrong_cupy(cp: Any) -> str | None:
    """Why this CuPy runs on no device of this machine; no question that needs one."""
    runtime = cp.cuda.runtime
    if runtime.is_hip:
        return "this CuPy is built for ROCm, and the kernels are CUDA ones"
    if int(cp.__version__.split(".")[0]) < OLDEST:
        return f"CuPy {cp.__version__} is too old, and genkern needs {OLDEST} ({_EXTRAS})"
    driver, built = runtime.driverGetVersion(), runtime.runtimeGetVersion()
    if driver == 0:
        return "there is no NVIDIA driver on this machine"
    if driver // 1000 < built // 1000:
        other = f", or the CuPy for CUDA {driver // 1000} in the place of this one" if driver >= OLDEST_CUDA else ""
        return (
            f"the driver is one for CUDA {_cuda(driver)}, and this CuPy needs CUDA {_cuda(built)}: install a newer "
            f"driver{other}"
        )
    return None


def _reason(cp: Any, device: int) -> str | None:
    runtime = cp.cuda.runtime
    if runtime.getDeviceCount() == 0:
        return f"no GPU is visible{_visible()}"
    library = "NVRTC, which compiles the kernels,"
    try:
        nvrtc = cp.cuda.nvrtc.getVersion()
        for library in ("cuBLAS", "cuSOLVER"):
            getattr(cp.cuda, library.lower())  # CuPy loads it here
    except Exception as error:
        ctk = f"pip install 'cupy-cuda{runtime.runtimeGetVersion() // 1000}x[ctk]'"
        told = str(error).partition("\n")[0]  # then CuPy lists whole folders
        return f"{library} does not load ({ctk}): {told}"
    reason = _too_old(cp, device, nvrtc[0])
    if reason is not None:
        others = [i for i in range(runtime.getDeviceCount()) if i != device and _too_old(cp, i, nvrtc[0]) is None]
        return reason + "".join(f"; GPU {i} can be used, in `with cupy.cuda.Device({i}):`" for i in others[:1])
    if not (sources() / "cuda").is_dir():
        return f"the sources of the kernels are not in {sources()}"
    return None


def _too_old(cp: Any, device: int, nvrtc: int) -> str | None:
    capability = _capability(cp, device)
    the_gpu = "the GPU" if cp.cuda.runtime.getDeviceCount() == 1 else f"GPU {device} ({_name(cp, device)})"
    if capability < CAPABILITY:
        return f"{the_gpu} has compute capability {capability / 10}, and the kernels need {CAPABILITY / 10}"
    if nvrtc >= 13 and capability < CAPABILITY_CUDA13:
        return (
            f"{the_gpu} has compute capability {capability / 10}, and CUDA {nvrtc} needs {CAPABILITY_CUDA13 / 10}: "
            "pip install 'genkern[cuda12]' in its place"
        )
    return None


def _capability(cp: Any, device: int) -> int:
    return int(cp.cuda.Device(device).compute_capability)


def _name(cp: Any, device: int) -> str:
    name: str = cp.cuda.runtime.getDeviceProperties(device)["name"].decode()
    return name


def _cuda(version: int) -> str:
    return f"{version // 1000}.{version % 1000 // 10}"


def _visible() -> str:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return "" if visible is None else f" (CUDA_VISIBLE_DEVICES is {visible!r})"


def _one_line(error: BaseException) -> str:
    """What an error says, or the one that it was raised from: CuPy's own message on import is a page of advice."""
    while error.__cause__ is not None:
        error = error.__cause__
    return " ".join(str(error).split())
