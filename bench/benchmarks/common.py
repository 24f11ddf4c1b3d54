"""What every benchmark shares: thread settings and measuring."""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

THREADS = int(os.environ.get("GENKERN_BENCH_THREADS", "2"))
REPEATS = 5

_limits: Any = None


def set_threads(threads: int) -> None:
    """Hold torch, and every BLAS and OpenMP that is loaded, at `threads`. JAX sizes its own pool when it starts."""
    global _limits
    from threadpoolctl import threadpool_limits

    _limits = threadpool_limits(threads)  # kept: the limits last as long as nobody restores them
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)


def place(backend: str, *arrays: Any) -> tuple[Any, ...]:
    """The arrays where genkern's backend works: for "cupy" copies on the GPU, made before anything is timed."""
    import genkern

    state = genkern.backends()[backend]
    if not state.startswith("available"):
        raise ImportError(state)
    if backend != "cupy":
        return arrays
    import cupy

    return tuple(cupy.asarray(array) for array in arrays)


def finished(backend: str, call: Callable[[], Any]) -> Callable[[], Any]:
    """The call; for "cupy" one that returns when the GPU is done, with the result still there."""
    if backend != "cupy":
        return call
    import cupy

    def synchronised() -> Any:
        result = call()
        cupy.cuda.get_current_stream().synchronize()
        return result

    return synchronised


def host(result: Any) -> np.ndarray[Any, Any]:
    """A result as NumPy's array, also one of CuPy."""
    return result.get() if type(result).__module__.startswith("cupy") else np.asarray(result)


def seconds(call: Callable[[], Any], *, at_least: float = 0.0) -> float:
    """Time of one call; a call shorter than `at_least` seconds is repeated until they are full."""
    start = time.perf_counter()
    call()
    elapsed = time.perf_counter() - start
    if elapsed >= at_least:
        return elapsed
    number = int(at_least / max(elapsed, 1e-6)) + 1
    start = time.perf_counter()
    for _ in range(number):
        call()
    return (time.perf_counter() - start) / number


def median_seconds(call: Callable[[], Any]) -> float:
    """Median of REPEATS warm calls."""
    call()
    return statistics.median(seconds(call, at_least=0.02) for _ in range(REPEATS))
