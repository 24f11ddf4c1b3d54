"""Long work in many launches, so that Ctrl-C acts between them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from genkern._cupy._launch import cupy


class Pace:
    """Keeps at most two launches in flight, each of so many seconds, so that Ctrl-C acts soon; tells of those done."""

    def __init__(self, seconds: float, progress: Callable[[float], object] | None = None) -> None:
        self.seconds, self.progress = seconds, progress
        self.waiting: deque[tuple[Any, float]] = deque()

    def launched(self, share: float) -> None:
        """A launch was queued, after which this share of the work is done."""
        event = cupy().cuda.Event(disable_timing=True)
        event.record()
        self.waiting.append((event, share))
        if len(self.waiting) > 2:
            self._wait()

    def finish(self) -> None:
        """Tell of the end, if anyone wants to know."""
        if self.progress is not None:
            while self.waiting:
                self._wait()
            self.progress(1.0)

    def _wait(self) -> None:
        event, share = self.waiting.popleft()
        event.synchronize()
        if self.progress is not None:
            self.progress(share)
