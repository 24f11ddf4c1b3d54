"""Every CUDA kernel is launched, by the public functions alone, and nothing of the CPU computes in its place."""

import sys
import types

import numpy as np
import pytest
from gpu import compile, races, standin
from gpu.calls import CALLS

SOURCES = [path.stem for path in compile.sources()]
OURS = ("genkern._native", "genkern._numba", "genkern._reference", "genkern._portable")


class Refuse:
    """No kernel of the CPU can be imported."""

    def find_spec(self, name, path=None, target=None):
        if name.startswith(OURS):
            raise AssertionError(f"{name} was called in the place of a GPU's kernel")


@pytest.fixture
def no_cpu_kernels(monkeypatch):
    for name in [name for name in sys.modules if name.startswith(OURS)]:
        monkeypatch.setitem(sys.modules, name, Untouchable(name))
    monkeypatch.setattr(sys, "meta_path", [Refuse(), *sys.meta_path])


class Untouchable(types.ModuleType):
    def __getattr__(self, name):
        raise AssertionError(f"{self.__name__}.{name} was called in the place of a GPU's kernel")


def kernels_of(stem):
    return set(compile.entries(compile.preprocessed((compile.CSRC / "cuda" / f"{stem}.cu").read_text())))


def test_sources_are_here():
    assert "features" in SOURCES and set(CALLS) == set(SOURCES), "gpu/calls.py has a function for every source"


@pytest.mark.parametrize("stem", SOURCES)
def test_every_kernel_is_launched(cupy, no_cpu_kernels, stem):
    standin.LAUNCHED.clear()
    for dtype in (np.float32, np.float64):
        CALLS[stem](cupy, dtype)
    if "standin" in cupy.__version__:
        assert kernels_of(stem) <= standin.LAUNCHED, f"never launched: {kernels_of(stem) - standin.LAUNCHED}"


def test_the_refusal_works(no_cpu_kernels):
    import genkern

    with pytest.raises(AssertionError, match="in the place of a GPU's kernel"):
        genkern.random_features(np.eye(2), 3, backend="reference")


@pytest.mark.skipif(compile.compiler() is None, reason="kernels are found by a C++ compiler")
@pytest.mark.parametrize("stem", SOURCES)
def test_names(stem):
    """`<family>_<name>_f32` and `_f64`; a kernel that computes in float64 alone may leave that out."""
    family = next(name for name in ("features", "least_squares", "logistic") if stem.startswith(name))
    for kernel in kernels_of(stem):
        assert kernel.startswith(f"{family}_"), kernel
        if kernel.endswith("_f32"):
            assert kernel.replace("_f32", "_f64") in kernels_of(stem)


@pytest.mark.parametrize("stem", SOURCES)
def test_the_order_of_threads_changes_no_bit(cupy, monkeypatch, stem):
    """What is written depends on no order of threads and blocks that a GPU is free to choose."""
    if "standin" not in cupy.__version__:
        pytest.skip("a GPU has its own order")
    found = []
    for reverse in (False, True):
        monkeypatch.setattr(standin.SETTINGS, "reverse", reverse)
        launches = races.recorded(lambda: CALLS[stem](cupy, np.float64))
        given = [[a[1:] if isinstance(a, tuple) else a for a in launch.arguments] for launch in launches]
        arrays = [a[0] for launch in launches for a in launch.arguments if isinstance(a, tuple)]
        found.append((given, [memory.bytes.tobytes() for memory in arrays]))
    assert found[0] == found[1]


def test_the_package_ships_them():
    """An installed package has the sources that the checkout has, a checkout is found in place."""
    from genkern._cupy import _launch

    shipped, here = _launch.sources(), compile.CSRC
    for pattern in ("cuda/*.cu", "cuda/*.hpp", "device/*.hpp"):
        names = {path.relative_to(here) for path in here.glob(pattern)}
        assert names == {path.relative_to(shipped) for path in shipped.glob(pattern)}
        assert all((shipped / name).read_bytes() == (here / name).read_bytes() for name in names)
