"""The double-descent study: its curves, its claim in every seed, its files."""

import json
import re
import resource
import sys

import numpy as np
import pytest

import genkern
from genkern import problems, studies
from genkern.studies import double_descent

SMALL = {"n_train": 100, "n_test": 300, "max_width": 800, "progress": False}


@pytest.fixture(scope="module")
def result():
    return double_descent.run(seeds=6, **SMALL)


def test_peak_stands_ten_times_above_both_minima_in_every_seed(result):
    numbers = result.numbers["by_seed"]
    assert np.all(numbers["left_ratio"] >= 10) and np.all(numbers["right_ratio"] >= 10)
    widths, risk = result.curves["widths"], result.curves["test_risk"]
    for s in range(6):
        top = np.argmax(risk[s])
        assert numbers["peak"][s] == risk[s, top] and numbers["peak_width"][s] == widths[top]
        assert numbers["left_ratio"][s] == risk[s, top] / risk[s, :top].min()
        assert numbers["right_ratio"][s] == risk[s, top] / risk[s, top + 1 :].min()
        # The second descent reaches below the first, which it would not without noise in the labels.
        assert risk[s, top + 1 :].min() < 1.0
    assert np.all(np.abs(numbers["peak_width"] - numbers["threshold"]) <= 5)


def test_threshold_is_the_first_width_of_full_row_rank(result):
    for seed, threshold in zip(result.curves["seeds"], result.curves["threshold"], strict=True):
        problem = problems.digits(n_train=100, n_test=300, seed=int(seed))
        F = genkern.random_features(problem.X, int(threshold), seed=int(seed))
        singular = [np.linalg.svd(F[:, :width], compute_uv=False) for width in (int(threshold) - 1, int(threshold))]
        ranks = [int(np.sum(s > s[0] * np.finfo(float).eps * threshold)) for s in singular]
        assert ranks[0] < 100 and ranks[1] == 100
        assert threshold in result.curves["widths"]


def test_curves_are_those_of_fresh_solves(result):
    curves = result.curves
    s, t = 2, int(np.searchsorted(curves["widths"], 300))
    width = int(curves["widths"][t])
    problem = problems.digits(n_train=100, n_test=300, label_noise=0.1, seed=2)
    F = genkern.random_features(np.concatenate([problem.X, problem.X_test]), width, seed=2)
    coef = np.linalg.lstsq(F[:100], problem.y, rcond=None)[0]
    prediction = F[100:] @ coef
    expected = {
        "test_risk": np.mean(np.sum((prediction - problem.y_test) ** 2, axis=1)),
        "test_error": np.mean(prediction.argmax(axis=1) != problem.y_test.argmax(axis=1)),
        "coef_norm": np.linalg.norm(coef),
    }
    for name, value in expected.items():
        assert curves[name][s, t] == pytest.approx(value, rel=1e-9)
    assert curves["train_risk"][s, t] < 1e-20


def test_shapes_and_summary(result):
    s, t = 6, len(result.curves["widths"])
    for name in ("train_risk", "test_risk", "test_error", "coef_norm"):
        assert result.curves[name].shape == (s, t)
        assert np.all(np.isfinite(result.curves[name]))
    assert result.theory is None and "no closed form applies to real data" in result.table
    np.testing.assert_array_equal(result.curves["widths"], np.arange(1, 801))
    assert result.parameters["label_noise"] == 0.1 and result.parameters["seeds"] == list(range(6))
    summary = json.loads(json.dumps(result.summary(), allow_nan=False))
    assert set(summary) == {"claim", "parameters", "numbers", "version", "backend", "backends", "seconds", "theory"}
    assert len(summary["numbers"]["by_seed"]["left_ratio"]) == 6
    assert len(summary["numbers"]["quartiles"]["left_ratio"]) == 3


def test_saved_files(result, tmp_path):
    out = tmp_path / "a" / "b"
    result.save(out)
    result.save(out)
    assert sorted(path.name for path in out.iterdir()) == ["figure.png", "results.npz", "summary.json"]
    assert (out / "figure.png").read_bytes().startswith(b"\x89PNG")
    with np.load(out / "results.npz", allow_pickle=False) as arrays:
        for name, values in result.curves.items():
            np.testing.assert_array_equal(arrays[name], values)
    assert json.loads((out / "summary.json").read_text()) == result.summary()


def test_a_failed_write_leaves_nothing_half_written(result, tmp_path):
    (tmp_path / "summary.json").write_text("old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))  # less than the figure needs
    try:
        with pytest.raises(OSError, match="cannot save to") as caught:
            result.save(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["summary.json"]
    assert (tmp_path / "summary.json").read_text() == "old"


def test_folder_that_cannot_be_is_refused_before_any_work(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="cannot write to"):
        double_descent.run(out=tmp_path / "file" / "below", **SMALL)
    with pytest.raises(ValueError, match="activation"):
        double_descent.run(out=tmp_path / "new", activation="no such", **SMALL)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_file_in_the_way_of_a_result(result, tmp_path):
    (tmp_path / "figure.png").mkdir()
    with pytest.raises(OSError, match=re.escape("figure.png is a folder")):
        result.save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["figure.png"]


def test_backends_agree():
    options = {"n_train": 20, "n_test": 30, "widths": [5, 15, 40], "seeds": [3], "progress": False}
    expected = double_descent.run(backend="reference", **options)
    actual = double_descent.run(**options)
    for name in ("train_risk", "test_risk", "test_error", "coef_norm"):
        np.testing.assert_allclose(actual.curves[name], expected.curves[name], rtol=1e-8, atol=1e-20)


def test_seeds_and_widths_given():
    options = {"n_train": 40, "n_test": 50, "max_width": 90, "widths": [60, 10, 60], "progress": False}
    both = double_descent.run(seeds=[4, 7], **options)
    one = double_descent.run(seeds=(7,), **options)
    assert both.curves["widths"].tolist() == [10, 60]
    assert both.curves["seeds"].tolist() == [4, 7]
    np.testing.assert_array_equal(one.curves["test_risk"][0], both.curves["test_risk"][1])
    one.plot()


def test_no_threshold_where_the_features_have_low_rank(tmp_path):
    result = double_descent.run(
        activation="identity", n_train=70, n_test=30, max_width=200, points=8, seeds=2, out=tmp_path, progress=False
    )
    assert np.all(np.isnan(result.curves["threshold"]))
    assert json.loads((tmp_path / "summary.json").read_text())["numbers"]["by_seed"]["threshold"] == [None, None]


def test_ridge_removes_the_peak_and_float32_runs():
    options = {"n_train": 60, "n_test": 100, "max_width": 200, "seeds": 2, "progress": False}
    plain, ridge = (double_descent.run(ridge=ridge, dtype="float32", **options) for ridge in (0.0, 1.0))
    assert np.all(ridge.numbers["by_seed"]["peak"] < 2.0)
    assert np.all(plain.numbers["by_seed"]["peak"] > 10.0)


def test_progress(capfd, monkeypatch):
    options = {"n_train": 20, "n_test": 30, "widths": [5, 30], "seeds": 1}
    double_descent.run(**options)
    assert capfd.readouterr() == ("", "")
    seen = []
    double_descent.run(progress=lambda *numbers: seen.append(numbers), **options | {"seeds": 3})
    assert seen == [(0, 3, 0), (1, 3, 0), (2, 3, 0), (3, 3, 0)]
    with pytest.raises(TypeError, match="progress must be True, False, None or a function, got str"):
        double_descent.run(progress="bar", **options)
    pytest.importorskip("tqdm")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    double_descent.run(progress=True, **options)
    assert "1/1" in capfd.readouterr().err


def test_without_matplotlib(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"genkern\[plot\]"):
        double_descent.run(out=tmp_path / "new", **SMALL)
    assert not (tmp_path / "new").exists()
    double_descent.run(n_train=20, n_test=30, widths=[5, 30], seeds=1)


@pytest.mark.parametrize(
    "options, error, message",
    [
        ({"data": "cifar"}, ValueError, "data must be one of"),
        ({"n_train": 1797}, ValueError, "n_train must be in"),
        ({"n_train": 3}, ValueError, "n_train must be"),
        ({"seeds": 0}, ValueError, "seeds must be >= 1"),
        ({"seeds": []}, ValueError, "seeds must not be empty"),
        ({"seeds": "all"}, TypeError, "seeds must be a sequence"),
        ({"widths": [0]}, ValueError, "widths must be >= 1"),
        ({"ridge": -1.0}, ValueError, "ridge must be"),
        ({"label_noise": 2.0}, ValueError, "label_noise must be"),
        ({"dtype": "float16"}, ValueError, "dtype must be one of"),
        ({"backend": "abacus"}, ValueError, "backend must be"),
        ({"n_threads": 0}, ValueError, "n_threads must be"),
    ],
)
def test_bad_arguments(options, error, message):
    with pytest.raises(error, match=message):
        double_descent.run(**{"progress": False, **options})


def test_studies_are_found_by_name():
    assert studies.load("double-descent") is studies.double_descent
    assert "double_descent" in dir(studies)
    with pytest.raises(AttributeError, match="no attribute 'triple_descent'"):
        _ = studies.triple_descent
