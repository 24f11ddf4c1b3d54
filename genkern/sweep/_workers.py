"""A pool of worker processes that can lose a worker, or stop one, and lose nothing else.

The pool of ``concurrent.futures`` breaks as a whole when one worker dies and cannot stop a cell that takes too long;
this one knows which cell each worker is at. A worker gets cells in batches, a tenth of a second's worth, and sends each
result as soon as it is there, so that a killed worker costs one cell.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import pickle
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

from genkern.errors import GenkernError
from genkern.sweep import _cell
from genkern.sweep._batches import DEATHS, TICK, Pace, Queue
from genkern.sweep._serve import serve
from genkern.sweep._task import Job, Task

SMALL = 16384  # bytes that a pipe takes whether or not anybody reads
STOPPED = 1.0  # seconds without a look at the workers after which all of us have been stopped, as by Ctrl-Z
Record = Callable[[Job, _cell.Outcome], None]
# BLAS and OpenMP libraries read these when they load; the limit of threads in a cell comes on top.
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "NUMBA_NUM_THREADS",
)


class Processes:
    """Engine of worker processes, started by spawn and ended with the run."""

    def __init__(self, workers: int, threads: int) -> None:
        self.workers, self.threads = workers, threads

    def run(
        self, task: Task, jobs: Iterator[Job], record: Record, tick: Callable[[], None], timeout: float | None
    ) -> None:
        """Run all jobs; each outcome is recorded in this thread, and `tick` called several times a second."""
        task.need_module("processes")
        payload = task.payload()
        queue, pace, crashes = Queue(jobs), Pace(), dict[bytes, int]()
        pool: list[_Worker] = []
        stillborn, seen = 0, time.monotonic()
        try:
            while True:
                while len(pool) < self.workers and queue.waiting(sum(not worker.ready for worker in pool)):
                    pool.append(_Worker(payload))  # known to the pool before it lives, should Ctrl-C come between
                    pool[-1].start(self.threads)
                for worker in pool:
                    if worker.ready:
                        worker.feed(queue, pace)
                if not pool or not (queue or any(worker.jobs for worker in pool)):
                    break
                multiprocessing.connection.wait([worker.pipe for worker in pool], TICK)
                before, seen = seen, time.monotonic()
                if seen - before > STOPPED:
                    for worker in pool:
                        worker.forgive(seen - before)
                for worker in list(pool):
                    for job, outcome in worker.outcomes(queue):
                        pace.saw(outcome.seconds)
                        record(job, outcome)
                    stillborn = 0 if worker.ready else stillborn
                    if worker.late(timeout):
                        job = worker.jobs.popleft()
                        record(job, _cell.lost(_cell.TIMEOUT, _cell.timed_out(timeout), worker.process.pid, timeout))
                    elif not worker.died():
                        continue
                    elif not worker.ready:
                        stillborn += 1
                        if stillborn >= DEATHS:
                            raise GenkernError(
                                f"worker processes die at their start ({worker.fate()}); a script must start its sweep "
                                'under if __name__ == "__main__", or say executor="threads"'
                            )
                    elif worker.jobs:
                        culprit = worker.jobs[0]
                        crashes[culprit.key] = crashes.get(culprit.key, 0) + 1
                        if crashes[culprit.key] >= DEATHS:
                            worker.jobs.popleft()
                            error = f"its worker process died {DEATHS} times in this cell ({worker.fate()})"
                            record(culprit, _cell.lost(_cell.CRASHED, error, worker.process.pid, 0.0))
                    pool.remove(worker)
                    queue.give_back(worker.jobs)
                    worker.kill()
                tick()
            for worker in pool:
                worker.dismiss()
        finally:
            for worker in pool:
                worker.kill()


class _Worker:
    """Parent's side of one worker."""

    def __init__(self, payload: bytes) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, self._there = context.Pipe()
        self._context, self._payload = context, payload
        self.jobs: deque[Job] = deque()  # that it has been sent, the first being under way
        self.ready = self._started = self._closed = self._dismissed = False
        self._since = 0.0

    def start(self, threads: int) -> None:
        """Start the process."""
        self.process = self._context.Process(
            target=serve, args=(self._there, threads, os.getpid()), name="genkern-sweep"
        )
        with _environment(threads), _no_interrupts():
            self.process.start()
            self._started = True
        self._there.close()

    def feed(self, queue: Queue, pace: Pace) -> None:
        """Send cells while the worker has less than it needs to stay busy."""
        enough = pace.batch()
        if len(self.jobs) > (enough if enough > 1 else 0):  # one batch ahead, but never behind a long cell
            return
        batch = queue.take(enough)
        content = pickle.dumps([job.parameters for job in batch])
        if self.jobs and len(content) > SMALL:
            # It reads when it is idle; until then it may be waiting for us to read, and neither would go on.
            queue.give_back(batch)
        elif batch:
            if not self.jobs:
                self._since = time.monotonic()
            self.jobs.extend(batch)
            with contextlib.suppress(OSError):  # it has just died, which the next look at its pipe finds
                self.pipe.send_bytes(content)

    def outcomes(self, queue: Queue) -> Iterator[tuple[Job, _cell.Outcome]]:
        """What has come in."""
        try:
            while not self._closed and self.pipe.poll():
                kind, content = self.pipe.recv()
                self._since = time.monotonic()
                if kind == "hello":
                    self.pipe.send_bytes(self._payload)
                elif kind == "ready":
                    self.ready = True
                elif kind == "broken":
                    raise GenkernError(f"a worker process cannot load the task: {content}")
                elif kind == "rest":
                    queue.give_back([self.jobs.popleft() for _ in range(content)])
                else:
                    yield self.jobs.popleft(), content
        except (EOFError, OSError, pickle.UnpicklingError):
            self._closed = True

    def late(self, timeout: float | None) -> bool:
        """Whether the cell it is at has run for too long."""
        if timeout is None or not self.jobs or time.monotonic() - self._since <= timeout:
            return False
        return not self.pipe.poll()

    def forgive(self, seconds: float) -> None:
        """Count some time that is just over for no cell."""
        self._since = min(self._since + seconds, time.monotonic())

    def died(self) -> bool:
        """Whether the process is gone."""
        if self._closed:
            self.process.join(1.0)  # the pipe closes a moment before the process ends
            return True
        return not self.process.is_alive() and not self.pipe.poll()

    def fate(self) -> str:
        """How the process ended."""
        code = self.process.exitcode
        if code is None or code >= 0:
            return f"exit status {code}"
        return f"signal {signal.Signals(-code).name}"

    def dismiss(self) -> None:
        """Ask an idle worker to end."""
        self._dismissed = True
        with contextlib.suppress(OSError):
            self.pipe.send(None)

    def kill(self) -> None:
        """End the process: at once and with those that its cell started, unless it was asked to end by itself."""
        if self._started:
            if self._dismissed:
                self.process.join(1.0)
            below = [] if self._dismissed else _below(self.process.pid)
            self.process.kill()
            for pid in below:
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
            self.process.join()
            self.process.close()
        self.pipe.close()
        self._there.close()


def _below(pid: int | None) -> list[int]:
    """Processes that a process started, and these in turn; none where the system does not say (it is Linux that does).

    A session or a group of its own for each worker would tell, too, but Ctrl-Z would no longer reach the workers.
    """
    found: list[int] = []
    for file in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in map(int, file.read_text().split()):
                found += [child, *_below(child)]
    return found


@contextlib.contextmanager
def _environment(threads: int) -> Iterator[None]:
    """Environment of a worker, which has to be there before it loads NumPy."""
    before = {name: os.environ.get(name) for name in THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(threads)))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextlib.contextmanager
def _no_interrupts() -> Iterator[None]:
    """Let a worker be born deaf to Ctrl-C, which is the parent's to handle: no traceback of each worker."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
