"""Limits of gradient descent on separable data: published numbers, their equations, and descent itself."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tolerances import DIRECTION_LIMIT

import genkern
from genkern import theory

GENERIC = np.array([[1.0, 2.0], [2.0, -0.3], [2.5, 1.5], [3.0, 2.0]])
FOUR = np.array([[0.5, 1.5], [1.5, 0.5], [-0.5, -1.5], [-1.5, -0.5]])
FOUR_LABELS = np.array([1, 1, -1, -1])


def separable(seed, n, d):
    """Random data with a margin whose support spans the space, and labels of both signs."""
    rng = np.random.default_rng(seed)
    direction = rng.standard_normal(d)
    X = rng.standard_normal((n, d))
    y = np.where(X @ direction > 0, 1.0, -1.0)
    return X + 0.05 * y[:, None] * direction, y


def limits(w_hat, w_tilde, margins):
    """Limits of log t * distance, log^2 t * (1 - cos) and log t * gap of the margin."""
    length = np.linalg.norm(w_hat)
    across = w_tilde - w_hat * (w_hat @ w_tilde) / length**2
    ratio = np.linalg.norm(across) / length
    return ratio, ratio**2 / 2, w_tilde @ w_hat / length**3 - margins.min() / length


def test_generic_case():
    w_hat, w_tilde = theory.gd_direction_limit(GENERIC, np.ones(4), step_size=1.0)
    assert [f"{value:.8f}" for value in w_hat] == ["0.53488372", "0.23255814"]
    assert [f"{value:.8f}" for value in w_tilde] == ["0.89555792", "0.51606547"]
    alpha = np.exp(-GENERIC[:2] @ w_tilde)
    assert [f"{value:.8f}" for value in alpha] == ["0.14548405", "0.19469984"]
    distance, cosine, gap = limits(w_hat, w_tilde, GENERIC[:2] @ w_tilde)
    assert (f"{distance:.5f}", f"{cosine:.6f}", f"{gap:.5f}") == ("0.19920", "0.019841", "0.21366")


def test_exact_case():
    # Two points, each there twice: w = (u, u) with u = log(8 eta t) / 2.
    eta = 1.0 / np.linalg.norm(FOUR, 2)
    w_hat, w_tilde = theory.gd_direction_limit(FOUR, FOUR_LABELS, step_size=eta)
    assert np.allclose(w_hat, 0.5, rtol=1e-14) and np.allclose(w_tilde, 0.5 * math.log(8 * eta), rtol=1e-14)
    u = w_hat[0] * math.log(1e6) + w_tilde[0]
    assert f"{u:.8f}" == "7.42761566"
    assert np.isclose(w_hat @ w_hat / eta, math.sqrt(2.0), rtol=1e-14)  # the limit of t times the loss


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(3, 30),
    d=st.integers(1, 4),
    eta=st.floats(1e-6, 1e3),
    sign=st.booleans(),
)
def test_equations(seed, n, d, eta, sign):
    X, y = separable(seed, n, d)
    solved = genkern.max_margin(X, y)
    w_hat, w_tilde = theory.gd_direction_limit(X, y, step_size=eta)
    z = X * y[:, None]
    assert np.array_equal(w_hat, solved.coef)
    if np.count_nonzero(solved.support) < min(n, d):  # then the support does not span the data
        assert np.all(np.isnan(w_tilde))
        return
    weights = eta * np.exp(-z[solved.support] @ w_tilde)
    scale = np.max(solved.dual) * np.linalg.cond(z[solved.support])
    assert np.allclose(weights, solved.dual[solved.support], rtol=0, atol=DIRECTION_LIMIT * scale)
    # Scaling the points by c divides both by it, with the step size times c^2; the loss does not matter, nor an order.
    factor = -2.0 if sign else 2.0
    scaled = theory.gd_direction_limit(factor * X, factor / 2 * y, step_size=eta / 4, loss="logistic")
    assert np.allclose(scaled[0], w_hat / 2, rtol=1e-9) and np.allclose(scaled[1], w_tilde / 2, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("loss", ["exponential", "logistic"])
def test_gradient_descent_gets_there(loss):
    X = np.stack([GENERIC, separable(5, 4, 2)[0]])
    y = np.stack([np.ones(4), separable(5, 4, 2)[1]])
    steps = np.array([1e4, 1e8, 1e60])
    path = genkern.logistic_path(X, y, steps, step_size=0.02, loss=loss)
    assert np.all(path.status == 0)
    w_hat, w_tilde = theory.gd_direction_limit(X, y, step_size=0.02, loss=loss)
    assert np.all(np.isfinite(w_tilde))
    for item in range(2):
        rest = np.linalg.norm(path.coef[item] - np.outer(np.log(steps), w_hat[item]) - w_tilde[item], axis=-1)
        assert rest[0] < 0.3 and rest[1] < 0.1 * rest[0] and rest[2] < 1e-6
        # One that is off by 1% does not fit.
        assert np.linalg.norm(path.coef[item, 2] - math.log(1e60) * w_hat[item] - 1.01 * w_tilde[item]) > 1e-3


def test_where_theory_gives_nothing():
    # Not separable; not finite; one support point in two dimensions.
    X = np.array(
        [[[1.0, 0.0], [-1.0, 0.0]], [[1.0, np.nan], [1.0, 1.0]], [[1.0, 0.0], [5.0, 1.0]], [[1.0, 0.0], [0.0, 1.0]]]
    )
    w_hat, w_tilde = theory.gd_direction_limit(X, np.ones((4, 2)), step_size=1.0)
    assert np.all(np.isnan(w_hat[:2])) and np.all(np.isnan(w_tilde[:3]))
    assert w_hat[2:].tolist() == [[1.0, 0.0], [1.0, 1.0]] and np.allclose(w_tilde[3], 0.0, atol=1e-15)
    # The third point is on the margin, and of no weight.
    X = np.array([[1.0, 0.0], [1.0, 1.0]])
    w_hat, w_tilde = theory.gd_direction_limit(X, np.ones(2), step_size=1.0)
    assert w_hat.tolist() == [1.0, 0.0] and np.all(np.isnan(w_tilde))


def test_newton_does_not_stall_where_the_value_has_no_more_digits():
    """More points on the margin than dimensions, and weights 10^4 times the step size: a value of -200 at the end."""
    support = [[-1, -1, -1, -1], [1, -1, -2, 0], [0, -2, 1, -2], [-3, -1, 0, -2], [-2, 3, 3, 2]]
    X = np.array([*support, [-3, -3, -2, -3], [2, -1, 2, 1]], dtype=float)[[0, 5, 1, 2, 3, 4, 6]]
    for eta in (1e-6, 0.01, 1.0, 1e6):
        w_hat, w_tilde = theory.gd_direction_limit(X, np.ones(7), step_size=eta)
        np.testing.assert_allclose(eta * np.exp(-X[[0, 2, 3, 4, 5]] @ w_tilde) @ support, w_hat, rtol=1e-8, atol=1e-8)


def test_support_of_ties_and_copies():
    # Three points with the margin 1 in two dimensions: w_hat is (1, 0), and the weights are equal by symmetry.
    X = np.array([[1.0, 0.0], [1.0, 1.0], [1.0, -1.0], [4.0, 2.0]])
    w_hat, w_tilde = theory.gd_direction_limit(X, np.ones(4), step_size=0.5)
    np.testing.assert_allclose([w_hat, w_tilde], [[1.0, 0.0], [math.log(1.5), 0.0]], atol=1e-14)
    # Five copies of each point are a step size five times as large; one point alone has the weight 1 / ||x||^2.
    copies = theory.gd_direction_limit(np.repeat(GENERIC, 5, axis=0), np.ones(20), step_size=0.2)
    single = theory.gd_direction_limit(GENERIC, np.ones(4), step_size=1.0)
    np.testing.assert_allclose(copies, single, rtol=1e-10)
    w_hat, w_tilde = theory.gd_direction_limit([[3.0, 4.0]], [-1.0], step_size=2.0)
    np.testing.assert_allclose(w_hat, [-3 / 25, -4 / 25], rtol=1e-14)
    np.testing.assert_allclose(w_tilde, math.log(50.0) * w_hat, rtol=1e-13)


def test_data_in_a_subspace():
    lift = np.linalg.qr(np.random.default_rng(0).standard_normal((5, 2)))[0].T
    w_hat, w_tilde = theory.gd_direction_limit(GENERIC @ lift, np.ones(4), step_size=1.0)
    flat = theory.gd_direction_limit(GENERIC, np.ones(4), step_size=1.0)
    assert np.allclose(w_hat, flat[0] @ lift, atol=1e-13) and np.allclose(w_tilde, flat[1] @ lift, atol=1e-12)


def test_step_sizes_broadcast():
    eta = np.array([[0.1], [1.0], [10.0]])
    X = np.stack([GENERIC, 2 * GENERIC])
    w_hat, w_tilde = theory.gd_direction_limit(X, np.ones(4), step_size=eta)
    assert w_hat.shape == w_tilde.shape == (3, 2, 2)
    for i in range(3):
        for j in range(2):
            one = theory.gd_direction_limit(X[j], np.ones(4), step_size=float(eta[i, 0]))
            assert np.array_equal(one[0], w_hat[i, j]) and np.array_equal(one[1], w_tilde[i, j])


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"step_size": 0.0}, ValueError, "step_size must be finite and > 0, got 0.0"),
        ({"loss": "hinge"}, ValueError, "loss must be one of exponential, logistic, got 'hinge'"),
        ({"y": np.zeros(4)}, ValueError, "y must"),
        ({"X": np.ones(4)}, ValueError, r"X must have shape \(..., n, d\), got \(4,\)"),
        ({"step_size": np.ones(3), "X": np.ones((2, 4, 2))}, ValueError, "batch axes must broadcast"),
    ],
)
def test_bad_arguments(change, error, message):
    with pytest.raises(error, match=message):
        theory.gd_direction_limit(**({"X": GENERIC, "y": np.ones(4), "step_size": 1.0} | change))
