"""The random-features-theory study: measured curves beside Mei and Montanari, the sources, its files."""

import numpy as np
import pytest

import genkern
from genkern import problems, studies, theory
from genkern.studies import random_features_theory as study

PARTS = ("test_risk", "bias", "variance")


@pytest.fixture(scope="module")
def result():
    widths = [20, 40, 80, 160, 320]
    return study.run(dimension=40, n_train=80, n_test=300, widths=widths, ridges=[20.0, 0.0], seeds=16, progress=False)


def test_measured_is_theory(result):
    assert result.numbers["at"].tolist() == [20, 40, 160, 320]
    for ridge in ("ridge 0", "ridge 20"):
        for part in PARTS:
            row = result.numbers[ridge][part]
            # A correction of order 1 / d beside the standard error.
            slack = 4.5 * row["standard_error"] + 4 * row["theory"] / 40
            assert np.all(np.abs(row["measured"] - row["theory"]) < slack), (ridge, part)


def test_extrapolation_is_the_limit(result):
    """The mean of twice a risk less that of half the size, which has no correction of order 1 / d."""
    z = np.array([result.numbers[ridge]["extrapolated"]["difference"] for ridge in ("ridge 0", "ridge 20")])
    assert np.all(np.abs(z) < 4.5)
    small = study.run(
        dimension=20, n_train=40, n_test=300, widths=[10, 20, 40, 80, 160], ridges=[10.0], seeds=16, progress=False
    )
    expected = 2 * result.curves["test_risk"][:, 1] - small.curves["test_risk"][:, 0]
    found = result.numbers["ridge 20"]["extrapolated"]["measured"]
    np.testing.assert_allclose(found, expected.mean(axis=0)[[0, 1, 3, 4]], rtol=1e-12)
    np.testing.assert_allclose(small.theory["test_risk"][0], result.theory["test_risk"][1], rtol=1e-12)


def test_another_lambda_would_not_do(result):
    """The ridge belongs to the sum of squares: a lambda that is the same at all widths is another curve."""
    N = result.numbers["at"]
    wrong = theory.random_features_risk(N / 40, 2.0, ridge=20.0 / 80, noise=0.25).total
    row = result.numbers["ridge 20"]["test_risk"]
    assert np.max(np.abs(row["measured"] - wrong) / (4.5 * row["standard_error"] + 4 * wrong / 40)) > 1


def test_sources_add_up(result):
    closed = result.theory
    total = sum(closed[f"line_{name}"] for name in study.SOURCES)
    finite = np.isfinite(total)
    np.testing.assert_allclose(total[finite], closed["line_test_risk"][finite], rtol=1e-12)
    assert np.array_equal(finite[0], closed["line_width_ratio"] != 2.0) and finite[1].all()
    np.testing.assert_allclose(closed["bias"] + closed["variance"], closed["test_risk"], rtol=1e-12)
    expected = theory.random_features_risk(4.0, 2.0, ridge=20.0 * 40 / (80 * 160), noise=0.25)
    assert np.isclose(closed["test_risk"][1, 3], expected.total, rtol=1e-12)


def test_curve_is_that_of_fresh_fits(result):
    problem = problems.spherical(80, 40, n_test=300, seed=3)
    F, F_test = (genkern.random_features(X, 160, weights="sphere", seed=3) for X in (problem.X, problem.X_test))
    fit = np.linalg.solve(F.T @ F + 20.0 * np.eye(160), F.T @ problem.y)
    assert np.isclose(result.curves["bias"][3, 1, 3], np.mean((F_test @ fit - problem.y_test) ** 2), rtol=1e-9)


def test_nonlinear_part_of_the_target():
    result = study.run(dimension=20, n_train=40, n_test=50, widths=[20, 80], nonlinear=0.5, seeds=2, progress=False)
    assert np.all(result.theory["line_floor"] == 0.5)
    np.testing.assert_allclose(
        result.theory["bias"] + result.theory["variance"], result.theory["test_risk"], rtol=1e-12
    )


def test_files(tmp_path):
    result = study.run(
        out=tmp_path, dimension=5, n_train=10, n_test=20, widths=[5, 10, 20], seeds=1, noise=0.0, progress=False
    )
    assert {path.name for path in tmp_path.iterdir()} == {"figure.png", "results.npz", "summary.json"}
    assert "random-features-theory" in studies.CLAIMS and "std. errors" in result.table
    assert np.all(result.curves["variance"] < 1e-20) and "extrapolated" not in result.numbers["ridge 0"]
    assert result.report["version"] == genkern.__version__


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"widths": []}, ValueError, "widths must not be empty"),
        ({"widths": [0]}, ValueError, "widths must be >= 1, got 0"),
        ({"ridges": 1.0}, TypeError, "ridges must be a sequence of numbers, got float"),
        ({"ridges": [-1.0]}, ValueError, "ridges must be finite and >= 0"),
        ({"dimension": 1}, ValueError, "dimension must be >= 2, got 1"),
        ({"linear": -1.0}, ValueError, "linear must be finite and >= 0"),
        ({"activation": "gelu"}, ValueError, "activation"),
        ({"activation": "rff"}, ValueError, "activation"),
    ],
)
def test_bad_arguments(tmp_path, change, error, message):
    with pytest.raises(error, match=message):
        study.run(out=tmp_path / "new", **change)
    assert not (tmp_path / "new").exists()
