"""Any executor of ``concurrent.futures``: threads, loky, Dask, MPI, or the user's own."""

from __future__ import annotations

import concurrent.futures as futures
import hashlib
import pickle
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from genkern.errors import GenkernError
from genkern.sweep import _cell
from genkern.sweep._batches import BATCH_SECONDS, DEATHS, TICK, Pace, Queue
from genkern.sweep._task import Job, Task
from genkern.sweep._workers import Record, lost

Batch = list[Mapping[str, Any]]
_tasks: dict[str, Any] = {}  # on a worker: tasks that have arrived, by the hash of their pickle
LARGE = 4096  # bytes of a task that travel with every batch; more is sent to each worker once


class Executor:
    """Engine on an executor: batches of cells, a bounded number of them under way.

    `make` gives the executor, again after it broke; `owned` says whether to shut it down; `slots` how many batches it
    runs at once, which may change. `local` executors get the task itself. `scatter` puts the task's pickle where all
    workers find it and gives what stands for it. `stop` shuts down, at the end or with batches still under way.
    """

    def __init__(
        self,
        make: Callable[[], futures.Executor],
        *,
        slots: Callable[[], int],
        threads: int,
        owned: bool = True,
        local: bool = False,
        rebuild: bool = True,
        killed: tuple[type[BaseException], ...] = (),
        scatter: Callable[[bytes], Any] | None = None,
        stop: Callable[[Any, bool], None] = lambda pool, ended: pool.shutdown(wait=True),
        close: Callable[[], None] = lambda: None,
    ) -> None:
        self._make, self._slots, self._threads, self._owned, self._local = make, slots, threads, owned, local
        self._rebuild, self._killed, self._scatter, self._stop, self._close = rebuild, killed, scatter, stop, close

    def run(
        self, task: Task, jobs: Iterator[Job], record: Record, tick: Callable[[], None], timeout: float | None
    ) -> None:
        """Run all jobs; each outcome is recorded in this thread, and `tick` called several times a second."""
        queue, pace = Queue(jobs), Pace()
        suspects: list[Job] = []  # under way when a worker died: each is run alone, so that the guilty one is known
        deaths: dict[bytes, int] = {}
        pool = self._make()
        pending: dict[futures.Future[Any], list[Job]] = {}
        sender = _Sender(task, self._local, self._scatter)
        alone: futures.Future[Any] | None = None
        fatal: tuple[type[BaseException], ...] = (futures.BrokenExecutor, futures.CancelledError, *self._killed)
        try:
            while queue or pending or suspects:
                if suspects and not pending:
                    job = suspects.pop()
                    alone = self._submit(pool, sender, [job], timeout)
                    pending[alone] = [job]
                while not suspects and alone is None and len(pending) < max(1, 2 * self._slots()) and queue:
                    batch = queue.take(pace.batch())
                    pending[self._submit(pool, sender, batch, timeout)] = batch
                done, _ = futures.wait(pending, timeout=TICK, return_when=futures.FIRST_COMPLETED)
                broken = None
                for future in done:
                    batch = pending.pop(future)
                    try:
                        outcomes = future.result()
                    except fatal as error:
                        broken = error
                        self._suspect(batch, future is alone, suspects, deaths, record, error)
                        outcomes = []
                        batch = []
                    if outcomes is None:  # a worker that has not got the task yet
                        resent = self._submit(pool, sender, batch, timeout, full=True)
                        pending[resent] = batch
                        alone = resent if future is alone else alone
                        continue
                    alone = None if future is alone else alone
                    for job, outcome in zip(batch, outcomes, strict=False):
                        pace.saw(outcome.seconds)
                        record(job, outcome)
                    queue.give_back(batch[len(outcomes) :])
                if isinstance(broken, (futures.BrokenExecutor, futures.CancelledError)):
                    if not self._rebuild:
                        raise GenkernError(
                            f"the executor broke ({_cell.describe(broken)}); run again with the same store to go on"
                        ) from broken
                    for batch in pending.values():
                        self._suspect(batch, False, suspects, deaths, record, broken)
                    pending.clear()
                    pool.shutdown(wait=False)
                    pool = self._make()
                tick()
        finally:
            for future in pending:
                future.cancel()
            try:
                if self._owned:
                    self._stop(pool, not pending)
            finally:
                self._close()

    def _submit(
        self, pool: futures.Executor, sender: _Sender, batch: list[Job], timeout: float | None, full: bool = False
    ) -> futures.Future[Any]:
        mark, content = sender.of(full)
        return pool.submit(run_batch, mark, content, [job.parameters for job in batch], self._threads, timeout)

    def _suspect(
        self,
        batch: list[Job],
        alone: bool,
        suspects: list[Job],
        deaths: dict[bytes, int],
        record: Record,
        error: BaseException,
    ) -> None:
        for job in batch:
            if alone:
                deaths[job.key] = deaths.get(job.key, 0) + 1
                if deaths[job.key] >= DEATHS or isinstance(error, self._killed):
                    record(job, lost(_cell.CRASHED, "its worker process died each time in this cell", None, None))
                    continue
            suspects.append(job)


class _Sender:
    """How the task gets to workers: as it is, with every batch, or once to each worker that asks for it."""

    def __init__(self, task: Task, local: bool, scatter: Callable[[bytes], Any] | None) -> None:
        self._full: Any
        if local:
            self._mark, self._full, self._small = "", task.call, True
            return
        content = task.payload()
        self._mark = hashlib.blake2b(content, digest_size=16).hexdigest()
        self._full, self._small = content, len(content) <= LARGE
        if not self._small and scatter is not None:
            self._full, self._small = scatter(content), True

    def of(self, full: bool) -> tuple[str, Any]:
        """Mark and content to send."""
        return self._mark, self._full if full or self._small else None


def run_batch(mark: str, content: Any, batch: Batch, threads: int, timeout: float | None) -> list[_cell.Outcome] | None:
    """Run cells on a worker until a tenth of a second is over; None asks for the task itself."""
    task = content
    if mark:
        if mark not in _tasks:
            if content is None:
                return None
            _tasks.clear()  # a worker serves one sweep at a time; the arrays of the last one can be large
            _tasks[mark] = pickle.loads(content)
        task = _tasks[mark]
    outcomes: list[_cell.Outcome] = []
    start = time.perf_counter()
    with _cell.thread_limit(threads):
        for parameters in batch:
            if outcomes and time.perf_counter() - start > BATCH_SECONDS:
                break
            outcomes.append(_cell.call(task, parameters, timeout))
    return outcomes
