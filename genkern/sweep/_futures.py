"""Any executor of ``concurrent.futures``: threads, loky, Dask, MPI, or the user's own."""

from __future__ import annotations

import concurrent.futures as futures
import hashlib
import pickle
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from genkern.errors import GenkernError
from genkern.sweep import _cell
from genkern.sweep._batches import BATCH_SECONDS, DEATHS, TICK, Pace, Queue
from genkern.sweep._task import Job, Task, sealed
from genkern.sweep._workers import Record

Batch = list[Mapping[str, Any]]
_tasks: dict[str, Any] = {}  # on a worker: tasks that have arrived, by the hash of their pickle
LARGE = 4096  # bytes of a task that travel with every batch; more is sent to each worker once


@dataclass(frozen=True)
class Executor:
    """Engine on an executor: batches of cells, a bounded number of them under way.

    Attributes
    ----------
    make : function
        Of the task: gives the executor; called again after it broke, if `rebuild`.
    slots : function
        Of the executor: how many batches it runs at once, which may change.
    threads : int
        Threads for kernels and BLAS in each cell.
    local : bool
        Whether its workers are threads of this process, to which the task goes as it is.
    rebuild : bool
        Whether a broken executor can be replaced.
    killed : tuple of exception types
        What a batch raises whose worker died, where the executor goes on all the same.
    scatter : function, optional
        Puts the bytes of a large task where all workers find them, and gives what stands for them.
    stop : function
        Of the executor, and whether all has ended well: shuts it down.
    """

    make: Callable[[Task], futures.Executor]
    slots: Callable[[Any], int]
    threads: int
    local: bool = False
    rebuild: bool = False
    killed: tuple[type[BaseException], ...] = ()
    scatter: Callable[[bytes], Any] | None = None
    stop: Callable[[Any, bool], None] = lambda pool, ended: pool.shutdown(wait=True)

    def run(
        self, task: Task, jobs: Iterator[Job], record: Record, tick: Callable[[], None], timeout: float | None
    ) -> None:
        """Run all jobs; each outcome is recorded in this thread, and `tick` called several times a second."""
        pool, ended = self.make(task), False
        try:
            run = _Run(self, pool, task, jobs, record, timeout)
            try:
                while run.feed():
                    run.collect()
                    tick()
            finally:
                pool = run.pool
                for future in run.pending:
                    future.cancel()
            ended = True
        finally:
            self.stop(pool, ended)


class _Run:
    """One run: what waits, what is under way, and who is suspected of killing workers."""

    def __init__(
        self,
        engine: Executor,
        pool: futures.Executor,
        task: Task,
        jobs: Iterator[Job],
        record: Record,
        timeout: float | None,
    ) -> None:
        self._engine, self._task, self._record, self._timeout = engine, task, record, timeout
        self._queue, self._pace = Queue(jobs), Pace()
        self._fatal: tuple[type[BaseException], ...] = (futures.BrokenExecutor, futures.CancelledError, *engine.killed)
        # Cells that were under way when a worker died. Each is run alone, so that the guilty one is known.
        self._suspects: list[Job] = []
        self._alone: futures.Future[Any] | None = None
        self._deaths: dict[bytes, int] = {}
        self.pending: dict[futures.Future[Any], list[Job]] = {}
        self.pool = pool
        self._sender = _Sender(task, engine)

    def feed(self) -> bool:
        """Submit what the executor has room for; whether anything is under way."""
        if self._suspects or self._alone is not None:
            if not self.pending:
                job = self._suspects.pop()
                self._alone = self._submit([job])
        else:
            room = max(1, 2 * self._engine.slots(self.pool))
            while len(self.pending) < room and self._queue:
                self._submit(self._queue.take(self._pace.batch()))
        return bool(self.pending)

    def collect(self) -> None:
        """Record what is there, within TICK seconds."""
        done, _ = futures.wait(self.pending, timeout=TICK, return_when=futures.FIRST_COMPLETED)
        broken: BaseException | None = None
        for future in done:
            batch, alone = self.pending.pop(future), future is self._alone
            self._alone = None if alone else self._alone
            try:
                outcomes = future.result()
            except self._fatal as error:
                self._suspect(batch, alone, error)
                broken = None if isinstance(error, self._engine.killed) else error
                continue
            if outcomes is None:  # a worker that has not got the task yet
                again = self._submit(batch, full=True)
                self._alone = again if alone else self._alone
                continue
            for job, outcome in zip(batch, outcomes, strict=False):
                self._pace.saw(outcome.seconds)
                self._record(job, outcome)
            self._queue.give_back(batch[len(outcomes) :])
        if not done and (reason := _breakage(self.pool)):
            broken = futures.BrokenExecutor(reason)
        if broken is not None:
            self._replace(broken)

    def _submit(self, batch: list[Job], full: bool = False) -> futures.Future[Any]:
        mark, content = self._sender.of(full)
        parameters: Batch = [job.parameters for job in batch]
        try:
            future = self.pool.submit(run_batch, mark, content, parameters, self._engine.threads, self._timeout)
        except futures.BrokenExecutor as error:
            future = futures.Future()
            future.set_exception(error)
        self.pending[future] = batch
        return future

    def _suspect(self, batch: list[Job], alone: bool, error: BaseException) -> None:
        """Take note of cells whose worker died."""
        for job in batch:
            if alone:
                # An executor that goes on has tried such a cell several times itself.
                deaths = DEATHS if isinstance(error, self._engine.killed) else self._deaths.get(job.key, 0) + 1
                self._deaths[job.key] = deaths
                if deaths >= DEATHS:
                    text = f"its worker process died {DEATHS} times in this cell"
                    self._record(job, _cell.lost(_cell.CRASHED, text, None, None))
                    continue
            self._suspects.append(job)

    def _replace(self, error: BaseException) -> None:
        """Go on with another executor."""
        if not self._engine.rebuild:
            raise GenkernError(
                f"the executor broke ({_cell.describe(error)}); run again with the same store to go on"
            ) from error
        for batch in self.pending.values():
            self._suspect(batch, False, error)
        self.pending.clear()
        self._alone = None
        self.pool.shutdown(wait=False)
        self.pool = self._engine.make(self._task)


def _breakage(pool: Any) -> str | None:
    """Why a pool of processes is broken.

    A batch that is submitted in the instant in which a worker's death is noticed can be forgotten, so that its future
    waits for ever: up to Python 3.11 the pool of ``concurrent.futures`` then fails its futures without its lock.
    """
    reason = getattr(pool, "_broken", None) or getattr(getattr(pool, "_flags", None), "broken", None)  # loky's flags
    return str(reason) if reason else None


class _Sender:
    """How the task gets to workers: as it is, with every batch, or once to each worker that asks for it."""

    def __init__(self, task: Task, engine: Executor) -> None:
        self._full: Any
        if engine.local:
            self._mark, self._full, self._small = "", task.call, True
            return
        content = task.payload()
        self._mark = hashlib.blake2b(content, digest_size=16).hexdigest()
        self._full, self._small = content, len(content) <= LARGE
        if not self._small and engine.scatter is not None:
            self._full, self._small = engine.scatter(content), True

    def of(self, full: bool) -> tuple[str, Any]:
        """Mark and content to send."""
        return self._mark, self._full if full or self._small else None


def run_batch(mark: str, content: Any, batch: Batch, threads: int, timeout: float | None) -> list[_cell.Outcome] | None:
    """Run cells on a worker until a tenth of a second is over; None asks for the task itself."""
    task = content
    if mark:
        task = _tasks.get(mark)  # read once: other threads of a Dask worker do the same
        if task is None:
            if content is None:
                return None
            task = sealed(pickle.loads(content))
            _tasks.clear()  # a worker serves one sweep at a time; the arrays of the last one can be large
            _tasks[mark] = task
    outcomes: list[_cell.Outcome] = []
    start = time.perf_counter()
    with _cell.thread_limit(threads):
        for parameters in batch:
            if outcomes and time.perf_counter() - start > BATCH_SECONDS:
                break
            outcomes.append(_cell.call(task, parameters, timeout))
    return outcomes
