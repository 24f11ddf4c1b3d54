"""Ridge flattens the peak, the best ridge has none: on real digits and in the Gaussian model."""

import json

import numpy as np
import pytest

import genkern
from genkern import problems
from genkern.studies import _weak_features, ridge_descent

SMALL = {
    "n_train": 60, "n_test": 300, "n_gaussian": 40, "dimension": 120, "max_width": 180, "tuning": 7, "seeds": 12,
    "progress": False,
}  # fmt: skip


@pytest.fixture(scope="module")
def result():
    return ridge_descent.run(**SMALL)


@pytest.mark.parametrize("part", ["image", "gaussian"])
def test_the_ridgeless_curve_has_a_peak_and_the_tuned_one_has_none(result, part):
    rise = result.numbers[f"{part}_rise"]
    assert rise["ridgeless"] > 10
    assert rise["tuned"] < 1.05
    numbers = result.numbers[part]["by_seed"]
    assert np.all(numbers["left_ratio"] > 5) and np.all(numbers["right_ratio"] > 5)
    # In single seeds too, where the risk is noisier.
    tuned = result.curves[f"{part}_tuned_risk"]
    assert np.all(tuned / np.minimum.accumulate(tuned, axis=1) < 1.5)


def test_each_ridge_flattens_the_peak_further(result):
    for part, n in (("image", 60), ("gaussian", 40)):
        around = result.curves[f"{part}_test_risk"][..., n // 2 : 2 * n]
        peaks = np.median(around.max(axis=-1), axis=0)
        assert np.all(np.diff(peaks) < 0)


def test_curves_are_those_of_fresh_solves(result):
    curves = result.curves
    s, r, p = 3, 2, 70
    problem = problems.digits(n_train=60, n_test=300, label_noise=0.2, seed=s)
    F, F_test = (genkern.random_features(X, p, seed=s) for X in (problem.X, problem.X_test))

    def risk(F, y, F_test, y_test, ridge):
        coef = np.linalg.solve(F.T @ F + ridge * np.eye(p), F.T @ y)
        return np.mean((F_test @ coef - y_test) ** 2) * (y.size / len(y))

    expected = risk(F, problem.y, F_test, problem.y_test, curves["image_ridges"][r])
    assert curves["image_test_risk"][s, r, p - 1] == pytest.approx(expected, rel=1e-6)
    best = curves["image_tuned_ridge"][s, p - 1]
    expected = risk(F, problem.y, F_test, problem.y_test, best)
    assert curves["image_tuned_risk"][s, p - 1] == pytest.approx(expected, rel=1e-6)
    assert np.all(curves["image_tuned_risk"] <= curves["image_test_risk"].min(axis=1) * (1 + 1e-12))
    model = problems.gaussian(40, 120, signal=1.0, noise=0.25, n_test=300, seed=s)
    ridge = (0.25 + (1 - p / 120)) * 120
    assert curves["gaussian_tuned_ridge"][p - 1] == pytest.approx(ridge, rel=1e-12)
    expected = risk(model.X[:, :p], model.y, model.X_test[:, :p], model.y_test, ridge)
    assert curves["gaussian_tuned_risk"][s, p - 1] == pytest.approx(expected, rel=1e-9)


def test_theory_is_met_within_the_error_of_the_mean(result):
    found = result.numbers["comparison"]
    assert "width 40, best ridge" in found["labels"] and "width 40, ridgeless" not in found["labels"]
    assert len(found["labels"]) == 11
    assert np.all(np.abs(found["difference"]) < 4)
    assert result.theory["gaussian_test_risk"].shape == (4, 120)


def test_the_known_ridge_is_the_best_in_theory():
    best = _weak_features.optimal_ridge(40, 50, 120, 1.0, 0.25)
    around = _weak_features.ridge_risk(40, 50, 120, best * np.array([0.8, 1.0, 1.25]), 1.0, 0.25)
    assert around[1] < around[0] and around[1] < around[2]


def test_widths_given_and_files(result, tmp_path):
    few = ridge_descent.run(**SMALL | {"widths": [20, 150, 60], "seeds": [1]}, out=tmp_path)
    assert few.curves["image_widths"].tolist() == [20, 60, 150] and few.curves["gaussian_widths"].tolist() == [20, 60]
    np.testing.assert_allclose(
        few.curves["image_test_risk"][0], result.curves["image_test_risk"][1][:, [19, 59, 149]], rtol=1e-6
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["figure.png", "results.npz", "summary.json"]
    assert json.loads((tmp_path / "summary.json").read_text())["parameters"]["widths"] == [20, 60, 150]
    assert "no closed form applies to real data" in result.table and "std. errors" in result.table
    result.plot()
    assert len(ridge_descent.run(**SMALL | {"points": 6, "seeds": 1}).curves["image_widths"]) == 6


@pytest.mark.parametrize(
    "options, error, message",
    [
        ({"ridges": [0.0]}, ValueError, "ridges must be"),
        ({"ridges": []}, ValueError, "ridges must not be empty"),
        ({"gaussian_ridges": "1"}, TypeError, "gaussian_ridges must be a sequence"),
        ({"widths": [500]}, ValueError, "widths must have one <= dimension"),
        ({"signal": 0.0}, ValueError, "signal must be"),
        ({"tuning": 0}, ValueError, "tuning must be"),
        ({"activation": "gelu"}, ValueError, "activation"),
        ({"backend": "abacus"}, ValueError, "backend must be"),
    ],
)
def test_bad_arguments(tmp_path, options, error, message):
    with pytest.raises(error, match=message):
        ridge_descent.run(out=tmp_path / "new", **SMALL | options)
    assert not (tmp_path / "new").exists()
