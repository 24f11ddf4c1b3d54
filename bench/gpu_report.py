"""What genkern does on the GPU of this machine, as one Markdown table; for a person who has a GPU.

    python bench/gpu_report.py [--quick] [--out FILE]

For every case: the error against the reference backend (float64, on the CPU; of large cases a certificate, which is
named: see gpu_large.py), the time of one call with its arrays on the GPU before and after (median of warm calls, the
device synchronised), the least work of the problem over that time, as a share of what this card does: bytes that must
be read and written over the bandwidth of a copy, flops over the rate of a matrix product, both measured here. Peers get
the same arrays on the same GPU; JAX gives no memory back, so its figures come last, in lines of their own. A case that
needs more than 60% of the card's memory is not run. Exit status: 1 if a case failed, 2 without a GPU, which it says.
"""

from __future__ import annotations

import argparse
import functools
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.common import finished, median_seconds, seconds
from gpu_cases import Case, curves, descents, random_features, solves
from gpu_large import Large, large, subnormal

import genkern

SHARE = 0.6  # of the memory
LONG = 5.0  # seconds; a longer call is timed once
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # JAX would take most of the memory when it is imported


@dataclass(frozen=True)
class Card:
    """What the device does at best, measured."""

    name: str
    copy: float  # bytes read and written a second
    rates: dict[str, float]  # flops a second of a matrix product, by dtype
    memory: int  # bytes


def measure_card(quick: bool) -> Card:
    """Bandwidth of a copy within the device's memory, and rates of cuBLAS."""
    import cupy

    count, order = (1 << 24, 2048) if quick else (1 << 27, 8192)
    source, target = cupy.zeros(count), cupy.empty(count)
    duration = timed(finished("cupy", lambda: cupy.copyto(target, source)))
    rates = {}
    for dtype in ("float64", "float32"):
        A, out = cupy.ones((order, order), dtype), cupy.empty((order, order), dtype)
        product = finished("cupy", functools.partial(cupy.matmul, A, A, out=out))
        rates[dtype] = 2.0 * order**3 / timed(product)
    properties = cupy.cuda.runtime.getDeviceProperties(cupy.cuda.runtime.getDevice())
    return Card(properties["name"].decode(), 2.0 * source.nbytes / duration, rates, int(properties["totalGlobalMem"]))


def timed(call: Callable[[], Any]) -> float:
    """Seconds of a call that has been made before."""
    once = seconds(call)
    return once if once > LONG else median_seconds(call)


def release() -> None:
    """Give back the memory that CuPy and torch keep for later."""
    import cupy

    cupy.get_default_memory_pool().free_all_blocks()
    if "torch" in sys.modules and sys.modules["torch"].cuda.is_available():
        sys.modules["torch"].cuda.empty_cache()


def against(case: Case, name: str, make: Callable[[], Callable[[], Any]], duration: float) -> str:
    """A peer's time over genkern's, and its error."""
    import cupy

    release()  # what the call before it has left, which may be a result of genkern's
    try:
        call = make()
        result = call()
        accuracy = f", error {case.error(cupy.from_dlpack(result)):.1e}" if case.comparable else ""
        del result
        return f"{name} {timed(call) / duration:.2f} x{accuracy}"
    except Exception as reason:  # not installed, no GPU build of it, or not able to
        return f"{name} n/a ({type(reason).__name__})"


def late(cases: Iterable[Case | Large], waiting: dict[str, float]) -> Iterator[str]:
    """A line for each case whose peers have waited for the end, by the time that genkern took."""
    for case in cases:
        if case.name in waiting:
            duration = waiting[case.name]
            built = case.build() if isinstance(case, Large) else case
            peers = [against(built, *peer, duration) for peer in built.late.items()]
            yield f"- {case.name}, {case.dtype}: {'; '.join(peers)}"
            del built
            release()


def row(case: Case | Large, card: Card, waiting: dict[str, float]) -> str:
    """One line of the table; of a case that cannot be run, why. One with peers for the end leaves its time, by name."""
    name = case.name
    start = f"| {case.name} | {case.dtype} |"
    if isinstance(case, Large) and case.memory > SHARE * card.memory:
        needed, there = (f"{size / 2**30:.3g} GiB" for size in (case.memory, card.memory))
        return f"{start} not run: it needs about {needed}, more than {SHARE:.0%} of the card's {there} | | | | | |"
    try:
        if isinstance(case, Large):
            case = case.build()
        error = case.error(case.call())
        duration = timed(case.call)
    except Exception as reason:
        told = " ".join(str(reason).replace("|", "/").split())[:200]
        return f"{start} failed: {type(reason).__name__}: {told} | | | | | |"
    if case.late:
        waiting[name] = duration
    peers = [against(case, *peer, duration) for peer in case.peers.items()]
    certificate = f" ({case.certificate})" if case.certificate else ""
    return (
        f"{start} {error:.1e}{certificate} | {1e3 * duration:.3f} | {case.flops / duration / 1e9:.1f} | "
        f"{case.flops / duration / card.rates[case.dtype]:.1%} | {case.bytes / duration / card.copy:.1%} | "
        f"{'; '.join(peers) or '-'} |"
    )


def main(arguments: list[str]) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small problems, to see that it runs")
    parser.add_argument("--out", type=Path, help="write the table to a file too")
    options = parser.parse_args(arguments)
    state = genkern.backends()["cupy"]
    if not state.startswith("available"):
        print(f"gpu_report: no figures without a GPU: {state}", file=sys.stderr)
        return 2
    card = measure_card(options.quick)
    double, single = (card.rates[dtype] / 1e12 for dtype in ("float64", "float32"))
    lines = [
        f"genkern {genkern.__version__} on {card.name} ({state}). A copy moves {card.copy / 1e9:.0f} GB/s, a matrix "
        f"product does {double:.1f} (float64) and {single:.1f} (float32) Tflop/s. "
        "Errors are against the reference, or the certificate that is named. Peers: their time over genkern's.",
        "",
        "| case | dtype | error | ms | Gflop/s | of the product's rate | of the copy's bandwidth | peers |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    print("\n".join(lines), flush=True)

    def tell(line: str) -> None:
        lines.append(line)
        print(line, flush=True)
        if options.out is not None:
            options.out.write_text("\n".join(lines) + "\n")

    makers = [*(functools.partial(make, quick=options.quick) for make in (solves, random_features, descents, curves))]
    makers.append(functools.partial(large, quick=options.quick, memory=card.memory))
    again = []
    for make in makers:
        for dtype in ("float64", "float32"):
            waiting: dict[str, float] = {}
            for case in make(dtype):
                tell(row(case, card, waiting))
                release()
            again.append((make, dtype, waiting))
    try:
        tell(f"\n{subnormal()}")
    except Exception as reason:
        tell(f"\n| failed: float32 data near 1e-40: {type(reason).__name__}: {reason}")
    if any(waiting for *_, waiting in again):
        tell("\nJAX, its time over genkern's (the same data, made again):\n")
    for make, dtype, waiting in again:
        if waiting:
            try:
                for line in late(make(dtype), waiting):
                    tell(line)
            except Exception as reason:  # what was before it holds the memory
                tell(f"- n/a, and what comes after it in {dtype}: {type(reason).__name__}")
    return int(any("| failed: " in line for line in lines))


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
