"""Progress of a sweep: a bar on a terminal, a line a minute elsewhere, or the caller's function."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

LINE_SECONDS = 60.0


class Progress:
    """Shows how far a run is.

    `progress` is True (a tqdm bar if stderr is a terminal and tqdm is installed, else a line a minute on stderr), None
    (the bar where one can be seen, else nothing), False (nothing) or a function of (recorded, cells, failed).
    """

    def __init__(self, progress: bool | Callable[[int, int, int], object] | None, total: int, skipped: int) -> None:
        self._total, self._skipped, self._shown = total, skipped, -1
        self._start = self._last = time.monotonic()
        self._hook: Callable[[int, int, int], object] | None = None
        self._bar: Any = None
        self._lines = False
        if callable(progress):
            self._hook = progress
        elif progress is not None and not isinstance(progress, bool):
            raise TypeError(f"progress must be True, False, None or a function, got {type(progress).__name__}")
        elif progress is not False and sys.stderr.isatty():
            try:
                from tqdm import tqdm
            except ImportError:
                self._lines = bool(progress)
            else:
                # Cells of earlier runs count as done and not towards the rate.
                self._bar = tqdm(total=total, initial=skipped, unit="cell", file=sys.stderr, dynamic_ncols=True)
        else:
            self._lines = bool(progress)

    def show(self, recorded: int, failed: int) -> None:
        """Show that so many cells are recorded, of which so many failed in this run."""
        if self._bar is not None:
            if failed and recorded != self._shown:
                self._bar.set_postfix(failed=failed, refresh=False)
            self._bar.update(recorded - self._bar.n)
        elif self._hook is not None:
            if recorded != self._shown:
                self._hook(recorded, self._total, failed)
        elif self._lines and time.monotonic() - self._last >= LINE_SECONDS:
            self._last = time.monotonic()
            print(self._line(recorded, failed), file=sys.stderr, flush=True)
        self._shown = recorded

    def _line(self, recorded: int, failed: int) -> str:
        rate = (recorded - self._skipped) / max(time.monotonic() - self._start, 1e-9)
        left = duration((self._total - recorded) / rate) if rate > 0 else "unknown time"
        failures = f", {failed} failed" if failed else ""
        return f"sweep: {recorded} of {self._total} cells{failures}, {rate:.3g} a second, {left} left"

    def close(self) -> None:
        """Take the bar away from the end of the screen."""
        if self._bar is not None:
            self._bar.close()


def duration(seconds: float) -> str:
    """Seconds as 1:02:03."""
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"
