"""The study max-margin: limits of theory, the continuation, methods and geometries, files."""

import json
import math

import numpy as np
import pytest

import genkern
from genkern import cli, studies
from genkern.studies import _margin_limits, max_margin


@pytest.fixture(scope="module")
def result():
    return max_margin.run()


def test_limits_of_the_generic_case():
    """The four points of two dimensions whose limits are known to eight digits."""
    Z = np.array([[1, 2], [2, -0.3], [2.5, 1.5], [3, 2]])
    best = genkern.max_margin(Z, np.ones(4))
    tilde, basis = _margin_limits.offset(Z, best.coef, 1.0)
    assert basis.shape == (2, 2)
    np.testing.assert_allclose(tilde, [0.89555792, 0.51606547], atol=5e-9)
    np.testing.assert_allclose(np.exp(-Z[:2] @ tilde), best.dual[:2], rtol=1e-12)  # the residual equation itself
    limits = _margin_limits.limits(Z, best.coef, tilde, 1.0)
    assert limits["direction"] == pytest.approx(0.19920, abs=5e-6)
    assert limits["direction"] ** 2 / 2 == pytest.approx(0.019841, abs=5e-7)
    assert limits["margin"] * float(best.margin) == pytest.approx(0.21366, abs=5e-6)
    assert limits["loss"] == pytest.approx(best.dual.sum(), rel=1e-12)


def test_limits_of_the_exact_case():
    """Four points in two pairs of copies: `t L` tends to sqrt(2), and w to half of log(8 eta t) in each entry."""
    points = np.array([[0.5, 1.5], [1.5, 0.5]])
    Z = np.concatenate([points, points])
    eta = 0.35355339059327373
    w_hat = genkern.max_margin(Z, np.ones(4)).coef
    tilde, _ = _margin_limits.offset(Z, w_hat, eta)
    np.testing.assert_allclose(tilde, 0.5 * math.log(8 * eta), rtol=1e-12)
    limits = _margin_limits.limits(Z, w_hat, tilde, eta)
    assert limits["loss"] == pytest.approx(math.sqrt(2), rel=1e-12)
    assert abs(limits["direction"]) < 1e-12 and abs(limits["margin"]) < 1e-12
    path = genkern.logistic_path(Z, np.ones(4), [1e6, 1e100], loss="exponential", step_size=eta, method="continued")
    assert path.coef[0, 0] == pytest.approx(7.42762118, abs=5e-9)
    np.testing.assert_allclose(path.coef[1], w_hat * math.log(1e100) + tilde, rtol=1e-12)


def test_the_span_of_the_support_decides_what_theory_knows():
    Z = np.array([[1.0, 0.0, 0.0], [2.0, 1.0, 0.0]])
    w_hat = genkern.max_margin(Z, np.ones(2)).coef
    tilde, basis = _margin_limits.offset(Z, w_hat, 0.5)
    assert basis.shape == (1, 3)
    np.testing.assert_allclose(tilde, [math.log(0.5), 0, 0], atol=1e-12)


def test_largest_margins_in_other_norms():
    z = np.array([[3.0, -1.0, 0.5]])
    assert _margin_limits.largest_margin(z, 1) == pytest.approx(3.0)  # w = (1, 0, 0)
    assert _margin_limits.largest_margin(z, np.inf) == pytest.approx(4.5)  # w = sign z


def test_the_continuation_meets_the_loop_and_the_limits(result):
    for row, (name, of) in enumerate(result.numbers["sets"].items()):
        assert of["status"] == 0 and of["gap"] < 1e-12 and of["continued_difference"] < 1e-10
        exact = len(result.curves["exact_steps"])
        for kind in ("direction", "margin_gap", "scaled_loss"):
            np.testing.assert_allclose(
                result.curves[kind][row, :exact], result.curves[f"exact_{kind}"][row], rtol=1e-8, atol=1e-10
            )
        end, limit = of["at_the_end"], of["limit"]
        assert end["loss"] == pytest.approx(limit["loss"], rel=1e-3)
        if name == "soudry":  # symmetric: both constants are 0
            assert limit["direction"] < 1e-12 and end["direction"] < 1e-10
            continue
        # The next term of the expansion is of order 1 / log t = 1 / 230, times |w_tilde|^2.
        assert end["margin"] == pytest.approx(limit["margin"], rel=0.12)
        assert end["direction"] == pytest.approx(limit["direction"], rel=0.05)
        late = result.curves["steps"] >= 1e10
        for kind in ("direction", "margin_gap"):  # like 1 / log t: slope -1 over log t
            slope = np.polyfit(np.log(np.log(result.curves["steps"][late])), np.log(result.curves[kind][row, late]), 1)[
                0
            ]
            assert slope == pytest.approx(-1.0, abs=0.3)
    gaussian = result.numbers["sets"]["gaussian"]
    assert gaussian["rank"] == gaussian["rank_of_data"] == gaussian["on_margin"] == 31
    assert result.numbers["sets"]["digits"]["rank"] < result.numbers["sets"]["digits"]["rank_of_data"]
    assert result.numbers["sets"]["soudry"]["slowest_exponent"] == pytest.approx(0.25)


def test_theory_is_beside_every_curve(result):
    for kind in ("direction", "margin_gap", "scaled_loss", "norm"):
        assert result.theory[kind].shape == result.curves[kind].shape == (3, len(result.curves["steps"]))
    norm, theory = result.curves["norm"][:, -1], result.theory["norm"][:, -1]
    np.testing.assert_allclose(norm, theory, rtol=0.1)
    assert result.curves["steps"][-1] == 1e100


def test_methods_have_the_slopes_of_their_rates(result):
    slopes = result.numbers["slopes"]
    assert -0.3 < slopes["gradient descent"] < -0.1
    assert abs(slopes["heavy ball"] - slopes["gradient descent"]) < 0.05
    assert -0.6 < slopes["normalised, 1/sqrt(t)"] < -0.3
    assert slopes["normalised"] == pytest.approx(-1.0, abs=0.2)
    assert slopes["accelerated"] == pytest.approx(-2.0, abs=0.1)


def test_each_geometry_reaches_the_margin_of_its_norm_and_no_more(result):
    for of in result.numbers["geometries"].values():
        assert of["largest_margin"] * 0.99 < of["reached"] <= of["largest_margin"] * (1 + 1e-12)
    assert np.all(result.curves["geometry_gap"][..., -1] < 0.01)


def test_files_and_command_line(tmp_path, capsys):
    options = "--data soudry --loss exponential --max-steps 1e6 --exact-steps 100 --points 12 --method-steps 200"
    arguments = ["max-margin", *options.split(), "--geometry-steps", "200", "--out", str(tmp_path / "new")]
    assert cli.main(arguments) == 0
    assert "accelerated" in capsys.readouterr().out
    assert {path.name for path in (tmp_path / "new").iterdir()} == {"figure.png", "results.npz", "summary.json"}
    summary = json.loads((tmp_path / "new" / "summary.json").read_text())
    assert summary["claim"] == "max-margin" and summary["parameters"]["sets"] == ["soudry"]
    with np.load(tmp_path / "new" / "results.npz") as arrays:
        assert arrays["direction"].shape == arrays["theory_direction"].shape
    assert studies.load("max-margin") is max_margin


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"data": "iris"}, "data must be one of"),
        ({"loss": "hinge"}, "loss must be one of"),
        ({"max_steps": 1e301}, "max_steps must be"),
        ({"exact_steps": 1}, "exact_steps must be"),
        ({"points": 3}, "points must be"),
        ({"method_steps": 1}, "method_steps must be"),
        ({"geometry_steps": 1}, "geometry_steps must be"),
        ({"n": 3}, "n must be"),
        ({"backend": "abacus"}, "backend must be"),
        ({"n_threads": 0}, "n_threads must be"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        max_margin.run(**options)


def test_backends_agree():
    options = {"data": "soudry", "max_steps": 1e8, "exact_steps": 100, "points": 12, "method_steps": 100}
    expected = max_margin.run(backend="reference", geometry_steps=100, **options)
    actual = max_margin.run(geometry_steps=100, **options)
    for name in ("direction", "margin_gap", "scaled_loss", "method_gap", "geometry_gap"):
        np.testing.assert_allclose(actual.curves[name], expected.curves[name], rtol=1e-7, atol=1e-9)
