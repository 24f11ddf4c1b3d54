"""Results of a sweep as tables, labelled arrays and files.

Parameters and results keep their names; what is added to them (the columns status, error and seconds, the dimensions
cell and ``<result>_0``) gets underscores in front where its name is taken. No integer is rounded: a label that a format
cannot hold is written as text, and a result that it cannot hold is an error.
"""

from __future__ import annotations

import csv
import importlib.util
import itertools
import os
import secrets
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from genkern.sweep import _arrays, _format, _values
from genkern.sweep._arrays import free, need

if TYPE_CHECKING:
    from genkern.sweep._result import Cell, SweepResult

PathLike = str | os.PathLike[str]
_BOOKKEEPING = ("status", "error", "seconds")


class _Frozen:
    """Cells of a store as they are in one transaction of a reader: a run that goes on writing is not seen."""

    def __init__(self, result: SweepResult, sql: Any) -> None:
        self.result, self._sql = result, sql

    def __iter__(self) -> Iterator[Cell]:
        from genkern.sweep import _result

        for key, text, *rest in self.result._rows(self._sql, _result._COLUMNS):
            rows = self._sql.execute("SELECT name, dtype, shape, data FROM results WHERE key = ? ORDER BY name", (key,))
            results = {row[0]: _values.decode(*row) for row in rows.fetchall()}
            yield _result.Cell(self.result._parameters(text), results, *rest)


@contextmanager
def _frozen(result: SweepResult) -> Iterator[_Frozen]:
    with _format.reading(result.path) as sql:
        sql.execute("BEGIN")
        yield _Frozen(result, sql)


def to_pandas(result: SweepResult) -> Any:
    """See SweepResult."""
    pandas = need("pandas", "to_pandas", "genkern[studies]")
    columns: dict[str, list[Any]] = {name: [] for name in result.names}
    tail: dict[str, list[Any]] = {name: [] for name in _BOOKKEEPING}
    count = 0
    for cell in result:
        for name in result.names:
            columns[name].append(cell.parameters[name])
        for name, value in cell.results.items():
            column = columns.setdefault(name, [])
            column += [None] * (count - len(column))
            column.append(value)
        for name, values in tail.items():
            values.append(getattr(cell, name))
        count += 1
    taken = set(columns)
    columns |= {free(name, taken): values for name, values in tail.items()}
    series = {}
    for name, column in columns.items():
        column += [None] * (count - len(column))
        series[name] = pandas.Series(column, dtype=None if count and _plain(column) else object)
    return pandas.DataFrame(series)


def _plain(column: list[Any]) -> bool:
    """Whether pandas may choose the dtype: it would round large integers beside gaps and floats."""
    if any(isinstance(value, (tuple, np.ndarray)) for value in column):
        return False
    whole = [isinstance(value, (int, np.integer)) for value in column]
    large = any(abs(int(value)) > _arrays.EXACT for value, is_whole in zip(column, whole, strict=True) if is_whole)
    return not large or all(whole)


def to_xarray(result: SweepResult, dense: bool | None) -> Any:
    """See SweepResult."""
    with _frozen(result) as cells:
        return _arrays.dataset(cells, dense)


def to_netcdf(result: SweepResult, path: PathLike) -> None:
    """See SweepResult."""
    data = to_xarray(result, None)
    for name, array in data.data_vars.items():
        if array.dtype.kind == "c":
            raise ValueError(f"netCDF has no complex numbers: return the two parts of result {name!r} from the task")
    for name, array in data.data_vars.items():
        _refuse_objects("netCDF", name, array)
    if not any(importlib.util.find_spec(module) for module in ("netCDF4", "h5netcdf")):
        data = _netcdf3(data)
    with _replacing(path) as stage:
        data.to_netcdf(stage)


def _refuse_objects(kind: str, name: Any, array: Any) -> None:
    if array.dtype == object:
        raise ValueError(f"{kind} cannot hold the integers of result {name!r} exactly: return them as text or as float")


def _netcdf3(data: Any) -> Any:
    """What netCDF 3, which SciPy writes, can hold: integers beyond 32 bits become float64, beyond 53 bits text."""
    for name, array in data.variables.items():
        values = array.values
        if values.dtype.kind in "iu" and values.dtype.itemsize > 2:
            low, high = (int(values.min()), int(values.max())) if values.size else (0, 0)
            if max(-low, high) > _arrays.EXACT and name in data.data_vars:
                raise ValueError(
                    f"netCDF 3 cannot hold the integers of result {name!r} exactly: return them as text or as float, "
                    "or install netCDF4"
                )
            small = low >= -(2**31) and high < 2**31
            kind = np.int32 if small else np.float64 if max(-low, high) <= _arrays.EXACT else str
            data = data.assign({name: array.astype(kind)})
        elif values.dtype == np.float16:
            data = data.assign({name: array.astype(np.float32)})
    return data


def to_parquet(result: SweepResult, path: PathLike) -> None:
    """See SweepResult."""
    arrow = need("pyarrow", "to_parquet", "pyarrow")
    table = to_pandas(result)
    for name in table:
        if table[name].dtype == object:
            table[name] = table[name].map(_listed)
            try:
                arrow.array(table[name], from_pandas=True)
            except (ValueError, TypeError, OverflowError) as error:
                if name not in result.names:
                    raise ValueError(f"Parquet cannot hold result {name!r}: {error}") from None
                table[name] = table[name].map(str)
    with _replacing(path) as stage:
        table.to_parquet(stage, engine="pyarrow", index=False)


def _listed(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.tolist()
    return str(value) if isinstance(value, tuple) else value


def to_csv(result: SweepResult, path: PathLike) -> None:
    """See SweepResult."""
    with _frozen(result) as cells, _replacing(path) as stage:
        names: dict[str, None] = {}
        taken = set(result.names)
        for cell in cells:
            taken |= set(cell.results)
            names.update((name, None) for name, value in cell.results.items() if np.ndim(value) == 0)
        with open(stage, "w", newline="", encoding="utf-8", errors="backslashreplace") as handle:
            writer = csv.writer(handle)
            writer.writerow([*result.names, *names, *(free(name, taken) for name in _BOOKKEEPING)])
            for cell in cells:
                values = (cell.results.get(name, "") for name in names)
                writer.writerow([*cell.parameters.values(), *values, cell.status, cell.error, repr(cell.seconds)])


def to_npz(result: SweepResult, path: PathLike) -> None:
    """See SweepResult."""
    data = to_xarray(result, None)
    with _replacing(path) as stage, zipfile.ZipFile(stage, "w", zipfile.ZIP_DEFLATED) as archive:
        # np.savez takes the arrays as keywords, beside its own.
        for name, array in itertools.chain(data.coords.items(), data.data_vars.items()):
            _refuse_objects("NPZ", name, array)
            with archive.open(f"{name}.npy", "w", force_zip64=True) as handle:
                np.lib.format.write_array(handle, array.values, allow_pickle=False)


_KINDS = {".nc": to_netcdf, ".parquet": to_parquet, ".csv": to_csv, ".npz": to_npz}


def save(result: SweepResult, path: PathLike) -> None:
    """See SweepResult."""
    kind = Path(path).suffix
    if kind not in _KINDS:
        raise ValueError(f"path must end in {', '.join(_KINDS)}, got {os.fspath(path)!r}")
    _KINDS[kind](result, path)


@contextmanager
def _replacing(path: PathLike) -> Iterator[Path]:
    """Name of a file to write, which takes the place of `path` when it is complete."""
    target = Path(path)
    stage = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    try:
        yield stage
        os.replace(stage, target)
    except UnicodeEncodeError as error:
        raise ValueError(f"cannot write {target}: this format cannot hold the text {str(error.object)!a:.80}") from None
    except OSError as error:
        raise OSError(error.errno, f"cannot write {target}: {error.strerror or error}") from None
    finally:
        stage.unlink(missing_ok=True)
