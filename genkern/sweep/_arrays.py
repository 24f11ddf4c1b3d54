"""Results of a sweep as labelled arrays.

No integer is rounded: labels that no dtype holds exactly are text, and results that none holds are Python integers.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from genkern.sweep import _task

if TYPE_CHECKING:
    from genkern.sweep._result import Cell, SweepResult

Array = np.ndarray[Any, Any]
FILLED = 0.25  # of the product of the axes: fewer cells are laid out along one dimension
EXACT = 2**53  # integers up to here are float64 as well


class Cells(Protocol):
    """Cells that are the same each time one runs through them."""

    result: SweepResult

    def __iter__(self) -> Any:
        """Run through the cells."""


def need(module: str, what: str, extra: str) -> Any:
    """Module of an optional package."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(f"{what} needs the package {module}: pip install '{extra}' ({error})") from error


def free(name: str, taken: set[str]) -> str:
    """Name for something of ours: parameters and results keep theirs, so it gets underscores in front until it is new.

    The new name is added to `taken`.
    """
    while name in taken:
        name = f"_{name}"
    taken.add(name)
    return name


class _Axis:
    """Labels of one parameter."""

    def __init__(self, values: Iterable[Any]) -> None:
        values = list(values)
        kinds = {bool if isinstance(v, bool) else float if isinstance(v, (int, float)) else type(v) for v in values}
        self._dtype: Any = str
        if len(kinds) == 1 and kinds <= {bool, str}:
            self._dtype = kinds.pop()
        elif kinds == {float}:
            self._dtype = _numbers(values)
        order = dict.fromkeys(map(self.label, values))
        self.order = {label: i for i, label in enumerate(order)}

    def label(self, value: Any) -> Any:
        return str(value) if self._dtype is str else value

    def place(self, value: Any) -> int:
        return self.order[self.label(value)]

    def array(self, labels: Iterable[Any]) -> Array:
        return np.array(list(labels), None if self._dtype is str else self._dtype)


def _numbers(values: list[Any]) -> Any:
    """A dtype that holds all of the numbers as they are, and else that of their text."""
    whole = [value for value in values if isinstance(value, int)]
    if len(whole) < len(values):
        return np.float64 if all(abs(value) <= EXACT for value in whole) else str
    return next((kind for kind in (np.int64, np.uint64) if _holds(kind, min(whole), max(whole))), str)


def _holds(kind: Any, low: int, high: int) -> bool:
    return bool(np.iinfo(kind).min <= low and high <= np.iinfo(kind).max)


class _Column:
    """What is known of one result before memory for it is made."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.shape: tuple[int, ...] | None = None
        self._dtype: Any = None
        self._count, self._ragged, self._low, self._high, self._whole = 0, False, 0, 0, True

    def see(self, array: Array) -> None:
        self._count += 1
        if self.shape is None:
            self.shape, self._dtype = array.shape, array.dtype
        if len(self.shape) != len(array.shape):
            raise ValueError(
                f"result {self._name!r} must have as many axes in every cell, got shapes {self.shape} and {array.shape}"
            )
        if (self._dtype.kind == "U") != (array.dtype.kind == "U"):
            raise ValueError(
                f"result {self._name!r} must be of one kind in every cell, got {self._dtype} and {array.dtype}"
            )
        self._ragged = self._ragged or array.shape != self.shape
        self.shape = tuple(map(max, self.shape, array.shape))
        self._dtype = np.result_type(self._dtype, array.dtype)
        self._whole = self._whole and array.dtype.kind in "biu"
        if array.dtype.kind in "iu" and array.size:
            self._low, self._high = min(self._low, int(array.min())), max(self._high, int(array.max()))

    def blank(self, shape: tuple[int, ...]) -> Array:
        """Memory for the results of so many cells; with gaps, of a dtype that can say so."""
        gaps = self._ragged or self._count < math.prod(shape)
        shape = (*shape, *(self.shape or ()))
        dtype = self._dtype
        if dtype.kind == "U":
            return np.full(shape, "", dtype)
        if dtype.kind in "biu" and gaps:
            dtype = np.dtype(np.float64)
        if dtype.kind in "fc" and self._whole and not gaps:  # int64 and uint64
            kinds = (np.int64, np.uint64)
            dtype = np.dtype(next((kind for kind in kinds if _holds(kind, self._low, self._high)), object))
        elif dtype.kind in "fc" and max(-self._low, self._high) > EXACT:
            dtype = np.dtype(object)
        return np.full(shape, np.nan, dtype if dtype.kind in "fcO" else np.float64) if gaps else np.zeros(shape, dtype)


def dataset(cells: Cells, dense: bool | None) -> Any:
    """See SweepResult.to_xarray."""
    xarray = need("xarray", "to_xarray", "genkern[studies]")
    names = cells.result.names
    seen: dict[str, dict[str, Any]] = {name: {} for name in names}
    columns: dict[str, _Column] = {}
    count = 0
    for cell in cells:
        count += 1
        for name in names:
            # 1, 1.0 and True are three values, as they are in the store.
            seen[name].setdefault(_task.canonical(cell.parameters[name]), cell.parameters[name])
        for name, value in cell.results.items():
            columns.setdefault(name, _Column(name)).see(np.asarray(value))
    axes = {name: _Axis(values.values()) for name, values in seen.items()}
    shape = tuple(len(axis.order) for axis in axes.values())

    def place(cell: Cell) -> tuple[int, ...]:
        return tuple(axes[name].place(cell.parameters[name]) for name in names)

    unique = (dense is not None and not dense) or len({place(cell) for cell in cells}) == count
    if dense and not unique:
        raise ValueError("dense must be False here: two cells have the same labels")
    if dense is None:
        dense = unique and count >= FILLED * math.prod(shape)
    shape = shape if dense else (count,)
    arrays = {name: columns[name].blank(shape) for name in sorted(columns)}
    labels: dict[str, list[Any]] = {name: [] for name in names}
    for i, cell in enumerate(cells):
        start = place(cell) if dense else (i,)
        for name in names:
            labels[name].append(axes[name].label(cell.parameters[name]))
        for name, value in cell.results.items():
            part = np.asarray(value)
            where: tuple[int | slice, ...] = (*start, *(slice(length) for length in part.shape))
            arrays[name][where] = part
    taken = {*names, *arrays}
    dims = names if dense else (free("cell", taken),)
    data = {}
    for name, array in arrays.items():
        own = (free(f"{name}_{i}", taken) for i in range(array.ndim - len(dims)))
        data[name] = ((*dims, *own), array)
    coords = {
        name: (name if dense else dims[0], axis.array(axis.order if dense else labels[name]))
        for name, axis in axes.items()
    }
    return xarray.Dataset(data, coords, {"task": cells.result.task, "version": str(cells.result.version)})
