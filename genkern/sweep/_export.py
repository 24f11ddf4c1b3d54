"""Results of a sweep as tables, labelled arrays and files."""

from __future__ import annotations

import csv
import itertools
import math
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from genkern.sweep._result import SweepResult

Array = np.ndarray[Any, Any]
PathLike = str | os.PathLike[str]
FILLED = 0.25  # of the product of the axes: fewer cells are laid out along one dimension


def _need(module: str, what: str, extra: str) -> Any:
    import importlib

    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(f"{what} needs the package {module}: pip install '{extra}' ({error})") from error


def to_pandas(result: SweepResult) -> Any:
    """See SweepResult."""
    pandas = _need("pandas", "to_pandas", "genkern[studies]")
    columns: dict[str, list[Any]] = {name: [] for name in result.names}
    tail: dict[str, list[Any]] = {"status": [], "error": [], "seconds": []}
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
    series = {}
    for name, column in {**columns, **{name: v for name, v in tail.items() if name not in columns}}.items():
        column += [None] * (count - len(column))
        plain = not any(isinstance(value, (tuple, np.ndarray)) for value in column)
        series[name] = pandas.Series(column) if plain and count else pandas.Series(column, dtype=object)
    return pandas.DataFrame(series)


class _Axis:
    """Labels of one parameter."""

    def __init__(self, values: list[Any]) -> None:
        kinds = {bool if isinstance(v, bool) else float if isinstance(v, (int, float)) else type(v) for v in values}
        simple = len(kinds) == 1 and kinds <= {bool, float, str}
        self._label: Callable[[Any], Any] = (lambda v: v) if simple else str
        labels = dict.fromkeys(map(self._label, values))
        self.order = {label: i for i, label in enumerate(labels)}

    def place(self, value: Any) -> int:
        return self.order[self._label(value)]

    def label(self, value: Any) -> Any:
        return self._label(value)

    @property
    def labels(self) -> Array:
        return np.array(list(self.order))


def to_xarray(result: SweepResult, dense: bool | None) -> Any:
    """See SweepResult."""
    xarray = _need("xarray", "to_xarray", "genkern[studies]")
    seen: dict[str, dict[Any, Any]] = {name: {} for name in result.names}
    shapes: dict[str, tuple[int, ...]] = {}
    dtypes: dict[str, Any] = {}
    counts: dict[str, int] = {}
    cells = 0
    places = set()
    for cell in result:
        cells += 1
        for name in result.names:
            value = cell.parameters[name]
            seen[name].setdefault((type(value), value), value)
        for name, value in cell.results.items():
            array = np.asarray(value)
            counts[name] = counts.get(name, 0) + 1
            shapes[name] = _larger(name, shapes.get(name), array.shape)
            dtypes[name] = array.dtype if name not in dtypes else _common(name, dtypes[name], array.dtype)
            if array.shape != shapes[name]:
                counts[name] = -(1 << 62)  # a padded result has gaps
    axes = {name: _Axis(list(values.values())) for name, values in seen.items()}
    size = math.prod(len(axis.order) for axis in axes.values())
    for cell in result if dense is None or dense else ():
        places.add(tuple(axes[name].place(cell.parameters[name]) for name in result.names))
    unique = len(places) == cells
    if dense and not unique:
        raise ValueError("dense must be False here: two cells have the same labels")
    if dense is None:
        dense = unique and cells >= FILLED * size
    shape = tuple(len(axis.order) for axis in axes.values()) if dense else (cells,)
    slots = math.prod(shape)
    arrays = {
        name: _blank((*shape, *shapes[name]), dtypes[name], counts[name] < slots or _ragged(counts[name]))
        for name in sorted(shapes)
    }
    labels: dict[str, list[Any]] = {name: [] for name in result.names}
    for i, cell in enumerate(result):
        place = tuple(axes[name].place(cell.parameters[name]) for name in result.names) if dense else (i,)
        for name in result.names:
            labels[name].append(axes[name].label(cell.parameters[name]))
        for name, value in cell.results.items():
            part = np.asarray(value)
            where: tuple[int | slice, ...] = (*place, *(slice(length) for length in part.shape))
            arrays[name][where] = part
    dims = result.names if dense else ("cell",)
    data = {
        name: ((*dims, *(f"{name}_{i}" for i in range(len(shapes[name])))), array) for name, array in arrays.items()
    }
    coords = {name: (name, axis.labels) if dense else ("cell", np.array(labels[name])) for name, axis in axes.items()}
    return xarray.Dataset(data, coords, {"task": result.task, "version": str(result.version)})


def _ragged(count: int) -> bool:
    return count < 0


def _larger(name: str, shape: tuple[int, ...] | None, other: tuple[int, ...]) -> tuple[int, ...]:
    if shape is None:
        return other
    if len(shape) != len(other):
        raise ValueError(f"result {name!r} must have as many axes in every cell, got shapes {shape} and {other}")
    return tuple(map(max, shape, other))


def _common(name: str, dtype: Any, other: Any) -> Any:
    if (dtype.kind == "U") != (other.kind == "U"):
        raise ValueError(f"result {name!r} must be of one kind in every cell, got {dtype} and {other}")
    return np.result_type(dtype, other)


def _blank(shape: tuple[int, ...], dtype: Any, gaps: bool) -> Array:
    """Memory for results; with gaps, of a dtype that can say so."""
    if dtype.kind == "U":
        return np.full(shape, "", dtype)
    if not gaps:
        return np.zeros(shape, dtype)
    return np.full(shape, np.nan, dtype if dtype.kind in "fc" else np.float64)


def to_netcdf(result: SweepResult, path: PathLike) -> None:
    """See SweepResult."""
    data = to_xarray(result, None)
    for name, array in data.data_vars.items():
        if array.dtype.kind == "c":
            raise ValueError(f"netCDF has no complex numbers: return the two parts of result {name!r} from the task")
    if not any(_installed(module) for module in ("netCDF4", "h5netcdf")):
        data = _netcdf3(data)
    with _replacing(path) as stage:
        data.to_netcdf(stage)


def _netcdf3(data: Any) -> Any:
    """What netCDF 3, which SciPy writes, can hold: integers beyond 32 bits become float64."""
    for name, array in data.variables.items():
        values = array.values
        if values.dtype.kind in "iu" and values.dtype.itemsize > 2:
            small = values.size == 0 or (values.min() >= -(2**31) and values.max() < 2**31)
            data = data.assign({name: array.astype(np.int32 if small else np.float64)})
        elif values.dtype == np.float16:
            data = data.assign({name: array.astype(np.float32)})
    return data


def _installed(module: str) -> bool:
    import importlib.util

    return importlib.util.find_spec(module) is not None


def to_parquet(result: SweepResult, path: PathLike) -> None:
    """See SweepResult."""
    _need("pyarrow", "to_parquet", "pyarrow")
    table = to_pandas(result)
    for name in table:
        if table[name].dtype == object:
            table[name] = table[name].map(_listed)
    with _replacing(path) as stage:
        table.to_parquet(stage, engine="pyarrow", index=False)


def _listed(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.tolist()
    return str(value) if isinstance(value, tuple) else value


def to_csv(result: SweepResult, path: PathLike) -> None:
    """See SweepResult."""
    names: dict[str, None] = {}
    for cell in result:
        names.update((name, None) for name, value in cell.results.items() if np.ndim(value) == 0)
    with _replacing(path) as stage, open(stage, "w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle)
        writer.writerow([*result.names, *names, "status", "error", "seconds"])
        for cell in result:
            values = (cell.results.get(name, "") for name in names)
            writer.writerow([*cell.parameters.values(), *values, cell.status, cell.error, repr(cell.seconds)])


def to_npz(result: SweepResult, path: PathLike) -> None:
    """See SweepResult."""
    data = to_xarray(result, None)
    arrays = {str(name): array.values for name, array in itertools.chain(data.coords.items(), data.data_vars.items())}
    with _replacing(path) as stage, open(stage, "wb") as handle:
        np.savez_compressed(handle, allow_pickle=False, **arrays)


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
    except OSError as error:
        raise OSError(error.errno, f"cannot write {target}: {error.strerror or error}") from None
    finally:
        stage.unlink(missing_ok=True)
