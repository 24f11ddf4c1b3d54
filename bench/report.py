"""One table: genkern beside its peers, timed in one run on one machine.

    python bench/report.py --update-readme README.md --json report.json
    python bench/report.py --families curves --update-readme README.md     # that table alone
    python bench/report.py --families logistic margin --update-readme README.md     # or this one
    python bench/report.py --peers scipy --json other.json       # in an environment with another SciPy
    python bench/report.py --merge other.json                    # its rows join the table

Ours and the peers take turns, so that a slow spell of the machine meets all of them, and the median of the turns
counts. Each peer runs on one thread and on all, and the better one is quoted. A peer from another environment is
compared with genkern's time in that environment's own run.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import itertools
import json
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from benchmarks import least_squares
from benchmarks.common import THREADS, seconds, set_threads
from tables import BEGIN, END, markdown, replace_block

REPEATS = 7
# Times faster than the best backward-stable peer, float64 (what the project asks of itself).
TARGETS = {8: 40, 16: 30, 32: 15, 64: 8, 128: 6, 256: 3, 1024: 2}
# Turns that a slower peer sits out, once two have shown that it is not in the running.
IN_THE_RUNNING = 1.5


@dataclass
class Entry:
    """One backend at one thread count."""

    backend: str
    threads: int
    call: Callable[[], Any]
    kind: str  # "ours", "single" (ours in float32), "stable", "unstable"
    error: Callable[[Any], float] = lambda result: np.nan
    times: list[float] = field(default_factory=list)

    def turn(self) -> None:
        set_threads(self.threads)
        time.sleep(0.25)  # threads of the library before us spin for up to 0.2 s after its call
        seconds(self.call, at_least=0.05)  # clock, thread pools and caches as they are in a user's loop
        self.times.append(seconds(self.call, at_least=0.02))


def take_turns(entries: list[Entry], repeats: int) -> None:
    """Median of interleaved turns; peers that are far behind stop after two."""
    for turn in range(repeats):
        peers = [statistics.median(entry.times) for entry in entries if entry.kind == "stable" and turn >= 2]
        limit = IN_THE_RUNNING * min(peers, default=np.inf)
        for entry in entries:
            if turn < 2 or entry.kind != "stable" or statistics.median(entry.times) <= limit:
                entry.turn()


def gemm_rate(dtype: str, threads: int) -> float:
    """GF/s of a 2048-square NumPy product."""
    A = np.random.default_rng(0).standard_normal((2048, 2048)).astype(dtype)
    set_threads(threads)
    A @ A
    return 2 * 2048**3 / min(seconds(lambda: A @ A) for _ in range(3)) / 1e9


def measure_lstsq(n: int, d: int, ours: str, peers: list[str], threads: int, repeats: int) -> dict[str, Any]:
    """One row: min-norm solves of one size."""
    items = least_squares.SIZES[n, d]
    data = {dtype: least_squares.problem(n, d, items, dtype) for dtype in ("float64", "float32")}
    entries, missing = [], {}

    def add(backend: str, count: int, kind: str, dtype: str = "float64") -> None:
        X, y = data[dtype]
        try:
            call = least_squares.BACKENDS[backend](X, y, count)
            call()
        except (ImportError, AttributeError) as error:
            missing[backend] = str(error)
            return
        entries.append(Entry(backend, count, call, kind, lambda coef: least_squares.forward_error(X, y, coef)))

    add(ours, threads, "ours")
    add(ours, threads, "single", "float32")
    for backend in peers:
        kind = "unstable" if backend in least_squares.UNSTABLE else "stable"
        # torch 2.13's batched solve was seen to hang in MKL on two threads from 256 on (an error in DLASWP).
        if backend == "unstable-torch" and n >= 256:
            continue
        for count in sorted({1, threads}) if backend != "jax" else [threads]:
            add(backend, count, kind)
    take_turns(entries, repeats)
    rows = []
    for entry in entries:
        microseconds = statistics.median(entry.times) / items * 1e6
        rows.append(
            {
                "backend": entry.backend,
                "threads": entry.threads,
                "kind": entry.kind,
                "us": microseconds,
                "turns": len(entry.times),
                "error": entry.error(entry.call()),
            }
        )
        limit = 1000 * np.finfo(np.float32 if entry.kind == "single" else np.float64).eps
        if entry.kind != "unstable" and not rows[-1]["error"] < limit:
            raise SystemExit(f"{entry.backend} {n}x{d}: relative error {rows[-1]['error']:.1e}, above {limit:.1e}")
    own = next((row["us"] for row in rows if row["kind"] == "ours"), None)
    for row in rows:
        row["ratio"] = row["us"] / own if own else None
    return {
        "family": "least_squares",
        "size": f"{n}x{d}",
        "items": items,
        "flops": least_squares.flops(n, d),
        "target": TARGETS[n],
        "entries": rows,
        "missing": missing,
    }


def measure_class(benchmark: type, threads: int, repeats: int) -> list[dict[str, Any]]:
    """Rows of any asv class that has a `backend` parameter: one for each setting of its other parameters."""
    names, axes = list(benchmark.param_names), list(benchmark.params)
    where = names.index("backend")
    backends = axes.pop(where)
    timed = next(name for name in dir(benchmark) if name.startswith("time_"))
    rows = []
    for setting in itertools.product(*axes):
        entries, missing = [], {}
        for backend in backends:
            if backend == "reference":  # the definition, slow by intention
                continue
            arguments = [*setting[:where], backend, *setting[where:]]
            instance = benchmark()
            try:
                instance.setup(*arguments)
            except NotImplementedError as error:
                missing[backend] = str(error)
                continue
            print(f"{benchmark.__name__}: {', '.join(map(str, arguments))}", file=sys.stderr, flush=True)
            call = functools.partial(getattr(instance, timed), *arguments)
            kind = "ours" if backend in least_squares.OURS else "stable"
            entries += [Entry(backend, n, call, kind) for n in sorted({threads} if kind == "ours" else {1, threads})]
        take_turns(entries, repeats)
        times = [(entry, statistics.median(entry.times)) for entry in entries]
        own = min((time for entry, time in times if entry.kind == "ours"), default=None)
        rows.append(
            {
                "family": benchmark.__module__.split(".")[-1],
                "size": ", ".join(map(str, setting)),
                "entries": [
                    {
                        "backend": entry.backend,
                        "threads": entry.threads,
                        "kind": entry.kind,
                        "us": time * 1e6,
                        "turns": len(entry.times),
                        "ratio": time / own if own else None,
                    }
                    for entry, time in times
                ],
                "missing": missing,
            }
        )
    return rows


def merge(report: dict[str, Any], other: dict[str, Any]) -> None:
    """Add the other run's peers; their ratios stay those of their own run, where it had genkern."""
    theirs = {(row["family"], row["size"]): row for row in other["rows"]}
    for row in report["rows"]:
        own = next((entry["us"] for entry in row["entries"] if entry["kind"] == "ours"), None)
        for entry in theirs.get((row["family"], row["size"]), {"entries": []})["entries"]:
            if entry["kind"] in ("stable", "unstable"):
                ratio = entry["ratio"] or (entry["us"] / own if own else None)
                row["entries"].append({**entry, "ratio": ratio, "merged": True})
    names = {entry["backend"].split("-")[0] for row in other["rows"] for entry in row["entries"]}
    timed = {name: version for name, version in other["versions"].items() if name in names or name == "python"}
    report.setdefault("merged", []).append(timed)


def machine() -> dict[str, Any]:
    """Processor, cores and instruction sets."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        model = lines[0].split(":", 1)[1].strip() if lines else model
    flags = cpuinfo.read_text() if cpuinfo.exists() else ""
    widest = next((isa for isa in ("avx512f", "avx2", "sse2") if f" {isa} " in flags), platform.machine())
    return {"cpu": model, "isa": widest.removesuffix("f"), "system": platform.system()}


def versions() -> dict[str, str]:
    """Of everything that is timed."""
    found = {"python": platform.python_version()}
    for name in ("genkern", "numpy", "scipy", "torch", "jax", "numba", "daqp", "quadprog"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def commit() -> str:
    """Short hash of the checkout, or an empty string outside one."""
    done = subprocess.run(
        ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.stdout.strip()


def default_backend() -> str:
    """Our backend for host arrays ("cpp", or "numba" in an install without the compiled module)."""
    try:
        import genkern
    except ImportError:  # an environment of peers alone
        return "cpp"
    return next(name for name in least_squares.OURS if "default" in genkern.backends()[name])


def families() -> list[str]:
    """The benchmark files, one per family; sweeps are no family of kernels."""
    files = (Path(__file__).parent / "benchmarks").glob("*.py")
    return sorted(file.stem for file in files if file.stem not in ("__init__", "common", "sweep"))


def main() -> None:
    parser = argparse.ArgumentParser(description="Time genkern beside its peers and print one table.")
    parser.add_argument("--sizes", nargs="*", help="of least squares, such as 8x16; all if left out")
    parser.add_argument(
        "--peers", nargs="*", help="library names or backends, such as scipy torch-gels; all if left out"
    )
    parser.add_argument("--ours", choices=least_squares.OURS, help="the default backend if left out")
    parser.add_argument(
        "--threads", type=int, default=THREADS, help="for both sides (GENKERN_BENCH_THREADS, %(default)s)"
    )
    parser.add_argument("--repeats", type=int, default=REPEATS, help="turns of each backend (%(default)s)")
    parser.add_argument(
        "--families", nargs="+", choices=families(), default=families(), help="benchmark files; all if left out"
    )
    parser.add_argument("--small-curves", action="store_true", help="one tiny curve, to see that its table runs")
    parser.add_argument("--small-separable", action="store_true", help="a few tiny rows of separable data, likewise")
    parser.add_argument("--json", type=Path, help="write every number to this file")
    parser.add_argument(
        "--merge", type=Path, nargs="*", default=[], help="files written by --json in other environments"
    )
    parser.add_argument("--markdown", type=Path, help="write the table to this file")
    parser.add_argument("--update-readme", type=Path, help="replace the blocks of this file whose tables were measured")
    options = parser.parse_args()

    sizes = [size for size in least_squares.SIZES if not options.sizes or "{}x{}".format(*size) in options.sizes]
    every = [*least_squares.PEERS, *least_squares.UNSTABLE]
    peers = every if options.peers is None else [
        name for name in every if name in options.peers or name.split("-")[0] in options.peers
    ]  # fmt: skip
    ours = options.ours or default_backend()
    report: dict[str, Any] = {
        "machine": machine(),
        "versions": versions(),
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "commit": commit(),
        "threads": options.threads,
        "repeats": options.repeats,
        "ours": ours,
        "gemm": {dtype: gemm_rate(dtype, options.threads) for dtype in ("float64", "float32")},
        "rows": [],
    }
    for n, d in sizes if "least_squares" in options.families else []:
        print(f"{n}x{d} ...", file=sys.stderr, flush=True)
        report["rows"].append(measure_lstsq(n, d, ours, peers, options.threads, options.repeats))
    if "curves" in options.families:
        import curves_report  # needs genkern, which an environment of peers alone has not

        print("curves ...", file=sys.stderr, flush=True)
        report["curves"] = curves_report.measure(ours, options.threads, small=options.small_curves)
    if {"logistic", "margin"} & {*options.families}:  # one table
        import separable_report

        report["separable"] = separable_report.measure(ours, options.threads, small=options.small_separable)
    # The rows of these are not of one class each.
    apart = ("curves", "least_squares", "logistic", "margin")
    for family in [name for name in options.families if name not in apart]:
        module = importlib.import_module(f"benchmarks.{family}")
        for benchmark in vars(module).values():
            if isinstance(benchmark, type) and "backend" in getattr(benchmark, "param_names", ()):
                report["rows"] += measure_class(benchmark, options.threads, options.repeats)
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n")
    for path in options.merge:
        merge(report, json.loads(path.read_text()))
    tables = {}
    if report["rows"]:
        tables[BEGIN, END] = markdown(report)
    if "curves" in report:
        tables[curves_report.BEGIN, curves_report.END] = curves_report.markdown(report)
    if "separable" in report:
        tables[separable_report.BEGIN, separable_report.END] = separable_report.markdown(report)
    text = "\n".join(tables.values())
    print(text)
    if options.markdown:
        options.markdown.write_text(text)
    if options.update_readme:
        readme = options.update_readme.read_text()
        for markers, table in tables.items():
            readme = replace_block(readme, table, markers)
        options.update_readme.write_text(readme)


if __name__ == "__main__":
    main()
