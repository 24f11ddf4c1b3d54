"""TEST ONLY: the devices of the stand-in for CuPy: their limits, streams and events (see standin.py)."""

from __future__ import annotations

import types
from typing import Any

from gpu.blas import cublas, get_cublas_handle
from gpu.memory import CURRENT, LOG

# A GPU of the middle: its limits are those of compute capability 8.6.
PROPERTIES: dict[str, Any] = {
    "name": b"emulated on the CPU",
    "sharedMemPerBlock": 48 << 10,
    "sharedMemPerBlockOptin": 99 << 10,
    "sharedMemPerMultiprocessor": 100 << 10,
    "multiProcessorCount": 28,
    "maxThreadsPerBlock": 1024,
    "maxThreadsPerMultiProcessor": 1536,
    "warpSize": 32,
    "maxGridSize": (2**31 - 1, 65535, 65535),
    "totalGlobalMem": 8 << 30,
}
# What tells each device from that; a test may add some.
DEVICES: list[dict[str, Any]] = [{"capability": "86"}]


def properties(device: int | None = None) -> dict[str, Any]:
    """Of a device, the current one by default."""
    return PROPERTIES | DEVICES[CURRENT.device if device is None else device]


class CUDARuntimeError(RuntimeError):
    """As CuPy's."""


class Stream:
    """Work is done at once; which stream was current is in the log."""

    null: Stream

    def __init__(self, null: bool = False, non_blocking: bool = False) -> None:
        self.ptr = 0 if null else id(self)

    def __enter__(self) -> Stream:
        self._before, cuda.current = cuda.current, self
        return self

    def __exit__(self, *exception: Any) -> None:
        cuda.current = self._before

    def synchronize(self) -> None:
        LOG.downloads.append("synchronize")

    def record(self, event: Any = None) -> Any:
        return event or Event()

    def wait_event(self, event: Any) -> None:
        pass


Stream.null = Stream(null=True)


class Event:
    """Has happened when it is recorded."""

    def __init__(self, block: bool = False, disable_timing: bool = False) -> None:
        self.done = True

    def record(self, stream: Any = None) -> None:
        pass

    def synchronize(self) -> None:
        pass


class Device:
    """One of the devices; arrays are made and kernels run on the current one."""

    def __init__(self, device: int | None = None) -> None:
        self.id = CURRENT.device if device is None else int(device)
        if not 0 <= self.id < len(DEVICES):
            raise CUDARuntimeError("cudaErrorInvalidDevice: invalid device ordinal")
        self.compute_capability = DEVICES[self.id]["capability"]
        self.mem_info = (PROPERTIES["totalGlobalMem"] // 2, PROPERTIES["totalGlobalMem"])
        self._before: list[Any] = []

    def __enter__(self) -> Device:
        self._before.append((CURRENT.device, cuda.current))
        if self.id != CURRENT.device:  # each device has a current stream of its own
            CURRENT.device, cuda.current = self.id, Stream.null
        return self

    def __exit__(self, *exception: Any) -> None:
        CURRENT.device, cuda.current = self._before.pop()

    def synchronize(self) -> None:
        LOG.downloads.append("synchronize")


runtime = types.SimpleNamespace(
    is_hip=False,
    CUDARuntimeError=CUDARuntimeError,
    driverGetVersion=lambda: 12090,
    runtimeGetVersion=lambda: 12090,
    getDeviceCount=lambda: len(DEVICES),
    getDevice=lambda: CURRENT.device,
    getDeviceProperties=properties,
    memGetInfo=lambda: (PROPERTIES["totalGlobalMem"] // 2, PROPERTIES["totalGlobalMem"]),
)
cuda = types.SimpleNamespace(
    Stream=Stream,
    Event=Event,
    Device=Device,
    runtime=runtime,
    cublas=cublas,
    cusolver=types.SimpleNamespace(),  # of which genkern asks whether it loads
    get_cublas_handle=get_cublas_handle,
    nvrtc=types.SimpleNamespace(getVersion=lambda: (12, 9)),
    current=Stream.null,
    get_current_stream=lambda: cuda.current,
)
