"""The command line, in-process and as ``python -m genkern``."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest

import genkern
from genkern import cli, studies

QUICK = ["--n-train", "20", "--n-test", "30", "--widths", "5,20,60", "--seeds", "2"]


COMMAND = [sys.executable, "-m", "genkern"]


@pytest.fixture
def shell(tmp_path, monkeypatch):
    """Options of a subprocess that runs in an empty folder and imports the genkern under test."""
    monkeypatch.setenv("PYTHONPATH", os.path.dirname(os.path.dirname(genkern.__file__)))
    return {"cwd": tmp_path, "text": True, "stderr": subprocess.PIPE}


def fails(capfd, status, *arguments):
    """The one line that a failing command leaves on stderr."""
    assert cli.main(arguments) == status
    out, err = capfd.readouterr()
    assert out == "" and err.count("\n") == 1 and "Traceback" not in err
    return err


def test_list_and_backends(capfd):
    assert cli.main(["list"]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(studies.CLAIMS)
    assert any(re.match("double-descent +Risk peaks", line) for line in lines)
    assert cli.main(["backends"]) == 0
    out = capfd.readouterr().out
    assert all(f"{name} " in out for name in genkern.backends())


def test_study(capfd, tmp_path):
    assert cli.main(["double-descent", *QUICK, "--out", str(tmp_path)]) == 0
    out, err = capfd.readouterr()
    assert "peak / left minimum" in out and str(tmp_path) in out and err == ""
    assert {path.name for path in tmp_path.iterdir()} == {"figure.png", "results.npz", "summary.json"}
    assert json.loads((tmp_path / "summary.json").read_text())["parameters"]["widths"] == [5, 20, 60]


def test_json_and_list_of_seeds(capfd, tmp_path):
    assert cli.main(["double-descent", *QUICK[:-1], "5,", "--n_test=25", "--json", "--out", str(tmp_path)]) == 0
    summary = json.loads(capfd.readouterr().out)
    assert summary["parameters"]["seeds"] == [5] and summary["parameters"]["n_test"] == 25


def test_default_folder(shell, tmp_path):
    done = subprocess.run([*COMMAND, "double-descent", *QUICK], stdout=subprocess.PIPE, check=False, **shell)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "double-descent" / "figure.png").exists()


def test_every_parameter_is_an_option(capfd):
    assert cli.main(["double-descent", "--help"]) == 0
    text = capfd.readouterr().out
    for name in studies.double_descent.run.__kwdefaults__:
        assert f"--{name.replace('_', '-')} " in text or f"--{name}," in text, name
    assert "Share of training labels replaced" in text


def test_version_and_help(capfd):
    assert cli.main(["--version"]) == 0
    assert capfd.readouterr().out == f"genkern {genkern.__version__}\n"
    assert cli.main(["--help"]) == 0
    assert "double-descent" in capfd.readouterr().out


@pytest.mark.parametrize(
    "arguments, message",
    [
        ([], "required: command"),
        (["triple-descent"], "invalid choice: 'triple-descent'"),
        (["list", "--fast"], "unrecognized arguments: --fast"),
        (["double-descent", "--n-train", "many"], "--n-train: invalid int value: 'many'"),
        (["double-descent", "--widths", "3,x"], "--widths: expected numbers separated by commas, got '3,x'"),
        (["double-descent", "--seeds", "0"], "seeds must be >= 1, got 0"),
        (["double-descent", "--data", "cifar"], "data must be one of digits, mnist, got 'cifar'"),
        (["double-descent", "--n-train", "9999"], "n_train must be in"),
        (["double-descent", "--wid", "3"], "unrecognized arguments"),
        (["double-descent", "--activation", "gelu"], "activation"),
    ],
)
def test_bad_arguments(capfd, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert message in fails(capfd, 2, *arguments)
    assert not any(tmp_path.iterdir())


def test_unwritable_folder(capfd, tmp_path):
    (tmp_path / "file").write_text("")
    err = fails(capfd, 1, "double-descent", *QUICK, "--out", str(tmp_path / "file" / "below"))
    assert f"cannot write to {tmp_path / 'file' / 'below'}" in err


def test_missing_matplotlib(capfd, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert "genkern[plot]" in fails(capfd, 1, "double-descent", *QUICK, "--out", str(tmp_path / "new"))


@pytest.mark.parametrize(
    "error, status, message",
    [
        (KeyboardInterrupt(), 130, "interrupted"),
        (genkern.errors.BackendUnavailable("no GPU\nhere"), 1, "no GPU here"),
        (MemoryError("of 3 TiB"), 1, "out of memory"),
        (ZeroDivisionError("division by zero"), 1, "ZeroDivisionError: division by zero"),
    ],
)
def test_failures_are_one_line(capfd, monkeypatch, error, status, message):
    def study(claim, **parameters):
        raise error

    monkeypatch.setattr(cli, "_study", study)
    assert message in fails(capfd, status, "double-descent")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_full_output(shell):
    with open("/dev/full", "w") as full:
        done = subprocess.run([*COMMAND, "list"], stdout=full, check=False, **shell)
    assert done.returncode == 1
    assert done.stderr == "genkern: No space left on device\n"


def test_reader_that_leaves(shell):
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([*COMMAND, "backends"], stdout=write, check=False, **shell)
    os.close(write)
    assert (done.returncode, done.stderr) == (1, "")


def test_interrupt(shell, tmp_path):
    command = [*COMMAND, "double-descent", "--seeds", "500", "--out", "out"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, **shell)
    while not (tmp_path / "out").exists() and process.poll() is None:
        time.sleep(0.05)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (130, "", "genkern: interrupted\n")
    assert not any((tmp_path / "out").iterdir())
