"""What a sweep runs: a function that workers can import, its common arguments, and the keys of its cells."""

from __future__ import annotations

import functools
import hashlib
import inspect
import json
import os
import pickle
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np


class Job(NamedTuple):
    """A cell to run: its key in the store, its place in the grid, its parameters as text and as keywords."""

    key: bytes
    place: int
    text: str
    parameters: dict[str, Any]


class Task:
    """A task with the arguments that all cells share (those of ``functools.partial``)."""

    def __init__(self, task: Any, version: Any, names: Sequence[str]) -> None:
        self.call: Callable[..., Any] = sealed(task)
        function: Any = task
        self.common: dict[str, Any] = {}
        while isinstance(function, functools.partial):
            if function.args:
                raise TypeError(
                    f"task must be given its common arguments by name, got {len(function.args)} by position"
                )
            self.common = {**function.keywords, **self.common}
            function = function.func
        self.module, name = _name(function)
        self.name = name.encode("utf-8", "backslashreplace").decode()  # a script's file may have any name
        if isinstance(version, bool) or not isinstance(version, (int, str)):
            raise TypeError(f"version must be an integer or a string, got {type(version).__name__}")
        self.version = version
        self.names = tuple(names)
        clash = sorted(set(self.common) & set(names))
        if clash:
            raise ValueError(f"parameters must be axes of the grid or common arguments, got {', '.join(clash)} as both")
        self.marks = {name: _mark(name, value) for name, value in sorted(self.common.items())}
        try:
            inspect.signature(function).bind(**dict.fromkeys([*names, *self.common]))
        except TypeError as error:
            raise TypeError(f"task {self.name} cannot be called with {', '.join(names)} as keywords: {error}") from None
        except ValueError:  # a builtin without a signature
            pass
        # The start of what every key is a hash of.
        self._hash = hashlib.blake2b(canonical([self.name, version, self.marks]).encode(), digest_size=16)

    def job(self, place: int, parameters: dict[str, Any]) -> Job:
        """Cell of the grid with its key."""
        text = canonical(parameters)
        digest = self._hash.copy()
        digest.update(text.encode())
        return Job(digest.digest(), place, text, parameters)

    def payload(self) -> bytes:
        """The task for a worker; a function travels as its name."""
        return pickle.dumps(self.call, protocol=pickle.HIGHEST_PROTOCOL)

    def need_module(self, executor: str) -> None:
        """Refuse a task that another process could not import."""
        if self.module is None:
            raise TypeError(
                f"task must be importable for executor={executor!r}, got {self.name} of an interactive session "
                "(write it to a .py file and import it, or use executor='threads')"
            )


def sealed(task: Any) -> Any:
    """The task with arrays that no cell can write to, where all cells share them; for workers, once it has arrived."""
    if not isinstance(task, functools.partial):
        return task
    return functools.partial(sealed(task.func), *task.args, **{name: _seal(v) for name, v in task.keywords.items()})


def _seal(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        value = value.view()
        value.setflags(write=False)
    return value


def canonical(value: Any) -> str:
    """The one JSON text of a value: sorted names, shortest digits that give the same float, tuples as lists."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def cell_seed(*, seed: int = 0, **parameters: Any) -> int:
    """Seed in [0, 2^63) that is a function of the given parameters alone.

    For a task whose cells are to have independent random numbers: the same in any order, on any executor, on any
    machine, in any release.

    Parameters
    ----------
    seed : int
        Seed of the sweep.
    **parameters : number, str, bool, None or tuple
        What tells the cells apart.

    Returns
    -------
    int
        The first 63 bits of the BLAKE2b hash of the parameters as JSON.
    """
    from genkern.sweep._grid import _plain

    plain = {name: _plain(name, value) for name, value in {**parameters, "seed": seed}.items()}
    return int.from_bytes(hashlib.blake2b(canonical(plain).encode(), digest_size=8).digest(), "big") >> 1


def _name(function: Any) -> tuple[str | None, str]:
    """Module (None where no other process can import it) and full name of a module-level function."""
    if not callable(function):
        raise TypeError(f"task must be a function, got {type(function).__name__}")
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", None)
    hint = "functools.partial gives it common arguments; a cell's parameters come as keywords"
    if not isinstance(module, str) or not isinstance(name, str):
        raise TypeError(f"task must be a function defined at the top of a module, got {function!r} ({hint})")
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    if inspect.ismethod(function) or found is not function:
        kind = "a method" if inspect.ismethod(function) else "a lambda" if "<lambda>" in name else "a nested function"
        kind = kind if "<" in name or inspect.ismethod(function) else "another object of that name"
        raise TypeError(f"task must be a function defined at the top of a module, got {kind}, {name} ({hint})")
    if module != "__main__":
        return module, f"{module}:{name}"
    main = sys.modules["__main__"]
    spec, file = getattr(main, "__spec__", None), getattr(main, "__file__", None)
    if file is not None and not os.path.isfile(file):  # what came through a pipe
        file = None
    if spec is not None:
        return spec.name, f"{spec.name}:{name}"
    if file is not None:
        return Path(file).stem, f"{Path(file).stem}:{name}"
    return None, f"__main__:{name}"


def _mark(name: str, value: Any) -> Any:
    """What stands for a common argument in keys and in the store."""
    from genkern.sweep._grid import _plain

    if isinstance(value, np.ndarray) and value.ndim:
        if value.dtype.kind not in "biufc":
            raise TypeError(f"common argument {name} must have a numeric dtype, got {value.dtype}")
        digest = hashlib.blake2b(np.ascontiguousarray(value).view(np.uint8).data, digest_size=16)
        return {"dtype": value.dtype.str, "shape": list(value.shape), "blake2b": digest.hexdigest()}
    if isinstance(value, Path):
        return {"path": str(value)}
    if isinstance(value, Mapping):
        raise TypeError(
            f"common argument {name} must be an array, a number, a string or a tuple of these, got a mapping"
        )
    return _plain(f"common argument {name}", value)
