"""Least squares on a GPU, what the conformance tests cannot see: which kernels run, in which memory, what waits."""

import itertools

import numpy as np
import pytest
from gpu import compile, standin
from gpu.memory import LOG
from tolerances import LSTSQ_FORWARD, SINGULAR_VALUES, unit

import genkern

DTYPES = [np.float64, np.float32]
SMALL, LARGE = {"qr", "svd", "modes", "values"}, {"measure", "scale", "check"}


@pytest.fixture
def limit(emulated, monkeypatch):
    """Sets the emulated GPU's shared memory of a block."""
    from genkern._cupy import _launch

    def set_limit(size):
        monkeypatch.setitem(standin.PROPERTIES, "sharedMemPerBlock", min(size, 48 << 10))
        monkeypatch.setitem(standin.PROPERTIES, "sharedMemPerBlockOptin", size)
        _launch.forget()

    yield set_limit
    monkeypatch.undo()
    _launch.forget()


def problem(n, d, k=2, batch=(5,), dtype=np.float64, seed=0):
    rng = np.random.default_rng([n, d, k, seed])
    return rng.standard_normal((*batch, n, d)).astype(dtype), rng.standard_normal((*batch, n, k)).astype(dtype)


def deficient(X):
    """The same batch with item 1 of lower rank."""
    X = X.copy()
    X[1, :, 0] = X[1, :, -1]
    return X


def logged(call):
    """What a call launches, without prefix and dtype, and what it copies back or waits for."""
    launches, downloads = len(LOG.launches), len(LOG.downloads)
    result = call()
    names = [launch.kernel.removeprefix("least_squares_") for launch in LOG.launches[launches:]]
    return result, [name.removesuffix("_f32").removesuffix("_f64") for name in names], LOG.downloads[downloads:]


def bits(result):
    fields = ("coef", "rank", "residual_norm", "status")
    return [getattr(result, name) for name in fields] if hasattr(result, "coef") else [result]


def every_call(X, y, **options):
    yield genkern.lstsq(X, y, **options)
    yield genkern.lstsq(X, y, ridge=0.3, **options)
    yield genkern.ridge_path(X, y, [0.0, 0.1], **options)
    yield genkern.gd_path(X, y, [3, 50], momentum=0.5, **options)
    yield genkern.gd_path(X, y, [50, 0, 3], nesterov=True, **options)
    yield genkern.singular_values(X, **options)


def test_every_kernel_is_launched_and_none_of_the_cpu(emulated, limit, monkeypatch):
    from genkern import _native
    from genkern._reference import least_squares as reference

    def refuse(*args, **options):
        raise AssertionError("a CPU kernel was called")

    X, y = problem(6, 4)
    expected = [bits(result) for result in every_call(deficient(X), y, backend="reference")]
    functions = ("lstsq", "ridge_path", "gd_path", "singular_values")
    for module, name in itertools.product((_native, reference), functions):
        monkeypatch.setattr(module, name, refuse)
    entries = set()
    for path in compile.sources():
        if path.stem.startswith("least_squares"):
            entries |= set(compile.entries(compile.preprocessed(path.read_text())))
    assert len(entries) == 23
    before = len(LOG.launches)
    for dtype, size in itertools.product(DTYPES, (48 << 10, 1 << 8)):
        limit(size)
        found = every_call(deficient(X.astype(dtype)), y.astype(dtype), backend="cupy")
        for result, wanted in zip(found, expected, strict=True):
            np.testing.assert_allclose(bits(result)[0], wanted[0], rtol=0, atol=200 * np.finfo(dtype).eps)
    assert {launch.kernel for launch in LOG.launches[before:]} == entries


@pytest.mark.parametrize("dtype", DTYPES)
def test_nothing_waits_for_the_device(emulated, dtype):
    X, y = problem(7, 5, dtype=dtype)
    for call, names, waits in (
        (lambda: genkern.lstsq(deficient(X), y, ridge=0.1, backend="cupy"), ["qr", "svd"], 0),
        (lambda: genkern.ridge_path(X, y, [0.0, 1.0], backend="cupy"), ["modes", "ridge_gains", "expand"], 0),
        (lambda: genkern.singular_values(X, backend="cupy"), ["values"], 0),
        # One answer that the host needs: whether to raise for a divergent step size.
        (lambda: genkern.gd_path(X, y, [4], backend="cupy"), ["modes", "rates", "descent_gains", "expand"], 1),
    ):
        _, launches, downloads = logged(call)
        assert launches == names and len(downloads) == waits, (launches, downloads)


@pytest.mark.parametrize("dtype", DTYPES)
def test_size_chooses_the_path(emulated, limit, dtype):
    X, y = problem(24, 20, dtype=dtype)
    A = deficient(X)
    item = np.dtype(dtype).itemsize
    calls = [
        lambda **o: genkern.lstsq(A, y, **o),
        lambda **o: genkern.ridge_path(A, y, [0.5], **o),
        lambda **o: genkern.singular_values(A, **o),
    ]
    for bytes_there, small in ((48 << 10, (True, True, True)), (800 * item, (True, False, False)),
                               (500 * item, (False, False, False))):  # fmt: skip
        limit(bytes_there)
        for call, expected in zip(calls, small, strict=True):
            found, launches, _ = logged(lambda call=call: call(backend="cupy"))
            assert set(launches) & (LARGE if expected else SMALL) == set(), (bytes_there, launches)
            wanted = call(backend="reference")
            for got, want in zip(bits(found), bits(wanted), strict=True):
                atol = LSTSQ_FORWARD * unit(dtype, 24, 20) * 1e3 * max(1.0, np.abs(want).max())
                np.testing.assert_allclose(got, want, rtol=0, atol=atol)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 1), (3, 40), (40, 3), (17, 17), (24, 30)])
def test_memory_plans(emulated, limit, shape, dtype):
    from genkern._cupy import least_squares

    (n, d), item = shape, np.dtype(dtype).itemsize
    X, y = problem(n, d, k=11, dtype=dtype)
    X = deficient(X) if d > 1 else X
    expected = genkern.lstsq(X, y, ridge=[0.0, 0.0, 0.1, 1e6, 0.0], backend="reference")
    seen = set()
    for size in (1 << 10, 2 << 10, 3 << 10, 4 << 10, 6 << 10, 8 << 10, 12 << 10, 16 << 10, 48 << 10, 99 << 10):
        limit(size)
        plans = (
            least_squares.qr_plan(n, d, 11, item, True),
            least_squares.svd_plan(n, d, 11, item),
        )
        for plan in plans:
            if plan is not None:
                assert plan.bytes <= size and plan.block[0] <= 256 and (plan.warps == 1 or plan.teams == 1)
                assert plan.teams == 1 or plan.bytes <= 48 << 10
        if plans in seen:
            continue
        seen.add(plans)
        found = genkern.lstsq(X, y, ridge=[0.0, 0.0, 0.1, 1e6, 0.0], backend="cupy")
        np.testing.assert_array_equal(found.rank, expected.rank)
        for item_index in range(5):
            s = np.linalg.svd(X[item_index].astype(float), compute_uv=False)[: expected.rank[item_index]]
            scale = np.abs(expected.coef[item_index]).max()
            atol = LSTSQ_FORWARD * unit(dtype, n, d) * (s[0] / s[-1]) ** 2 * scale
            np.testing.assert_allclose(found.coef[item_index], expected.coef[item_index], rtol=0, atol=atol)
    assert len(seen) >= 3 or max(n, d) == 1


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(9, 9), (14, 9), (9, 14)])
def test_rank_on_the_borderline_is_that_of_the_cpu(emulated, native, shape, dtype):
    n, d = shape
    rng = np.random.default_rng(7)
    rcond = 1e-3
    U, V = (np.linalg.qr(rng.standard_normal((size, 9)))[0] for size in (n, d))
    # The QR answers down to ten times the cutoff; the SVD decides all that is nearer.
    ratios = np.array([0.1, 0.5, 0.9, 0.999, 1.001, 1.1, 2, 5, 9.9, 10.1, 20, 1e2, 1e3])
    s = np.repeat(np.geomspace(1, 0.2, 9)[None], len(ratios), axis=0)
    s[:, -1] = rcond * ratios
    X = ((U * s[:, None]) @ V.T).astype(dtype)
    y = rng.standard_normal((len(ratios), n)).astype(dtype)
    found = genkern.lstsq(X, y, rcond=rcond, backend="cupy")
    expected = genkern.lstsq(X, y, rcond=rcond, backend="cpp")
    np.testing.assert_array_equal(found.rank, expected.rank)
    np.testing.assert_array_equal(found.rank, np.where(ratios > 1, 9, 8))
    np.testing.assert_array_equal(found.status, 0)
    np.testing.assert_allclose(found.coef, expected.coef, rtol=0, atol=LSTSQ_FORWARD * unit(dtype, n, d) * 1e4 *
                               np.abs(expected.coef).max(axis=1).max())  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(13, 8), (8, 13), (40, 36)])
def test_order_of_threads_and_blocks_changes_no_bit(emulated, monkeypatch, shape, dtype):
    X, y = problem(*shape, k=3, batch=(3,), dtype=dtype)
    X = deficient(X)
    forward = [bits(result) for result in every_call(X, y, backend="cupy")]
    monkeypatch.setattr(standin.SETTINGS, "reverse", True)
    for found, expected in zip(every_call(X, y, backend="cupy"), forward, strict=True):
        for got, want in zip(bits(found), expected, strict=True):
            np.testing.assert_array_equal(got, want)


def test_parts_of_a_batch_and_of_a_recursion_change_no_bit(emulated, monkeypatch):
    from genkern._cupy import least_squares_paths as paths

    X, y = problem(6, 9, batch=(7,))
    steps = [0, 900, 1, 77, 899]
    whole = [
        genkern.ridge_path(X, y, [0.0, 2.0], backend="cupy"),
        genkern.gd_path(X, y, steps, step_size=np.geomspace(1e-3, 1e-2, 7), backend="cupy"),
        genkern.gd_path(X, y, steps, nesterov=True, backend="cupy"),
    ]
    monkeypatch.setattr(paths, "_CHUNK_BYTES", 2 * 8 * 6 * 40)
    monkeypatch.setattr(paths, "_STEPS_A_LAUNCH", 64)
    parts = [
        logged(lambda: genkern.ridge_path(X, y, [0.0, 2.0], backend="cupy")),
        logged(lambda: genkern.gd_path(X, y, steps, step_size=np.geomspace(1e-3, 1e-2, 7), backend="cupy")),
        logged(lambda: genkern.gd_path(X, y, steps, nesterov=True, backend="cupy")),
    ]
    for (found, launches, _), expected in zip(parts, whole, strict=True):
        np.testing.assert_array_equal(found, expected)
        assert launches.count("modes") > 1
    assert parts[2][1].count("nesterov") > parts[2][1].count("modes")
    # A recursion whose modes have all settled ends before its count, whatever that is.
    _, launches, _ = logged(lambda: genkern.gd_path(X[:1, :2], y[:1, :2], [1e6], nesterov=True, backend="cupy"))
    assert launches.count("nesterov") < 1000


def test_a_shared_matrix_is_not_copied(emulated):
    from genkern._cupy import least_squares

    X, y = problem(8, 5, batch=(1,))
    many = emulated.broadcast_to(emulated.asarray(X[0]), (6, 8, 5))
    items = least_squares.Items.of(many)
    assert (items.stride, items.count, items.array.shape) == (0, 6, (8, 5))
    sides = emulated.asarray(np.repeat(y, 6, axis=0))
    result = genkern.lstsq(many, sides)
    one = genkern.lstsq(emulated.asarray(X), emulated.asarray(y))
    for item in range(6):
        np.testing.assert_array_equal(result.coef.get()[item], one.coef.get()[0])


@pytest.mark.parametrize("dtype", DTYPES)
def test_teams_of_many_warps(emulated, dtype):
    """What the emulated GPU of the conformance tests has no room for: eight warps on one SVD in shared memory."""
    for n, d in ((70, 66), (66, 70)):
        X, y = problem(n, d, batch=(2,), dtype=dtype)
        X = deficient(X)
        for call in (
            lambda X, y, **o: genkern.lstsq(X, y, **o).coef,
            lambda X, y, **o: genkern.ridge_path(X, y, [0.5], **o),
        ):
            found, launches, _ = logged(lambda call=call, X=X, y=y: call(X, y, backend="cupy"))
            assert not set(launches) & LARGE
            expected = call(X, y, backend="reference")
            for item in range(2):
                s = np.linalg.svd(X[item].astype(float), compute_uv=False)
                atol = LSTSQ_FORWARD * unit(dtype, n, d) * (s[0] / s[-1 - item]) ** 2 * np.abs(expected[item]).max()
                np.testing.assert_allclose(found[item], expected[item], rtol=0, atol=atol)


@pytest.mark.parametrize("dtype", DTYPES)
def test_graded_and_extreme_matrices(emulated, dtype):
    """Singular values of the Jacobi kernel where its norms follow rotations over many orders of magnitude."""
    rng = np.random.default_rng(3)
    for n, d in ((12, 12), (30, 11), (11, 30)):
        cases = [rng.standard_normal((n, d)) * np.geomspace(1, unit(dtype) ** 1.5, d)]
        cases += [np.geomspace(1, unit(dtype), n)[:, None] * rng.standard_normal((n, d))]
        cases += [np.ones((n, d)), np.zeros((n, d)), np.eye(n, d), np.triu(np.ones((n, d)))]
        X = np.stack(cases).astype(dtype)
        found = genkern.singular_values(X, backend="cupy")
        expected = np.linalg.svd(X.astype(float), compute_uv=False)
        atol = SINGULAR_VALUES * unit(dtype, n, d) * expected[:, :1]
        assert (np.abs(found - expected) <= atol).all() and (np.diff(found) <= 0).all()
