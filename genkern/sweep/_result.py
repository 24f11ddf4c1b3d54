"""What a sweep gives: its cells, read from the store when they are asked for."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from genkern.sweep import _cell, _export, _format, _lock, _values
from genkern.sweep._grid import Grid
from genkern.sweep._task import Task

_COLUMNS = "key, parameters, status, error, traceback, seconds, finished, host, genkern"


@dataclass(frozen=True)
class Cell:
    """One recorded cell.

    Attributes
    ----------
    parameters : dict
        Its values of the axes.
    results : dict
        What the task returned: numbers, strings, bools and arrays. Empty for a cell that gave no result.
    status : str
        "done"; "nan" (the results are there, and one has a NaN); "failed" (the task raised, or returned something else
        than a dict of numbers, strings, bools and arrays); "timeout"; "crashed" (it took its worker process with it).
    error : str
        What went wrong in one line, empty if nothing did.
    traceback : str
        Lines of the task's traceback, where it raised.
    seconds : float
        Time that the task took.
    finished : float
        Time of the commit, in seconds since the epoch.
    host, genkern : str
        Machine and version of genkern.
    """

    parameters: dict[str, Any]
    results: dict[str, Any]
    status: str
    error: str = ""
    traceback: str = field(default="", repr=False)
    seconds: float = field(default=0.0, repr=False)
    finished: float = field(default=0.0, repr=False)
    host: str = field(default="", repr=False)
    genkern: str = field(default="", repr=False)


@dataclass(frozen=True)
class SweepStatus:
    """How far a sweep is.

    Attributes
    ----------
    cells : int
        Cells of the sweep.
    recorded, done, failed : int
        Cells that are recorded, of which done and failed (any status but "done").
    running : bool
        Whether a run has the store now.
    rate : float
        Cells per second of the latest run; NaN before its first commit.
    seconds_left : float
        Time for the cells that are left, at that rate; 0 where none is, NaN where nothing is known.
    """

    cells: int
    recorded: int
    done: int
    failed: int
    running: bool
    rate: float
    seconds_left: float


class SweepResult:
    """Cells of a sweep, in the grid's order; read from the store each time, and never all at once in memory.

    ``len`` is the number of recorded cells; iteration gives each as a `Cell`.
    """

    def __init__(self, path: str | os.PathLike[str], task: Task | None = None, grid: Grid | None = None) -> None:
        self._path, self._task, self._grid = Path(path), task, grid
        with _format.reading(self._path) as sql:
            meta = dict(sql.execute("SELECT name, value FROM meta"))
        try:
            self._meta = {name: json.loads(meta[name]) for name in ("version", "parameters", "common", "created")}
            self._meta |= {"task": meta["task"], "genkern": meta["genkern"]}
        except (KeyError, TypeError, ValueError):
            raise ValueError(f"{self._path} is damaged: its description is incomplete") from None
        self._names: tuple[str, ...] = grid.names if grid is not None else tuple(self._meta["parameters"])

    @property
    def path(self) -> Path:
        """The store."""
        return self._path

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the parameters."""
        return self._names

    @property
    def task(self) -> str:
        """Name of the task, ``module:function``."""
        return str(self._meta["task"])

    @property
    def version(self) -> int | str:
        """Version of the task."""
        version: int | str = self._meta["version"]
        return version

    @property
    def common(self) -> dict[str, Any]:
        """Common arguments of the task, arrays as dtype, shape and hash, paths as {"path": ...}, tuples as lists."""
        if not isinstance(self._meta["common"], dict):
            raise ValueError(f"{self._path} is damaged: its common arguments are none")
        return dict(self._meta["common"])

    def __len__(self) -> int:
        with _format.reading(self._path) as sql:
            if self._grid is None:
                return int(sql.execute("SELECT count(*) FROM cells").fetchone()[0])
            return sum(1 for _ in self._rows(sql, "key"))

    def __iter__(self) -> Iterator[Cell]:
        with _format.reading(self._path) as sql:
            for key, text, *rest in self._rows(sql, _COLUMNS):
                rows = sql.execute("SELECT name, dtype, shape, data FROM results WHERE key = ? ORDER BY name", (key,))
                results = {row[0]: _values.decode(*row) for row in rows.fetchall()}
                yield Cell(self._parameters(text), results, *rest)

    @property
    def failed(self) -> list[Cell]:
        """Cells whose status is not "done"."""
        with _format.reading(self._path) as sql:
            found = self._rows(sql, _COLUMNS, f"status != '{_cell.DONE}'")
            return [Cell(self._parameters(text), {}, *rest) for _, text, *rest in found]

    def status(self) -> SweepStatus:
        """Counts, rate and time left, also while another process runs the sweep."""
        running = _lock.held(self._path)
        with _format.reading(self._path) as sql:
            recorded, done = sql.execute(
                f"SELECT count(*), coalesce(sum(status = '{_cell.DONE}'), 0) FROM cells"
            ).fetchone()
            run = sql.execute(
                "SELECT cells, done + failed, updated - started FROM runs ORDER BY id DESC LIMIT 1"
            ).fetchone() or (recorded, 0, 0.0)
        cells = max(run[0], recorded)
        rate = run[1] / run[2] if run[1] and run[2] > 0 else float("nan")
        left = (cells - recorded) / rate if cells > recorded else 0.0
        return SweepStatus(cells, recorded, done, recorded - done, running, rate, left)

    def __repr__(self) -> str:
        state = self.status()
        return f"<SweepResult of {self.task}: {state.done} done and {state.failed} failed of {state.cells} cells>"

    def _rows(self, sql: Any, columns: str, condition: str = "1") -> Iterator[tuple[Any, ...]]:
        """Rows of the table of cells in the grid's order."""
        with _format.explained(self._path):
            if self._grid is None or self._task is None:
                yield from sql.execute(f"SELECT {columns} FROM cells WHERE {condition} ORDER BY place, parameters")
                return
            query = f"SELECT {columns} FROM cells WHERE key = ? AND {condition}"
            for place, parameters in enumerate(self._grid):
                row = sql.execute(query, (self._task.job(place, parameters).key,)).fetchone()
                if row is not None:
                    yield row

    def _parameters(self, text: str) -> dict[str, Any]:
        try:
            found = json.loads(text)
            return {name: _tuple(found[name]) for name in self._names}
        except (KeyError, TypeError, ValueError, RecursionError):
            raise ValueError(f"{self._path} is damaged: {text!r:.60} are not the parameters of a cell") from None

    def to_pandas(self) -> Any:
        """Table with a row per recorded cell: parameters, results that are no arrays, status, error and seconds.

        Results that are arrays become columns of arrays. Needs pandas.
        """
        return _export.to_pandas(self)

    def to_xarray(self, *, dense: bool | None = None) -> Any:
        """Labelled arrays of the results, with one dimension per parameter.

        A result that is an array brings its own dimensions, ``<name>_0``, ``<name>_1``, ...; where its shape differs
        between cells, it is padded. What no cell gave is NaN, and an empty string for strings; integers and bools with
        such gaps become float64. The text of a parameter's value is its label where the values are not all numbers,
        all bools or all strings. Needs xarray.

        Parameters
        ----------
        dense : bool, optional
            Whether parameters are dimensions (True), or coordinates along one dimension ``cell`` (False). By default
            they are dimensions if the cells fill a quarter of them at least.

        Returns
        -------
        xarray.Dataset
        """
        return _export.to_xarray(self, dense)

    def to_netcdf(self, path: str | os.PathLike[str]) -> None:
        """Write `to_xarray` to a netCDF file. Needs xarray."""
        _export.to_netcdf(self, path)

    def to_parquet(self, path: str | os.PathLike[str]) -> None:
        """Write `to_pandas` to a Parquet file. Needs pandas and pyarrow."""
        _export.to_parquet(self, path)

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write parameters, results that are no arrays, status, error and seconds to a CSV file. Needs nothing."""
        _export.to_csv(self, path)

    def to_npz(self, path: str | os.PathLike[str]) -> None:
        """Write `to_xarray`, arrays and labels, to an NPZ file that needs no pickle. Needs xarray."""
        _export.to_npz(self, path)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write to a file of the kind that its name ends in: .nc, .parquet, .csv or .npz."""
        _export.save(self, path)


def _tuple(value: Any) -> Any:
    if isinstance(value, dict):
        raise ValueError("a mapping is no parameter")
    return tuple(map(_tuple, value)) if isinstance(value, list) else value
