"""The threads of NumPy's and SciPy's BLAS, where that is OpenBLAS."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any

import numpy.linalg._umath_linalg
import scipy.linalg.cython_blas

_lock = threading.Lock()
_held: list[int] = []  # what each library is to go back to, while anybody holds them
_holders = 0


@contextmanager
def blas_threads(threads: int) -> Iterator[None]:
    """Hold BLAS at so many threads; the first holder decides, since the setting belongs to the process.

    Small products are slower on several threads than on one, and far slower where other work shares the machine.
    """
    global _holders
    with _lock:
        if _holders == 0:
            _held[:] = [get() for get, _ in _switches()]
            for _, change in _switches():
                change(threads)
        _holders += 1
    try:
        yield
    finally:
        with _lock:
            _holders -= 1
            if _holders == 0:
                for (_, change), before in zip(_switches(), _held, strict=True):
                    change(before)


@cache
def _switches() -> list[tuple[Callable[[], int], Callable[[int], Any]]]:
    """Functions that read and set the threads of each library: found through the extension modules that it serves."""
    found = []
    for module in (numpy.linalg._umath_linalg, scipy.linalg.cython_blas):
        with suppress(OSError, AttributeError):
            library = ctypes.CDLL(module.__file__)
            for prefix in ("scipy_openblas_", "openblas_"):
                for suffix in ("", "64_"):
                    with suppress(AttributeError):
                        get = getattr(library, f"{prefix}get_num_threads{suffix}")
                        change = getattr(library, f"{prefix}set_num_threads{suffix}")
                        get.restype, change.argtypes = ctypes.c_int, [ctypes.c_int]
                        found.append((get, change))
    return found
