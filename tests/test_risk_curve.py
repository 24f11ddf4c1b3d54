"""The methods of a risk curve: labelled data, quantiles, figure, file."""

import resource
import sys

import numpy as np
import pytest

import genkern
from genkern import RiskCurve

MEASURED = ("train_risk", "test_risk", "coef_norm", "test_error", "bias", "variance", "method", "error", "threshold")


@pytest.fixture(scope="module")
def curve():
    """Axes: batch 2, seeds 3, ridges 2, widths 4, targets 3."""
    rng = np.random.default_rng(1)
    X, X_test = rng.standard_normal((2, 2, 12, 5))
    y, y_test = rng.standard_normal((2, 2, 12, 3))
    noise = rng.standard_normal((2, 4, 12, 3))
    return genkern.random_feature_curve(
        X,
        y,
        X_test,
        y_test,
        widths=[3, 12, 5, 30],
        seeds=[7, 2**64 - 1, 0],
        ridge=[0.0, 0.5],
        noise=noise,
        classify=True,
    )


@pytest.fixture(scope="module")
def plain():
    """Nothing but the curve's own axis."""
    rng = np.random.default_rng(2)
    return genkern.width_curve(
        rng.standard_normal((6, 15)), rng.standard_normal(6), rng.standard_normal((4, 15)), rng.standard_normal(4)
    )


def equal(a, b):
    """Whether two curves are the same to the last bit, absent parts included."""
    for name in ("axis", "values", *MEASURED, "seeds", "ridges"):
        one, other = getattr(a, name), getattr(b, name)
        if one is None or other is None:
            assert one is other, name
        else:
            np.testing.assert_array_equal(np.asarray(one), np.asarray(other), err_msg=name)
            assert np.asarray(one).dtype == np.asarray(other).dtype, name


def test_xarray(curve, plain):
    pytest.importorskip("xarray")
    data = curve.to_xarray()
    assert data["test_risk"].dims == ("batch_0", "seed", "ridge", "width", "target")
    assert data["test_error"].dims == data["method"].dims == data["error"].dims == ("batch_0", "seed", "ridge", "width")
    assert data["threshold"].dims == ("batch_0", "seed")
    assert set(data.data_vars) == set(MEASURED)
    assert data["width"].values.tolist() == [3, 12, 5, 30]
    assert data["seed"].values.tolist() == [7, 2**64 - 1, 0] and data["ridge"].values.tolist() == [0.0, 0.5]
    np.testing.assert_array_equal(
        data["bias"].sel(seed=0, width=5, ridge=0.5).values, np.asarray(curve.bias)[:, 2, 1, 2]
    )
    bare = plain.to_xarray()
    assert bare["test_risk"].dims == ("width",) and bare["threshold"].dims == ()
    assert set(bare.data_vars) == set(MEASURED) - {"test_error", "bias", "variance"}


@pytest.mark.parametrize("axis", ["samples", "ridge", "step"])
def test_the_other_axes(axis):
    pytest.importorskip("xarray")
    rng = np.random.default_rng(3)
    data = rng.standard_normal((8, 3)), rng.standard_normal(8), rng.standard_normal((4, 3)), rng.standard_normal(4)
    curve = {
        "samples": lambda: genkern.sample_curve(*data),
        "ridge": lambda: genkern.ridge_curve(*data, ridges=[0.0, 0.1, 3.0]),
        "step": lambda: genkern.epoch_curve(*data, steps=[0, 10, np.inf]),
    }[axis]()
    assert curve.to_xarray()["test_risk"].dims == (axis,)
    label = curve.plot().get_xlabel()
    assert label == {"samples": "training samples", "ridge": "ridge", "step": "steps of gradient descent"}[axis]


def test_pandas(curve, plain):
    pytest.importorskip("pandas")
    frame = curve.to_pandas()
    assert len(frame) == 2 * 3 * 2 * 4 * 3
    row = frame[
        (frame.batch_0 == 1) & (frame.seed == 7) & (frame.ridge == 0.5) & (frame.width == 30) & (frame.target == 2)
    ]
    assert len(row) == 1
    assert row.test_risk.item() == curve.test_risk[1, 0, 1, 3, 2]
    assert row.test_error.item() == curve.test_error[1, 0, 1, 3]
    assert row.method.item() == curve.method[1, 0, 1, 3]
    np.testing.assert_array_equal(plain.to_pandas()["test_risk"], plain.test_risk)


@pytest.mark.parametrize("package, method", [("xarray", "to_xarray"), ("pandas", "to_pandas")])
def test_missing_package(monkeypatch, plain, package, method):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=r"genkern\[studies\]"):
        getattr(plain, method)()


def test_quantiles(curve):
    found = curve.quantiles([0.0, 0.5, 1.0])
    assert set(found) == {"train_risk", "test_risk", "coef_norm", "test_error", "bias", "variance"}
    for name, value in found.items():
        seeds = np.asarray(getattr(curve, name))
        expected = np.stack([seeds.min(axis=1), np.sort(seeds, axis=1)[:, 1], seeds.max(axis=1)])
        np.testing.assert_allclose(value, expected, rtol=1e-15, err_msg=name)
    np.testing.assert_array_equal(curve.quantiles(0.5)["test_risk"], found["test_risk"][1])


def test_quantiles_leave_out_the_seeds_that_are_nan():
    risk = np.array([[1.0, np.nan, np.nan], [3.0, 4.0, np.nan]])
    ones = np.ones((2, 3))
    made = RiskCurve(
        "width", np.arange(3), ones, risk, ones, None, None, None, np.full((2, 3), "qr"), ones, np.ones(2), np.arange(2)
    )
    np.testing.assert_array_equal(made.quantiles(0.5)["test_risk"], [2.0, 4.0, np.nan])


@pytest.mark.parametrize("q", [-0.1, 1.5, [0.5, np.nan], [[0.5]]])
def test_quantiles_out_of_range(curve, q):
    with pytest.raises(ValueError, match="q must be"):
        curve.quantiles(q)


def test_quantiles_need_seeds(plain):
    with pytest.raises(ValueError, match="axis of seeds"):
        plain.quantiles(0.5)


def test_plot(curve, plain):
    pytest.importorskip("matplotlib")
    from matplotlib.figure import Figure

    axes = Figure().subplots()
    assert curve.plot(axes) is axes
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert {"test, ridge 0", "train, ridge 0", "test, ridge 0.5", "train, ridge 0.5"} <= set(labels)
    (line,) = (line for line in axes.lines if line.get_label() == "test, ridge 0.5")
    assert line.get_xdata().tolist() == [3, 5, 12, 30]
    expected = np.median(np.asarray(curve.test_risk)[:, :, 1].sum(axis=-1).reshape(6, 4), axis=0)[[0, 2, 1, 3]]
    np.testing.assert_allclose(line.get_ydata(), expected, rtol=1e-14)
    assert axes.get_xlabel() == "width" and "sum over targets" in axes.get_ylabel()

    axes = plain.plot()
    (line,) = (line for line in axes.lines if line.get_label() == "test")
    np.testing.assert_array_equal(line.get_ydata(), plain.test_risk)
    assert axes.get_yscale() == "log" and axes.get_ylabel() == "mean squared error"
    (mark,) = (line for line in axes.lines if line.get_label() == "full rank")
    assert mark.get_xdata()[0] == plain.threshold == 6


def test_plot_of_what_has_no_number():
    pytest.importorskip("matplotlib")
    F = np.ones((4, 5))
    F[0, 0] = np.nan
    curve = genkern.width_curve(F, np.ones(4), np.ones((3, 5)), np.ones(3))
    assert np.isnan(curve.test_risk).all()
    curve.plot().figure.canvas.draw()


def test_plot_without_matplotlib(monkeypatch, plain):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"genkern\[plot\]"):
        plain.plot()


def test_file(curve, plain, tmp_path):
    for saved in (curve, plain):
        path = tmp_path / "curve"
        saved.save(path)
        saved.save(str(path))
        assert [entry.name for entry in tmp_path.iterdir()] == ["curve"]
        equal(RiskCurve.load(path), saved)
        with np.load(path, allow_pickle=False) as arrays:  # nothing in it needs unpickling
            assert all(arrays[name].dtype.kind in "fiuU" for name in arrays.files if name != "allow_pickle")


def test_torch_comes_back_as_numpy(tmp_path):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(4)
    arrays = [rng.standard_normal(shape).astype(np.float32) for shape in ((5, 8), (5,), (3, 8), (3,))]
    saved = genkern.width_curve(*map(torch.from_numpy, arrays))
    assert isinstance(saved.test_risk, torch.Tensor)
    saved.save(tmp_path / "curve.npz")
    loaded = RiskCurve.load(tmp_path / "curve.npz")
    assert isinstance(loaded.test_risk, np.ndarray)
    equal(loaded, genkern.width_curve(*arrays))


def test_files_that_are_none(plain, tmp_path):
    plain.save(tmp_path / "good")
    good = (tmp_path / "good").read_bytes()
    with np.load(tmp_path / "good") as arrays:
        parts = {name: arrays[name] for name in arrays.files if name != "allow_pickle"}
    bad = tmp_path / "bad"

    def write(change):
        np.savez(
            bad.with_suffix(".npz"), **{name: value for name, value in (parts | change).items() if value is not None}
        )
        bad.with_suffix(".npz").rename(bad)

    made = [
        lambda: bad.write_bytes(b""),
        lambda: bad.write_bytes(b"PK\x03\x04 and no more"),
        lambda: bad.write_bytes(good[: len(good) // 2]),
        lambda: bad.write_bytes(good[:300] + bytes(100) + good[400:]),
        lambda: bad.write_bytes(b"\x93NUMPY\x01\x00"),
        lambda: write({"format": np.array("genkern risk curve 0")}),
        lambda: write({"format": None}),
        lambda: write({"test_risk": None}),
        lambda: write({"test_risk": np.array([print], dtype=object)}),
    ]
    for make in made:
        make()
        with pytest.raises(ValueError, match="is not a curve saved by genkern, or damaged") as caught:
            RiskCurve.load(bad)
        assert str(bad) in str(caught.value)


def test_a_pickle_is_not_run(tmp_path):
    import pickle

    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "sprung"), "w"))

    (tmp_path / "bad").write_bytes(pickle.dumps(Trap()))
    np.savez(tmp_path / "bad.npz", format=np.array("genkern risk curve 1"), axis=np.array([Trap()], dtype=object))
    for name in ("bad", "bad.npz"):
        with pytest.raises(ValueError, match="is not a curve"):
            RiskCurve.load(tmp_path / name)
    assert not (tmp_path / "sprung").exists()


def test_places_that_cannot_be(plain, tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "file" / "below", tmp_path / "none" / "below", tmp_path / "folder"):
        with pytest.raises(OSError, match="cannot save to") as caught:
            plain.save(path)
        assert str(path) in str(caught.value) and "\n" not in str(caught.value)
        with pytest.raises(OSError):
            RiskCurve.load(path)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["file", "folder"]


def test_full_disk_leaves_what_was_there(curve, plain, tmp_path):
    plain.save(tmp_path / "curve")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, limits[1]))
    try:
        with pytest.raises(OSError, match="cannot save to"):
            curve.save(tmp_path / "curve")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [entry.name for entry in tmp_path.iterdir()] == ["curve"]
    equal(RiskCurve.load(tmp_path / "curve"), plain)
