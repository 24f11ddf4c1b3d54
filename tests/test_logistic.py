"""Descent on margin losses on every backend: the plain loop, arguments, arrays of other libraries, bits, interrupts."""

import itertools
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from gpu.standin import to_gpu
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tolerances import DESCENT_STEP

import genkern

DTYPES = [np.float64, np.float32]
ALGORITHMS = ("gd", "normalized", "heavy_ball", "accelerated", "sign", "coordinate", "mirror")
LOSSES = ("logistic", "exponential")


def problem(n, d, batch=(), dtype=np.float64, seed=0):
    rng = np.random.default_rng([n, d, seed])
    return rng.standard_normal((*batch, n, d)).astype(dtype), rng.choice([-1.0, 1.0], (*batch, n)).astype(dtype)


def weights_of(loss, u):
    with np.errstate(over="ignore"):
        return np.exp(-u) if loss == "exponential" else 1.0 / (1.0 + np.exp(u))


def loop(Z, eta, steps, loss="logistic", init=None):
    """The loop that a user would write."""
    w = np.zeros(Z.shape[1], Z.dtype) if init is None else init.copy()
    eta = Z.dtype.type(eta)
    path = {0: w}
    for t in range(1, int(steps[-1]) + 1):
        w = w + eta * (Z.T @ weights_of(loss, Z @ w))
        if t in steps:
            path[t] = w
    return np.array([path[t] for t in steps])


def assert_close(found, expected, steps, n, d, factor=DESCENT_STEP):
    scale = np.abs(expected).max()
    atol = factor * np.finfo(found.dtype).eps * (np.asarray(steps) + n + d) * scale
    worst = np.abs(found.astype(float) - expected).max(axis=-1)
    assert np.all(worst <= atol), (worst, atol)


# The loop


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("shape", [(30, 5), (8, 60), (90, 33)])
def test_ten_thousand_steps_are_those_of_a_plain_loop(backend, shape, loss):
    X, y = problem(*shape)
    steps = [0, 1, 2, 10, 100, 1000, 9999, 10000]
    path = genkern.logistic_path(X, y, steps, loss=loss, method="exact", backend=backend)
    expected = loop(y[:, None] * X, float(path.step_size), steps, loss)
    assert_close(path.coef, expected, steps, *shape)
    assert path.status == 0 and not path.error.any()


@pytest.mark.parametrize("shape", [(12, 7), (7, 30), (300, 70)])
def test_float32_is_as_near_to_exact_steps_as_a_plain_loop(backend, shape):
    X, y = problem(*shape, dtype=np.float32)
    steps = [1, 10, 300]
    path = genkern.logistic_path(X, y, steps, method="exact", backend=backend)
    expected = loop((y[:, None] * X).astype(float), float(path.step_size), steps)
    assert path.coef.dtype == np.float32
    assert_close(path.coef, expected, steps, *shape)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("shape", [(1, 1), (5, 3), (3, 5), (33, 9), (6, 70)])
def test_against_the_reference(backend, shape, algorithm, loss):
    X, y = problem(*shape, batch=(3,))
    init = np.random.default_rng(1).standard_normal((3, shape[1]))
    steps = [0, 1, 2, 7, 40]
    schedules = ("constant", "sqrt") if algorithm in ("normalized", "sign", "coordinate", "mirror") else ("constant",)
    for schedule, start in itertools.product(schedules, (None, init)):
        options = {"loss": loss, "algorithm": algorithm, "schedule": schedule, "init": start, "method": "exact"}
        options |= {"p": 3.0} if algorithm == "mirror" else {}
        options |= {"momentum": 0.5} if algorithm == "heavy_ball" else {}
        found = genkern.logistic_path(X, y, steps, backend=backend, **options)
        expected = genkern.logistic_path(X, y, steps, backend="reference", **options)
        np.testing.assert_array_equal(found.status, 0)
        # A root of a small dual entry, and the sign of a small gradient, magnify rounding.
        factor = {"mirror": 1e4, "accelerated": 64}.get(algorithm, 16)
        for item in range(3):
            assert_close(found.coef[item], expected.coef[item], steps, *shape, factor)
            np.testing.assert_allclose(found.log_loss[item], expected.log_loss[item], rtol=1e-10, atol=1e-10)
            np.testing.assert_allclose(found.norm[item], expected.norm[item], rtol=1e-10)
            np.testing.assert_allclose(found.margin[item], expected.margin[item], rtol=1e-8, atol=1e-10)
        np.testing.assert_allclose(found.step_size, expected.step_size, rtol=1e-14)


def test_the_first_steps_by_hand():
    """The definitions of the docstring, one step after another, for all algorithms; the reference against them."""
    X, y = problem(6, 4)
    Z, eta = y[:, None] * X, 0.1

    def q(w):  # minus the gradient of log L
        u = Z @ w
        return Z.T @ weights_of("logistic", u) / np.log1p(np.exp(-u)).sum()

    def path(algorithm, **options):
        options = {"algorithm": algorithm, "step_size": eta, "backend": "reference", **options}
        return genkern.logistic_path(X, y, [1, 2, 3], **options).coef

    w, before, v, dual = np.zeros((7, 4)), np.zeros(4), np.zeros(4), np.zeros(4)
    found = {name: path(name, **({"p": 3.0} if name == "mirror" else {})) for name in ALGORITHMS}
    decaying = path("normalized", schedule="sqrt")
    slow = np.zeros(4)
    for t in (1, 2, 3):
        g = Z.T @ weights_of("logistic", Z @ w[2])
        w[0] = w[0] + eta * (Z.T @ weights_of("logistic", Z @ w[0]))
        w[1] = w[1] + eta * q(w[1])
        before, w[2] = w[2].copy(), w[2] + eta * g + 0.9 * (w[2] - before)
        direction = q(w[3])
        v = (t - 1) / t * (v + direction)
        w[3] = w[3] + eta * (v + direction)
        w[4] = w[4] + eta * np.sign(q(w[4]))
        j = np.argmax(np.abs(q(w[5])))
        w[5, j] += eta * q(w[5])[j]
        dual = dual + eta * q(w[6])
        w[6] = np.sign(dual) * np.abs(dual) ** 0.5
        slow = slow + eta / np.sqrt(t) * q(slow)
        for index, name in enumerate(ALGORITHMS):
            np.testing.assert_allclose(found[name][t - 1], w[index], rtol=1e-12, atol=1e-15)
        np.testing.assert_allclose(decaying[t - 1], slow, rtol=1e-12)


def test_what_is_measured(backend):
    X, y = problem(9, 4, batch=(2,))
    path = genkern.logistic_path(X, y, [0, 3, 50], backend=backend)
    u = np.einsum("bnd,btd->btn", y[..., None] * X, path.coef)
    norm = np.linalg.norm(path.coef, axis=-1)
    np.testing.assert_allclose(path.loss, np.log1p(np.exp(-u)).sum(-1), rtol=1e-13)
    np.testing.assert_allclose(path.log_loss, np.log(path.loss), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(path.norm, norm, rtol=1e-14)
    np.testing.assert_allclose(path.margin[:, 1:], u.min(-1)[:, 1:] / norm[:, 1:], rtol=1e-13)
    assert np.isnan(path.margin[:, 0]).all()
    direction = np.array([1.0, -2.0, 0.5, 0.0])
    cosine = path.coef[:, 1:] @ direction / norm[:, 1:] / np.linalg.norm(direction)
    np.testing.assert_allclose(path.angle(direction)[:, 1:], np.arccos(cosine), rtol=1e-12)
    assert path.angle(path.coef[0, 2])[0, 2] == 0
    np.testing.assert_array_equal(path.angle(np.stack([direction, 2 * direction]))[0], path.angle(direction)[0])


def test_large_margins_keep_their_logarithm(backend):
    X, y = np.eye(2) * 1e3, np.ones(2)
    path = genkern.logistic_path(X, y, 0, init=[1.0, 2.0], backend=backend)
    assert path.log_loss == pytest.approx(-1000.0) and path.loss == 0 and path.margin == pytest.approx(1000 / 5**0.5)
    path = genkern.logistic_path(X, y, 0, init=[-1.0, -2.0], backend=backend)
    assert path.loss == pytest.approx(3000.0)


def test_default_step_sizes(backend):
    X, y = problem(7, 4, batch=(2,))
    s_max = np.linalg.norm(X, 2, axis=(1, 2))
    largest = [np.linalg.norm(X, q, axis=2).max(1) for q in (1, 1.5, 2, np.inf)]
    start = np.full(4, 0.1)
    L = np.exp(-y * (X @ start)).sum(1)
    expected = {
        ("gd", "logistic"): 4 / s_max**2,
        ("heavy_ball", "logistic"): 0.4 / s_max**2,
        ("gd", "exponential"): 1 / (L * largest[2] ** 2),
        ("heavy_ball", "exponential"): 0.1 / (L * largest[2] ** 2),
        ("normalized", "logistic"): 1 / largest[2] ** 2,
        ("accelerated", "exponential"): 1 / largest[2] ** 2,
        ("sign", "logistic"): 0.1 / largest[0],
        ("coordinate", "logistic"): 1 / largest[3] ** 2,
        ("mirror", "logistic"): 1 / largest[1] ** 3,
    }
    for (algorithm, loss), sizes in expected.items():
        p = 3.0 if algorithm == "mirror" else None
        path = genkern.logistic_path(X, y, 5, algorithm=algorithm, loss=loss, p=p, init=start, backend=backend)
        np.testing.assert_allclose(path.step_size, sizes, rtol=1e-12)
        assert path.step_size.shape == (2,)


@pytest.mark.parametrize("loss", LOSSES)
def test_the_default_step_never_raises_the_loss(loss):
    for seed, n, d in ((0, 40, 3), (1, 10, 30), (2, 2, 1)):
        X, y = problem(n, d, seed=seed)
        init = 2 * np.random.default_rng(seed).standard_normal(d)
        values = genkern.logistic_path(X, y, np.arange(200), loss=loss, init=init, method="exact").log_loss
        assert np.all(np.diff(values) <= 1e-14)


# Shapes, data


def test_shapes_and_broadcasting(backend):
    X, y = problem(6, 3, batch=(4, 1))
    labels = problem(6, 3, batch=(1, 2), seed=1)[1]
    path = genkern.logistic_path(X, labels, [1, 5], step_size=[[0.1, 0.2]], init=np.ones((4, 1, 3)), backend=backend)
    assert path.coef.shape == (4, 2, 2, 3) and path.error.shape == path.margin.shape == (4, 2, 2)
    assert path.status.shape == path.step_size.shape == (4, 2) and path.steps.tolist() == [1, 5]
    for i, j in itertools.product(range(4), range(2)):
        one = genkern.logistic_path(
            X[i, 0], labels[0, j], [1, 5], step_size=[0.1, 0.2][j], init=np.ones(3), backend=backend
        )
        for name in ("coef", "log_loss", "margin", "norm", "status"):
            np.testing.assert_array_equal(getattr(path, name)[i, j], getattr(one, name))
    number = genkern.logistic_path(X, y, 5.9, backend=backend)
    assert number.coef.shape == (4, 1, 3) and number.steps == 5
    assert genkern.logistic_path(X, y, [], backend=backend).coef.shape == (4, 1, 0, 3)
    floored = genkern.logistic_path(X[0, 0], y[0, 0], np.logspace(0, 1, 12), backend=backend)
    assert np.array_equal(floored.steps, np.floor(np.logspace(0, 1, 12)))


def test_empty_sizes(backend):
    assert genkern.logistic_path(np.ones((0, 4, 3)), np.ones((0, 4)), [1], backend=backend).coef.shape == (0, 1, 3)
    for method in ("exact",) if backend == "cupy" else ("exact", "continued"):
        path = genkern.logistic_path(np.ones((0, 2)), np.ones(0), [0, 5000], method=method, backend=backend)
        assert not path.coef.any() and path.status == 0 and np.all(path.log_loss == -np.inf)
        path = genkern.logistic_path(np.ones((2, 0)), np.ones(2), [0, 5000], method=method, backend=backend)
        assert path.coef.shape == (2, 0) and path.status == 0 and np.allclose(path.loss, 2 * np.log(2))
        path = genkern.logistic_path(np.zeros((2, 3)), np.ones(2), [0, 5000], method=method, backend=backend)
        assert not path.coef.any() and path.status == 0


def test_one_class_alone(backend):
    X = np.abs(problem(5, 3)[0])
    path = genkern.logistic_path(X, -np.ones(5), [10, 1e4], backend=backend)
    assert path.status == 0 and np.all(path.coef[-1] < 0) and path.margin[-1] > 0


@pytest.mark.parametrize("continued", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_bad_item_leaves_the_others_alone(backend, dtype, continued):
    X, y = problem(6, 3, batch=(5,), dtype=dtype)
    init = np.zeros((5, 3), dtype)
    steps, method = ([3, 1000], "continued") if continued else ([3, 40], "exact")
    if continued and backend == "cupy":
        with pytest.raises(genkern.errors.BackendUnavailable, match="steps are not continued on a GPU"):
            genkern.logistic_path(X, y, steps, init=init, method=method, backend=backend)
        return
    clean = genkern.logistic_path(X, y, steps, init=init, method=method, backend=backend)
    for value, where in itertools.product((np.nan, np.inf), ("X", "y", "init")):
        data = {"X": X.copy(), "y": y.copy(), "init": init.copy()}
        data[where][2].flat[-1] = value
        found = genkern.logistic_path(
            data["X"], data["y"], steps, init=data["init"], method=method, step_size=clean.step_size, backend=backend
        )
        assert found.status.tolist() == [0, 0, 1, 0, 0]
        for name in ("coef", "log_loss", "loss", "margin", "norm", "error"):
            assert np.isnan(getattr(found, name)[2]).all()
            others = [0, 1, 3, 4]
            np.testing.assert_array_equal(getattr(found, name)[others], getattr(clean, name)[others])


@pytest.mark.parametrize("algorithm", ["gd", "heavy_ball"])
def test_divergence_is_a_status(backend, algorithm):
    X, y = problem(12, 3, batch=(4,))
    path = genkern.logistic_path(
        X, y, [0, 1, 400], loss="exponential", algorithm=algorithm, step_size=[1e-3, 50.0, 1e-3, 50.0], backend=backend
    )
    assert path.status.tolist() == [0, 2, 0, 2]
    assert np.isfinite(path.coef[::2]).all() and np.isfinite(path.coef[:, :2]).all()
    assert np.isnan(path.coef[1::2, 2]).all() and np.isnan(path.log_loss[1::2, 2]).all()


def test_a_step_size_that_float64_cannot_hold_is_a_status(backend):
    """The default is of the order of the data to the power -2: inf or 0 here, neither of which gets anywhere."""
    X, y = problem(6, 3)
    for scale in (1e-160, 1e-300, 1e160, 1e300):
        batch = np.stack([X, scale * X])
        for options in ({}, {"loss": "exponential"}, {"algorithm": "normalized"}, {"algorithm": "mirror", "p": 3.0}):
            path = genkern.logistic_path(batch, y, [0, 20], backend=backend, **options)
            assert (
                path.status.tolist() == [0, 2] and np.isnan(path.coef[1, 1]).all() and np.isfinite(path.coef[0]).all()
            )
    for scale in (1e-140, 1e140):  # its own step size where there is one
        path = genkern.logistic_path(scale * X, y, 20, backend=backend)
        plain = genkern.logistic_path(X, y, 20, backend=backend)
        np.testing.assert_allclose(path.coef * scale, plain.coef, rtol=1e-12)
    assert genkern.logistic_path(np.zeros((2, 3)), y[:2], 20, backend=backend).step_size == 1


def test_layouts(backend):
    X, y = problem(8, 5, batch=(3,))
    expected = genkern.logistic_path(X, y, [7], step_size=0.1, backend=backend).coef
    frozen = X.copy()
    frozen.flags.writeable = False
    views = [np.asfortranarray(X), np.repeat(X, 2, axis=2)[..., ::2], frozen, X[::-1, ::-1][::-1, ::-1]]
    for view in views:
        found = genkern.logistic_path(view, y, [7], step_size=0.1, backend=backend).coef
        np.testing.assert_array_equal(found, expected)
    ints = np.round(4 * X).astype(np.int8)
    np.testing.assert_array_equal(
        genkern.logistic_path(ints, y.astype(int), [7], backend=backend).coef,
        genkern.logistic_path(ints.astype(float), y, [7], backend=backend).coef,
    )
    assert genkern.logistic_path(X.astype(np.float32), y.astype(int), [7], backend=backend).coef.dtype == np.float32


def test_out(backend):
    X, y = problem(5, 3, batch=(2,))
    expected = genkern.logistic_path(X, y, [2, 9], backend=backend).coef
    out = np.full((2, 2, 3), 7.0)
    assert genkern.logistic_path(X, y, [2, 9], out=out, backend=backend).coef is out
    np.testing.assert_array_equal(out, expected)
    with pytest.raises(ValueError, match=r"^out must have shape"):
        genkern.logistic_path(X, y, [2], out=out, backend=backend)
    with pytest.raises(ValueError, match=r"^out must not overlap init"):
        genkern.logistic_path(X[0], y[0], 2, init=out[0, 0], out=out[0, 0], backend=backend)


def test_torch(backend):
    torch = pytest.importorskip("torch")
    X, y = problem(5, 3, batch=(2,), dtype=np.float32)
    A, b = torch.from_numpy(X), torch.from_numpy(y)
    path = genkern.logistic_path(A, b, torch.tensor([1, 9]), backend=backend)
    for name in ("steps", "coef", "log_loss", "loss", "margin", "norm", "error", "step_size", "status"):
        assert isinstance(getattr(path, name), torch.Tensor)
    assert path.coef.dtype == torch.float32
    np.testing.assert_array_equal(path.coef.numpy(), genkern.logistic_path(X, y, [1, 9], backend=backend).coef)
    assert isinstance(path.angle(torch.ones(3)), torch.Tensor)
    out = torch.empty((2, 2, 3))
    assert genkern.logistic_path(A, b, [1, 9], out=out, backend=backend).coef is out
    assert torch.equal(out, path.coef)


def test_jax(backend):
    jnp = pytest.importorskip("jax.numpy")
    X, y = problem(5, 3, dtype=np.float32)
    path = genkern.logistic_path(jnp.asarray(X), jnp.asarray(y), [1, 9], backend=backend)
    assert isinstance(path.coef, type(jnp.zeros(1))) and isinstance(path.angle(jnp.ones(3)), type(path.coef))
    np.testing.assert_array_equal(np.asarray(path.coef), genkern.logistic_path(X, y, [1, 9], backend=backend).coef)


# Arguments


def call(**options):
    X, y = problem(5, 3, batch=(2,))
    arguments = {"X": X, "y": y, "steps": [1, 5]} | options
    return genkern.logistic_path(**arguments)


def identity(u):
    return u


@pytest.mark.parametrize(
    ("error", "message", "options"),
    [
        (ValueError, r"X must have shape \(\.\.\., n, d\)", {"X": np.ones(3)}),
        (ValueError, r"y must have shape \(\.\.\., n\) with n = 5", {"y": np.ones((2, 4))}),
        (ValueError, r"y must be -1 or \+1, got 0", {"y": np.zeros((2, 5))}),
        (ValueError, r"y must be -1 or \+1, got 0.5", {"y": np.full(5, 0.5)}),
        (ValueError, "batch axes must broadcast", {"y": np.ones((3, 5))}),
        (ValueError, "batch axes must broadcast", {"step_size": [0.1, 0.1, 0.1]}),
        (ValueError, r"init must have shape \(\.\.\., d\) with d = 3", {"init": np.ones(4)}),
        (ValueError, r"steps must be numbers in \[0, 1e300\], got -1", {"steps": [-1, 2]}),
        (ValueError, r"steps must be numbers in \[0, 1e300\], got nan", {"steps": np.nan}),
        (ValueError, r"steps must be numbers in \[0, 1e300\], got inf", {"steps": [1, np.inf]}),
        (ValueError, "steps must be sorted in increasing order, got 2 after 5", {"steps": [1, 5, 2]}),
        (ValueError, "steps must be a number or one-dimensional", {"steps": [[1]]}),
        (ValueError, "steps must be below 2\\^53", {"steps": 1e20, "method": "exact"}),
        (ValueError, "steps must be below 2\\^53", {"steps": 1e20, "algorithm": "normalized"}),
        (ValueError, "step_size must be finite and > 0, got 0", {"step_size": 0}),
        (ValueError, "step_size must be finite and > 0, got -1", {"step_size": -1.0}),
        (ValueError, "step_size must be given with a loss of your own", {"loss": (identity, identity)}),
        (TypeError, "loss must come with its derivative", {"loss": identity}),
        (TypeError, "loss must be a name or a pair of functions", {"loss": (identity,)}),
        (TypeError, "loss must be a name or a pair of functions", {"loss": (identity, None)}),
        (ValueError, "loss must be one of logistic, exponential", {"loss": "hinge"}),
        (ValueError, "algorithm must be one of gd, ", {"algorithm": "adam"}),
        (ValueError, "schedule must be one of", {"schedule": "linear"}),
        (ValueError, "schedule must be 'constant' for algorithm='gd'", {"schedule": "sqrt"}),
        (ValueError, "momentum must be", {"algorithm": "heavy_ball", "momentum": 1.0}),
        (ValueError, "momentum is an option of algorithm='heavy_ball'", {"momentum": 0.5}),
        (ValueError, "p must be given for algorithm='mirror'", {"algorithm": "mirror"}),
        (ValueError, "p must be finite and > 1", {"algorithm": "mirror", "p": 1.0}),
        (ValueError, "p is an option of algorithm='mirror'", {"p": 3.0}),
        (ValueError, "method must be one of auto, exact, continued", {"method": "fast"}),
        (ValueError, "method must be 'exact' or 'auto' with algorithm='sign'",
         {"algorithm": "sign", "method": "continued"}),
        (ValueError, "method must be 'exact' or 'auto' with a loss of your own",
         {"loss": (identity, identity), "step_size": 1.0, "method": "continued"}),
        (ValueError, "rtol must be finite and > 0", {"rtol": 0.0}),
        (TypeError, "progress must be None, True, False or a function", {"progress": 3}),
        (ValueError, "n_threads must be", {"n_threads": 0}),
    ],
)  # fmt: skip
def test_bad_arguments(backend, error, message, options):
    with pytest.raises(error, match=f"^{message}") as caught:
        call(backend=backend, **options)
    assert "\n" not in str(caught.value)


anything = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(), st.text(max_size=3), st.complex_numbers(),
    st.lists(st.floats(), max_size=3), st.builds(dict), st.builds(object),
)  # fmt: skip
NAMES = ["X", "y", "steps", "step_size", "loss", "algorithm", "schedule", "momentum", "p", "method", "init", "rtol",
         "progress", "out", "n_threads"]  # fmt: skip


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(argument=st.sampled_from(NAMES), value=anything)
def test_no_argument_crashes(backend, argument, value):
    X, y = problem(4, 3)
    if argument == "progress" and value is True:
        return  # a bar on the terminal
    try:
        genkern.logistic_path(**({"X": X, "y": y, "steps": [3]} | {argument: value}), backend=backend)
    except (ValueError, TypeError) as error:
        assert "\n" not in str(error) and str(error).startswith((*NAMES, "batch axes")), error
    except genkern.errors.BackendUnavailable as error:
        assert backend == "cupy" and argument == "steps" and "steps are not continued" in str(error)


# Bits, threads, interrupts


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("loss", LOSSES)
def test_bits_do_not_depend_on_threads_batch_or_order(backend, loss, dtype):
    shapes = [(1, 1), (2, 3), (7, 4), (16, 8), (33, 5), (3, 40), (9, 70), (41, 47), (70, 20), (150, 90)]
    items = 11 if backend == "cpp" else 2  # the others do one item after another
    for n, d in shapes[: None if backend == "cpp" else 4]:
        X, y = problem(n, d, batch=(items,), dtype=dtype)
        sizes = np.linspace(0.01, 0.05, items) / n
        for method, steps in (("exact", [3, 500 if n < 40 else 60]), ("continued", [400, 1e9])):
            if method == "continued" and (
                (n, d) not in [(7, 4), (3, 40)][: None if backend == "cpp" else 1]
                or (backend != "cpp" and dtype != np.float64)
                or backend == "cupy"
            ):
                continue

            def run(where, method=method, steps=steps, X=X, y=y, sizes=sizes, **options):
                return genkern.logistic_path(
                    X[where], y[where], steps, step_size=sizes[where], loss=loss, method=method, backend=backend,
                    **options,
                )  # fmt: skip

            whole = run(slice(None), n_threads=1)
            order = np.random.default_rng(n).permutation(items)
            parts = [(slice(None), {"n_threads": 2}), (order, {"n_threads": 2}), (slice(1, None), {})]
            parts += [(item, {}) for item in (0, items - 1)]
            for where, options in parts:
                found = run(where, **options)
                for name in ("coef", "log_loss", "margin", "norm", "error", "status"):
                    np.testing.assert_array_equal(getattr(found, name), getattr(whole, name)[where])


@pytest.mark.parametrize("dtype", DTYPES)
def test_threads_that_share_one_problem_change_no_bit(backend, dtype):
    """Large enough for strips of rows, in panels (few columns), blocks, and the triangle of a wide problem."""
    if backend != "cpp":
        return  # one thread
    for n, d, steps in ((600, 45, 1500), (400, 200, 200), (250, 900, 400)):
        X, y = problem(n, d, dtype=dtype)
        size = 1.0 / np.linalg.norm(X.astype(float), 2) ** 2
        cases = [{"algorithm": "gd"}, {"algorithm": "heavy_ball"}, {"loss": "exponential"}]
        for case in [*cases, {"method": "continued"}] if d < 100 else cases:
            case = {"method": "exact", "step_size": size} | case

            def run(X, y, threads, case=case, steps=steps):
                counts = [1, 2, steps // 3, steps] + [1e6] * (case["method"] == "continued")
                return genkern.logistic_path(X, y, counts, backend=backend, n_threads=threads, **case)

            alone = run(X, y, 1)
            assert alone.status == 0
            others = [run(X, y, threads) for threads in (2, 3, 8)]
            others.append(run(np.stack([X, X]), np.stack([y, y]), 2))
            for found in others:
                for name in ("coef", "log_loss", "margin", "norm", "error", "status"):
                    last = getattr(found, name)
                    np.testing.assert_array_equal(last if found is not others[-1] else last[1], getattr(alone, name))


def test_logged_steps_do_not_depend_on_their_neighbours(backend):
    X, y = problem(9, 4)
    whole = genkern.logistic_path(X, y, [1, 5, 5, 90, 4000], backend=backend, method="exact")
    np.testing.assert_array_equal(whole.coef[1], whole.coef[2])
    for index in (0, 1, 3, 4):
        one = genkern.logistic_path(X, y, whole.steps[index], backend=backend, method="exact")
        np.testing.assert_array_equal(one.coef, whole.coef[index])


def test_progress(backend):
    X, y = problem(100, 20, batch=(4,))
    shares = []
    last = 30000 if backend in ("cpp", "numba") else 3000  # the reference and an emulated GPU are slow
    genkern.logistic_path(X, y, [1000, last], method="exact", backend=backend, progress=shares.append)
    assert shares[-1] == 1.0 and all(0 <= share <= 1 for share in shares) and shares == sorted(shares)

    class StopError(Exception):
        pass

    def stop(share):
        raise StopError

    with pytest.raises(StopError):
        genkern.logistic_path(X, y, 1e5, method="exact", backend=backend, progress=stop)


@pytest.mark.parametrize("algorithm", ["gd", "normalized"])
def test_ctrl_c(backend, algorithm):
    code = (
        "import numpy as np, genkern, sys\n"
        "X = np.random.default_rng(0).standard_normal((300, 40)); y = np.ones(300); y[::2] = -1\n"
        f"{to_gpu('X', 'y') if backend == 'cupy' else ''}"
        f"options = dict(method='exact', algorithm={algorithm!r}, backend={backend!r})\n"
        "run = lambda n: genkern.logistic_path(X, y, n, **options)\n"
        "run(1)\nprint('ready', flush=True)\n"
        "try:\n    run(1e9)\nexcept KeyboardInterrupt:\n    print('interrupted')\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline().strip() == "ready"
        time.sleep(0.3)
        start = time.monotonic()
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=20)[0].strip() == "interrupted"
        assert time.monotonic() - start < 3
    finally:
        process.kill()
        process.wait()


def test_plot():
    pytest.importorskip("matplotlib")
    X, y = genkern.problems.soudry().X, genkern.problems.soudry().y
    path = genkern.logistic_path(X, y, np.r_[0, np.logspace(0, 30, 20)])
    figure = path.plot([1.0, 1.0])
    assert len(figure.axes) == 4 and len(path.plot().axes) == 3
    solid, dashed = figure.axes[1].lines
    assert dashed.get_linestyle() == "--" and dashed.get_xdata()[0] == solid.get_xdata()[-1]
