"""Every closed form as a stranger would call it: what is refused, and how; what is taken, and as what."""

import dataclasses
import inspect
import itertools
import re
import time

import numpy as np
import pytest

from genkern import theory

# Numbers that each function takes: two values of every argument.
SPECTRUM = {"eigenvalues": [[2.0, 1.0], [3.0, 0.5]], "weights": [[0.5, 0.5], [0.25, 0.75]]}
FORMS = {
    theory.ridge_risk: {"gamma": [0.5, 2.0], "ridge": [0.0, 0.25], "signal": [1.0, 2.0], "noise": [0.0, 1.0]},
    theory.effective_ridge: {"gamma": [0.5, 2.0], "ridge": [0.0, 0.25]},
    theory.misspecified_risk: {"gamma": [0.5, 2.0], "signal": [1.0, 3.0], "noise": [0.0, 1.0], "captured": [0.25, 1.0]},
    theory.finite_sample_risk: {"n": [10, 20], "p": [4, 25], "d": [30, 40], "signal": [1.0, 2.0], "noise": [0.0, 1.0]},
    theory.optimal_ridge: {"gamma": [0.5, 2.0], "signal": [1.0, 4.0], "noise": [0.0, 1.0]},
    theory.random_features_risk: {
        "width_ratio": [0.5, 4.0],
        "sample_ratio": [2.0, 3.0],
        "ridge": [0.0, 0.25],
        "linear": [1.0, 2.0],
        "nonlinear": [0.0, 0.5],
        "noise": [0.0, 1.0],
    },
    theory.marchenko_pastur_pdf: {"x": [0.5, 1.0], "gamma": [0.5, 2.0]},
    theory.marchenko_pastur_cdf: {"x": [0.5, 1.0], "gamma": [0.5, 2.0]},
    theory.marchenko_pastur_quantile: {"q": [0.25, 0.75], "gamma": [0.5, 2.0]},
    theory.marchenko_pastur_stieltjes: {"lam": [0.0, 1.0], "gamma": [0.5, 0.75]},
    theory.tracy_widom_cdf: {"s": [-2.0, 0.0], "beta": [1, 2]},
    theory.spiked_covariance: {"spike": [1.5, 4.0], "gamma": [0.5, 2.0]},
}
SIGNED = {"x", "s"}
# Values out of range: of every argument, but where `inf` is a limit or a probability.
INFINITE = {"width_ratio", "sample_ratio", "x", "s"}
ENDLESS_SAMPLES = {theory.ridge_risk, theory.effective_ridge, theory.misspecified_risk}
CASES = [(form, name) for form, arguments in FORMS.items() for name in arguments]


def parts(result):
    """All arrays of a result, by name."""
    if not dataclasses.is_dataclass(result):
        return {"": np.asarray(result)}
    found = {}
    for field in dataclasses.fields(result):
        inner = parts(getattr(result, field.name))
        found |= {f"{field.name}.{name}": value for name, value in inner.items()}
    return found


def one_of_each(form):
    return {name: values[1] for name, values in FORMS[form].items()}


def identify(value):
    return value.__name__ if callable(value) else str(value)


@pytest.mark.parametrize("name", [name for name in theory.__all__ if callable(getattr(theory, name))])
def test_docstrings_are_complete(name):
    item = getattr(theory, name)
    if isinstance(item, type):
        assert all(f"\n    {field.name} :" in item.__doc__ for field in dataclasses.fields(item))
        return
    sections = ["Parameters", "Returns", "Raises"]
    sections += ["References"] if name not in ("activation_moments", "marchenko_pastur_quantile") else []
    places = [item.__doc__.index(f"\n    {title}\n    {'-' * len(title)}\n") for title in sections]
    assert places == sorted(places)
    for argument in inspect.signature(item).parameters:
        assert re.search(rf"^    (\w+, )*{argument}\b", item.__doc__[places[0] : places[1]], re.MULTILINE), argument


@pytest.mark.parametrize("form, name", CASES, ids=identify)
def test_what_is_refused(form, name):
    bad = [np.nan, "2", None, 1j, [[1.0, 2.0], [3.0]], np.array([None]), {}, np.float16(1.0), np.ma.array([1.0])]
    if name not in SIGNED:
        bad += [-1.0, [0.5, -np.inf]]
    if name not in INFINITE and not (name == "gamma" and form in ENDLESS_SAMPLES):
        bad.append(np.inf)
    for value in bad:
        with pytest.raises((ValueError, TypeError), match=f"^{name} must") as caught:
            form(**one_of_each(form) | {name: value})
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 200
    other = next(key for key in FORMS[form] if key != name)
    shapes = {name: np.resize(FORMS[form][name], 2), other: np.resize(FORMS[form][other], 3)}
    with pytest.raises(ValueError, match=rf"batch axes must broadcast, got .*{name} \(2,\)"):
        form(**one_of_each(form) | shapes)


@pytest.mark.parametrize("form", FORMS, ids=identify)
def test_every_argument_broadcasts(form):
    """Axes of its own for every argument, then the loop over all of them."""
    arguments = FORMS[form]
    total = len(arguments)
    spread = {
        name: np.reshape(values, [2 if axis == own else 1 for axis in range(total)])
        for own, (name, values) in enumerate(arguments.items())
    }
    table = parts(form(**spread))
    for index in itertools.product(range(2), repeat=total):
        one = parts(form(**{name: values[i] for (name, values), i in zip(arguments.items(), index, strict=True)}))
        for name, value in table.items():
            assert value.dtype == np.float64 and one[name].shape == ()
            np.testing.assert_allclose(
                value[tuple(np.minimum(index, np.array(value.shape) - 1))], one[name], rtol=1e-13
            )
            assert value.shape == (2,) * total or name.startswith("decomposition")


@pytest.mark.parametrize("form", FORMS, ids=identify)
def test_what_is_taken(form):
    right = parts(form(**{name: np.array(values, float) for name, values in FORMS[form].items()}))
    empty = parts(form(**{name: np.zeros((0, 2)) for name in FORMS[form]}))
    half = {name: [value / 2 for value in values] for name, values in FORMS[form].items()}
    whole = form in (theory.finite_sample_risk, theory.tracy_widom_cdf)
    kinds = {
        "lists": lambda values: values,
        "tuples": tuple,
        "float32": lambda values: np.array(values, np.float32),
        "read-only and strided": lambda values: np.broadcast_to(np.repeat(values, 3)[::3], (2,)),
        "big-endian": lambda values: np.array(values, ">f8"),
    }
    for kind, convert in kinds.items():
        given = {name: convert(values) for name, values in FORMS[form].items()}
        for name, value in parts(form(**given)).items():
            np.testing.assert_array_equal(value, right[name], err_msg=kind)
    if not whole:
        integers = {name: np.ceil(values).astype(np.int16) for name, values in FORMS[form].items()}
        floats = {name: np.ceil(values) for name, values in FORMS[form].items()}
        for name, value in parts(form(**integers)).items():
            np.testing.assert_array_equal(value, parts(form(**floats))[name])
        assert not any(np.any(np.isnan(value)) for value in parts(form(**half)).values())
    assert all(value.shape == (0, 2) for value in empty.values())


@pytest.mark.parametrize("form", FORMS, ids=identify)
def test_arrays_of_another_library_come_back(form):
    torch = pytest.importorskip("torch")
    tensors = {name: torch.tensor(values) for name, values in FORMS[form].items()}
    result = form(**tensors)
    first = result if isinstance(result, torch.Tensor) else getattr(result, dataclasses.fields(result)[0].name)
    assert isinstance(first, torch.Tensor) and first.dtype == torch.float64
    name = next(iter(FORMS[form]))
    with pytest.raises(TypeError, match="arrays of one library"):
        form(**{key: np.array(values) for key, values in FORMS[form].items()} | {name: tensors[name]})


@pytest.mark.parametrize("form, name", CASES, ids=identify)
def test_the_ends_of_float64(form, name):
    """The least and the largest numbers give a number, a limit or one clear error, and no warning."""
    for value in (0.0, 5e-324, 1e-300, 1e300, 1.7e308):
        try:
            found = parts(form(**one_of_each(form) | {name: value}))
        except ValueError as error:
            assert name in str(error) or "can be bracketed" in str(error)
        else:
            assert not any(np.any(np.isnan(part)) for part in found.values()), value


@pytest.mark.parametrize("name", SPECTRUM)
@pytest.mark.parametrize("form", [theory.ridge_risk, theory.effective_ridge], ids=identify)
def test_spectra(form, name):
    for value in (1.0, [], [np.nan, 1.0], [-1.0, 1.0], [np.inf, 1.0], [1j, 1.0], np.zeros((2, 0))):
        with pytest.raises((ValueError, TypeError), match=f"^{name} must"):
            form(2.0, **SPECTRUM | {name: value})
    batch = parts(form(np.array([[0.5], [2.0], [3.0]]), ridge=0.1, **SPECTRUM))
    for i, (gamma, k) in enumerate(itertools.product((0.5, 2.0, 3.0), range(2))):
        one = parts(form(gamma, ridge=0.1, **{key: values[k] for key, values in SPECTRUM.items()}))
        for part, value in batch.items():
            assert value.shape == (3, 2)
            np.testing.assert_allclose(value.flat[i], one[part], rtol=1e-14)


def test_effective_ranks_take_what_the_others_take():
    s = [4.0, 2.0, 1.0, 1.0]
    right = theory.benign_overfitting(s, [1, 2])
    for given in (tuple(s), np.array(s, np.float32), np.array(s[::-1])[::-1], np.array(s, np.int8)):
        for name, value in parts(theory.benign_overfitting(given, np.array([1, 2], np.uint8))).items():
            np.testing.assert_array_equal(value, parts(right)[name])
    assert theory.critical_index(s, 2, b=1.7e308) == np.inf and theory.critical_index(s, 1, b=5e-324) == 0.0
    assert theory.critical_index(np.ones((2, 0, 3)), 2).shape == (2, 0)
    for bad in ([np.nan], [[1.0], [2.0, 3.0]], "a", None):
        with pytest.raises((ValueError, TypeError), match=r"^eigenvalues must"):
            theory.critical_index(bad, 2)


@pytest.mark.parametrize("estimate", [theory.loo_cv, theory.gcv], ids=identify)
def test_cross_validation_takes_what_least_squares_takes(estimate):
    X, y = np.arange(12.0).reshape(4, 3) ** 1.5, np.array([1.0, -1.0, 2.0, 0.0])
    right = estimate(X, y, ridge=0.5)
    assert right == estimate(X.tolist(), y.tolist(), ridge=0.5) == estimate(np.asfortranarray(X), y, ridge=[0.5])[0]
    single = estimate(X.astype(np.float32), y.astype(np.float32), ridge=np.float32(0.5))
    assert single.dtype == np.float64 and single == pytest.approx(right, rel=1e-4)
    wide = estimate(X, np.stack([y, 2 * y], axis=1), ridge=np.array([[0.5], [1.0], [2.0]])[..., None, None])
    assert wide.shape == (3, 1, 1, 1, 2) and wide[0, 0, 0, 0, 1] == pytest.approx(4 * right, rel=1e-13)
    assert estimate(np.zeros((0, 4, 3)), np.zeros((0, 4))).shape == (0,)
    for bad in (-1.0, np.inf, np.nan, "a", 1j):
        with pytest.raises((ValueError, TypeError), match=r"^ridge must"):
            estimate(X, y, ridge=bad)


def test_moments_of_what_is_no_activation():
    for bad in ("gelu", None, 3, [1.0, 2.0], np.ones((2, 2))):
        with pytest.raises(ValueError, match="activation must be one of") as caught:
            theory.activation_moments(bad)
        assert "\n" not in str(caught.value)


def test_a_phase_diagram_of_ten_thousand_points_is_quick():
    """About 0.1 s for the slowest on an idle core."""
    one, other = np.meshgrid(np.geomspace(0.05, 20.0, 100), np.geomspace(0.06, 21.0, 100))
    spectrum = {"eigenvalues": np.arange(1.0, 21.0) ** -1.5}
    calls = [
        lambda: theory.ridge_risk(one, ridge=other, **spectrum),
        lambda: theory.ridge_risk(one, eigenvalues=[4.0, 0.5], noise=other),
        lambda: theory.ridge_risk(one, ridge=theory.optimal_ridge(one, signal=other, noise=1.0), signal=other),
        lambda: theory.random_features_risk(one, other),
        lambda: theory.random_features_risk(one, other, ridge=1e-3, activation="tanh"),
        lambda: theory.random_features_risk(one, 3.0, ridge=other / 100),
        lambda: theory.misspecified_risk(one, signal=other, noise=1.0, captured=0.5),
        lambda: theory.finite_sample_risk(np.arange(100), np.arange(100)[:, None], 99, signal=1.0, noise=1.0),
    ]
    theory.random_features_risk(1.0, 2.0, activation="tanh")
    for call in calls:
        took = []
        for _ in range(3):  # others may be at work on the machine
            start = time.perf_counter()
            call()
            took.append(time.perf_counter() - start)
        assert min(took) < 0.5
