"""The README's examples run, and its commands stand where CI looks for them."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import genkern

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(language):
    return [body for found, body in FENCE.findall(README) if found == language]


def test_python_blocks_run_in_order():
    names = {}
    for body in blocks("python"):
        exec(compile(body, "README.md", "exec"), names)
    assert names["fit"].coef.shape == (1000, 32)
    assert set(np.unique(names["fit"].rank)) == {16}
    assert not names["fit"].status.any()
    again = genkern.random_features(names["inputs"], 600, seed=1)
    assert names["curve"].test_risk.shape == (5, 600) and names["curve"].error.max() < 1e-9
    assert np.all(names["path"].error < 1e-9) and names["limit"].margin == pytest.approx(0.1)
    np.testing.assert_array_equal(again, np.concatenate([names["features"], names["more"]], axis=1))


def test_the_script_runs(tmp_path):
    (body,) = blocks("py")
    (tmp_path / "risk.py").write_text(body, encoding="utf-8")
    command = [sys.executable, "risk.py"]
    first = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert first.returncode == 0, first.stderr
    assert "ridge" in first.stdout and genkern.sweep.open(tmp_path / "risk.sweep").status().done == 180
    again = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert again.stdout == first.stdout


@pytest.mark.parametrize("command", ["study", "test"])
def test_commands_are_marked(command):
    assert len(blocks("sh")) == 2
    assert len(re.findall(rf"^<!-- command:{command} -->\n```sh\n.+\n```$", README, re.MULTILINE)) == 1


@pytest.mark.parametrize("block", ["benchmark", "benchmark-curves", "benchmark-separable"])
def test_the_benchmark_blocks_are_there(block):
    assert README.count(f"<!-- {block}:begin -->") == README.count(f"<!-- {block}:end -->") == 1


def test_local_links_lead_somewhere():
    root = Path(__file__).parents[1]
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", README):
        assert (root / target).exists(), target
