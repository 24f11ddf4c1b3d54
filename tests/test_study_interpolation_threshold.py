"""The interpolation-threshold study: bias and variance beside their formulas, and against plain NumPy; its files."""

import numpy as np
import pytest

import genkern
from genkern import studies, theory
from genkern.studies import interpolation_threshold as study


@pytest.fixture(scope="module")
def result():
    return study.run(n=40, gammas=[0.25, 0.5, 0.75, 1.0, 1.5, 2, 4], draws=30, seeds=4, progress=False)


def test_measured_is_theory(result):
    away = result.curves["features"] != 40
    for model in study.MODELS:
        for part in ("bias", "variance"):
            row = {name: value[away] for name, value in result.numbers[model][part].items()}
            # A correction of order 1 / n, larger near the threshold, beside the standard error.
            gap = np.abs(result.curves["features"][away] - 40)
            slack = 5 * row["standard_error"] + 2 * row["theory"] / gap + 1e-12
            assert np.all(np.abs(row["measured"] - row["theory"]) < slack), (model, part)


def test_total_is_the_exact_mean(result):
    differences = [result.numbers[model]["total"]["difference"] for model in ("isotropic", "misspecified")]
    away = result.curves["features"] != 40
    assert np.all(np.abs(np.array(differences)[:, away]) < 4.5)
    assert np.all(np.isinf(result.theory["exact"][:, ~away]))
    # Not so if the formula were 15 % off.
    off = [result.numbers[model]["total"] for model in ("isotropic", "misspecified")]
    assert (
        max(np.max(np.abs(row["measured"] - 1.15 * row["theory"])[away] / row["standard_error"][away]) for row in off)
        > 6
    )


def test_rounding_is_no_difference(result):
    below = result.curves["gamma"] < 1
    for model in study.MODELS:
        assert np.all(result.numbers[model]["bias"]["difference"][below] == 0.0)
    assert np.all(result.numbers["isotropic"]["variance"]["difference"] != 0.0)


def test_bias_saturates_and_variance_diverges(result):
    bias, variance = (result.numbers["isotropic"][part]["measured"] for part in ("bias", "variance"))
    assert np.all(bias[:4] < 1e-20) and np.all(np.diff(bias[3:]) > 0) and bias[-1] < 5.0
    assert np.all(np.diff(variance[:4]) > 0) and np.all(np.diff(variance[3:]) < 0)
    line = result.theory["line_gamma"]
    assert np.all(np.isinf(result.theory["line_variance"][:, line == 1.0]))
    assert np.all(np.isfinite(result.theory["line_bias"]))


def test_theory_is_that_of_the_formulas(result):
    gamma = result.curves["gamma"]
    seen = theory.misspecified_risk(gamma, signal=5.0, noise=1.0, captured=1 - (1 + gamma) ** -2.0)
    assert np.array_equal(result.theory["bias"][1], seen.bias)
    atoms = theory.ridge_risk(gamma, signal=5.0, eigenvalues=[4.0, 0.5])
    np.testing.assert_allclose(result.theory["variance"][2], atoms.variance, rtol=1e-12)


def test_parts_are_those_of_a_plain_fit():
    s = np.array([4.0, 4.0, 0.5, 0.5, 0.5])
    found = study._measure(np.random.default_rng(3), 2, 4, s, 3.0, 0.0, 0.5, {})
    generator = np.random.default_rng(3)
    X = generator.standard_normal((2, 4, 5)) * np.sqrt(s)
    noises = np.sqrt(0.5) * generator.standard_normal((2, 4, study._PAIRS))
    beta = np.full(5, np.sqrt(0.6))
    inverse = np.linalg.pinv(X)
    lost = inverse @ (X @ beta)[..., None] - beta[:, None]
    np.testing.assert_allclose(found[0], np.sum(s[:, None] * lost**2, axis=(1, 2)), rtol=1e-10)
    variance = np.mean(np.sum(s[:, None] * (inverse @ noises) ** 2, axis=1), axis=1)
    np.testing.assert_allclose(found[1], variance, rtol=1e-10)


def test_files(tmp_path):
    result = study.run(out=tmp_path, n=10, gammas=[0.5, 2.0], draws=3, seeds=1, progress=False)
    assert {path.name for path in tmp_path.iterdir()} == {"figure.png", "results.npz", "summary.json"}
    assert "interpolation-threshold" in studies.CLAIMS and "std. errors" in result.table
    assert result.report["version"] == genkern.__version__
    again = study.run(n=10, gammas=[2.0, 0.5], draws=3, seeds=1, progress=False)
    assert np.array_equal(result.curves["variance"], again.curves["variance"])


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"gammas": []}, ValueError, "gammas must not be empty"),
        ({"gammas": 2.0}, TypeError, "gammas must be a sequence of numbers, got float"),
        ({"gammas": [0.0]}, ValueError, "gammas must be finite and > 0"),
        ({"n": 3}, ValueError, "n must be >= 4, got 3"),
        ({"noise": -1.0}, ValueError, "noise must be finite and >= 0"),
        ({"draws": 0}, ValueError, "draws must be >= 1, got 0"),
        ({"draws": 1, "seeds": 1}, ValueError, "seeds must be >= 2, got 1"),
    ],
)
def test_bad_arguments(tmp_path, change, error, message):
    with pytest.raises(error, match=message):
        study.run(out=tmp_path / "new", **change)
    assert not (tmp_path / "new").exists()
