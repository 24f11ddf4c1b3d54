"""Gradient descent continued in log time: against real steps, against theory, and what it says where it cannot know."""

from functools import cache

import numpy as np
import pytest
from conftest import BACKENDS, require
from logistic_problems import PROBLEMS
from scipy import optimize

import genkern


@pytest.fixture(params=[name for name in BACKENDS if name != "cupy"])
def backend(request):
    """Every backend that continues; the last one is below."""
    require(request.param)
    return request.param


def test_a_gpu_continues_nothing_and_says_so(cupy):
    X, y = cupy.asarray(np.eye(2)), cupy.asarray(np.ones(2))
    for options in ({"method": "continued"}, {"steps": 1e30}, {"steps": 1e9, "backend": "cupy"}):
        with pytest.raises(genkern.errors.BackendUnavailable, match="steps are not continued on a GPU; method='exact'"):
            genkern.logistic_path(X, y, **({"steps": 10, "step_size": 1.0} | options))
    with pytest.raises(ValueError, match=r"^steps must be below 2\^53"):
        genkern.logistic_path(X, y, 1e30, step_size=1.0, method="exact")


# Real steps: 10^6 of the compiled kernel, which sums with compensation (a plain sum drifts by 1e-13 and more by then).
STEPS = (1e4, 1e5, 1e6)


@cache
def real_steps(name):
    X, y = PROBLEMS[name]()
    return genkern.logistic_path(X, y, STEPS, method="exact", backend="cpp").coef


def errors(name, backend, **options):
    X, y = PROBLEMS[name]()
    path = genkern.logistic_path(X, y, STEPS, method="continued", backend=backend, **options)
    exact = real_steps(name)
    true = np.linalg.norm(path.coef - exact, axis=1) / np.linalg.norm(exact, axis=1)
    return path, true


def test_the_continuation_and_its_estimate_hold_for_every_problem(backend):
    """1e-9 of real steps, and true <= estimate <= 10 max(true, 1e-13): all of them (the slow backends: every third)."""
    require("cpp")
    assert len(PROBLEMS) == 30
    for name in PROBLEMS if backend == "cpp" else list(PROBLEMS)[::3]:
        path, true = errors(name, backend)
        continued = path.error > 0
        assert path.status == 0 and continued[-1], name
        assert np.all(true < 1e-9), (name, true)
        assert np.all(true[continued] <= path.error[continued]), (name, true, path.error)
        assert np.all(path.error <= 10 * np.maximum(true, 1e-13)), (name, true, path.error)


def test_ten_million_real_steps():
    """1e-9 of them, and an honest estimate: all problems of at most 60 x 20.

    They are run by eights, a group of vector lanes; points and columns of zeros, which change no bit, make the sizes of
    a group equal.
    """
    require("cpp")
    found = {name: PROBLEMS[name]() for name in PROBLEMS}
    small = [name for name, (X, _) in found.items() if len(X) <= 60 and X.size <= 400]
    small.sort(key=lambda name: len(found[name][0]))
    assert len(small) == 23
    for first in range(0, len(small), 8):
        names = small[first : first + 8]
        data = [found[name] for name in names]
        n, d = max(len(X) for X, _ in data), max(X.shape[1] for X, _ in data)
        points, labels = np.zeros((len(data), n, d)), np.ones((len(data), n))
        for item, (X, y) in enumerate(data):
            points[item, : len(X), : X.shape[1]], labels[item, : len(X)] = X, y
        sizes = [4 / np.linalg.norm(X, 2) ** 2 for X, _ in data]
        exact = genkern.logistic_path(points, labels, 1e7, step_size=sizes, method="exact", backend="cpp").coef
        for item, (X, y) in enumerate(data):
            path = genkern.logistic_path(X, y, 1e7, step_size=sizes[item], method="continued", backend="cpp")
            real = exact[item, : X.shape[1]]
            true = np.linalg.norm(path.coef - real) / np.linalg.norm(real)
            assert path.status == 0 and true < 1e-9, (names[item], true)
            assert true <= path.error <= 10 * max(true, 1e-13), (names[item], true, path.error)


@pytest.mark.parametrize("rtol", [1e-3, 1e-7])
def test_the_estimate_holds_where_the_burn_in_is_short(rtol):
    """With a loose rtol the flow's own error is what is estimated, not rounding."""
    require("cpp")
    largest = 0.0
    for name in PROBLEMS:
        path, true = errors(name, "cpp", rtol=rtol)
        continued = path.error > 0
        assert np.all(true[continued] <= path.error[continued]), (name, true, path.error)
        assert np.all(path.error <= 10 * np.maximum(true, 1e-13)), (name, true, path.error)
        largest = max(largest, float(true.max()))
    assert largest > 1e-12  # or nothing was tested


@pytest.mark.parametrize("share", [2.0, 10.0, 100.0])
def test_larger_steps(backend, share):
    """Beyond the default step the loss rises at first, and longer burn-ins are needed."""
    require("cpp")
    for name in ("known margin 30x5", "soudry", "clouds 12x20"):
        X, y = PROBLEMS[name]()
        options = {"step_size": share * 4 / np.linalg.norm(X, 2) ** 2}
        exact = genkern.logistic_path(X, y, STEPS[:2], method="exact", backend="cpp", **options).coef
        path = genkern.logistic_path(X, y, STEPS[:2], method="continued", backend=backend, **options)
        true = np.linalg.norm(path.coef - exact, axis=1) / np.linalg.norm(exact, axis=1)
        assert path.status == 0 and np.all(true[path.error > 0] <= path.error[path.error > 0]), name


def test_exponential_loss_and_a_start(backend):
    require("cpp")
    for name in ("known margin 30x5", "random labels 6x10", "not separable 40x3"):
        X, y = PROBLEMS[name]()
        init = np.random.default_rng(0).standard_normal(X.shape[1])
        options = {"loss": "exponential", "init": init}
        exact = genkern.logistic_path(X, y, STEPS[:2], method="exact", backend="cpp", **options).coef
        path = genkern.logistic_path(X, y, STEPS[:2], method="continued", backend=backend, **options)
        true = np.linalg.norm(path.coef - exact, axis=1) / np.linalg.norm(exact, axis=1)
        assert path.status == 0 and np.all(true <= np.maximum(path.error, 1e-13)), (name, true, path.error)
        assert np.all(path.error < 1e-10)


def test_logged_steps_of_the_burn_in_are_exact(backend):
    X, y = PROBLEMS["known margin 30x5"]()
    path = genkern.logistic_path(X, y, [10, 200, 1e8], method="continued", backend=backend)
    exact = genkern.logistic_path(X, y, [10, 200], method="exact", backend=backend)
    np.testing.assert_allclose(path.coef[:2], exact.coef, rtol=1e-14)
    assert path.error[:2].tolist() == [0, 0] and path.error[2] > 0


def test_auto_runs_every_step_while_that_is_cheap():
    X, y = PROBLEMS["known margin 30x5"]()
    assert genkern.logistic_path(X, y, 1e5).error == 0 and genkern.logistic_path(X, y, 1e8).error > 0
    assert genkern.logistic_path(X, y, 3e4, algorithm="normalized").error == 0


def test_float32(backend):
    X, y = PROBLEMS["known margin 30x5"]()
    single = genkern.logistic_path(X.astype(np.float32), y, [1e7, 1e100], backend=backend)
    double = genkern.logistic_path(X.astype(np.float32).astype(float), y, [1e7, 1e100], backend=backend)
    assert single.coef.dtype == single.log_loss.dtype == np.float32 and single.status == 0
    np.testing.assert_allclose(single.coef, double.coef, rtol=1e-6)
    np.testing.assert_allclose(single.error, 2.0**-23)


# Theory of Soudry et al. (2018), to the digits that independent computations gave


def test_exact_case(backend):
    """The four support vectors of Figure 1 alone: w = (u, u), u = log(8 eta t) / 2 + O(log t / t)."""
    X = np.array([[0.5, 1.5], [1.5, 0.5], [-0.5, -1.5], [-1.5, -0.5]])
    y, eta = np.array([1, 1, -1, -1]), 1 / np.sqrt(8)
    for method in ("continued", "exact") if backend == "cpp" else ("continued",):
        path = genkern.logistic_path(X, y, 1e6, loss="exponential", step_size=eta, method=method, backend=backend)
        assert path.coef[0] == path.coef[1] == pytest.approx(7.42762118, abs=5e-9)
        assert 1e6 * path.loss == pytest.approx(1.41419797, abs=5e-9)
    far = genkern.logistic_path(X, y, [1e15, 1e300], loss="exponential", step_size=eta, backend=backend)
    np.testing.assert_allclose(far.coef[:, 0], 0.5 * np.log(8 * eta * far.steps), rtol=1e-11)
    np.testing.assert_allclose(np.exp(far.log_loss + np.log(far.steps)), 1 / (2 * eta), rtol=1e-9)


GENERIC = np.array([[1, 2], [2, -0.3], [2.5, 1.5], [3, 2]])
W_HAT, ALPHA = np.array([0.53488372, 0.23255814]), np.array([0.14548405, 0.19469984])
W_TILDE = np.array([0.89555792, 0.51606547])  # of the flow, eta = 1


def test_generic_case(backend):
    """The residual equation and the four limits; a step eta adds log(eta) w_hat to w_tilde."""
    eta = 0.01
    steps = 10.0 ** np.array([75, 150, 225, 300])
    path = genkern.logistic_path(GENERIC, np.ones(4), steps, loss="exponential", step_size=eta, backend=backend)
    assert path.status == 0
    w_hat = np.linalg.solve(GENERIC[:2], np.ones(2))
    np.testing.assert_allclose(w_hat, W_HAT, atol=5e-9)
    tau = np.log(steps)
    rho = path.coef[-1] - w_hat * tau[-1]
    np.testing.assert_allclose(rho - np.log(eta) * w_hat, W_TILDE, atol=2e-8)
    np.testing.assert_allclose(eta * np.exp(-GENERIC[:2] @ rho), ALPHA, atol=2e-8)

    def limit(values):  # of a series in 1 / tau
        return np.linalg.solve(np.vander(1 / tau, increasing=True), values)[0]

    size = np.linalg.norm(w_hat)
    direction = path.coef / path.norm[:, None] - w_hat / size
    assert limit(tau * np.linalg.norm(direction, axis=1)) == pytest.approx(0.19920, abs=6e-6)
    assert limit(tau**2 * 2 * np.sin(path.angle(w_hat) / 2) ** 2) == pytest.approx(0.019841, abs=6e-7)
    assert limit(tau * (1 / size - path.margin)) == pytest.approx(0.21366, abs=6e-6)
    np.testing.assert_allclose(np.exp(path.log_loss + tau), size**2 / eta, rtol=1e-9)
    # An early start in another place has the same limits: w_tilde does not depend on it where the support spans.
    other = genkern.logistic_path(
        GENERIC, np.ones(4), 1e300, loss="exponential", step_size=eta, init=[1.0, -1.0], backend=backend
    )
    np.testing.assert_allclose(other.coef, path.coef[-1], rtol=1e-12)


def test_logistic_and_exponential_loss_have_the_same_limit(backend):
    options = {"step_size": 0.01, "backend": backend}
    one, two = (
        genkern.logistic_path(GENERIC, np.ones(4), 1e100, loss=loss, **options) for loss in ("logistic", "exponential")
    )
    np.testing.assert_allclose(one.coef, two.coef, rtol=1e-10)


def test_what_is_orthogonal_to_the_data_stays(backend):
    X = np.array([[1.0, 2.0, 0.5, 0.0], [2.0, -0.3, 0.0, 0.4]])
    init = np.array([0.3, -0.1, 2.0, 1.0])
    path = genkern.logistic_path(X, np.ones(2), [1e6, 1e100], init=init, backend=backend, method="continued")
    null = np.eye(4) - np.linalg.pinv(X) @ X
    np.testing.assert_allclose(path.coef @ null, np.broadcast_to(null @ init, (2, 4)), atol=1e-11)


def test_the_angle_falls_like_one_over_log_t(backend):
    p = genkern.problems.soudry()
    X = np.concatenate([p.X, [[0.6, 1.4]]])  # the support is no longer symmetric
    y = np.append(p.y, 1.0)
    steps = np.logspace(20, 300, 8)
    path = genkern.logistic_path(X, y, steps, backend=backend)
    assert path.status == 0 and np.all(np.diff(path.log_loss) < 0)
    np.testing.assert_allclose(path.log_loss + np.log(steps), np.log(path.loss[0] * steps[0]), atol=0.1)


# Data that is not separable


def optimum(Z):
    def value(w):
        return np.logaddexp(0, -Z @ w).sum()

    def slope(w):
        return -Z.T @ (1 / (1 + np.exp(Z @ w)))

    return optimize.minimize(value, np.zeros(Z.shape[1]), jac=slope, options={"gtol": 1e-12}).x


@pytest.mark.parametrize("name", [name for name in PROBLEMS if name.startswith("not separable")])
def test_not_separable_data_reaches_its_optimum(backend, name):
    X, y = PROBLEMS[name]()
    Z = y[:, None] * X
    path = genkern.logistic_path(X, y, [1e7, 1e100, 1e300], backend=backend)
    assert path.status == 0 and np.all(path.margin < 0) and np.all(path.error < 1e-11)
    np.testing.assert_allclose(path.coef, np.broadcast_to(optimum(Z), path.coef.shape), rtol=1e-6, atol=1e-7)
    gradient = Z.T @ (1 / (1 + np.exp(Z @ path.coef[-1])))
    assert np.abs(gradient).max() < 1e-11 * len(Z)


@pytest.mark.parametrize("name", ["mixed a", "mixed b"])
def test_mixed_data(backend, name):
    """One part has a finite optimum; the rest is separable across it (Ji and Telgarsky 2019)."""
    X, y = PROBLEMS[name]()
    Z = y[:, None] * X
    path = genkern.logistic_path(X, y, [1e7, 1e100, 1e300], backend=backend)
    assert path.status == 0
    overlap = Z[:8, :2]
    best = optimum(overlap)
    np.testing.assert_allclose(path.coef[-1, :2], best, atol=1e-6)
    angles = np.linspace(-np.pi, np.pi, 200001)
    directions = np.stack([np.cos(angles), np.sin(angles)])
    margins = (Z[8:, 2:] @ directions).min(axis=0)
    rest = path.coef[:, 2:]
    reached = (Z[8:, 2:] @ rest.T).min(axis=0) / np.linalg.norm(rest, axis=1)
    assert np.all(np.diff(reached) > 0) and reached[-1] == pytest.approx(margins.max(), rel=5e-3)


def test_opposite_points_stay_at_zero(backend):
    X = np.array([[1.0, 2.0, 3.0], [-1.0, -2.0, -3.0]])
    path = genkern.logistic_path(X, np.ones(2), [1e7, 1e30], backend=backend)
    assert path.status == 0 and np.all(np.abs(path.coef) < 1e-12)


@pytest.mark.parametrize("backend", ["cpp", "numba"])  # the longest burn-in there is: minutes of it in plain NumPy
def test_nothing_false_is_said_where_rounding_decides(backend):
    """Mixed data in general position: far out its rounded entries decide, so no small error may be claimed."""
    require(backend)
    X, y = PROBLEMS["mixed a"]()
    Q = np.linalg.qr(np.random.default_rng(1).standard_normal((4, 4)))[0]
    plain = genkern.logistic_path(X, y, [1e5, 1e13, 1e30], backend=backend)
    turned = genkern.logistic_path(X @ Q, y, [1e5, 1e13, 1e30], step_size=plain.step_size, backend=backend)
    assert turned.status == 3 and turned.error[0] < 1e-11 and not turned.error[-1] < 1e-6
    np.testing.assert_allclose(turned.coef[0], plain.coef[0] @ Q, rtol=1e-10)


def test_the_edge_of_stability_is_a_status():
    """At five times the default step this data oscillates for ever: there is no flow to follow."""
    X, y = PROBLEMS["not separable 40x3"]()
    size = 5 * 4 / np.linalg.norm(X, 2) ** 2
    path = genkern.logistic_path(X, y, [100, 1e9], step_size=size, method="continued")
    assert path.status == 3 and path.error[0] == 0 and path.error[1] == np.inf
    loose = genkern.logistic_path(*PROBLEMS["soudry"](), 1e9, rtol=1e-14)
    assert loose.status == 3 and 0 < loose.error < 1e-11


# Faster schedules and other geometries


def margins_of(X, y, path, q):
    u = (y[:, None] * X) @ path.coef.T
    return u.min(axis=0) / np.linalg.norm(path.coef, q, axis=1)


def test_faster_schedules(backend):
    """Slopes of the margin gap in log10 t: 1/log t; then -1/2, -1 and -2."""
    steps = np.array([300.0, 3000.0])
    gaps = {}
    for name, options in {
        "gd": {},
        "sqrt": {"algorithm": "normalized", "schedule": "sqrt"},
        "constant": {"algorithm": "normalized"},
        "accelerated": {"algorithm": "accelerated"},
    }.items():
        path = genkern.logistic_path(GENERIC, np.ones(4), steps, method="exact", backend=backend, **options)
        gaps[name] = 1 / np.linalg.norm(np.linalg.solve(GENERIC[:2], np.ones(2))) - path.margin
    slopes = {name: float(np.log10(gap[1] / gap[0])) for name, gap in gaps.items()}
    assert -0.25 < slopes["gd"] < -0.1
    assert slopes["sqrt"] == pytest.approx(-0.5, abs=0.05)
    assert slopes["constant"] == pytest.approx(-1.0, abs=0.02)
    assert slopes["accelerated"] == pytest.approx(-2.0, abs=0.02)


def test_one_point_goes_where_its_geometry_says():
    z = np.array([[3.0, -1.0, 0.5]])
    expected = {
        ("normalized", None): z[0],
        ("sign", None): np.sign(z[0]),
        ("coordinate", None): np.array([1.0, 0, 0]),
        ("mirror", 3.0): np.sign(z[0]) * np.abs(z[0]) ** 0.5,
        ("mirror", 1.5): np.sign(z[0]) * np.abs(z[0]) ** 2,
    }
    for (algorithm, p), direction in expected.items():
        path = genkern.logistic_path(z, np.ones(1), [1, 500], algorithm=algorithm, p=p)
        assert np.all(path.angle(direction) < 1e-7), algorithm


@pytest.mark.parametrize(("algorithm", "p"), [("coordinate", None), ("mirror", 1.5), ("mirror", 3.0), ("sign", None)])
def test_geometries_reach_their_own_margin(algorithm, p):
    Z = np.random.default_rng(0).standard_normal((6, 12))
    q = {"coordinate": 1, "sign": np.inf}.get(algorithm, p)
    path = genkern.logistic_path(Z, np.ones(6), [300, 3000, 100000], algorithm=algorithm, p=p)
    if q in (1, np.inf):  # the margin of a norm ball with corners is a linear program
        split = np.hstack([Z, -Z])
        if q == 1:
            A, bounds = np.vstack([np.hstack([-split, np.ones((6, 1))])]), [(0, None)] * 24 + [(None, None)]
            best = -optimize.linprog(np.r_[np.zeros(24), -1], A_ub=A, b_ub=np.zeros(6), bounds=bounds,
                                     A_eq=np.r_[np.ones(24), 0][None], b_eq=[1]).fun  # fmt: skip
        else:
            A, bounds = np.hstack([-Z, np.ones((6, 1))]), [(-1, 1)] * 12 + [(None, None)]
            best = -optimize.linprog(np.r_[np.zeros(12), -1], A_ub=A, b_ub=np.zeros(6), bounds=bounds).fun
    else:  # by duality: the distance of the hull from 0 in the dual norm
        dual = q / (q - 1)
        found = optimize.minimize(lambda a: np.linalg.norm(a @ Z, dual), np.full(6, 1 / 6), bounds=[(0, 1)] * 6,
                                  constraints={"type": "eq", "fun": lambda a: a.sum() - 1}, tol=1e-12)  # fmt: skip
        best = found.fun
    reached = margins_of(Z, np.ones(6), path, q)
    gap = 1 - reached / best
    assert np.all(np.diff(gap) < 0) and gap[-1] > -1e-6
    # w grows like t, but like t^(1/2) for p = 3, and the gap falls like 1 / ||w||.
    assert gap[-1] < (0.025 if p == 3.0 else 2e-3)
