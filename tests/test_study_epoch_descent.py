"""Test risk over steps of gradient descent, on real digits and in the Gaussian model."""

import json

import numpy as np
import pytest

import genkern
from genkern import problems
from genkern.studies import _weak_features, epoch_descent

SMALL = {
    "n_train": 50, "n_test": 150, "widths": (15, 50, 150), "n_gaussian": 40, "dimensions": (20, 40, 120),
    "steps": 1e6, "points": 25, "seeds": 20, "progress": False,
}  # fmt: skip


@pytest.fixture(scope="module")
def result():
    return epoch_descent.run(**SMALL)


def test_at_the_threshold_the_risk_falls_and_then_climbs(result):
    for part in ("image", "gaussian"):
        numbers = result.numbers[part]
        assert numbers["rise"][1] > 10 and numbers["rise"][1] == np.max(numbers["rise"])
        start = np.median(result.curves[f"{part}_test_risk"][:, 1, 0])
        assert numbers["best"][1] < 0.9 * start and 1 < numbers["best_steps"][1] < 1e6


def test_curves_are_those_of_a_loop(result):
    steps = result.curves["steps"]
    s = 2
    problem = problems.digits(n_train=50, n_test=150, label_noise=0.2, seed=s)
    F, F_test = (genkern.random_features(X, 50, seed=s) for X in (problem.X, problem.X_test))
    model = problems.gaussian(40, 20, signal=1.0, noise=0.25, n_test=150, seed=s)
    sets = [
        ("image", 1, F, problem.y, F_test, problem.y_test, np.linalg.norm(F, 2) ** -2),
        ("gaussian", 0, model.X, model.y, model.X_test, model.y_test, (np.sqrt(40) + np.sqrt(20)) ** -2),
    ]
    for part, w, X, y, X_test, y_test, size in sets:
        coef = np.zeros((X.shape[1], *y.shape[1:]))
        for k in range(1, int(steps[8]) + 1):
            coef = coef - size * X.T @ (X @ coef - y)
            t = np.flatnonzero(steps == k)
            if len(t):
                expected = np.sum((X_test @ coef - y_test) ** 2) / len(X_test)
                assert result.curves[f"{part}_test_risk"][s, w, t[0]] == pytest.approx(expected, rel=1e-9)
                expected = np.sum((X @ coef - y) ** 2) / len(X)
                assert result.curves[f"{part}_train_risk"][s, w, t[0]] == pytest.approx(expected, rel=1e-9)


def test_theory_is_met_within_the_error_of_the_mean(result):
    found = result.numbers["comparison"]
    assert len(found["labels"]) == 11  # at the threshold the last one is infinite
    assert np.all(np.abs(found["difference"]) < 4)
    assert np.isinf(result.theory["gaussian_test_risk"][1, -1])


@pytest.mark.parametrize("p", [20, 99, 100, 101, 300])
def test_theory_against_its_limits_and_against_spectra(p):
    n, signal, noise = 100, 2.0, 0.5
    limit = _weak_features.descent_risk(n, p, p, np.array([0.0, np.inf]), signal, noise)
    assert limit[0] == pytest.approx(signal, rel=1e-8)
    if p == n:
        assert limit[1] == np.inf
    else:
        assert limit[1] == pytest.approx(float(_weak_features.ridge_risk(n, p, p, 0.0, signal, noise)), rel=1e-9)
    # The same formula over the spectrum of one large matrix, which has the limiting law up to O(1 / size).
    steps, scale = np.array([1.0, 10.0, 100.0]), 4
    values = np.zeros(scale * p)
    s = genkern.singular_values(problems.gaussian(scale * n, scale * p, seed=1).X)
    values[: len(s)] = s**2 / (scale * n)
    left = (1 - n * _weak_features.descent_step(n, p) * values) ** steps[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        fitted = np.where(values > 0, (1 - left) ** 2 / values, 0.0)
    expected = signal * np.mean(left**2, axis=1) + noise / (scale * n) * np.sum(fitted, axis=1)
    actual = _weak_features.descent_risk(n, p, p, steps, signal, noise)
    np.testing.assert_allclose(actual, expected, rtol=0.02)


def test_theory_at_the_threshold_grows_like_the_root_of_the_steps():
    risk = _weak_features.descent_risk(100, 100, 100, np.array([1e6, 1e8, 1e10]), 0.0, 1.0)
    np.testing.assert_allclose(risk[1:] / risk[:-1], 10.0, rtol=2e-3)


def test_files_and_table(result, tmp_path):
    one = epoch_descent.run(**SMALL | {"seeds": [2]}, out=tmp_path)
    np.testing.assert_allclose(one.curves["image_test_risk"][0], result.curves["image_test_risk"][2], rtol=1e-9)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["figure.png", "results.npz", "summary.json"]
    assert json.loads((tmp_path / "summary.json").read_text())["parameters"]["dimensions"] == [20, 40, 120]
    assert "no closed form applies to real data" in result.table and "std. errors" in result.table
    assert result.curves["steps"][0] == 1 and np.isinf(result.curves["steps"][-1])
    result.plot()


@pytest.mark.parametrize(
    "options, error, message",
    [
        ({"widths": []}, ValueError, "widths must not be empty"),
        ({"dimensions": [0]}, ValueError, "dimensions must be >= 1"),
        ({"steps": 0.5}, ValueError, "steps must be"),
        ({"points": 1}, ValueError, "points must be"),
        ({"label_noise": 2.0}, ValueError, "label_noise must be"),
        ({"activation": "gelu"}, ValueError, "activation"),
        ({"backend": "abacus"}, ValueError, "backend must be"),
    ],
)
def test_bad_arguments(tmp_path, options, error, message):
    with pytest.raises(error, match=message):
        epoch_descent.run(out=tmp_path / "new", **SMALL | options)
    assert not (tmp_path / "new").exists()
