"""bench/gpu_report.py: every case runs and is right, on a GPU or on its stand-in; none of its figures is kept."""

import importlib
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from tolerances import GPU_REPORT

BENCH = Path(__file__).parents[1] / "bench"
CARD = {"name": "a card", "copy": 1e12, "rates": {"float64": 1e13, "float32": 2e13}}


@pytest.fixture
def report(cupy, monkeypatch):
    """The script, which calls each case once and takes no time."""
    monkeypatch.syspath_prepend(BENCH)
    before = set(sys.modules)
    found = importlib.import_module("gpu_report")
    monkeypatch.setattr(found, "timed", lambda call: 1e-3)
    monkeypatch.setattr(found, "measure_card", lambda quick: found.Card(**CARD, memory=8 << 30))
    yield found
    for name in set(sys.modules) - before:
        if name.split(".")[0] in ("benchmarks", "gpu_cases", "gpu_large", "gpu_report"):
            del sys.modules[name]


def test_every_case(report, capsys, tmp_path):
    assert report.main(["--quick", "--out", str(tmp_path / "table.md")]) == 0
    table = capsys.readouterr().out
    assert (tmp_path / "table.md").read_text() == table
    rows = [line[1:-1].split("|") for line in table.splitlines() if line.startswith("| ")][2:]
    assert len(rows) > 30 and all(len(row) == 8 for row in rows)
    for name, dtype, error, *_ in rows:
        found = re.fullmatch(r" (\S+)( \((gradient|residual|one step)\))? ", error)
        assert found and float(found[1]) <= GPU_REPORT * np.finfo(dtype.strip()).eps, (name, dtype, error)
    assert {"gradient", "residual", "one step"} <= set(re.findall(r"\((gradient|residual|one step)\)", table))
    late = re.findall(r"^- lstsq [^:]*, float(?:64|32): jax lstsq (?:[\d.]+ x, error |n/a \()\S+$", table, re.MULTILINE)
    assert len(late) == sum(row[0].startswith(" lstsq ") for row in rows)
    assert re.search(r"float32 data near 1e-40 .*: here lstsq finds rank \d+ .*; on the CPU lstsq finds rank 16", table)


def test_wrong_results_show(report):
    """Each certificate sees an error of one per mille."""
    for large in report.large("float64", True, 8 << 30):
        case = large.build()
        result = case.call().copy()
        right = case.error(result)
        result[..., 0] *= 1.001
        assert case.error(result) > max(1e-6, 100 * right), case.name


def test_what_does_not_fit_is_not_built(report):
    large = report.Large("a large one", "float64", 5.2e9, lambda: pytest.fail("it was built"))
    assert report.row(large, report.Card(**CARD, memory=8 << 30), {}) == (
        "| a large one | float64 | not run: it needs about 4.84 GiB, more than 60% of the card's 8 GiB | | | | | |"
    )
    sizes = {large.name: large.memory / 2**30 for large in report.large("float64", False, 80 << 30)}
    assert max(sizes.values()) < 48, sizes  # all of them run on a card of 80 GB


def test_peers_that_keep_memory_come_last(report, monkeypatch, capsys):
    """No call of genkern after the first of them; the memory of what was before is given back before every peer."""
    log = []

    def told(name):
        return lambda: log.append(name) or np.ones(1)

    def two(dtype, quick=True):
        peers = [{name: lambda name=name: told(name)} for name in ("a peer", "one that keeps")]
        given = (dtype, told("genkern"), lambda result: 0.0, 1.0, 1.0, *peers)
        return [report.Case(f"case {number}", *given, comparable=False) for number in range(2)]

    for name in ("random_features", "descents", "curves"):
        monkeypatch.setattr(report, name, lambda dtype, quick: [])
    monkeypatch.setattr(report, "solves", two)
    monkeypatch.setattr(report, "large", lambda dtype, quick, memory: (
        report.Large(case.name, dtype, 0.0, lambda case=case: case) for case in two(dtype)
    ))  # fmt: skip
    monkeypatch.setattr(report, "subnormal", told("genkern"))
    monkeypatch.setattr(report, "release", told("release"))
    assert report.main(["--quick"]) == 0
    table, late = capsys.readouterr().out.split("JAX, its time over genkern's")
    first = log.index("one that keeps")
    assert "genkern" not in log[first:] and log[first:].count("one that keeps") == 8 == log[:first].count("a peer")
    assert all(log[i - 1] == "release" for i, name in enumerate(log) if "genkern" not in name and name != "release")
    assert table.count("a peer 0.") + table.count("a peer 1.") == 8 and late.count(": one that keeps 1.00 x\n") == 8


def test_a_peer_that_leaves_no_memory_is_told(report, monkeypatch, capsys):
    def two(dtype, quick):
        if again.count(dtype):
            raise MemoryError("it is JAX's")
        again.append(dtype)
        call, peer = (lambda: np.ones(1)), {"JAX": lambda: lambda: np.ones(1)}
        return [report.Case("a case", dtype, call, lambda result: 0.0, 1.0, 1.0, {}, peer)]

    again = []
    for name in ("random_features", "descents", "curves"):
        monkeypatch.setattr(report, name, lambda dtype, quick: [])
    monkeypatch.setattr(report, "solves", two)
    monkeypatch.setattr(report, "large", lambda dtype, quick, memory: [])
    assert report.main(["--quick"]) == 0
    assert "\n- n/a, and what comes after it in float32: MemoryError\n" in capsys.readouterr().out


def test_a_case_that_fails_is_told(report, monkeypatch, capsys):
    def call():
        raise MemoryError("out | of memory")

    def fails(dtype, quick):
        return [report.Case("a case", dtype, call, lambda result: 0.0, 1.0, 1.0, {})]

    for name in ("solves", "random_features", "descents", "curves"):
        monkeypatch.setattr(report, name, fails)
    monkeypatch.setattr(report, "large", lambda dtype, quick, memory: [])
    assert report.main(["--quick"]) == 1
    assert "| a case | float64 | failed: MemoryError: out / of memory | | | | | |" in capsys.readouterr().out
