"""Descent on a GPU, what the conformance tests cannot see: which kernels run, how long a launch is, what waits."""

import itertools

import mpmath
import numpy as np
import pytest
from gpu import standin
from gpu.descents import ALGORITHMS, DTYPES, FIELDS, MEASURE, logged, names, options_of, problem
from gpu.memory import LOG
from tolerances import WEIGHT_ULPS

import genkern


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_where_a_path_is_cut_into_launches_changes_no_bit(emulated, monkeypatch, algorithm):
    from genkern._cupy import logistic

    X, y = problem(12, 5, batch=(3,))
    steps = [0, 1, 6, 7, 40]
    call = lambda: genkern.logistic_path(X, y, steps, **options_of(algorithm))  # noqa: E731
    whole, launches, _ = logged(call)
    assert names(launches).count("descend") == 1
    monkeypatch.setattr(logistic, "LAUNCH_SECONDS", 0.0)
    found, launches, _ = logged(call)
    assert names(launches).count("descend") == 40
    for name in FIELDS:
        np.testing.assert_array_equal(getattr(found, name), getattr(whole, name))


def test_launches_are_bounded(emulated, monkeypatch):
    """What a launch does takes no more than its share of a second, on a slow card and by a generous count."""
    from genkern._cupy import logistic

    monkeypatch.setattr(standin.SETTINGS, "record", True)
    for n, d, items, last in ((60, 20, 2, 30_000), (12, 4, 300, 20_000)):
        X, y = problem(n, d, batch=(items,))
        monkeypatch.setattr(standin.RawKernel, "__call__", _no_work(standin.RawKernel.__call__))
        _, launches, _ = logged(
            lambda X=X, y=y, t=last: genkern.logistic_path(X, y, t, step_size=0.1, **options_of("gd"))
        )
        monkeypatch.undo()
        monkeypatch.setattr(standin.SETTINGS, "record", True)
        descends = [launch for launch in launches if "descend" in launch.kernel]
        pieces = [(launch.arguments[14], launch.arguments[15]) for launch in descends]  # done, until
        assert pieces[0][0] == 0 and pieces[-1][1] == last and len(pieces) > 1
        assert all(a[1] == b[0] for a, b in itertools.pairwise(pieces))
        longest = max(until - done for done, until in pieces)
        # A block alone on a multiprocessor at 1 GHz: 2000 cycles of latency, 8 multiply-adds a cycle; 28 of these.
        waves = -(-items // 28)
        assert longest * max(2000 * -(-waves // 16), waves * n * (d + 10) / 8) * 1e-9 <= logistic.LAUNCH_SECONDS
        assert longest >= 100  # or launching would cost more than the steps


def _no_work(run):
    """Launches that are logged and do nothing, where only their sizes matter."""

    def call(self, grid, block, args, *, shared_mem=0):
        if "descend" in self.name:
            LOG.launches.append(
                standin.Launch(self.name, self.name, grid, block, shared_mem, None, standin._bytes_of(args))
            )
        else:
            run(self, grid, block, args, shared_mem=shared_mem)

    return call


def test_nothing_waits_for_the_device(emulated):
    X, y = problem(9, 4, batch=(2,))
    for algorithm in ALGORITHMS:
        _, _, downloads = logged(lambda a=algorithm: genkern.logistic_path(X, y, [1, 50], **options_of(a)))
        assert downloads == ["bool"], downloads  # whether all labels are -1 or +1


def test_at_most_two_launches_are_ahead(emulated, monkeypatch):
    from genkern._cupy import logistic

    ahead, most = [0], [0]

    class Event:
        def __init__(self, disable_timing):
            assert disable_timing

        def record(self):
            ahead[0] += 1
            most[0] = max(most[0], ahead[0])

        def synchronize(self):
            ahead[0] -= 1

    monkeypatch.setattr(emulated.cuda, "Event", Event)
    monkeypatch.setattr(logistic, "LAUNCH_SECONDS", 0.0)
    X, y = problem(3, 2)
    genkern.logistic_path(X, y, 20, **options_of("gd"))
    assert most[0] == 3 and ahead[0] == 2  # nothing is waited for at the end
    shares = []
    genkern.logistic_path(X, y, 20, progress=shares.append, **options_of("gd"))
    assert ahead[0] == 2 and shares == [*(t / 21 for t in range(1, 21)), 1.0]  # an iterate is reported, as a step


@pytest.mark.parametrize("constants", [{}, {"SMALL_BYTES": 0}])
@pytest.mark.parametrize("algorithm", ["gd", "coordinate"])
def test_progress_is_1_at_the_end_alone(emulated, monkeypatch, algorithm, constants):
    """Whatever is launched before or after the steps."""
    from genkern._cupy import logistic, logistic_large

    for name, value in {"LAUNCH_SECONDS": 0.0, **constants}.items():
        monkeypatch.setattr(logistic, name, value)
    monkeypatch.setattr(logistic_large, "WORKSPACE", 1)
    X, y = problem(3, 40, batch=(2,))
    shares = []
    _, launches, _ = logged(
        lambda: genkern.logistic_path(
            X, y, [0, 10, 500], progress=shares.append, step_size=0.01, **options_of(algorithm)
        )
    )
    assert ("reduce_points" in names(launches)) == (algorithm == "gd") and names(launches).count("measure_points") == 6
    assert shares == sorted(shares) and shares[-1] == 1.0 and shares.count(1.0) == 1
    assert len(set(shares)) >= 500 * (2 if constants else 1) + 5  # items one after another, or together


def test_the_callers_stream(emulated):
    X, y = problem(3, 40)
    stream = emulated.cuda.Stream(non_blocking=True)
    with stream:
        _, launches, _ = logged(lambda: genkern.logistic_path(X, y, [0, 500], **options_of("gd")))
    own = [launch for launch in launches if launch.kernel.startswith("logistic")]
    assert names(own) == ["reduce_rows", "reduce_origin", "descend", "reduce_points", *MEASURE]
    assert all(launch.stream is stream for launch in launches)


def test_inputs_shared_by_a_batch_are_not_copied(emulated, monkeypatch):
    monkeypatch.setattr(standin.SETTINGS, "record", True)
    X, y = problem(6, 3, batch=(1, 1))
    y = problem(6, 3, batch=(2, 4), seed=1)[1]
    found, launches, _ = logged(lambda: genkern.logistic_path(X, y, [5], step_size=0.1, **options_of("sign")))
    arguments = next(launch for launch in launches if "descend" in launch.kernel).arguments
    assert arguments[1] == 0 and len(arguments[0][2]) == X.nbytes
    expected = genkern.logistic_path(X, y, [5], step_size=0.1, **options_of("sign") | {"backend": "reference"})
    np.testing.assert_allclose(found.coef, expected.coef, rtol=1e-13)


@pytest.mark.parametrize("shapes", [((1, 1), (2, 4)), ((2, 1), (2, 4)), ((2, 4), (1, 4)), ((), (2, 4))])
def test_what_a_batch_repeats_is_looked_at_once(emulated, monkeypatch, shapes):
    """Whether numbers are finite is asked of an input as it was given, and known of every item."""
    X, y = problem(6, 3, batch=shapes[0])[0], problem(6, 3, batch=shapes[1], seed=1)[1]
    init = np.zeros((4, 3))
    init[2, 1] = np.nan
    if len(X) == 2:
        X[1, ..., 5, 0] = np.nan
    options = options_of("sign") | {"step_size": 0.1, "init": init}
    asked, isfinite = [], emulated.isfinite
    monkeypatch.setattr(emulated, "isfinite", lambda a: asked.append(a.shape) or isfinite(a))
    found = genkern.logistic_path(X, y, [5], **options)
    assert [np.prod(shape) for shape in asked if shape[-2:] == (6, 3)] == [X.size]
    assert {np.prod(shape) for shape in asked if shape[-1] == 6} == {y.size}
    expected = genkern.logistic_path(X, y, [5], **options | {"backend": "reference"})
    np.testing.assert_array_equal(found.status, expected.status)
    assert found.status[0].tolist() == [0, 0, 1, 0] and found.status[1].all() == (len(X) == 2)
    np.testing.assert_allclose(found.coef, expected.coef, rtol=1e-13)


@pytest.mark.parametrize("shape", [(1, 1), (3, 500), (500, 3), (100, 20), (360, 65), (31, 33), (0, 4), (4, 0)])
def test_plans_of_shared_memory(emulated, shape):
    from genkern._cupy.logistic import Shape

    n, k = shape
    plan = Shape.of(n, k, 8)
    assert plan.threads % 32 == 0 and 32 <= plan.threads <= 512
    for parts, outputs in ((plan.row_parts, n), (plan.column_parts, k)):
        assert parts in (1, 2, 4, 8, 16, 32) and (parts * outputs <= plan.threads or parts == 1)
    assert plan.stride >= k and plan.stride // plan.row_parts % 2 == 1  # an odd multiple: margins without conflicts
    assert plan.shared == 768 + 8 * (n * plan.stride + 2 * k + n)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("loss", ["logistic", "exponential"])
def test_weights_against_exact_values(cupy, loss, dtype):
    from genkern._cupy import _launch

    limit = 700 if dtype == np.float64 else 86
    spread = [np.random.default_rng(6).uniform(-scale, scale, 400) for scale in (1e-9, 1e-2, 1, 10, 40, limit)]
    u = np.concatenate([*spread, [0.0, -0.0, limit, np.nan, np.inf, -np.inf]]).astype(dtype)
    there, weights = cupy.asarray(u), cupy.zeros(len(u), dtype)
    kernel = _launch.kernel("logistic", f"logistic_weights_{'f64' if dtype == np.float64 else 'f32'}")
    kernel((-(-len(u) // 256),), (256,), (there, weights, np.int64(len(u)), np.int32(loss == "exponential")))
    found = cupy.asnumpy(weights)
    np.testing.assert_array_equal(found[-3:], [np.nan, 0, np.inf if loss == "exponential" else 1])
    with mpmath.workdps(40):
        for argument, value in zip(u[:-3], found[:-3], strict=True):
            power = mpmath.exp(-mpmath.mpf(float(argument)))
            exact = power if loss == "exponential" else power / (1 + power)
            unit = mpmath.mpf(float(np.spacing(dtype(float(exact)))))
            assert abs(mpmath.mpf(float(value)) - exact) < WEIGHT_ULPS * unit, (argument, value)


def test_hard_margins_have_no_version_for_a_gpu(emulated):
    X, y = (emulated.asarray(value) for value in problem(6, 3))
    with pytest.raises(genkern.errors.BackendUnavailable, match="max_margin has no cupy version"):
        genkern.max_margin(X, y)


SIZES = [
    (1_000_000, 20), (100_000, 200), (2000, 10_000), (200, 1_000_000), (1000, 1000), (200, 512), (20_000, 1), (3, 513),
    (5, 3000), (400_000, 512), (10_000_000, 2000),
]  # fmt: skip


@pytest.mark.parametrize("itemsize", [4, 8])
@pytest.mark.parametrize("n, k", SIZES)
def test_plans_of_large_problems(n, k, itemsize):
    """Many blocks of many rows, whatever the shape, of which the last one is not empty."""
    from genkern._cupy.logistic_large import CHUNKS, TALL, Tall, Wide

    if k <= TALL:
        plan = Tall.of(n, k, itemsize)
        assert plan.shared <= 48 << 10 and 8 <= plan.tile <= 128
        assert plan.chunks <= CHUNKS and (plan.chunks - 1) * plan.tile * plan.tiles < n
        assert plan.chunks * plan.tile * plan.tiles >= n
        assert plan.chunks > min(CHUNKS / 2, n / 16 - 1) or plan.tiles == 1
        assert plan.parts <= 32 and 256 % plan.width == 0 and 2 * plan.width >= k
    else:
        wide = Wide.of(n, k)
        assert wide.chunks <= CHUNKS and (wide.chunks - 1) * wide.rows < n <= wide.chunks * wide.rows
        assert 8 <= wide.warps <= 16 and 8 * wide.chunks + 512 + 32 * wide.warps * itemsize <= 48 << 10
