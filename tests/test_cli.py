"""The command line, in-process and as ``python -m genkern``."""

import contextlib
import functools
import inspect
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
import unittest.mock

import numpy as np
import own_activations
import own_tasks
import pytest

import genkern
from genkern import cli, studies, sweep

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
        (["double-descent", "--executor", "cluster"], "executor must be None, one of serial, threads, processes, loky"),
        (["spectra", "--seeds", "0"], "seeds must be >= 1, got 0"),
        (["status"], "the following arguments are required: STORE"),
        (["status", "missing"], "no sweep store missing"),
        (["retry", "missing"], "no sweep store missing"),
        (["export", "missing", "x.csv"], "no sweep store missing"),
        (["retry", "missing", "--timeout", "soon"], "--timeout: invalid float value: 'soon'"),
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


@pytest.fixture
def store(tmp_path):
    """A store of a task of the user's own: 4 cells, of which one fails as long as the file `broken` is there."""
    broken = tmp_path / "broken"
    broken.touch()
    path = tmp_path / "own.sweep"
    grid = sweep.Grid(i=range(4))
    sweep.run(functools.partial(own_tasks.fragile, broken=broken), grid, store=path, executor="serial", progress=False)
    return path


def test_status(capfd, store):
    assert cli.main(["status", str(store)]) == 1
    assert capfd.readouterr().out.splitlines() == [
        f"{store}: own_tasks:fragile, version 1",
        "done       3 of 4 cells",
        "failed     1",
        "remaining  0",
        unittest.mock.ANY,
        "time left  0:00:00",
        "running    no",
        "",
        "i = 2: RuntimeError: it is broken",
        f"genkern retry {store} --import own_tasks runs them again",
    ]
    assert cli.main(["status", str(store), "--json"]) == 1
    state = json.loads(capfd.readouterr().out)
    assert (state["done"], state["failed"], state["remaining"], state["running"]) == (3, 1, 0, False)


def test_status_of_many_failures_and_of_an_unfinished_sweep(capfd, tmp_path):
    broken, store = tmp_path / "broken", tmp_path / "own.sweep"
    broken.touch()
    task = functools.partial(own_tasks.fragile, broken=broken)
    with pytest.raises(KeyboardInterrupt):
        sweep.run(task, sweep.Grid(i=[2, 5, 8, 11, 14, 17, 20, -1, 3]), store=store, executor="serial", progress=False)
    assert cli.main(["status", str(store)]) == 1
    lines = capfd.readouterr().out.splitlines()
    assert "remaining  2" in lines and "and 2 more" in lines and sum("it is broken" in line for line in lines) == 5


def test_retry_runs_nothing_on_the_word_of_a_store(capfd, store, tmp_path):
    err = fails(capfd, 2, "retry", str(store))
    assert f"{store} needs own_tasks:fragile: say --import own_tasks to have that run" in err
    retry = ["retry", str(store), "--executor", "serial", "--no-progress", "--import", "own_tasks"]
    assert cli.main(retry) == 1
    assert "1 cell run again, 0 done, 1 failed\ni = 2: RuntimeError: it is broken" in capfd.readouterr().out
    (tmp_path / "broken").unlink()
    assert cli.main(retry) == 0
    assert capfd.readouterr() == (f"{store}: 1 cell run again, 1 done, 0 failed\n", "")
    assert cli.main(["status", str(store)]) == 0
    assert "done       4 of 4 cells" in capfd.readouterr().out
    # An activation of the user's own is code, too.
    study = {"n_train": 20, "n_test": 30, "widths": [5], "seeds": 1, "store": tmp_path / "s.sweep"}
    studies.double_descent.run(**study, activation=own_activations.gentle)
    with contextlib.closing(sqlite3.connect(tmp_path / "s.sweep")) as sql, sql:
        sql.execute("UPDATE cells SET status = 'failed'")
    assert "needs own_activations:gentle: say --import own_activations" in fails(
        capfd, 2, "retry", str(tmp_path / "s.sweep")
    )
    assert cli.main(["retry", str(tmp_path / "s.sweep"), "--executor=serial", "--import=own_activations"]) == 0
    assert "1 cell run again, 1 done" in capfd.readouterr().out
    with contextlib.closing(sqlite3.connect(tmp_path / "s.sweep")) as sql, sql:
        sql.execute("UPDATE cells SET status = 'failed'")
        sql.execute("UPDATE meta SET value = 'genkern.studies._cells:cell' WHERE name = 'task'")
    assert "say --import genkern.studies._cells" in fails(capfd, 2, "retry", str(tmp_path / "s.sweep"))


@pytest.mark.parametrize("axes", [["seed", "activation"], ["seed"]])
def test_retry_imports_nothing_that_a_cell_names(capfd, tmp_path, monkeypatch, axes):
    """A store made to run code: the activation is an axis, on top of or in place of the common argument."""
    path = tmp_path / "hostile.sweep"
    (tmp_path / "evilmod.py").write_text("raise SystemExit('evilmod has been run')")
    monkeypatch.syspath_prepend(tmp_path)
    studies.double_descent.run(n_train=20, n_test=30, widths=[5], seeds=1, store=path)
    with contextlib.closing(sqlite3.connect(path)) as sql, sql:
        sql.execute("UPDATE cells SET status = 'failed', error = ?", ("E: \x1b[2J\u202e",))
        sql.execute("UPDATE cells SET parameters = ?", ('{"activation":"evilmod:f#00","seed":0}',))
        (text,) = sql.execute("SELECT value FROM meta WHERE name = 'common'").fetchone()
        common = json.loads(text)
        common["activation"] = ["evilmod:f#00"]
        if "activation" in axes:
            del common["activation"]
        sql.execute("UPDATE meta SET value = ? WHERE name = 'parameters'", (json.dumps(axes),))
        sql.execute("UPDATE meta SET value = ? WHERE name = 'common'", (json.dumps(common),))
    err = fails(capfd, 2, "retry", str(path), "--executor", "serial", "--no-progress")
    assert ("activation is common), got parameters seed, activation" in err) == ("activation" in axes)
    assert "evilmod" not in sys.modules
    assert "no sweep store no\\x1b[1m" in fails(capfd, 2, "status", "no\x1b[1m")
    if "activation" in axes:
        assert cli.main(["status", str(path)]) == 1
        out = capfd.readouterr().out
        assert "E: \\x1b[2J\\u202e" in out and "\x1b" not in out


@pytest.mark.parametrize("claim", studies.CLAIMS)
def test_every_cell_takes_just_what_its_store_has(claim):
    """No argument has a default, as retry asks a store for all of them."""
    arguments = inspect.signature(studies.load(claim).cell).parameters.values()
    assert all(argument.kind is argument.KEYWORD_ONLY for argument in arguments)
    assert all(argument.default is argument.empty for argument in arguments)


def test_retry_needs_values(capfd, tmp_path):
    task = functools.partial(own_tasks.weighted, weights=np.array([1.0, np.nan]))
    sweep.run(task, sweep.Grid(i=[0, 1]), store=tmp_path / "s", executor="serial", progress=False)
    err = fails(capfd, 2, "retry", str(tmp_path / "s"), "--import", "own_tasks")
    assert "has no values of the common argument weights, which is an array" in err


@pytest.mark.parametrize("kind", ["nc", "parquet", "csv", "npz"])
def test_export(capfd, store, tmp_path, kind):
    pytest.importorskip({"nc": "xarray", "parquet": "pyarrow", "csv": "csv", "npz": "xarray"}[kind])
    file = tmp_path / f"x.{kind}"
    assert cli.main(["export", str(store), str(file)]) == 0
    assert capfd.readouterr().out == f"saved: 4 cells, 1 of them failed, in {file}\n" and file.stat().st_size
    if kind == "npz":
        with np.load(file) as arrays:
            np.testing.assert_array_equal(arrays["square"], [0, 1, np.nan, 9])
    if kind == "csv":
        assert file.read_text().splitlines()[0] == "i,square,status,error,seconds"


def test_export_to_what_cannot_be(capfd, store, tmp_path):
    err = fails(capfd, 2, "export", str(store), str(tmp_path / "x.xlsx"))
    assert "path must end in .nc, .parquet, .csv, .npz, got" in err
    err = fails(capfd, 1, "export", str(store), str(tmp_path / "no" / "x.csv"))
    assert f"cannot write {tmp_path / 'no' / 'x.csv'}: No such file or directory" in err


@pytest.mark.parametrize("content", [b"", b"hello", "truncated", "foreign"])
def test_what_is_no_store(capfd, store, tmp_path, content):
    other = tmp_path / "other"
    if content == "truncated":
        other.write_bytes(store.read_bytes()[:5000])
    elif content == "foreign":
        with contextlib.closing(sqlite3.connect(other)) as sql, sql:
            sql.execute("CREATE TABLE t (x)")
    else:
        other.write_bytes(content)
    match = "no sweep store"
    assert match in fails(capfd, 2, "status", str(other))
    assert match in fails(capfd, 2, "retry", str(other))
    assert match in fails(capfd, 2, "export", str(other), str(tmp_path / "x.csv"))
    if content:  # an empty file is as good as none for a run
        assert match in fails(capfd, 2, "double-descent", *QUICK, "--store", str(other), "--out", str(tmp_path / "o"))
        assert not (tmp_path / "o").exists()


def test_study_on_a_store(capfd, tmp_path):
    arguments = ["double-descent", *QUICK, "--out", str(tmp_path / "o"), "--store", str(tmp_path / "s.sweep")]
    for more in ([], ["--resume"], ["--executor", "threads", "--seeds", "0,1,4"]):
        assert cli.main([*arguments, *more]) == 0
    assert len(sweep.open(tmp_path / "s.sweep")) == 3
    capfd.readouterr()
    assert "has results already" in fails(capfd, 2, *arguments, "--no-resume")
    err = fails(capfd, 2, *arguments, "--ridge", "0.5", "--out", str(tmp_path / "new" / "o"))
    assert not (tmp_path / "new").exists()
    assert "is of common arguments ridge = 0.0, not ridge = 0.5: name another file" in err
    err = fails(capfd, 1, *arguments[:-1], str(tmp_path / "no" / "s.sweep"))
    assert f"cannot open the store {tmp_path / 'no' / 's.sweep'}: no folder {tmp_path / 'no'}" in err
    err = fails(capfd, 1, *arguments[:-1], str(tmp_path))
    assert f"cannot open the store {tmp_path}: it is a folder" in err
