"""Studies as sweeps: the same numbers on every executor and after a resume; stores, failures, kills."""

import concurrent.futures as futures
import multiprocessing
import re
import signal
import subprocess
import time

import numpy as np
import own_activations
import pytest
import sweep_tasks as tasks

import genkern
from genkern import cli, studies, sweep
from genkern.errors import CellFailed, StoreMismatch
from genkern.studies import _setting, double_descent, phase_diagram

IMAGES = {"n_train": 20, "n_test": 30}
# Small settings of every study, with the seeds of a first run and of a second one.
SMALL = {
    "benign-overfitting": ({"samples": [8, 12]}, [0, 1], [0, 1, 5]),
    "double-descent": (IMAGES | {"widths": [5, 20, 60]}, 1, 3),
    "epoch-descent": (
        IMAGES | {"widths": [10, 20], "n_gaussian": 15, "dimensions": [10, 20], "points": 5, "steps": 1e3}, 1, 3,
    ),
    "implicit-bias": ({"n": 5, "d": 9, "steps": 20}, 1, 3),
    "interpolation-threshold": ({"n": 8, "gammas": [0.5, 1.0, 2.0], "draws": 3}, 1, 3),
    "max-margin": (
        {"n": 40, "max_steps": 1e8, "exact_steps": 20, "points": 10, "method_steps": 100, "geometry_steps": 100},
        [30], [30, 31],
    ),
    "phase-diagram": ({"n": 12, "gammas": [0.5, 2.0], "ridges": [0.1, 1.0]}, 2, 4),
    "random-features-theory": ({"dimension": 6, "n_train": 10, "n_test": 20, "widths": [4, 20]}, 1, 3),
    "ridge-descent": (IMAGES | {"n_gaussian": 10, "dimension": 20, "points": 4, "tuning": 2}, 1, 3),
    "sample-descent": (IMAGES | {"width": 8, "dimension": 6, "n_gaussian": 12}, 1, 3),
    "spectra": ({"n": 12, "p": 8, "draws": 3, "spikes": [1.0, 4.0], "spike_draws": 2}, 1, 3),
}  # fmt: skip
GRID = {"n": 30, "gammas": np.geomspace(0.3, 3, 12).tolist(), "ridges": [0.01, 0.1, 1.0], "seeds": 20}
CELLS = 12 * 3 * 20


def same(a, b):
    """Whether two results hold the same bits."""
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same(a[name], b[name]) for name in a)
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    return a == b or (a != a and b != b)


def finished(store):
    """When each cell was recorded."""
    return {tuple(cell.parameters.items()): cell.finished for cell in sweep.open(store)}


def parts(result):
    return {"curves": result.curves, "theory": result.theory or {}, "numbers": result.numbers}


@pytest.fixture(scope="module")
def pool():
    with futures.ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as made:
        yield made


def test_every_study_is_here():
    assert SMALL.keys() == studies.CLAIMS.keys()


@pytest.mark.parametrize("claim", SMALL)
def test_numbers_are_the_same_on_any_executor_and_after_a_resume(claim, pool, tmp_path):
    parameters, few, all_seeds = SMALL[claim]
    study, store = studies.load(claim), tmp_path / "s.sweep"
    expected = study.run(**parameters, seeds=all_seeds)
    study.run(**parameters, seeds=few, store=store)
    before = finished(store)
    actual = study.run(**parameters, seeds=all_seeds, store=store, executor=pool)
    assert same(parts(actual), parts(expected))
    after = finished(store)
    assert before.items() < after.items()  # what was there is not run again
    assert sweep.open(store).status().done == len(after)
    assert same(parts(study.run(**parameters, seeds=all_seeds, executor="threads")), parts(expected))
    # Once it is all there, nothing is run: not even an executor that could not be had is asked for.
    again = study.run(**parameters, seeds=all_seeds, store=store, executor="mpi")
    assert same(parts(again), parts(expected))
    if claim == "max-margin":  # elsewhere more seeds are no other figure
        again.plot()


@pytest.mark.parametrize("claim", SMALL)
def test_another_setting_is_refused(claim, tmp_path):
    parameters, few, _ = SMALL[claim]
    study, store = studies.load(claim), tmp_path / "s.sweep"
    study.run(**parameters, seeds=few, store=store)
    content = tasks.content(store)
    name = {"benign-overfitting": "noise", "implicit-bias": "noise", "max-margin": "d", "spectra": "draws"}
    name |= {"interpolation-threshold": "noise", "phase-diagram": "noise", "random-features-theory": "noise"}
    changed = name.get(claim, "label_noise")
    value = 4 if changed in ("d", "draws") else 0.375
    match = re.escape(f"not {changed} = {value}: name another file")
    with pytest.raises(StoreMismatch, match=match):
        study.run(**parameters | {changed: value}, seeds=few, store=store)
    with pytest.raises(StoreMismatch, match="results already"):
        study.run(**parameters, seeds=few, store=store, resume=False)
    other = "spectra" if claim != "spectra" else "benign-overfitting"
    with pytest.raises(StoreMismatch, match="is of task"):
        studies.load(other).run(**SMALL[other][0], seeds=SMALL[other][1], store=store)
    assert tasks.content(store) == content


def test_engines_by_name(tmp_path, monkeypatch):
    expected = parts(double_descent.run(**IMAGES, widths=[5, 30], seeds=3))
    for executor in ("processes", "loky"):
        if executor == "loky":
            pytest.importorskip("loky", reason="loky is not installed")
        assert same(parts(double_descent.run(**IMAGES, widths=[5, 30], seeds=3, executor=executor)), expected)
    one = double_descent.run(**IMAGES, widths=[5, 30], seeds=3, executor="processes", n_threads=1)
    assert same(parts(one), expected)
    with pytest.raises(ValueError, match="executor must be None, one of serial, threads"):
        double_descent.run(out=tmp_path / "new", executor="cluster")
    with pytest.raises(TypeError, match="resume must be True or False, got str"):
        double_descent.run(out=tmp_path / "new", resume="no")
    assert not (tmp_path / "new").exists()


def test_own_activations(pool, tmp_path):
    small = IMAGES | {"widths": [5, 30], "seeds": 2}
    expected = parts(double_descent.run(**small, activation=lambda x: x / (1.0 + abs(x))))
    options = {"activation": own_activations.gentle, "store": tmp_path / "s.sweep"}
    assert same(parts(double_descent.run(**small, **options)), expected)
    more = double_descent.run(**small | {"seeds": 3}, **options, executor=pool)
    assert same(more.curves["test_risk"][:2], expected["curves"]["test_risk"])
    assert sweep.open(tmp_path / "s.sweep").common["activation"].startswith("own_activations:gentle#")
    for where in ({"store": tmp_path / "t.sweep"}, {"executor": "processes"}, {"executor": pool}):
        with pytest.raises(TypeError, match="activation must be a function that can be imported by its name for"):
            double_descent.run(**small, activation=lambda x: x, **where)
    with pytest.raises(StoreMismatch, match="activation"):
        double_descent.run(**small, activation=own_activations.other, store=tmp_path / "s.sweep")


def test_a_function_that_has_changed_is_another_one(tmp_path):
    small, store = IMAGES | {"widths": [5, 30], "seeds": 2}, tmp_path / "s.sweep"
    double_descent.run(**small, activation=own_activations.gentle, store=store)
    text = sweep.open(store).common["activation"]
    from genkern.studies import _cells

    assert _cells.imported(text) is own_activations.gentle
    with pytest.raises(ValueError, match="activation own_activations:gentle must be the function"):
        _cells.imported(text[:-1] + ("0" if text[-1] != "0" else "1"))


@pytest.fixture
def one_seed_fails(monkeypatch):
    """Make the data of seed 1 fail, in this process."""
    original = _setting.image_set

    def image_set(data, n_train, n_test, label_noise, seed):
        if seed == 1:
            raise RuntimeError("no such\nimages")
        return original(data, n_train, n_test, label_noise, seed)

    with monkeypatch.context() as patched:
        patched.setattr(_setting, "image_set", image_set)
        yield patched


def test_a_failed_cell_ends_the_study_and_keeps_the_others(one_seed_fails, tmp_path, capfd):
    store, out = tmp_path / "s.sweep", tmp_path / "out"
    arguments = ["--n-train", "20", "--n-test", "30", "--widths", "5,30", "--seeds", "3", "--store", str(store)]
    for _ in range(2):  # a failure is not run again unasked
        assert cli.main(["double-descent", *arguments, "--out", str(out)]) == 1
        out_text, err = capfd.readouterr()
        assert out_text == "" and err == (
            "genkern: double-descent: 1 of 3 cells failed, the first at seed = 1 with RuntimeError: no such images; "
            f"genkern retry {store} runs them again\n"
        )
        assert not any(out.iterdir())
    with pytest.raises(CellFailed, match=r"1 of 3 cells failed, .*no such images$"):
        double_descent.run(**IMAGES, widths=[5, 30], seeds=3)
    assert sweep.open(store).status().done == 2
    assert cli.main(["status", str(store)]) == 1
    text = capfd.readouterr().out
    assert "failed     1" in text and "seed = 1: RuntimeError: no such images" in text
    assert cli.main(["retry", str(store), "--executor", "serial"]) == 1
    assert "1 cell run again, 0 done, 1 failed" in capfd.readouterr().out

    one_seed_fails.undo()
    assert cli.main(["retry", str(store), "--executor", "serial"]) == 0
    assert "1 cell run again, 1 done, 0 failed" in capfd.readouterr().out
    assert cli.main(["retry", str(store)]) == 0
    assert "no cell has failed" in capfd.readouterr().out
    assert cli.main(["double-descent", *arguments, "--out", str(out)]) == 0
    with np.load(out / "results.npz") as arrays:
        expected = double_descent.run(**IMAGES, widths=[5, 30], seeds=3)
        assert all(same(arrays[name], value) for name, value in expected.curves.items())


def test_a_nan_is_a_failure(monkeypatch):
    original = double_descent._setting.totals
    monkeypatch.setattr(_setting, "totals", lambda curve: original(curve) | {"coef_norm": np.full(2, np.nan)})
    with pytest.raises(
        CellFailed, match="3 of 3 cells failed, the first at seed = 0 with result 'coef_norm' has a NaN"
    ):
        double_descent.run(**IMAGES, widths=[5, 30], seeds=3)


# The worked example: a phase diagram that is killed, resumed, and moved to a cluster.


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return tmp_path_factory.mktemp("plain") / "s.sweep"


@pytest.fixture(scope="module")
def expected(plain):
    return phase_diagram.run(**GRID, store=plain)


def start(folder, **change):
    """`genkern phase-diagram` on worker processes, in another process."""
    values = {name: ",".join(map(str, v)) if isinstance(v, list) else v for name, v in (GRID | change).items()}
    options = [f"--{name}={value}" for name, value in values.items()]
    code = "import time, sys\nfrom genkern import cli\nfrom genkern.sweep import _store\n_store.COMMIT_SECONDS = 0.02\n"
    code += "sys.exit(cli.main(sys.argv[1:]))"
    command = ["phase-diagram", *options, "--executor", "processes", "--store", folder / "s.sweep", "--out"]
    return tasks.child(["-c", code], *command, folder / "out", stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def wait_for(store, cells, process):
    """Wait until a run in another process has recorded so many cells."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        if store.exists() and store.stat().st_size:
            try:
                state = sweep.open(store).status()
            except ValueError:  # its tables are being made
                continue
            if state.recorded >= cells:
                return state
        time.sleep(0.01)
    raise AssertionError(f"the run ended before {cells} cells: {process.communicate()}")


def test_killed_and_resumed(expected, plain, tmp_path):
    store = tmp_path / "s.sweep"
    for least in (1, 200):
        process = start(tmp_path)
        state = wait_for(store, least, process)
        assert state.running and state.cells == CELLS
        process.kill()
        process.communicate()
        assert sweep.open(store).status().recorded < CELLS
    assert not sweep.open(store).status().running
    actual = phase_diagram.run(**GRID, store=store, executor="processes")
    assert same(parts(actual), parts(expected))
    assert sweep.open(store).status().done == CELLS
    assert tasks.content(store) == tasks.content(plain)


def test_interrupted(tmp_path, capfd):
    process = start(tmp_path, seeds=400)
    wait_for(tmp_path / "s.sweep", 1, process)
    assert cli.main(["status", str(tmp_path / "s.sweep")]) == 0
    assert re.search(r"^running    yes$", capfd.readouterr().out, re.MULTILINE)
    with pytest.raises(OSError, match="is being written by another run"):
        phase_diagram.run(**GRID, store=tmp_path / "s.sweep")
    assert cli.main(["retry", str(tmp_path / "s.sweep")]) == 0
    assert "no cell has failed" in capfd.readouterr().out
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert err == (
        f"genkern: interrupted; the store {tmp_path / 's.sweep'} keeps what is done, and the same command goes on from "
        "it\n"
    )
    assert not any((tmp_path / "out").iterdir()) and not (tmp_path / "s.sweep.lock").exists()
    state = sweep.open(tmp_path / "s.sweep").status()
    assert 0 < state.recorded < 20 * CELLS and not state.running


@pytest.mark.filterwarnings("default::ResourceWarning", "default::DeprecationWarning:distributed")
def test_on_a_cluster(expected, tmp_path):
    distributed = pytest.importorskip("distributed", reason="distributed is not installed")
    part = GRID | {"seeds": 3}
    phase_diagram.run(**part, store=tmp_path / "s.sweep")
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster:
        actual = phase_diagram.run(**GRID, store=tmp_path / "s.sweep", executor=cluster.scheduler_address)
    assert same(parts(actual), parts(expected))


def test_measured_is_theory(expected):
    beside = expected.numbers["risk"]
    assert expected.curves["risk"].shape == (20, 12, 3)
    # A correction of order 1 / n beside the standard error.
    slack = 5 * beside["standard_error"] + 4 * beside["theory"] / 30
    assert np.all(np.abs(beside["measured"] - beside["theory"]) < slack)
    assert np.max(np.abs(beside["measured"] - 1.5 * beside["theory"]) / slack) > 1
    k, r, s = 3, 1, 5
    seed = sweep.cell_seed(seed=s, features=int(expected.curves["features"][k]))
    p = genkern.problems.gaussian(30, int(expected.curves["features"][k]), noise=0.5, seed=seed)
    fit = np.linalg.solve(p.X.T @ p.X + 30 * 0.1 * np.eye(len(p.coef)), p.X.T @ p.y)
    assert expected.curves["risk"][s, k, r] == pytest.approx(np.sum((fit - p.coef) ** 2), rel=1e-9)
    closed = genkern.theory.ridge_risk(expected.curves["gamma"][k], ridge=0.1, signal=1.0, noise=0.5)
    assert expected.theory["risk"][k, r] == closed.total


def test_files_of_the_phase_diagram(tmp_path):
    result = phase_diagram.run(out=tmp_path, n=8, gammas=[1.0], ridges=[0.5], seeds=2)
    assert {path.name for path in tmp_path.iterdir()} == {"figure.png", "results.npz", "summary.json"}
    assert "best ridge over gamma" in result.table


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n": 3}, "n must be >= 4, got 3"),
        ({"gammas": []}, "gammas must not be empty"),
        ({"ridges": [0.0]}, "ridges must be finite and > 0"),
        ({"signal": 0.0}, "signal must be finite and > 0"),
        ({"noise": -1.0}, "noise must be finite and > 0"),
        ({"seeds": 1}, "seeds must be >= 2, got 1"),
        ({"n_threads": 0}, "n_threads must be"),
        ({"backend": "abacus"}, "backend must be"),
    ],
)
def test_bad_arguments_of_the_phase_diagram(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        phase_diagram.run(out=tmp_path / "new", **options)
    assert not (tmp_path / "new").exists()
