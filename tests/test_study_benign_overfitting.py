"""The benign-overfitting study: interpolation, its risk against the equivalent, the three regimes, its files."""

import numpy as np
import pytest

import genkern
from genkern import problems, studies, theory
from genkern.studies import benign_overfitting as study


@pytest.fixture(scope="module")
def result():
    return study.run(samples=[20, 40, 80], seeds=20, progress=False)


def test_all_labels_are_interpolated(result):
    assert result.curves["risk"].shape == (3, 3, 20)
    assert np.max(result.curves["train_risk"]) < 1e-18


def test_measured_is_theory(result):
    for name in study.SPECTRA:
        row = result.numbers[name]
        # A correction of order 1 / n at these sizes, beside the standard error.
        assert np.all(
            np.abs(row["measured"] - row["theory"]) < 4 * row["standard_error"] + row["theory"] / [20, 40, 80]
        )
        assert np.array_equal(row["difference"], (row["measured"] - row["theory"]) / row["standard_error"])


def test_three_regimes(result):
    growth = [result.numbers[name]["growth"] for name in study.SPECTRA]
    assert growth[0] < -0.3 and abs(growth[1]) < 0.2 and growth[2] > 0.4
    n = np.array([100, 200, 400])
    assert theory.benign_overfitting(study.eigenvalues("catastrophic", 100), n).failing[1:].all()
    terms = result.theory["terms"]
    assert np.all(np.diff(terms[0, :, 2]) < 0) and np.all(terms[1, :, 1] > 0.5)


def test_risk_is_that_of_a_fresh_fit(result):
    s = study.eigenvalues("tempered", 40)
    true = np.eye(400)[0]
    problem = problems.gaussian(40, 400, spectrum=s, noise=1.0, coef=true, seed=7)
    coef = np.linalg.pinv(problem.X) @ problem.y
    assert np.isclose(result.curves["risk"][1, 1, 7], (coef - true) @ (s * (coef - true)), rtol=1e-9)
    closed = theory.ridge_risk(10.0, eigenvalues=s, alignment=true)
    assert result.theory["risk"][1, 1] == closed.total
    assert result.theory["bound"][1, 1] == theory.benign_overfitting(s, 40).bound


def test_files(tmp_path):
    result = study.run(out=tmp_path, samples=[8], seeds=2, noise=0.5, progress=False)
    assert {path.name for path in tmp_path.iterdir()} == {"figure.png", "results.npz", "summary.json"}
    assert "benign-overfitting" in studies.CLAIMS and "exponent of the risk" in result.table
    assert result.report["version"] == genkern.__version__


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"samples": []}, ValueError, "samples must not be empty"),
        ({"samples": [3]}, ValueError, r"samples must be in \[4, 2000\], got 3"),
        ({"samples": 5}, TypeError, "samples must be a sequence of integers, got int"),
        ({"noise": 0.0}, ValueError, "noise must be finite and > 0"),
        ({"seeds": 1}, ValueError, "seeds must be >= 2, got 1"),
        ({"seeds": [4]}, ValueError, "seeds must be 2 different ones at least and name none twice"),
        ({"seeds": [4, 5, 4]}, ValueError, "seeds must be 2 different ones at least and name none twice"),
    ],
)
def test_bad_arguments(tmp_path, change, error, message):
    with pytest.raises(error, match=message):
        study.run(out=tmp_path / "new", **change)
    assert not (tmp_path / "new").exists()
