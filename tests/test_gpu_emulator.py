"""The emulator and the stand-in for CuPy, which run the GPU's kernels and launches in these tests: do they tell a wrong
kernel and a wrong launch from a right one?"""

import ctypes
import sys
from pathlib import Path

import numpy as np
import pytest
from gpu import compile, standin
from gpu.standin import EmulationError

SAMPLES = Path(__file__).parent / "gpu" / "samples.cu"
OPTIONS = ("--std=c++17", "--fmad=false", f"-I{compile.CSRC}")

pytestmark = pytest.mark.skipif(compile.compiler() is None, reason="the emulator needs a C++ compiler")


@pytest.fixture
def cupy():
    with standin.installed() as module:
        yield module


@pytest.fixture
def kernel(cupy):
    module = cupy.RawModule(code=SAMPLES.read_text(), options=OPTIONS)
    return module.get_function


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_shared_memory_shuffles_and_atomics(cupy, kernel, dtype, reverse, monkeypatch):
    monkeypatch.setattr(standin.SETTINGS, "reverse", reverse)
    x = np.random.default_rng(0).integers(0, 100, 5000).astype(dtype)
    out = cupy.zeros(1, dtype)
    name = f"sample_sum_f{8 * x.itemsize}"
    kernel(name)((3,), (256,), (cupy.asarray(x), out, np.int64(5000)), shared_mem=256 * x.itemsize)
    assert out.get() == x.sum()
    assert name in standin.LAUNCHED and standin.LOG.launches[-1].block == (256, 1, 1)


def test_lanes(cupy, kernel):
    out = cupy.zeros((8, 32), np.int32)
    kernel("sample_lanes")((1,), (32,), (out,))
    lane = np.arange(32)
    rows = out.get()
    assert np.array_equal(rows[0], lane // 16 * 16 + (lane + 5) % 16)
    assert np.array_equal(rows[1], np.where(lane % 8 >= 3, lane - 3, lane))
    assert np.array_equal(rows[2], np.where(lane % 8 < 5, lane + 3, lane))
    assert np.array_equal(rows[3], lane ^ 9)
    assert set(rows[4].view(np.uint32)) == {sum(1 << i for i in range(0, 32, 3))}
    assert set(rows[5]) == {1}
    assert np.array_equal(rows[6], np.where(lane < 16, 15 - lane, 16))
    assert set(rows[7]) == {8}


@pytest.mark.parametrize("name, arguments, shared, text", [
    ("sample_missing_threads", (np.int32(7),), 0, "7 of 64 threads wait in __syncthreads.*57 threads have ended"),
    ("sample_two_barriers", (np.int32(7),), 0, "thread 7 reaches a barrier at line .* while others wait in __syncth"),
    ("sample_missing_lane", ("out",), 0, "waits for ever in a shuffle with mask 0xffffffff"),
    ("sample_unnamed_lane", ("out",), 0, "shuffles from lane 4, which mask 0xf does not name"),
    ("sample_beyond", ("f", np.int32(80)), 80, "byte 80 of dynamic shared memory was written, of which there are 80"),
    ("sample_outside", ("f", np.int64(64)), 0, "wrote outside of the memory of argument 0"),
    ("sample_outside", ("f", np.int64(-1)), 0, "wrote outside of the memory of argument 0"),
])  # fmt: skip
def test_wrong_kernels(cupy, kernel, name, arguments, shared, text):
    arrays = {"out": cupy.zeros(64, np.int32), "f": cupy.zeros(64, np.float32)}
    given = tuple(arrays[value] if isinstance(value, str) else value for value in arguments)
    with pytest.raises(EmulationError, match=text):
        kernel(name)((1,), (64,), given, shared_mem=shared)


def test_shared_memory_is_nan_until_it_is_written(cupy, kernel):
    out = cupy.zeros(4, np.float32)
    for _ in range(2):  # and again in the next launch
        kernel("sample_unwritten")((1,), (4,), (out,), shared_mem=16)
        assert np.isnan(out.get()).all()


def test_a_missing_barrier_depends_on_the_order(cupy, kernel, monkeypatch):
    found = []
    for reverse in (False, True):
        monkeypatch.setattr(standin.SETTINGS, "reverse", reverse)
        out = cupy.zeros(64, np.float32)
        kernel("sample_race")((1,), (64,), (out,))
        found.append(out.get())
    assert not np.array_equal(*found, equal_nan=True)


@pytest.mark.parametrize("grid, block, arguments, shared, text", [
    ((0,), (32,), None, 0, "cannot be launched"),
    ((1, 65536), (32,), None, 0, "cannot be launched"),
    ((1,), (512,), None, 0, "512 threads, of which a block may have 256"),
    ((1,), (32,), None, 49153, "49153 bytes of shared memory, of which 49152 are allowed"),
    ((1,), (32,), (), 0, "takes 3 arguments, got 0"),
    ((1,), (32,), ("x", "y", 3.0), 0, "argument 2 of sample_sum_f64 must be int64"),
    ((1,), (32,), ("x", "y", np.int32(3)), 0, "argument 2 of sample_sum_f64 must be int64"),
    ((1,), (32,), ("x", "single", 3), 0, "argument 1 of sample_sum_f64 points to f8, got an array of float32"),
    ((1,), (32,), ("host", "y", 3), 0, "argument 0 of sample_sum_f64 must be an array or np.uintp.0., got ndarray"),
    ((1,), (32,), (None, "y", 3), 0, "argument 0 of sample_sum_f64 must be an array or np.uintp.0., got NoneType"),
    ((1,), (32,), (np.uintp(8), "y", 3), 0, "argument 0 of sample_sum_f64 must be an array or np.uintp.0., got uint"),
    ((1,), (32,), ("x", "strided", 3), 0, "argument 1 of sample_sum_f64 is written and must be contiguous"),
])  # fmt: skip
def test_wrong_launches(cupy, kernel, grid, block, arguments, shared, text):
    arrays = {
        "x": cupy.ones(10), "y": cupy.zeros(1), "single": cupy.zeros(1, np.float32), "host": np.ones(10),
        "strided": cupy.zeros(8)[::2],
    }  # fmt: skip
    given = ("x", "y", 10) if arguments is None else arguments
    given = tuple(arrays[value] if isinstance(value, str) else value for value in given)
    with pytest.raises(EmulationError, match=text):
        kernel("sample_sum_f64")(grid, block, given, shared_mem=shared)


def test_more_shared_memory_must_be_asked_for(cupy, kernel):
    function = kernel("sample_sum_f64")
    function.max_dynamic_shared_size_bytes = 60000
    function((1,), (256,), (cupy.ones(10), cupy.zeros(1), 10), shared_mem=60000)
    with pytest.raises(EmulationError, match="more than the device has"):
        function.max_dynamic_shared_size_bytes = 200000


def test_no_array_leaves_the_gpu_unseen(cupy):
    a = cupy.ones((3, 2))
    standin.LOG.downloads.clear()
    for leave in (
        np.asarray,
        np.linalg.norm,
        lambda x: np.ones(2) * x,
        lambda x: x + np.ones(2),
        cupy.sqrt(a).__array__,
    ):
        with pytest.raises(TypeError):
            leave(a)
    assert (a * 2 + 1).T.shape == (2, 3) and not standin.LOG.downloads
    assert bool((a == 1).all()) and a.get().sum() == 6
    assert standin.LOG.downloads == ["bool", "get (3, 2)"]
    assert a.__dlpack_device__() == (2, 0)


def test_the_stand_in_goes_with_its_test(cupy):
    assert sys.modules["cupy"] is cupy


def test_and_is_gone_in_the_next():
    assert "standin" not in getattr(sys.modules.get("cupy"), "__version__", "")


def test_fibers_without_assembly():
    """As on processors for which there is no hand-written switch."""
    library = compile.build(SAMPLES.read_text(), "-DEMULATOR_UCONTEXT")
    x, out = np.arange(1000.0), np.zeros(1)
    pointers = [ctypes.c_void_p(array.ctypes.data) for array in (x, out)]
    kernel = compile.load(library)["sample_sum_f64"]
    assert kernel((2, 1, 1), (64, 1, 1), 512, [*pointers, ctypes.c_int64(1000)]) is None
    assert out == x.sum()
