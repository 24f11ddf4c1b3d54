"""From ``executor=`` to an engine: serial, threads, processes, loky, Dask, MPI, or the user's own executor."""

from __future__ import annotations

import concurrent.futures as futures
import contextlib
import functools
import importlib
import math
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

from genkern import _checks
from genkern.errors import BackendUnavailable
from genkern.sweep import _cell
from genkern.sweep._futures import Executor
from genkern.sweep._serve import end_with
from genkern.sweep._task import Job, Task
from genkern.sweep._workers import THREAD_VARIABLES, Processes, Record

# Dask has its workers give memory back at once, so that each array is made of fresh pages: 360 solves of 200 x 600 cost
# 17 s of processor time and 17 s of the system's on two workers, and with these 8 s and 0.5 s.
_ALLOCATOR = {
    "distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": 1 << 28,
    "distributed.nanny.pre-spawn-environ.MALLOC_MMAP_THRESHOLD_": 1 << 25,
}
NAMES = ("serial", "threads", "processes", "loky", "dask", "mpi")


class Engine(Protocol):
    """Runs jobs."""

    def run(
        self, task: Task, jobs: Iterator[Job], record: Record, tick: Callable[[], None], timeout: float | None
    ) -> None:
        """Run all jobs; each outcome is recorded in the calling thread, and `tick` called several times a second."""


def name_of(executor: Any) -> str:
    """Name of an engine; raises for anything else."""
    if executor is None:
        return "processes"
    if isinstance(executor, str) and (executor in NAMES or "://" in executor):
        return executor
    if isinstance(executor, futures.Executor):
        return type(executor).__name__
    raise (ValueError if isinstance(executor, str) else TypeError)(
        f"executor must be None, one of {', '.join(NAMES)}, the address of a Dask scheduler (tcp://host:port) or a "
        f"concurrent.futures.Executor, got {executor!r}"
    )


def engine(executor: Any, todo: int, cells: int) -> Engine:
    """Engine for `todo` cells of a sweep of `cells`.

    A cell may use as many threads as there are cores for each cell of the sweep: one, but for sweeps smaller than the
    machine, or where cells run one after the other. That is for the kernels, whose bits do not depend on it; BLAS has
    one thread, as its bits do. So a cell has the same bits on every engine, after a resume and in a sweep of any size.
    """
    name, available = name_of(executor), min(cores(), _checks.thread_limit.get())
    workers = max(1, min(available, todo))
    threads = max(1, available // max(1, cells))
    if name == "serial":
        return Serial(available)
    if name == "threads":
        return Executor(
            lambda task: futures.ThreadPoolExecutor(workers, "genkern-sweep"),
            slots=lambda pool: workers,
            threads=threads,
            local=True,
            stop=lambda pool, ended: pool.shutdown(wait=True, cancel_futures=True),
        )
    if name == "processes":
        return Processes(workers, threads)
    if name == "loky":
        return _loky(workers, threads)
    if name == "mpi":
        mpi = _load("mpi4py.futures", "mpi")
        return Executor(lambda task: mpi.MPIPoolExecutor(), slots=lambda pool: pool.num_workers, threads=threads)
    if isinstance(executor, futures.Executor):
        slots = getattr(executor, "_max_workers", None) or available
        return Executor(
            lambda task: executor,
            slots=lambda pool: slots,
            threads=threads,
            local=isinstance(executor, futures.ThreadPoolExecutor),
            killed=_killed(executor),
            stop=lambda pool, ended: None,
        )
    return _dask(name, workers, threads)


class Serial:
    """Engine that runs cell after cell in the calling thread."""

    def __init__(self, threads: int) -> None:
        self.threads = threads

    def run(
        self, task: Task, jobs: Iterator[Job], record: Record, tick: Callable[[], None], timeout: float | None
    ) -> None:
        """Run all jobs."""
        with _cell.thread_limit(self.threads):
            for job in jobs:
                record(job, _cell.call(task.call, job.parameters, timeout))
                tick()


def cores() -> int:
    """Cores that this process may use: its affinity, and the quota of its container."""
    affinity = getattr(os, "sched_getaffinity", None)
    count = len(affinity(0)) if affinity is not None else (os.cpu_count() or 1)
    quota = _quota(Path("/sys/fs/cgroup"))
    return max(1, count if quota is None else min(count, math.ceil(quota)))


def _quota(root: Path) -> float | None:
    """CPU quota in cores of cgroup version 2 or 1, None where there is none."""
    try:
        quota, period = (root / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            quota = (root / "cpu" / "cpu.cfs_quota_us").read_text().strip()
            period = (root / "cpu" / "cpu.cfs_period_us").read_text().strip()
        except OSError:
            return None
    try:
        return int(quota) / int(period) if int(quota) > 0 else None
    except (ValueError, ZeroDivisionError):  # "max"
        return None


def _loky(workers: int, threads: int) -> Executor:
    loky = _load("loky", "loky")

    def make(task: Task) -> futures.Executor:
        task.need_module("loky")
        variables = dict.fromkeys(THREAD_VARIABLES, str(threads))
        # A task of the main script needs workers that load that script, which then needs its guard.
        context = loky.backend.get_context("loky_init_main" if _of_the_script(task) else "loky")
        made: futures.Executor = loky.ProcessPoolExecutor(
            workers, context=context, env=variables, timeout=None, initializer=end_with, initargs=(os.getpid(),)
        )
        return made

    return Executor(
        make,
        slots=lambda pool: workers,
        threads=threads,
        rebuild=True,
        stop=lambda pool, ended: pool.shutdown(wait=True, kill_workers=not ended),
    )


def _of_the_script(task: Task) -> bool:
    function: Any = task.call
    while isinstance(function, functools.partial):
        function = function.func
    return bool(function.__module__ == "__main__")


def _dask(address: str, workers: int, threads: int) -> Executor:
    distributed = _load("distributed", "dask")
    steps = contextlib.ExitStack()
    if address == "dask":
        try:
            client = distributed.get_client()
        except ValueError:
            with _deaf(), importlib.import_module("dask").config.set(_ALLOCATOR):
                cluster = steps.enter_context(
                    distributed.LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=":0")
                )
            client = steps.enter_context(distributed.Client(cluster, set_as_default=False))
    else:
        try:
            client = steps.enter_context(distributed.Client(address, set_as_default=False))
        except OSError as error:
            raise OSError(error.errno, f"no Dask scheduler answers at {address}: {error}") from None

    def make(task: Task) -> futures.Executor:
        try:
            task.need_module("dask")
        except TypeError:
            steps.close()
            raise
        made: futures.Executor = client.get_executor(pure=False)
        return made

    def stop(pool: Any, ended: bool) -> None:
        pool.shutdown(wait=False)  # cancels
        steps.close()

    return Executor(
        make,
        slots=lambda pool: sum(client.nthreads().values()),
        threads=threads,
        killed=(distributed.KilledWorker,),
        scatter=lambda content: client.scatter(content, broadcast=True, hash=False),
        stop=stop,
    )


@contextlib.contextmanager
def _deaf() -> Iterator[None]:
    """Let processes that are started now ignore Ctrl-C, which is this one's to handle."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _killed(executor: futures.Executor) -> tuple[type[BaseException], ...]:
    """What an executor of the caller's raises for a dead worker while it goes on itself: Dask's does."""
    if not type(executor).__module__.startswith("distributed."):
        return ()
    return (_load("distributed", "dask").KilledWorker,)


def _load(module: str, extra: str) -> Any:
    try:
        return importlib.import_module(module)
    except (ImportError, RuntimeError) as error:  # mpi4py raises RuntimeError where there is no MPI
        raise BackendUnavailable(f"executor={extra!r} cannot run: pip install 'genkern[{extra}]' ({error})") from None
