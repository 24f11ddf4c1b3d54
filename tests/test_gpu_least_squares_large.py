"""Least squares on a GPU beyond shared memory: how the work is spread, what waits, and what a failed SVD leaves."""

import importlib
import itertools

import numpy as np
import pytest
from gpu import numerics, standin
from gpu.calls import shared_memory
from test_gpu_least_squares import DTYPES, bits, deficient, every_call, logged, problem
from tolerances import LSTSQ_FORWARD, unit

import genkern


@pytest.fixture(autouse=True)
def large(cupy):
    """The stand-in with so little shared memory that every problem is a large one."""
    if cupy.ndarray is not standin.ndarray:
        pytest.skip("a real GPU keeps no log of launches")
    with shared_memory(256):
        yield cupy


@pytest.fixture
def unconverged(monkeypatch):
    """Marks a matrix by its norm, which its triangle has too: its SVD does not converge."""
    marks = []
    monkeypatch.setattr(numerics, "UNCONVERGED", marks)

    def mark(X):
        norm = np.linalg.norm(np.ldexp(X, -np.frexp(np.abs(X).max())[1]))
        marks.append(lambda R: np.isclose(np.linalg.norm(R), norm, rtol=1e-5))

    return mark


def module(name):
    return importlib.import_module(f"genkern._cupy.{name}")


def lower(X):
    """The same batch with item 1 of lower rank, whatever the shape."""
    wide = X.shape[-2] < X.shape[-1]
    return deficient(X.swapaxes(-1, -2)).swapaxes(-1, -2) if wide else deficient(X)


def close(found, expected, dtype, X):
    """Forward errors of an item."""
    s = np.linalg.svd(X.astype(float), compute_uv=False)
    s = s[s > 1e-3 * s[0]]
    atol = LSTSQ_FORWARD * unit(dtype, *X.shape) * (s[0] / s[-1]) ** 2 * np.abs(expected).max()
    np.testing.assert_allclose(found, expected, rtol=0, atol=atol)


SHAPES = [(1, 700, 1), (700, 1, 3), (2000, 1, 1), (5, 4, 600), (37, 23, 11), (3, 2, 0), (4, 0, 5), (1, 1, 1), (0, 3, 2)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n, d, k", SHAPES)
def test_scales_by_many_blocks(large, monkeypatch, n, d, k, dtype):
    least_squares, triangles = module("least_squares"), module("least_squares_triangles")
    rng = np.random.default_rng([n, d, k])
    tiny = -1060 if dtype is np.float64 else -120
    X = rng.standard_normal((6, n, d)) * 2.0 ** np.array([0, -3, 40, 5, tiny, 90])[:, None, None]
    y = rng.standard_normal((6, n, k)) * 2.0 ** rng.integers(-100, 100, k)
    X, y = X.astype(dtype), y.astype(dtype)
    bad = np.zeros(6, bool)
    if X.size:
        X[1, -1, -1], X[2] = np.inf, 0
        bad[1] = True
    if y.size:
        y[3, -1, -1] = np.nan
        bad[3] = True
    expected = []
    for array, axes in ((X, (1, 2)), (y, (1,))):
        largest = np.abs(np.where(bad[:, None, None], 0, array.astype(float))).max(axis=axes, initial=0)
        expected.append(np.frexp(largest)[1])
    for chunk, append in itertools.product((16, 300, triangles.CHUNK), (False, True)):
        monkeypatch.setattr(triangles, "CHUNK", chunk)
        first = len(standin.LOG.launches)
        items = (least_squares.Items.of(large.asarray(array)) for array in (X, y))
        at = triangles.scaled(*items, append=append)
        launches = standin.LOG.launches[first:]
        assert [launch.kernel[14:-4] for launch in launches] == ["measure", "scale"] * (n > 0)
        blocks = -(-n * d // chunk) + (n * k > 0) * -(-n * min(k, 256) // max(chunk, 256)) * -(-k // 256)
        assert all(6 * (blocks > 0) <= launch.grid[0] <= 12 * blocks for launch in launches)
        if max(n * d, n * k) > 2 * max(chunk, 256):
            assert all(launch.grid[0] >= 12 for launch in launches)  # more than one block an item
        np.testing.assert_array_equal(at.status.get(), bad)
        found_X, found_y = at.X.get(), at.y.get()
        if append:
            found_X, found_y = found_X[..., :d], found_y[..., d:]
        assert np.isfinite(found_X).all() and np.isfinite(found_y).all()
        good = ~bad
        np.testing.assert_array_equal(at.exponent.get()[good], expected[0][good])
        np.testing.assert_array_equal(at.y_exponent.get()[good], expected[1][good])
        np.testing.assert_array_equal(found_X[good], np.ldexp(X, -expected[0][:, None, None])[good])
        np.testing.assert_array_equal(found_y[good], np.ldexp(y, -expected[1][:, None])[good])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("m", [1, 5, 31, 32, 33, 64, 100, 260])
def test_rule_of_full_rank(large, m, dtype):
    """R answers if the singular values are ten times what rcond cuts, and never if it cuts one."""
    triangles = module("least_squares_triangles")
    rng = np.random.default_rng(m)
    rcond = 1e-4
    R, ridge = [np.zeros((m, m)), np.full((m, m), np.nan)], [0.0, 0.0]
    for condition in (1.0, 10.0, 1e2, 9e2, 3e3, 1.1e4, 1e5, 1e7):
        U, V = (np.linalg.qr(rng.standard_normal((m, m)))[0] for _ in range(2))
        spectra = np.geomspace(1, 1 / condition, m), np.r_[np.ones(m - 1), 1 / condition]
        R += [np.linalg.qr((U * s) @ V)[1] for s in spectra]
        R.append(np.triu(np.full((m, m), -0.5)) + np.diag(np.geomspace(1, 1 / condition, m)))
        ridge += [0.0, 1e-20, 0.0]
    R.append(R[2])
    ridge.append(1.1 * m)
    R = np.stack(R).astype(dtype)
    exponent = np.arange(len(R), dtype=np.int32)
    columns = large.asarray(np.ascontiguousarray(R.swapaxes(1, 2)))
    status = large.zeros(len(R), np.int8)
    status[1] = 1
    at = triangles.Triangles(m, columns, None, None, [], large.asarray(exponent), None, status)
    scaled_ridge = large.asarray(np.ldexp(np.array(ridge), 2 * exponent))
    state = triangles.states(at, m, scaled_ridge, 1, rcond)
    assert state[0] == 3 and state[1] == 1
    assert state[-1] == 3 and state[2] == 0  # the ridge is larger than X, which is orthogonal here
    s = np.linalg.svd(R[2:-1].astype(float), compute_uv=False)
    gap = s[:, -1] / (rcond * s[:, 0])
    assert (state[2:-1][gap <= 1] == 3).all()
    assert (state[2:-1][gap > 10.1] == 0).all() and (gap > 10.1).sum() >= 8  # the margin of the rule


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(40, 40), (70, 40), (40, 70)])
def test_rank_on_the_borderline_is_that_of_the_cpu(native, shape, dtype):
    n, d = shape
    rng = np.random.default_rng(7)
    rcond = 1e-3
    U, V = (np.linalg.qr(rng.standard_normal((size, 40)))[0] for size in (n, d))
    ratios = np.array([0.1, 0.5, 0.9, 0.999, 1.001, 1.1, 2, 5, 9.9, 10.1, 20, 1e2, 5e2])
    s = np.repeat(np.geomspace(1, 0.6, 40)[None], len(ratios), axis=0)
    s[:, -1] = rcond * ratios
    X = ((U * s[:, None]) @ V.T).astype(dtype)
    y = rng.standard_normal((len(ratios), n)).astype(dtype)
    for scale in (1.0, 2.0**90 if dtype is np.float32 else 2.0**900):  # in and beyond the range of the CPU's QR
        found, launches, _ = logged(lambda scale=scale: genkern.lstsq(X * dtype(scale), y, rcond=rcond, backend="cupy"))
        expected = genkern.lstsq(X * dtype(scale), y, rcond=rcond, backend="cpp")
        np.testing.assert_array_equal(found.rank, expected.rank)
        np.testing.assert_array_equal(found.rank, np.where(ratios > 1, 40, 39))
        assert not found.status.any() and 2 <= launches.count("expand") < len(ratios) - 1
        np.testing.assert_allclose(found.coef, expected.coef, rtol=0, atol=LSTSQ_FORWARD * unit(dtype, n, d) * 1e4 *
                                   np.abs(expected.coef).max())  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(30, 8), (9, 8), (8, 8), (8, 30), (1, 5), (5, 1)])
@pytest.mark.parametrize("k", [0, 1, 4, 5, 40])
def test_few_and_many_right_sides(shape, k, dtype):
    """Right sides are columns of the factorization, or are multiplied by Q, in strips."""
    X, y = problem(*shape, k=k, dtype=dtype)
    X = lower(X) if min(shape) > 1 else X
    y[2] *= dtype(1e-20)
    for ridge in (0.0, [0.0, 0.1, 0.0, 3.0, 1e6]):
        found = genkern.lstsq(X, y, ridge=ridge, backend="cupy")
        expected = genkern.lstsq(X, y, ridge=ridge, backend="reference")
        np.testing.assert_array_equal(found.rank, expected.rank)
        np.testing.assert_array_equal(found.status, 0)
        for item in range(5) if k else ():
            close(found.coef[item], expected.coef[item], dtype, X[item])
            scale = np.linalg.norm(y[item].astype(float), axis=0)
            bound = LSTSQ_FORWARD * unit(dtype, *shape) * 1e2 * scale
            assert (np.abs(found.residual_norm[item] - expected.residual_norm[item]) <= bound).all()
    if shape[0] <= shape[1]:
        assert not genkern.lstsq(X[:1], y[:1], backend="cupy").residual_norm.any()


@pytest.mark.parametrize("ridge", [0.0, 0.2])
@pytest.mark.parametrize("shape", [(20, 9), (9, 20), (20, 0)])
def test_waits_do_not_grow_with_the_items(shape, ridge):
    waits = {}
    for items in (3, 24):
        X, y = problem(*shape, batch=(items,))
        _, launches, waits[items] = logged(lambda X=X, y=y: genkern.lstsq(X, y, ridge=ridge, backend="cupy"))
        counted = ["measure", "scale", "check"] if shape[1] else ["measure", "scale"]
        assert launches == counted
    assert len(waits[3]) == len(waits[24]) == (shape[1] > 0)
    # An SVD has to be asked whether it has converged: one wait for each item that needs one.
    X, y = problem(*(max(size, 2) for size in shape), batch=(24,))
    waits = logged(lambda: genkern.lstsq(lower(X), y, ridge=ridge, backend="cupy"))[2]
    assert len(waits) == 2 and waits[1] == "devInfo"


@pytest.mark.parametrize("shape, k, factorizations", [((6, 15), 2, 1), ((15, 6), 9, 1), ((15, 6), 2, 7)])
def test_a_shared_matrix_is_factored_once(large, monkeypatch, shape, k, factorizations):
    X, y = problem(*shape, k=k, batch=(7,))
    y[4, 0, 1] = np.nan
    calls, qr = [], large.linalg.qr
    monkeypatch.setattr(large.linalg, "qr", staticmethod(lambda *a, **o: calls.append(1) or qr(*a, **o)))
    found = genkern.lstsq(X[:1], y, backend="cupy")
    assert len(calls) == factorizations
    np.testing.assert_array_equal(found.status, [0, 0, 0, 0, 1, 0, 0])
    for item in range(7):
        one = genkern.lstsq(X[0], y[item], backend="cupy")
        for got, want in zip(bits(found), bits(one), strict=True):
            np.testing.assert_array_equal(got[item], want)


@pytest.mark.parametrize("memory, parts", [(0, 5), (5000, 3), (1 << 20, 1)])
def test_parts_and_order_change_no_bit(monkeypatch, memory, parts):
    X, y = problem(13, 7, batch=(5,))
    for A, b in ((lower(X), y), (lower(X.swapaxes(1, 2)), y[:, :7])):
        whole = [bits(result) for result in every_call(A, b, backend="cupy")]
        with monkeypatch.context() as patch:
            patch.setattr(standin.SETTINGS, "reverse", True)
            patch.setattr(module("least_squares_triangles"), "_PART", (8 << 30) // memory if memory else 1 << 40)
            _, launches, waits = logged(lambda A=A, b=b: genkern.lstsq(A, b, backend="cupy"))
            assert launches.count("check") == parts and len(waits) == parts + 1
            split = [bits(result) for result in every_call(A, b, backend="cupy")]
        for found, expected in zip(split, whole, strict=True):
            for got, want in zip(found, expected, strict=True):
                np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(12, 6), (6, 12)])
def test_an_svd_that_does_not_converge_is_the_status_of_its_item(unconverged, shape, dtype):
    X, y = problem(*shape, dtype=dtype)
    X[1:3, :, 0] = X[1:3, :, -1]
    X[2:4, 0] = X[2:4, -1]
    unconverged(X[2])
    others = [0, 1, 3, 4]
    for ridge in (0.0, 0.1):
        found = genkern.lstsq(X, y, ridge=ridge, backend="cupy")
        expected = genkern.lstsq(X, y, ridge=ridge, backend="reference")
        np.testing.assert_array_equal(found.status, [0, 0, 2, 0, 0])
        assert found.rank[2] == 0 and np.isnan(found.coef[2]).all() and np.isnan(found.residual_norm[2]).all()
        for item in others:
            close(found.coef[item], expected.coef[item], dtype, X[item])
    for call in (
        lambda backend: genkern.ridge_path(X, y, [0.0, 0.1], backend=backend),
        lambda backend: genkern.gd_path(X, y, [3, 50], momentum=0.5, backend=backend),
        lambda backend: genkern.gd_path(X, y, [3, 50], nesterov=True, backend=backend),
        lambda backend: genkern.singular_values(X, backend=backend),
    ):
        found, expected = call("cupy"), call("reference")
        assert np.isnan(found[2]).all() and np.isfinite(found[others]).all()
        np.testing.assert_allclose(found[others], expected[others], rtol=0, atol=2e3 * np.finfo(dtype).eps)


@pytest.mark.parametrize("shape", [(12, 6), (6, 12)])
def test_a_path_that_is_not_finite_diverges_nowhere(shape):
    X, y = problem(*shape)
    X[1, 0, 0], y[3, 1, 1] = np.nan, np.inf
    found = genkern.gd_path(X, y, [3], step_size=1e-3, backend="cupy")
    assert np.isnan(found[[1, 3]]).all() and np.isfinite(found[[0, 2, 4]]).all()
