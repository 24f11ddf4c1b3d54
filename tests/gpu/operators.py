"""TEST ONLY: arithmetic and reductions of the stand-in's arrays, put into their class when this is imported."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from gpu.array import ndarray, own, unwrap, wrap


def _binary(name: str) -> Any:
    function = getattr(operator, name, None) or getattr(operator, name + "_")

    def forward(self: ndarray, other: Any) -> Any:
        if isinstance(other, str) or other is None:
            return NotImplemented
        with np.errstate(all="ignore"):
            return own(function(unwrap(self), unwrap(other)))

    def backward(self: ndarray, other: Any) -> Any:
        with np.errstate(all="ignore"):
            return own(function(unwrap(other), unwrap(self)))

    def in_place(self: ndarray, other: Any) -> ndarray:
        with np.errstate(all="ignore"):
            self.host[...] = function(unwrap(self), unwrap(other))
        return self

    return forward, backward, in_place


for _name in (
    "add",
    "sub",
    "mul",
    "truediv",
    "floordiv",
    "mod",
    "pow",
    "and",
    "or",
    "xor",
    "lshift",
    "rshift",
    "matmul",
):
    _forward, _backward, _in_place = _binary(_name)
    setattr(ndarray, f"__{_name}__", _forward)
    setattr(ndarray, f"__r{_name}__", _backward)
    if _name != "matmul":
        setattr(ndarray, f"__i{_name}__", _in_place)
for _name in ("eq", "ne", "lt", "le", "gt", "ge"):
    setattr(ndarray, f"__{_name}__", _binary(_name)[0])


def _unary(name: str) -> Any:
    function = getattr(operator, name)
    return lambda self: own(function(unwrap(self)))


for _name in ("neg", "pos", "abs", "invert"):
    setattr(ndarray, f"__{_name}__", _unary(_name))


def _method(name: str) -> Any:
    def call(self: ndarray, *args: Any, **options: Any) -> Any:
        if not options.keys() <= {"axis", "dtype", "out", "keepdims", "a_min", "a_max", "ddof"}:
            raise TypeError(f"CuPy's {name} does not take all of {', '.join(options)}")
        with np.errstate(all="ignore"):
            return wrap(getattr(unwrap(self), name)(*map(unwrap, args), **{k: unwrap(v) for k, v in options.items()}))

    return call


for _name in (
    "sum",
    "prod",
    "mean",
    "min",
    "max",
    "any",
    "all",
    "argmin",
    "argmax",
    "cumsum",
    "dot",
    "take",
    "diagonal",
    "clip",
):
    setattr(ndarray, _name, _method(_name))
