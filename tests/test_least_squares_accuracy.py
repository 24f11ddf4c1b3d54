"""Accuracy of least squares: backward error, null space, rank, reference data sets, ridge, closed forms of paths."""

import functools
import math

import mpmath
import nist
import numpy as np
import pytest
from tolerances import (
    FILTER,
    LSTSQ_BACKWARD,
    LSTSQ_FORWARD,
    LSTSQ_NULL_SPACE,
    NIST_DIGITS,
    RESIDUAL_NORM,
    SINGULAR_VALUES,
    unit,
)

import genkern

pytestmark = pytest.mark.usefixtures("small_emulated_gpu")
DTYPES = [np.float64, np.float32]


def with_spectrum(s, n, d, rng):
    r = len(s)
    U, V = (np.linalg.qr(rng.standard_normal((size, r)))[0] for size in (n, d))
    return (U * s) @ V.T


def hilbert_like(n, d):
    return 1 / (1 + np.arange(n)[:, None] + np.arange(d))


def full_rank_problems(dtype):
    """Name -> X; condition numbers stay well below 1 / (eps max(n, d))."""
    rng = np.random.default_rng(3)
    worst = 0.01 / unit(dtype, 64)
    found = {}
    for n, d in [(1, 1), (1, 9), (9, 1), (7, 7), (12, 11), (11, 12), (30, 12), (12, 30), (64, 64), (64, 40), (40, 64)]:
        r = min(n, d)
        found[f"random {n} x {d}"] = rng.standard_normal((n, d))
        found[f"graded singular values {n} x {d}"] = with_spectrum(np.geomspace(1, 1 / worst, r), n, d, rng)
        found[f"one small singular value {n} x {d}"] = with_spectrum(
            np.r_[np.ones(r - 1), 1 / worst if r > 1 else 1], n, d, rng
        )
        found[f"graded rows {n} x {d}"] = np.geomspace(1, 1 / math.sqrt(worst), n)[:, None] * rng.standard_normal(
            (n, d)
        )
        found[f"graded columns {n} x {d}"] = rng.standard_normal((n, d)) * np.geomspace(1, 1 / math.sqrt(worst), d)
    for n, d in [(4, 4), (9, 4), (4, 9)]:
        if np.linalg.cond(hilbert_like(n, d)) < worst:
            found[f"Hilbert-like {n} x {d}"] = hilbert_like(n, d)
    return {name: X.astype(dtype) for name, X in found.items()}


def deficient_problems(dtype):
    rng = np.random.default_rng(4)
    found = {"zero": np.zeros((5, 4)), "one column": np.outer(np.ones(8), np.arange(5.0))}
    for n, d, r in [(9, 9, 5), (30, 12, 7), (12, 30, 7), (64, 64, 63), (64, 40, 20), (40, 64, 39)]:
        found[f"rank {r} {n} x {d}"] = rng.standard_normal((n, r)) @ rng.standard_normal((r, d))
        X = rng.standard_normal((n, d))
        X[:, r:] = 0
        found[f"dead columns {n} x {d}"] = X
        X = rng.standard_normal((n, d))
        X[r:] = X[: n - r] if n - r <= r else X[:1]
        found[f"repeated rows {n} x {d}"] = X
    for n, d in [(12, 12), (40, 12), (12, 40)]:
        found[f"Hilbert-like {n} x {d}"] = hilbert_like(n, d)
    return {name: X.astype(dtype) for name, X in found.items()}


def backward_error_least_squares(X, y, w):
    """Estimate of the smallest ||E||_F for which w minimises ||(X + E) w - y||, any X.

    The bound of Walden, Karlson and Sun (1995) is within a factor of about 2 of
    ``||(X^T X + t^2 I)^(-1/2) X^T r|| / ||w||``, ``r = y - X w``, ``t = ||r|| / ||w||`` (Gu 1999; Grcar, Saunders and
    Su 2007). The small vector X^T r is formed in extended precision.
    """
    X, y, w = (np.asarray(array, np.longdouble) for array in (X, y, w))
    r = y - X @ w
    size = np.linalg.norm(w)
    if size == 0:
        return 0.0 if np.linalg.norm(X.T @ r) == 0 else math.inf
    t = float(np.linalg.norm(r) / size)
    _, s, Vt = np.linalg.svd(X.astype(float))
    s = np.pad(s, (0, Vt.shape[0] - s.size))
    weights = np.hypot(s, t)
    terms = np.abs(Vt @ (X.T @ r).astype(float))
    # Where the weight is 0, so is the term up to rounding: an unobservable direction.
    return float(np.linalg.norm(terms[weights > 0] / weights[weights > 0])) / float(size)


def backward_error_minimum_norm(X, y, w):
    """Smallest ||E||_F for which w is the minimum-norm solution of (X + E) w = y, X (n, d) of full rank n <= d.

    ``sqrt(||r||^2 / ||w||^2 + s_n(X (I - w w^+))^2)`` (Sun and Sun 1997; Higham, Accuracy and Stability, 21.1).
    """
    X, y, w = (np.asarray(array, np.longdouble) for array in (X, y, w))
    size = np.linalg.norm(w)
    if size == 0:
        return 0.0 if np.linalg.norm(y) == 0 else math.inf
    r = y - X @ w
    u = w / size
    projected = X - np.outer(X @ u, u)
    smallest = np.linalg.svd(projected.astype(float), compute_uv=False)[-1]
    return math.hypot(float(np.linalg.norm(r) / size), smallest)


@pytest.mark.parametrize("dtype", DTYPES)
def test_backward_error_full_rank(backend, dtype):
    rng = np.random.default_rng(5)
    for name, X in full_rank_problems(dtype).items():
        n, d = X.shape
        for kind in ("generic", "consistent", "small residual"):
            y = rng.standard_normal(n) if kind == "generic" else X @ rng.standard_normal(d)
            if kind == "small residual":
                y = y + 1e-4 * rng.standard_normal(n)
            y = y.astype(dtype)
            result = genkern.lstsq(X, y, backend=backend)
            assert result.rank == min(n, d), name
            error = backward_error_least_squares(X, y, result.coef)
            if n <= d:
                error = max(error, backward_error_minimum_norm(X, y, result.coef))
            scale = np.linalg.norm(X.astype(float), 2)
            assert error <= LSTSQ_BACKWARD * unit(dtype, n, d) * scale, (name, kind, error / scale / unit(dtype, n, d))


@pytest.mark.parametrize("dtype", DTYPES)
def test_rank_deficient(backend, dtype):
    rng = np.random.default_rng(6)
    for name, X in deficient_problems(dtype).items():
        n, d = X.shape
        y = rng.standard_normal(n).astype(dtype)
        result = genkern.lstsq(X, y, backend=backend)
        U, s, Vt = np.linalg.svd(X.astype(float))
        rank = np.count_nonzero(s > unit(dtype, n, d) * s[0])
        if not name.startswith("Hilbert"):  # whose spectrum crosses the cutoff without a gap
            assert result.rank == rank == np.linalg.lstsq(X, y, rcond=unit(dtype, n, d))[2], name
        rank = int(result.rank)
        scale = s[0]
        error = backward_error_least_squares(X, y, result.coef)
        assert error <= LSTSQ_BACKWARD * unit(dtype, n, d) * scale, (name, error / max(scale, 1e-300))
        if name.startswith("Hilbert") or rank == 0:
            continue
        outside = np.linalg.norm(Vt[rank:] @ result.coef.astype(float))
        allowed = LSTSQ_NULL_SPACE * unit(dtype, n, d) * s[0] / s[rank - 1]
        assert outside <= allowed * np.linalg.norm(result.coef.astype(float)), (name, outside)
        expected = Vt[:rank].T @ ((U[:, :rank].T @ y) / s[:rank])
        spread = LSTSQ_FORWARD * unit(dtype, n, d) * (s[0] / s[rank - 1]) ** 2
        np.testing.assert_allclose(result.coef, expected, rtol=0, atol=spread * np.abs(expected).max(), err_msg=name)


@pytest.mark.parametrize("dtype", DTYPES)
def test_residual_norm(backend, dtype):
    rng = np.random.default_rng(7)
    for n, d in [(5, 5), (9, 4), (4, 9), (40, 33), (33, 40)]:
        X, y = rng.standard_normal((n, d)).astype(dtype), rng.standard_normal((n, 2)).astype(dtype)
        for ridge in (0.0, 0.7):
            result = genkern.lstsq(X, y, ridge=ridge, backend=backend)
            w = result.coef.astype(np.longdouble)
            expected = np.linalg.norm(X @ w - y, axis=0)
            scale = np.linalg.norm(X) * np.linalg.norm(w) + np.linalg.norm(y)
            np.testing.assert_allclose(
                result.residual_norm, expected.astype(float), rtol=0, atol=RESIDUAL_NORM * unit(dtype, n, d) * scale
            )
            if n <= d and ridge == 0:
                assert np.all(result.residual_norm == 0)


@pytest.mark.parametrize("name", nist.datasets())
def test_certified_coefficients(backend, name):
    X, y, certified = nist.datasets()[name]
    # Filip's condition number is beyond the default cutoff (it loses a column there, in NumPy as well).
    rcond = 0.0 if name == "Filip" else None
    result = genkern.lstsq(X, y, rcond=rcond, backend=backend)
    peer = np.linalg.lstsq(X, y, rcond=rcond)
    assert result.rank == peer[2]
    digits = nist.correct_digits(result.coef, certified)
    assert digits >= nist.correct_digits(peer[0], certified) - NIST_DIGITS, digits


@pytest.mark.parametrize("name", nist.datasets())
def test_the_data_sets_themselves(name):
    X, y, certified = nist.datasets()[name]
    with mpmath.workdps(60):
        # Decimal data, as certified, not their rounded binary values.
        A, b = (mpmath.matrix([[mpmath.mpf(repr(float(v))) for v in row] for row in M]) for M in (X, y[:, None]))
        if name == "Filip":
            A = mpmath.matrix([[A[i, 1] ** j for j in range(A.cols)] for i in range(A.rows)])
        exact = mpmath.lu_solve(A.T * A, A.T * b)
        assert nist.correct_digits(np.array([float(v) for v in exact]), certified) > 13


@pytest.mark.parametrize("dtype", DTYPES)
def test_cutoff_as_in_numpy(backend, dtype):
    rng = np.random.default_rng(8)
    s = np.array([1, 0.5, 1e-1, 1e-2, 1e-3, 1e-4])
    for n, d in [(6, 6), (10, 6), (6, 10)]:
        X, y = with_spectrum(s, n, d, rng).astype(dtype), rng.standard_normal(n).astype(dtype)
        for rcond in (0.0, 3e-4, 5e-3, 0.3, 0.9, None):
            result = genkern.lstsq(X, y, rcond=rcond, backend=backend)
            # NumPy solves float32 in float64 and with its cutoff, so the cutoff has to be said.
            expected = np.linalg.lstsq(X, y, rcond=unit(dtype, n, d) if rcond is None else rcond)
            assert result.rank == expected[2]
            atol = LSTSQ_FORWARD * unit(dtype, n, d) * 1e8 * np.abs(expected[0]).max()
            np.testing.assert_allclose(result.coef, expected[0], rtol=0, atol=atol)
            # With a ridge the same modes are kept.
            assert genkern.lstsq(X, y, ridge=0.1, rcond=rcond, backend=backend).rank == expected[2]


def exact_ridge(X, y, ridge):
    with mpmath.workdps(50):
        A, b = mpmath.matrix(X.astype(float).tolist()), mpmath.matrix(y.astype(float)[:, None].tolist())
        n, d = X.shape
        if n < d:  # the same solution from the smaller system
            w = A.T * mpmath.lu_solve(A * A.T + mpmath.mpf(float(ridge)) * mpmath.eye(n), b)
        else:
            w = mpmath.lu_solve(A.T * A + mpmath.mpf(float(ridge)) * mpmath.eye(d), A.T * b)
        return np.array([float(v) for v in w])


@pytest.mark.parametrize("dtype", DTYPES)
def test_ridge_against_exact_arithmetic(backend, dtype):
    rng = np.random.default_rng(9)
    for n, d in [(8, 5), (5, 8), (6, 6)]:
        X = with_spectrum(np.geomspace(1, 1e-2, min(n, d)), n, d, rng).astype(dtype)
        y = rng.standard_normal(n).astype(dtype)
        ridges = [1e-12, 1e-6, 1e-3, 1.0, 10.0, 1e2, 1e6, 1e30]
        path = genkern.ridge_path(X, y, ridges, backend=backend)
        for ridge, from_path in zip(ridges, path, strict=True):
            expected = exact_ridge(X, y, ridge)
            condition = math.sqrt((1 + ridge) / (1e-4 + ridge))  # of [X; sqrt(ridge) I]
            atol = LSTSQ_FORWARD * unit(dtype, n, d) * condition * np.abs(expected).max()
            np.testing.assert_allclose(
                genkern.lstsq(X, y, ridge=ridge, backend=backend).coef, expected, rtol=0, atol=atol
            )
            np.testing.assert_allclose(from_path, expected, rtol=0, atol=atol)


@pytest.mark.parametrize("dtype", DTYPES)
def test_ridge_to_zero_is_continuous_on_deficient_data(backend, dtype):
    rng = np.random.default_rng(10)
    X = (rng.standard_normal((9, 4)) @ rng.standard_normal((4, 7))).astype(dtype)
    y = rng.standard_normal(9).astype(dtype)
    limit = genkern.lstsq(X, y, backend=backend).coef
    for ridge in (1e-6, 1e-10, 1e-20, 1e-300):
        coef = genkern.lstsq(X, y, ridge=ridge, backend=backend).coef
        near = 10 * ridge + 1e3 * unit(dtype, 9, 7)
        np.testing.assert_allclose(coef, limit, rtol=0, atol=near * np.abs(limit).max())
        np.testing.assert_allclose(
            genkern.ridge_path(X, y, ridge, backend=backend), limit, rtol=0, atol=near * np.abs(limit).max()
        )


@pytest.mark.parametrize("dtype", DTYPES)
def test_singular_values(backend, dtype):
    rng = np.random.default_rng(11)
    for n, d in [(1, 1), (7, 5), (5, 7), (33, 33), (64, 10)]:
        s = np.geomspace(1, 1e-6, min(n, d))
        X = with_spectrum(s, n, d, rng).astype(dtype)
        expected = np.linalg.svd(X.astype(float), compute_uv=False)
        found = genkern.singular_values(X, backend=backend)
        np.testing.assert_allclose(found, expected, rtol=0, atol=SINGULAR_VALUES * unit(dtype, n, d))


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_scale(backend, dtype):
    rng = np.random.default_rng(12)
    big = 1e300 if dtype == np.float64 else 1e36
    for n, d in [(6, 4), (4, 6), (5, 5), (40, 30)]:
        X, y = rng.standard_normal((n, d)), rng.standard_normal(n)
        for x_scale in (1.0, big, 1 / big):
            for y_scale in (1.0, big, 1 / big):
                A, b = (X * x_scale).astype(dtype), (y * y_scale).astype(dtype)
                expected = genkern.lstsq(X, y, backend="reference").coef * (y_scale / x_scale)
                result = genkern.lstsq(A, b, backend=backend)
                path = genkern.ridge_path(A, b, 0.0, backend=backend)
                with np.errstate(over="ignore", under="ignore"):
                    expected = expected.astype(dtype)
                if np.isfinite(expected).all() and np.abs(expected).max() > 1e3 * np.finfo(dtype).tiny:
                    s = np.linalg.svd(X, compute_uv=False)
                    atol = LSTSQ_FORWARD * unit(dtype, n, d) * (s[0] / s[-1]) ** 2 * np.abs(expected).max()
                    np.testing.assert_allclose(result.coef, expected, rtol=0, atol=atol)
                    np.testing.assert_allclose(path, expected, rtol=0, atol=atol)
                assert result.rank == min(n, d)
                assert result.status == 0


@functools.cache
def exact_filter(a, beta, k):
    """1 - r_k of heavy ball by matrix powers; called within 120 digits."""
    a, beta = mpmath.mpf(a), mpmath.mpf(beta)
    power, base = mpmath.eye(3), mpmath.matrix([[1 - a, beta, a], [-a, beta, a], [0, 0, 1]])
    k = int(k)
    while k:
        if k & 1:
            power = power * base
        base = base * base
        k >>= 1
    return power[0, 2]


COUNTS = [0, 1, 2, 3, 5, 10, 31, 1000, 12345, 1e6 + 1, 1e9, 1e12 + 1, 1e15, 2.0**53 - 1]


@pytest.mark.parametrize("beta", [0.0, 1e-20, 0.1, 0.5, 0.9, 0.99, 1 - 1e-10])
def test_closed_forms_against_exact_arithmetic(backend, beta):
    # X = [[1]], so the contraction a is the step size itself, to the last bit.
    root = math.sqrt(beta)
    low, high = ((1 - beta) / (1 + root)) ** 2, (1 + root) ** 2  # double roots
    sizes = {1e-300, 1e-18, 1e-9, 1e-4, 0.1, 0.5, 1 - 2**-53, 1.0, 1 + 2**-52, 1 + beta, 1.9, 2 * (1 + beta)}
    sizes |= {edge * (1 + sign * e) for edge in (low, high) for e in (0, 1e-15, 1e-8, 1e-3) for sign in (1, -1)}
    sizes = sorted(a for a in sizes if 0 < a <= 2 * (1 + beta))
    found = genkern.gd_path([[1.0]], [1.0], COUNTS, step_size=sizes, momentum=beta, backend=backend)[..., 0]
    eps = mpmath.mpf(2) ** -52
    with mpmath.workdps(120):
        for a, row in zip(sizes, found, strict=True):
            for k, value in zip(COUNTS, row, strict=True):
                exact = exact_filter(a, beta, k)
                by_size = abs(exact_filter(mpmath.mpf(a) * (1 + eps), beta, k) - exact)
                by_momentum = abs(exact_filter(a, mpmath.mpf(beta) + eps * min(beta, 1 - beta), k) - exact)
                allowed = FILTER * (by_size + by_momentum) + eps * max(abs(exact), mpmath.mpf(exact > 0.1))
                assert abs(mpmath.mpf(float(value)) - exact) <= allowed, (a, k, float(exact), value)


def test_nesterov_against_legendre_polynomials(backend):
    # After t steps the residual is c^(t/2) (2/a) (P_t(sqrt c) - P_(t+2)(sqrt c)) / (2 t + 3), c = 1 - a.
    sizes, counts = [1e-12, 1e-6, 1e-3, 0.1, 0.5, 0.99], [0, 1, 2, 3, 10, 100, 1000, 5000]
    found = genkern.gd_path([[1.0]], [1.0], counts, step_size=sizes, nesterov=True, backend=backend)[..., 0]
    with mpmath.workdps(60):
        for a, row in zip(sizes, found, strict=True):
            x = mpmath.sqrt(1 - mpmath.mpf(a))
            P = [mpmath.mpf(1), x]
            for j in range(1, max(counts) + 2):
                P.append(((2 * j + 1) * x * P[j] - j * P[j - 1]) / (j + 1))
            for t, value in zip(counts, row, strict=True):
                if t == 0:
                    assert value == 0
                    continue
                exact = 1 - x**t * 2 / mpmath.mpf(a) * (P[t] - P[t + 2]) / (2 * t + 3)
                assert abs(value - exact) <= FILTER * (t + 4) * 2.0**-52 * exact, (a, t, value, exact)
