"""How this backend compiles, and the Python threads that drive its nogil kernels over chunks of the work."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any, TypeVar, cast

import numba

Function = TypeVar("Function", bound=Callable[..., Any])


def jit(function: Function) -> Function:
    """Compile without the GIL, without fastmath (nothing is reassociated or contracted), cached on disk."""
    try:
        return cast(Function, numba.njit(nogil=True, error_model="numpy", cache=True)(function))
    except RuntimeError:  # no folder to cache in
        return cast(Function, numba.njit(nogil=True, error_model="numpy")(function))


def run_chunks(function: Callable[..., Any], chunks: Iterable[tuple[Any, ...]], n_threads: int) -> None:
    """Call ``function(*chunk)`` once for every chunk, on at most `n_threads` threads, the caller's among them.

    Which chunk runs where is not determined. The first exception, Ctrl-C in the calling thread included, stops the
    rest and is raised here once every thread has finished its chunk.
    """
    work = list(chunks)
    remaining = iter(work)
    lock = threading.Lock()
    failures: list[BaseException] = []

    def drain() -> None:
        try:
            while not failures:
                with lock:
                    chunk = next(remaining, None)
                if chunk is None:
                    return
                function(*chunk)
        except BaseException as error:
            failures.append(error)

    helpers = [threading.Thread(target=drain) for _ in range(min(n_threads, len(work)) - 1)]
    try:
        for helper in helpers:
            helper.start()
        drain()
        _join(helpers)
    except BaseException as error:  # Ctrl-C between the chunks of this thread, or no more threads to be had
        failures.append(error)
        _join(helpers)
    if failures:
        raise failures[0]


def _join(helpers: list[threading.Thread]) -> None:
    for helper in helpers:
        if helper.ident is not None:
            helper.join()
