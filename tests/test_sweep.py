"""Sweeps: grids, what a run records, and what its result gives."""

import functools
import hashlib
import importlib.util
import itertools
import os
import pickle
import sqlite3
import subprocess
import termios

import numpy as np
import pytest
import sweep_tasks as tasks
import xarray
from hypothesis import given, settings
from hypothesis import strategies as st

import genkern
from genkern.errors import CellFailed, GenkernError
from genkern.sweep import Grid, cell_seed, retry, run

serial = functools.partial(run, executor="serial", progress=False)


def test_product_runs_its_last_axis_fastest():
    grid = Grid(n=[3, 1], kind=("a", None), seed=range(2))
    assert len(grid) == 8
    assert [tuple(cell.values()) for cell in grid] == list(itertools.product([3, 1], ["a", None], [0, 1]))
    assert list(grid) == list(grid), "a grid can be run through again"
    assert grid.names == ("n", "kind", "seed")
    assert repr(grid) == "Grid(n=[3, 1], kind=['a', None], seed=[0, 1])"
    assert repr(Grid(n=range(100))) == "Grid(n=[0, 1, ..., 99: 100])"


def test_a_large_product_has_its_size_at_once():
    assert len(Grid(a=range(10**5), b=range(10**5), c=range(10**5))) == 10**15


def test_values_become_pythons_own():
    grid = Grid(a=np.array([1, 2], np.int32), b=[np.float32(0.5)], c=[np.True_], d=[[1, np.int64(2)]], e=[np.str_("x")])
    for cell in grid:
        assert [type(value) for value in cell.values()] == [int, float, bool, tuple, str]
        assert [type(part) for part in cell["d"]] == [int, int]


@pytest.mark.parametrize(
    ("axes", "error", "message"),
    [
        ({}, ValueError, "at least one axis"),
        ({"n": []}, ValueError, "axis n must not be empty"),
        ({"n": 3}, TypeError, "axis n must be a sequence of numbers.*got 3"),
        ({"n": "relu"}, TypeError, "axis n must be a sequence.*got 'relu'"),
        ({"n": {1, 2}}, TypeError, "axis n must be a sequence"),
        ({"n": {"a": 1}}, TypeError, "axis n must be a sequence"),
        ({"n": [1, 2, 1]}, ValueError, "axis n must not repeat a value, got 1 twice"),
        ({"n": [1, 1.0]}, ValueError, "axis n must not repeat a value, got 1.0 twice"),
        ({"n": [float("nan")]}, ValueError, "axis n must not be nan"),
        ({"n": [-(10**5000)]}, ValueError, "axis n must hold integers of at most 4096 bits, got one of 16610"),
        ({"n": [1j]}, TypeError, "axis n must hold numbers.*got complex"),
        ({"n": [object()]}, TypeError, "axis n must hold numbers.*got object"),
        ({"n": [(1, {})]}, TypeError, "axis n must hold numbers.*got dict"),
        ({"n": np.ones((2, 2))}, ValueError, r"axis n must be one-dimensional, got shape \(2, 2\)"),
    ],
)
def test_bad_axes(axes, error, message):
    with pytest.raises(error, match=message):
        Grid(**axes)


def test_a_union_of_many_grids():
    grids = [Grid(a=[i, i + 1], b=[0]) if i % 2 else Grid(b=[0], a=[i, i + 1]) for i in range(1200)]
    left, right = grids[0], grids[-1]
    for grid in grids[1:]:
        left = left + grid
    for grid in grids[-2::-1]:
        right = grid + right
    assert [cell["a"] for cell in left] == [cell["a"] for cell in right] == list(range(1201))


def test_lists_unions_and_filters():
    listed = Grid.from_list([{"n": 5, "d": 1}, {"d": 2, "n": 5}])
    product = Grid(d=[1, 3], n=[5])
    union = listed + product
    assert [(cell["n"], cell["d"]) for cell in union] == [(5, 1), (5, 2), (5, 3)]
    assert len(union) == 3
    assert list(union)[2] == {"n": 5, "d": 3}
    assert [cell["d"] for cell in union.where(lambda d: d > 1)] == [2, 3]
    assert [cell["d"] for cell in union.where(lambda cell: cell["d"] * cell["n"] == 10)] == [2]
    assert [cell["d"] for cell in union.where(lambda **cell: cell["d"] < 2)] == [1]
    assert [cell["d"] for cell in union.where(lambda d, n, limit=11: d * n < limit)] == [1, 2]
    assert len(union.where(lambda d: False)) == 0
    assert len(Grid(a=[1]) + Grid(a=[1.0]) + Grid(a=[True])) == 3, "three different calls of a task"


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Grid.from_list([]), ValueError, "cells must not be empty"),
        (lambda: Grid.from_list([{"n": 1}, {"d": 1}]), ValueError, "must all have the parameters n, got .*'d'.* at 1"),
        (lambda: Grid.from_list([{"n": 1}, {"n": 1}]), ValueError, "cells must differ, got .* twice"),
        (lambda: Grid.from_list([3]), TypeError, "cells must be mappings"),
        (lambda: Grid(n=[1]) + Grid(d=[1]), ValueError, "same parameters to be joined, got n and d"),
        (lambda: Grid(n=[1]).where(3), TypeError, "predicate must be a function"),
        (lambda: Grid(n=[1]).where(lambda n, m: True), ValueError, "predicate must name parameters.*got m"),
    ],
)
def test_bad_grids(make, error, message):
    with pytest.raises(error, match=message):
        make()


VALUES = st.one_of(
    st.integers(-5, 5),
    st.floats(allow_nan=False),
    st.text(max_size=3),
    st.booleans(),
    st.none(),
    st.tuples(st.integers()),
)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(VALUES, VALUES), min_size=1, max_size=8, unique_by=repr))
def test_cells_survive_the_store(rows):
    grid = Grid.from_list([{"a": a, "b": b} for a, b in rows])
    found = list(serial(nothing, grid))
    assert [repr((cell.parameters["a"], cell.parameters["b"])) for cell in found] == [repr(row) for row in rows]


def nothing(**parameters):
    return {}


@pytest.mark.parametrize(
    ("task", "grid", "options", "error", "message"),
    [
        (lambda i: {}, Grid(i=[1]), {}, TypeError, "defined at the top of a module, got a lambda"),
        ("task", Grid(i=[1]), {}, TypeError, "task must be a function, got str"),
        (Grid(i=[1]).where, Grid(i=[1]), {}, TypeError, "top of a module, got a method"),
        (functools.partial(tasks.square, 3), Grid(i=[1]), {}, TypeError, "by name, got 1 by position"),
        (functools.partial(tasks.square, i=3), Grid(i=[1]), {}, ValueError, "got i as both"),
        (tasks.square, Grid(j=[1]), {}, TypeError, "cannot be called with j as keywords"),
        (tasks.square, [{"i": 1}], {}, TypeError, "grid must be a genkern.sweep.Grid, got list"),
        (
            tasks.square,
            Grid(i=[1]),
            {"executor": "cluster"},
            ValueError,
            "executor must be None.*'cluster'",
        ),
        (tasks.square, Grid(i=[1]), {"executor": 3}, TypeError, "executor must be None.*got 3"),
        (tasks.square, Grid(i=[1]), {"on_error": "ignore"}, ValueError, "on_error must be one of record, raise"),
        (tasks.square, Grid(i=[1]), {"timeout": 0}, ValueError, "timeout must be finite and > 0"),
        (tasks.square, Grid(i=[1]), {"version": 1.5}, TypeError, "version must be an integer or a string, got float"),
        (tasks.square, Grid(i=[1]), {"resume": 1}, TypeError, "resume must be True or False"),
        (tasks.square, Grid(i=[1]), {"progress": 3}, TypeError, "progress must be True, False, None or a function"),
        (
            functools.partial(tasks.weighted, X={}),
            Grid(i=[1]),
            {},
            TypeError,
            "argument X must .* got a mapping",
        ),
    ],
)
def test_bad_arguments(task, grid, options, error, message):
    with pytest.raises(error, match=message):
        run(task, grid, **{"executor": "serial", "progress": False, **options})


def test_nested_functions_are_no_tasks():
    def inner(i):
        return {}

    with pytest.raises(TypeError, match="top of a module, got a nested function"):
        serial(inner, Grid(i=[1]))


def test_results_come_back_as_they_were():
    grid = Grid(n=[6, 7], seed=[0, 1])
    result = serial(tasks.kinds, grid)
    assert len(result) == 4
    for cell, parameters in zip(result, grid, strict=True):
        assert cell.parameters == parameters
        assert (cell.status, cell.error) == ("done", "")
        assert cell.genkern == genkern.__version__
        expected = tasks.kinds(**parameters)
        assert set(cell.results) == set(expected)
        for name, value in expected.items():
            assert type(cell.results[name]) is type(value), name
            np.testing.assert_array_equal(cell.results[name], value, strict=isinstance(value, np.ndarray))


def test_a_temporary_store_goes_with_its_result():
    result = serial(tasks.square, Grid(i=range(3)))
    folder = result.path.parent
    assert [cell.results["square"] for cell in result] == [0, 1, 4]
    assert folder.is_dir()
    del result
    assert not folder.exists()


def test_every_failure_is_recorded_and_the_rest_goes_on():
    result = serial(tasks.faulty, Grid(i=range(8)))
    cells = list(result)
    assert [cell.status for cell in cells] == ["done", "failed", "nan", *["failed"] * 4, "done"]
    errors = [cell.error for cell in cells]
    assert errors[1] == "ValueError: one is bad"
    assert errors[2] == "result 'x' has a NaN"
    assert "TypeError: a task must return a dict of numbers, strings, bools and arrays, got list" in errors[3]
    assert "TypeError: result 'x' must have a bool, integer, float or complex dtype, got object" in errors[4]
    assert errors[5] == "SystemExit: 3"
    assert "results must not have the name of a parameter, got 'i'" in errors[6]
    np.testing.assert_array_equal(cells[2].results["x"], [1.0, np.nan])
    assert all(not cell.results for i, cell in enumerate(cells) if i in (1, 3, 4, 5, 6))
    assert 'raise ValueError("one is bad")' in cells[1].traceback
    assert "genkern" not in cells[1].traceback, "the task's own frames alone"
    assert [cell.parameters["i"] for cell in result.failed] == [1, 2, 3, 4, 5, 6]
    state = result.status()
    assert (state.cells, state.recorded, state.done, state.failed, state.running) == (8, 8, 2, 6, False)
    assert repr(result) == "<SweepResult of sweep_tasks:faulty: 2 done and 6 failed of 8 cells>"


def test_on_error_raise_ends_the_run_and_keeps_what_is_done(tmp_path):
    store = tmp_path / "s.sweep"
    with pytest.raises(CellFailed, match=r"cell \{'i': 1\} failed: ValueError: one is bad") as caught:
        serial(tasks.faulty, Grid(i=range(8)), store=store, on_error="raise")
    assert isinstance(caught.value, GenkernError)
    assert 'raise ValueError("one is bad")' in caught.value.__notes__[0]
    assert [cell.status for cell in genkern.sweep.open(store)] == ["done", "failed"]


def test_ctrl_c_keeps_what_is_done(tmp_path):
    store = tmp_path / "s.sweep"
    with pytest.raises(KeyboardInterrupt):
        serial(tasks.interrupt, Grid(i=range(8)), store=store)
    assert [cell.parameters["i"] for cell in genkern.sweep.open(store)] == list(range(5))
    assert not genkern.sweep.open(store).status().running


@pytest.mark.parametrize("executor", ["serial", "threads"])
def test_endless_python_code_times_out(executor):
    result = run(tasks.endless, Grid(i=range(4)), executor=executor, timeout=0.3, progress=False)
    assert [cell.status for cell in result] == ["done", "timeout", "done", "done"]
    (failure,) = result.failed
    assert failure.error == "did not finish within timeout = 0.3 s"
    assert 0.3 <= failure.seconds < 30


def test_retry_runs_the_failures_alone(tmp_path):
    store, grid = tmp_path / "s.sweep", Grid(i=range(6))
    task = functools.partial(tasks.repaired, folder=str(tmp_path))
    first = serial(task, grid, store=store)
    assert len(first.failed) == 3
    again = serial(task, grid, store=store)
    assert len(again.failed) == 3, "a resume takes failures as they are"
    (tmp_path / "repaired").touch()
    result = retry(task, store, executor="serial", progress=False)
    assert [cell.results for cell in result] == [{"x": i} for i in range(6)], "in the grid's order"
    assert not result.failed
    assert result.status().cells == 6
    assert retry(task, store, executor="serial", progress=False).status().recorded == 6


def test_progress_is_told_to_a_function():
    told = []
    serial(tasks.faulty, Grid(i=range(8)), progress=lambda *numbers: told.append(numbers))
    assert told[0] == (0, 8, 0)
    assert told[-1] == (8, 8, 6)
    assert told == sorted(told)


def test_progress_prints_lines_where_there_is_no_terminal(capsys, monkeypatch):
    monkeypatch.setattr("genkern.sweep._progress.LINE_SECONDS", 0.0)
    serial(tasks.faulty, Grid(i=range(8)), progress=True)
    assert "sweep: 5 of 8 cells, 4 failed, " in capsys.readouterr().err
    serial(tasks.faulty, Grid(i=range(8)), progress=None)
    serial(tasks.faulty, Grid(i=range(8)), progress=False)
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""


def test_progress_is_a_bar_on_a_terminal():
    code = (
        "import sweep_tasks as tasks; from genkern.sweep import Grid, run\n"
        "run(tasks.square, Grid(i=range(50)), executor='serial')"
    )
    mine, theirs = os.openpty()
    termios.tcsetwinsize(theirs, (24, 100))
    process = tasks.child(["-c", code], stderr=theirs, stdout=subprocess.PIPE)
    out, _ = process.communicate(timeout=120)
    os.close(theirs)
    shown = b""
    while b"50/50" not in shown:
        shown += os.read(mine, 4096)
    os.close(mine)
    assert process.returncode == 0
    assert out == ""
    assert b"cell/s" in shown


def test_xarray_has_the_axes_as_dimensions():
    grid = Grid(n=[6, 7, 9], seed=range(2))
    data = serial(tasks.kinds, grid).to_xarray()
    assert data.norm.dims == ("n", "seed")
    assert data.coef.dims == ("n", "seed", "coef_0", "coef_1")
    assert data.coef.shape == (3, 2, 2, 5)
    for cell in grid:
        expected = tasks.kinds(**cell)
        here = data.sel(n=cell["n"], seed=cell["seed"])
        for name in ("norm", "even", "label", "coef", "rank", "product", "mask", "phase", "single"):
            np.testing.assert_array_equal(here[name].values, expected[name])
    assert data["rank"].dtype.kind == "i"
    assert data.even.dtype == bool
    assert data.single.dtype == np.float32


def test_xarray_pads_what_is_missing():
    grid = Grid(n=[2, 3], kind=["a", "b"]).where(lambda n, kind: (n, kind) != (3, "a"))
    data = serial(tasks.shapes, grid).to_xarray()
    assert data["count"].dims == ("n", "kind")
    np.testing.assert_array_equal(data["count"], [[2, 2], [np.nan, 3]])
    np.testing.assert_array_equal(data["values"].sel(n=2, kind="a"), [0, 1, np.nan])
    np.testing.assert_array_equal(data["values"].sel(n=3, kind="b"), [0, 1, 2])
    np.testing.assert_array_equal(data["extra"], [[np.nan, 2], [np.nan, 3]])
    np.testing.assert_array_equal(data["word"], [["", "b"], ["", "b"]])


def test_sparse_grids_lie_along_one_dimension():
    grid = Grid.from_list([{"i": i, "j": i} for i in range(10)])
    data = serial(nothing_but_sum, grid).to_xarray()
    assert data.total.dims == ("cell",)
    np.testing.assert_array_equal(data.total, np.arange(10) * 2)
    np.testing.assert_array_equal(data.i, np.arange(10))
    dense = serial(nothing_but_sum, grid).to_xarray(dense=True)
    assert dense.total.dims == ("i", "j")
    np.testing.assert_array_equal(np.diag(dense.total), np.arange(10) * 2)
    assert np.isnan(dense.total.values).sum() == 90
    union = Grid(i=[1], j=[2]) + Grid(i=[1.0], j=[2])
    assert serial(nothing_but_sum, union).to_xarray().total.dims == ("cell",), "two cells of one label"
    with pytest.raises(ValueError, match="dense must be False"):
        serial(nothing_but_sum, union).to_xarray(dense=True)


def nothing_but_sum(i, j):
    return {"total": i + j}


def test_labels_of_mixed_axes_are_text():
    data = serial(nothing, Grid(a=[None, 1, (1, 2)], b=[1, 2.5])).to_xarray()
    assert list(data.a.values) == ["None", "1", "(1, 2)"]
    assert list(data.b.values) == [1.0, 2.5]


def test_pandas_has_a_row_per_cell():
    table = serial(tasks.faulty, Grid(i=range(8))).to_pandas()
    assert list(table.columns) == ["i", "x", "y", "status", "error", "seconds"]
    assert list(table.i) == list(range(8))
    assert list(table.status[:3]) == ["done", "failed", "nan"]
    np.testing.assert_array_equal(table.x[7], [7.0, 0.0])
    assert table.y[0] == 0
    assert np.isnan(table.y[1])


def test_files(tmp_path):
    result = serial(tasks.shapes, Grid(n=[2, 3], kind=["a", "b"]))
    for suffix in ("nc", "csv", "npz"):
        result.save(tmp_path / f"r.{suffix}")
    expected = result.to_xarray()
    with xarray.open_dataset(tmp_path / "r.nc") as found:
        for name in ("values", "count", "extra"):
            np.testing.assert_array_equal(found[name], expected[name])
            assert found[name].dims == expected[name].dims
        assert list(found.kind.values) == ["a", "b"]
        assert found.attrs["task"] == "sweep_tasks:shapes"
    with np.load(tmp_path / "r.npz", allow_pickle=False) as found:
        np.testing.assert_array_equal(found["values"], expected["values"])
        np.testing.assert_array_equal(found["n"], [2, 3])
    lines = (tmp_path / "r.csv").read_text().splitlines()
    assert lines[0] == "n,kind,count,extra,word,status,error,seconds"
    assert lines[2].startswith("2,b,2,2,b,done,,")
    with pytest.raises(ValueError, match=r"path must end in .nc, .parquet, .csv, .npz, got"):
        result.save(tmp_path / "r.txt")
    with pytest.raises(OSError, match=r"cannot write .*missing"):
        result.to_csv(tmp_path / "missing" / "r.csv")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["r.csv", "r.nc", "r.npz"]


def test_parquet(tmp_path):
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    result = serial(tasks.shapes, Grid(n=[2, 3], kind=["a", "b"]))
    result.save(tmp_path / "r.parquet")
    table = pandas.read_parquet(tmp_path / "r.parquet")
    assert list(table["count"]) == [2, 2, 3, 3]
    np.testing.assert_array_equal(table["values"][3], [0, 1, 2])
    serial(nothing, Grid(a=[None, 1, "x"], b=[10**30, 2**62 + 1])).save(tmp_path / "r.parquet")
    table = pandas.read_parquet(tmp_path / "r.parquet")
    assert list(table.a[::2]) == ["None", "1", "x"] and list(table.b[:2]) == [str(10**30), str(2**62 + 1)]
    with pytest.raises(ValueError, match="Parquet cannot hold result 'x'"):
        serial(large, Grid(kind=["huge"], i=range(3))).save(tmp_path / "r.parquet")


def test_netcdf_refuses_complex_numbers(tmp_path):
    with pytest.raises(ValueError, match=r"netCDF has no complex numbers.*'phase'"):
        serial(tasks.kinds, Grid(n=[6], seed=[0])).to_netcdf(tmp_path / "r.nc")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "axis, dtype, in_netcdf",
    [
        ([2**62, 2**62 + 1, 2**62 + 2], np.int64, [str(2**62 + i) for i in range(3)]),
        ([2**63, 2**63 + 1], np.uint64, [str(2**63 + i) for i in range(2)]),
        ([-1, 2**63, 2**63 + 1], str, ["-1", str(2**63), str(2**63 + 1)]),
        ([2**62, 2**62 + 1, 0.5], str, [str(2**62), str(2**62 + 1), "0.5"]),
        ([10**30, 1], str, [str(10**30), "1"]),
        ([2**53, 0.5], np.float64, [2.0**53, 0.5]),
        ([2**31, 3], np.int64, [2.0**31, 3.0]),
    ],
)
def test_labels_are_never_rounded(axis, dtype, in_netcdf, tmp_path):
    result = serial(nothing, Grid(a=axis, b=[0]))
    labels = result.to_xarray().a
    assert labels.dtype.type == np.dtype(dtype).type
    assert list(labels.values) == list(map(str, axis) if dtype is str else axis)
    result.save(tmp_path / "r.npz")
    with np.load(tmp_path / "r.npz", allow_pickle=False) as found:
        np.testing.assert_array_equal(found["a"], labels)
    if not any(map(importlib.util.find_spec, ("netCDF4", "h5netcdf"))):
        result.save(tmp_path / "r.nc")
        with xarray.open_dataset(tmp_path / "r.nc") as found:
            assert list(found.a.values) == in_netcdf


def large(kind, i):
    numbers = {
        "signs": [-1, 2**63, 5],
        "gap": [2**53 + 1, None, 3],
        "float": [2**53 + 1, 0.5, 1],
        "huge": [10**30, 1, 2],
    }
    value = numbers[kind][i]
    return {} if value is None else {"x": value}


@pytest.mark.parametrize("kind", ["signs", "gap", "float", "huge"])
def test_results_are_never_rounded(kind, tmp_path):
    expected = [large(kind, i).get("x") for i in range(3)]
    result = serial(large, Grid(kind=[kind], i=range(3)))
    found = result.to_xarray().x.values[0]
    assert [None if value != value else value for value in found] == expected
    assert [None if value != value else value for value in result.to_pandas().x] == expected
    for suffix in ("nc", "npz"):
        with pytest.raises(ValueError, match=r"cannot hold the integers of result 'x' exactly"):
            result.save(tmp_path / f"r.{suffix}")
    assert not list(tmp_path.iterdir())
    result.save(tmp_path / "r.csv")
    assert str(expected[0]) in (tmp_path / "r.csv").read_text()


def test_numbers_of_equal_value_are_labels_of_their_own():
    for cells in ([1, 1.0], [0.0, -0.0, "x"], [0.0, -0.0, None]):
        result = serial(nothing, Grid.from_list([{"a": (value,)} for value in cells]))
        assert list(result.to_xarray().a.values) == [str((value,)) for value in cells]
        result = serial(nothing, Grid.from_list([{"a": value} for value in cells]))
        labels = result.to_xarray(dense=False).a.values
        assert list(labels) == (cells if len(cells) == 2 else list(map(str, cells)))


def clashing(file, a_0):
    names = ("error", "seconds", "status", "cell", "allow_pickle", "_a_0")
    return {"a": np.arange(2.0) + a_0, "_a": np.arange(3.0), **dict.fromkeys(names, 7)}


def test_results_keep_their_names(tmp_path):
    pandas = pytest.importorskip("pandas")
    sparse = Grid.from_list([{"file": i, "a_0": i} for i in range(9)])
    for grid, dims in ((Grid(file=[1], a_0=[2, 3]), ("file", "a_0")), (sparse, ("_cell",))):
        result = serial(clashing, grid)
        data = result.to_xarray()
        assert data["_a"].dims == (*dims, "__a_0") and data.a.dims == (*dims, "___a_0")
        assert all((data[name].values == 7).all() and data[name].dims == dims for name in ("cell", "error", "_a_0"))
        result.save(tmp_path / "r.npz")
        with np.load(tmp_path / "r.npz", allow_pickle=False) as found:
            assert sorted(found) == sorted(map(str, data.variables))
            np.testing.assert_array_equal(found["a"], data.a)
        result.save(tmp_path / "r.csv")
        for table in (result.to_pandas(), pandas.read_csv(tmp_path / "r.csv")):
            assert list(table.columns)[-3:] == ["_status", "_error", "_seconds"]
            assert table.columns.is_unique and set(table.error) == {7} and set(table._status) == {"done"}


def test_text_that_a_format_cannot_hold(tmp_path):
    result = serial(nothing, Grid(a=["\ud800"], b=[1]))
    result.save(tmp_path / "r.csv")
    assert (tmp_path / "r.csv").read_text().splitlines()[1].startswith("\\ud800,1")
    with pytest.raises(ValueError, match=r"cannot write .*r.nc: this format cannot hold the text '\\ud800'"):
        result.save(tmp_path / "r.nc")
    if not any(map(importlib.util.find_spec, ("netCDF4", "h5netcdf"))):
        with pytest.raises(ValueError, match=r"cannot write .*r.nc: this format cannot hold the text '\\u03bb"):
            serial(any_name, Grid(λ=[1])).save(tmp_path / "r.nc")
    assert [path.name for path in tmp_path.iterdir()] == ["r.csv"]


def any_name(**parameters):
    return {"x": 1}


@pytest.mark.parametrize("kind", ["xarray", "csv", "npz"])
def test_an_export_sees_one_state_of_a_growing_store(kind, tmp_path, monkeypatch):
    """Another run adds a cell of a new label, with a result of a new name, after the first pass of an export."""
    store = tmp_path / "s.sweep"
    result = genkern.sweep.open(serial(growing, Grid(i=range(3)), store=store).path)
    lines, passes = None, []

    def counted(self, *arguments, rows=genkern.sweep.SweepResult._rows):
        passes.append(self)
        if len(passes) == 2:
            run(growing, Grid(i=range(5)), store=store, executor="serial", progress=False)
        return rows(self, *arguments)

    with sqlite3.connect(store) as sql:  # a run has the store in this mode until it ends
        sql.execute("PRAGMA journal_mode=WAL")
    monkeypatch.setattr(genkern.sweep.SweepResult, "_rows", counted)
    if kind == "xarray":
        lines = list(result.to_xarray().i.values)
    else:
        result.save(tmp_path / f"r.{kind}")
    sql.close()
    if kind == "csv":
        lines = [int(line.split(",")[0]) for line in (tmp_path / "r.csv").read_text().splitlines()[1:]]
    elif kind == "npz":
        with np.load(tmp_path / "r.npz") as found:
            lines = list(found["i"])
    assert lines == [0, 1, 2] and len(passes) >= 2
    assert len(result) == 5


def growing(i):
    return {"x": i} if i < 3 else {"y": i}


def test_an_empty_grid_is_an_empty_result():
    result = serial(tasks.square, Grid(i=[1]).where(lambda i: False))
    assert len(result) == 0
    assert list(result) == result.failed == []
    assert len(result.to_pandas()) == 0
    assert result.to_xarray().sizes == {"i": 0}


def test_cell_seeds_depend_on_the_parameters_alone():
    seeds = {cell_seed(n=n, ridge=ridge, seed=s) for n in range(10) for ridge in (0.0, 0.5) for s in range(10)}
    assert len(seeds) == 200
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert cell_seed(a=1, b=2) == cell_seed(b=np.int64(2), a=1) == cell_seed(a=1, b=2, seed=0)
    # Frozen: a release that changes it changes every result that was drawn from it.
    digest = hashlib.blake2b(b'{"n":100,"ridge":0.1,"seed":3}', digest_size=8).digest()
    assert cell_seed(n=100, ridge=0.1, seed=3) == int.from_bytes(digest, "big") // 2 == 1461141339705441321


def test_common_arrays_are_part_of_the_identity(tmp_path):
    X, store = np.arange(12.0).reshape(4, 3), tmp_path / "s.sweep"
    result = serial(functools.partial(tasks.weighted, X=X, scale=2.0), Grid(i=range(4)), store=store)
    assert [cell.results["sum"] for cell in result] == list(2 * X.sum(axis=1))
    assert {cell.results["where"] for cell in result} == {X.ctypes.data}, "the array itself"
    for other in (functools.partial(tasks.weighted, X=X + 1, scale=2.0), functools.partial(tasks.weighted, X=X)):
        with pytest.raises(genkern.errors.StoreMismatch, match="common arguments"):
            serial(other, Grid(i=range(4)), store=store)
    layouts = functools.partial(tasks.weighted, X=np.asfortranarray(X), scale=2.0)
    assert len(serial(layouts, Grid(i=range(4)), store=store)) == 4


def test_nothing_of_a_store_is_pickle():
    """What pickle writes into a store that never calls it would be seen here."""
    result = serial(tasks.kinds, Grid(n=[6], seed=[0]))
    raw = result.path.read_bytes()
    assert pickle.PROTO + bytes([pickle.HIGHEST_PROTOCOL]) + pickle.FRAME not in raw
    assert b"numpy" not in raw
