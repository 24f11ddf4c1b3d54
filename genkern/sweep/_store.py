"""The store of a sweep: an SQLite file that one process writes and anybody may read."""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

from genkern.errors import StoreMismatch
from genkern.sweep import _cell, _format, _lock
from genkern.sweep._task import Job, Task, canonical

COMMIT_SECONDS = 0.5
COMMIT_BYTES = 16 << 20
COMMIT_CELLS = 2500  # larger transactions leave SQLite and the allocator with 10 MiB more
PATIENCE = 10.0  # seconds to wait for others who have the file
CLOSING = 2.0  # and at the end, where they cost a second file only


class Store:
    """Writer of a store.

    Committed by time, so that a killed process loses half a second of work and a million small cells cost few
    transactions. What is committed survives kill -9 and, because every commit is synchronised (journal_mode WAL with
    synchronous FULL), the loss of power.
    """

    def __init__(
        self, path: Path, task: Task, *, resume: bool, executor: str, cells: int, durable: bool = True
    ) -> None:
        self.path = path
        self.done = self.failed = 0
        self._waiting: list[tuple[Job, _cell.Outcome]] = []
        self._bytes, self._committed = 0, time.monotonic()
        _format.refuse_folder(path)
        try:
            if not path.parent.is_dir():
                raise FileNotFoundError(errno.ENOENT, f"no folder {path.parent}")
            self._held = _lock.Lock(path)
        except _lock.Busy:
            raise OSError(errno.EAGAIN, f"the store {path} is being written by another run") from None
        except OSError as error:
            raise OSError(error.errno, f"cannot write to the store {path}: {error.strerror}") from None
        try:
            with _format.explained(path):
                self._sql = self._open(task, resume, durable)
                try:
                    self._begin(executor, cells)
                except BaseException:
                    self._sql.close()
                    raise
        except BaseException:
            self._held.release()
            raise

    def _open(self, task: Task, resume: bool, durable: bool) -> sqlite3.Connection:
        if self.path.exists() and self.path.stat().st_size:
            _format.check_header(self.path)
            if not os.access(self.path, os.W_OK):
                raise OSError(errno.EACCES, f"cannot write to the store {self.path}: it is read-only")
        self._sql = sql = sqlite3.connect(self.path, timeout=PATIENCE, isolation_level=None)
        try:
            sql.execute("PRAGMA trusted_schema=OFF")
            # A run killed in its first instants leaves a database without tables.
            new = not _format.schema(sql) and sql.execute("PRAGMA application_id").fetchone()[0] == 0
            if not new:
                _format.check_format(self.path, sql)
            sql.execute(f"PRAGMA synchronous={'FULL' if durable else 'OFF'}")
            if new:  # before there is a log, so that a copy of the file alone is a store from the start
                with self._transaction():
                    self._create(task)
            sql.execute("PRAGMA journal_mode=WAL")
            problem = sql.execute("PRAGMA quick_check(1)").fetchone()[0]
            if problem != "ok":
                raise ValueError(f"{self.path} is damaged: {' '.join(problem.split())}")
            _format.match(self.path, sql, task)
            self.recorded = int(sql.execute("SELECT count(*) FROM cells").fetchone()[0])
            if not resume and self.recorded:
                raise StoreMismatch(f"the store {self.path} has results already: say resume=True, or name another file")
        except BaseException:
            sql.close()
            raise
        return sql

    def _create(self, task: Task) -> None:
        self._sql.execute(f"PRAGMA application_id={_format.APPLICATION}")
        self._sql.execute(f"PRAGMA user_version={_format.FORMAT}")
        for table in _format.TABLES:
            self._sql.execute(table)
        meta = {**_format.identity(task), "genkern": _cell.version(), "created": canonical(time.time())}
        self._sql.executemany("INSERT INTO meta VALUES (?, ?)", sorted(meta.items()))

    def _begin(self, executor: str, cells: int) -> None:
        now = time.time()
        with self._transaction():
            self._run = self._sql.execute(
                "INSERT INTO runs (started, updated, ended, cells, skipped, done, failed, executor, host, pid) "
                "VALUES (?, ?, 0, ?, ?, 0, 0, ?, ?, ?)",
                (now, now, max(cells, self.recorded), self.recorded, executor, _cell.host(), os.getpid()),
            ).lastrowid

    def place(self, job: Job) -> int | None:
        """Place of a cell in its grid, None where it is not recorded."""
        with _format.explained(self.path):
            found = self._sql.execute("SELECT place FROM cells WHERE key = ?", (job.key,)).fetchone()
        if found is not None and not isinstance(found[0], int):
            raise ValueError(f"{self.path} is damaged: {found[0]!r:.60} is no place of a cell")
        return None if found is None else int(found[0])

    def plan(self, cells: int, skipped: int) -> None:
        """Say how many cells the sweep has, and how many of those recorded the run leaves as they are."""
        with _format.explained(self.path), self._transaction():
            self._sql.execute("UPDATE runs SET cells = ?, skipped = ? WHERE id = ?", (cells, skipped, self._run))

    def add(self, job: Job, outcome: _cell.Outcome) -> None:
        """Record a cell; committed within COMMIT_SECONDS if flush is called often enough."""
        self._waiting.append((job, outcome))
        self._bytes += sum(len(row[3]) for row in outcome.rows)
        if outcome.status == _cell.DONE:
            self.done += 1
        else:
            self.failed += 1

    def flush(self, force: bool = False) -> None:
        """Commit what is due."""
        full = self._bytes >= COMMIT_BYTES or len(self._waiting) >= COMMIT_CELLS
        due = full or time.monotonic() - self._committed >= COMMIT_SECONDS
        if not self._waiting or not (due or force):
            return
        with _format.explained(self.path):
            self._write()
        self._waiting.clear()
        self._bytes, self._committed = 0, time.monotonic()

    def _write(self) -> None:
        now = time.time()
        with self._transaction():
            # A cell that is run again after a failure replaces its record.
            self._sql.executemany("DELETE FROM results WHERE key = ?", [(job.key,) for job, _ in self._waiting])
            self._sql.executemany(
                "INSERT OR REPLACE INTO cells VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    (
                        *(job.key, job.place, job.text, outcome.status, outcome.error, outcome.traceback),
                        *(outcome.genkern, outcome.seconds, now, outcome.host, outcome.pid),
                    )
                    for job, outcome in self._waiting
                ],
            )
            self._sql.executemany(
                "INSERT INTO results VALUES (?, ?, ?, ?, ?)",
                [(job.key, *row) for job, outcome in self._waiting for row in outcome.rows],
            )
            self._sql.execute(
                "UPDATE runs SET updated = ?, done = ?, failed = ? WHERE id = ?",
                (now, self.done, self.failed, self._run),
            )

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._sql.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._commit()
        except BaseException:
            with contextlib.suppress(sqlite3.Error):  # some errors have rolled back already
                self._sql.execute("ROLLBACK")
            raise

    def _commit(self) -> None:
        self._sql.execute("COMMIT")

    def close(self, ended: bool) -> None:
        """Commit all that is done and let go of the file; `ended` says that no cell is left."""
        try:
            self.flush(force=True)
            with _format.explained(self.path), self._transaction():
                self._sql.execute("UPDATE runs SET ended = ? WHERE id = ?", (ended, self._run))
            self._settle()
        finally:
            self._sql.close()
            self._held.release()

    def _settle(self) -> None:
        """Without a log a store is one file, to be read where nothing may be written. Fails while others read."""
        deadline = time.monotonic() + CLOSING
        with contextlib.suppress(sqlite3.Error):
            self._sql.execute("PRAGMA busy_timeout=100")
            while time.monotonic() < deadline:
                self._sql.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
                with contextlib.suppress(sqlite3.OperationalError):
                    self._sql.execute("PRAGMA journal_mode=DELETE")
                    return
                time.sleep(0.02)
