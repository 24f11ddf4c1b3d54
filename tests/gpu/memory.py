"""TEST ONLY: the memory of the stand-in's arrays, and the log of what a GPU would have done."""

from __future__ import annotations

import types
from dataclasses import dataclass, field
from typing import Any

import numpy as np

GUARD = 256  # bytes; the alignment of the memory too
_GUARD_BYTE, _FRESH_BYTE = 0xA5, 0xFF


@dataclass
class Log:
    """What a GPU would have done."""

    launches: list[Any] = field(default_factory=list)
    uploads: list[tuple[int, ...]] = field(default_factory=list)
    downloads: list[str] = field(default_factory=list)  # explicit ones and those that an `if` makes


LOG = Log()
CURRENT = types.SimpleNamespace(device=0)


class Memory:
    """One allocation on the current device: bytes between two guard zones."""

    def __init__(self, nbytes: int) -> None:
        self.device = CURRENT.device
        self.raw = np.full(nbytes + 3 * GUARD, _GUARD_BYTE, np.uint8)
        first = -self.raw.ctypes.data % GUARD + GUARD
        self.first, self.nbytes = first, nbytes
        self.bytes = self.raw[first : first + nbytes]
        self.bytes[:] = _FRESH_BYTE

    def intact(self) -> bool:
        """Is nothing written outside?"""
        end = self.first + self.nbytes
        return bool((self.raw[: self.first] == _GUARD_BYTE).all() and (self.raw[end:] == _GUARD_BYTE).all())
