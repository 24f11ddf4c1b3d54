"""Arrays on a GPU, or on its stand-in: which backend takes them, what comes back, what is refused and how."""

import numpy as np
import pytest
from gpu import standin

import genkern
from genkern import _checks, _registry
from genkern.errors import BackendUnavailable, DeviceMismatch

X = np.random.default_rng(0).standard_normal((7, 4))


def test_arrays_of_the_gpu_stay_there(cupy):
    there = cupy.asarray(X)
    del standin.LOG.downloads[:], standin.LOG.uploads[:], standin.LOG.launches[:]
    found = genkern.random_features(there, 50, seed=3)
    assert isinstance(found, cupy.ndarray) and found.shape == (7, 50)
    assert not standin.LOG.downloads and not standin.LOG.uploads
    assert [launch.kernel for launch in standin.LOG.launches] == ["features_weights_f64", "features_product_f64"]
    out = cupy.empty((7, 50))
    assert genkern.random_features(there, 50, seed=3, out=out) is out
    np.testing.assert_array_equal(out.get(), found.get())


def test_lists_and_numbers_go_along(cupy):
    (there, also), library = _checks.device_arrays(X=cupy.asarray(X), y=[1, 2, 3])
    assert library.name == "cupy" and library.device == 0
    assert isinstance(also, cupy.ndarray) and also.dtype == np.float64 and there.shape == (7, 4)


def test_the_stream_of_the_caller(cupy):
    there = cupy.asarray(X)
    with cupy.cuda.Stream(non_blocking=True) as stream:
        genkern.random_features(there, 5)
    assert {launch.stream for launch in standin.LOG.launches[-2:]} == {stream}


def test_a_backend_that_does_not_fit(cupy):
    for name in ("reference", "cpp", "numba"):
        if _registry.unavailable(name) is None:
            with pytest.raises(DeviceMismatch, match=f"backend='{name}' works on arrays in host memory, got"):
                genkern.random_features(cupy.asarray(X), 5, backend=name)
    original = genkern.random_features.__wrapped__
    with pytest.raises(DeviceMismatch, match="backend='cupy' works on arrays of a GPU, got arrays in host memory"):
        original(X, 5, backend="cupy")
    with pytest.raises(ValueError, match=r"activation must be one of .* backend='cupy', got a function"):
        genkern.random_features(cupy.asarray(X), 5, activation=abs)


def test_out_elsewhere(cupy):
    with pytest.raises(TypeError, match="out must be an array of cupy as the input is, got numpy"):
        genkern.random_features(cupy.asarray(X), 5, out=np.empty((7, 5)))
    with pytest.raises(TypeError, match="out must be an array of numpy as the input is, got cupy"):
        genkern.random_features(X, 5, out=cupy.empty((7, 5)))
    with pytest.raises(TypeError, match="X and y must be arrays of one library, got cupy and numpy"):
        genkern.lstsq(cupy.asarray(X), np.ones(7))
    with pytest.raises(ValueError, match="out must not overlap X"):
        memory = cupy.zeros((7, 5))
        genkern.random_features(memory[:, :3], 5, out=memory)


def test_options_are_numbers_of_the_host(cupy):
    with pytest.raises(BackendUnavailable, match=r"ridge lives on a CUDA GPU \(0\), and is read on the CPU here"):
        genkern.lstsq(cupy.asarray(X), cupy.ones(7), ridge=cupy.ones(()))
    with pytest.raises(BackendUnavailable, match=r"gamma lives on a CUDA GPU \(0\), and is read on the CPU here"):
        genkern.theory.ridge_risk(cupy.ones(2))


def test_a_function_without_a_version(cupy, monkeypatch):
    monkeypatch.delitem(_registry._TABLE["random_features"], "cupy")
    with pytest.raises(BackendUnavailable, match="random_features has no cupy version"):
        genkern.random_features(cupy.asarray(X), 5)


def test_other_libraries_on_the_gpu(cupy, monkeypatch):
    """A torch tensor on a GPU, as far as one can be had here: through DLPack both ways."""
    torch = pytest.importorskip("torch")

    class Tensor(torch.Tensor):
        standin = cupy.asarray(X)
        __module__ = "torch"

        def __dlpack_device__(self):
            return (2, 0)

        def resolve_conj(self):
            return self

        def resolve_neg(self):
            return self

        def __dlpack__(self, **options):
            raise AssertionError("the stand-in takes the array that the tensor carries")

    taken = []
    monkeypatch.setattr(torch, "from_dlpack", lambda array: taken.append(array) or "a tensor")
    tensor = torch.zeros(7, 4, dtype=torch.float64).as_subclass(Tensor)
    assert genkern.random_features(tensor, 5) == "a tensor"
    assert isinstance(taken[0], cupy.ndarray)
    np.testing.assert_array_equal(taken[0].get(), genkern.random_features(cupy.asarray(X), 5).get())


def test_backends_tells(cupy):
    assert genkern.backends()["cupy"].startswith("available (default of GPU arrays; emulated on the CPU, compute")
