"""The spectra study: its samples, its limits, its files."""

import numpy as np
import pytest

from genkern import studies, theory
from genkern.studies import spectra

SMALL = {"n": 80, "p": 40, "draws": 30, "spikes": [1.0, 3.0, 6.0], "spike_draws": 6, "seeds": 5, "progress": False}


@pytest.fixture(scope="module")
def result():
    return spectra.run(**SMALL)


def test_measured_is_near_theory(result):
    rows = result.numbers["rows"]
    assert (
        abs(rows["mean eigenvalue"]["difference"]) < 4 and abs(rows["mean squared eigenvalue"]["difference"]) < 4
    )  # exact at any size
    assert abs(rows["edge: mean"]["measured"] - rows["edge: mean"]["theory"]) < 0.4
    assert result.numbers["cdf_distance"] < 0.02 and result.numbers["edge_distance"] < 0.15
    for spike in ("3", "6"):
        eigenvalue, cosine = rows[f"spike {spike}: eigenvalue"], rows[f"spike {spike}: cosine^2"]
        assert abs(eigenvalue["measured"] / eigenvalue["theory"] - 1) < 0.1
        assert abs(cosine["measured"] - cosine["theory"]) < 0.1
    assert rows["spike 1: cosine^2"]["measured"] < 0.1 and rows["spike 1: cosine^2"]["theory"] == 0.0
    row = rows["edge: mean"]
    assert row["difference"] == (row["measured"] - row["theory"]) / row["standard_error"]


@pytest.mark.parametrize(("n", "p"), [(9, 6), (6, 9)])
def test_cosine_is_that_of_the_eigenvector(n, p):
    result = spectra.run(n=n, p=p, draws=3, spikes=[2.0], spike_draws=5, seeds=[3], progress=False)
    generator = np.random.Generator(np.random.PCG64(3))
    generator.standard_normal((3, n, p))
    X = generator.standard_normal((5, n, p))
    X[:, :, 0] *= np.sqrt(2.0)
    values, vectors = np.linalg.eigh(X.transpose(0, 2, 1) @ X / n)
    np.testing.assert_allclose(result.curves["spike_eigenvalue"][0], values[:, -1], rtol=1e-12)
    np.testing.assert_allclose(result.curves["spike_cosine_squared"][0], vectors[:, 0, -1] ** 2, rtol=1e-8)


def test_theory_is_drawn_on_its_axes(result):
    closed = result.theory
    assert np.array_equal(closed["density"], theory.marchenko_pastur_pdf(closed["x"], 0.5))
    assert np.array_equal(closed["edge_cdf"], theory.tracy_widom_cdf(closed["s"], 1))
    assert np.array_equal(closed["spike_eigenvalue"], theory.spiked_covariance([1.0, 3.0, 6.0], 0.5).eigenvalue)


def test_more_dimensions_than_samples(tmp_path):
    result = spectra.run(out=tmp_path, n=30, p=60, draws=40, spikes=[8.0], spike_draws=5, seeds=1, progress=False)
    assert result.curves["eigenvalues"].shape == (40, 30) and result.numbers["cdf_distance"] < 0.06
    assert {path.name for path in tmp_path.iterdir()} == {"figure.png", "results.npz", "summary.json"}
    assert "spectra" in studies.CLAIMS and "std. errors" in result.table


def test_bad_arguments(tmp_path):
    for change, message in (
        ({"p": 1}, "p must be >= 2"),
        ({"spikes": [0.0]}, "spikes must be finite and > 0"),
        ({"draws": 1, "seeds": 2}, "seeds must be >= 3, got 2"),
    ):
        with pytest.raises(ValueError, match=message):
            spectra.run(out=tmp_path / "new", **(SMALL | change))
    assert not (tmp_path / "new").exists()
