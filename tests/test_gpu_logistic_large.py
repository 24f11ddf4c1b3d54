"""Descent on a GPU, of problems that one block does not hold, reduce or measure; each way is reached at small sizes."""

import numpy as np
import pytest
from gpu import standin
from gpu.descents import ALGORITHMS, DTYPES, FIELDS, MEASURE, logged, names, options_of, problem
from tolerances import DESCENT_STEP

import genkern

TALL, WIDE = ["large_pass", "large_update"], ["wide_margins", "wide_weights", "wide_step"]
SPLIT = [*WIDE[:2], "wide_shares", "large_update"]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_path_is_the_reference(change, algorithm, dtype):
    """In shared memory; by tiles, one and several to a chunk; by columns, one chunk of them and of rows, or several,
    each with its share of the gradient or without."""
    X, y = problem(70, 37, batch=(3,), dtype=dtype)
    X[1, 3, 2] = np.nan
    steps = [0, 1, 2, 2, 30]
    options = options_of(algorithm) | {"step_size": 0.01}
    reference = options | {"backend": "reference"}
    expected = genkern.logistic_path(X.astype(np.float64), y.astype(np.float64), steps, **reference)
    cuts = (
        ({}, ["descend"]),
        ({}, TALL),
        ({"TILE_BYTES": 1500, "CHUNKS": 4}, TALL),
        ({"TALL": 30}, WIDE),
        ({"TALL": 30, "COLUMNS": 15, "WEIGHTS": 16, "CHUNKS": 4}, WIDE),
        ({"SPLIT": 3}, SPLIT),
    )
    for number, (constants, path) in enumerate(cuts):
        change("logistic", SMALL_BYTES=0 if number else 227 << 10)
        change("logistic_large", **constants)
        found, launches, _ = logged(lambda: genkern.logistic_path(X, y, steps, **options))
        if algorithm == "coordinate" and number:
            path = [*path, "large_steepest"]
        assert names(launches) == (path * 30 if number else path) + MEASURE
        assert found.status.tolist() == expected.status.tolist() == [0, 1, 0]
        scale = np.nanmax(np.abs(expected.coef))
        atol = 16 * DESCENT_STEP * np.finfo(dtype).eps * 137 * scale
        np.testing.assert_allclose(found.coef, expected.coef, rtol=0, atol=atol)
        np.testing.assert_allclose(found.log_loss, expected.log_loss, rtol=0, atol=100 * atol)


@pytest.mark.parametrize("loss", ["logistic", "exponential"])
@pytest.mark.parametrize("algorithm", ["normalized", "coordinate"])
@pytest.mark.parametrize("constants", [
    {"TILE_BYTES": 300, "CHUNKS": 2}, {"TALL": 2, "WEIGHTS": 5, "COLUMNS": 2, "SPLIT": 13},
    {"TALL": 2, "WEIGHTS": 5, "COLUMNS": 2},
])  # fmt: skip
def test_margins_far_apart_in_rows_of_one_chunk(change, algorithm, loss, constants):
    """The least margin falls from tile to tile, from one beyond the range of exp, and rises again."""
    X, y = problem(60, 3)
    y[:] = 1
    X[:, 0] = 900 * np.abs(np.linspace(-1, 1, 60)) - 3
    options = options_of(algorithm) | {"step_size": 1e-3, "init": np.array([1.0, 0.1, -0.1]), "loss": loss}
    change("logistic", SMALL_BYTES=0)
    change("logistic_large", **constants)
    found, launches, _ = logged(lambda: genkern.logistic_path(X, y, [0, 1, 20], **options))
    assert names(launches)[0] in ("large_pass", "wide_margins")
    expected = genkern.logistic_path(X, y, [0, 1, 20], **options | {"backend": "reference"})
    atol = DESCENT_STEP * np.finfo(np.float64).eps * 83 * np.abs(expected.coef).max()
    np.testing.assert_allclose(found.coef, expected.coef, rtol=0, atol=atol)


def test_the_steepest_of_more_columns_than_threads(change):
    """The first of several, wherever it stands."""
    X, y = problem(3, 1300)
    X[:, [1290, 1295]] = 9 * y[:, None]
    change("logistic", SMALL_BYTES=0)
    change("logistic_large", STEEPEST=32)
    options = options_of("coordinate") | {"step_size": 1e-3}
    found, launches, _ = logged(lambda: genkern.logistic_path(X, y, [1, 40], **options))
    assert {launch.block[0] for launch in launches if "steepest" in launch.kernel} == {32}
    assert np.flatnonzero(found.coef[0]).tolist() == [1290]
    expected = genkern.logistic_path(X, y, [1, 40], **options | {"backend": "reference"})
    atol = DESCENT_STEP * np.finfo(np.float64).eps * 1343 * np.abs(expected.coef).max()
    np.testing.assert_allclose(found.coef, expected.coef, rtol=0, atol=atol)


def test_the_device_limits_what_a_block_holds(emulated, monkeypatch):
    from genkern._cupy import _launch

    X, y = problem(100, 60)
    for allowed, first in ((99 << 10, "descend"), (48 << 10, "large_pass")):
        monkeypatch.setitem(standin.PROPERTIES, "sharedMemPerBlockOptin", allowed)
        _launch.forget()
        _, launches, _ = logged(lambda: genkern.logistic_path(X, y, 1, step_size=0.1, **options_of("gd")))
        assert names(launches)[0] == first
    monkeypatch.undo()
    _launch.forget()


WAYS = {
    "rows": {"logistic": {}, "logistic_reduce": {}},
    "cusolver": {"logistic": {}, "logistic_reduce": {"ONE_BLOCK": 0}},
    "tiles": {"logistic": {"SMALL_BYTES": 0}, "logistic_large": {"TILE_BYTES": 100, "CHUNKS": 2}},
    "columns": {"logistic": {"SMALL_BYTES": 0}, "logistic_large": {"TALL": 2, "COLUMNS": 4, "WEIGHTS": 3}},
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shared_X", [False, True])
@pytest.mark.parametrize("way", WAYS)
def test_wide_problems_of_lower_rank(change, way, shared_X, dtype):
    """Rows twice, rows and all of X zero, items that are not finite; by one block or cuSOLVER, and on all paths."""
    X, y = problem(6, 40, batch=(5,), dtype=dtype)
    X[0, 4], X[1, 2], X[2, :], X[4, 0, 0] = X[0, 1], 0, 0, np.nan
    y[0, 4] = y[0, 1]
    if shared_X:
        X = X[:1]
    init = problem(5, 40, dtype=dtype, seed=2)[0]
    init[3, 3] = np.inf
    for module, constants in WAYS[way].items():
        change(module, **constants)
    steps, options = [0, 3, 60], {"step_size": 0.02, "init": init, "method": "exact"}
    for algorithm in ("gd", "heavy_ball", "normalized", "accelerated"):
        given = options | {"algorithm": algorithm}
        found, launches, downloads = logged(
            lambda given=given: genkern.logistic_path(X, y, steps, backend="cupy", **given)
        )
        assert ("reduce_rows" in names(launches)) == (way != "cusolver") and "reduce_points" in names(launches)
        assert {"tiles": "large_pass", "columns": "wide_step"}.get(way, "descend") in names(launches)
        assert downloads == ["bool"]
        given |= {"init": init.astype(float), "backend": "reference"}
        expected = genkern.logistic_path(X.astype(float), y.astype(float), steps, **given)
        np.testing.assert_array_equal(found.status, [0, 0, 0, 1, 0 if shared_X else 1])
        np.testing.assert_array_equal(found.status, expected.status)
        for item in np.flatnonzero(found.status == 0):
            atol = DESCENT_STEP * np.finfo(dtype).eps * 106 * np.abs(expected.coef[item]).max()
            np.testing.assert_allclose(found.coef[item], expected.coef[item], rtol=0, atol=atol)


@pytest.mark.parametrize("algorithm", ["gd", "normalized"])
@pytest.mark.parametrize("constants", [
    {"TILE_BYTES": 2000, "CHUNKS": 3}, {"TALL": 2, "COLUMNS": 15, "WEIGHTS": 20},
    {"TALL": 2, "COLUMNS": 15, "WEIGHTS": 10},
])  # fmt: skip
def test_triangles_of_several_blocks(change, algorithm, constants):
    """Above the diagonal nothing is read, of 32 columns at a time and more; 12 rows depend on the others."""
    X, y = problem(45, 90)
    X[33:] = X[:12] - X[12:24]
    change("logistic", SMALL_BYTES=0)
    change("logistic_reduce", ONE_BLOCK=0)
    change("logistic_large", **constants)
    options = {"step_size": 0.01, "method": "exact", "algorithm": algorithm}
    found, launches, _ = logged(lambda: genkern.logistic_path(X, y, [1, 130], backend="cupy", **options))
    assert names(launches)[0] in ("large_pass", "wide_margins") and names(launches)[-4] == "reduce_points"
    expected = genkern.logistic_path(X, y, [1, 130], backend="reference", **options)
    atol = DESCENT_STEP * np.finfo(np.float64).eps * 265 * np.abs(expected.coef).max()
    np.testing.assert_allclose(found.coef, expected.coef, rtol=0, atol=atol)


@pytest.mark.parametrize("way", ["rows", "cusolver"])
def test_the_way_of_a_wide_problem_is_its_shapes(change, way):
    """One matrix for all is reduced once; how an item is cut into launches and what is beside it change no bit."""
    X, y = problem(6, 40, batch=(1,))
    y = problem(6, 40, batch=(5,), seed=3)[1]
    init = problem(5, 40, seed=2)[0]
    options = {"steps": range(1, 300, 15), "step_size": 0.02, "method": "exact", "backend": "cupy"}
    change("logistic_reduce", ONE_BLOCK=6 * 6 * 40 - (way == "cusolver"))
    found, launches, _ = logged(lambda: genkern.logistic_path(X, y, init=init, **options))
    assert [launch.grid[0] for launch in launches if "rows" in launch.kernel] == ([1] if way == "rows" else [])
    change("logistic", LAUNCH_SECONDS=0.0)
    alone, launches, _ = logged(
        lambda: genkern.logistic_path(np.repeat(X, 30, axis=0), np.tile(y, (6, 1)), init=np.tile(init, (6, 1)),
                                      **options)
    )  # fmt: skip
    assert [launch.grid[0] for launch in launches if "rows" in launch.kernel] == ([28, 2] if way == "rows" else [])
    assert names(launches).count("reduce_points") == names(launches).count("measure_points") == 30 * 20
    for name in FIELDS:
        whole, pieces = getattr(found, name), getattr(alone, name)
        np.testing.assert_array_equal(np.tile(whole, (6,) + (1,) * (whole.ndim - 1)), pieces)


def test_which_wide_problems_one_block_reduces(emulated, monkeypatch):
    """None that would take it more than a launch may: at 10 GB a second, 16 n^2 d bytes."""
    from genkern._cupy import logistic, logistic_reduce

    assert 16 * logistic_reduce.ONE_BLOCK / 1e10 <= logistic.LAUNCH_SECONDS


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("loss", ["logistic", "exponential"])
def test_what_is_measured_of_large_problems(change, loss, dtype):
    """Chunks of columns and of rows, one iterate and many: the reference's numbers, and no bits of the neighbours."""
    X, y = problem(270, 40, batch=(2,), dtype=dtype)
    X[0], X[1, :, 0] = X[0] * 0.1, y[1] * 60  # beyond 40 the sum of losses is another one
    init = np.zeros(40, dtype)
    init[0] = 1
    change("logistic_measure", COLUMNS=32, ROWS=100)
    options = {"step_size": 1e-5, "method": "exact", "loss": loss, "init": init}
    found, launches, _ = logged(lambda: genkern.logistic_path(X, y, range(19), backend="cupy", **options))
    grids = {launch.kernel.split("_")[2]: launch.grid[0] for launch in launches if "measure" in launch.kernel}
    assert grids == {"margins": 2 * 2 * 9 * 2, "chunks": 2 * 19 * 3, "points": 2 * 19}
    expected = genkern.logistic_path(
        X.astype(float), y.astype(float), range(19), backend="reference", **options | {"init": init.astype(float)}
    )
    eps = np.finfo(dtype).eps
    for name in ("log_loss", "margin", "norm"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=64 * eps, atol=64 * eps)
    for constants in ({"WORKSPACE": 0}, {"WORKSPACE": 8 * 270 * 2 * 17}):  # an iterate or 16 at a time
        change("logistic_measure", **constants)
        again, launches, _ = logged(lambda: genkern.logistic_path(X, y, range(19), backend="cupy", **options))
        assert names(launches).count("measure_margins") == (2 * 19 if constants["WORKSPACE"] == 0 else 2 * 2)
        for name in FIELDS:
            np.testing.assert_array_equal(getattr(again, name), getattr(found, name))
    alone = genkern.logistic_path(X[1], y[1], [18], backend="cupy", **options)
    for name in FIELDS[:-1]:
        np.testing.assert_array_equal(getattr(alone, name)[0], getattr(found, name)[1, 18])


@pytest.mark.parametrize("shape", [(0, 30), (30, 0), (0, 0)])
@pytest.mark.parametrize("algorithm", ["gd", "normalized", "coordinate", "mirror"])
def test_nothing_to_follow(change, algorithm, shape):
    change("logistic", SMALL_BYTES=0)
    X, y = problem(*shape, batch=(2,))
    init = np.full(shape[1], 0.5)
    options = options_of(algorithm) | {"init": init, "step_size": 0.1}
    found = genkern.logistic_path(X, y, [0, 2], **options)
    expected = genkern.logistic_path(X, y, [0, 2], **options | {"backend": "reference"})
    for name in FIELDS:
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=1e-15)
