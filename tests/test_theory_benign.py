"""Effective ranks and benign overfitting: published numbers, identities, the bound against the exact variance."""

import math
import time

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mpmath import mpf
from tolerances import EFFECTIVE_RANKS

import genkern
from genkern import theory

K = np.arange(1.0, 20001.0)
LOGARITHMIC = 1.0 / (K * np.log((K + 1.0) * math.e / 2.0) ** 2)
SQUARES = K**-2.0
FLOOR = np.exp(-K[:10000]) + 0.01
# Spectrum, n, k*, R_k* to the digits printed, then the variance where it is known.
CASES = [
    (LOGARITHMIC, 100, 40, "457.158", "0.40982"),
    (LOGARITHMIC, 400, 156, "1703.774", "0.41031"),
    (FLOOR, 400, 1, "9792.482", "0.04294"),
    (SQUARES, 100, 99, "295.547", None),
]

spectra = st.lists(st.floats(1e-300, 1e300), min_size=1, max_size=30)


@pytest.mark.parametrize("case", range(len(CASES)))
def test_reference_values(case):
    s, n, k, rank, variance = CASES[case]
    assert theory.critical_index(s, n) == k
    r, R = theory.effective_ranks(s)
    assert f"{R[k]:.3f}" == rank and r[k] >= n > r[k - 1]
    report = theory.benign_overfitting(s, n)
    assert report.critical_index == k
    assert np.allclose(report.terms, [r[0] / n, k / n, n / R[k]], rtol=1e-14)
    assert np.isclose(report.bound, k / n + n / R[k], rtol=1e-14)
    assert report.variance == theory.ridge_risk(len(s) / n, eigenvalues=s).variance
    assert 0.5 * report.bound <= report.variance <= report.bound
    if variance is not None:
        assert f"{report.variance:.5f}" == variance


def test_other_digits_printed():
    assert f"{theory.effective_ranks(LOGARITHMIC)[0][0]:.4f}" == "1.8640"
    assert f"{theory.benign_overfitting(FLOOR, 400).bound:.5f}" == "0.04335"


@settings(max_examples=200, deadline=None)
@given(values=spectra)
def test_ranks_are_ordered(values):
    r, R = theory.effective_ranks(values)
    assert np.all(r >= 1.0) and np.all(r <= R) and np.all(r * r >= R)
    assert np.all(r <= len(values) - np.arange(len(values)) + 1e-12)
    assert r[-1] == R[-1] == 1.0


@settings(max_examples=100, deadline=None)
@given(values=spectra, seed=st.integers(0, 2**32 - 1))
def test_ranks_to_high_precision_in_any_order(values, seed):
    shuffled = np.random.default_rng(seed).permutation(values)
    r, R = theory.effective_ranks(shuffled)
    with mpmath.workdps(50):
        s = [mpf(value) for value in sorted(values, reverse=True)]
        exact_r = [float(sum(s[k:]) / s[k]) for k in range(len(s))]
        exact_R = [float(sum(s[k:]) ** 2 / sum(t * t for t in s[k:])) for k in range(len(s))]
    np.testing.assert_allclose(r, exact_r, rtol=EFFECTIVE_RANKS * len(s))
    np.testing.assert_allclose(R, exact_R, rtol=EFFECTIVE_RANKS * len(s))


def test_ranks_of_flat_and_empty_tails():
    r, R = theory.effective_ranks(np.full(5, 3.0))
    assert r.tolist() == R.tolist() == [5.0, 4.0, 3.0, 2.0, 1.0]
    r, R = theory.effective_ranks([0.0, 2.0, 0.0, 2.0])
    assert r.tolist() == R.tolist() == [2.0, 1.0, 0.0, 0.0]
    assert np.all(theory.effective_ranks(np.zeros(3))[1] == 0.0)
    r, R = theory.effective_ranks([5e-324, 1e308, 0.0, 1.0, 5e-324, 1e-308])  # every number of float64
    np.testing.assert_allclose([r, R], [[1.0, 1.0, 1.0, 2.0, 1.0, 0.0]] * 2, rtol=1e-14)


@settings(max_examples=200, deadline=None)
@given(values=spectra, n=st.integers(1, 40), b=st.floats(0.1, 3.0))
def test_critical_index_is_the_first(values, n, b):
    r, _ = theory.effective_ranks(values)
    expected = next((k for k, rank in enumerate(r) if rank >= b * n), math.inf)
    assert theory.critical_index(values, n, b=b) == expected


def test_no_critical_index():
    report = theory.benign_overfitting(np.ones(50), 100)
    assert report.critical_index == np.inf and report.bound == np.inf and not report.benign
    assert report.terms.tolist() == [0.5, np.inf, np.inf] and report.failing.tolist() == [True, True, True]
    assert np.isclose(report.variance, 1.0, rtol=1e-14)  # fewer features than samples: no interpolation
    assert theory.benign_overfitting(np.ones(100), 100).variance == np.inf


def benign_family(n):
    """Theorem 6: eigenvalues exp(-k) + eps for k <= p, with p / n = n^(1/2) and eps p / n = n^(-1/2)."""
    k = np.arange(1.0, 164317.0)
    p = np.round(n**1.5)
    return np.where(k <= p, np.exp(-k) + n**0.5 / p, 0.0)


def test_benign_sequence():
    n = np.array([300, 1000, 3000])
    report = theory.benign_overfitting(np.stack([benign_family(float(m)) for m in n]), n)
    assert report.benign and not report.failing.any()
    assert report.terms.shape == (3, 3) and np.all(np.diff(report.terms, axis=0) < 0)
    assert np.all(np.diff(report.variance) < 0) and report.variance[-1] < 0.03
    assert np.all((0.5 * report.bound <= report.variance) & (report.variance <= report.bound))


@pytest.mark.parametrize(
    ("eigenvalues", "failing"),
    [
        (SQUARES, [False, True, True]),  # too steep: every direction is fitted
        (LOGARITHMIC, [False, True, True]),  # benign only in the limit
        (np.full(20000, 1.0), [True, False, True]),  # no direction stands out: the signal is lost
        (np.exp(-K[:10000]) + 1e-6, [False, False, True]),
    ],
)
def test_sequences_that_are_not_benign(eigenvalues, failing):
    n = np.array([100, 400, 1600])
    report = theory.benign_overfitting(eigenvalues, n)
    assert report.failing.tolist() == failing and not report.benign
    assert theory.BENIGN_TERMS == ("r_0 / n", "k* / n", "n / R_k*")
    # The interpolator of n of p equal directions has n / (p - n), which is above n / p.
    assert np.all((0.45 * report.bound <= report.variance) & (report.variance <= 1.25 * report.bound))


def test_measured_variance():
    # Variance of the interpolator on pure noise: tr((X X^T)^-1 X Sigma X^T (X X^T)^-1), by genkern's own solver.
    n, p = 60, 1500
    s = np.exp(-np.arange(1.0, p + 1.0)) + 0.01
    report = theory.benign_overfitting(s, n)
    draws = []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        X = rng.standard_normal((n, p)) * np.sqrt(s)
        coef = genkern.lstsq(X, np.eye(n)).coef
        draws.append(np.sum(s[:, None] * coef**2))
    error = np.std(draws) / math.sqrt(len(draws))
    assert error < 0.02 * report.variance
    assert abs(np.mean(draws) - report.variance) < 4 * error + 2 / n * report.variance


def test_arguments_broadcast():
    stack = np.stack([LOGARITHMIC[:3000], SQUARES[:3000]])
    n = np.array([50, 100, 200])
    index = theory.critical_index(stack[:, None], n, b=np.array([[1.0], [2.0]]))
    assert index.shape == (2, 3)
    for i, b in enumerate((1.0, 2.0)):
        assert index[i].tolist() == [theory.critical_index(stack[i], m, b=b) for m in (50, 100, 200)]
    report = theory.benign_overfitting(stack[:, None], n)
    assert report.terms.shape == (2, 3, 3) and report.failing.shape == (2, 3) and report.benign.shape == (2,)
    for i in range(2):
        one = theory.benign_overfitting(stack[i], n)
        assert np.array_equal(one.terms, report.terms[i]) and np.array_equal(one.variance, report.variance[i])
        assert np.array_equal(one.failing, report.failing[i])
    single = theory.benign_overfitting(SQUARES, 100)
    assert single.terms.shape == (3,) and single.failing.shape == (3,) and single.benign.shape == ()
    r, R = theory.effective_ranks(stack)
    assert r.shape == R.shape == (2, 3000) and np.array_equal(r[1], theory.effective_ranks(stack[1])[0])


def test_other_libraries():
    torch = pytest.importorskip("torch")
    s = torch.from_numpy(LOGARITHMIC)
    report = theory.benign_overfitting(s, [100, 400])
    assert isinstance(report.terms, torch.Tensor) and report.failing.dtype == torch.bool
    assert report.critical_index.tolist() == [40.0, 156.0] and not bool(report.benign)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: theory.effective_ranks([1.0, -1.0]), ValueError, "eigenvalues must be finite and >= 0, got -1.0"),
        (lambda: theory.effective_ranks([np.inf]), ValueError, "eigenvalues must be finite and >= 0, got inf"),
        (lambda: theory.effective_ranks(1.0), ValueError, r"eigenvalues must have shape \(..., p\), got \(\)"),
        (lambda: theory.effective_ranks([]), ValueError, "eigenvalues must have at least one entry"),
        (lambda: theory.critical_index([1.0], 0), ValueError, "n must be >= 1, got 0.0"),
        (lambda: theory.critical_index([1.0], 1.5), ValueError, "n must be whole numbers"),
        (lambda: theory.critical_index([1.0], 5, b=0.0), ValueError, "b must be finite and > 0, got 0.0"),
        (lambda: theory.benign_overfitting(np.zeros(3), 2), ValueError, "eigenvalues must not all be 0"),
        (lambda: theory.benign_overfitting(np.ones((2, 9)), np.ones(3)), ValueError, "batch axes must broadcast"),
        (lambda: theory.effective_ranks([1j]), TypeError, "eigenvalues must be real"),
    ],
)
def test_bad_arguments(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_many_sample_sizes_take_no_time():
    start = time.perf_counter()
    theory.critical_index(LOGARITHMIC, np.arange(1, 2001))
    theory.benign_overfitting(LOGARITHMIC[:2000], np.arange(1, 101))
    assert time.perf_counter() - start < 1.0
