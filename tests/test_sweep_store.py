"""The store of a sweep: resumed, refused, shared, damaged, hostile."""

import contextlib
import functools
import resource
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import sweep_tasks as tasks

import genkern
from genkern.errors import StoreMismatch
from genkern.sweep import Grid, _lock, _reading, _store, _values, run

serial = functools.partial(run, executor="serial", progress=False)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "s.sweep"


@pytest.fixture
def filled(path):
    serial(tasks.square, Grid(i=range(100)), store=path)
    return path


def started(folder):
    with contextlib.suppress(FileNotFoundError):
        return [int(line.split()[0]) for line in (folder / "started").read_text().splitlines()]
    return []


@contextlib.contextmanager
def database(path):
    sql = sqlite3.connect(path)
    try:
        with sql:
            yield sql
    finally:
        sql.close()


def test_a_resume_runs_only_what_is_not_there(tmp_path, path):
    task = functools.partial(tasks.mark, folder=str(tmp_path))
    serial(task, Grid(i=range(5)), store=path)
    assert started(tmp_path) == list(range(5))
    result = serial(task, Grid(i=range(8)), store=path)
    assert started(tmp_path) == list(range(8))
    assert [cell.results["square"] for cell in result] == [i * i for i in range(8)]
    part = serial(task, Grid(i=[6, 2]), store=path)
    assert started(tmp_path) == list(range(8))
    assert [cell.parameters["i"] for cell in part] == [6, 2], "the cells that were asked for, in their order"
    assert len(genkern.sweep.open(path)) == 8
    assert [cell.parameters["i"] for cell in part.failed] == []


def test_a_store_is_one_file_when_its_run_is_over(filled):
    assert [entry.name for entry in filled.parent.iterdir()] == [filled.name]


@pytest.mark.parametrize(
    ("task", "grid", "options", "message"),
    [
        (tasks.busy, Grid(i=[1], work=[1]), {}, "is of task sweep_tasks:square, not sweep_tasks:busy"),
        (tasks.square, Grid(i=[1]), {"version": 2}, "is of version 1, not 2"),
        (tasks.square, Grid(i=[1]), {"version": "1"}, 'is of version 1, not "1"'),
        (tasks.square, Grid(i=[1]), {"resume": False}, "has results already: say resume=True, or name another file"),
    ],
)
def test_another_sweep_is_refused(filled, task, grid, options, message):
    before = tasks.content(filled)
    with pytest.raises(StoreMismatch, match=message):
        serial(task, grid, store=filled, **options)
    assert tasks.content(filled) == before


def test_other_parameters_are_refused(path):
    serial(tasks.shapes, Grid(n=[2], kind=["a"]), store=path)
    serial(tasks.shapes, Grid(kind=["a"], n=[2]), store=path)
    with pytest.raises(StoreMismatch, match=r'parameters \["n","kind"\], not \["n"\]: name another file'):
        serial(functools.partial(tasks.shapes, kind="a"), Grid(n=[2]), store=path)


def test_resume_false_takes_a_store_without_results(path):
    serial(tasks.square, Grid(i=[1]).where(lambda i: False), store=path)
    assert len(serial(tasks.square, Grid(i=[1]), store=path, resume=False)) == 1


def test_a_second_run_at_once_is_refused_and_reading_goes_on(tmp_path, path):
    """In this process and from another one; and the lock of a killed process is gone with it."""
    code = (
        "import functools, sys, sweep_tasks as tasks; from genkern.sweep import Grid, run\n"
        "task = functools.partial(tasks.mark, folder=sys.argv[1], seconds=0.05)\n"
        "run(task, Grid(i=range(1000)), store=sys.argv[2], executor='serial', progress=False)"
    )
    process = tasks.child(["-c", code], tmp_path, path)
    try:
        deadline = time.monotonic() + 60
        while not path.exists() or len(started(tmp_path)) < 25:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        with pytest.raises(OSError, match=r"the store .*s\.sweep is being written by another run"):
            serial(tasks.square, Grid(i=range(5)), store=path)
        result = genkern.sweep.open(path)
        state = result.status()
        assert state.running
        assert state.cells == 1000
        assert 0 < state.recorded == state.done < 1000
        assert 1 < state.rate < 20
        assert state.seconds_left > 40
        assert [cell.results["square"] for cell in result][:10] == [i * i for i in range(10)]
    finally:
        process.kill()
        process.wait()
    assert not result.status().running
    task = functools.partial(tasks.mark, folder=str(tmp_path))
    count = len(result)

    def inside(recorded, cells, failed):
        with pytest.raises(OSError, match="is being written by another run"):
            serial(task, Grid(i=range(5)), store=path)
        assert genkern.sweep.open(path).status().running

    with pytest.raises(StoreMismatch, match="common arguments"):  # `seconds` is another one
        serial(task, Grid(i=range(count + 1)), store=path)
    task = functools.partial(task, seconds=0.05)
    assert len(serial(task, Grid(i=range(count + 1)), store=path, progress=inside)) == count + 1


def test_a_missing_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"cannot write to the store .*: no folder .*missing"):
        serial(tasks.square, Grid(i=[1]), store=tmp_path / "missing" / "s.sweep")
    with pytest.raises(FileNotFoundError, match="no sweep store"):
        genkern.sweep.open(tmp_path / "s.sweep")


def test_a_foreign_file_is_refused_and_left_alone(path):
    def archive():
        with zipfile.ZipFile(path, "w") as file:
            file.writestr("a", "b" * 5000)

    def other_program():
        with database(path) as sql:
            sql.execute("CREATE TABLE cells (key)")

    def numbered_program():
        with database(path) as sql:
            sql.execute("PRAGMA application_id=77")

    for make in (archive, lambda: path.write_text("a,b\n1,2\n"), other_program, numbered_program):
        path.unlink(missing_ok=True)
        make()
        before = path.read_bytes()
        for use in (lambda: serial(tasks.square, Grid(i=[1]), store=path), lambda: genkern.sweep.open(path)):
            with pytest.raises(ValueError, match="is no sweep store"):
                use()
        assert path.read_bytes() == before
        assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_a_newer_format_is_refused(filled):
    with database(filled) as sql:
        sql.execute("PRAGMA user_version=2")
    before = filled.read_bytes()
    for use in (lambda: serial(tasks.square, Grid(i=[1]), store=filled), lambda: genkern.sweep.open(filled)):
        with pytest.raises(StoreMismatch, match="has format 2, and this genkern reads format 1"):
            use()
    assert filled.read_bytes() == before


def test_a_truncated_store_is_an_error_in_one_line(path):
    serial(tasks.kinds, Grid(n=[20], seed=range(40)), store=path)
    raw = path.read_bytes()
    grid = Grid(n=[20], seed=range(40))
    whole = {cell.parameters["seed"]: cell.results["product"] for cell in genkern.sweep.open(path)}
    for length in [1, 15, 16, 99, 100, 4095, *range(4096, len(raw), len(raw) // 12)]:
        path.write_bytes(raw[:length])
        with pytest.raises(ValueError, match=r"no sweep store|damaged") as caught:
            serial(tasks.kinds, grid, store=path)
        assert "\n" not in str(caught.value)
        try:
            cells = list(genkern.sweep.open(path))
        except (ValueError, OSError) as error:
            assert "\n" not in str(error)
        else:
            for cell in cells:
                np.testing.assert_array_equal(cell.results["product"], whole[cell.parameters["seed"]])


def test_damage_anywhere_gives_no_wrong_kind_of_error(path):
    serial(tasks.kinds, Grid(n=[20], seed=range(10)), store=path)
    raw = path.read_bytes()
    rng = np.random.default_rng(0)
    outcomes = set()
    for _ in range(60):
        damaged = bytearray(raw)
        for place in rng.integers(0, len(raw), 20):
            damaged[place] = rng.integers(256)
        path.write_bytes(bytes(damaged))
        try:
            result = genkern.sweep.open(path)
            outcomes.add(len([list(result), result.failed, result.status()]))
        except (ValueError, OSError, StoreMismatch) as error:
            assert "\n" not in str(error)
            assert not isinstance(error, UnicodeError)
            outcomes.add(type(error).__name__)
    assert "ValueError" in outcomes


HOSTILE = [
    ("|O", "[1]", b"\0" * 8),
    ("object", "[1]", b"\0" * 8),
    ("<f8", "[3]", b"\0" * 8),
    ("<f8", "[-1]", b"\0" * 8),
    ("<f8", "[4611686018427387904, 2]", b"\0" * 8),
    ("<f8", "[0, 1000000000000]", b""),
    ("<f8", "[0, 1000000000000000000000000]", b""),
    ("<f8", '["1"]', b"\0" * 8),
    ("<f8", "[" * 100000, b""),
    ("<f8", "[true]", b"\0" * 8),
    ("<f8", "{}", b"\0" * 8),
    ("<f16", "[1]", b"\0" * 16),
    ("<U2", "[1]", b"\xff" * 8),
    ("<M8[s]", "[1]", b"\0" * 8),
    ("<f8,<f8", "[1]", b"\0" * 16),
    ("bool", "[]", b"\2"),
    ("str", "[]", b"\xff"),
    ("int", "[]", b"1e5"),
    ("int", "[]", b"1" * 10000),
    ("float", "[]", b"\0" * 7),
    ("pickle", "[]", b"cos\nsystem\n(S'false'\ntR."),
    (3, "[]", b""),
    ("<f8", "[1]", "text"),
    ("<f8", 3, b"\0" * 8),
    ("float", "[]", 3.0),
]


@pytest.mark.parametrize("row", HOSTILE, ids=lambda row: f"{row[0]} {row[1]:.20}" if isinstance(row[1], str) else "odd")
def test_hostile_results_are_data_or_an_error(filled, row):
    with pytest.raises(ValueError, match="damaged result 'square'"):
        _values.decode("square", *row)
    with database(filled) as sql:
        sql.execute("UPDATE results SET dtype = ?, shape = ?, data = ?", row)
    with pytest.raises(ValueError, match="damaged result 'square'"):
        list(genkern.sweep.open(filled))


@pytest.mark.parametrize("text", ["[1]", "{}", '{"i": {"a": 1}}', "nonsense", '{"i":' + "[" * 100000, "3"])
def test_hostile_parameters_are_an_error(filled, text):
    with database(filled) as sql:
        sql.execute("UPDATE cells SET parameters = ? WHERE place = 3", (text,))
    with pytest.raises(ValueError, match="damaged"):
        list(genkern.sweep.open(filled))


@pytest.mark.parametrize("name", ["task", "version", "parameters", "common"])
def test_a_store_without_a_description_is_damaged(filled, name):
    with database(filled) as sql:
        sql.execute("DELETE FROM meta WHERE name = ?", (name,))
    for use in (lambda: serial(tasks.square, Grid(i=[1]), store=filled), lambda: genkern.sweep.open(filled)):
        with pytest.raises(ValueError, match="is damaged: its description"):
            use()


def test_a_store_names_a_task_and_never_imports_it(filled, tmp_path):
    """Whoever wrote the file may have chosen any function of any module."""
    (tmp_path / "trap.py").write_text("raise SystemExit('imported')\n")
    with database(filled) as sql:
        sql.execute("UPDATE meta SET value = 'trap:spring' WHERE name = 'task'")
    sys.path.insert(0, str(tmp_path))
    try:
        result = genkern.sweep.open(filled)
        assert result.task == "trap:spring"
        assert len(list(result)) == 100
        result.to_xarray()
        with pytest.raises(StoreMismatch, match="is of task trap:spring, not sweep_tasks:square"):
            genkern.sweep.retry(tasks.square, filled)
    finally:
        sys.path.remove(str(tmp_path))


def as_a_user(code, *arguments):
    """Run code as somebody whom permissions bind, which they do not bind root. Nothing can be imported after that: the
    packages may lie where only root may look."""
    prelude = "import os, sqlite3, sweep_tasks, genkern.sweep\n"
    prelude += "if os.getuid() == 0: os.setgid(65534); os.setuid(65534)\n"
    process = tasks.child(["-c", prelude + code], *arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


WRITE = (
    "import sys, sweep_tasks as tasks; from genkern.sweep import Grid, run\n"
    "try: run(tasks.square, Grid(i=range(200)), store=sys.argv[1], executor='serial', progress=False)\n"
    "except OSError as error: print('OSError', error.errno, error)"
)


def test_read_only_stores_can_be_read_and_not_written():
    with tempfile.TemporaryDirectory() as name:  # unlike tmp_path, all may look into its parents
        folder, filled = Path(name), Path(name) / "s.sweep"
        serial(tasks.square, Grid(i=range(100)), store=filled)
        check_read_only(folder, filled)


def check_read_only(folder, filled):
    before = filled.read_bytes()
    read = "import sys, genkern; r = genkern.sweep.open(sys.argv[1]); print(len(list(r)), r.status().running)"
    for file_mode, folder_mode in ((0o444, 0o777), (0o444, 0o555), (0o666, 0o555)):
        filled.chmod(file_mode)
        folder.chmod(folder_mode)
        try:
            code, out, err = as_a_user(read, filled)
            assert (code, out.strip(), err) == (0, "100 False", "")
            code, out, err = as_a_user(WRITE, filled)
            assert (code, err) == (0, "")
            assert "OSError 13 " in out
            assert "cannot write to the store" in out
        finally:
            folder.chmod(0o755)
    assert filled.read_bytes() == before


def test_a_full_disk_ends_with_one_line_and_a_sound_store(tmp_path, path):
    """A limit on the size of files does to a write what a full disk does: it fails in the middle."""
    code = (
        "import resource, sys, sweep_tasks as tasks; from genkern.sweep import Grid, _store, run\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)\n"
        "_store.COMMIT_SECONDS = 0.02\n"
        "grid = Grid(n=[100], seed=range(20000))\n"
        "try: run(tasks.kinds, grid, store=sys.argv[1], executor='serial', progress=False)\n"
        "except OSError as error: print(error)"
    )
    seen = []
    for limit in (1 << 12, 1 << 16, 1 << 20):
        path.unlink(missing_ok=True)
        process = tasks.child(["-c", code], path, limit, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        assert err == ""
        assert len(out.splitlines()) == 1
        assert "cannot use the store" in out
        with contextlib.suppress(FileNotFoundError), database(path) as sql:
            assert sql.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        for entry in tmp_path.iterdir():
            assert entry.stat().st_size <= limit
        if limit == 1 << 20:
            cells = list(genkern.sweep.open(path))
            seen.append(len(cells))
            for cell in cells[:: max(1, len(cells) // 10)]:
                np.testing.assert_array_equal(cell.results["coef"], tasks.kinds(**cell.parameters)["coef"])
            total = len(cells) + 3
            resumed = serial(tasks.kinds, Grid(n=[100], seed=range(total)), store=path)
            assert len(resumed) == total
    assert seen[0] > 0
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY


def test_what_no_store_can_hold_fails_its_cell_alone(path, monkeypatch):
    monkeypatch.setattr(_values, "BYTES", 4000)
    cells = list(serial(tasks.odd, Grid(i=range(8)), store=path))
    assert [cell.status for cell in cells] == ["done", *["failed"] * 6, "done"]
    errors = [cell.error for cell in cells]
    assert errors[1] == r"FileNotFoundError: no file b\udcff, \x1b[31m red"
    assert errors[2] == r"ValueError: names of results must be text that UTF-8 can hold, got 'b\udcff'"
    assert errors[3] == r"ValueError: result 'x' must be text that UTF-8 can hold, got 'b\udcff'"
    assert errors[4].startswith("ValueError: result 'x' has 8000 bytes, and a store takes at most 4000")
    assert "must be an array without a mask" in errors[5]
    assert errors[6].startswith("ValueError: result 'x' has 8000 bytes")


def test_a_copy_of_a_store_goes_on_elsewhere(filled, tmp_path):
    (tmp_path / "other").mkdir()
    copy = tmp_path / "other" / "copy.sweep"
    shutil.copy(filled, copy)
    assert len(serial(tasks.square, Grid(i=range(110)), store=copy)) == 110
    assert len(genkern.sweep.open(filled)) == 100


def test_what_is_written_twice_is_the_same(tmp_path):
    """Two runs of a sweep differ in nothing but the columns of timing."""
    grid = Grid(n=[6, 9], seed=range(5))
    for name in "ab":
        serial(tasks.kinds, grid, store=tmp_path / name)
    assert tasks.content(tmp_path / "a") == tasks.content(tmp_path / "b")


def test_readers_and_runs_do_not_wait_for_each_other(filled, monkeypatch):
    monkeypatch.setattr(_reading, "PAGE_CELLS", 10)
    monkeypatch.setattr(_store, "PATIENCE", 0.1)
    cells = iter(genkern.sweep.open(filled))
    seen = [next(cells)]
    assert len(serial(tasks.square, Grid(i=range(105)), store=filled)) == 105
    seen += cells
    assert [cell.results["square"] for cell in seen] == [i * i for i in range(100)]
    with database(filled) as sql:
        sql.execute("BEGIN")
        sql.execute("SELECT * FROM cells").fetchone()
        with pytest.raises(BlockingIOError, match=r"cannot use the store .* somebody else is reading or writing it"):
            serial(tasks.square, Grid(i=range(106)), store=filled)


def test_large_results_are_read_in_small_pages(path, monkeypatch):
    monkeypatch.setattr(_reading, "PAGE_BYTES", 100)
    serial(tasks.shapes, Grid(n=[5, 20, 3, 4, 40], kind=["b"]), store=path)
    assert [len(cell.results["values"]) for cell in genkern.sweep.open(path)] == [5, 20, 3, 4, 40]


def test_the_file_alone_is_a_store_while_others_read(path, monkeypatch):
    monkeypatch.setattr(_store, "CLOSING", 0.1)
    copy = path.with_name("copy")
    with contextlib.ExitStack() as readers:

        def look(recorded, cells, failed):
            if recorded == 0:
                shutil.copy(path, copy)
                assert len(genkern.sweep.open(copy)) == 0
                readers.enter_context(database(path)).execute("SELECT count(*) FROM cells").fetchone()

        serial(tasks.square, Grid(i=range(50)), store=path, progress=look)
        shutil.copy(path, copy)
        assert len(genkern.sweep.open(copy)) == 50


def test_status_counts_the_cells_of_all_grids(path):
    serial(tasks.interrupt, Grid(i=range(10, 20)), store=path)
    with pytest.raises(KeyboardInterrupt):
        serial(tasks.interrupt, Grid(i=[*range(100, 105), 5, *range(106, 110)]), store=path)
    state = genkern.sweep.open(path).status()
    assert (state.cells, state.recorded, state.done) == (20, 15, 15)
    assert state.seconds_left > 0


def test_status_of_a_retry_counts_what_is_left(tmp_path, path):
    task = functools.partial(tasks.repaired, folder=str(tmp_path))
    serial(task, Grid(i=range(6)), store=path)
    (tmp_path / "repaired").touch()
    seen = []

    def look(recorded, cells, failed):
        state = genkern.sweep.open(path).status()
        seen.append((state.cells, state.recorded, state.done, state.failed))

    genkern.sweep.retry(task, path, executor="serial", progress=look)
    assert seen[0] == (6, 3, 3, 0)
    state = genkern.sweep.open(path).status()
    assert (state.cells, state.recorded, state.done, state.failed) == (6, 6, 6, 0)


def test_a_link_is_the_store_that_it_leads_to(tmp_path, path):
    link = tmp_path / "link"
    link.symlink_to(path)

    def again(recorded, cells, failed):
        if recorded == 0:
            with pytest.raises(OSError, match="is being written by another run"):
                serial(tasks.square, Grid(i=range(5)), store=link)

    serial(tasks.square, Grid(i=range(3)), store=path, progress=again)
    assert len(serial(tasks.square, Grid(i=range(5)), store=link)) == 5
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["link", path.name]


def test_a_task_may_change_to_another_folder(tmp_path, monkeypatch):
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path)
    task = functools.partial(tasks.wander, folder=str(tmp_path / "other"))
    assert len(serial(task, Grid(i=range(3)), store="s.sweep")) == 3
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["other", "s.sweep"]


def test_names_of_stores(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    serial(tasks.square, Grid(i=range(3)), store="~/s.sweep")
    assert len(genkern.sweep.open("~/s.sweep")) == len(genkern.sweep.open(tmp_path / "s.sweep")) == 3
    for use in (lambda: serial(tasks.square, Grid(i=[1]), store=tmp_path), lambda: genkern.sweep.open(tmp_path)):
        with pytest.raises(IsADirectoryError, match="is a folder, and a sweep store is a file"):
            use()


def test_a_lock_that_vanishes_is_no_error(path, monkeypatch):
    calls = []

    def mark(file, original=_lock._mark):
        calls.append(file)
        if len(calls) == 1:
            raise FileNotFoundError
        return original(file)

    path.with_name(path.name + ".lock").touch()
    monkeypatch.setattr(_lock, "_mark", mark)
    _lock.Lock(path).release()
    assert not any(path.parent.iterdir())


def test_a_store_in_the_making_is_waited_for(filled, path):
    new = path.with_name("new")
    new.touch()
    held = _lock.Lock(new)
    timer = threading.Timer(0.1, shutil.copy, [filled, new])
    timer.start()
    try:
        assert len(genkern.sweep.open(new)) == 100
    finally:
        timer.join()
        held.release()


def test_a_forked_child_leaves_its_parents_store_and_locks():
    code = (
        "import os, sys, sweep_tasks as tasks; from genkern.sweep import Grid, _lock, run\n"
        "result = run(tasks.square, Grid(i=range(3)), executor='serial', progress=False)\n"
        "held = _lock.Lock(result.path)\n"
        "child = os.fork()\n"
        "if not child: sys.exit(len(_lock._mine))\n"
        "print(os.waitpid(child, 0)[1], len(list(result)))"
    )
    out, _ = tasks.child(["-c", code], stdout=subprocess.PIPE).communicate(timeout=60)
    assert out.split() == ["0", "3"]


DAMAGE = [
    "UPDATE runs SET cells = 'abc'",
    "UPDATE runs SET cells = 1e300",
    "UPDATE runs SET updated = 9e999",
    "UPDATE runs SET done = -5",
    "UPDATE meta SET value = CAST(value AS BLOB) WHERE name = 'task'",
    "UPDATE meta SET value = CAST(x'22ff22' AS TEXT) WHERE name = 'common'",
    "UPDATE meta SET value = '5' WHERE name = 'parameters'",
    "UPDATE cells SET status = CAST(x'ff' AS TEXT)",
    "UPDATE cells SET error = x'00'",
    "UPDATE cells SET seconds = 'abc'",
    "UPDATE cells SET key = CAST(place AS TEXT)",
    "UPDATE results SET name = x'00'",
    "ALTER TABLE cells DROP COLUMN host",
    "CREATE TRIGGER t AFTER INSERT ON cells BEGIN DELETE FROM results; END",
    "CREATE VIEW v AS SELECT * FROM cells",
    "CREATE TABLE other (x)",
]


@pytest.mark.parametrize("statement", DAMAGE)
def test_a_hostile_store_is_damaged(filled, statement):
    with database(filled) as sql:
        sql.execute(statement)
    with pytest.raises(ValueError, match="damaged"):
        result = genkern.sweep.open(filled)
        result.status()
        list(result)
    if statement.startswith(("CREATE", "ALTER", "UPDATE meta")):
        before = filled.read_bytes()
        with pytest.raises(ValueError, match=r"damaged"):
            serial(tasks.square, Grid(i=range(200)), store=filled)
        if not statement.startswith("UPDATE"):
            assert filled.read_bytes() == before
