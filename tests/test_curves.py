"""Risk curves on every backend: shapes, axes, draws, classes, bad data, bits, arguments, progress, interrupts."""

import signal
import subprocess
import sys
import time

import fresh
import numpy as np
import pytest
from gpu.standin import to_gpu

import genkern

N, M, P = 12, 9, 30


def data(batch=(), k=None, dtype=np.float64, seed=0):
    rng = np.random.default_rng(seed)
    tail = () if k is None else (k,)
    shapes = ((*batch, N, P), (*batch, N, *tail), (*batch, M, P), (*batch, M, *tail))
    return [rng.standard_normal(shape).astype(dtype) for shape in shapes]


def assert_same(found, expected, rtol=1e-9, atol=1e-24):
    for name in ("train_risk", "test_risk", "coef_norm", "test_error", "bias", "variance", "threshold"):
        actual, wanted = getattr(found, name), getattr(expected, name)
        assert (actual is None) == (wanted is None)
        if wanted is not None:
            assert np.shape(actual) == np.shape(wanted)
            np.testing.assert_allclose(actual, wanted, rtol=rtol, atol=atol, equal_nan=True)


def test_axes_and_broadcasting(backend):
    F, y, F_test, y_test = data((2, 3))
    one = genkern.width_curve(F, y, F_test, y_test, backend=backend)
    assert one.test_risk.shape == one.method.shape == (2, 3, P) and one.threshold.shape == (2, 3)
    assert one.axis == "width" and one.values.tolist() == list(range(1, P + 1)) and one.ridges is None
    assert_same(one, genkern.width_curve(F, y, F_test, y_test, backend="reference"))
    several = genkern.width_curve(F, y, F_test, y_test, ridge=[0.5], widths=[3, 20], backend=backend)
    assert several.test_risk.shape == several.error.shape == (2, 3, 1, 2) and several.ridges.tolist() == [0.5]
    targets = genkern.width_curve(F, np.stack([y, -y], -1), F_test, np.stack([y_test, -y_test], -1), backend=backend)
    assert targets.test_risk.shape == (2, 3, P, 2) and targets.method.shape == (2, 3, P)
    np.testing.assert_allclose(targets.test_risk[..., 1], one.test_risk, rtol=1e-9)
    shared = genkern.width_curve(F[:1, :1], y, F_test[:1, :1], y_test, backend=backend)
    np.testing.assert_allclose(shared.test_risk[0, 0], one.test_risk[0, 0], rtol=1e-9)
    single = genkern.width_curve(F[1, 2], y[1, 2], F_test[1, 2], y_test[1, 2], backend=backend)
    assert single.test_risk.shape == (P,) and single.threshold.shape == ()
    np.testing.assert_array_equal(single.test_risk, one.test_risk[1, 2])
    empty = genkern.width_curve(F[:0], y[:0], F_test[:0], y_test[:0], backend=backend)
    assert empty.test_risk.shape == (0, 3, P)
    none = genkern.width_curve(F[0, 0], y[0, 0], F_test[0, 0], y_test[0, 0], widths=[], backend=backend)
    assert none.test_risk.shape == (0,)


def test_lists_of_widths_in_any_order(backend):
    F, y, F_test, y_test = data(k=2)
    every = genkern.width_curve(F, y, F_test, y_test, ridge=[0.0, 0.1], backend=backend)
    listed = [30, 1, 12, 12, 13, 2]
    some = genkern.width_curve(F, y, F_test, y_test, ridge=[0.0, 0.1], widths=listed, backend=backend)
    assert some.values.tolist() == listed
    np.testing.assert_allclose(some.test_risk, every.test_risk[:, np.array(listed) - 1], rtol=1e-9)
    np.testing.assert_allclose(some.coef_norm, every.coef_norm[:, np.array(listed) - 1], rtol=1e-9)
    assert some.threshold == every.threshold == N


def test_draws_of_noise(backend):
    F, y, F_test, y_test = data((2,), k=2)
    noise = np.random.default_rng(1).standard_normal((2, 5, N, 2))
    result = genkern.width_curve(F, y, F_test, y_test, noise=noise, classify=True, backend=backend)
    each = [genkern.width_curve(F, y + noise[:, q], F_test, y_test, classify=True, backend=backend) for q in range(5)]
    for name in ("train_risk", "test_risk", "coef_norm", "test_error"):
        mean = np.mean([getattr(curve, name) for curve in each], axis=0)
        np.testing.assert_allclose(getattr(result, name), mean, rtol=1e-9, atol=1e-24)
    predictions = np.array([
        [
            [fresh.solve(F[b, :, :p], y[b] + noise[b, q], F_test[b, :, :p], y_test[b])[3] for p in (5, 20)]
            for q in range(5)
        ]
        for b in range(2)
    ])  # fmt: skip
    bias = np.mean((predictions.mean(axis=1) - y_test[:, None]) ** 2, axis=-2)
    np.testing.assert_allclose(result.bias[:, [4, 19]], bias, rtol=1e-9)
    np.testing.assert_allclose(result.variance[:, [4, 19]], predictions.var(axis=1).mean(axis=-2), rtol=1e-9)
    np.testing.assert_allclose(result.bias + result.variance, result.test_risk, rtol=1e-9)
    vector = genkern.width_curve(
        F[..., :], y[..., 0], F_test, y_test[..., 0], noise=noise[..., 0], widths=[5, 20], backend=backend
    )
    np.testing.assert_allclose(vector.bias, result.bias[:, [4, 19], 0], rtol=1e-9)


@pytest.mark.parametrize("k", [None, 1, 3])
def test_classification(backend, k):
    F, y, F_test, y_test = data(k=k)
    y_test = np.sign(y_test) if k in (None, 1) else np.eye(k)[np.arange(M) % k]
    result = genkern.width_curve(F, y, F_test, y_test, classify=True, backend=backend)
    assert result.test_error.shape == (P,)
    for p in (1, 7, N, 25):
        prediction = F_test[:, :p] @ np.linalg.lstsq(F[:, :p], y, rcond=None)[0]
        if k in (None, 1):
            wrong = np.sign(prediction) != y_test
        else:
            wrong = prediction.argmax(1) != y_test.argmax(1)
        assert result.test_error[p - 1] == pytest.approx(np.mean(wrong))
    assert genkern.width_curve(F, y, F_test, y_test, widths=[3], backend=backend).test_error is None


def test_sample_curve(backend):
    F, _, _, y_test = data((2,), k=2)
    X, X_test = np.swapaxes(F, -1, -2), np.random.default_rng(2).standard_normal((2, M, N))
    rng = np.random.default_rng(3)
    y, noise = rng.standard_normal((2, P, 2)), rng.standard_normal((2, 4, P, 2))
    for ridge in (0.0, [0.0, 0.2]):
        options = {"ridge": ridge, "noise": noise, "classify": True, "samples": [30, 2, 11, 12, 13]}
        result = genkern.sample_curve(X, y, X_test, y_test, backend=backend, **options)
        expected = genkern.sample_curve(X, y, X_test, y_test, backend="reference", **options)
        assert result.axis == "samples"
        assert_same(result, expected)
    assert result.threshold.tolist() == [N, N]


@pytest.mark.parametrize("activation", ["relu", "rff", "identity", lambda x: x / (1.0 + x * x)])
def test_random_feature_curve(backend, activation):
    if callable(activation) and backend in ("cpp", "cupy"):
        X, y = np.ones((2, 2)), np.ones(2)
        with pytest.raises(ValueError, match="activation must be one of"):
            genkern.random_feature_curve(X, y, X, y, widths=3, activation=activation, backend=backend)
        return
    rng = np.random.default_rng(0)
    X, X_test, y, y_test = (rng.standard_normal(shape) for shape in ((2, N, 5), (2, M, 5), (2, N), (2, M)))
    law = {"activation": activation, "bandwidth": 2.0 if activation == "rff" else 1.0}
    result = genkern.random_feature_curve(
        X, y, X_test, y_test, widths=range(1, P + 1), seeds=[7, 2**64 - 1], ridge=[0.0, 1e-3], backend=backend, **law
    )
    assert result.test_risk.shape == (2, 2, 2, P) and result.threshold.shape == (2, 2)
    assert result.seeds.tolist() == [7, 2**64 - 1]
    for b in range(2):
        for s, seed in enumerate((7, 2**64 - 1)):
            make = {"width": P, "seed": seed, "backend": backend, **law}
            F, F_test = genkern.random_features(X[b], **make), genkern.random_features(X_test[b], **make)
            expected = genkern.width_curve(F, y[b], F_test, y_test[b], ridge=[0.0, 1e-3], backend=backend)
            np.testing.assert_allclose(result.test_risk[b, s], expected.test_risk, rtol=1e-9)
            np.testing.assert_allclose(result.threshold[b, s], expected.threshold)
    one = genkern.random_feature_curve(X, y, X_test, y_test, widths=[4], seeds=7, backend=backend, **law)
    assert one.test_risk.shape == (2, 1) and one.seeds is None
    np.testing.assert_allclose(one.test_risk[:, 0], result.test_risk[:, 0, 0, 3], rtol=1e-9)


def test_ridge_and_epoch_curves(backend):
    F, y, F_test, y_test = data((2,), k=2)
    X, X_test = F[..., :5], F_test[..., :5]
    noise = np.random.default_rng(1).standard_normal((2, 3, N, 2))
    ridges, steps = [1.0, 0.0, 1e3], [0, 3, np.inf, 1]
    curve = genkern.ridge_curve(X, y, X_test, y_test, ridges=ridges, noise=noise, classify=True, backend=backend)
    assert curve.axis == "ridge" and curve.test_risk.shape == (2, 3, 2) and curve.threshold is None
    for t, ridge in enumerate(ridges):
        expected = genkern.width_curve(
            X, y, X_test, y_test, widths=[5], ridge=ridge, noise=noise, classify=True, backend=backend
        )
        for name in ("train_risk", "test_risk", "coef_norm", "bias", "variance", "test_error"):
            np.testing.assert_allclose(getattr(curve, name)[:, t], getattr(expected, name)[:, 0], rtol=1e-9)
    curve = genkern.epoch_curve(X, y, X_test, y_test, steps=steps, step_size=0.01, backend=backend)
    assert curve.axis == "step" and curve.values.tolist() == steps
    w = np.zeros((2, 5, 2))
    for _ in range(3):
        w -= 0.01 * np.swapaxes(X, -1, -2) @ (X @ w - y)
    np.testing.assert_allclose(curve.test_risk[:, 1], np.mean((X_test @ w - y_test) ** 2, axis=-2), rtol=1e-9)
    np.testing.assert_allclose(curve.test_risk[:, 0], np.mean(y_test**2, axis=-2), rtol=1e-9)
    np.testing.assert_allclose(curve.coef_norm[:, 1], np.linalg.norm(w, axis=-2), rtol=1e-9)
    single = genkern.epoch_curve(X[0], y[0, :, 0], X_test[0], y_test[0, :, 0], steps=3, step_size=0.01, backend=backend)
    np.testing.assert_allclose(single.test_risk, [curve.test_risk[0, 1, 0]], rtol=1e-9)


def test_data_that_is_not_finite(backend):
    F, y, F_test, y_test = data((6,))
    good = genkern.width_curve(F, y, F_test, y_test, backend=backend)
    F[0, 3, 17] = np.nan
    F_test[1, 2, 17] = np.inf
    y[2, 0] = np.nan
    y_test[3, 0] = np.nan
    F[4, :, 9], F_test[4, :, 9] = 0.0, np.nan  # a feature that is 0 in training has weight 0
    result = genkern.width_curve(F, y, F_test, y_test, classify=True, backend=backend)
    np.testing.assert_allclose(result.test_risk[5], good.test_risk[5], rtol=1e-9)
    for name in ("train_risk", "test_risk", "coef_norm"):
        np.testing.assert_allclose(getattr(result, name)[0, :17], getattr(good, name)[0, :17], rtol=1e-9, atol=1e-24)
        assert np.all(np.isnan(getattr(result, name)[0, 17:]))
        assert np.all(np.isnan(getattr(result, name)[2]))
    assert np.all(result.method[0, 17:] == "") and np.all(result.method[2] == "")
    assert np.all(np.isnan(result.test_risk[1, 17:])) and np.all(np.isfinite(result.test_risk[1, :17]))
    np.testing.assert_allclose(result.coef_norm[1], good.coef_norm[1], rtol=1e-9)
    assert np.all(np.isnan(result.test_risk[3])) and np.all(np.isfinite(result.train_risk[3]))
    assert np.all(np.isfinite(result.test_risk[4]))
    np.testing.assert_allclose(result.test_risk[4, 9], result.test_risk[4, 8], rtol=1e-9)


@pytest.mark.parametrize("exponent", [-300, 300])
def test_features_of_extreme_size(backend, exponent):
    F, y, F_test, y_test = data()
    expected = genkern.width_curve(F, y, F_test, y_test, backend=backend)
    scale = 2.0**exponent
    result = genkern.width_curve(scale * F, y, scale * F_test, y_test, backend=backend)
    np.testing.assert_allclose(result.test_risk, expected.test_risk, rtol=1e-9)
    np.testing.assert_allclose(result.coef_norm * scale, expected.coef_norm, rtol=1e-9)


def test_single_precision(backend):
    F, y, F_test, y_test = data((2,), dtype=np.float32)
    result = genkern.width_curve(F, y, F_test, y_test, backend=backend)
    assert result.test_risk.dtype == result.error.dtype == result.threshold.dtype == np.float32
    double = [array.astype(np.float64) for array in (F, y, F_test, y_test)]
    # Read as it is, computed in float64, with the cutoff of float32.
    expected = [
        [fresh.solve(X[:, :p], t[:, None], X_test[:, :p], t_test[:, None], eps=2.0**-23)[1][0] for p in range(1, P + 1)]
        for X, t, X_test, t_test in zip(*double, strict=True)
    ]
    np.testing.assert_allclose(result.test_risk, expected, rtol=1e-5)
    wide = np.concatenate([F, 1e-6 * np.random.default_rng(0).standard_normal(F.shape).astype(np.float32)], axis=-1)
    assert np.array_equal(genkern.width_curve(wide, y, wide[:, :M], y[:, :M], backend=backend).threshold, [N, N])


def test_strides_and_read_only_input(backend):
    F, y, F_test, y_test = data((2,), k=2)
    expected = genkern.width_curve(F, y, F_test, y_test, backend=backend)
    turned = [np.asfortranarray(array[..., ::-1, :])[..., ::-1, :] for array in (F, y, F_test, y_test)]
    for array in turned:
        array.flags.writeable = False
    assert_same(genkern.width_curve(*turned, backend=backend), expected, rtol=1e-12)


def test_bits_do_not_depend_on_threads_or_batch(native):
    rng = np.random.default_rng(0)
    F, F_test = rng.standard_normal((3, 40, 130)), rng.standard_normal((3, 600, 130))
    y, y_test = rng.standard_normal((3, 40, 2)), rng.standard_normal((3, 600, 2))
    F[:, :, 5] = 0.0
    for ridge in (0.0, 1e-4):
        whole = genkern.width_curve(F, y, F_test, y_test, ridge=ridge, n_threads=1)
        for threads in (2, 3, 4, 8):
            again = genkern.width_curve(F, y, F_test, y_test, ridge=ridge, n_threads=threads)
            for name in ("train_risk", "test_risk", "coef_norm", "error"):
                np.testing.assert_array_equal(getattr(again, name), getattr(whole, name))
        for item in range(3):
            single = genkern.width_curve(F[item], y[item], F_test[item], y_test[item], ridge=ridge, n_threads=2)
            np.testing.assert_array_equal(single.test_risk, whole.test_risk[item])
    one = genkern.sample_curve(F_test[0], y_test[0], F[0], y[0], n_threads=1)
    two = genkern.sample_curve(F_test[0], y_test[0], F[0], y[0], n_threads=2)
    np.testing.assert_array_equal(two.test_risk, one.test_risk)


def test_arrays_of_other_libraries(backend):
    jax = pytest.importorskip("jax")
    F, y, F_test, y_test = data(dtype=np.float32)
    expected = genkern.width_curve(F, y, F_test, y_test, classify=True, backend=backend)
    result = genkern.width_curve(
        *(jax.numpy.asarray(array) for array in (F, y, F_test, y_test)), classify=True, backend=backend
    )
    for name in ("test_risk", "error", "test_error", "threshold"):
        assert isinstance(getattr(result, name), jax.Array)
        np.testing.assert_array_equal(np.asarray(getattr(result, name)), getattr(expected, name))
    assert isinstance(result.method, np.ndarray)


def test_progress(backend, capfd):
    F, y, F_test, y_test = data()
    seen = []
    genkern.width_curve(F, y, F_test, y_test, progress=lambda done, total: seen.append((done, total)), backend=backend)
    assert seen[-1] == (P, P) and [done for done, _ in seen] == sorted(done for done, _ in seen)
    genkern.width_curve(F, y, F_test, y_test, backend=backend)
    assert capfd.readouterr() == ("", "")
    pytest.importorskip("tqdm")
    genkern.sample_curve(F, y, F_test, y_test, progress=True, backend=backend)
    assert "sample_curve" in capfd.readouterr().err

    def refuse(done, total):
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        genkern.width_curve(F, y, F_test, y_test, progress=refuse, backend=backend)


LONG = """
import numpy as np, genkern
rng = np.random.default_rng(0)
X, y = rng.standard_normal((600, 20)), rng.standard_normal(600)
{moved}
print("started", flush=True)
try:
    genkern.random_feature_curve(X, y, X, y, widths=[10**6], seeds={seeds}, backend={backend!r})
except KeyboardInterrupt:
    print("stopped", flush=True)
"""


@pytest.mark.parametrize("seeds", [0, [0, 1, 2]])
def test_ctrl_c_stops_a_long_curve(backend, seeds):
    if backend == "reference":
        pytest.skip("plain NumPy: Python handles the signal")
    code = LONG.format(seeds=seeds, backend=backend, moved=to_gpu("X", "y") if backend == "cupy" else "")
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "started\n"
        time.sleep(1.5)
        process.send_signal(signal.SIGINT)
        begun = time.monotonic()
        assert process.communicate(timeout=20)[0] == "stopped\n"
        assert time.monotonic() - begun < 5
    finally:
        process.kill()


PEAK = """
import resource, numpy as np, genkern
rng = np.random.default_rng(0)
X, y, Z, t = (rng.standard_normal(shape) for shape in ((100, 10), 100, (200, 10), 200))
genkern.random_feature_curve(X, y, Z, t, widths=[50, 200])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
genkern.random_feature_curve(X, y, Z, t, widths=np.arange(1000, 40001, 1000))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_memory_does_not_depend_on_the_width(native):
    kilobytes = int(subprocess.run([sys.executable, "-c", PEAK], capture_output=True, text=True, check=True).stdout)
    assert kilobytes < 16_000  # the features alone would take 96 MB


@pytest.mark.parametrize(
    "change, error, message",
    [
        ({"F": np.ones(3)}, ValueError, "F must have shape"),
        ({"F_test": np.ones((M, P + 1))}, ValueError, "F_test must have 30 columns"),
        ({"F_test": np.ones((0, P)), "y_test": np.ones(0)}, ValueError, "F_test must have at least one row"),
        ({"y": np.ones(N + 1)}, ValueError, "y must have 12 rows"),
        ({"y": np.ones((1, 1, N))}, ValueError, "y must have one axis less"),
        ({"y": np.ones((N, 2))}, ValueError, "y_test must have the targets of y"),
        ({"y": np.ones((N, 0)), "y_test": np.ones((M, 0))}, ValueError, "y must have at least one target"),
        ({"y": np.ones(N, complex)}, TypeError, "y must be real"),
        ({"widths": [0]}, ValueError, "widths must be in"),
        ({"widths": [P + 1]}, ValueError, "widths must be in"),
        ({"widths": [1.5]}, TypeError, "widths must be integers"),
        ({"widths": "all"}, TypeError, "widths must be a sequence"),
        ({"widths": [[1]]}, ValueError, "widths must be a one-dimensional"),
        ({"ridge": -1.0}, ValueError, "ridge must be finite"),
        ({"ridge": [[1.0]]}, ValueError, "ridge must be a number or one-dimensional"),
        ({"noise": np.ones((2, N + 1))}, ValueError, "noise must have shape"),
        ({"noise": np.ones(N)}, ValueError, "noise must have shape"),
        ({"classify": 1}, TypeError, "classify must be True or False"),
        ({"rcond": -1.0}, ValueError, "rcond must be finite"),
        ({"method": "magic"}, ValueError, "method must be one of"),
        ({"progress": "yes"}, TypeError, "progress must be None"),
        ({"n_threads": 0}, ValueError, "n_threads must be"),
        ({"backend": "abacus"}, ValueError, "backend must be"),
        ({"backend": "cupy"}, genkern.errors.BackendUnavailable, "cupy"),
    ],
)
def test_bad_arguments(change, error, message):
    F, y, F_test, y_test = data()
    arguments = {"F": F, "y": y, "F_test": F_test, "y_test": y_test} | change
    with pytest.raises(error, match=message) as caught:
        genkern.width_curve(**arguments)
    assert "\n" not in str(caught.value)


def test_bad_arguments_of_the_others():
    X, y = np.ones((4, 2)), np.ones(4)
    for seeds, error in ((-1, ValueError), (2**64, ValueError), ([1.5], TypeError)):
        with pytest.raises(error, match="seeds must be"):
            genkern.random_feature_curve(X, y, X, y, widths=[2], seeds=seeds)
    with pytest.raises(ValueError, match="bandwidth must be"):
        genkern.random_feature_curve(X, y, X, y, widths=[2], bandwidth=2.0)
    with pytest.raises(ValueError, match="samples must be in"):
        genkern.sample_curve(X, y, X, y, samples=[5])
    with pytest.raises(ValueError, match="ridges must be finite"):
        genkern.ridge_curve(X, y, X, y, ridges=[-1.0])
    with pytest.raises(ValueError, match="steps must be whole numbers"):
        genkern.epoch_curve(X, y, X, y, steps=[-1])


@pytest.mark.parametrize(
    "scales, ridge",
    [
        (np.where(np.arange(P) < 20, 1e-9, 1e9), 1.0),  # the woodbury form begins again, after points put off
        (np.where(np.arange(P) < 6, 1e-100, 1.0), 0.0),  # squares of condition numbers leave the range
        (np.full(P, 1e-200), 1.0),
        (np.ones(P), 1e200),
        (np.ones(P), 5e-324),
    ],
)
def test_scales_that_differ(backend, scales, ridge):
    F, y, F_test, y_test = data()
    options = {"ridge": ridge, "widths": range(1, P + 1)}
    expected = genkern.width_curve(scales * F, y, scales * F_test, y_test, backend="reference", **options)
    with np.errstate(all="ignore"):
        result = genkern.width_curve(scales * F, y, scales * F_test, y_test, backend=backend, **options)
    np.testing.assert_allclose(result.test_risk, expected.test_risk, rtol=1e-9)
    np.testing.assert_allclose(result.coef_norm, expected.coef_norm, rtol=1e-9, atol=1e-190)


@pytest.mark.parametrize("ridge", [0.0, 0.1])
def test_training_and_test_points_that_are_not_finite(backend, ridge):
    F, _, _, y_test = data()
    X, X_test = F.T, np.random.default_rng(1).standard_normal((M, N))
    y = np.random.default_rng(2).standard_normal(P)
    good = genkern.sample_curve(X, y, X_test, y_test, ridge=ridge, backend=backend)
    y[7] = np.nan
    result = genkern.sample_curve(X, y, X_test, y_test, ridge=ridge, backend=backend)
    for name in ("train_risk", "test_risk", "coef_norm"):
        found, wanted = getattr(result, name), getattr(good, name)
        np.testing.assert_allclose(found[:7], wanted[:7], rtol=1e-9, atol=1e-24)
        assert np.all(np.isnan(found[7:]))
    assert np.all(result.method[7:] == "")
    y[7], X_test[3, 2] = 0.0, np.inf
    blind = genkern.sample_curve(X, y, X_test, y_test, ridge=ridge, classify=True, backend=backend)
    assert np.all(np.isnan(blind.test_risk)) and np.all(np.isnan(blind.test_error))
    assert np.all(np.isfinite(blind.coef_norm)) and np.all(np.isfinite(blind.train_risk))
