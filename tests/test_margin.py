"""The hard margin on every backend: proved answers, other solvers, certificates, degenerate data, bits, arguments."""

import math
import signal
import subprocess
import sys
import time
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import optimize
from tolerances import MARGIN_CERTIFICATE, MARGIN_FORWARD, MARGIN_GAP, MARGIN_PEERS, unit

import genkern
from genkern import _registry, problems

DTYPES = [np.float64, np.float32]
SHAPES = [(1, 1), (1, 5), (4, 1), (2, 3), (30, 5), (8, 40), (60, 60), (400, 12), (50, 33)]


def problem(n, d, batch=(), dtype=np.float64, seed=0):
    """Gaussian points whose labels a random direction decides: separable, by a margin of chance."""
    rng = np.random.default_rng([n, d, seed])
    X = rng.standard_normal((*batch, n, d)).astype(dtype)
    y = np.where(X @ rng.standard_normal(d) > 0, 1.0, -1.0).astype(dtype)
    return X, y


def digit_pair(a, b, dtype=np.float64):
    data = problems.digits(n_train=300, n_test=0, classes=(a, b), targets="signs", seed=1)
    return np.column_stack([data.X, np.ones(len(data.y))]).astype(dtype), data.y.astype(dtype)


def cancer_like():
    """As breast cancer: 569 points of 30 correlated columns of two classes, standardised, and a bias column."""
    rng = np.random.default_rng(20261124)
    y = np.where(rng.random(569) < 0.63, 1.0, -1.0)
    factors = rng.standard_normal((569, 6)) + 1.5 * y[:, None] * rng.random(6)
    X = np.exp(0.4 * (factors @ rng.standard_normal((6, 30)) + 0.5 * rng.standard_normal((569, 30))))
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    X = np.column_stack([X, np.ones(569)])
    w = np.linalg.lstsq(X, y, rcond=None)[0]
    kept = y * (X @ w) > 0.05  # the labels that a line explains: separable, with a small margin
    return X[kept], y[kept]


def exact(array):
    return [[Fraction(float(x)) for x in row] for row in np.atleast_2d(array)]


def true_gap(X, y, coef, dual):
    """The gap as the docstring has it, in rational numbers."""
    Z = exact(np.asarray(y, float)[:, None] * np.asarray(X, float))
    w, a = exact(coef)[0], exact(dual)[0]
    total = [sum(a_i * z[j] for a_i, z in zip(a, Z, strict=True) if a_i) for j in range(len(w))]
    smallest = min(sum(p * q for p, q in zip(z, w, strict=True)) for z in Z)
    primal = sum(x * x for x in w) / (2 * smallest * smallest)
    value = sum(a) - sum(x * x for x in total) / 2
    return float(1 - value / primal), float(smallest)


def left_of_the_sum(X, y, dual):
    """What a certificate leaves of its sum, relative to its terms, from exact sums."""
    Z = exact(np.asarray(y, float)[:, None] * np.asarray(X, float))
    a = exact(dual)[0]
    total = [float(sum(a_i * z[j] for a_i, z in zip(a, Z, strict=True) if a_i)) for j in range(len(Z[0]))]
    terms = float(np.asarray(dual, float) @ np.linalg.norm(np.asarray(X, float), axis=1))
    return math.hypot(*total) / terms if terms else 0.0


def assert_proved(X, y, result, dtype=np.float64):
    """One item: the returned numbers prove themselves, and the gap is theirs."""
    dual = np.asarray(result.dual, float)
    assert result.status == 0 and np.all(dual >= 0)
    np.testing.assert_array_equal(np.asarray(result.support), dual > 0)
    if not result.separable:
        assert np.all(np.isnan(result.coef)) and result.margin == 0
        assert dual.sum() == pytest.approx(1.0, rel=4 * unit(dtype) * (1 + result.support.sum()))
        left = left_of_the_sum(X, y, dual)
        assert result.gap == pytest.approx(left, rel=1e-3, abs=MARGIN_GAP)
        assert left <= MARGIN_CERTIFICATE * unit(dtype)
        return
    gap, smallest = true_gap(X, y, result.coef, result.dual)
    assert result.gap == pytest.approx(gap, rel=1e-6, abs=MARGIN_GAP)
    condition = float(np.linalg.norm(X, axis=1).max()) / float(result.margin)
    assert smallest == pytest.approx(1.0, rel=unit(dtype) * condition * 4)
    assert result.margin == pytest.approx(1 / np.linalg.norm(np.asarray(result.coef, float)), rel=4 * unit(dtype))
    assert result.gap <= (1e-10 if dtype == np.float64 else 16 * unit(dtype) * condition)


# Definitions


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_every_answer_is_proved(backend, shape, dtype):
    n, d = shape
    for seed in range(3):
        X, y = problem(n, d, dtype=dtype, seed=seed)
        result = genkern.max_margin(X, y, backend=backend)
        assert result.separable and result.support.sum() <= min(n, d)
        assert_proved(X, y, result, dtype)
        expected = genkern.max_margin(X, y, backend="reference")
        condition = float(np.linalg.norm(X, axis=1).max()) / float(expected.margin)
        rtol = MARGIN_FORWARD * unit(dtype) * condition
        assert np.linalg.norm(result.coef - expected.coef) <= rtol * np.linalg.norm(expected.coef)
        assert result.margin == pytest.approx(float(expected.margin), rel=rtol)
        np.testing.assert_array_equal(result.support, expected.support)
        rng = np.random.default_rng(seed)
        labels = np.where(rng.random(n) < 0.5, -1, 1)  # as a rule not separable for n > 2 d
        assert_proved(X, labels, genkern.max_margin(X, labels.astype(dtype), backend=backend), dtype)


def test_shapes_and_dtypes(backend):
    for dtype in DTYPES:
        X, y = problem(6, 4, (3, 2), dtype)
        result = genkern.max_margin(X, y, backend=backend)
        assert (result.coef.shape, result.dual.shape, result.support.shape) == ((3, 2, 4), (3, 2, 6), (3, 2, 6))
        for name, kind in (("margin", dtype), ("gap", float), ("separable", bool), ("status", np.int8)):
            array = getattr(result, name)
            assert (array.shape, array.dtype) == ((3, 2), kind)
        assert (result.coef.dtype, result.dual.dtype, result.support.dtype) == (dtype, dtype, bool)
    single = genkern.max_margin(X.astype(np.float32), y.astype(int), backend=backend)
    assert single.coef.dtype == np.float32
    integers = genkern.max_margin([[1, 2], [2, 1]], [1, 1], backend=backend)
    assert integers.coef.dtype == np.float64 and integers.margin.shape == ()
    shared = genkern.max_margin(X[0, 0], np.stack([y[0, 0], -y[0, 0]]), backend=backend)
    np.testing.assert_array_equal(shared.coef[0], -shared.coef[1])


def test_empty_sizes(backend):
    result = genkern.max_margin(np.ones((0, 3)), np.ones(0), backend=backend)
    assert np.array_equal(result.coef, np.zeros(3)) and np.isinf(result.margin)
    assert result.separable and result.status == 0 and result.gap == 0
    result = genkern.max_margin(np.ones((2, 0)), np.ones(2), backend=backend)
    assert not result.separable and result.margin == 0 and result.dual.sum() == 1 and result.status == 0
    for batch in ((0,), (2, 0)):
        result = genkern.max_margin(np.ones((*batch, 4, 3)), np.ones((*batch, 4)), backend=backend)
        assert result.coef.shape == (*batch, 3) and result.status.shape == batch


def test_known_solutions(backend):
    data = problems.soudry()
    result = genkern.max_margin(data.X, data.y, backend=backend)
    np.testing.assert_allclose(result.coef, [0.5, 0.5], rtol=1e-15)
    assert result.margin == pytest.approx(math.sqrt(2), rel=1e-15)
    X = [[1, 2], [2, -0.3], [2.5, 1.5], [3, 2]]
    result = genkern.max_margin(X, np.ones(4), backend=backend)
    np.testing.assert_allclose(result.coef, [0.53488372, 0.23255814], atol=5e-9)
    np.testing.assert_allclose(result.dual, [0.14548405, 0.19469984, 0, 0], atol=5e-9)
    for n, d, margin in ((40, 7, 0.3), (20, 50, 4.0)):
        data = problems.separable(n, d, margin=margin, seed=3)
        result = genkern.max_margin(data.X, data.y, backend=backend)
        assert result.margin == pytest.approx(margin, rel=1e-13)
        np.testing.assert_allclose(result.coef, data.coef, rtol=0, atol=1e-12 * np.abs(data.coef).max())


@pytest.mark.parametrize("data", ["0/1", "3/8", "4/9", "cancer-like"])
def test_other_solvers_agree(backend, data):
    X, y = cancer_like() if data == "cancer-like" else digit_pair(int(data[0]), int(data[2]))
    n, d = X.shape
    result = genkern.max_margin(X, y, backend=backend)
    assert_proved(X, y, result)
    Z = y[:, None] * X
    # The point of the least distance in the cone of (z_i, 1), by nonnegative least squares.
    scale = 1 / float(result.margin)  # so that the two parts of the residual have one size
    multipliers, _ = optimize.nnls(np.vstack([scale * Z.T, np.ones(n)]), np.r_[np.zeros(d), 1.0], maxiter=100 * n)
    residual = np.r_[np.zeros(d), 1.0] - np.vstack([scale * Z.T, np.ones(n)]) @ multipliers
    coefs = {"nnls": -scale * residual[:d] / residual[d]}
    quadprog, daqp = pytest.importorskip("quadprog"), pytest.importorskip("daqp")
    coefs["quadprog"] = quadprog.solve_qp(np.eye(d), np.zeros(d), Z.T.copy(), np.ones(n))[0]
    coefs["daqp"] = daqp.solve(
        np.eye(d), np.zeros(d), Z.copy(), np.full(n, 1e30), np.ones(n), np.zeros(n, np.int32), primal_tol=1e-12
    )[0]
    for name, coef in coefs.items():
        assert np.linalg.norm(coef - result.coef) <= MARGIN_PEERS * np.linalg.norm(coef), name


def test_even_and_odd_digits_are_not_separable(backend):
    data = problems.digits(n_train=1797, n_test=0, targets="labels")
    X, y = np.column_stack([16 * data.X, np.ones(1797)]), np.where(data.y % 2 == 0, 1, -1)
    result = genkern.max_margin(X, y, backend=backend)
    assert not result.separable
    assert_proved(X, y, result)
    assert result.support.sum() <= 66


# Degenerate data


@pytest.mark.parametrize("copies", [1, 2, 5])
def test_copies_ties_and_order(backend, copies):
    X, y = problem(25, 6, seed=4)
    expected = genkern.max_margin(X, y, backend=backend)
    order = np.random.default_rng(0).permutation(25 * copies)
    repeated = genkern.max_margin(np.repeat(X, copies, 0)[order], np.repeat(y, copies)[order], backend=backend)
    assert_proved(np.repeat(X, copies, 0)[order], np.repeat(y, copies)[order], repeated)
    np.testing.assert_allclose(repeated.coef, expected.coef, rtol=0, atol=1e-13 * np.linalg.norm(expected.coef))


def test_lines_and_lattices(backend):
    line = np.arange(1.0, 9.0)[:, None] * np.array([3.0, -4.0])
    result = genkern.max_margin(line, np.ones(8), backend=backend)
    assert_proved(line, np.ones(8), result)
    np.testing.assert_allclose(result.coef, [0.12, -0.16], rtol=1e-15)
    assert result.margin == pytest.approx(5.0, rel=1e-15) and result.support.sum() == 1
    # A lattice face of 36 points at the same distance, in many dependent ways.
    face = np.array([(i, j, 1.0) for i in range(-3, 3) for j in range(-3, 3)])
    result = genkern.max_margin(face, np.ones(36), backend=backend)
    assert_proved(face, np.ones(36), result)
    np.testing.assert_allclose(result.coef, [0, 0, 1], atol=1e-15)
    both = np.array([(i, s * 1.0, 0.0) for i in range(4) for s in (1, -1)])  # the zero lies in their hull
    result = genkern.max_margin(both, np.ones(8), backend=backend)
    assert_proved(both, np.ones(8), result)
    assert not result.separable


def test_one_class_zeros_and_touching_points(backend):
    for points, separable in (
        ([[0.0, 0.0], [1.0, 0.0]], False),
        ([[1.0, 0.0], [-1.0, 0.0]], False),
        ([[1.0, 0.0], [-1.0, 1e-9]], True),
        ([[2.0], [3.0]], True),
        ([[2.0], [-3.0]], False),
        ([[1.0, 0.0], [0.0, 0.0], [0.0, 1.0]], False),
    ):
        result = genkern.max_margin(points, np.ones(len(points)), backend=backend)
        assert result.separable == separable
        assert_proved(np.array(points), np.ones(len(points)), result)
        opposite = genkern.max_margin(points, -np.ones(len(points)), backend=backend)
        np.testing.assert_array_equal(opposite.coef, -result.coef)


def test_columns_of_any_scale(backend):
    """The exact solution on the support found, in rational numbers: optimal, and equal in every coefficient."""
    for scales in ([1e3, 1e-3, 1, 1, 1], [1e6, 1e-6, 1, 1, 1], [1e-4, 1e-2, 1, 1e2, 1e4]):
        X, y = problem(30, 5, seed=7)
        X = X * scales
        result = genkern.max_margin(X, y, backend=backend)
        assert result.separable and math.isfinite(result.gap)
        assert result.status == (0 if result.gap <= 1e-10 else 2)
        gap, _ = true_gap(X, y, result.coef, result.dual)
        assert result.gap == pytest.approx(gap, rel=1e-6, abs=MARGIN_GAP)
        Z = y[:, None] * X
        rows = exact(Z[result.support])
        w = solve_exactly(rows)
        margins = [sum(p * q for p, q in zip(z, w, strict=True)) for z in exact(Z)]
        assert min(margins) == 1
        np.testing.assert_allclose(result.coef, [float(x) for x in w], rtol=1e-13)


def solve_exactly(rows):
    """The smallest w with rows w = 1, by elimination on the Gram matrix in rational numbers; asserts a >= 0."""
    s = len(rows)
    table = [[sum(p * q for p, q in zip(u, v, strict=True)) for v in rows] + [Fraction(1)] for u in rows]
    for k in range(s):
        for i in range(k + 1, s):
            factor = table[i][k] / table[k][k]
            table[i] = [x - factor * z for x, z in zip(table[i], table[k], strict=True)]
    a = [Fraction(0)] * s
    for k in reversed(range(s)):
        a[k] = (table[k][s] - sum(table[k][j] * a[j] for j in range(k + 1, s))) / table[k][k]
    assert min(a) > 0
    return [sum(a_k * row[j] for a_k, row in zip(a, rows, strict=True)) for j in range(len(rows[0]))]


@pytest.mark.parametrize("scale", [1e-140, 1e140])
def test_extreme_scales(backend, scale):
    X, y = problem(20, 4, seed=2)
    expected, result = (genkern.max_margin(A, y, backend=backend) for A in (X, scale * X))
    assert result.status == 0
    np.testing.assert_allclose(result.coef * scale, expected.coef, rtol=1e-12)
    assert result.margin == pytest.approx(scale * float(expected.margin), rel=1e-12)


def test_what_float64_cannot_tell_or_hold(backend):
    hidden = genkern.max_margin([[1.0, 0.0], [0.0, 1e-200]], [1, 1], backend=backend)
    assert hidden.status == 2 and hidden.dual.sum() == 1
    lost = genkern.max_margin([[1e200, 1e200]], [1], backend=backend)  # its dual underflows
    assert lost.status == 2 and lost.separable and lost.gap == 1
    np.testing.assert_allclose(lost.coef, 5e-201, rtol=1e-15)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    points=st.lists(st.lists(st.integers(-3, 3), min_size=3, max_size=3), min_size=1, max_size=12),
    labels=st.integers(0, 2**12 - 1),
)
def test_small_integers_are_all_decided(backend, points, labels):
    """Data full of copies, zeros and ties; a linear program in other hands says which of them are separable."""
    X = np.array(points, float)
    y = np.array([1.0 if labels >> i & 1 else -1.0 for i in range(len(X))])
    result = genkern.max_margin(X, y, backend=backend)
    assert_proved(X, y, result)
    program = optimize.linprog(np.zeros(3), A_ub=-(y[:, None] * X), b_ub=-np.ones(len(X)), bounds=(None, None))
    assert result.separable == (program.status == 0)


# Status


def test_bad_items_spoil_only_themselves(backend):
    X, y = problem(20, 4, (5,), seed=1)
    whole = genkern.max_margin(X, y, backend=backend)
    bad_X, bad_y = X.copy(), y.copy()
    bad_X[1, 3, 2], bad_X[2, 0, 0], bad_y[4, 7] = np.nan, -np.inf, np.nan
    result = genkern.max_margin(bad_X, bad_y, backend=backend)
    np.testing.assert_array_equal(result.status, [0, 1, 1, 0, 1])
    for name in ("coef", "margin", "dual", "support", "gap", "separable"):
        found, expected = getattr(result, name), getattr(whole, name)
        np.testing.assert_array_equal(found[[0, 3]], expected[[0, 3]])
        assert np.all(np.isnan(found[[1, 2, 4]]) if found.dtype.kind == "f" else ~found[[1, 2, 4]])


def test_max_iter_and_tol(backend):
    X, y = problem(100, 20, seed=5)
    best = genkern.max_margin(X, y, backend=backend)
    gaps = []
    for limit in (1, 5, 10, 500):
        result = genkern.max_margin(X, y, max_iter=limit, backend=backend)
        gaps.append(result.gap)
        assert result.status == (0 if limit == 500 else 2)
        if result.separable:
            gap, _ = true_gap(X, y, result.coef, result.dual)
            assert result.gap == pytest.approx(gap, rel=1e-9, abs=MARGIN_GAP)
            assert result.margin <= best.margin * (1 + 1e-12)
        else:  # no proof of anything, but the bound that it says it is
            left = left_of_the_sum(X, y, result.dual)
            assert result.gap == pytest.approx(left, rel=1e-9)
    assert genkern.max_margin(X, y, max_iter=1, tol=1.0, backend=backend).status == 0
    assert gaps[-1] < 1e-13


# Layout, bits, libraries


def test_layouts(backend):
    X, y = problem(12, 5, (3,))
    expected = genkern.max_margin(X, y, backend=backend)
    wide = np.zeros((3, 24, 10))
    wide[:, ::2, ::2] = X
    reverse = np.ascontiguousarray(X[:, ::-1, ::-1])[:, ::-1, ::-1]
    frozen = X.copy()
    frozen.flags.writeable = False
    for A in (wide[:, ::2, ::2], reverse, np.asfortranarray(X), frozen):
        found = genkern.max_margin(A, y, backend=backend)
        np.testing.assert_array_equal(found.coef, expected.coef)
        np.testing.assert_array_equal(found.dual, expected.dual)


@pytest.mark.parametrize("dtype", DTYPES)
def test_bits_do_not_depend_on_threads_batch_or_order(backend, dtype):
    X, y = problem(40, 7, (9,), dtype)
    whole = genkern.max_margin(X, y, backend=backend, n_threads=1)
    order = np.random.default_rng(0).permutation(9)
    for part, n_threads in ((slice(None), 2), (slice(None), 4), (order, 2), (slice(1, None), 3), (slice(4, 5), 1)):
        found = genkern.max_margin(X[part], y[part], backend=backend, n_threads=n_threads)
        for name in ("coef", "margin", "dual", "support", "gap", "separable", "status"):
            np.testing.assert_array_equal(getattr(found, name), getattr(whole, name)[part])


INTERRUPTED = """
import sys, numpy as np, genkern
backend, large = sys.argv[1], sys.argv[2] == "one large problem"
X = np.random.default_rng(0).standard_normal((3000, 1500) if large else (60, 64))
if not large:
    X = np.broadcast_to(X, (500_000, 60, 64))
y = np.ones(X.shape[-2])
genkern.max_margin(X[..., :2, :2] if large else X[:2, :, :2], y[:2] if large else y, backend=backend)
print("ready", flush=True)
try:
    genkern.max_margin(X, y, backend=backend)
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends Ctrl-C to whole console groups")
@pytest.mark.parametrize("work", ["a batch", "one large problem"])
def test_ctrl_c(backend, work):
    if backend not in _registry._TABLE["max_margin"]:
        pytest.skip(f"max_margin has no {backend} version")
    if backend == "numba" and work == "one large problem":
        pytest.skip("numba looks for Ctrl-C between items only")
    with subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, backend, work], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.3)
        sent = time.monotonic()
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "interrupted\n"
        assert time.monotonic() - sent < 10
        assert process.wait(30) == 0


@pytest.mark.parametrize("library", ["torch", "jax.numpy"])
def test_other_libraries(backend, library):
    namespace = pytest.importorskip(library)
    X, y = problem(8, 3, (2,), np.float32)
    A, b = namespace.asarray(X), namespace.asarray(y)
    result = genkern.max_margin(A, b, backend=backend)
    expected = genkern.max_margin(X, y, backend=backend)
    for name in ("coef", "margin", "dual", "support", "gap", "separable", "status"):
        assert isinstance(getattr(result, name), type(A))
        np.testing.assert_allclose(np.asarray(getattr(result, name)), getattr(expected, name), rtol=1e-6)


# Arguments


@pytest.mark.parametrize(
    ("error", "message", "options"),
    [
        (ValueError, "X must have shape", {"X": np.ones(3)}),
        (ValueError, r"y must have shape \(..., n\) with n = 4", {"y": np.ones(3)}),
        (ValueError, "y must be -1 or \\+1, got 0", {"y": np.array([1.0, 0.0, 1.0, -1.0])}),
        (ValueError, "y must be -1 or \\+1, got 2", {"y": [2, 1, 1, 1]}),
        (TypeError, "y must be real", {"y": np.ones(4, complex)}),
        (ValueError, "batch axes must broadcast", {"X": np.ones((3, 4, 2)), "y": np.ones((2, 4))}),
        (ValueError, "tol must be finite and > 0", {"tol": 0.0}),
        (ValueError, "tol must be finite", {"tol": np.nan}),
        (TypeError, "tol must be a real number", {"tol": "small"}),
        (ValueError, "max_iter must be", {"max_iter": 0}),
        (TypeError, "max_iter must be an integer", {"max_iter": 10.0}),
        (ValueError, "n_threads must be", {"n_threads": 0}),
    ],
)
def test_bad_arguments(backend, error, message, options):
    arguments = {"X": np.ones((4, 2)), "y": np.ones(4), "backend": backend} | options
    X, y = arguments.pop("X"), arguments.pop("y")
    with pytest.raises(error, match=f"^{message}") as caught:
        genkern.max_margin(X, y, **arguments)
    assert "\n" not in str(caught.value)


def test_unknown_backend():
    with pytest.raises(ValueError, match=r"^backend must be None or one of"):
        genkern.max_margin(np.eye(2), np.ones(2), backend="gpu")
    with pytest.raises(genkern.errors.BackendUnavailable):
        genkern.max_margin(np.eye(2), np.ones(2), backend="cupy")
