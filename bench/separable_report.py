"""The table of gradient descent on separable data and of hard margins: genkern beside the loops and QP solvers."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from benchmarks import logistic, margin
from benchmarks.common import seconds, set_threads
from tables import line, named, number

import genkern

Array = np.ndarray[Any, Any]
Call = Callable[[], Any]
BEGIN, END = "<!-- benchmark-separable:begin -->", "<!-- benchmark-separable:end -->"
TURNS = 7
# A peer that is this much slower after its first turn gets no other.
IN_THE_RUNNING = 1.5
# Calls longer than this (s) need no call before them to be warm, and have so many turns.
LONG, LONG_TURNS = 1.0, 3
# Times faster than the best peer (what the project asks of itself).
TARGETS = {(1000, 32, 8): 4, (256, 100, 20): 3, (1, 200, 1000): 10, (1, 569, 31): 3}
FAR_TARGET, SINGLE_TARGET, BATCH_TARGET = 200, 1, 4
SMALL = {(20, 8, 3): 100, (1, 30, 40): 100}
# Largest relative error of a row: of iterates after all steps, of the far state, of a duality gap.
EXACT_LIMIT, FAR_LIMIT, GAP_LIMIT = 1e-10, 1e-9, 1e-10
PEER_LIMIT = 1e-6  # a peer whose answer is another one is no peer


class Row(NamedTuple):
    """One line of the table before it is measured."""

    name: str
    work: float  # what a call's time is divided by
    unit: str
    target: float | None
    ours: Call
    peers: dict[tuple[str, int], Call]
    error: Callable[[Any], float]  # of genkern's answer
    limit: float
    deviation: Callable[[Any], float]  # of a peer's answer
    missing: dict[str, str]


def difference(found: Any, exact: Array) -> float:
    return float(np.linalg.norm(np.asarray(found) - exact) / np.linalg.norm(exact))


def make(
    makers: dict[str, Callable[[int], Call]], counts: Callable[[str], list[int]]
) -> tuple[dict[tuple[str, int], Call], dict[str, str]]:
    """Each peer at each of its thread counts, and why others are missing."""
    peers, missing = {}, {}
    for name, maker in makers.items():
        try:
            for count in counts(name):
                peers[name, count] = maker(count)
        except ImportError as error:
            missing[name] = str(error)
    return peers, missing


def exact_row(size: tuple[int, int, int], steps: int, ours: str, threads: int) -> Row:
    """Every step run, for a batch or for one problem."""
    items, n, d = size
    Z, eta = logistic.problem(*size, "float64")
    exact = logistic.plain_loop(Z[0], float(eta[0]), steps)
    makers = {name: (lambda count, maker=maker: maker(Z, eta, steps, count)) for name, maker in logistic.PEERS.items()}
    # JAX has the threads that it started with.
    peers, missing = make(makers, lambda name: [threads] if name == "jax" else sorted({1, threads}))
    what = f"{items} problems" if items > 1 else "one problem"
    return Row(
        f"{what} {n} x {d}, every step", steps * items / 1e6, "us a step" + (" and problem" if items > 1 else ""),
        TARGETS.get(size), logistic.BACKENDS[ours](Z, eta, steps, threads), peers,
        lambda coef: difference(coef[0], exact), EXACT_LIMIT, lambda coef: difference(coef[0], exact), missing,
    )  # fmt: skip


def far_row(steps: float, ours: str, threads: int) -> Row:
    """The state at one far step: continued, beside loops that run every step."""
    Z, eta = logistic.far_problem()
    labels = np.ones(Z.shape[:2])

    def call(method: str) -> Any:
        return genkern.logistic_path(
            Z, labels, steps, step_size=eta, method=method, backend=ours, n_threads=threads
        ).coef[0]

    exact = call("exact")
    makers = {
        name: (lambda count, maker=maker: maker(Z, eta, int(steps), count)) for name, maker in logistic.COMPILED.items()
    }
    peers, missing = make(makers, lambda name: [threads if name == "jax" else 1])
    return Row(
        f"state at step {steps:,.0f}, {Z.shape[1]} x {Z.shape[2]}", 1e-3, "ms", FAR_TARGET,
        lambda: call("continued"), peers,
        lambda coef: difference(coef, exact), FAR_LIMIT, lambda coef: difference(coef[0], exact), missing,
    )  # fmt: skip


def margin_row(name: str, items: int, ours: str, threads: int) -> Row:
    """Hard margin on real data: one problem (items = 0), or a batch of them that a user solves one after another."""
    X, y = margin.batch(name, items) if items else margin.problem(name)
    Z = y[..., None] * X
    first = (0,) * (X.ndim - 2)
    exact = genkern.max_margin(X[first], y[first], backend="reference").coef

    def maker(solve: Callable[[Array], Array], count: int) -> Call:
        solve(Z[first])  # is it there?
        if not items:
            return lambda: solve(Z)
        if count == 1:
            return lambda: np.stack([solve(item) for item in Z])

        def pooled() -> Array:
            with ThreadPoolExecutor(count) as pool:
                return np.stack(list(pool.map(solve, Z)))

        return pooled

    def error(answer: Any) -> float:
        if not np.all(answer.separable):
            raise SystemExit(f"max_margin: {name} is separable")
        return max(float(np.max(answer.gap)), difference(answer.coef[first], exact) ** 2)

    makers = {peer: (lambda count, solve=solve: maker(solve, count)) for peer, solve in margin.PEERS.items()}
    peers, missing = make(makers, lambda _: sorted({1, threads}) if items else [1])
    shape = f"{X.shape[-2]} x {X.shape[-1]}"
    return Row(
        f"hard margin, {name} ({shape})" + (f", batch of {items:,}" if items else ""), max(items, 1) / 1e3,
        "ms" + (" a problem" if items else ""), BATCH_TARGET if items else SINGLE_TARGET,
        lambda: genkern.max_margin(X, y, backend=ours, n_threads=threads), peers, error, GAP_LIMIT,
        lambda coef: difference(coef[first], exact), missing,
    )  # fmt: skip


def rows(ours: str, threads: int, small: bool) -> list[Callable[[], Row]]:
    """Makers of all rows: data is made when its row is measured."""
    sizes, data, items = (SMALL, margin.DATA[:1], 5) if small else (logistic.SIZES, margin.DATA, margin.ITEMS)
    return [
        *(lambda size=size, steps=steps: exact_row(size, steps, ours, threads) for size, steps in sizes.items()),
        lambda: far_row(1e5 if small else logistic.FAR, ours, threads),
        *(lambda name=name: margin_row(name, 0, ours, threads) for name in data),
        *(lambda name=name: margin_row(name, items, ours, threads) for name in data),
    ]  # fmt: skip


def measure(ours: str, threads: int, *, small: bool = False) -> dict[str, Any]:
    """Rows in one run: all of them, or small ones to see that everything runs."""
    found = []
    for make_row in rows(ours, threads, small):
        try:
            row = make_row()
        except NotImplementedError as error:  # data that comes with a library that is not here
            print(f"left out: {error}", file=sys.stderr, flush=True)
            continue
        print(f"{row.name} ...", file=sys.stderr, flush=True)
        found.append(measure_row(row, threads, turns=2 if small else TURNS))
    return {"rows": found}


def measure_row(row: Row, threads: int, turns: int) -> dict[str, Any]:
    """genkern and the peers take turns, each warm; peers that are far behind have one."""
    times: dict[Any, list[float]] = {}
    for turn in range(turns):
        fastest = min((statistics.median(times[key]) for key in row.peers if key in times), default=float("inf"))
        for key, call in [(None, row.ours), *row.peers.items()]:
            known = statistics.median(times[key]) if key in times else 0.0
            if turn and key and (not known or known > IN_THE_RUNNING * fastest):
                continue
            if known > LONG and turn >= LONG_TURNS:
                continue
            if not turn and key and key[1] > 1 and times.get((key[0], 1), [0.0])[0] > IN_THE_RUNNING * key[1] * fastest:
                continue  # more threads cannot make up for more than their number
            set_threads(key[1] if key else threads)
            time.sleep(0.25)  # threads of the library before us spin for up to 0.2 s after its call
            if not turn:
                first = time.perf_counter()
                answer = call()
                known = time.perf_counter() - first
                if key and not row.deviation(answer) < PEER_LIMIT:
                    raise SystemExit(f"{key[0]}, {row.name}: relative deviation {row.deviation(answer):.1e}")
                if known > LONG:  # no compiler takes a large part of that
                    times[key] = [known]
                    fastest = min(fastest, known) if key else fastest
                    continue
            elif known < LONG:
                seconds(call, at_least=0.05)  # clock, thread pools and caches as they are in a user's loop
            times.setdefault(key, []).append(seconds(call, at_least=0.1))
            fastest = min(fastest, times[key][0]) if key else fastest
    error = row.error(row.ours())
    if not error <= row.limit:
        raise SystemExit(f"genkern, {row.name}: error {error:.1e}, above {row.limit:.0e}")
    return {
        "name": row.name, "unit": row.unit, "target": row.target, "missing": row.missing, "error": error,
        "time": statistics.median(times[None]) / row.work, "turns": times[None],
        "peers": [
            {
                "backend": key[0], "threads": key[1], "time": statistics.median(times[key]) / row.work,
                "turns": len(times[key]),
            }
            for key in row.peers
            if key in times
        ],
    }  # fmt: skip


def markdown(report: dict[str, Any]) -> str:
    """The table and what it was measured on."""
    lines = [
        line("work", "unit", "best peer (threads)", "peer", "genkern", "ratio", "target", "error"),
        line("---", "---", "---", *["---:"] * 5),
    ]
    for row in report["separable"]["rows"]:
        peer = min(row["peers"], key=lambda entry: entry["time"], default=None)
        lines.append(
            line(
                row["name"], row["unit"], named(peer), number(peer and peer["time"]), number(row["time"]),
                f"**{number(peer['time'] / row['time'])}**" if peer else "", str(row["target"] or ""),
                f"{row['error']:.0e}",
            )
        )  # fmt: skip
    machine, threads = report["machine"], report["threads"]
    timed = ("python", "genkern", "numpy", "scipy", "torch", "jax", "numba", "daqp", "quadprog")
    listing = ", ".join(f"{name} {report['versions'][name]}" for name in timed if name in report["versions"])
    notes = (
        f"Medians of up to {TURNS} interleaved turns, both sides warm; peers that are far behind have one turn. Error: "
        "relative, of the iterate after all steps against a plain NumPy loop; of the far state against every step run; "
        "of a margin, the larger of its duality gap and its squared relative distance from the reference. "
        f"{machine['cpu']}, {threads} threads, "
        f"{machine['isa']}; {listing}; {report['date']}, commit {report['commit']}."
    )
    return "\n".join(lines) + "\n\n" + notes + "\n"
