"""TEST ONLY: recorded launches run again under the thread or address sanitizer.

To the thread sanitizer every thread of a block is a thread of its own (a fiber that it knows), ordered by barriers
and by nothing else; to the address sanitizer every array is an allocation of exactly its size.
"""

from __future__ import annotations

import os
import platform
import shutil
import struct
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from gpu import compile, standin

LAUNCHES = 3  # of one kernel that are run again


def recorded(call: Callable[[], object]) -> list[standin.Launch]:
    """The launches that a call makes, with what their arguments hold."""
    first = len(standin.LOG.launches)
    standin.SETTINGS.record = True
    try:
        call()
    finally:
        standin.SETTINGS.record = False
    return standin.LOG.launches[first:]


def some(launches: Iterable[standin.Launch]) -> list[standin.Launch]:
    """Every kernel with a few of its shapes and numbers, as different as there are."""
    found: dict[str, dict[tuple[Any, ...], standin.Launch]] = {}
    for launch in launches:
        assert launch.arguments is not None
        numbers = tuple(float(a) for a in launch.arguments if not isinstance(a, tuple))
        key = (launch.grid, launch.block, launch.shared, numbers)
        found.setdefault(launch.kernel, {}).setdefault(key, launch)
    kept = []
    for distinct in found.values():
        every = list(distinct.values())
        kept += [every[i] for i in np.unique(np.linspace(0, len(every) - 1, LAUNCHES).astype(int))]
    return kept


def program(code: str, sanitizer: str, csrc: Path = compile.CSRC) -> Path:
    """The program that runs recorded launches of a source."""
    return compile.build(
        code, f"-fsanitize={sanitizer}", "-g", "-fno-omit-frame-pointer", csrc=csrc, optimize="-O1", replay=True
    )


def run(executable: Path, launches: list[standin.Launch], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the launches again; the sanitizer's report is in stderr and its verdict in the return code."""
    file = folder / "launches"
    file.write_bytes(_packed(launches))
    command = [str(executable), str(file)]
    if shutil.which("setarch"):  # the thread sanitizer wants its addresses where they always are
        command = ["setarch", platform.machine(), "-R", *command]
    options = {"TSAN_OPTIONS": "halt_on_error=1:exitcode=66", "ASAN_OPTIONS": "detect_stack_use_after_return=0"}
    return subprocess.run(command, env=os.environ | options, capture_output=True, text=True, timeout=300)


def _packed(launches: list[standin.Launch]) -> bytes:
    parts = [_numbers(len(launches))]
    for launch in launches:
        assert launch.arguments is not None
        name = launch.kernel.encode()
        parts += [_numbers(len(name)), name, _numbers(*launch.grid, *launch.block, launch.shared)]
        memories = {id(a[0]): a[2] for a in launch.arguments if isinstance(a, tuple)}
        places = {key: place for place, key in enumerate(memories)}
        parts.append(_numbers(len(memories)))
        for content in memories.values():
            parts += [_numbers(len(content)), content]
        parts.append(_numbers(len(launch.arguments)))
        for argument in launch.arguments:
            if isinstance(argument, tuple):
                parts.append(_numbers(places[id(argument[0])], argument[1]))
            else:
                scalar = np.asarray(argument)
                parts += [_numbers(-1), scalar.tobytes().ljust(8, b"\0")]
    return b"".join(parts)


def _numbers(*values: int) -> bytes:
    return struct.pack(f"={len(values)}q", *values)
