"""TEST ONLY: what every kernel takes of a GPU, as ptxas tells: the table in resources.csv, and how it is made.

`python tests/gpu/resources.py --write` writes it anew after a change of the kernels; look at what changed.
"""

from __future__ import annotations

import csv
import io
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).parents[1])  # this folder has an array.py

from gpu import compile, nvrtc

TABLE = compile.HERE / "resources.csv"
ARCHITECTURES = ("sm_80", "sm_90")
FIELDS = ("kernel", "architecture", "threads", "registers", "spilled_bytes", "stack_bytes", "shared_bytes")

Rows = dict[tuple[str, str], dict[str, int]]


def bounds(path: Path) -> dict[str, int]:
    """Threads of a block at most, of every kernel: the number in its launch bounds, by the emulated library."""
    return {name: kernel.bound for name, kernel in compile.load(compile.build(path.read_text())).items()}


def measured(path: Path, architecture: str, version: str | None = None) -> Rows:
    """The rows of one source."""
    threads = bounds(path)
    found = nvrtc.compiled(path.read_text(), architecture, version).resources()
    return {
        (name, architecture): {
            "threads": threads[name],
            "registers": one.registers,
            "spilled_bytes": one.spilled,
            "stack_bytes": one.stack,
            "shared_bytes": one.shared,
        }
        for name, one in found.items()
    }


def table() -> tuple[str, Rows]:
    """The version of NVRTC that the table is of, and its rows."""
    first, *lines = TABLE.read_text().splitlines()
    rows: Rows = {}
    for row in csv.DictReader(lines):
        numbers = {field: int(row[field]) for field in FIELDS[2:]}
        rows[row["kernel"], row["architecture"]] = numbers
    return first.removeprefix("# NVRTC "), rows


def text() -> str:
    """The table as it would be written now."""
    out = io.StringIO()
    out.write(f"# NVRTC {next(iter(nvrtc.libraries()))}\n")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(FIELDS)
    for path in compile.sources():
        rows: Rows = {}
        for architecture in ARCHITECTURES:
            rows |= measured(path, architecture)
        for key in sorted(rows):
            writer.writerow([*key, *rows[key].values()])
    return out.getvalue()


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        TABLE.write_text(text())
    else:
        sys.stdout.write(text())
