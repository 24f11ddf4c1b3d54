"""Arrays of other libraries: viewed without a copy, given back in kind, refused with a reason."""

import numpy as np
import pytest

from genkern import _arrays, _checks
from genkern.errors import BackendUnavailable, DeviceMismatch


class OnDevice:
    """Stands for an array on a device that this machine need not have."""

    def __init__(self, kind, index=0):
        self.device = (kind, index)

    def __dlpack_device__(self):
        return self.device

    def __dlpack__(self, **options):
        raise BufferError("not host memory")


def test_gpu_arrays_are_refused_not_copied():
    with pytest.raises(BackendUnavailable, match=r"X lives on a CUDA GPU \(1\), .* move it to the CPU first"):
        _arrays.library_of({"X": OnDevice(2, 1)})


def test_mixed_devices():
    with pytest.raises(DeviceMismatch, match=r"one device, got X on a CUDA GPU \(0\), y on a CUDA GPU \(1\)"):
        _arrays.library_of({"X": OnDevice(2, 0), "y": OnDevice(2, 1)})


def test_anything_numpy_converts():
    class Frame:
        def __array__(self, dtype=None, copy=None):
            return np.arange(3.0)

    assert _arrays.library_of({"X": Frame(), "y": [1, 2]}) is _arrays.NUMPY
    np.testing.assert_array_equal(_arrays.to_numpy("X", Frame()), [0, 1, 2])
    np.testing.assert_array_equal(_arrays.to_numpy("X", memoryview(b"ab")), [97, 98])


def test_unviewable():
    with pytest.raises(TypeError, match="X of type OnDevice cannot be viewed through DLPack"):
        _arrays.to_numpy("X", OnDevice(1))


def test_numpy_in_numpy_out():
    X = np.arange(4.0)
    assert _arrays.library_of({"X": X, "y": None, "z": 2}).wrap(X) is X


class TestTorch:
    @pytest.fixture
    def torch(self):
        return pytest.importorskip("torch")

    def test_round_trip_shares_memory(self, torch):
        tensor = torch.arange(12.0, dtype=torch.float64).reshape(3, 4)
        for view in (tensor, tensor.T, tensor[:, ::2]):
            (array,), library = _checks.real_arrays(X=view)
            assert array.__array_interface__["data"][0] == view.data_ptr()
            np.testing.assert_array_equal(array, view.numpy())
            result = library.wrap(np.asarray(array))
            assert isinstance(result, torch.Tensor)
        assert library.name == "torch"

    def test_out_is_filled_in_place(self, torch):
        (_,), library = _checks.real_arrays(X=torch.ones(2, dtype=torch.float32))
        out = torch.zeros(3, dtype=torch.float32)
        _checks.output(out, (3,), np.dtype(np.float32), library, {})[:] = 5
        assert out.tolist() == [5, 5, 5]
        with pytest.raises(TypeError, match="out must be an array of torch as the input is, got numpy"):
            _checks.output(np.zeros(3, np.float32), (3,), np.dtype(np.float32), library, {})

    def test_refusals(self, torch):
        with pytest.raises(TypeError, match=r"X must not require a gradient .*detach"):
            _checks.real_arrays(X=torch.ones(2, requires_grad=True))
        with pytest.raises(TypeError, match="X must be a dense tensor"):
            _checks.real_arrays(X=torch.eye(2).to_sparse())
        with pytest.raises(TypeError, match=r"X must have dtype .*bfloat16"):
            _checks.real_arrays(X=torch.ones(2, dtype=torch.bfloat16))
        with pytest.raises(TypeError, match="must be arrays of one library, got torch and numpy"):
            _checks.real_arrays(X=torch.ones(2), y=np.ones(2))


class TestJax:
    @pytest.fixture
    def jnp(self):
        return pytest.importorskip("jax.numpy")

    def test_round_trip(self, jnp):
        (array,), library = _checks.real_arrays(X=jnp.arange(4, dtype=jnp.float32))
        assert array.dtype == np.float32
        result = library.wrap(array * 2)
        assert isinstance(result, jnp.ndarray)
        assert result.tolist() == [0, 2, 4, 6]

    def test_out_cannot_be_jax(self, jnp):
        (_,), library = _checks.real_arrays(X=jnp.ones(2, dtype=jnp.float32))
        with pytest.raises(TypeError, match="out must be writeable, got a JAX array"):
            _checks.output(jnp.ones(2), (2,), np.dtype(np.float32), library, {})
