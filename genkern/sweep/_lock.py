"""One run at a time on a store: a lock that dies with its process, however that ends."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from pathlib import Path

_mine: set[tuple[int, int]] = set()  # files that this process holds: the system's locks are per process
_guard = threading.Lock()


def _forked() -> None:
    """A forked child holds none of its parent's locks."""
    global _guard
    _guard = threading.Lock()
    _mine.clear()


os.register_at_fork(after_in_child=_forked)


class Busy(Exception):
    """Another run holds the lock."""


class Lock:
    """Lock of a store, an empty file beside it.

    A record lock of the system: gone when its process is, even by kill -9, inherited by no child, and kept by NFS
    servers too. The file is removed at the end; one left behind by a killed process means nothing.
    """

    def __init__(self, store: Path, patience: float = 1.0) -> None:
        self.path = store.with_name(store.name + ".lock")
        deadline = time.monotonic() + patience  # a mere look at the lock holds it for an instant
        while True:
            try:
                self._take()
                return
            except Busy:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    def _take(self) -> None:
        with _guard:
            while True:
                # Asked before the file is opened: closing a handle drops all locks that the process has on the file.
                if _found(self.path) in _mine:
                    raise Busy
                handle = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
                try:
                    fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    # The holder before us may have removed the file since we opened it.
                    if _found(self.path) == _mark(handle):
                        self._handle, self._mine = handle, _mark(handle)
                        _mine.add(self._mine)
                        return
                except BlockingIOError:
                    os.close(handle)
                    raise Busy from None
                except BaseException:
                    os.close(handle)
                    raise
                os.close(handle)

    def release(self) -> None:
        """Give the lock back."""
        with _guard:
            if _found(self.path) == self._mine:
                self.path.unlink(missing_ok=True)
            _mine.discard(self._mine)
            os.close(self._handle)


def held(store: Path) -> bool:
    """Whether a run has the store now."""
    path = store.with_name(store.name + ".lock")
    with _guard:
        try:
            if _found(path) in _mine:
                return True
            handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            fcntl.lockf(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
        finally:
            os.close(handle)
    return False


def _found(path: Path) -> tuple[int, int] | None:
    """The file of that name; a holder may remove it at any time."""
    try:
        return _mark(path)
    except FileNotFoundError:
        return None


def _mark(file: int | Path) -> tuple[int, int]:
    state = os.stat(file)
    return state.st_dev, state.st_ino
