"""The table of nested curves: genkern's whole curves beside fresh solves at a sample of the widths."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks import curves
from benchmarks.common import THREADS, seconds, set_threads
from tables import line, named, number

BEGIN, END = "<!-- benchmark-curves:begin -->", "<!-- benchmark-curves:end -->"
# Times faster than the best peer (what the project asks of itself); memory in MB.
TARGETS = {"every": 300, "hundreds": 12, "seeds": 100}
MEMORY_TARGET = 400
TURNS = 3
# Rows that share the data and the sampled widths, so that each peer solves them once for all.
SHARED = (("every", "hundreds"), ("seeds",))
# A peer that is this much slower in its first turn gets no other.
IN_THE_RUNNING = 1.5


def measure(ours: str, threads: int, *, small: bool = False) -> dict[str, Any]:
    """Rows in one run: all sizes, or the small one alone to see that everything runs."""
    memory = peak_memory("small" if small else "long", ours)  # first, while this process is small
    groups = (("small",),) if small else SHARED
    return {"rows": [row for group in groups for row in measure_group(group, ours, threads)], "memory": memory}


def measure_group(group: tuple[str, ...], ours: str, threads: int) -> list[dict[str, Any]]:
    """Rows of the same features: the peers' sampled widths and our curves take turns."""
    sizes = {name: curves.SIZES[name] for name in group}
    first = sizes[group[0]]
    if any(size.sample != first.sample for size in sizes.values()):
        raise SystemExit(f"{group} do not share their sampled widths")
    data = curves.problem(first, "float64")
    peers, missing = make_peers(data, threads)
    times: dict[Any, list[float]] = {}
    for turn in range(TURNS):
        fastest = min((statistics.median(times[key]) for key in peers if key in times), default=float("inf"))
        for key, solve in peers.items():
            alone = times.get((key[0], 1))  # more threads cannot make up for more than their number
            leader = min((times[peer][0] for peer in peers if peer in times), default=float("inf"))
            if not turn and alone and alone[0] > IN_THE_RUNNING * threads * leader:
                continue
            if turn and (key not in times or statistics.median(times[key]) > IN_THE_RUNNING * fastest):
                continue
            print(f"{group[0]}: {key[0]} ({key[1]})", file=sys.stderr, flush=True)
            set_threads(key[1])
            time.sleep(0.25)  # threads of the library before us spin for up to 0.2 s after its call
            solve(first.step)  # clock and thread pools as they are in a user's loop
            elapsed = sum(seconds(lambda width=width, solve=solve: solve(width)) for width in first.sample)
            times.setdefault(key, []).append(elapsed / len(first.sample))
        set_threads(threads)
        time.sleep(0.25)
        for name, size in sizes.items():
            call = curves.curve(data, size, ours, threads)
            if not turn:
                call()
            times.setdefault(name, []).append(seconds(call))
    rows = []
    for name, size in sizes.items():
        risks = curves.curve(data, size, ours, threads)()
        column = {width: place for place, width in enumerate(size.widths)}
        error = curves.relative_error(data, size, lambda width, risks=risks, column=column: risks[:, column[width]])
        if not error < 1e-8:
            raise SystemExit(f"{ours} {name}: relative error {error:.1e} of the test risk")
        rows.append(
            {
                "name": name, "size": size._asdict(), "widths": len(size.widths), "sampled": first.sample,
                "flops": size.flops, "target": TARGETS.get(name), "missing": missing, "error": error,
                "seconds": statistics.median(times[name]), "turns": times[name],
                "peers": [
                    {
                        "backend": key[0], "threads": key[1],
                        "seconds": statistics.median(times[key]) * len(size.widths),
                        "turns": len(times[key]),
                    }
                    for key in peers
                    if key in times
                ],
            }
        )  # fmt: skip
    return rows


def make_peers(data: curves.Problem, threads: int) -> tuple[dict[tuple[str, int], curves.Call], dict[str, str]]:
    """Each peer on one and on all threads."""
    peers, missing = {}, {}
    for name, make in curves.PEERS.items():
        try:
            for count in sorted({1, threads}):
                peers[name, count] = make(data, count)
        except ImportError as error:
            missing[name] = str(error)
    return peers, missing


def peak_memory(name: str, ours: str) -> dict[str, Any]:
    """Largest resident set, MB, of a fresh process that runs one streamed curve; and of one that imports only."""
    script = (
        "import resource, sys, time; sys.path.insert(0, sys.argv[1])\n"
        "from benchmarks import curves\n"
        "def peak():\n"
        "    try:  # what exec counts in ru_maxrss may be the parent's\n"
        "        status = open('/proc/self/status').read()\n"
        "        return int(status.split('VmHWM:')[1].split()[0]) / 1e3\n"
        "    except (OSError, IndexError):\n"
        "        unit = 1e6 if sys.platform == 'darwin' else 1e3\n"
        "        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit\n"
        "before, start = peak(), time.perf_counter()\n"
        "curves.streamed(curves.STREAMED[sys.argv[2]], sys.argv[3])\n"
        "print(before, peak(), time.perf_counter() - start)\n"
    )
    command = [sys.executable, "-c", script, str(Path(__file__).parent), name, ours]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    before, peak, elapsed = map(float, done.stdout.split())
    size = curves.STREAMED[name]
    return {
        "name": name, "size": size._asdict(), "imports_mb": before, "peak_mb": peak, "seconds": elapsed,
        "held_mb": 8e-6 * (size.n + size.m) * size.P, "threads": THREADS,
    }  # fmt: skip


def describe(size: dict[str, int]) -> str:
    """What a row measures."""
    widths = f"widths {size['step']}, {2 * size['step']}, ..., {size['P']}"
    if size["step"] == 1:
        widths = f"every width 1..{size['P']}"
    seeds = f", {size['seeds']} seeds" if size["seeds"] > 1 else ""
    return f"n = {size['n']}, m = {size['m']}, {widths}{seeds}"


def markdown(report: dict[str, Any]) -> str:
    """The table and what it was measured on."""
    lines = [
        line(
            "curve", "best peer (threads)", "peer, s (extrapolated)", "genkern, s", "ratio", "target", "of DGEMM rate",
            "error",
        ),
        line("---", "---", *["---:"] * 6),
    ]  # fmt: skip
    for row in report["curves"]["rows"]:
        peer = min(row["peers"], key=lambda entry: entry["seconds"], default=None)
        rate = row["flops"] / row["seconds"] / 1e9 / report["gemm"]["float64"]
        lines.append(
            line(
                describe(row["size"]),
                named(peer),
                number(peer and peer["seconds"]),
                number(row["seconds"]),
                f"**{number(peer['seconds'] / row['seconds'])}**" if peer else "",
                str(row["target"] or ""),
                f"{rate:.0%}" if row["size"]["step"] == 1 else "",
                f"{row['error']:.0e}",
            )
        )
    return "\n\n".join(["\n".join(lines), *notes(report)]) + "\n"


def notes(report: dict[str, Any]) -> list[str]:
    """The memory row in words, and what everything was measured on and how."""
    memory, machine, threads = report["curves"]["memory"], report["machine"], report["threads"]
    sampled = max(len(row["sampled"]) for row in report["curves"]["rows"])
    timed = ("python", "genkern", "numpy", "scipy", "torch")
    listing = ", ".join(f"{name} {report['versions'][name]}" for name in timed if name in report["versions"])
    return [
        f"Peak memory of a streamed curve ({describe(memory['size'])}, relu features): {memory['peak_mb']:.0f} MB, "
        f"{memory['imports_mb']:.0f} MB of them Python and its imports; target below {MEMORY_TARGET} MB. The features "
        f"alone would be {number(memory['held_mb'])} MB. It took {number(memory['seconds'])} s.",
        f"Peers: a fresh solve and its predictions for each width, timed at {sampled} widths in the middles of equal "
        "parts of the range and extrapolated by their mean. Features are inputs on both sides. Medians of "
        f"{TURNS} interleaved turns, peers that are far behind one turn. Of DGEMM rate: (4mn + 6n^2) P flops for each "
        "seed, over the time and over the rate of a large product. Error: of the test risk, relative, against fresh "
        f"float64 solves below, at and above width n. {machine['cpu']}, {threads} threads, {machine['isa']}; DGEMM "
        f"{report['gemm']['float64']:.0f} GF/s; {listing}; {report['date']}, commit {report['commit']}.",
    ]
