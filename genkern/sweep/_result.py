"""What a sweep gives: its cells, read from the store when they are asked for."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from genkern.sweep import _cell, _export, _format, _reading
from genkern.sweep._grid import Grid
from genkern.sweep._task import Task

_COLUMNS = f"key, {_reading.COLUMNS}"


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
        Cells that are recorded, of which done and failed (any status but "done"). While a retry runs, the failures that
        it has not come to count as not recorded.
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
        self._path, self._task, self._grid = _format.locate(path), task, grid
        if not self._path.exists():
            raise FileNotFoundError(errno.ENOENT, f"no sweep store {Path(path)}")
        self._meta = _reading.description(self._path)
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
        return _reading.count(self._path, None if self._grid is None else self._keys())

    def __iter__(self) -> Iterator[Cell]:
        return self._cells(self._keys(), True)

    @property
    def failed(self) -> list[Cell]:
        """Cells whose status is not "done"."""
        return [cell for cell in self._cells(self._keys(failed=True), False) if cell.status != _cell.DONE]

    def status(self) -> SweepStatus:
        """Counts, rate and time left, also while another process runs the sweep."""
        cells, recorded, done, running, rate, left = _reading.state(self._path)
        return SweepStatus(cells, recorded, done, recorded - done, running, rate, left)

    def __repr__(self) -> str:
        state = self.status()
        return f"<SweepResult of {self.task}: {state.done} done and {state.failed} failed of {state.cells} cells>"

    def _keys(self, failed: bool = False) -> Iterator[bytes]:
        """Keys of the cells in the grid's order; with a grid, those of cells that are not recorded too."""
        if self._grid is None or self._task is None:
            return _reading.keys(self._path, failed)
        task = self._task
        return (task.job(place, parameters).key for place, parameters in enumerate(self._grid))

    def _cells(self, keys: Iterator[bytes], results: bool) -> Iterator[Cell]:
        for text, *rest, values in _reading.cells(self._path, keys, results):
            yield Cell(self._parameters(text), values, *rest)

    def _rows(self, sql: Any, columns: str) -> Iterator[tuple[Any, ...]]:
        """Rows of the table of cells in the grid's order, to a reader with a transaction of its own."""
        with _format.explained(self._path):
            if self._grid is None or self._task is None:
                rows = iter(sql.execute(f"SELECT {columns} FROM cells ORDER BY place, parameters"))
            else:
                query = f"SELECT {columns} FROM cells WHERE key = ?"
                found = (sql.execute(query, (key,)).fetchone() for key in self._keys())
                rows = (row for row in found if row is not None)
            for row in rows:
                if columns == _COLUMNS:
                    _reading.check(self._path, row[1:])
                yield row

    def _parameters(self, text: str) -> dict[str, Any]:
        return _reading.parameters(self._path, text, self._names)

    def to_pandas(self) -> Any:
        """Table with a row per recorded cell: parameters, results that are no arrays, status, error and seconds.

        Results that are arrays become columns of arrays. Parameters and results keep their names: a column of ours
        whose name is taken gets underscores in front. Needs pandas.
        """
        return _export.to_pandas(self)

    def to_xarray(self, *, dense: bool | None = None) -> Any:
        """Labelled arrays of the results, with one dimension per parameter.

        A result that is an array brings its own dimensions, ``<name>_0``, ``<name>_1``, ...; where its shape differs
        between cells, it is padded. What no cell gave is NaN, and an empty string for strings; integers and bools with
        such gaps become float64. The text of a parameter's value is its label where the values are not all numbers,
        all bools or all strings. No integer is rounded: labels that no dtype holds exactly are text, such results
        Python integers. Dimensions whose names are taken get underscores in front. Needs xarray.

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
