"""Which GPU works, of several: arrays beside the current device, reasons, what is remembered of them."""

import numpy as np
import pytest
from gpu import device, standin

import genkern
from genkern import _arrays
from genkern.errors import BackendUnavailable, DeviceMismatch

X = np.random.default_rng(0).standard_normal((7, 4))
H100 = {"name": b"H100", "capability": "90", "multiProcessorCount": 132, "sharedMemPerBlockOptin": 227 << 10}
P400 = {"name": b"P400", "capability": "61"}
V100 = {"name": b"V100", "capability": "70"}


def emulated(cupy, monkeypatch, *devices, nvrtc=(12, 9)):
    """The stand-in with these devices, of which device 0 is current."""
    if cupy.ndarray is not standin.ndarray:
        pytest.skip("the devices of this machine are what they are")
    monkeypatch.setattr(device, "DEVICES", list(devices))
    monkeypatch.setattr(cupy.cuda.nvrtc, "getVersion", lambda: nvrtc)
    return cupy


def test_arrays_on_another_device(cupy, monkeypatch):
    """An error that names the way, and that way."""
    cupy = emulated(cupy, monkeypatch, {"capability": "86"}, H100)
    with cupy.cuda.Device(1):
        there, y = cupy.asarray(X), cupy.asarray(X[:, 0])
    way = r"X lives on a CUDA GPU \(1\), and the current device is 0: call genkern within `with cupy.cuda.Device\(1\):`"
    for call in (
        lambda: genkern.random_features(there, 5),
        lambda: genkern.lstsq(there, y),
        lambda: genkern.logistic_path(there, y, 3, step_size=0.1, method="exact"),
        lambda: genkern.ridge_curve(there, y, there, y, ridges=[1.0]),
    ):
        with pytest.raises(DeviceMismatch, match=way):
            call()
    with cupy.cuda.Device(1):
        out = cupy.empty((7, 5))
    with pytest.raises(DeviceMismatch, match="out must live on the device of the input, got GPU 1 and GPU 0"):
        genkern.random_features(cupy.asarray(X), 5, out=out)
    with pytest.raises(DeviceMismatch, match=r"one device, got X on a CUDA GPU \(1\), y on a CUDA GPU \(0\)"):
        genkern.lstsq(there, cupy.ones(7))
    with pytest.raises(BackendUnavailable, match="read on the CPU here; move it to the CPU first"):
        _arrays.library_of({"X": there})

    expected = genkern.random_features(cupy.asarray(X), 5)
    with cupy.cuda.Device(1):
        found = genkern.random_features(there, 5)
        curve = genkern.width_curve(there, y, there, y)
        path = genkern.logistic_path(there, cupy.sign(y), 3, step_size=0.1, method="exact")
        solved = genkern.lstsq(there, y)
    assert cupy.cuda.runtime.getDevice() == 0 and expected.__dlpack_device__() == (2, 0)
    for result in (found, curve.test_risk, curve.error, path.coef, solved.coef, solved.rank):
        assert result.__dlpack_device__() == (2, 1)
    np.testing.assert_array_equal(found.get(), expected.get())


def test_each_device_has_its_own_limits(cupy, monkeypatch):
    """A problem that fits into the shared memory of one of them only."""
    cupy = emulated(cupy, monkeypatch, {"sharedMemPerBlockOptin": 48 << 10, "capability": "86"}, H100)
    rng = np.random.default_rng(1)
    A, b = rng.standard_normal((90, 80)), rng.standard_normal(90)
    kernels = []
    for number in (0, 1, 0):
        with cupy.cuda.Device(number):
            before = len(standin.LOG.launches)
            genkern.lstsq(cupy.asarray(A), cupy.asarray(b))
            kernels.append({launch.kernel for launch in standin.LOG.launches[before:]})
    assert kernels[0] == kernels[2] != kernels[1] and "least_squares_qr_f64" in kernels[1]


def test_an_old_card_beside_a_new_one(cupy, monkeypatch):
    """The arrays' device counts, not the current one."""
    cupy = emulated(cupy, monkeypatch, P400, H100)
    reason = r"GPU 0 \(P400\) has compute capability 6.1, and the kernels need 7.0; GPU 1 can be used, in `with cupy"
    with pytest.raises(BackendUnavailable, match=rf"X lives on a CUDA GPU \(0\), and backend='cupy' .*{reason}"):
        genkern.random_features(cupy.asarray(X), 5)
    assert genkern.backends()["cupy"].startswith("unavailable: GPU 0 (P400) has compute")
    with cupy.cuda.Device(1):
        there = cupy.asarray(X)
        assert genkern.random_features(there, 5).shape == (7, 5)
        state = genkern.backends()["cupy"]
    with pytest.raises(DeviceMismatch, match="call genkern within"):
        genkern.random_features(there, 5)
    assert state == (
        "available (default of GPU arrays; GPU 0: P400, compute capability 6.1, which cannot be used: GPU 0 (P400) has "
        "compute capability 6.1, and the kernels need 7.0; GPU 1 can be used, in `with cupy.cuda.Device(1):`; GPU 1, "
        "the current one: H100, compute capability 9.0; CuPy 14.0.0+standin for CUDA 12.9)"
    )


def test_volta_and_cuda_13(cupy, monkeypatch):
    cupy = emulated(cupy, monkeypatch, V100, nvrtc=(13, 0))
    there = cupy.asarray(X)
    with pytest.raises(BackendUnavailable, match=r"the GPU has compute capability 7.0, and CUDA 13 needs 7.5: pip"):
        genkern.random_features(there, 5)
    monkeypatch.setattr(cupy.cuda.nvrtc, "getVersion", lambda: (12, 9))
    assert genkern.random_features(there, 5).shape == (7, 5)


def test_a_failure_that_passes_is_not_remembered(cupy, monkeypatch):
    cupy = emulated(cupy, monkeypatch, {"capability": "86"})
    calls = []

    def busy():
        calls.append(None)
        if len(calls) == 1:
            raise device.CUDARuntimeError("cudaErrorMemoryAllocation: out of memory")
        return 1

    monkeypatch.setattr(cupy.cuda.runtime, "getDeviceCount", busy)
    there = cupy.asarray(X)
    with pytest.raises(BackendUnavailable, match="no GPU can be used: cudaErrorMemoryAllocation: out of memory"):
        genkern.random_features(there, 5)
    genkern.random_features(there, 5)
    asked = len(calls)
    genkern.random_features(there, 5)  # a device that can be used is not asked again
    assert len(calls) == asked > 1
