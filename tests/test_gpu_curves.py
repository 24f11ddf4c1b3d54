"""Nested curves on a GPU, what the conformance tests cannot see: what stays there, what it takes, who computes."""

import re
import weakref

import numpy as np
import pytest
from gpu import array, standin
from gpu.memory import LOG, Memory
from tolerances import CURVE_RELATIVE

import genkern
from genkern import _registry

N, M, P = 30, 97, 90


@pytest.fixture
def emulated(cupy):
    """The stand-in and its log; on a real GPU there is no log to look at."""
    if cupy.ndarray is not standin.ndarray:
        pytest.skip("a real GPU keeps no log of launches")
    return cupy


def data(cupy, n=N, m=M, d=P, k=2, dtype=np.float64):
    rng = np.random.default_rng([n, m, d])
    return [cupy.asarray(rng.standard_normal(shape).astype(dtype)) for shape in ((n, d), (n, k), (m, d), (m, k))]


def logged(call):
    """Its result, the launches it makes, and the shapes it copies to and from the host."""
    before = len(LOG.launches), len(LOG.downloads), len(LOG.uploads)
    result = call()
    downloads = [tuple(map(int, re.findall(r"\d+", entry))) for entry in LOG.downloads[before[1] :]]
    return result, LOG.launches[before[0] :], downloads, LOG.uploads[before[2] :]


@pytest.mark.parametrize("method", ["auto", "orthogonal", "svd"])
def test_only_what_decides_goes_to_the_host(emulated, method):
    F, y, F_test, y_test = data(emulated)
    for ridge in (0.0, 0.1):
        options = {"ridge": ridge, "method": method, "classify": True, "noise": emulated.asarray(np.ones((2, N, 2)))}
        curve, _, downloads, uploads = logged(
            lambda options=options: genkern.width_curve(F, y, F_test, y_test, **options)
        )
        assert isinstance(curve.test_risk, emulated.ndarray) and isinstance(curve.error, emulated.ndarray)
        # Flags and norms of the columns of a block, sizes of its coefficients (draws and targets: 4), singular values.
        for shape in downloads:
            assert M not in shape and np.prod(shape, dtype=int) <= 4 * (P + 1), shape
        for shape in uploads:
            assert M not in shape and np.prod(shape, dtype=int) <= 128 * 128, shape


def test_nothing_of_the_cpu_computes_instead(emulated, monkeypatch):
    from genkern._numba import curves, features
    from genkern._reference import curves as reference

    X, y, X_test, y_test = data(emulated, d=8)
    expected = genkern.random_feature_curve(
        *(emulated.asnumpy(value) for value in (X, y, X_test, y_test)), widths=[5, 30, 70], backend="reference"
    )

    def refuse(*args, **options):
        raise AssertionError("a CPU kernel was called")

    modules = [curves, reference]
    if _registry.unavailable("cpp") is None:
        from genkern import _native

        modules.append(_native)
    for module in modules:
        for name in ("width_curve", "sample_curve", "random_feature_curve", "random_features"):
            monkeypatch.setattr(module, name, refuse)
    monkeypatch.setattr(features, "random_features", refuse)
    stream = emulated.cuda.Stream(non_blocking=True)
    with stream:
        found, launches, _, _ = logged(lambda: genkern.random_feature_curve(X, y, X_test, y_test, widths=[5, 30, 70]))
    np.testing.assert_allclose(found.test_risk.get(), expected.test_risk, rtol=1e-9)
    assert launches and all(launch.kernel.startswith("features") for launch in launches)
    assert all(launch.stream is stream for launch in launches)


@pytest.mark.parametrize("ridge", [0.0, 0.5])
def test_memory_does_not_depend_on_the_width(emulated, monkeypatch, ridge):
    """At its peak 2500 features take what 500 take; as one array they would take 2 MB more."""
    alive, peak = [0], [0]

    class Counted(Memory):
        def __init__(self, nbytes):
            super().__init__(nbytes)
            alive[0] += nbytes
            peak[0] = max(peak[0], alive[0])
            weakref.finalize(self, self._free, nbytes)

        @staticmethod
        def _free(nbytes):
            alive[0] -= nbytes

    monkeypatch.setattr(array, "Memory", Counted)
    X, y, X_test, y_test = data(emulated, d=5)
    peaks = []
    for last in (500, 2500):
        start = peak[0] = alive[0]
        genkern.random_feature_curve(X, y, X_test, y_test, widths=np.arange(100, last + 1, 100), ridge=ridge)
        peaks.append(peak[0] - start)
    assert peaks[1] <= peaks[0] + 20_000 and peaks[1] < 2_000_000, peaks


def test_the_engine_of_the_numba_backend(emulated):
    """Blocks of 128 columns; the QR factorization in the place of LAPACK's update; three algorithms in one curve."""
    rng = np.random.default_rng(0)
    n, m, p = 520, 15, 760
    F, F_test = rng.standard_normal((n, p)), rng.standard_normal((m, p))
    F[:, 40], F[:, 41], F_test[:, 40] = 0.0, F[:, 39], np.nan
    y, y_test = F[:, :3] @ np.ones(3), F_test[:, :3] @ np.ones(3)
    widths = [1, 40, 41, 42, 300, 519, 520, 521, 522, 523, 600, 760]
    arrays = [emulated.asarray(value) for value in (F, y, F_test, y_test)]
    for ridge in (0.0, 1e-3):
        found = genkern.width_curve(*arrays, widths=widths, ridge=ridge)
        expected = genkern.width_curve(F, y, F_test, y_test, widths=widths, ridge=ridge, backend="numba")
        np.testing.assert_array_equal(found.method, expected.method)
        bound = np.maximum(CURVE_RELATIVE, 100 * expected.error)
        risk = found.test_risk.get()
        assert np.all(np.abs(risk - expected.test_risk) <= bound * expected.test_risk + 1e-24)
        assert float(found.threshold) == float(expected.threshold)


def test_what_becomes_of_a_curve_on_a_gpu(emulated, tmp_path):
    pytest.importorskip("pandas")
    X, y, X_test, y_test = data(emulated, d=4, k=1)
    curve = genkern.random_feature_curve(X, y, X_test, y_test, widths=[3, 40], seeds=[1, 2, 3])
    risk = curve.test_risk.get()
    assert isinstance(curve.method, np.ndarray) and curve.values.tolist() == [3, 40]
    np.testing.assert_allclose(curve.quantiles(0.5)["test_risk"], np.median(risk, axis=0))
    curve.save(tmp_path / "curve.npz")
    np.testing.assert_array_equal(genkern.RiskCurve.load(tmp_path / "curve.npz").test_risk, risk)
    assert len(curve.to_pandas()) == 6
