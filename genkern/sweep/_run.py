"""The run of a sweep: what is not yet in the store goes through an engine and into the store."""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from genkern import _checks
from genkern.errors import CellFailed
from genkern.sweep import _cell, _engines, _format
from genkern.sweep._grid import Grid
from genkern.sweep._progress import Progress
from genkern.sweep._result import SweepResult
from genkern.sweep._store import Store
from genkern.sweep._task import Job, Task

Show = bool | Callable[[int, int, int], object] | None


def run(
    task: Callable[..., Any],
    grid: Grid,
    *,
    store: str | os.PathLike[str] | None = None,
    executor: Any = None,
    progress: Show = True,
    resume: bool = True,
    version: int | str = 1,
    timeout: float | None = None,
    on_error: str = "record",
) -> SweepResult:
    """Run a task on every cell of a grid that the store does not have yet.

    A cell is a call ``task(**parameters)``. It sees nothing but its parameters, so its result is the same in any order,
    on any executor, after any number of interruptions; a random task takes a ``seed`` axis, or `cell_seed`. A cell that
    raises, takes too long, kills its worker or returns something else than results is recorded with its error, and the
    rest goes on. So is one whose results have a NaN, but these are kept.

    Parameters
    ----------
    task : function
        Defined at the top of a module, or a `functools.partial` of such a function with arguments that all cells share.
        Arrays among these are read-only in the cells and are sent once to each worker, and their contents belong to
        the sweep's identity; larger data is best named by a path that the task opens with
        ``numpy.load(path, mmap_mode="r")``. Returns a dict of numbers, strings, bools and arrays of bool, integer,
        float or complex dtype.
    grid : Grid
        The cells.
    store : path, optional
        File for the results, an SQLite database. Without one they go to a temporary file that lives as long as the
        result. It should be on a local disk: SQLite's write-ahead log needs shared memory, which network file systems
        do not give. A second run on it is refused while one is going on; reading is always possible. While a run goes
        on, or after kill -9, the file named like it with ``-wal`` at the end is a part of it: move both, or none.
    executor : str or concurrent.futures.Executor, optional
        None or "processes": worker processes, as many as this process may use cores. "serial": the calling thread.
        "threads": a pool of threads. "loky": its processes. "dask": the current Dask client, or else a local cluster
        made for the run. "tcp://host:port": the Dask cluster there. "mpi": ``mpi4py.futures.MPIPoolExecutor``. An
        executor of the caller's own is not shut down.
    progress : bool or function, optional
        True: a bar on a terminal, a line a minute on stderr elsewhere. None: the bar or nothing. False: nothing. A
        function is called with the numbers of recorded cells, of all cells, and of failures of this run.
    resume : bool
        Whether the store may have results already. Recorded cells, failures too, are not run again (see `retry`).
    version : int or str
        Version of the task; to be changed with what it computes.
    timeout : float, optional
        Seconds that a cell may take. Worker processes are stopped by force. Elsewhere the cell is interrupted at its
        next Python instruction, so a long call into compiled code comes to its end first.
    on_error : {"record", "raise"}
        Whether a failing cell is recorded or ends the run; it is recorded then too.

    Returns
    -------
    SweepResult
        Reads the store.

    Raises
    ------
    StoreMismatch
        The store is of another task, version, set of parameters, common argument or format, or has results although
        `resume` is False.
    CellFailed
        With ``on_error="raise"``.
    OSError
        The store cannot be written: another run has it, the disk is full, the file is read-only.
    ValueError, TypeError
        Bad arguments, or the store is no store.
    BackendUnavailable
        The executor's package is not installed.

    Notes
    -----
    BLAS has one thread in each cell. Kernels whose ``n_threads`` is None have one too, and more only where the grid has
    fewer cells than the machine has cores; "serial" leaves all cores to the kernels. A cell whose worker dies is run
    again elsewhere, and is recorded as "crashed" when it has taken three with it. Two kinds of executor cannot go on
    after that: MPI, where it ends the whole job, and a pool of the caller's own. What was committed is there for the
    next run all the same.

    Results are committed twice a second at least. Kill -9 of this process loses what is not committed, and its workers
    end within a second; so do those of a local Dask cluster and of loky.
    """
    if not isinstance(grid, Grid):
        raise TypeError(f"grid must be a genkern.sweep.Grid, got {type(grid).__name__}")
    return _run(Task(task, version, grid.names), grid, store, executor, progress, resume, timeout, on_error)


def retry(
    task: Callable[..., Any],
    store: str | os.PathLike[str],
    *,
    executor: Any = None,
    progress: Show = True,
    version: int | str = 1,
    timeout: float | None = None,
    on_error: str = "record",
) -> SweepResult:
    """Run the failed cells of a store again; the parameters are those of `run`.

    The task must be named again, and is compared: a store says which function it belongs to, and is not trusted to have
    that imported.
    """
    found = SweepResult(store)
    failed = [cell.parameters for cell in found.failed]
    grid = Grid.from_list(failed) if failed else Grid.from_list([dict.fromkeys(found.names)]).where(lambda cell: False)
    cells = found.status().cells
    _run(Task(task, version, found.names), grid, store, executor, progress, True, timeout, on_error, cells)
    return found


def _run(
    task: Task,
    grid: Grid,
    path: str | os.PathLike[str] | None,
    executor: Any,
    progress: Show,
    resume: Any,
    timeout: Any,
    on_error: Any,
    again: int = 0,
) -> SweepResult:
    """Run a grid; `again` is the number of all cells of the sweep where the grid's are to be run again, and else 0."""
    name = _engines.name_of(executor)
    resume = _checks.flag("resume", resume)
    _checks.choice("on_error", on_error, ("record", "raise"))
    if timeout is not None:
        timeout = _checks.real_number("timeout", timeout, low=0.0, strict=True)
    if name in ("processes", "loky", "dask", "mpi"):
        task.need_module(name)
    temporary = tempfile.mkdtemp(prefix="genkern-sweep-") if path is None else None
    file = _format.locate(Path(temporary, "results.sweep") if temporary is not None else path or "")
    try:
        store = Store(file, task, resume=resume, executor=name, cells=again or len(grid), durable=path is not None)
        _fill(store, task, grid, executor, progress, timeout, on_error, again)
        result = SweepResult(file, task, grid)
    except BaseException:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
        raise
    if temporary is not None:
        weakref.finalize(result, _remove, temporary, os.getpid())
    return result


def _remove(folder: str, process: int) -> None:
    """Remove a temporary store; a forked child leaves its parent's alone."""
    if os.getpid() == process:
        shutil.rmtree(folder, ignore_errors=True)


def _fill(
    store: Store, task: Task, grid: Grid, executor: Any, progress: Show, timeout: Any, on_error: str, again: int
) -> None:
    ended = False
    shown = None
    try:
        todo, skipped = _count(store, task, grid, again)
        # The store may have cells that are none of this grid's.
        store.plan(again or todo + store.recorded, store.recorded - (len(grid) if again else 0))
        shown = Progress(progress, len(grid), skipped)

        def tick() -> None:
            store.flush()
            shown.show(skipped + store.done + store.failed, store.failed)

        def record(job: Job, outcome: _cell.Outcome) -> None:
            store.add(job, outcome)
            store.flush()
            if on_error == "raise" and outcome.status != _cell.DONE:
                failure = CellFailed(f"cell {job.parameters} failed: {outcome.error}")
                failure.add_note(f"In the cell:\n{outcome.traceback}".rstrip())
                raise failure

        if todo:
            tick()
            _engines.engine(executor, todo, again or len(grid)).run(
                task, _jobs(store, task, grid, again), record, tick, timeout
            )
        ended = True
    finally:
        try:
            store.close(ended)
        finally:
            if shown is not None:
                shown.show(skipped + store.done + store.failed, store.failed)
                shown.close()


def _jobs(store: Store, task: Task, grid: Grid, again: int) -> Iterator[Job]:
    """Cells to run, drawn as they are needed."""
    for place, parameters in enumerate(grid):
        job = task.job(place, parameters)
        recorded = store.place(job)
        if again:
            yield job if recorded is None else job._replace(place=recorded)
        elif recorded is None:
            yield job


def _count(store: Store, task: Task, grid: Grid, again: int) -> tuple[int, int]:
    """Numbers of cells to run and to skip."""
    total = len(grid)
    todo = total if again or not store.recorded else sum(1 for _ in _jobs(store, task, grid, again))
    return todo, total - todo
