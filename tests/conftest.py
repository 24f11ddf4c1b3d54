"""What every test file shares: the backends, and the warnings that are no errors."""

import importlib
import os

import pytest
from gpu import carry, compile, standin

from genkern import _registry

carry.wrap_public_functions()

# Interpreters that tests start must find the genkern under test too, and not the checkout in their working directory.
os.environ["PYTHONSAFEPATH"] = "1"

BACKENDS = ("reference", "cpp", "numba", "cupy")


def require(name):
    """Skip the test where a backend is missing, visibly; fail it where GENKERN_TEST_BACKENDS names the backend."""
    reason = _registry.unavailable(name)
    if reason is not None:
        if name in os.environ.get("GENKERN_TEST_BACKENDS", "").split(","):
            pytest.fail(f"GENKERN_TEST_BACKENDS asks for {name}, but {reason}")
        pytest.skip(f"{name}: {reason}")


@pytest.fixture(params=BACKENDS)
def backend(request):
    """Every backend in turn. One that runs but lacks the function under test is no skip: the test fails.

    Without a GPU "cupy" is the stand-in for CuPy with emulated kernels; functions that have no GPU version are skipped.
    """
    if request.param == "cupy":
        request.getfixturevalue("cupy")
    else:
        require(request.param)
    return request.param


@pytest.fixture
def cupy():
    """CuPy where there is a GPU, else its stand-in, whose kernels run on the CPU."""
    if _registry.unavailable("cupy") is None:
        import cupy

        yield cupy
        return
    if compile.compiler() is None:
        if os.environ.get("GENKERN_TEST_EMULATOR", "0") not in ("", "0"):
            pytest.fail("GENKERN_TEST_EMULATOR asks for emulated kernels, but there is no C++ compiler")
        pytest.skip("cupy: no GPU, and no C++ compiler to emulate one")
    with standin.installed() as module:
        yield module


@pytest.fixture
def emulated(cupy):
    """The stand-in and its log; on a real GPU there is no log to look at."""
    if cupy.ndarray is not standin.ndarray:
        pytest.skip("a real GPU keeps no log of launches")
    return cupy


@pytest.fixture
def change(emulated, monkeypatch):
    """Sets constants of a module, so that small problems are cut up as large ones are."""

    def set_constants(module, **constants):
        for name, value in constants.items():
            monkeypatch.setattr(importlib.import_module(f"genkern._cupy.{module}"), name, value)

    return set_constants


@pytest.fixture
def small_emulated_gpu(monkeypatch):
    """Little shared memory in the emulated GPU, so that problems of some dozen columns take every route already."""
    monkeypatch.setitem(standin.PROPERTIES, "sharedMemPerBlock", 32 << 10)
    monkeypatch.setitem(standin.PROPERTIES, "sharedMemPerBlockOptin", 32 << 10)


@pytest.fixture
def native():
    """The compiled module itself."""
    require("cpp")
    from genkern import _native

    return _native
