"""Argument checks: what comes through, and what the messages say."""

import numpy as np
import pytest

from genkern import _checks
from genkern._arrays import NUMPY


class TestRealArrays:
    @pytest.mark.parametrize(
        ("dtypes", "common"),
        [
            (("float32",), "float32"),
            (("float64",), "float64"),
            (("float32", "float64"), "float64"),
            (("int64",), "float64"),
            (("int32", "float32"), "float64"),
            (("bool",), "float64"),
            (("uint8", "uint8"), "float64"),
        ],
    )
    def test_common_dtype(self, dtypes, common):
        views, library = _checks.real_arrays(**{f"a{i}": np.ones(3, dtype) for i, dtype in enumerate(dtypes)})
        assert {view.dtype for view in views} == {np.dtype(common)}
        assert library is NUMPY

    def test_lists_and_numbers(self):
        (a, b), _ = _checks.real_arrays(a=[[1, 2], [3, 4]], b=2.5)
        assert a.dtype == b.dtype == np.float64
        assert (a.shape, b.shape) == ((2, 2), ())

    @pytest.mark.parametrize("index", [np.s_[::2, ::3], np.s_[::-1], np.s_[:, None, ::-2], np.s_[3:3]])
    def test_strided_views_are_not_copied(self, index):
        base = np.arange(60.0).reshape(10, 6)
        (view,), _ = _checks.real_arrays(a=base[index])
        assert view.strides == base[index].strides
        assert view.size == 0 or np.shares_memory(view, base)

    def test_broadcast_and_read_only_are_not_copied(self):
        base = np.broadcast_to(np.arange(4.0), (3, 4))
        (view,), _ = _checks.real_arrays(a=base)
        assert np.shares_memory(view, base)
        assert not view.flags.writeable

    def test_odd_memory_is_copied(self):
        record = np.zeros(5, dtype=[("tag", "i1"), ("value", "f8")])
        record["value"] = np.arange(5)
        swapped = np.arange(5.0).astype(">f8")
        for odd in (record["value"], swapped):
            (view,), _ = _checks.real_arrays(a=odd)
            assert view.dtype == np.float64
            assert view.dtype.isnative
            assert view.flags.aligned
            assert all(stride % 8 == 0 for stride in view.strides)
            np.testing.assert_array_equal(view, np.arange(5))

    @pytest.mark.parametrize("dtype", ["complex128", "float16", "longdouble", "U3", "object", "datetime64[s]"])
    def test_other_dtypes(self, dtype):
        with pytest.raises(TypeError, match=r"^weights must .*got"):
            _checks.real_arrays(weights=np.zeros(3, dtype))

    def test_ragged_and_masked(self):
        with pytest.raises(ValueError, match="X must be a rectangular array"):
            _checks.real_arrays(X=[[1, 2], [3]])
        with pytest.raises(TypeError, match="X must be a plain array, got a masked array"):
            _checks.real_arrays(X=np.ma.masked_array([1.0, 2.0], [True, False]))


def test_minimum_axes():
    _checks.minimum_axes("X", np.zeros((2, 3)), 2, "(..., n, d)")
    with pytest.raises(ValueError, match=r"X must have shape \(\.\.\., n, d\), got \(3,\)"):
        _checks.minimum_axes("X", np.zeros(3), 2, "(..., n, d)")


def test_broadcast_batch():
    assert _checks.broadcast_batch({"X": (4, 1), "y": (3,)}) == (4, 3)
    assert _checks.broadcast_batch({"X": (0,), "y": (1,)}) == (0,)
    with pytest.raises(ValueError, match=r"batch axes must broadcast, got X \(4,\), y \(3,\)"):
        _checks.broadcast_batch({"X": (4,), "y": (3,)})


def test_nonnegative():
    np.testing.assert_array_equal(_checks.nonnegative("ridge", [0, 2]), [0.0, 2.0])
    assert _checks.nonnegative("ridge", np.float32(1)).dtype == np.float64
    for bad in (-1.0, np.nan, np.inf, [0.0, -2.0]):
        with pytest.raises(ValueError, match="ridge must be finite and >= 0, got"):
            _checks.nonnegative("ridge", bad)


def test_real_number():
    for good in (2, 2.0, np.float32(2), np.array(2.0), np.int8(2)):
        assert _checks.real_number("step_size", good, low=0, strict=True) == 2.0
    for bad in ("2", None, True, np.bool_(True), 1j, [2.0]):
        with pytest.raises(TypeError, match="step_size must be a real number, got"):
            _checks.real_number("step_size", bad)
    for bad in (0.0, -1, np.nan, np.inf):
        with pytest.raises(ValueError, match="step_size must be finite and > 0 and < 5, got"):
            _checks.real_number("step_size", bad, low=0, high=5, strict=True)
    assert _checks.real_number("momentum", 0, low=0, high=1) == 0.0


def test_integer():
    for good in (3, np.int64(3), np.uint8(3)):
        assert _checks.integer("width", good, low=1) == 3
    for bad in (3.0, "3", True, None, np.bool_(True)):
        with pytest.raises(TypeError, match="width must be an integer, got"):
            _checks.integer("width", bad, low=1)
    with pytest.raises(ValueError, match="width must be >= 1, got 0"):
        _checks.integer("width", 0, low=1)
    with pytest.raises(ValueError, match=r"width must be in \[1, 4\], got 5"):
        _checks.integer("width", 5, low=1, high=4)


def test_choice():
    assert _checks.choice("activation", "relu", ("relu", "erf")) == "relu"
    for bad in ("sigmoid", 3, None):
        with pytest.raises(ValueError, match="activation must be one of relu, erf, got"):
            _checks.choice("activation", bad, ("relu", "erf"))


class TestOutput:
    dtype = np.dtype(np.float64)

    def check(self, out, inputs=None):
        return _checks.output(out, (2, 3), self.dtype, NUMPY, inputs or {})

    def test_fresh_or_given(self):
        assert self.check(None).shape == (2, 3)
        out = np.empty((2, 3))
        assert np.shares_memory(self.check(out), out)

    def test_refusals(self):
        read_only = np.empty((2, 3))
        read_only.flags.writeable = False
        cases = [
            ([[0.0] * 3] * 2, TypeError, "out must be an array, got list"),
            (np.empty((3, 2)), ValueError, r"out must have shape \(2, 3\), got \(3, 2\)"),
            (np.empty((2, 3), np.float32), TypeError, "out must have dtype float64, got float32"),
            (read_only, ValueError, "out must be writeable"),
            (np.empty((3, 2)).T, ValueError, "out must be C-contiguous"),
        ]
        for out, kind, message in cases:
            with pytest.raises(kind, match=message):
                self.check(out)

    def test_overlap(self):
        memory = np.zeros(12)
        with pytest.raises(ValueError, match="out must not overlap X"):
            self.check(memory[:6].reshape(2, 3), {"X": memory[3:9]})


def test_threads():
    assert _checks.threads(3) == 3
    assert 1 <= _checks.threads(None) <= _checks.MAX_THREADS
    for bad in (0, -1, _checks.MAX_THREADS + 1):
        with pytest.raises(ValueError, match="n_threads must be in"):
            _checks.threads(bad)
    for bad in (1.0, "2", True):
        with pytest.raises(TypeError, match="n_threads must be an integer"):
            _checks.threads(bad)
