"""How a study runs its cells: a function of a module, a grid, and the executors and the store of `genkern.sweep`.

A cell makes its data from a name and a seed where it runs, so its numbers are the same on any executor, and a store
that holds some of them can be filled up by any later run.
"""

from __future__ import annotations

import errno
import functools
import hashlib
import importlib
import inspect
import os
import sys
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from genkern import _checks, sweep
from genkern.errors import CellFailed
from genkern.sweep import _engines
from genkern.sweep._run import Show

__all__ = ["Activation", "Cells", "Executor", "Show", "imported"]

Activation = str | Callable[[float], float]
_own: dict[str, Any] = {}  # functions of runs that never leave this process, by the text that stands for them


class Cells:
    """Where and how the cells of one run of a study are computed; the arguments are those of its `run`.

    Raises ValueError, TypeError or OSError before anything is computed or made.
    """

    def __init__(
        self,
        claim: str,
        executor: str | Executor,
        store: str | os.PathLike[str] | None,
        resume: bool,
        progress: Show,
        n_threads: int | None,
    ) -> None:
        self.claim, self.executor, self.progress, self.resume = claim, executor, progress, resume
        _engines.name_of(executor)
        _checks.flag("resume", resume)
        if progress is not None and not isinstance(progress, bool) and not callable(progress):
            raise TypeError(f"progress must be True, False, None or a function, got {type(progress).__name__}")
        self.threads = _checks.threads(n_threads)
        self.store = None if store is None else Path(store)
        if self.store is not None:
            if not self.store.parent.is_dir():
                raise FileNotFoundError(
                    errno.ENOENT, f"cannot open the store {self.store}: no folder {self.store.parent}"
                )
            if self.store.is_dir():
                raise IsADirectoryError(errno.EISDIR, f"cannot open the store {self.store}: it is a folder")
            if self.store.exists() and self.store.stat().st_size:
                sweep.open(self.store)  # says so if it is something else
        self._local = executor in ("serial", "threads") or isinstance(executor, ThreadPoolExecutor)
        self._texts: list[str] = []

    def activation(self, activation: Activation) -> str:
        """Text that stands for an activation among the arguments of a cell; `imported` gives it back."""
        if not callable(activation):
            return activation
        plain = getattr(activation, "py_func", activation)  # of a function that numba has compiled
        module, name = getattr(plain, "__module__", None), getattr(plain, "__qualname__", None)
        if self._local and self.store is None:
            text = f"own:{name}#{id(activation)}"
            _own[text] = activation
            self._texts.append(text)
            return text
        why = f"store={os.fspath(self.store)!r}" if self.store is not None else f"executor={self.executor!r}"
        need = f"activation must be a function that can be imported by its name for {why}, got"
        if _find(module, name) is not activation:
            raise TypeError(f"{need} {name or activation!r} (define it at the top of a module)")
        if module == "__main__" and not self._local:
            file = getattr(sys.modules["__main__"], "__file__", None)
            if self.executor != "processes" or file is None:
                raise TypeError(f"{need} {name} of the main script (write it to a module and import it)")
        return f"{module}:{name}#{_source(plain)}"

    def run(
        self, task: Callable[..., Any], grid: sweep.Grid, common: dict[str, Any], version: int = 1
    ) -> list[dict[str, Any]]:
        """Results of all cells, in the grid's order.

        Raises
        ------
        CellFailed
            Some cells have no result; the store keeps the others.
        """
        limit = _checks.thread_limit.set(self.threads)
        try:
            result = sweep.run(
                functools.partial(task, **common),
                grid,
                store=self.store,
                executor=self.executor,
                progress=self.progress,
                resume=self.resume,
                version=version,
            )
        except KeyboardInterrupt:
            if self.store is None:
                raise
            raise KeyboardInterrupt(
                f"interrupted; the store {self.store} keeps what is done, and the same command goes on from it"
            ) from None
        finally:
            _checks.thread_limit.reset(limit)
            for text in self._texts:
                _own.pop(text, None)
        failed = result.failed
        if failed:
            first = ", ".join(f"{name} = {value}" for name, value in failed[0].parameters.items())
            again = "" if self.store is None else f"; genkern retry {self.store} runs them again"
            raise CellFailed(
                f"{self.claim}: {len(failed)} of {len(grid)} cells failed, the first at {first} with "
                f"{failed[0].error}{again}"
            )
        return [cell.results for cell in result]


def imported(text: str) -> Any:
    """Activation that a text stands for: a name of `genkern.random_features`, or a function of the user's."""
    if ":" not in text:
        return text
    return _own[text] if text in _own else _imported(text)


@functools.cache
def _imported(text: str) -> Any:
    path, _, source = text.partition("#")
    module, _, name = path.partition(":")
    importlib.import_module(module)
    found = _find(module, name)
    if not callable(found):
        raise TypeError(f"activation must be a function, got {path}, which is none here")
    if _source(getattr(found, "py_func", found)) != source:
        raise ValueError(f"activation {path} must be the function that the cells before were computed with")
    return found


def _find(module: str | None, name: str | None) -> Any:
    found: Any = sys.modules.get(module or "")
    for part in (name or "").split("."):
        found = getattr(found, part, None)
    return found


def _source(function: Any) -> str:
    """Short hash of a function's source: another function of the same name is not the same activation."""
    try:
        text = inspect.getsource(function)
    except (OSError, TypeError):
        text = ""
    return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()
