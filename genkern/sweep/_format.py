"""The file of a store: its tables, what is checked before it is believed, and how it is opened to be read."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from genkern.errors import StoreMismatch
from genkern.sweep import _lock
from genkern.sweep._task import Task, canonical

FORMAT = 1
APPLICATION = 0x676B7377  # "gksw", in the header of the file

TABLES = (
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


def identity(task: Task) -> dict[str, str]:
    """What two runs must share to share a store."""
    return {
        "task": task.name,
        "version": canonical(task.version),
        "parameters": canonical(list(task.names)),
        "common": canonical(task.marks),
    }


def locate(path: str | os.PathLike[str]) -> Path:
    """The store itself, whatever links lead to it and wherever a task changes to."""
    return Path(os.path.realpath(os.path.expanduser(Path(path))))


def match(path: Path, sql: sqlite3.Connection, task: Task) -> None:
    """Refuse a store of another task, version or set of parameters."""
    found = dict(sql.execute("SELECT name, value FROM meta").fetchall())
    for name, here in identity(task).items():
        there = found.get(name)
        if not isinstance(there, str):
            raise ValueError(f"{path} is damaged: its description has no {name}")
        try:
            same = here == there if name != "parameters" else sorted(json.loads(here)) == sorted(json.loads(there))
        except (TypeError, ValueError, RecursionError):
            raise ValueError(f"{path} is damaged: its description has no {name}") from None
        if not same:
            what = {"common": "common arguments"}.get(name, name)
            if name == "common":
                there, here = _differing(there, here), _differing(here, there)
            raise StoreMismatch(f"the store {path} is of {what} {there:.300}, not {here:.300}: name another file")


def _differing(text: str, other: str) -> str:
    """What one JSON object has that another has not."""
    try:
        ours, theirs = json.loads(text), json.loads(other)
        found = {name: value for name, value in ours.items() if theirs.get(name, theirs) != value}
    except (AttributeError, ValueError, RecursionError):  # the text of a damaged store
        return text
    return ", ".join(f"{name} = {json.dumps(value):.80}" for name, value in found.items()) or "(none)"


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
    # Nothing but what this version makes: a trigger or a view would run in whoever uses the store.
    made = {("table", table.split()[2], table.split()[2], table) for table in TABLES}
    found = schema(sql)
    missing = [name for _, name, _, _ in sorted(made) if ("table", name) not in {row[:2] for row in found}]
    if missing:
        raise ValueError(f"{path} is damaged: it has no table {', '.join(missing)}")
    indices = [row for row in found if row[0] == "index" and str(row[1]).startswith("sqlite_autoindex_") and not row[3]]
    if set(found) - set(indices) != made:
        raise ValueError(f"{path} is damaged: its tables are not those of a store")


def schema(sql: sqlite3.Connection) -> list[tuple[Any, ...]]:
    """All that the database has: types, names, tables and texts."""
    return sql.execute("SELECT type, name, tbl_name, sql FROM sqlite_master").fetchall()


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into one clear line."""
    try:
        yield
    except sqlite3.OperationalError as error:
        text, name = str(error), getattr(error, "sqlite_errorname", "")
        if text.startswith("Could not decode"):
            raise ValueError(f"{path} is damaged: it has text that is not UTF-8") from None
        if text == "unsupported file format":
            raise ValueError(f"{path} is no sweep store, or damaged: {text}") from None
        code = errno.ENOSPC if "full" in text else errno.EROFS if "readonly" in text else errno.EIO
        if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            code, text = errno.EAGAIN, f"somebody else is reading or writing it ({text})"
        elif name.startswith("SQLITE_IOERR") and not name.endswith("READ"):
            text += " (is the disk full?)"
        raise OSError(code, f"cannot use the store {path}: {text}") from None
    except UnicodeDecodeError:  # in the text of SQLite's error
        raise ValueError(f"{path} is damaged: it has text that is not UTF-8") from None
    except sqlite3.DatabaseError as error:
        raise ValueError(f"{path} is no sweep store, or damaged: {error}") from None


@contextlib.contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """Open a store to read it, while a run writes it or not, also where nothing may be written."""
    refuse_folder(path)
    if not path.is_file():
        raise FileNotFoundError(errno.ENOENT, f"no sweep store {path}")
    with explained(path):
        sql = _patient(path)
        try:
            yield sql
        finally:
            sql.close()


def refuse_folder(path: Path) -> None:
    """Refuse a folder as a store."""
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, f"{path} is a folder, and a sweep store is a file")


def _patient(path: Path) -> sqlite3.Connection:
    """Open a store that a run may be making or ending in this instant."""
    deadline, first = time.monotonic() + 1.0, True
    while True:
        try:
            check_header(path)
            sql = _connect(path)
            try:
                sql.execute("PRAGMA trusted_schema=OFF")
                check_format(path, sql)
                return sql
            except BaseException:
                sql.close()
                raise
        except (ValueError, sqlite3.DatabaseError) as error:
            ending = first and isinstance(error, sqlite3.OperationalError)
            if time.monotonic() > deadline or not (ending or _lock.held(path)):
                raise
        first = False
        time.sleep(0.02)


def _connect(path: Path) -> sqlite3.Connection:
    uri = path.absolute().as_uri()
    sql = sqlite3.connect(f"{uri}?mode=ro", uri=True, timeout=30, check_same_thread=False)
    try:
        sql.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.OperationalError as error:
        if getattr(error, "sqlite_errorname", "").startswith("SQLITE_BUSY"):
            sql.close()
            raise
        # A folder that may not be written to: SQLite cannot share memory with a writer there, and there is none.
        sql.close()
        if path.with_name(path.name + "-wal").exists() and path.with_name(path.name + "-wal").stat().st_size:
            raise
        sql = sqlite3.connect(f"{uri}?mode=ro&immutable=1", uri=True, check_same_thread=False)
    except BaseException:
        sql.close()
        raise
    return sql
