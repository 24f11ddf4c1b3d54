"""Why there is no GPU: what is told of a missing or unfit CuPy, driver, device or library."""

import os
import re
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from gpu import standin

import genkern
from genkern import _registry
from genkern.errors import BackendUnavailable

X = np.random.default_rng(0).standard_normal((7, 4))


def fake(version="14.0.0", driver=13000, devices=1, missing="", **runtime):
    """A CuPy of which `runtime` is all that is asked, without a library that is `missing`."""

    class CUDARuntimeError(RuntimeError):
        pass

    def asked(answer):
        """What needs a driver: as in CUDA an error without one that is new enough, or without a device."""

        def ask():
            if driver < 13000:
                raise CUDARuntimeError("cudaErrorInsufficientDriver: CUDA driver version is insufficient")
            if not devices:
                raise CUDARuntimeError("cudaErrorNoDevice: no CUDA-capable device is detected")
            return answer

        return ask

    everything = {
        "is_hip": False, "driverGetVersion": lambda: driver, "runtimeGetVersion": lambda: 13000,
        "getDeviceCount": asked(devices), "getDevice": asked(0), "CUDARuntimeError": CUDARuntimeError,
    }  # fmt: skip
    module = types.ModuleType("cupy")
    module.__version__ = version
    module.cuda = Cuda(
        missing=missing,
        runtime=types.SimpleNamespace(**everything | runtime),
        Device=lambda device: types.SimpleNamespace(compute_capability=runtime.get("capability", "80")),
        nvrtc=types.SimpleNamespace(getVersion=runtime.get("nvrtc", lambda: (13, 0))),
    )
    return module


class Cuda(types.SimpleNamespace):
    """As CuPy's module: it loads some libraries when they are first asked for."""

    def __getattr__(self, name):
        if name not in ("cublas", "cusolver"):
            raise AttributeError(name)
        if name == self.missing:
            lost = RuntimeError(f'Failure finding "lib{name}.so.13": No such file\n  listdir("/usr/lib"):')
            raise ImportError(str(lost)) from lost
        return types.SimpleNamespace()


def fails():
    raise OSError("libnvrtc.so.13: cannot open")


@pytest.mark.parametrize("module, reason", [
    (None, r"CuPy is not installed .*genkern\[cuda12\].*genkern\[cuda13\]"),
    (fake(is_hip=True), "built for ROCm"),
    (fake("12.3.0"), "CuPy 12.3.0 is too old, and genkern needs 14"),
    (fake("13.6.0"), "CuPy 13.6.0 is too old, and genkern needs 14"),
    (fake(driver=0), "no NVIDIA driver"),
    (fake(driver=12020), "the driver is one for CUDA 12.2, and this CuPy needs CUDA 13.0: .* the CuPy for CUDA 12"),
    (fake(driver=11080), r"for CUDA 11.8, and this CuPy needs CUDA 13.0: install a newer driver(;|$)"),
    (fake(getDeviceCount=lambda: 0), r"no GPU is visible \(CUDA_VISIBLE_DEVICES is ''\)"),
    (fake(devices=0), r"no GPU can be used: cudaErrorNoDevice.* \(CUDA_VISIBLE_DEVICES is ''\)"),
    (fake(capability="61"), "compute capability 6.1, and the kernels need 7.0"),
    (fake(nvrtc=fails), r"NVRTC, which compiles .* \(pip install 'cupy-cuda13x\[ctk\]'\): libnvrtc.so.13: cannot"),
    (fake(missing="cublas"), r"cuBLAS does not load \(pip install 'cupy-cuda13x\[ctk\]'\): Failure finding .libcublas"),
    (fake(missing="cusolver"), r"cuSOLVER does not load \(pip install 'cupy-cuda13x\[ctk\]'\): Failure finding "),
])  # fmt: skip
def test_reasons(monkeypatch, module, reason):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    if module is None:
        monkeypatch.delitem(sys.modules, "cupy", raising=False)
        monkeypatch.setattr(sys, "meta_path", [Refuse(), *sys.meta_path])
    else:
        monkeypatch.setitem(sys.modules, "cupy", module)
    standin._forget()
    try:
        state = genkern.backends()["cupy"]
        assert re.match(f"unavailable: .*{reason}", state) and "\n" not in state and "listdir" not in state
        with pytest.raises(BackendUnavailable, match=reason):
            genkern.random_features.__wrapped__(X, 5, backend="cupy")

        class There:
            def __dlpack_device__(self):
                return (2, 0)

        with pytest.raises(BackendUnavailable, match=rf"X lives on a CUDA GPU \(0\), and backend='cupy' .*{reason}"):
            genkern.random_features.__wrapped__(There(), 5)
    finally:
        standin._forget()


class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name == "cupy":
            raise ModuleNotFoundError("No module named 'cupy'", name="cupy")


def test_a_cupy_that_breaks(monkeypatch):
    """The reason, not the page of advice around it."""

    class Break(Refuse):
        def find_spec(self, name, path=None, target=None):
            if name == "cupy":
                missing = ImportError("libcublas.so.13: cannot open shared object file")
                raise ImportError("=====\nFailed to import CuPy.\n\nIf you installed CuPy via wheels ...") from missing

    monkeypatch.delitem(sys.modules, "cupy", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Break(), *sys.meta_path])
    standin._forget()
    try:
        reason = _registry.unavailable("cupy")
        assert reason.startswith("CuPy does not load: libcublas.so.13: cannot open shared object file (is it for the")
        assert "genkern[cuda12]" in reason and "\n" not in reason
    finally:
        monkeypatch.undo()
        standin._forget()


def test_an_empty_folder_is_no_cupy(monkeypatch, tmp_path):
    """As an uninstalled CuPy may leave it."""
    (tmp_path / "cupy").mkdir()
    monkeypatch.delitem(sys.modules, "cupy", raising=False)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    standin._forget()
    try:
        assert _registry.unavailable("cupy").startswith(f"CuPy is not installed, and {tmp_path / 'cupy'} is what was")
    finally:
        sys.modules.pop("cupy", None)
        monkeypatch.undo()
        standin._forget()


def test_no_report_without_a_gpu():
    """One line and the code 2; no emulated figure."""
    if _registry.unavailable("cupy") is None:
        pytest.skip("there is a GPU")
    report = Path(__file__).parents[1] / "bench" / "gpu_report.py"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(report.parent), *filter(None, sys.path)])}
    done = subprocess.run([sys.executable, str(report)], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and done.stdout == ""
    assert (
        done.stderr.startswith("gpu_report: no figures without a GPU: unavailable: ") and done.stderr.count("\n") == 1
    )
