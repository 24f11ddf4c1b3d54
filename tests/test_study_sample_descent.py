"""The sample-wise double descent: peak where samples are as many as features, and theory beside it."""

import json

import numpy as np
import pytest

import genkern
from genkern import problems, theory
from genkern.studies import sample_descent

SMALL = {
    "width": 40, "n_train": 160, "n_test": 200, "dimension": 30, "n_gaussian": 130, "seeds": 30, "progress": False,
}  # fmt: skip


@pytest.fixture(scope="module")
def result():
    return sample_descent.run(**SMALL)


def test_peak_stands_at_the_interpolation_threshold(result):
    for part, features in (("image", 40), ("gaussian", 30)):
        numbers = result.numbers[part]["by_seed"]
        assert np.median(numbers["left_ratio"]) > 5 and np.median(numbers["right_ratio"]) > 10
        assert np.all(numbers["threshold"] <= features)
        assert np.median(np.abs(numbers["peak_width"] - numbers["threshold"])) <= 3
    assert np.all(result.numbers["gaussian"]["by_seed"]["threshold"] == 30)


def test_more_data_hurts(result):
    median = np.median(result.curves["gaussian_test_risk"], axis=0)
    assert median[29] > 5 * median[14]  # 30 samples are worse than 15


def test_curves_are_those_of_fresh_solves(result):
    s, n = 4, 57
    problem = problems.digits(n_train=160, n_test=200, label_noise=0.1, seed=s)
    F, F_test = (genkern.random_features(X, 40, seed=s) for X in (problem.X, problem.X_test))
    prediction = F_test @ np.linalg.lstsq(F[:n], problem.y[:n], rcond=None)[0]
    expected = np.mean(np.sum((prediction - problem.y_test) ** 2, axis=1))
    assert result.curves["image_test_risk"][s, n - 1] == pytest.approx(expected, rel=1e-8)
    wrong = np.mean(prediction.argmax(axis=1) != problem.y_test.argmax(axis=1))
    assert result.curves["image_test_error"][s, n - 1] == pytest.approx(wrong, abs=1e-12)
    model = problems.gaussian(130, 30, signal=1.0, noise=0.25, n_test=200, seed=s)
    w = np.linalg.lstsq(model.X[:n], model.y[:n], rcond=None)[0]
    expected = np.mean((model.X_test @ w - model.y_test) ** 2)
    assert result.curves["gaussian_test_risk"][s, n - 1] == pytest.approx(expected, rel=1e-9)


def test_theory_is_met_within_the_error_of_the_mean(result):
    found = result.numbers["comparison"]
    assert found["samples"] == [8, 15, 45, 60, 120]
    expected = theory.finite_sample_risk(np.array(found["samples"]), 30, 30, signal=1.0, noise=0.25) - 0.25
    np.testing.assert_allclose(found["theory"], expected, rtol=1e-14)
    assert np.all(np.abs(found["difference"]) < 4)
    assert np.all(found["standard_error"] < 0.2 * found["measured"])  # so that a wrong formula would show
    assert np.isinf(result.theory["gaussian_test_risk"][28:31]).all()


def test_a_ridge_has_its_own_theory():
    result = sample_descent.run(**SMALL | {"ridge": 5.0})
    assert np.isfinite(result.theory["gaussian_test_risk"]).all()
    assert np.all(np.abs(result.numbers["comparison"]["difference"]) < 4)
    assert np.isnan(result.numbers["image"]["by_seed"]["threshold"]).all()
    assert "limit of large samples" in result.table


def test_table_files_and_one_seed(result, tmp_path):
    assert "exact mean at finite size" in result.table and "no closed form applies to real data" in result.table
    result.save(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["figure.png", "results.npz", "summary.json"]
    with np.load(tmp_path / "results.npz", allow_pickle=False) as arrays:
        np.testing.assert_array_equal(arrays["theory_gaussian_test_risk"], result.theory["gaussian_test_risk"])
    assert json.loads((tmp_path / "summary.json").read_text())["claim"] == "sample-descent"
    one = sample_descent.run(**SMALL | {"seeds": [3]})
    one.plot()
    assert np.isnan(one.numbers["comparison"]["difference"]).all()
    np.testing.assert_array_equal(one.curves["image_test_risk"][0], result.curves["image_test_risk"][3])


@pytest.mark.parametrize(
    "options, error, message",
    [
        ({"width": 0}, ValueError, "width must be >= 1"),
        ({"dimension": 0}, ValueError, "dimension must be >= 1"),
        ({"noise": -1.0}, ValueError, "noise must be"),
        ({"data": "cifar"}, ValueError, "data must be one of"),
        ({"activation": "gelu"}, ValueError, "activation"),
        ({"backend": "abacus"}, ValueError, "backend must be"),
        ({"n_threads": 0}, ValueError, "n_threads must be"),
    ],
)
def test_bad_arguments(tmp_path, options, error, message):
    with pytest.raises(error, match=message):
        sample_descent.run(out=tmp_path / "new", **SMALL | options)
    assert not (tmp_path / "new").exists()
