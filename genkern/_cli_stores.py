"""The commands on stores of sweeps: ``genkern status``, ``genkern retry``, ``genkern export``."""

from __future__ import annotations

import argparse
import functools
import importlib
import inspect
import json
import math
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from genkern import studies, sweep
from genkern.sweep import _cell, _format
from genkern.sweep._progress import duration

COMMANDS = ("status", "retry", "export")
_SHOWN = 5  # failures that status names


def add(commands: Any) -> None:
    """Add the three commands to argparse's."""
    status = commands.add_parser("status", help="say how far a store is", allow_abbrev=False)
    retry = commands.add_parser("retry", help="run the failed cells of a store again", allow_abbrev=False)
    export = commands.add_parser("export", help="write a store as .nc, .parquet, .csv or .npz", allow_abbrev=False)
    for command in (status, retry, export):
        command.add_argument("store", metavar="STORE", help="file of a sweep or of a study")
    status.add_argument("--json", dest="json_output", action="store_true", help="print the numbers as JSON")
    retry.add_argument("--executor", metavar="SPEC", default="processes", help="as of a study (default: %(default)s)")
    retry.add_argument(
        "--progress", action=argparse.BooleanOptionalAction, default=True,
        help="show a bar on a terminal, a line a minute elsewhere (default: %(default)s)",
    )  # fmt: skip
    retry.add_argument("--timeout", metavar="S", type=float, help="seconds that a cell may take")
    retry.add_argument(
        "--import", dest="imports", metavar="MODULE", action="append", default=[],
        help="module of your own, here or on the path, that the store's task needs; it is run",
    )  # fmt: skip
    export.add_argument("file", metavar="FILE", help="file to write; its name says of which kind")


def run(command: str, store: str, **options: Any) -> tuple[str, bool]:
    """Text to print, and whether failures remain.

    Raises
    ------
    ValueError
        There is no store, it is none, or another option is bad.
    """
    try:
        found = sweep.open(store)
    except FileNotFoundError as error:
        raise ValueError(error.strerror) from None
    if command == "status":
        return _status(found, **options)
    return _retry(found, **options) if command == "retry" else _export(found, **options)


def _status(found: sweep.SweepResult, *, json_output: bool) -> tuple[str, bool]:
    state = found.status()
    if json_output:
        numbers = vars(state) | {"remaining": state.cells - state.recorded, "task": found.task}
        plain = {name: None if value != value else value for name, value in numbers.items()}
        return json.dumps(plain, indent=2, allow_nan=False), state.failed > 0
    lines = [
        f"{found.path}: {found.task}, version {found.version}",
        f"done       {state.done} of {state.cells} cells",
        f"failed     {state.failed}",
        f"remaining  {state.cells - state.recorded}",
        f"rate       {_known(state.rate, lambda rate: f'{rate:.3g} cells a second')}",
        f"time left  {_known(state.seconds_left, duration)}",
        f"running    {'yes' if state.running else 'no'}",
    ]
    if state.failed:
        lines += ["", *_failures(found)]
        if state.failed > _SHOWN:
            lines.append(f"and {state.failed - _SHOWN} more")
        needed = "".join(f" --import {module}" for module in _needed(found))
        lines.append(f"genkern retry {found.path}{needed} runs them again")
    return "\n".join(map(shown, lines)), state.failed > 0


def _retry(
    found: sweep.SweepResult, *, executor: str, progress: bool, timeout: float | None, imports: Sequence[str]
) -> tuple[str, bool]:
    before = found.status().failed
    if not before:
        return f"{found.path}: no cell has failed", False
    task = _task(found, imports)
    sweep.retry(task, found.path, executor=executor, progress=progress, timeout=timeout, version=found.version)
    left = found.status().failed
    lines = [f"{found.path}: {_cells(before)} run again, {before - left} done, {left} failed"]
    return "\n".join(map(shown, [*lines, *_failures(found)])), left > 0


def _export(found: sweep.SweepResult, *, file: str) -> tuple[str, bool]:
    found.save(file)
    failed = found.status().failed
    return f"saved: {_cells(len(found))}{f', {failed} of them failed,' if failed else ''} in {file}", False


def _task(found: sweep.SweepResult, imports: Sequence[str]) -> Callable[..., Any]:
    """The store's task with its common arguments.

    A store says which function to call and may come from anywhere, so only a study's own cells are taken on its word,
    and nothing is imported before all that the store names has been looked at.
    """
    common = {name: _value(found, name, mark) for name, mark in found.common.items()}
    for module, name in _needed(found).items():
        if module not in imports:
            raise ValueError(f"{found.path} needs {name}: say --import {module} to have that run")
    if imports and os.getcwd() not in sys.path and not sys.flags.safe_path:
        sys.path.append(os.getcwd())  # last: in a checkout, worker processes shall not import the sources there
    module, _, name = found.task.partition(":")
    task: Any = importlib.import_module(module)
    for part in name.split("."):
        task = getattr(task, part, None)
    if not callable(task):
        raise ValueError(f"{found.path} needs {found.task}, which is no function here")
    if _of_a_study(found):
        expected, got = sorted(inspect.signature(task).parameters), sorted([*found.names, *common])
        if got != expected or "activation" in found.names:
            raise ValueError(
                f"{found.path} must have the parameters and common arguments of {found.task} "
                f"({', '.join(expected)}; activation is common), got parameters {', '.join(found.names)} and "
                f"common arguments {', '.join(common)}"
            )
    return functools.partial(task, **common)


def _needed(found: sweep.SweepResult) -> dict[str, str]:
    """Modules that the task needs beyond genkern's studies, each with what it needs of it.

    A study imports what its argument `activation` names, and `_task` sees to it that this is a common one.
    """
    if not _of_a_study(found):
        name = found.task
    else:
        name = found.common.get("activation", "")
        if not isinstance(name, str):
            raise ValueError(f"{found.path} must have a string as activation, got {name!r:.60}")
        name = name.partition("#")[0]
        if ":" not in name:
            return {}
    return {name.partition(":")[0]: name}


def _of_a_study(found: sweep.SweepResult) -> bool:
    return found.task in {f"genkern.studies.{module}:cell" for module, _ in studies.CLAIMS.values()}


def _value(found: sweep.SweepResult, name: str, mark: Any) -> Any:
    """Common argument from what the store has of it."""
    if isinstance(mark, dict):
        if set(mark) == {"path"}:
            return Path(str(mark["path"]))
        raise ValueError(
            f"{found.path} has no values of the common argument {name}, which is an array: retry it from Python with "
            "genkern.sweep.retry"
        )
    return mark


def _failures(found: sweep.SweepResult) -> list[str]:
    """Lines on the first failed cells."""
    with _format.reading(found.path) as sql:
        rows = sql.execute(
            "SELECT parameters, error FROM cells WHERE status != ? ORDER BY place, parameters LIMIT ?",
            (_cell.DONE, _SHOWN),
        ).fetchall()
    return [f"{_words(found._parameters(text))}: {error}" for text, error in rows]


def shown(text: str) -> str:
    """Text with escapes for what a terminal would obey."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _known(value: float, text: Callable[[float], str]) -> str:
    return "unknown" if math.isnan(value) else text(value)


def _cells(count: int) -> str:
    return f"{count} cell{'' if count == 1 else 's'}"


def _words(parameters: dict[str, Any]) -> str:
    return ", ".join(f"{name} = {value}" for name, value in parameters.items())
