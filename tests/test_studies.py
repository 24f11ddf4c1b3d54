"""What every study owes its reader: theory in the figure where there is one, and beside every measured number."""

import dataclasses

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from genkern import studies
from genkern.studies._setting import NO_THEORY

SMALL = {
    "double-descent": {"n_train": 30, "n_test": 50, "points": 8, "seeds": 2, "progress": False},
    "sample-descent": {
        "width": 20,
        "n_train": 40,
        "n_test": 50,
        "dimension": 20,
        "n_gaussian": 60,
        "seeds": 3,
        "progress": False,
    },
    "ridge-descent": {
        "n_train": 30,
        "n_test": 50,
        "n_gaussian": 30,
        "dimension": 60,
        "points": 8,
        "tuning": 3,
        "seeds": 3,
        "progress": False,
    },
    "epoch-descent": {
        "n_train": 30,
        "n_test": 50,
        "widths": [10, 30],
        "n_gaussian": 30,
        "dimensions": [15, 60],
        "steps": 1e4,
        "points": 9,
        "seeds": 3,
        "progress": False,
    },
    "implicit-bias": {"n": 5, "d": 12, "steps": 50, "points": 10},
    "max-margin": {
        "n": 60,
        "d": 5,
        "max_steps": 1e20,
        "exact_steps": 200,
        "points": 12,
        "method_steps": 100,
        "geometry_steps": 100,
    },
    "benign-overfitting": {"samples": [10, 20], "seeds": 3, "progress": False},
    "spectra": {"n": 30, "p": 15, "draws": 20, "spikes": [1.0, 4.0], "spike_draws": 5, "progress": False},
    "interpolation-threshold": {"n": 20, "gammas": [0.5, 2.0], "draws": 10, "progress": False},
    "phase-diagram": {"n": 20, "gammas": [0.5, 2.0], "ridges": [0.1, 1.0], "seeds": 3, "progress": False},
    "random-features-theory": {
        "dimension": 20,
        "n_train": 40,
        "n_test": 50,
        "widths": [10, 40, 80],
        "seeds": 3,
        "progress": False,
    },
}
REAL_DATA = {"double-descent", "sample-descent", "ridge-descent", "epoch-descent"}
NOTHING_AVERAGED = {"implicit-bias", "max-margin"}
# Theory that is no curve of the figure: of the table, or at the places measured where the figure has a finer line.
ONLY_NUMBERS = {
    "implicit-bias": {"residual"},
    "max-margin": {"norm", "scaled_loss"},  # the latter is 1
    "benign-overfitting": {"critical_index", "terms"},
    "spectra": {"spike_eigenvalue", "spike_cosine_squared"},
    "interpolation-threshold": {"bias", "variance", "exact"},
    "random-features-theory": {"bias", "variance"},
}

assert set(SMALL) == set(studies.CLAIMS), "every study is held to this"


@pytest.fixture(scope="module", params=SMALL)
def study(request):
    return request.param, studies.load(request.param).run(**SMALL[request.param])


def comparisons(numbers):
    """Every group of measured numbers beside theory."""
    if isinstance(numbers, dict):
        if "difference" in numbers:
            yield numbers
        for value in numbers.values():
            yield from comparisons(value)


def pixels(figure):
    figure.set_dpi(50)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba()).copy()


def test_numbers_stand_beside_theory(study):
    claim, result = study
    found = list(comparisons(result.numbers))
    for group in found:
        measured, error, theory, difference = (
            np.asarray(group[name], float) for name in ("measured", "standard_error", "theory", "difference")
        )
        assert np.all(error >= 0) and np.all(np.isfinite(measured)) and not np.any(np.isnan(difference))
        with np.errstate(divide="ignore", invalid="ignore"):
            rounding = np.abs(measured - theory) < 1e-11
            np.testing.assert_array_equal((difference == (measured - theory) / error) | rounding, True)
    assert bool(found) == (claim not in NOTHING_AVERAGED | {"double-descent"})


def test_table_says_what_theory_says(study):
    claim, result = study
    lines = result.table.split("\n")
    says = [line for line in lines if line.startswith("theory: ")]
    assert says and all(len(line) > 20 for line in says)
    assert all(part in result.report["theory"] for part in [NO_THEORY] if claim in REAL_DATA)
    assert (f"theory: {NO_THEORY}" in says) == (claim in REAL_DATA)
    titles = [line for line in lines if "std. errors" in line]
    assert all("measured" in line and "theory" in line for line in titles)
    if claim in NOTHING_AVERAGED:
        assert "without standard errors" in says[-1] and not titles
    else:
        assert bool(titles) == (claim != "double-descent")
    # The numbers of the first row that theory has are in the table, as printed.
    for group in list(comparisons(result.numbers))[:1]:
        row = next(line for line in lines[lines.index(titles[0]) + 1 :] if line)
        for name in ("measured", "theory"):
            value = np.ravel(group[name])[0]
            assert any(np.isclose(float(word), value, rtol=1e-3) for word in row.split() if word[-1].isdigit()), row


def test_summary_is_complete(study):
    claim, result = study
    summary = result.summary()
    assert summary["theory"] == result.report["theory"] and summary["claim"] == claim
    assert len(list(comparisons(summary["numbers"]))) == len(list(comparisons(result.numbers)))


def test_theory_is_drawn(study):
    """A figure whose theory is another one is another figure: each of the closed forms is in it, but for a few."""
    claim, result = study
    if result.theory is None:
        assert claim == "double-descent"
        return
    tabulated = ONLY_NUMBERS.get(claim, set())
    before = pixels(result.plot())
    for names in (tabulated, *({name} for name in result.theory if name not in tabulated)):
        others = {name: 1.2 * np.asarray(result.theory[name]) + 0.05 for name in names}
        drawn = pixels(dataclasses.replace(result, theory={**result.theory, **others}).plot())
        same = drawn.shape == before.shape and np.array_equal(drawn, before)
        assert same == (names is tabulated), names
