"""One cell on a worker: call the task, catch what goes wrong, turn the result into rows."""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from genkern import _checks
from genkern._numba._blas import blas_threads
from genkern.sweep import _values

DONE, NAN, FAILED, TIMEOUT, CRASHED = "done", "nan", "failed", "timeout", "crashed"


class Outcome(NamedTuple):
    """What became of a cell; `rows` is empty unless the status is "done" or "nan"."""

    status: str
    error: str
    traceback: str
    rows: list[_values.Row]
    seconds: float
    host: str
    pid: int
    genkern: str


def call(task: Callable[..., Any], parameters: Mapping[str, Any], timeout: float | None = None) -> Outcome:
    """Run one cell."""
    start = time.perf_counter()
    status, error, trace, rows = DONE, "", "", []
    try:
        with _limit(timeout):
            result = task(**parameters)
        rows = _values.encode(result, parameters)
        name = _values.has_nan(rows)
        if name is not None:
            status, error = NAN, f"result {name!r} has a NaN"
    except _TimedOut:
        status = TIMEOUT
    except BaseException as caught:  # SystemExit of a task too is a failure of its cell alone
        # A worker process is deaf to Ctrl-C, which ends the run elsewhere: there it is the task's own.
        if isinstance(caught, KeyboardInterrupt) and signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
            raise
        status, error, trace = FAILED, describe(caught), _trace(caught)
    seconds = time.perf_counter() - start
    if timeout is not None and seconds > timeout:
        status, trace, rows = TIMEOUT, "", []
    if status == TIMEOUT:
        error = timed_out(timeout)
    return Outcome(status, error, trace, rows, seconds, host(), os.getpid(), version())


def lost(status: str, error: str, pid: int | None, seconds: float | None) -> Outcome:
    """Outcome of a cell whose worker can say nothing any more."""
    return Outcome(status, error, "", [], seconds or 0.0, host(), pid or 0, version())


def version() -> str:
    """Version of this genkern; that of a remote worker may be another."""
    import genkern

    return genkern.__version__


def timed_out(timeout: float | None) -> str:
    """Error text of a cell that took too long."""
    return f"did not finish within timeout = {timeout:g} s"


def host() -> str:
    """Name of this machine."""
    return printable(platform.node())


def describe(error: BaseException) -> str:
    """Type and message in one line."""
    try:
        text = str(error)
    except Exception:
        text = "(its message cannot be printed)"
    name = type(error).__name__
    return printable(" ".join(f"{name}: {text}".split())[:2000] if text else name)


def printable(text: str) -> str:
    r"""Text that any terminal may see and any file may hold: control characters and lone surrogates as \x1b, \udcff."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text)


def _trace(error: BaseException) -> str:
    """Traceback below this module, which is the same on every executor."""
    frames = traceback.extract_tb(error.__traceback__)[1:]
    return printable("".join(traceback.format_list(frames))[-20000:])


@contextlib.contextmanager
def thread_limit(threads: int) -> Iterator[None]:
    """Let kernels whose n_threads is None use so many threads, and BLAS, whose bits depend on their number, one."""
    token = _checks.thread_limit.set(threads)
    try:
        with blas_threads(1):
            yield
    finally:
        _checks.thread_limit.reset(token)


class _TimedOut(BaseException):
    """Raised inside a cell that has run for too long; no `except Exception` of the task catches it."""


@contextlib.contextmanager
def _limit(timeout: float | None) -> Iterator[None]:
    """Raise _TimedOut in this thread, at its next Python instruction after `timeout` seconds."""
    if timeout is None:
        yield
        return
    thread, lock, over = ctypes.c_ulong(threading.get_ident()), threading.Lock(), False

    def stop() -> None:
        with lock:
            if not over:
                ctypes.pythonapi.PyThreadState_SetAsyncExc(thread, ctypes.py_object(_TimedOut))

    timer = threading.Timer(timeout, stop)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        # One that was sent and has not arrived must not hit the next cell: it arrives here. It is not taken back, as
        # CPython 3.11 would look for it ever after, and hang under a tracing tool.
        while True:
            try:
                timer.cancel()
                with lock:
                    over = True
                _instruction()
                break
            except _TimedOut:
                continue


def _instruction() -> None:
    """Where an exception from another thread arrives, as at every call."""
