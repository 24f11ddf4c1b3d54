"""The store of a sweep: an SQLite file that one process writes and anybody may read."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

from genkern.errors import StoreMismatch
from genkern.sweep import _cell, _lock
from genkern.sweep._task import Job, Task, canonical

FORMAT = 1
APPLICATION = 0x676B7377  # "gksw", in the header of the file
COMMIT_SECONDS = 0.5
COMMIT_BYTES = 16 << 20

_TABLES = (
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    # What stands before `seconds` is a function of the cell; the rest tells how it was run.
    """CREATE TABLE cells (key BLOB PRIMARY KEY, place INTEGER NOT NULL, parameters TEXT NOT NULL,
       status TEXT NOT NULL, error TEXT NOT NULL, traceback TEXT NOT NULL, genkern TEXT NOT NULL,
       seconds REAL NOT NULL, finished REAL NOT NULL, host TEXT NOT NULL, pid INTEGER NOT NULL)""",
    """CREATE TABLE results (key BLOB NOT NULL, name TEXT NOT NULL, dtype TEXT NOT NULL, shape TEXT NOT NULL,
       data BLOB NOT NULL, PRIMARY KEY (key, name))""",
    """CREATE TABLE runs (id INTEGER PRIMARY KEY, started REAL NOT NULL, updated REAL NOT NULL, ended INTEGER NOT NULL,
       cells INTEGER NOT NULL, skipped INTEGER NOT NULL, done INTEGER NOT NULL, failed INTEGER NOT NULL,
       executor TEXT NOT NULL, host TEXT NOT NULL, pid INTEGER NOT NULL)""",
)


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
        if not path.parent.is_dir():
            raise FileNotFoundError(errno.ENOENT, f"cannot open the store {path}: no folder {path.parent}")
        try:
            self._held = _lock.Lock(path)
        except _lock.Busy:
            raise OSError(errno.EAGAIN, f"the store {path} is being written by another run") from None
        except OSError as error:
            raise OSError(error.errno, f"cannot write to the store {path}: {error.strerror}") from None
        try:
            with explained(path):
                self._open(task, resume, durable)
                self._begin(executor, cells)
        except BaseException:
            self._held.release()
            raise

    def _open(self, task: Task, resume: bool, durable: bool) -> None:
        new = not self.path.exists() or self.path.stat().st_size == 0
        if not new:
            check_header(self.path)
        self._sql = sqlite3.connect(self.path, timeout=30, isolation_level=None)
        try:
            if not os.access(self.path, os.W_OK):
                raise OSError(errno.EACCES, f"cannot write to the store {self.path}: it is read-only")
            self._sql.execute("PRAGMA journal_mode=WAL")
            self._sql.execute(f"PRAGMA synchronous={'FULL' if durable else 'OFF'}")
            with self._transaction():
                if self._sql.execute("PRAGMA application_id").fetchone()[0] == 0 and not _tables(self._sql):
                    self._create(task)
            problem = self._sql.execute("PRAGMA quick_check(1)").fetchone()[0]
            if problem != "ok":
                raise ValueError(f"{self.path} is damaged: {problem}")
            check_format(self.path, self._sql)
            self.empty = not self._sql.execute("SELECT EXISTS (SELECT 1 FROM cells)").fetchone()[0]
            if not resume and not self.empty:
                raise StoreMismatch(f"the store {self.path} has results already: say resume=True, or name another file")
            match(self.path, self._sql, task)
        except BaseException:
            self._sql.close()
            raise

    def _create(self, task: Task) -> None:
        import genkern

        self._sql.execute(f"PRAGMA application_id={APPLICATION}")
        self._sql.execute(f"PRAGMA user_version={FORMAT}")
        for table in _TABLES:
            self._sql.execute(table)
        meta = {**identity(task), "genkern": genkern.__version__, "created": canonical(time.time())}
        self._sql.executemany("INSERT INTO meta VALUES (?, ?)", sorted(meta.items()))

    def _begin(self, executor: str, cells: int) -> None:
        now = time.time()
        with self._transaction():
            self._run = self._sql.execute(
                "INSERT INTO runs (started, updated, ended, cells, skipped, done, failed, executor, host, pid) "
                "VALUES (?, ?, 0, ?, 0, 0, 0, ?, ?, ?)",
                (now, now, cells, executor, _cell.host(), os.getpid()),
            ).lastrowid

    def status(self, job: Job) -> str | None:
        """Status of a cell, None where it is not recorded."""
        with explained(self.path):
            found = self._sql.execute("SELECT status FROM cells WHERE key = ?", (job.key,)).fetchone()
        return None if found is None else found[0]

    def skip(self, cells: int) -> None:
        """Say how many cells the run finds done."""
        with explained(self.path), self._transaction():
            self._sql.execute("UPDATE runs SET skipped = ? WHERE id = ?", (cells, self._run))

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
        due = time.monotonic() - self._committed >= COMMIT_SECONDS or self._bytes >= COMMIT_BYTES
        if not self._waiting or not (due or force):
            return
        with explained(self.path):
            self._write()
        self._waiting.clear()
        self._bytes, self._committed = 0, time.monotonic()

    def _write(self) -> None:
        import genkern

        now = time.time()
        with self._transaction():
            # A cell that is run again after a failure replaces its record.
            self._sql.executemany("DELETE FROM results WHERE key = ?", [(job.key,) for job, _ in self._waiting])
            self._sql.executemany(
                "INSERT OR REPLACE INTO cells VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    (
                        *(job.key, job.place, job.text, outcome.status, outcome.error, outcome.traceback),
                        *(genkern.__version__, outcome.seconds, now, outcome.host, outcome.pid),
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
            with explained(self.path), self._transaction():
                self._sql.execute("UPDATE runs SET ended = ? WHERE id = ?", (ended, self._run))
        finally:
            self._sql.close()
            self._held.release()


def identity(task: Task) -> dict[str, str]:
    """What two runs must share to share a store."""
    return {
        "task": task.name,
        "version": canonical(task.version),
        "parameters": canonical(list(task.names)),
        "common": canonical(task.marks),
    }


def match(path: Path, sql: sqlite3.Connection, task: Task) -> None:
    """Refuse a store of another task, version or set of parameters."""
    found = dict(sql.execute("SELECT name, value FROM meta").fetchall())
    for name, here in identity(task).items():
        there = found.get(name, "null")
        if name == "parameters":
            same = sorted(json.loads(here)) == sorted(json.loads(there) or [])
        else:
            same = here == there
        if not same:
            what = {"parameters": "the parameters", "common": "the common arguments", "version": "version"}.get(
                name, name
            )
            raise StoreMismatch(f"the store {path} belongs to {what} {there:.300}, not {here:.300}: name another file")


def check_header(path: Path) -> None:
    """Refuse a file that is no SQLite database, before SQLite touches it."""
    with open(path, "rb") as handle:
        head = handle.read(16)
    if head != b"SQLite format 3\0":
        raise ValueError(f"{path} is no sweep store")


def check_format(path: Path, sql: sqlite3.Connection) -> None:
    """Refuse another program's database, and a format that this version does not know."""
    if sql.execute("PRAGMA application_id").fetchone()[0] != APPLICATION:
        raise ValueError(f"{path} is no sweep store, but another program's database")
    version = sql.execute("PRAGMA user_version").fetchone()[0]
    if version != FORMAT:
        raise StoreMismatch(f"the store {path} has format {version}, and this genkern reads format {FORMAT}")
    missing = {"meta", "cells", "results", "runs"} - _tables(sql)
    if missing:
        raise ValueError(f"{path} is damaged: it has no table {', '.join(sorted(missing))}")


def _tables(sql: sqlite3.Connection) -> set[str]:
    return {name for (name,) in sql.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into one clear line."""
    try:
        yield
    except sqlite3.OperationalError as error:
        text = str(error)
        code = errno.ENOSPC if "full" in text else errno.EROFS if "readonly" in text else errno.EIO
        raise OSError(code, f"cannot use the store {path}: {text}") from None
    except sqlite3.DatabaseError as error:
        raise ValueError(f"{path} is no sweep store, or damaged: {error}") from None


@contextlib.contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """Open a store to read it, while a run writes it or not, also where nothing may be written."""
    if not path.is_file():
        raise FileNotFoundError(errno.ENOENT, f"no sweep store {path}")
    with explained(path):
        check_header(path)
        sql = _connect(path)
        try:
            check_format(path, sql)
            yield sql
        finally:
            sql.close()


def _connect(path: Path) -> sqlite3.Connection:
    uri = path.absolute().as_uri()
    sql = sqlite3.connect(f"{uri}?mode=ro", uri=True, timeout=30, check_same_thread=False)
    try:
        sql.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.OperationalError:
        # A folder that may not be written to: SQLite cannot share memory with a writer there, and there is none.
        sql.close()
        if path.with_name(path.name + "-wal").exists() and path.with_name(path.name + "-wal").stat().st_size:
            raise
        sql = sqlite3.connect(f"{uri}?mode=ro&immutable=1", uri=True, check_same_thread=False)
    except BaseException:
        sql.close()
        raise
    return sql
