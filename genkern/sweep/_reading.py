"""Reading a store that a run may be writing: in short pages, and with nothing believed unchecked.

No transaction and no connection stays open between two pages. SQLite would let nobody begin or end a run meanwhile.
"""

from __future__ import annotations

import itertools
import json
import math
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from genkern.sweep import _cell, _format, _lock, _values

PAGE_CELLS = 1000
PAGE_BYTES = 8 << 20
COLUMNS = "parameters, status, error, traceback, seconds, finished, host, genkern"
_TYPES = (str, str, str, str, float, float, str, str)
_KEY = 16  # bytes


def description(path: Path) -> dict[str, Any]:
    """What the store says of its sweep."""
    with _format.reading(path) as sql:
        meta = dict(sql.execute("SELECT name, value FROM meta").fetchall())
    try:
        if not all(isinstance(value, str) for value in meta.values()):
            raise TypeError
        found = {name: json.loads(meta[name]) for name in ("version", "parameters", "common", "created")}
        if not isinstance(found["parameters"], list) or not all(isinstance(name, str) for name in found["parameters"]):
            raise TypeError
        return found | {"task": meta["task"], "genkern": meta["genkern"]}
    except (KeyError, TypeError, ValueError, RecursionError):
        raise ValueError(f"{path} is damaged: its description is incomplete") from None


def keys(path: Path, failed: bool = False) -> Iterator[bytes]:
    """Keys of all recorded cells in the grid's order, 16 bytes of memory for each."""
    condition = f"status != '{_cell.DONE}'" if failed else "1"
    found = bytearray()
    with _format.reading(path) as sql:
        for (key,) in sql.execute(f"SELECT key FROM cells WHERE {condition} ORDER BY place, parameters"):
            if not isinstance(key, bytes) or len(key) != _KEY:
                raise ValueError(f"{path} is damaged: {key!r:.60} is no key of a cell")
            found += key
    for start in range(0, len(found), _KEY):
        yield bytes(found[start : start + _KEY])


def count(path: Path, wanted: Iterator[bytes] | None = None) -> int:
    """Number of recorded cells, or of those with the keys."""
    if wanted is None:
        with _format.reading(path) as sql:
            return int(sql.execute("SELECT count(*) FROM cells").fetchone()[0])
    total = 0
    while page := list(itertools.islice(wanted, PAGE_CELLS)):
        with _format.reading(path) as sql:
            query = "SELECT 1 FROM cells WHERE key = ?"
            total += sum(sql.execute(query, (key,)).fetchone() is not None for key in page)
    return total


def cells(path: Path, wanted: Iterator[bytes], results: bool = True) -> Iterator[tuple[Any, ...]]:
    """Recorded cells with these keys: the columns of the table, and the results."""
    waiting: list[bytes] = []
    while waiting := waiting or list(itertools.islice(wanted, PAGE_CELLS)):
        page: list[tuple[Any, ...]] = []
        size = taken = 0
        with _format.reading(path) as sql:
            for key in waiting:
                taken += 1
                row = sql.execute(f"SELECT {COLUMNS} FROM cells WHERE key = ?", (key,)).fetchone()
                if row is None:
                    continue
                check(path, row)
                rows = _results(sql, key) if results else []
                page.append((*row, rows))
                size += sum(len(row[3]) if isinstance(row[3], bytes) else 0 for row in rows)
                if size > PAGE_BYTES:
                    break
        waiting = waiting[taken:]
        for row in page:
            yield (*row[:-1], {name: _values.decode(name, *rest) for name, *rest in row[-1]})


def check(path: Path, row: tuple[Any, ...]) -> None:
    """Refuse a cell whose columns are not of their types."""
    if not all(isinstance(value, kind) for value, kind in zip(row, _TYPES, strict=True)):
        raise ValueError(f"{path} is damaged: a cell has columns of wrong types")


def _results(sql: sqlite3.Connection, key: bytes) -> list[tuple[Any, ...]]:
    query = "SELECT name, dtype, shape, data FROM results WHERE key = ? ORDER BY name"
    return sql.execute(query, (key,)).fetchall()


def state(path: Path) -> tuple[int, int, int, bool, float, float]:
    """Numbers of cells, of recorded and of done ones, whether a run goes on, its rate, the seconds left."""
    running = _lock.held(path)
    with _format.reading(path) as sql:
        sql.execute("BEGIN")  # both queries see the same commit
        recorded, done = sql.execute(
            f"SELECT count(*), coalesce(sum(status = '{_cell.DONE}'), 0) FROM cells"
        ).fetchone()
        run = sql.execute(
            "SELECT cells, skipped, done + failed, updated - started FROM runs ORDER BY id DESC LIMIT 1"
        ).fetchone() or (recorded, recorded, 0, 0.0)
    if not _sound(*run):
        raise ValueError(f"{path} is damaged: the description of its latest run is none")
    total, skipped, finished, seconds = run
    if running:  # failures that a retry has not come to count as not yet recorded
        recorded = min(recorded, max(done, skipped + finished))
    total = max(total, recorded)
    rate = finished / seconds if finished and seconds > 0 else float("nan")
    left = (total - recorded) / rate if total > recorded else 0.0
    return total, recorded, done, running, rate, left


def _sound(total: Any, skipped: Any, finished: Any, seconds: Any) -> bool:
    counts = all(isinstance(n, int) and 0 <= n < 1 << 53 for n in (total, skipped, finished))
    return counts and isinstance(seconds, (int, float)) and math.isfinite(seconds)


def parameters(path: Path, text: str, names: Iterable[str]) -> dict[str, Any]:
    """Parameters of a cell from their text."""
    try:
        found = json.loads(text)
        return {name: _tuple(found[name]) for name in names}
    except (KeyError, TypeError, ValueError, RecursionError):
        raise ValueError(f"{path} is damaged: {text!r:.60} are not the parameters of a cell") from None


def _tuple(value: Any) -> Any:
    if isinstance(value, dict):
        raise ValueError("a mapping is no parameter")
    return tuple(map(_tuple, value)) if isinstance(value, list) else value
