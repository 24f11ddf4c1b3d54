"""Nested curves on a GPU, what the conformance tests cannot see: what stays there, what it takes, who computes."""

import re
import weakref

import numpy as np
import pytest
from gpu import array
from gpu.memory import LOG, Memory
from tolerances import CURVE_RELATIVE

import genkern
from genkern import _registry

N, M, P = 30, 97, 90


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


# The algebra of the engine on a GPU.


@pytest.mark.parametrize("transposed", [False, True])
def test_triangles_stay_where_they_are(emulated, monkeypatch, transposed):
    """Part of a larger matrix in rows or in columns, right sides of any strides: no memory but for the result."""
    from genkern._cupy.curves import Device

    device, rng = Device(), np.random.default_rng(0)
    whole = np.tril(rng.standard_normal((9, 9)) + 5 * np.eye(9))
    dirty = whole + np.triu(np.full((9, 9), np.nan), 1)
    for L, triangle in (
        (emulated.asarray(dirty)[3:, 3:], whole[3:, 3:]),
        (emulated.asarray(dirty.T.copy()).T[2:8, 2:8], whole[2:8, 2:8]),
        (emulated.asarray(dirty)[4:5, 4:5], whole[4:5, 4:5]),
    ):
        r = len(triangle)
        inverse = np.linalg.inv(triangle.T if transposed else triangle)
        B, b = emulated.asarray(rng.standard_normal((2 * r, 8))), emulated.asarray(rng.standard_normal(r))
        for sides in (B[:r, :4], B[:r, :4].T.copy().T, B[:r, ::-2], B[:r].T[:4].T, b):
            made = []
            monkeypatch.setattr(array, "Memory", lambda nbytes, made=made: made.append(nbytes) or Memory(nbytes))
            found = device.solve(L, sides, transposed=transposed)
            monkeypatch.setattr(array, "Memory", Memory)
            assert found is not sides and made == [sides.nbytes]
            np.testing.assert_allclose(found.get(), inverse @ sides.get(), rtol=1e-12, atol=1e-14)
    square, x = emulated.asarray(whole)[3:, 3:], emulated.asarray(rng.standard_normal(12)[::2])
    expected = (whole[3:, 3:].T if transposed else whole[3:, 3:]) @ x.get()
    np.testing.assert_allclose(device.multiply(square, x, transposed=transposed).get(), expected, rtol=1e-12)
    backwards = emulated.asarray(np.tril(whole)[::-1, ::-1].copy())[::-1, ::-1]  # no order of BLAS's: copied
    found = device.solve(backwards, emulated.ones(9), transposed=transposed)
    np.testing.assert_allclose((whole.T if transposed else whole) @ found.get(), np.ones(9), rtol=1e-12)


def test_a_cholesky_factor_that_fails_decides_nothing(emulated, monkeypatch):
    """Columns that repeat others of their block: half a factor, no exception, and the results of the CPU."""
    failed, cholesky = [], emulated.linalg.cholesky

    def told(gram):
        L = cholesky(gram)
        if np.isfinite(gram.get()).all() and not np.allclose((L @ L.T).get(), gram.get(), atol=1e-6):
            assert np.isfinite(L.get()).all()
            failed.append(gram.shape)
        return L

    monkeypatch.setattr(emulated.linalg, "cholesky", told)
    rng = np.random.default_rng(3)
    F, F_test = rng.standard_normal((40, 60)), rng.standard_normal((9, 60))
    for a, b in ((4, 2), (5, 3), (16, 11)):
        F[:, a], F_test[:, a] = -2 * F[:, b], -2 * F_test[:, b]
    y, y_test = rng.standard_normal(40), rng.standard_normal(9)
    found = genkern.width_curve(*map(emulated.asarray, (F, y, F_test, y_test)))
    expected = genkern.width_curve(F, y, F_test, y_test, backend="reference")
    assert failed
    np.testing.assert_allclose(found.test_risk.get(), expected.test_risk, rtol=1e-8)
    np.testing.assert_allclose(found.coef_norm.get(), expected.coef_norm, rtol=1e-8)


@pytest.mark.parametrize("where", ["cupy", "numba"])
@pytest.mark.parametrize("ridge", [0.0, 1e-3])
def test_an_svd_that_does_not_converge_is_told(emulated, monkeypatch, where, ridge):
    """NaN at the width that it was to decide, and the other widths as they are."""
    from gpu import numerics

    rng = np.random.default_rng(5)
    F, F_test = rng.standard_normal((12, 20)), rng.standard_normal((6, 20))
    y, y_test = rng.standard_normal(12), rng.standard_normal(6)
    arrays = [emulated.asarray(a) if where == "cupy" else a for a in (F, y, F_test, y_test)]
    options = {"widths": [3, 5, 6, 7, 15], "method": "svd", "ridge": ridge, "backend": where}
    library = emulated if where == "cupy" else np
    expected, svd, calls = genkern.width_curve(*arrays, **options), library.linalg.svd, []

    def stuck(A, *args, **more):
        calls.append(A.shape)
        if len(calls) != (5 if ridge == 0 else 2):  # of every width, or of the listed ones: width 5 in both cases
            return svd(A, *args, **more)
        if where == "cupy":
            if numerics.SETTINGS.linalg == "raise":
                raise np.linalg.LinAlgError("devInfo = 1")
        else:
            raise np.linalg.LinAlgError("SVD did not converge")
        return svd(A + 1.0, *args, **more)  # finite, and wrong

    monkeypatch.setattr(library.linalg, "svd", staticmethod(stuck) if where == "cupy" else stuck)
    found = genkern.width_curve(*arrays, **options)
    for name in ("test_risk", "train_risk", "coef_norm", "error"):
        values, right = (np.asarray(emulated.asnumpy(getattr(curve, name))) for curve in (found, expected))
        assert np.isnan(values[1]), name
        np.testing.assert_allclose(np.delete(values, 1), np.delete(right, 1), rtol=1e-9, atol=1e-25, err_msg=name)


@pytest.mark.parametrize("ridge", [0.0, 0.1])
@pytest.mark.parametrize("method, n, last, most", [
    ("auto", 64, (200, 400), 3), ("orthogonal", 64, (200, 400), 4), ("auto", 256, (64, 192), 5),
])  # fmt: skip
def test_the_host_waits_a_few_times_a_block(emulated, monkeypatch, method, n, last, most, ridge):
    """It looks at the columns, the size of X, the coefficients, and (orthogonal) the condition; where directions are
    new at the columns, their lengths, the factor, the condition and the coefficients; with a ridge at three more."""
    from genkern._curve_engine import Train

    plan, blocks, waits = Train.plan, [], []
    monkeypatch.setattr(Train, "plan", lambda *args: blocks.append(None) or plan(*args))
    F, y, F_test, y_test = data(emulated, n=n, d=400, k=1)
    for widths in last:
        options = {"widths": [widths], "method": method, "ridge": ridge}
        waits.append((len(logged(lambda o=options: genkern.width_curve(F, y, F_test, y_test, **o))[2]), len(blocks)))
    most += 3 if ridge and n == 256 else 0  # two factors, of F and of F with the rows of the ridge
    (early, before), (late, after) = waits
    assert after - 2 * before >= 2 and late - early <= most * (after - 2 * before), waits
