"""The study implicit-bias: gradient descent against the pseudoinverse, its closed form, its files."""

import json

import numpy as np
import pytest

from genkern import cli, problems, studies
from genkern.studies import implicit_bias


@pytest.fixture(scope="module")
def result():
    return implicit_bias.run()


def test_descent_from_the_row_space_ends_at_the_pseudoinverse_solution(result):
    problem = problems.gaussian(20, 60, noise=0.1, seed=0)
    best = np.linalg.pinv(problem.X) @ problem.y
    numbers = result.numbers
    assert numbers["minimum_norm"] == pytest.approx(np.linalg.norm(best), rel=1e-12)
    distance = result.curves["distance"]
    assert np.all(distance[0, :2, -1] < 1e-13) and distance[0, 2, -1] > 0.5
    np.testing.assert_allclose(numbers["limit_distance"], numbers["theory_limit"], rtol=1e-12, atol=1e-13)
    assert np.all(result.curves["residual"][..., -1] < 1e-13)
    assert np.all(numbers["other_norms"] > numbers["minimum_norm"])
    # Orthogonal to the solution, so the norms of other interpolators follow Pythagoras.
    np.testing.assert_allclose(numbers["other_norms"], np.hypot(numbers["minimum_norm"][0], 1.0), rtol=1e-12)


def test_curves_are_those_of_theory_and_of_a_loop(result):
    assert result.numbers["largest_difference"] < 1e-14 and result.numbers["loop_difference"] < 1e-13
    for name in ("distance", "residual"):
        np.testing.assert_allclose(result.curves[name], result.theory[name], rtol=1e-9, atol=1e-13)
    assert np.all(np.diff(result.theory["distance"], axis=-1) <= 0)
    s = np.linalg.svd(problems.gaussian(20, 60, noise=0.1, seed=0).X, compute_uv=False)
    early, late = np.searchsorted(result.curves["steps"], [200, 300])
    slope = np.diff(np.log(result.theory["distance"][0, 0, [early, late]]))[0] / np.diff(
        result.curves["steps"][[early, late]]
    )
    assert slope == pytest.approx(np.log1p(-((s[-1] / s[0]) ** 2)), rel=0.02)


def test_seeds(result, tmp_path):
    several = implicit_bias.run(seeds=[3, 0], out=tmp_path)
    assert several.curves["seeds"].tolist() == [3, 0] and several.curves["distance"].shape[:2] == (2, 3)
    for name in ("distance", "residual", "norm"):
        assert np.array_equal(several.curves[name][1], result.curves[name][0])
        assert not np.array_equal(several.curves[name][0], result.curves[name][0])
    assert several.numbers["minimum_norm"].shape == (2,) and "medians over 2 seeds" in several.table


def test_paths_of_the_picture_end_on_the_line(result):
    paths = result.curves["plane_paths"]
    ends = paths[:, -1] @ implicit_bias.PLANE_X[0]
    np.testing.assert_allclose(ends, implicit_bias.PLANE_Y[0], atol=0.02)
    np.testing.assert_array_equal(paths[:, 0], implicit_bias.PLANE_STARTS)
    moved = paths[:, -1] - paths[:, 0]  # along x alone
    x = implicit_bias.PLANE_X[0]
    np.testing.assert_allclose(moved[:, 0] * x[1] - moved[:, 1] * x[0], 0, atol=1e-15)


def test_files_and_command_line(tmp_path, capsys):
    assert cli.main(["implicit-bias", "--n", "5", "--d", "9", "--steps", "50", "--out", str(tmp_path / "new")]) == 0
    assert "minimum-norm" in capsys.readouterr().out
    assert {path.name for path in (tmp_path / "new").iterdir()} == {"figure.png", "results.npz", "summary.json"}
    summary = json.loads((tmp_path / "new" / "summary.json").read_text())
    assert summary["claim"] == "implicit-bias" and summary["parameters"]["d"] == 9
    with np.load(tmp_path / "new" / "results.npz") as arrays:
        assert arrays["distance"].shape == arrays["theory_distance"].shape
    assert studies.load("implicit-bias") is implicit_bias


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n": 60}, "n must be less than d = 60, got 60"),
        ({"n": 0}, "n must be >= 1"),
        ({"steps": 0}, "steps must be"),
        ({"points": 1}, "points must be"),
        ({"start_norm": -1.0}, "start_norm must be"),
        ({"noise": -1.0}, "noise must be"),
        ({"seeds": [-1]}, "seeds must be"),
        ({"backend": "abacus"}, "backend must be"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        implicit_bias.run(**options)
