"""random_features on every backend: against the definition, nesting, layouts, libraries, bad input, memory, Ctrl-C."""

import re
import subprocess
import sys

import numpy as np
import pytest
import tolerances
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from scipy import special, stats

import genkern
from genkern import _random, random_features

ACTIVATIONS = ("identity", "relu", "erf", "tanh", "cos", "sin", "sign", "rff")


def weights_of(seed, start, d, width, weights, dtype):
    """Rounded weights, written out once more."""
    W = _random.normal(seed, 0, np.uint64(start) + np.arange(width, dtype=np.uint64), d)
    if weights == "sphere":
        W = W * (np.sqrt(d) / np.linalg.norm(W, axis=0))
    return W.astype(dtype).astype(np.float64)


def same_bits(a, b):
    return a.dtype == b.dtype and np.array_equal(
        np.ascontiguousarray(a).view(np.uint8), np.ascontiguousarray(b).view(np.uint8)
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("weights", ["gaussian", "sphere"])
@pytest.mark.parametrize("shape", [(37, 0), (1, 1), (13, 5), (9, 64), (7, 700)])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_definition(backend, activation, shape, weights, dtype):
    """To within the rounding of a sum of d products; `sign` wherever that rounding cannot change it."""
    d = shape[1]
    X = np.random.default_rng(0).standard_normal(shape).astype(dtype)
    options = {"bandwidth": 1.5} if activation == "rff" else {}
    found = random_features(X, 131, activation=activation, seed=7, start=3, weights=weights, backend=backend, **options)
    assert found.shape == (shape[0], 131) and found.dtype == dtype
    W = weights_of(7, 3, d, 131, weights, dtype) if d else np.zeros((0, 131))
    scale = 1 / 1.5 if activation == "rff" else 1 / np.sqrt(max(d, 1))
    phases = 2 * np.pi * _random.uniform(7, 1, range(3, 134), 1)[0] if activation == "rff" else 0.0
    z = X.astype(float) @ W * scale + phases
    # About sqrt(d) roundings of partial sums as large as their root mean square; one of z, phase, scale and result.
    norm = np.sqrt(X.astype(float) ** 2 @ W**2) * scale
    slack = np.finfo(dtype).eps * (tolerances.FEATURE_PRODUCT * (np.sqrt(d) + 1) * norm + 3 * np.abs(z) + 3)
    exact = {
        "identity": z, "relu": np.maximum(z, 0), "erf": special.erf(z), "tanh": np.tanh(z),
        "cos": np.cos(z), "sin": np.sin(z), "sign": np.sign(z), "rff": np.sqrt(2) * np.cos(z),
    }[activation]  # fmt: skip
    if activation == "sign":
        clear = np.abs(z) > slack
        assert np.array_equal(found[clear], exact[clear])
    else:
        assert np.all(np.abs(found - exact) <= slack)


def test_weights_read_out(backend):
    """Unit rows and d = 4 (so that 1/sqrt(d) is exact) show the weights to the last bit."""
    for dtype in (np.float64, np.float32):
        found = random_features(
            2 * np.eye(4, dtype=dtype), 300, activation="identity", seed=5, start=9, backend=backend
        )
        assert same_bits(found, _random.normal(5, 0, range(9, 309), 4).astype(dtype))
    found = random_features(2 * np.eye(4), 300, activation="identity", weights="sphere", backend=backend)
    np.testing.assert_allclose(np.linalg.norm(found, axis=0), 2.0, rtol=4e-16)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("weights", ["gaussian", "sphere"])
def test_nested_to_the_last_bit(backend, activation, dtype, weights):
    X = np.random.default_rng(1).standard_normal((50, 270)).astype(dtype)
    options = {"activation": activation, "seed": 2**63 + 1, "weights": weights, "backend": backend}
    whole = random_features(X, 250, **options)
    for first, last in ((0, 100), (40, 100), (97, 98), (249, 250), (100, 250), (60, 60)):
        assert same_bits(random_features(X, last - first, start=first, **options), whole[:, first:last])
    for rows in (slice(0, 1), slice(3, 10), slice(31, 50)):
        assert same_bits(random_features(X[rows], 250, **options), whole[rows])
    for n_threads in (1, 2, 4):
        assert same_bits(random_features(X, 250, n_threads=n_threads, **options), whole)


def test_threads_and_blocks_of_rows(backend):
    """Large enough that every backend splits rows and columns."""
    X = np.random.default_rng(1).standard_normal((3000 if backend != "reference" else 200, 40))
    whole = random_features(X, 200, backend=backend, n_threads=1)
    for n_threads in (2, 4):
        assert same_bits(random_features(X, 200, backend=backend, n_threads=n_threads), whole)
    assert same_bits(random_features(X[150:], 3, start=190, backend=backend), whole[150:, 190:193])


def test_last_columns_of_all(backend):
    X = np.eye(2)
    last = random_features(X, 5, start=2**64 - 5, backend=backend)
    assert same_bits(random_features(X, 1, start=2**64 - 1, backend=backend), last[:, 4:])
    assert random_features(X, 0, start=2**64, backend=backend).shape == (2, 0)


@pytest.mark.parametrize("shape", [(0, 0), (0, 3), (3, 0), (1, 1), (1, 5), (5, 1)])
@pytest.mark.parametrize("width", [0, 1, 2])
@pytest.mark.parametrize("weights", ["gaussian", "sphere"])
def test_small_shapes(backend, shape, width, weights):
    found = random_features(np.ones(shape), width, activation="identity", weights=weights, backend=backend)
    assert found.shape == (shape[0], width) and np.isfinite(found).all()
    if shape[1] == 0:
        assert not found.any()


def test_sphere_in_one_dimension_is_a_sign(backend):
    found = random_features([[1.0]], 100, activation="identity", weights="sphere", backend=backend)
    np.testing.assert_allclose(np.abs(found), 1.0, rtol=4e-16)


def test_layouts(backend):
    base = np.random.default_rng(2).standard_normal((40, 24))
    readonly = base[:8, :6].copy()
    readonly.flags.writeable = False
    fortran = np.asfortranarray(base[:8, :6])
    for X in (
        base[::2, ::3],
        base[::-1, ::-2],
        base.T,
        fortran,
        readonly,
        np.broadcast_to(base[0], (5, 24)),
        base[:, 3:4],
    ):
        assert same_bits(
            random_features(X, 30, backend=backend), random_features(np.ascontiguousarray(X), 30, backend=backend)
        )


def test_dtypes(backend):
    X = np.arange(12).reshape(3, 4)
    assert same_bits(random_features(X, 5, backend=backend), random_features(X.astype(float), 5, backend=backend))
    assert same_bits(
        random_features(X.tolist(), 5, backend=backend), random_features(X.astype(float), 5, backend=backend)
    )
    single = random_features(X, 5, dtype=np.float32, backend=backend)
    assert same_bits(single, random_features(X.astype(np.float32), 5, backend=backend))
    double = random_features(X.astype(np.float32), 5, dtype="float64", backend=backend)
    assert same_bits(double, random_features(X, 5, backend=backend))
    rng = np.random.default_rng(0)
    wide = random_features(rng.standard_normal((4, 30)), 9, dtype=np.float32, backend=backend)
    assert wide.dtype == np.float32


def test_rows_that_are_not_finite(backend):
    for d in (3, 600):
        X = np.random.default_rng(3).standard_normal((20, d))
        clean = random_features(X, 100, backend=backend)
        X[4, 0], X[9, d - 1], X[17, d // 2] = np.nan, np.inf, -np.inf
        for activation in ACTIVATIONS:
            found = random_features(X, 100, activation=activation, backend=backend)
            assert np.isnan(found[[4, 9, 17]]).all()
            assert np.isfinite(np.delete(found, [4, 9, 17], axis=0)).all()
        assert np.array_equal(
            np.delete(random_features(X, 100, backend=backend), [4, 9, 17], axis=0),
            np.delete(clean, [4, 9, 17], axis=0),
        )
    overflow = random_features(np.array([[1e300], [1.0]]), 3, dtype=np.float32, backend=backend)
    assert np.isnan(overflow[0]).all() and np.isfinite(overflow[1]).all()


def test_output_memory(backend):
    X = np.random.default_rng(0).standard_normal((6, 4))
    out = np.full((6, 10), np.nan)
    assert random_features(X, 10, out=out, backend=backend) is out
    assert same_bits(out, random_features(X, 10, backend=backend))
    frozen = np.empty((6, 10))
    frozen.flags.writeable = False
    buffer = np.zeros((6, 10))
    for bad, text in (
        (np.empty((10, 6)), r"out must have shape \(6, 10\), got \(10, 6\)"),
        (np.empty((6, 20))[:, ::2], "out must be C-contiguous"),
        (frozen, "out must be writeable"),
    ):
        with pytest.raises(ValueError, match=text):
            random_features(X, 10, out=bad, backend=backend)
    with pytest.raises(TypeError, match="out must have dtype float64, got float32"):
        random_features(X, 10, out=np.empty((6, 10), np.float32), backend=backend)
    with pytest.raises(ValueError, match="out must not overlap X"):
        random_features(buffer[:, :4], 10, out=buffer, backend=backend)


def test_torch(backend):
    torch = pytest.importorskip("torch")
    X = torch.arange(12, dtype=torch.float32).reshape(3, 4).T / 7
    found = random_features(X, 6, backend=backend)
    assert isinstance(found, torch.Tensor) and found.dtype == torch.float32
    assert same_bits(found.numpy(), random_features(X.numpy(), 6, backend=backend))
    assert random_features(X, 6, dtype=torch.float64, backend=backend).dtype == torch.float64
    out = torch.empty((4, 6))
    assert random_features(X, 6, out=out, backend=backend) is out
    assert torch.equal(out, found)


def test_jax(backend):
    jnp = pytest.importorskip("jax.numpy")
    X = jnp.arange(12.0, dtype=jnp.float32).reshape(3, 4) / 7
    found = random_features(X, 6, backend=backend)
    assert isinstance(found, jnp.ndarray) and found.dtype == jnp.float32
    assert same_bits(np.asarray(found), random_features(np.asarray(X), 6, backend=backend))
    with pytest.raises(TypeError, match="immutable"):
        random_features(X, 6, out=found, backend=backend)


def test_kernel_of_random_fourier_features():
    """Inner products tend to the Gaussian kernel; each is a mean of `width` terms of variance below 2."""
    X = np.random.default_rng(0).standard_normal((6, 5))
    width = 200_000
    F = random_features(X, width, activation="rff", bandwidth=2.0)
    squares = ((X[:, None] - X[None]) ** 2).sum(axis=-1)
    assert np.abs(F @ F.T / width - np.exp(-squares / 8)).max() < stats.norm.isf(5e-4 / 36) * np.sqrt(2 / width)


def test_sphere_is_uniform():
    d = 7
    W = random_features(np.sqrt(d) * np.eye(d), 50_000, activation="identity", weights="sphere", seed=4) / np.sqrt(d)
    for row in W:
        assert stats.kstest(row**2, stats.beta(0.5, (d - 1) / 2).cdf).pvalue > 1e-4
        assert stats.binomtest(np.count_nonzero(row > 0), row.size).pvalue > 1e-4


VALID = {
    "width": 4,
    "activation": "relu",
    "seed": 0,
    "start": 0,
    "weights": "gaussian",
    "bandwidth": 1.0,
    "dtype": None,
    "n_threads": 1,
}
NOT_INTEGERS = st.one_of(
    st.floats(), st.booleans(), st.text(max_size=3), st.none(), st.lists(st.integers(), max_size=2)
)


def not_in(low, high):
    """Anything but an integer in [low, high]."""
    return st.one_of(NOT_INTEGERS, st.integers(max_value=low - 1), st.integers(min_value=high + 1))


BAD = {
    "width": not_in(0, 2**60 - 1),
    "seed": not_in(0, 2**64 - 1),
    "start": not_in(0, 2**64 - VALID["width"]),
    "activation": st.one_of(
        st.text(max_size=4).filter(lambda text: text not in ACTIVATIONS),
        st.integers(),
        st.none(),
        st.lists(st.integers()),
    ),
    "weights": st.one_of(st.text(max_size=4), st.none(), st.integers()),
    "bandwidth": st.one_of(
        st.floats(max_value=0), st.sampled_from([np.nan, np.inf, 1j, "1", None, True, 2.0, 0.5]), st.lists(st.floats())
    ),
    "dtype": st.sampled_from(["int32", np.float16, complex, "nonsense", 3, np.int64, object, [1]]),
    "n_threads": not_in(1, 1024).filter(lambda value: value is not None),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_options(name):
    @settings(max_examples=60, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(BAD[name])
    def check(value):
        with pytest.raises((ValueError, TypeError)) as caught:
            random_features(np.ones((2, 3)), **(VALID | {name: value}))
        assert re.match(name + " must ", str(caught.value))
        assert "\n" not in str(caught.value)

    check()


@example(np.ones(3))
@example(np.ones((2, 2, 2)))
@example(np.ones((2, 2), complex))
@example(np.ones((2, 2), np.float16))
@example(np.array([["a"]]))
@example([[1.0], [1.0, 2.0]])
@example(None)
@example(np.ma.masked_array(np.ones((2, 2))))
@given(st.one_of(st.floats(), st.text(), st.lists(st.floats(), max_size=3)))
@settings(max_examples=30, deadline=None, database=None)
def test_bad_inputs(X):
    with pytest.raises((ValueError, TypeError), match=r"^X must "):
        random_features(X, 4)


def test_bad_combinations():
    X = np.ones((2, 3))
    with pytest.raises(ValueError, match=r"bandwidth must be 1\.0 unless activation='rff'"):
        random_features(X, 4, activation="cos", bandwidth=2.0)
    with pytest.raises(ValueError, match="bandwidth must be a number whose reciprocal float32 can hold"):
        random_features(X, 4, activation="rff", bandwidth=1e-40, dtype=np.float32)
    with pytest.raises(ValueError, match="backend must be None or one of"):
        random_features(X, 4, backend="fortran")
    with pytest.raises(genkern.errors.BackendUnavailable):
        random_features(X, 4, backend="cupy")
    with pytest.raises(TypeError, match="positional"):
        random_features(X, 4, "relu")


MEMORY = """
import sys, numpy as np
from genkern import random_features
def peak():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) * 1024
X = np.ones((4000, 30))
random_features(X[:100], 100, activation=sys.argv[2], backend=sys.argv[1])
before = peak()
out = random_features(X, 8000, activation=sys.argv[2], backend=sys.argv[1])
print((peak() - before) / out.nbytes)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize("activation", ["relu", "rff"])
@pytest.mark.parametrize("backend", ["cpp", "numba"], indirect=True)
def test_nothing_of_the_size_of_the_output_besides_it(backend, activation):
    done = subprocess.run([sys.executable, "-c", MEMORY, backend, activation], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 1.1


INTERRUPT = """
import os, signal, sys, threading, time
import numpy as np
from genkern import random_features
X = np.ones((4000, 4000), np.float32)
random_features(X[:2, :2], 2, backend=sys.argv[1])
sent = []
def interrupt():
    sent.append(time.monotonic())
    os.kill(os.getpid(), signal.SIGINT)
threading.Timer(0.4, interrupt).start()
try:
    random_features(X, 60000, backend=sys.argv[1], n_threads=int(sys.argv[2]))
except KeyboardInterrupt:
    print(time.monotonic() - sent[0])
"""


@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize("backend", ["cpp", "numba"], indirect=True)
def test_interrupt(backend, n_threads):
    done = subprocess.run([sys.executable, "-c", INTERRUPT, backend, str(n_threads)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 1.0
