"""Sweeps that survive: a grid of cells, any executor, a store that a killed run goes on from.

::

    def cell(n, ridge, seed):
        ...
        return {"risk": risk, "coef": coef}

    if __name__ == "__main__":
        grid = genkern.sweep.Grid(n=[100, 200, 400], ridge=[0.0, 0.1], seed=range(50))
        result = genkern.sweep.run(cell, grid, store="risk.sweep")
        result.to_xarray().risk.mean("seed")

Ended in whatever way, the same call goes on where it was. `genkern.sweep.open` reads a store, while it is written or
after.
"""

from __future__ import annotations

import os

from genkern.sweep._grid import Grid
from genkern.sweep._result import Cell, SweepResult, SweepStatus
from genkern.sweep._run import retry, run
from genkern.sweep._task import cell_seed

__all__ = ["Cell", "Grid", "SweepResult", "SweepStatus", "cell_seed", "open", "retry", "run"]


def open(path: str | os.PathLike[str]) -> SweepResult:
    """Read a store: its results, its failures, how far it is.

    Works while a run writes it and where nothing may be written. Until a run has ended in order, the file with ``-wal``
    after its name is a part of the store: a copy of the store alone lacks its latest cells. A store cannot run code,
    wherever it comes from.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        The file is no store, or damaged.
    StoreMismatch
        It has the format of another version of genkern.
    """
    return SweepResult(path)
