"""Least squares on every backend: definitions, arguments, arrays of other libraries, bits, interrupts."""

import math
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tolerances import LSTSQ_FORWARD, unit

import genkern

pytestmark = pytest.mark.usefixtures("small_emulated_gpu")
DTYPES = [np.float64, np.float32]
SHAPES = [(1, 1), (1, 6), (6, 1), (5, 3), (3, 5), (4, 4), (20, 17), (17, 20), (70, 66), (66, 70)]
EMPTY = [(0, 0), (0, 3), (3, 0)]


def problem(n, d, k=2, batch=(3,), dtype=np.float64, seed=0):
    rng = np.random.default_rng([n, d, k, seed])
    return rng.standard_normal((*batch, n, d)).astype(dtype), rng.standard_normal((*batch, n, k)).astype(dtype)


def assert_same(found, expected, dtype, n, d, condition=1.0):
    expected = np.asarray(expected, float)
    scale = np.abs(expected).max(initial=0.0)
    atol = LSTSQ_FORWARD * unit(dtype, n, d) * condition * scale
    np.testing.assert_allclose(np.asarray(found, float), expected, rtol=0, atol=atol)


def condition_of(X):
    """Of the solution as a function of X: cond^2 where there is a residual."""
    s = np.linalg.svd(X.astype(float), compute_uv=False)
    return float((s[..., 0] / s[..., -1]).max() ** 2) if s.size else 1.0


# Definitions


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES + EMPTY)
def test_against_the_reference(backend, shape, dtype):
    n, d = shape
    X, y = problem(n, d, dtype=dtype)
    condition = condition_of(X)
    ridges = np.array([0.0, 0.3, 1e4])
    steps = [7, 0, 1, 100, 12345, np.inf]
    for ridge in (0.0, 0.25, ridges):
        expected = genkern.lstsq(X, y, ridge=ridge, backend="reference")
        result = genkern.lstsq(X, y, ridge=ridge, backend=backend)
        assert_same(result.coef, expected.coef, dtype, n, d, condition)
        np.testing.assert_array_equal(result.rank, expected.rank)
        np.testing.assert_array_equal(result.status, 0)
        assert (result.coef.dtype, result.residual_norm.dtype) == (dtype, dtype)
        assert (result.rank.dtype, result.status.dtype) == (np.int32, np.int8)
        assert (result.coef.shape, result.rank.shape, result.residual_norm.shape) == ((3, d, 2), (3,), (3, 2))
    path = genkern.ridge_path(X, y, ridges, backend=backend)
    assert (path.dtype, path.shape) == (dtype, (3, 3, d, 2))
    assert_same(path, genkern.ridge_path(X, y, ridges, backend="reference"), dtype, n, d, condition)
    for options in ({}, {"momentum": 0.5}, {"nesterov": True}, {"step_size": 1e-3}, {"step_size": [1e-3, 1e-4, 2e-3]}):
        counts = steps[:5] if options.get("nesterov") else steps
        path = genkern.gd_path(X, y, counts, backend=backend, **options)
        assert (path.dtype, path.shape) == (dtype, (3, len(counts), d, 2))
        expected = genkern.gd_path(X, y, counts, backend="reference", **options)
        for index in range(len(counts)):
            assert_same(path[:, index], expected[:, index], dtype, n, d, condition)
    s = genkern.singular_values(X, backend=backend)
    assert (s.dtype, s.shape) == (dtype, (3, min(n, d)))
    assert_same(s, genkern.singular_values(X, backend="reference"), dtype, n, d)


def test_empty_sizes(backend):
    result = genkern.lstsq(np.ones((0, 3)), np.ones(0), backend=backend)
    assert np.array_equal(result.coef, np.zeros(3)) and result.rank == 0 and result.residual_norm == 0
    result = genkern.lstsq(np.ones((2, 0)), [3.0, 4.0], ridge=1.0, backend=backend)
    assert result.coef.shape == (0,) and result.residual_norm == pytest.approx(5.0) and result.status == 0
    result = genkern.lstsq(np.ones((4, 2)), np.ones((4, 0)), backend=backend)
    assert result.coef.shape == (2, 0) and result.residual_norm.shape == (0,) and result.rank == 1
    for batch in ((0,), (2, 0)):
        X, y = np.ones((*batch, 4, 3)), np.ones((*batch, 4))
        assert genkern.lstsq(X, y, backend=backend).coef.shape == (*batch, 3)
        assert genkern.ridge_path(X, y, [1, 2], backend=backend).shape == (*batch, 2, 3)
        assert genkern.gd_path(X, y, [1, 2], backend=backend).shape == (*batch, 2, 3)
        assert genkern.singular_values(X, backend=backend).shape == (*batch, 3)
    X, y = problem(4, 3, batch=())
    assert genkern.ridge_path(X, y, [], backend=backend).shape == (0, 3, 2)
    assert genkern.gd_path(X, y, [], backend=backend).shape == (0, 3, 2)


def test_one_right_hand_side_has_no_axis(backend):
    X, y = problem(5, 3, k=1)
    matrix, vector = genkern.lstsq(X, y, backend=backend), genkern.lstsq(X, y[..., 0], backend=backend)
    np.testing.assert_array_equal(matrix.coef[..., 0], vector.coef)
    np.testing.assert_array_equal(matrix.residual_norm[..., 0], vector.residual_norm)
    assert genkern.ridge_path(X, y[..., 0], [1.0], backend=backend).shape == (3, 1, 3)
    assert genkern.ridge_path(X, y[..., 0], 1.0, backend=backend).shape == (3, 3)
    assert genkern.gd_path(X, y[..., 0], 4, backend=backend).shape == (3, 3)


def test_batch_axes_broadcast(backend):
    X, y = problem(5, 3, batch=(4, 1))
    b = problem(5, 3, batch=(1, 2), seed=1)[1]
    ridge = np.array([[0.0, 0.5]])
    result = genkern.lstsq(X, b, ridge=ridge, backend=backend)
    paths = genkern.gd_path(X, b, [3, 5], step_size=np.full((4, 1), 1e-2), backend=backend)
    assert result.coef.shape == (4, 2, 3, 2) and paths.shape == (4, 2, 2, 3, 2)
    for i in range(4):
        for j in range(2):
            one = genkern.lstsq(X[i, 0], b[0, j], ridge=ridge[0, j], backend=backend)
            np.testing.assert_array_equal(result.coef[i, j], one.coef)
            np.testing.assert_array_equal(result.residual_norm[i, j], one.residual_norm)
            one = genkern.gd_path(X[i, 0], b[0, j], [3, 5], step_size=1e-2, backend=backend)
            np.testing.assert_array_equal(paths[i, j], one)
    assert genkern.lstsq(X[0, 0], y[0, 0], ridge=[0.0, 1.0], backend=backend).coef.shape == (2, 3, 2)


def test_as_numpy_does_it(backend):
    """The cases that a user of numpy.linalg.lstsq relies on, through its own signature."""

    def lstsq(A, b, rcond=None):
        result = genkern.lstsq(A, b, rcond=rcond, backend=backend)
        n, d = np.shape(A)
        squares = np.atleast_1d(result.residual_norm) ** 2 if n > d and result.rank == d else np.empty(0)
        return result.coef, squares, result.rank, genkern.singular_values(A, backend=backend)

    rng = np.random.default_rng(1)
    cases = [(np.eye(3), np.arange(3.0)), (np.array([[1, 2], [3, 4]]), np.array([2, 1])), ([[4.0]], [8.0])]
    cases += [(rng.standard_normal(shape), rng.standard_normal(shape[0])) for shape in ((4, 2), (2, 4), (6, 6))]
    cases += [(rng.standard_normal(shape), rng.standard_normal((shape[0], 3))) for shape in ((4, 2), (2, 4), (6, 6))]
    line = np.arange(1.0, 9.0)
    cases += [(np.vander(line, 3), 2 * line**2 - 1), (np.ones((5, 3)), np.arange(5.0)), (np.zeros((3, 2)), np.ones(3))]
    for A, b in cases:
        w, squares, rank, s = lstsq(A, b)
        expected = np.linalg.lstsq(A, b, rcond=None)
        np.testing.assert_allclose(w, expected[0], rtol=1e-11, atol=1e-13)
        np.testing.assert_allclose(squares, expected[1], rtol=1e-10, atol=1e-22)
        np.testing.assert_allclose(s, expected[3], rtol=1e-12, atol=1e-14)
        assert rank == expected[2]


# Paths


def loop(X, y, count, eta, beta=0.0, nesterov=False):
    w = before = np.zeros((X.shape[1], y.shape[1]))
    points = [w]
    for j in range(1, count + 1):
        momentum = (j - 1) / (j + 2) if nesterov else beta
        ahead = w + momentum * (w - before)
        gradient = X.T @ (X @ (ahead if nesterov else w) - y)
        before, w = w, ahead - eta * gradient
        points.append(w)
    return np.array(points)


@pytest.mark.parametrize("options", [{}, {"momentum": 0.3}, {"momentum": 0.95}, {"nesterov": True}])
@pytest.mark.parametrize("shape", [(9, 4), (4, 9), (6, 6)])
def test_first_steps_are_those_of_the_loop(backend, shape, options):
    X, y = problem(*shape, batch=())
    s_max = np.linalg.norm(X, 2)
    for share in (0.2, 1.0, 1.3):
        eta = share / s_max**2
        expected = loop(X, y, 40, eta, options.get("momentum", 0.0), options.get("nesterov", False))
        found = genkern.gd_path(X, y, np.arange(41), step_size=eta, backend=backend, **options)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12 * np.abs(expected).max())
    default = genkern.gd_path(X, y, 40, backend=backend, **options)
    given_step = genkern.gd_path(X, y, 40, step_size=1 / s_max**2, backend=backend, **options)
    np.testing.assert_allclose(default, given_step, rtol=1e-10, atol=1e-13)


def test_the_limit_is_the_minimum_norm_solution(backend):
    for shape in ((9, 4), (4, 9)):
        X, y = problem(*shape)
        limit = genkern.lstsq(X, y, backend=backend).coef
        for options in ({}, {"momentum": 0.9}):
            path = genkern.gd_path(X, y, [2.0**52, np.inf], backend=backend, **options)
            np.testing.assert_allclose(path[:, 0], limit, rtol=0, atol=1e-12)
            np.testing.assert_allclose(path[:, 1], limit, rtol=0, atol=1e-12)
        path = genkern.gd_path(X, y, 20000, nesterov=True, backend=backend)
        np.testing.assert_allclose(path, limit, rtol=0, atol=1e-12)


def test_divergence(backend):
    X, y = problem(6, 4, batch=(2,))
    top = np.linalg.norm(X[1], 2) ** 2
    fine = 0.1 / np.linalg.norm(X[0], 2) ** 2

    def run(steps, share, **options):
        return genkern.gd_path(X, y, steps, step_size=[fine, share / top], backend=backend, **options)

    for limit, options in ((2.0, {}), (3.0, {"momentum": 0.5}), (4 / 3, {"nesterov": True})):
        assert np.isfinite(run([1, 1000], limit * (1 - 1e-9), **options)).all()
        with pytest.raises(ValueError, match=r"^step_size must be below .* to converge in batch item \(1,\), got .*"):
            run([1, 2], limit * 1.001, **options)
        w = run([0, 5, 40], limit * 1.1, allow_divergence=True, **options)
        expected = loop(X[1], y[1], 40, limit * 1.1 / top, options.get("momentum", 0.0), options.get("nesterov", False))
        for index, count in enumerate((0, 5, 40)):
            atol = 1e-11 * np.abs(expected[count]).max()
            np.testing.assert_allclose(w[1, index], expected[count], rtol=0, atol=atol)
        with np.errstate(all="ignore"):
            assert not np.isfinite(run(1e6, limit * 1.1, allow_divergence=True, **options)[1]).any()
    with pytest.raises(ValueError, match=r"^step_size must be below"):
        run([1, np.inf], 2.2, allow_divergence=True)
    # At the limit itself the top mode neither decays nor grows: no limit point, but finite counts are fine.
    assert genkern.gd_path([[1.0]], [1.0], [4, 5], step_size=2.0, backend=backend).tolist() == [[0.0], [2.0]]
    with pytest.raises(ValueError, match=r"^step_size must be below 2 to converge, got 2$"):
        genkern.gd_path([[1.0]], [1.0], np.inf, step_size=2.0, backend=backend)


def test_path_points_do_not_depend_on_their_neighbours(backend):
    X, y = problem(7, 5)
    whole = genkern.gd_path(X, y, [5, 3, 3, 1e6], backend=backend)
    np.testing.assert_array_equal(whole[:, 1], whole[:, 2])
    for index, count in enumerate((5, 3, 3, 1e6)):
        assert_same(whole[:, index], genkern.gd_path(X, y, count, backend=backend), np.float64, 7, 5)


# Bad data


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(5, 3), (3, 5), (16, 32), (70, 90)])
def test_a_bad_item_leaves_the_others_alone(backend, shape, dtype):
    X, y = problem(*shape, batch=(9,), dtype=dtype)

    def everything(X, y):
        result = genkern.lstsq(X, y, backend=backend, n_threads=2)
        return [
            result.coef,
            result.residual_norm,
            genkern.lstsq(X, y, ridge=0.1, backend=backend).coef,
            genkern.ridge_path(X, y, [0.0, 1.0], backend=backend),
            genkern.gd_path(X, y, [1, 9], backend=backend),
            result.rank,
            result.status,
        ]

    clean = everything(X, y)
    clean_s = genkern.singular_values(X, backend=backend)
    for value in (np.nan, np.inf, -np.inf):
        for where in ("X", "y"):
            A, b = X.copy(), y.copy()
            if where == "X":
                A[4, -1, -1] = value
            else:
                b[4, 0, 1] = value
            found = everything(A, b)
            others = np.arange(9) != 4
            for array, expected in zip(found, clean, strict=True):
                np.testing.assert_array_equal(array[others], expected[others])
            for array in found[:5]:
                assert np.isnan(array[4]).all()
            assert (found[5][4], found[6][4]) == (0, 1)
            s = genkern.singular_values(A, backend=backend)
            np.testing.assert_array_equal(s[others], clean_s[others])
            assert np.isnan(s[4]).all() == (where == "X")


# Arrays


def layouts(array):
    """The same numbers in other memory: reversed, transposed, spread out, misaligned, big-endian, read-only."""
    yield "reversed", np.ascontiguousarray(array[..., ::-1, ::-1])[..., ::-1, ::-1]
    yield "transposed", np.ascontiguousarray(array.swapaxes(-1, -2)).swapaxes(-1, -2)
    spread = np.zeros((*array.shape[:-1], 3 * array.shape[-1]), array.dtype)
    spread[..., ::3] = array
    yield "spread", spread[..., ::3]
    raw = np.zeros(array.nbytes + 1, np.uint8)
    misaligned = raw[1:].view(array.dtype).reshape(array.shape)
    misaligned[...] = array
    yield "misaligned", misaligned
    yield "big-endian", array.astype(array.dtype.newbyteorder(">"))
    frozen = array.copy()
    frozen.flags.writeable = False
    yield "read-only", frozen
    yield "Fortran", np.asfortranarray(array)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(5, 3), (3, 5), (64, 40), (90, 70)])
def test_layouts(backend, shape, dtype):
    X, y = problem(*shape, dtype=dtype)
    coef = genkern.lstsq(X, y, backend=backend).coef
    path = genkern.ridge_path(X, y, [0.1], backend=backend)
    for (name, A), (_, b) in zip(layouts(X), layouts(y), strict=True):
        np.testing.assert_array_equal(genkern.lstsq(A, b, backend=backend).coef, coef, err_msg=name)
        np.testing.assert_array_equal(genkern.ridge_path(A, b, [0.1], backend=backend), path, err_msg=name)
    one = np.broadcast_to(X[0], X.shape)
    shared = genkern.lstsq(one, y, backend=backend).coef
    np.testing.assert_array_equal(shared, genkern.lstsq(X[:1].copy(), y, backend=backend).coef)
    np.testing.assert_array_equal(shared[0], coef[0])
    constant = np.broadcast_to(dtype(2), X.shape)
    assert_same(genkern.lstsq(constant, y, backend=backend).coef, genkern.lstsq(constant, y, backend="reference").coef,
                dtype, *shape)  # fmt: skip


def test_dtypes(backend):
    X, y = problem(5, 3)
    for A, b in ((X.astype(np.float32), y), (X, y.astype(np.float32)), ((4 * X).astype(int), y), (X.tolist(), y)):
        assert genkern.lstsq(A, b, backend=backend).coef.dtype == np.float64
    ints = (4 * X).astype(np.int8)
    np.testing.assert_array_equal(
        genkern.lstsq(ints, y > 0, backend=backend).coef,
        genkern.lstsq(ints.astype(float), (y > 0).astype(float), backend=backend).coef,
    )
    for bad in (X.astype(np.float16), X.astype(complex), X.astype(object), X.astype(str), X.astype(np.longdouble)):
        for call in (genkern.lstsq, lambda A, b, **o: genkern.ridge_path(A, b, 1.0, **o),
                     lambda A, b, **o: genkern.gd_path(A, b, 1, **o)):  # fmt: skip
            with pytest.raises(TypeError, match=r"^X must"):
                call(bad, y, backend=backend)
            with pytest.raises(TypeError, match=r"^y must"):
                call(X, bad, backend=backend)
        with pytest.raises(TypeError, match=r"^X must"):
            genkern.singular_values(bad, backend=backend)


def test_out(backend):
    X, y = problem(5, 3)
    calls = {
        "lstsq": lambda **o: genkern.lstsq(X, y, backend=backend, **o),
        "ridge_path": lambda **o: genkern.ridge_path(X, y, [0.0, 1.0], backend=backend, **o),
        "gd_path": lambda **o: genkern.gd_path(X, y, 3, backend=backend, **o),
        "singular_values": lambda **o: genkern.singular_values(X, backend=backend, **o),
    }
    for name, call in calls.items():
        expected = call()
        expected = expected.coef if name == "lstsq" else expected
        out = np.full_like(expected, 7.0)
        found = call(out=out)
        assert (found.coef if name == "lstsq" else found) is out
        np.testing.assert_array_equal(out, expected)
        with pytest.raises(ValueError, match=r"^out must have shape"):
            call(out=np.empty((*expected.shape, 1)))
        with pytest.raises(TypeError, match=r"^out must have dtype float64, got float32"):
            call(out=np.empty(expected.shape, np.float32))
        with pytest.raises(ValueError, match=r"^out must be C-contiguous"):
            call(out=np.empty(expected.shape[::-1]).T)
        with pytest.raises(TypeError, match=r"^out must be an array"):
            call(out=[1.0])
        frozen = np.empty(expected.shape)
        frozen.flags.writeable = False
        with pytest.raises(ValueError, match=r"^out must be writeable"):
            call(out=frozen)
    X, y = problem(4, 4, k=4)
    with pytest.raises(ValueError, match=r"^out must not overlap X"):
        genkern.lstsq(X, y, out=X, backend=backend)
    with pytest.raises(ValueError, match=r"^out must not overlap y"):
        genkern.lstsq(X, y, out=y, backend=backend)


def test_torch(backend):
    torch = pytest.importorskip("torch")
    X, y = problem(5, 3, dtype=np.float32)
    A, b = torch.from_numpy(X), torch.from_numpy(y)
    result = genkern.lstsq(A, b, backend=backend)
    assert all(isinstance(array, torch.Tensor) for array in (result.coef, result.rank, result.status))
    assert (result.coef.dtype, result.rank.dtype, result.status.dtype) == (torch.float32, torch.int32, torch.int8)
    np.testing.assert_array_equal(result.coef.numpy(), genkern.lstsq(X, y, backend=backend).coef)
    out = torch.empty((3, 3, 2))
    assert genkern.lstsq(A, b, out=out, backend=backend).coef is out
    assert torch.equal(out, result.coef)
    assert genkern.gd_path(A, b, torch.tensor([1, 2]), backend=backend).shape == (3, 2, 3, 2)
    assert genkern.ridge_path(A, b, torch.tensor(0.5), backend=backend).shape == (3, 3, 2)
    assert genkern.singular_values(A.mT, backend=backend).dtype == torch.float32
    integers = genkern.lstsq((4 * A).to(torch.int64), b > 0, backend=backend)
    assert integers.coef.dtype == torch.float64
    with pytest.raises(TypeError, match=r"^X must not require a gradient"):
        genkern.lstsq(A.clone().requires_grad_(), b, backend=backend)
    with pytest.raises(TypeError, match=r"^X and y must be arrays of one library"):
        genkern.lstsq(A, y, backend=backend)


def test_jax(backend):
    jnp = pytest.importorskip("jax.numpy")
    X, y = problem(5, 3, dtype=np.float32)
    A, b = jnp.asarray(X), jnp.asarray(y)
    result = genkern.lstsq(A, b, backend=backend)
    assert isinstance(result.coef, type(A)) and result.coef.dtype == np.float32
    np.testing.assert_array_equal(np.asarray(result.coef), genkern.lstsq(X, y, backend=backend).coef)
    assert isinstance(genkern.singular_values(A, backend=backend), type(A))
    assert genkern.gd_path(A, b, jnp.arange(3), backend=backend).shape == (3, 3, 3, 2)
    # Integers are solved in float64; JAX holds them as its own widest float, float32 without jax_enable_x64.
    assert genkern.lstsq((4 * A).astype(int), b, backend=backend).coef.dtype == jnp.asarray(np.ones(1)).dtype
    with pytest.raises(TypeError, match=r"^out must be writeable, got a JAX array"):
        genkern.lstsq(A, b, out=jnp.zeros((3, 3, 2)), backend=backend)


def test_any_array_that_speaks_dlpack(backend):
    class Wrapped:
        def __init__(self, array):
            self.array = array

        def __dlpack__(self, **options):
            return self.array.__dlpack__(**options)

        def __dlpack_device__(self):
            return self.array.__dlpack_device__()

    X, y = problem(5, 3)
    found = genkern.lstsq(Wrapped(X), Wrapped(y), backend=backend).coef
    np.testing.assert_array_equal(found, genkern.lstsq(X, y, backend=backend).coef)


# Arguments


@pytest.mark.parametrize(
    ("error", "message", "call"),
    [
        (ValueError, "X must have shape", lambda X, y, o: genkern.lstsq(X[0, 0], y, **o)),
        (ValueError, "y must have one axis less than X", lambda X, y, o: genkern.lstsq(X, y[0, 0], **o)),
        (ValueError, "y must have one axis less than X", lambda X, y, o: genkern.lstsq(X[0], y, **o)),
        (ValueError, "y must have n = 5 rows", lambda X, y, o: genkern.lstsq(X, y[:, :4], **o)),
        (ValueError, "batch axes must broadcast", lambda X, y, o: genkern.lstsq(X, y[:2], **o)),
        (ValueError, "batch axes must broadcast", lambda X, y, o: genkern.lstsq(X, y, ridge=[1, 2], **o)),
        (ValueError, "ridge must be finite and >= 0, got -1", lambda X, y, o: genkern.lstsq(X, y, ridge=-1, **o)),
        (ValueError, "ridge must be finite", lambda X, y, o: genkern.lstsq(X, y, ridge=np.nan, **o)),
        (TypeError, "ridge must have dtype", lambda X, y, o: genkern.lstsq(X, y, ridge="a", **o)),
        (ValueError, "rcond must be finite and >= 0", lambda X, y, o: genkern.lstsq(X, y, rcond=-1e-3, **o)),
        (ValueError, "rcond must be finite", lambda X, y, o: genkern.lstsq(X, y, rcond=math.inf, **o)),
        (TypeError, "rcond must be a real number", lambda X, y, o: genkern.lstsq(X, y, rcond=[1.0], **o)),
        (ValueError, "n_threads must be", lambda X, y, o: genkern.lstsq(X, y, n_threads=0, **o)),
        (TypeError, "n_threads must be", lambda X, y, o: genkern.lstsq(X, y, n_threads=1.5, **o)),
        (ValueError, "ridges must be a number or one-dim", lambda X, y, o: genkern.ridge_path(X, y, [[1.0]], **o)),
        (ValueError, "ridges must be finite", lambda X, y, o: genkern.ridge_path(X, y, [1, np.inf], **o)),
        (ValueError, "steps must be whole", lambda X, y, o: genkern.gd_path(X, y, [1.5], **o)),
        (ValueError, "steps must be whole", lambda X, y, o: genkern.gd_path(X, y, -1, **o)),
        (ValueError, "steps must be whole", lambda X, y, o: genkern.gd_path(X, y, np.nan, **o)),
        (ValueError, "steps must be whole", lambda X, y, o: genkern.gd_path(X, y, 2**53, **o)),
        (ValueError, "steps must be a number or one-dim", lambda X, y, o: genkern.gd_path(X, y, [[1]], **o)),
        (ValueError, "steps must be finite", lambda X, y, o: genkern.gd_path(X, y, np.inf, nesterov=True, **o)),
        (ValueError, "momentum must be", lambda X, y, o: genkern.gd_path(X, y, 1, nesterov=True, momentum=1, **o)),
        (ValueError, "momentum must be", lambda X, y, o: genkern.gd_path(X, y, 1, momentum=1.0, **o)),
        (ValueError, "momentum must be", lambda X, y, o: genkern.gd_path(X, y, 1, momentum=-0.1, **o)),
        (TypeError, "nesterov must be True or False", lambda X, y, o: genkern.gd_path(X, y, 1, nesterov=1, **o)),
        (TypeError, "allow_divergence must", lambda X, y, o: genkern.gd_path(X, y, 1, allow_divergence="no", **o)),
        (ValueError, "step_size must be finite and > 0", lambda X, y, o: genkern.gd_path(X, y, 1, step_size=0, **o)),
        (ValueError, "step_size must be finite", lambda X, y, o: genkern.gd_path(X, y, 1, step_size=np.inf, **o)),
        (ValueError, "X must have shape", lambda X, y, o: genkern.singular_values(X[0, 0], **o)),
    ],
)  # fmt: skip
def test_bad_arguments(backend, error, message, call):
    X, y = problem(5, 3)
    with pytest.raises(error, match=f"^{message}") as caught:
        call(X, y, {"backend": backend})
    assert "\n" not in str(caught.value)


def test_unknown_backend():
    with pytest.raises(ValueError, match=r"^backend must be None or one of"):
        genkern.lstsq(np.eye(2), np.ones(2), backend="gpu")
    with pytest.raises(genkern.errors.BackendUnavailable):
        genkern.lstsq(np.eye(2), np.ones(2), backend="cupy")


anything = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=3),
    st.complex_numbers(),
    st.lists(st.floats(), max_size=3),
    st.lists(st.lists(st.floats(), max_size=2), max_size=2),
    st.builds(dict),
    st.builds(object),
)
NAMES = ["X", "y", "ridge", "ridges", "steps", "step_size", "momentum", "nesterov", "allow_divergence", "rcond", "out",
         "n_threads", "batch axes"]  # fmt: skip


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(argument=st.sampled_from(NAMES[:-1]), value=anything)
def test_no_argument_crashes(backend, argument, value):
    X, y = problem(4, 3, batch=())
    arguments = {
        genkern.lstsq: {"X": X, "y": y, "ridge": 0.0, "rcond": None, "out": None, "n_threads": 1},
        genkern.ridge_path: {"X": X, "y": y, "ridges": [1.0], "rcond": None, "out": None, "n_threads": 1},
        genkern.gd_path: {"X": X, "y": y, "steps": [3], "step_size": None, "momentum": 0.0, "nesterov": False,
                          "allow_divergence": False, "rcond": None, "out": None, "n_threads": 1},
        genkern.singular_values: {"X": X, "out": None, "n_threads": 1},
    }  # fmt: skip
    for function, options in arguments.items():
        if argument not in options:
            continue
        try:
            function(**(options | {argument: value}), backend=backend)
        except (ValueError, TypeError) as error:
            assert "\n" not in str(error) and str(error).startswith(tuple(NAMES)), error


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    n=st.integers(0, 7), d=st.integers(0, 7), k=st.integers(0, 3), batch=st.lists(st.integers(0, 3), max_size=2),
    seed=st.integers(0, 99), ridge=st.sampled_from([0.0, 1e-3, 2.0]), single=st.booleans(), zeros=st.booleans(),
)  # fmt: skip
def test_any_shape(backend, n, d, k, batch, seed, ridge, single, zeros):
    dtype = np.float32 if single else np.float64
    X, y = problem(n, d, k, tuple(batch), dtype, seed)
    if zeros:
        X[..., ::2, :] = 0
    result = genkern.lstsq(X, y, ridge=ridge, backend=backend)
    expected = genkern.lstsq(X, y, ridge=ridge, backend="reference")
    np.testing.assert_array_equal(result.rank, expected.rank)
    for item in np.ndindex(*batch):
        s = np.linalg.svd(X[item].astype(float), compute_uv=False)[: result.rank[item]]
        condition = (s[0] / s[-1]) ** 2 if s.size else 1.0
        assert_same(result.coef[item], expected.coef[item], dtype, n, d, condition)
    path = genkern.ridge_path(X, y, ridge, backend=backend)
    assert path.shape == expected.coef.shape


# Bits and threads


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("aspect", [1.0, 0.6, 1.7])
def test_bits_do_not_depend_on_threads_batch_or_order(backend, aspect, dtype):
    sizes = range(1, 41) if backend == "cpp" else [1, 2, 3, 4, 5, 8, 13, 16, 23, 32, 40]
    counts = (2, 4)
    if backend == "cupy":  # threads there are not the caller's to choose
        sizes, counts = [1, 2, 5, 8, 13, 23, 40], ()
    for size, items in [*((size, 11) for size in sizes), (64, 7), (130, 5), (260, 3), (520, 2)]:
        n, d = size, max(1, round(aspect * size))
        if backend != "cpp" and size > 130:
            continue  # without BLAS, or one item after another in the calling thread: nothing changes with the size
        X, y = problem(n, d, k=1 + size % 3, batch=(items,), dtype=dtype)
        X[1] = X[0] @ np.diag(np.arange(d) % 3 > 0).astype(dtype)  # rank deficient where d > 1: another route
        ridge = np.where(np.arange(items) % 4 == 3, 0.1, 0.0)
        whole = genkern.lstsq(X, y, ridge=ridge, backend=backend, n_threads=1)
        order = np.random.default_rng(size).permutation(items)

        def same(result, where, whole=whole):
            for name in ("coef", "rank", "residual_norm", "status"):
                np.testing.assert_array_equal(getattr(result, name), getattr(whole, name)[where])

        for n_threads in counts:
            same(genkern.lstsq(X, y, ridge=ridge, backend=backend, n_threads=n_threads), slice(None))
        same(genkern.lstsq(X[order], y[order], ridge=ridge[order], backend=backend, n_threads=2), order)
        same(genkern.lstsq(X[1:], y[1:], ridge=ridge[1:], backend=backend, n_threads=2), slice(1, None))
        for item in range(items):
            same(genkern.lstsq(X[item], y[item], ridge=ridge[item], backend=backend), item)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 1), (7, 12), (40, 24), (130, 131), (300, 260)])
def test_bits_of_paths(backend, shape, dtype):
    if backend == "cupy" and max(shape) > 131:
        pytest.skip("cupy: beyond shared memory items run one after another, as 130 x 131 does already")
    X, y = problem(*shape, batch=(4,), dtype=dtype)
    calls = [
        lambda X, y, **o: genkern.ridge_path(X, y, [0.0, 0.1, 5.0], backend=backend, **o),
        lambda X, y, **o: genkern.gd_path(X, y, [3, 1000], momentum=0.5, backend=backend, **o),
        lambda X, y, **o: genkern.gd_path(X, y, [3, 1000], nesterov=True, backend=backend, **o),
        lambda X, y, **o: genkern.singular_values(X, backend=backend, **o),
    ]
    for call in calls:
        whole = call(X, y, n_threads=1)
        for n_threads in () if backend == "cupy" else (2, 4):
            np.testing.assert_array_equal(call(X, y, n_threads=n_threads), whole)
        np.testing.assert_array_equal(call(X[::-1], y[::-1], n_threads=2), whole[::-1])
        for item in range(4):
            np.testing.assert_array_equal(call(X[item], y[item]), whole[item])


INTERRUPTED = """
import sys, numpy as np, genkern
backend, function = sys.argv[1:]
X = np.broadcast_to(np.random.default_rng(0).standard_normal((60, 64)), (200_000, 60, 64))
y = np.broadcast_to(np.ones(60), (200_000, 60))
calls = {
    "lstsq": lambda X, y: genkern.lstsq(X, y, backend=backend),
    "ridge_path": lambda X, y: genkern.ridge_path(X, y, [0.0, 1.0], backend=backend),
    "gd_path": lambda X, y: genkern.gd_path(X, y, 9, backend=backend),
    "singular_values": lambda X, y: genkern.singular_values(X, backend=backend),
}
calls[function](X[:2], y[:2])
print("ready", flush=True)
try:
    calls[function](X, y)
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends Ctrl-C to whole console groups")
@pytest.mark.parametrize("function", ["lstsq", "ridge_path", "gd_path", "singular_values"])
def test_ctrl_c(backend, function):
    if backend == "cupy":
        pytest.skip("a few launches do a whole call on a GPU, and each runs to its end")
    command = [sys.executable, "-c", INTERRUPTED, backend, function]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.3)
        sent = time.monotonic()
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "interrupted\n"
        assert time.monotonic() - sent < 10
        assert process.wait(30) == 0


@pytest.mark.parametrize("scale", [1e-120, 1e-90, 1.0, 1e90, 1e120])
@pytest.mark.parametrize("n, d, rank", [(64, 64, 32), (100, 60, 30), (60, 200, 20), (20, 20, 10), (8, 30, 4)])
def test_rank_does_not_depend_on_scale(backend, n, d, rank, scale):
    rng = np.random.default_rng(20)
    X = rng.standard_normal((n, rank)) @ rng.standard_normal((rank, d))
    y = rng.standard_normal(n)
    plain = genkern.lstsq(X, y, backend=backend)
    scaled = genkern.lstsq(X * scale, y, backend=backend)
    assert plain.rank == scaled.rank == rank
    bound = LSTSQ_FORWARD * unit(X.dtype, n, d) * 1e3 * np.abs(plain.coef).max()
    np.testing.assert_allclose(scaled.coef * scale, plain.coef, rtol=0, atol=bound)


def test_rank_of_large_float32_with_a_coarse_cutoff(backend):
    rng = np.random.default_rng(21)
    U, V = (np.linalg.qr(rng.standard_normal((64, 64)))[0] for _ in range(2))
    X = ((U * np.repeat([1.0, 5e-3], 32)) @ V * 1e14).astype(np.float32)
    assert genkern.lstsq(X, np.ones(64, np.float32), rcond=1e-2, backend=backend).rank == 32


def test_many_threads_once_do_not_slow_later_calls(native):
    code = """
import time, numpy as np, genkern
rng = np.random.default_rng(0)
X, y = rng.standard_normal((64, 20, 40)), rng.standard_normal((64, 20))
def best():
    times = []
    for _ in range(50):
        start = time.perf_counter()
        genkern.lstsq(X, y, n_threads=2)
        times.append(time.perf_counter() - start)
    return min(times)
best()
before = best()
genkern.singular_values(np.ones((4000, 2, 2)), n_threads=300)
assert best() < 10 * before + 1e-3, (before, best())
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_exit_while_a_daemon_thread_computes(native):
    code = """
import threading, time, numpy as np, genkern
X, y = np.random.default_rng(0).standard_normal((2, 600, 600)), np.ones((2, 600))
def forever():
    while True:
        genkern.lstsq(X, y)
threading.Thread(target=forever, daemon=True).start()
time.sleep(0.5)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
