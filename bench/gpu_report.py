"""What genkern does on the GPU of this machine, as one Markdown table; for a person who has a GPU.

    python bench/gpu_report.py [--quick] [--out FILE]

For every case: the error against the reference backend (float64, on the CPU), the time of one call with its arrays on
the GPU before and after (median of warm calls, the device synchronised), the least work of the problem over that time,
as a share of what this card does: bytes that must be read and written over the bandwidth of a copy, flops over the
rate of a matrix product, both measured here. Peers get the same arrays on the same GPU. Exit status: 1 if a
case failed, 2 without a GPU, which it says.
"""

from __future__ import annotations

import argparse
import functools
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.common import finished, median_seconds
from gpu_cases import Case, curves, descents, random_features, solves

import genkern


@dataclass(frozen=True)
class Card:
    """What the device does at best, measured."""

    name: str
    copy: float  # bytes read and written a second
    rates: dict[str, float]  # flops a second of a matrix product, by dtype


def measure_card(quick: bool) -> Card:
    """Bandwidth of a copy within the device's memory, and rates of cuBLAS."""
    import cupy

    count, order = (1 << 24, 2048) if quick else (1 << 27, 8192)
    source, target = cupy.zeros(count), cupy.empty(count)
    seconds = median_seconds(finished("cupy", lambda: cupy.copyto(target, source)))
    rates = {}
    for dtype in ("float64", "float32"):
        A, out = cupy.ones((order, order), dtype), cupy.empty((order, order), dtype)
        product = finished("cupy", functools.partial(cupy.matmul, A, A, out=out))
        rates[dtype] = 2.0 * order**3 / median_seconds(product)
    properties = cupy.cuda.runtime.getDeviceProperties(cupy.cuda.runtime.getDevice())
    return Card(properties["name"].decode(), 2.0 * source.nbytes / seconds, rates)


def row(case: Case, card: Card) -> str:
    """One line of the table; of a case that cannot be run, why."""
    import cupy

    try:
        error = case.error(case.call())
        seconds = median_seconds(case.call)
    except Exception as reason:
        told = " ".join(str(reason).replace("|", "/").split())[:200]
        return f"| {case.name} | {case.dtype} | failed: {type(reason).__name__}: {told} | | | | | |"
    peers = []
    for name, make in case.peers.items():
        try:
            call = make()
            accuracy = f", error {case.error(cupy.from_dlpack(call())):.1e}" if case.comparable else ""
            peers.append(f"{name} {median_seconds(call) / seconds:.2f} x{accuracy}")
        except Exception as reason:  # not installed, no GPU build of it, or not able to
            peers.append(f"{name} n/a ({type(reason).__name__})")
    return (
        f"| {case.name} | {case.dtype} | {error:.1e} | {1e3 * seconds:.3f} | {case.flops / seconds / 1e9:.1f} | "
        f"{case.flops / seconds / card.rates[case.dtype]:.1%} | {case.bytes / seconds / card.copy:.1%} | "
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
        "Peers: their time over genkern's.",
        "",
        "| case | dtype | error | ms | Gflop/s | of the product's rate | of the copy's bandwidth | peers |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    print("\n".join(lines), flush=True)
    for make in (solves, random_features, descents, curves):
        for dtype in ("float64", "float32"):
            for case in make(dtype, options.quick):
                lines.append(row(case, card))
                print(lines[-1], flush=True)
                if options.out is not None:
                    options.out.write_text("\n".join(lines) + "\n")
    return int(any("| failed: " in line for line in lines))


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
