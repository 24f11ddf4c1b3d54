"""Results of a cell as bytes and back: numbers, strings, bools and arrays, and nothing that could run code."""

from __future__ import annotations

import json
import math
import numbers
import re
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

Row = tuple[str, str, str, bytes]  # name, dtype, shape, data

# Dtypes that a store may name; everything else is refused on the way in and on the way out.
BYTES = 10**9 - 4096  # SQLite's limit of a row, less its other columns
_ARRAY = re.compile(r"\|b1|\|[iu]1|<[iu][248]|<f[248]|<c(8|16)")


def encode(result: Any, parameters: Mapping[str, Any]) -> list[Row]:
    """Rows of a result, in the order of their names."""
    if not isinstance(result, Mapping):
        raise TypeError(f"a task must return a dict of numbers, strings, bools and arrays, got {type(result).__name__}")
    for name in result:
        if not isinstance(name, str):
            raise TypeError(f"names of results must be strings, got {name!r}")
        if name in parameters:
            raise ValueError(f"results must not have the name of a parameter, got {name!r}")
        _utf8("names of results", name)
    rows = [(str(name), *_encode(name, result[name])) for name in sorted(result)]
    for name, _, _, data in rows:
        _fits(name, len(name) + len(data))
    return rows


def _utf8(what: str, text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{what} must be text that UTF-8 can hold, got {text!r:.60}") from None


def _fits(name: str, size: int) -> None:
    if size > BYTES:
        raise ValueError(
            f"result {name!r:.60} has {size} bytes, and a store takes at most {BYTES}: write it to a file of its own"
        )


def _extent(lengths: Sequence[int], dtype: np.dtype[Any]) -> int:
    """Bytes of an array, axes of length 0 aside: an array without elements too must be of a shape to reckon with."""
    return math.prod(max(n, 1) for n in lengths) * dtype.itemsize


def _encode(name: str, value: Any) -> tuple[str, str, bytes]:
    if isinstance(value, bool):
        return "bool", "[]", bytes([value])
    if isinstance(value, str):
        return "str", "[]", _utf8(f"result {name!r}", value)
    if not isinstance(value, (np.generic, np.ndarray)):
        if isinstance(value, numbers.Integral):
            return "int", "[]", str(int(value)).encode()
        if isinstance(value, float):
            return "float", "[]", struct.pack("<d", value)
        if isinstance(value, complex):
            return "complex", "[]", struct.pack("<dd", value.real, value.imag)
        if isinstance(value, (list, tuple)) or not hasattr(value, "__array__"):
            raise TypeError(
                f"result {name!r} must be a number, a string, a bool or an array, got {type(value).__name__}"
            )
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(f"result {name!r} must be an array without a mask: say what stands for what is masked")
    array = np.asarray(value)
    if array.dtype.kind == "U" and array.ndim == 0:
        return _encode(name, str(array[()]))
    array = array.astype(array.dtype.newbyteorder("<"), copy=False)
    if not _ARRAY.fullmatch(array.dtype.str):
        raise TypeError(f"result {name!r} must have a bool, integer, float or complex dtype, got {array.dtype}")
    _fits(name, _extent(array.shape, array.dtype))
    return array.dtype.str, json.dumps(list(array.shape)), array.tobytes()


def has_nan(rows: list[Row]) -> str | None:
    """Name of the first result with a NaN."""
    for name, dtype, shape, data in rows:
        if (dtype in ("float", "complex") or dtype[1] in "fc") and np.isnan(decode(name, dtype, shape, data)).any():
            return name
    return None


def decode(name: Any, dtype: Any, shape: Any, data: Any) -> Any:
    """Value of a row of the store, which may come from anywhere: checked, and never executed."""
    try:
        if not isinstance(name, str):
            raise ValueError(f"name is {type(name).__name__}")
        if not isinstance(data, bytes):
            raise ValueError(f"data is {type(data).__name__}")
        if dtype == "bool":
            return {b"\0": False, b"\1": True}[data]
        if dtype == "str":
            return data.decode("utf-8", "surrogatepass")
        if dtype == "int":
            return int(data)
        if dtype == "float":
            return struct.unpack("<d", data)[0]
        if dtype == "complex":
            return complex(*struct.unpack("<dd", data))
        if not isinstance(dtype, str) or not _ARRAY.fullmatch(dtype):
            raise ValueError(f"dtype {dtype!r}")
        lengths = json.loads(shape)
        if not isinstance(lengths, list) or not all(type(n) is int and n >= 0 for n in lengths):
            raise ValueError(f"shape {shape!r}")
        if len(lengths) > 64 or math.prod(lengths) * np.dtype(dtype).itemsize != len(data):
            raise ValueError(f"shape {shape} of {len(data)} bytes")
        if _extent(lengths, np.dtype(dtype)) > BYTES:
            raise ValueError(f"shape {shape:.60}")
        array = np.frombuffer(data, dtype).reshape(lengths)
        return array.copy() if lengths else array[()]
    except (ValueError, KeyError, TypeError, OverflowError, struct.error, RecursionError) as error:
        raise ValueError(f"the sweep store holds a damaged result {name!r:.60}: {error}") from None
