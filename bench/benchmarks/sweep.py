"""Sweeps: what a small cell costs on each engine, what two workers gain, what the parent's memory does.

The peers, `futures` and `joblib`, are the loops that a user would write; they keep their results in memory, and a kill
loses them.
"""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import resource
import sys
import time
from pathlib import Path
from typing import Any

from genkern import sweep
from genkern.errors import BackendUnavailable

from .common import THREADS, median_seconds

CELLS = 10_000
# asv imports this package by means of its own, which worker processes do not have.
if str(Path(__file__).parents[1]) not in sys.path:
    sys.path.append(str(Path(__file__).parents[1]))
OURS = ("serial", "threads", "processes", "loky", "dask")
PEERS = ("futures", "joblib")


def square(i: int) -> dict[str, int]:
    """Next to nothing, so that what is measured is the engine and the store."""
    return {"square": i * i}


def busy(i: int) -> dict[str, int]:
    """About 5 ms of one core, and no memory that two could quarrel about."""
    total = 0
    for k in range(60_000):
        total += k * i
    return {"total": total}


def run(backend: str, task: Any, cells: int) -> int:
    """One sweep; the number of its results."""
    if backend == "futures":
        context = multiprocessing.get_context("spawn")
        with concurrent.futures.ProcessPoolExecutor(THREADS, context) as pool:
            return sum(1 for _ in pool.map(task, range(cells), chunksize=64))
    if backend == "joblib":
        try:
            import joblib
        except ImportError as error:
            raise NotImplementedError(f"joblib is not installed: {error}") from error
        return len(joblib.Parallel(n_jobs=THREADS)(joblib.delayed(task)(i) for i in range(cells)))
    try:
        result = sweep.run(task, sweep.Grid(i=range(cells)), executor=backend, progress=False)
    except BackendUnavailable as error:
        raise NotImplementedError(str(error)) from error
    return result.status().done


class SmallCells:
    """10,000 cells of a microsecond, the start of the workers included."""

    params = ([*OURS, *PEERS],)
    param_names = ("backend",)
    timeout = 300.0

    def track_ns_per_cell(self, backend: str) -> float:
        """Nanoseconds per cell."""
        start = time.perf_counter()
        assert run(backend, square, CELLS) == CELLS
        return (time.perf_counter() - start) / CELLS * 1e9

    track_ns_per_cell.unit = "ns"  # type: ignore[attr-defined]


class Speedup:
    """Cells of about 5 ms on every core, over the same cells in a loop, in units of the cores."""

    params = ([*OURS[1:], *PEERS],)
    param_names = ("backend",)
    timeout = 300.0
    cells = 1000

    def track_seconds_over_ideal(self, backend: str) -> float:
        """Seconds, start of the workers included, over those of a loop on one core divided by the cores; ideal: 1."""
        alone = median_seconds(lambda: [busy(i) for i in range(100)]) / 100 * self.cells
        start = time.perf_counter()
        assert run(backend, busy, self.cells) == self.cells
        return (time.perf_counter() - start) / (alone / THREADS)


class Memory:
    """Peak memory of the parent, after many cells and after few."""

    params = ([10_000, 100_000],)
    param_names = ("cells",)
    timeout = 600.0

    def track_peak_bytes(self, cells: int) -> float:
        """Peak resident memory of this process, whose only work is the sweep."""
        run("processes", square, cells)
        return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)

    track_peak_bytes.unit = "bytes"  # type: ignore[attr-defined]
