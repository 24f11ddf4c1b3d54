"""What all engines share: cells waiting to be run, and how many to hand out at once."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

from genkern.sweep._task import Job

BATCH_SECONDS = 0.1  # a batch is to take so long: handing one out costs less than 1 ms
BATCH_CELLS = 256
TICK = 0.2  # seconds between two looks at clocks, commits and progress
DEATHS = 3  # a cell that has ended so many workers is a failure


class Queue:
    """Cells that wait: those given back first, then the iterator's, of which no more is drawn than is needed."""

    def __init__(self, jobs: Iterator[Job]) -> None:
        self._jobs, self._back = jobs, deque[Job]()

    def take(self, count: int) -> list[Job]:
        """Next cells, at most `count`."""
        batch: list[Job] = []
        while len(batch) < count and self.waiting(0):
            batch.append(self._back.popleft())
        return batch

    def give_back(self, jobs: Iterable[Job]) -> None:
        """Put cells in front, in their order."""
        self._back.extendleft(reversed(list(jobs)))

    def waiting(self, beyond: int) -> bool:
        """Whether more than `beyond` cells wait."""
        while len(self._back) <= beyond:
            job = next(self._jobs, None)
            if job is None:
                return False
            self._back.append(job)
        return True

    def __bool__(self) -> bool:
        return self.waiting(0)


class Pace:
    """Running mean of the seconds that a cell takes."""

    def __init__(self) -> None:
        self._mean: float | None = None

    def saw(self, seconds: float) -> None:
        """Take in one cell."""
        self._mean = seconds if self._mean is None else 0.9 * self._mean + 0.1 * seconds

    def batch(self) -> int:
        """Cells that make a batch; one where nothing is known yet."""
        if self._mean is None:
            return 1
        return max(1, min(BATCH_CELLS, int(BATCH_SECONDS / (self._mean + 1e-9))))
