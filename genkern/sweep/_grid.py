"""The cells of a sweep: products of axes, lists, unions, filters."""

from __future__ import annotations

import inspect
import itertools
import math
import numbers
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from genkern.sweep import _task

Row = tuple[Any, ...]
_BITS = 4096  # of an integer, whose text Python then makes and reads: its own limit is 4300 digits
_KINDS = "numbers, strings, True, False, None or tuples of these"


class Grid:
    """Cells of a sweep, each a set of values for the parameters of a task.

    ``Grid(n=[100, 200], ridge=[0.0, 0.1], seed=range(5))`` is the product of its axes, the last one running fastest.
    `from_list` takes any cells, ``+`` joins two grids of the same parameters without repeating a cell, `where` keeps
    some cells. A grid is a recipe: it holds its axes and not its cells, and runs through them anew each time.

    Parameters
    ----------
    **axes : sequence
        Values of each parameter: numbers, strings, True, False, None or tuples of these. NumPy scalars become Python's
        own, lists become tuples. Integers have 4096 bits at most, which leaves their text below Python's limit.

    Raises
    ------
    TypeError
        An axis is no sequence or holds something else.
    ValueError
        There is no axis; an axis is empty, repeats a value or holds NaN or an integer of more than 4096 bits.
    """

    def __init__(self, **axes: Iterable[Any]) -> None:
        if not axes:
            raise ValueError("Grid must have at least one axis, got none")
        columns = [_axis(name, values) for name, values in axes.items()]
        self._set(
            tuple(axes),
            lambda: itertools.product(*columns),
            math.prod(map(len, columns)),
            f"Grid({', '.join(f'{name}={_short(column)}' for name, column in zip(axes, columns, strict=True))})",
        )

    def _set(self, names: tuple[str, ...], rows: Callable[[], Iterator[Row]], size: int | None, text: str) -> None:
        self._names, self._rows, self._size, self._text = names, rows, size, text
        # What the grid was joined from: the rows of each part, and where in these the parameters are.
        self._parts: list[tuple[Callable[[], Iterator[Row]], list[int]]] = [(rows, list(range(len(names))))]

    @classmethod
    def _of(cls, names: tuple[str, ...], rows: Callable[[], Iterator[Row]], size: int | None, text: str) -> Grid:
        grid = cls.__new__(cls)
        grid._set(names, rows, size, text)
        return grid

    @classmethod
    def from_list(cls, cells: Iterable[Mapping[str, Any]]) -> Grid:
        """Grid of the given cells, each a mapping from parameter names to values, in their order.

        Raises
        ------
        TypeError
            A cell is no mapping from names to values that an axis can have.
        ValueError
            There is no cell, a cell appears twice, or two cells have different parameters.
        """
        names: tuple[str, ...] = ()
        rows: dict[Row, Row] = {}
        for i, cell in enumerate(cells):
            if not isinstance(cell, Mapping) or not all(isinstance(name, str) for name in cell):
                raise TypeError(f"cells must be mappings from parameter names to values, got {cell!r} at {i}")
            names = names or tuple(cell)
            if not cell or set(cell) != set(names):
                raise ValueError(f"cells must all have the parameters {', '.join(names)}, got {tuple(cell)} at {i}")
            row = tuple(_plain(f"parameter {name} of cell {i}", cell[name]) for name in names)
            if rows.setdefault(_typed(row), row) is not row:
                raise ValueError(f"cells must differ, got {dict(cell)} twice")
        if not rows:
            raise ValueError("cells must not be empty")
        kept = tuple(rows.values())
        return cls._of(names, lambda: iter(kept), len(kept), f"Grid.from_list(<{len(kept)} cells of {_list(names)}>)")

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the parameters."""
        return self._names

    def where(self, predicate: Callable[..., Any]) -> Grid:
        """Cells for which the predicate is true.

        It is called with the parameters that it names, ``where(lambda n, d: n < d)``, or, where its one argument is no
        parameter's name, with the whole cell, ``where(lambda cell: cell["n"] < cell["d"])``.
        """
        test = _caller(predicate, self._names)
        names, rows = self._names, self._rows
        return Grid._of(
            names,
            lambda: (row for row in rows() if test(dict(zip(names, row, strict=True)))),
            None,
            f"{self._text}.where({getattr(predicate, '__name__', predicate)})",
        )

    def __add__(self, other: Grid) -> Grid:
        if not isinstance(other, Grid):
            return NotImplemented
        if set(self._names) != set(other._names):
            raise ValueError(
                f"grids must have the same parameters to be joined, got {_list(self._names)} and {_list(other._names)}"
            )
        order = [other._names.index(name) for name in self._names]
        parts = [*self._parts, *((rows, [places[i] for i in order]) for rows, places in other._parts)]

        def joined() -> Iterator[Row]:
            seen = set()
            for rows, places in parts:
                for found in rows():
                    row = tuple(found[i] for i in places)
                    mark = _typed(row)
                    if mark not in seen:
                        seen.add(mark)
                        yield row

        grid = Grid._of(self._names, joined, None, f"{self._text} + {other._text}")
        grid._parts = parts  # side by side: a sum of a thousand grids is no deeper than one of two
        return grid

    def __len__(self) -> int:
        if self._size is None:
            self._size = sum(1 for _ in self._rows())
        return self._size

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for row in self._rows():
            yield dict(zip(self._names, row, strict=True))

    def __repr__(self) -> str:
        return self._text


def _axis(name: str, values: Any) -> tuple[Any, ...]:
    iterable = hasattr(values, "__iter__") and hasattr(values, "__len__")
    if isinstance(values, (str, bytes, set, frozenset, Mapping)) or not iterable:
        raise TypeError(f"axis {name} must be a sequence of {_KINDS}, got {values!r:.100}")
    if isinstance(values, np.ndarray) and values.ndim != 1:
        raise ValueError(f"axis {name} must be one-dimensional, got shape {values.shape}")
    column = tuple(_plain(f"axis {name}", value) for value in values)
    if not column:
        raise ValueError(f"axis {name} must not be empty")
    seen: set[Any] = set()
    for value in column:
        # 1 and 1.0 (and True) are one label, so they count as a repetition here.
        if value in seen:
            raise ValueError(f"axis {name} must not repeat a value, got {value!r} twice")
        seen.add(value)
    return column


def _plain(what: str, value: Any) -> Any:
    """Python's own form of a value."""
    if isinstance(value, (np.generic, np.ndarray)) and np.ndim(value) == 0:
        value = value.item()
    if isinstance(value, (list, tuple)):
        return tuple(_plain(what, part) for part in value)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, numbers.Integral):
        if int(value).bit_length() > _BITS:
            raise ValueError(f"{what} must hold integers of at most {_BITS} bits, got one of {int(value).bit_length()}")
        return int(value)
    if isinstance(value, float):
        if math.isnan(value):
            raise ValueError(f"{what} must not be nan")
        return float(value)
    raise TypeError(f"{what} must hold {_KINDS}, got {type(value).__name__}")


def _typed(row: Row) -> Any:
    """What tells cells apart: 1, 1.0 and True are three values here, as they are in a store."""
    return _task.canonical(list(row))


def _caller(predicate: Callable[..., Any], names: Sequence[str]) -> Callable[[dict[str, Any]], Any]:
    if not callable(predicate):
        raise TypeError(f"predicate must be a function of a cell, got {type(predicate).__name__}")
    try:
        arguments = list(inspect.signature(predicate).parameters.values())
    except (TypeError, ValueError):
        return predicate
    if any(argument.kind is argument.VAR_KEYWORD for argument in arguments):
        return lambda cell: predicate(**cell)
    needed = [argument.name for argument in arguments if argument.default is argument.empty]
    if len(needed) == 1 and needed[0] not in names:
        return predicate
    unknown = [name for name in needed if name not in names]
    if unknown:
        raise ValueError(f"predicate must name parameters of the grid ({_list(names)}), got {_list(unknown)}")
    wanted = [argument.name for argument in arguments if argument.name in names]
    return lambda cell: predicate(**{name: cell[name] for name in wanted})


def _list(names: Sequence[str]) -> str:
    return ", ".join(names)


def _short(column: Sequence[Any]) -> str:
    if len(column) <= 4:
        return repr(list(column))
    return f"[{column[0]!r}, {column[1]!r}, ..., {column[-1]!r}: {len(column)}]"
