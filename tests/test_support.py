"""Backends, the registry, instruction sets, threads and forks: what every family stands on."""

import importlib
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import genkern
from genkern import _registry
from genkern.errors import BackendUnavailable, GenkernError

HAS_NATIVE = _registry.unavailable("cpp") is None
needs_native = pytest.mark.skipif(not HAS_NATIVE, reason=f"cpp: {_registry.unavailable('cpp')}")


# A new interpreter that finds the package where this one does, and not in the working directory (-P).
PYTHON = [sys.executable, "-P", "-c"]
PATHS = os.pathsep.join(path for path in sys.path if path)


def run_python(code, **environment):
    """Run code in a new interpreter; a hang is a failure."""
    return subprocess.run(
        [*PYTHON, code],
        env={**os.environ, "PYTHONPATH": PATHS, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_expected_backends_are_here():
    """CI names the backends that an install must have, so that none is skipped unseen."""
    expected = os.environ.get("GENKERN_TEST_BACKENDS")
    if expected is None:
        pytest.skip("GENKERN_TEST_BACKENDS is not set")
    here = {name for name in _registry.BACKENDS if _registry.unavailable(name) is None}
    assert here == set(expected.split(","))


@pytest.mark.parametrize("function", _registry._TABLE)
def test_registry_entries_import(function):
    assert "reference" in _registry._TABLE[function], "the reference is the definition"
    for backend, module in _registry._TABLE[function].items():
        assert backend in _registry.BACKENDS
        if _registry.unavailable(backend) is None:
            assert callable(getattr(importlib.import_module(module), function))
            assert callable(_registry.resolve(function, backend))
    assert callable(getattr(genkern, function))


def test_public_names_exist():
    for name in genkern.__all__:
        assert getattr(genkern, name) is not None


def test_backends_tell_the_truth():
    report = genkern.backends()
    assert list(report) == list(_registry.BACKENDS)
    assert report["reference"].startswith("available")
    assert sum("default" in state for state in report.values()) == 1
    assert "default" in report["cpp" if HAS_NATIVE else "numba"]
    for backend, state in report.items():
        reason = _registry.unavailable(backend)
        assert state.startswith("available") if reason is None else state == f"unavailable: {reason}"


def test_cupy_is_unavailable_with_the_reason():
    if _registry.unavailable("cupy") is None:
        pytest.skip("there is a GPU")
    with pytest.raises(BackendUnavailable, match=r"backend='cupy' cannot run: .*(CuPy|GPU|NVRTC)") as caught:
        _registry.resolve("lstsq", "cupy")
    assert isinstance(caught.value, GenkernError)


@pytest.mark.parametrize("backend", ["fortran", "", "CPP", 3])
def test_unknown_backend(backend):
    with pytest.raises(ValueError, match="backend must be None or one of reference, cpp, numba, cupy, got"):
        _registry.resolve("lstsq", backend)


@needs_native
class TestInstructionSets:
    def test_each_can_be_forced(self):
        from genkern import _native

        for isa in _native.available_isas():
            done = run_python("from genkern import _native; print(_native.isa())", GENKERN_ISA=isa)
            assert (done.stdout.strip(), done.stderr) == (isa, "")

    def test_unknown_is_named(self):
        code = "import genkern; print(genkern.backends()['cpp']); print(genkern.backends()['numba'])"
        done = run_python(code, GENKERN_ISA="mmx")
        assert done.returncode == 0, done.stderr
        assert "GENKERN_ISA must be one of base" in done.stdout
        assert "got mmx" in done.stdout
        assert "default" not in done.stdout

    def test_unknown_is_no_reason_to_be_slow(self):
        code = "import genkern; genkern.singular_values([[1.0]])"
        done = run_python(code, GENKERN_ISA="mmx")
        assert done.returncode == 1
        assert "BackendUnavailable" in done.stderr.splitlines()[-1]
        assert "got mmx" in done.stderr.splitlines()[-1]


def solve(n_threads=2):
    """Small work of both kinds on several threads; the answer is the same bits each time."""
    rng = np.random.default_rng(7)
    X, y = rng.standard_normal((256, 8, 16)), rng.standard_normal((256, 8))
    coef = genkern.lstsq(X, y, n_threads=n_threads).coef
    return np.concatenate([coef, genkern.random_features(coef, 300, seed=3, n_threads=n_threads)], axis=1)


def test_calls_from_several_threads_at_once():
    expected = solve()
    wrong = []

    def caller(count):
        wrong.extend(count for _ in range(20) if not np.array_equal(solve(count), expected))

    callers = [threading.Thread(target=caller, args=(count,)) for count in (1, 2, 3, 4)]
    for thread in callers:
        thread.start()
    for thread in callers:
        thread.join(120)
    assert not any(thread.is_alive() for thread in callers)
    assert wrong == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_child_can_compute():
    """The child of a process whose pool has run starts its own; it must not wait for threads that it does not have."""
    code = """
import os, signal, sys, threading, warnings
import numpy as np, genkern

rng = np.random.default_rng(0)
X, y = rng.standard_normal((512, 8, 16)), rng.standard_normal((512, 8))

def solve():
    coef = genkern.lstsq(X, y, n_threads=3).coef
    return genkern.random_features(coef, 200, n_threads=3)

expected = solve()
stop = threading.Event()
busy = threading.Thread(target=lambda: [solve() for _ in iter(stop.is_set, True)])
busy.start()
warnings.simplefilter("ignore", DeprecationWarning)  # fork with threads is what is tested
for _ in range(3):
    child = os.fork()
    if child == 0:
        signal.alarm(30)
        same = np.array_equal(solve(), expected)
        os._exit(0 if same else 1)
    _, status = os.waitpid(child, 0)
    if status != 0:
        stop.set()
        sys.exit(f"the child ended with status {status}")
stop.set()
busy.join()
"""
    done = run_python(code)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_interrupt_stops_a_long_call():
    """One call that would take half a minute ends soon after Ctrl-C."""
    code = """
import signal
import numpy as np, genkern
signal.signal(signal.SIGINT, signal.default_int_handler)
rng = np.random.default_rng(0)
X = np.broadcast_to(rng.standard_normal((256, 256)), (60000, 256, 256))  # no memory
y = np.broadcast_to(rng.standard_normal(256), (60000, 256))
genkern.lstsq(X[:4], y[:4], n_threads=2)  # loaded and compiled
print("ready", flush=True)
try:
    genkern.lstsq(X, y, n_threads=2)
except KeyboardInterrupt:
    print("interrupted")
"""
    with subprocess.Popen(
        [*PYTHON, code],
        env={**os.environ, "PYTHONPATH": PATHS},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout.readline() == "ready\n"
            time.sleep(0.5)
            process.send_signal(signal.SIGINT)
            started = time.perf_counter()
            output, errors = process.communicate(timeout=60)
        finally:
            process.kill()
    assert output == "interrupted\n", errors
    assert time.perf_counter() - started < 5
