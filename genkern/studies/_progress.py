"""A progress bar where one can be seen, and silence elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def bar(total: int, progress: bool | None, label: str) -> Iterator[Callable[[int], object]]:
    """Give a function that counts steps. None: a tqdm bar if stderr is a terminal and tqdm is installed."""
    if progress is False or (progress is None and not sys.stderr.isatty()):
        yield lambda steps: None
        return
    try:
        from tqdm import tqdm
    except ImportError as error:
        if progress:
            raise ImportError(f"progress needs the package tqdm: pip install 'genkern[progress]' ({error})") from error
        yield lambda steps: None
        return
    with tqdm(total=total, desc=label, leave=False, file=sys.stderr) as shown:
        yield shown.update
