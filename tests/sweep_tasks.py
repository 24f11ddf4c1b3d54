"""Tasks of the sweep tests, in a module that worker processes can import."""

import os
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

import genkern
from genkern import _checks, _registry

# Where other interpreters find the genkern and the modules that this one has.
PATHS = os.pathsep.join([str(Path(__file__).parent), *(path for path in sys.path if path)])


def kinds(n, seed):
    """Every kind of result, from a seeded generator and from kernels."""
    rng = np.random.default_rng([n, seed])
    X, y = rng.normal(size=(2, n, 5)), rng.normal(size=(2, n))
    # Every worker process would have to compile the portable kernels first.
    solved = genkern.lstsq(X, y, backend="cpp" if _registry.default_backend() == "cpp" else "reference")
    return {
        "norm": float(np.linalg.norm(solved.coef)),
        "count": n * 10**20,
        "even": n % 2 == 0,
        "label": f"{n}/{seed} ü",
        "coef": solved.coef,
        "rank": solved.rank,
        "product": X[0].T @ X[0],
        "single": np.float32(rng.normal()),
        "phase": complex(n, seed),
        "mask": X[0, 0] > 0,
    }


def square(i):
    return {"square": i * i}


def mark(i, folder, seconds=0.0):
    """Leave a line at the start and at the end, so that a test sees which cells ran, and where."""
    with open(Path(folder) / "started", "a") as log:
        log.write(f"{i} {os.getpid()}\n")
    time.sleep(seconds)
    with open(Path(folder) / "ended", "a") as log:
        log.write(f"{i} {os.getpid()}\n")
    return {"square": i * i, "values": np.random.default_rng(i).normal(size=4)}


def faulty(i):
    """A cell for every way to fail."""
    if i == 1:
        raise ValueError("one is bad")
    if i == 2:
        return {"x": np.array([1.0, np.nan]), "y": 2}
    if i == 3:
        return [1, 2]
    if i == 4:
        return {"x": np.array([object()])}
    if i == 5:
        sys.exit(3)
    if i == 6:
        return {"i": 1.0}
    return {"x": np.array([float(i), 0.0]), "y": i}


def endless(i):
    """Python code that never ends in cell 1."""
    while i == 1:
        pass
    return {"x": i}


def parent(i, folder):
    """A call that never ends in cell 1, of a process with one below it, whose numbers it leaves behind."""
    if i == 1:
        started = subprocess.Popen(["sh", "-c", "sleep 600 & wait"])
        while not (below := Path(f"/proc/{started.pid}/task/{started.pid}/children").read_text()):
            time.sleep(0.01)
        Path(folder, "pids").write_text(f"{started.pid} {below}")
        started.wait()
    return {"x": i}


def stuck(i):
    """One long call that no exception interrupts in cell 1."""
    if i == 1:
        time.sleep(600)
    return {"x": i}


def deadly(i):
    """Kills its process in cell 1."""
    if i == 1:
        os.kill(os.getpid(), 9)
    return {"x": i}


def deadly_once(i, folder):
    """Kills its process the first time that it comes to a cell with i % 7 == 3."""
    try:
        if i % 7 == 3:
            (Path(folder) / f"killed-{i}").touch(exist_ok=False)
            os.kill(os.getpid(), 9)
    except FileExistsError:
        pass
    return {"square": i * i, "values": np.random.default_rng(i).normal(size=4)}


def repaired(i, folder):
    """Fails for odd i until the file is there."""
    if i % 2 and not (Path(folder) / "repaired").exists():
        raise RuntimeError("not yet")
    return {"x": i}


def threads(i):
    """Threads that kernels and BLAS may use here."""
    from genkern._numba._blas import _switches

    return {
        "kernels": _checks.threads(None),
        "blas": max((get() for get, _ in _switches()), default=1),
        "openmp": os.environ.get("OMP_NUM_THREADS", ""),
    }


def weighted(i, X, scale=1.0):
    return {"sum": float(X[i].sum() * scale), "where": X.ctypes.data, "pid": os.getpid()}


def busy(i, work):
    total = 0
    for k in range(work):
        total += k * i
    return {"total": total}


def shapes(n, kind):
    """Results of different lengths and, in some cells only, a second one."""
    result = {"values": np.arange(float(n)), "count": n}
    if kind == "b":
        result |= {"extra": n, "word": kind}
    return result


def interrupt(i):
    """Ctrl-C for the whole run, out of a cell."""
    if i == 5:
        raise KeyboardInterrupt
    return {"x": i}


# Dask's own code meets these at its shutdown.
WARNINGS = [f"default::{name}" for name in ("ResourceWarning", "DeprecationWarning:distributed")]


def need(executor):
    """Skip a test where the package of an engine is missing."""
    import pytest  # which workers need not load

    package = {"loky": "loky", "dask": "distributed", "mpi": "mpi4py"}.get(executor)
    if package is not None:
        pytest.importorskip(package, reason=f"executor={executor!r}: {package} is not installed")


def child(code, *arguments, **options):
    """Another interpreter."""
    command = [sys.executable, "-P", *code, *map(str, arguments)]
    return subprocess.Popen(command, env={**os.environ, "PYTHONPATH": PATHS}, text=True, **options)


TIMING = {"cells": "seconds finished host pid", "runs": "started updated ended host pid executor"}


def content(path):
    """All that a store holds but the columns of timing."""
    with_results = []
    sql = sqlite3.connect(f"{Path(path).absolute().as_uri()}?mode=ro", uri=True)
    try:
        for table in ("cells", "results"):
            names = [row[1] for row in sql.execute(f"PRAGMA table_info({table})")]
            kept = [name for name in names if name not in TIMING.get(table, "").split()]
            with_results.append(sql.execute(f"SELECT {', '.join(kept)} FROM {table} ORDER BY 1, 2").fetchall())
        meta = dict(sql.execute("SELECT * FROM meta"))
        meta.pop("created")
    finally:
        sql.close()
    return [sorted(meta.items()), *with_results]


def wait(i, seconds):
    """Wait, and say from when to when."""
    start = time.time()
    time.sleep(seconds)
    return {"start": start, "end": time.time(), "pid": os.getpid()}


def odd(i):
    """Errors and results that a store could choke on."""
    if i == 1:
        raise FileNotFoundError("no file b\udcff, \x1b[31m red")
    if i == 2:
        return {"b\udcff": 1}
    if i == 3:
        return {"x": "b\udcff"}
    if i == 4:
        return {"x": np.zeros(1000)}
    if i == 5:
        return {"x": np.ma.masked_array([1.0, 2.0], [True, False])}
    if i == 6:
        return {"x": np.zeros((0, 1000))}
    return {"x": i}


def interrupted(i):
    """Ctrl-C that nobody pressed, in cell 1."""
    if i == 1:
        raise KeyboardInterrupt
    return {"x": i}


def wander(i, folder):
    """Changes to another folder."""
    os.chdir(folder)
    return {"x": i}


def add_up(i, X):
    """Changes an array that all cells share, or tries to."""
    X += i
    return {"x": X.copy()}
