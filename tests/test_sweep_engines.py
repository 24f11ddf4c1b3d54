"""The engines of sweeps: the same store from each, dead and stuck workers, threads, arrays that travel once."""

import concurrent.futures as futures
import functools
import importlib.util
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import sweep_tasks as tasks

from genkern.errors import BackendUnavailable, GenkernError
from genkern.sweep import Grid, _engines, run
from genkern.sweep import _task as sweep_task

GRID = Grid(n=[6, 9, 12, 20], seed=range(12)) + Grid(n=[200], seed=range(2))
quiet = functools.partial(run, progress=False)
pytestmark = pytest.mark.filterwarnings(*tasks.WARNINGS)


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    folder = tmp_path_factory.mktemp("serial")
    quiet(tasks.kinds, GRID, executor="serial", store=folder / "kinds")
    quiet(tasks.faulty, Grid(i=range(30)), executor="serial", store=folder / "faulty")
    return {name: tasks.content(folder / name) for name in ("kinds", "faulty")}


@pytest.fixture(scope="module")
def cluster():
    """A Dask cluster of two processes."""
    distributed = pytest.importorskip("distributed", reason="distributed is not installed")
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as made:
        yield made


@pytest.fixture
def executor(request):
    """An engine by name; the names that stand for an executor of the user's make one."""
    name = request.param
    if name == "cluster":
        yield request.getfixturevalue("cluster").scheduler_address
    elif name == "own-threads":
        with futures.ThreadPoolExecutor(3) as made:
            yield made
    elif name == "own-processes":
        with futures.ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as made:
            yield made
    else:
        tasks.need(name)
        yield name


ALL = ["serial", "threads", "processes", "loky", "dask", "cluster", "own-threads", "own-processes"]


@pytest.mark.parametrize("executor", ALL, indirect=True)
def test_every_engine_writes_the_same_store(executor, expected, tmp_path):
    quiet(tasks.kinds, GRID, executor=executor, store=tmp_path / "kinds")
    assert tasks.content(tmp_path / "kinds") == expected["kinds"]
    if executor != "dask":  # which starts a cluster each time
        result = quiet(tasks.faulty, Grid(i=range(30)), executor=executor, store=tmp_path / "faulty")
        assert len(result.failed) == 6
        assert tasks.content(tmp_path / "faulty") == expected["faulty"]


def test_a_sweep_moves_from_engine_to_engine(expected, tmp_path):
    for executor, largest in (("serial", 6), ("threads", 9), ("processes", 12), ("serial", 200)):
        part = GRID.where(lambda n, most=largest: n <= most)
        quiet(tasks.kinds, part, executor=executor, store=tmp_path / "s")
    assert tasks.content(tmp_path / "s") == expected["kinds"]


# Lets Open MPI run as root and with more ranks than cores, as containers and small machines need.
OPEN_MPI = {
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "OMPI_MCA_rmaps_base_oversubscribe": "1",
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
}

MPI = """
import sys, sweep_tasks as tasks
from test_sweep_engines import GRID
from genkern.sweep import Grid, run
if __name__ == "__main__":
    run(tasks.kinds, GRID, executor="mpi", store=sys.argv[1] + "/kinds", progress=False)
    run(tasks.faulty, Grid(i=range(30)), executor="mpi", store=sys.argv[1] + "/faulty", progress=False)
"""


def test_mpi_writes_the_same_store(expected, tmp_path):
    pytest.importorskip("mpi4py", reason="mpi4py is not installed")
    if shutil.which("mpiexec") is None:
        pytest.skip("mpi: no mpiexec on the path")
    (tmp_path / "script.py").write_text(MPI)
    command = ["mpiexec", "-n", "3", sys.executable, "-m", "mpi4py.futures", "script.py", "."]
    environment = {**os.environ, **OPEN_MPI, "PYTHONPATH": tasks.PATHS, "PYTHONSAFEPATH": ""}
    process = subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    for name in ("kinds", "faulty"):
        assert tasks.content(tmp_path / name) == expected[name]


@pytest.mark.parametrize("executor", ["processes", "loky", "own-processes", "cluster", "threads"], indirect=True)
def test_large_arrays_travel_once_to_each_worker(executor):
    X = np.random.default_rng(0).normal(size=(40, 5000))
    result = quiet(functools.partial(tasks.weighted, X=X), Grid(i=range(40)), executor=executor)
    places = {}
    for cell in result:
        assert cell.results["sum"] == X[cell.parameters["i"]].sum()
        places.setdefault(cell.results["pid"], set()).add(cell.results["where"])
    assert all(len(found) == 1 for found in places.values()), "one copy on each worker"


@pytest.mark.parametrize(
    "executor", ["processes", "loky", "cluster", "own-processes", "threads", "serial"], indirect=True
)
def test_cells_share_the_cores(executor):
    """One thread for each cell of a large sweep, the cores shared in a small one; serial cells have all of them."""
    many = quiet(tasks.threads, Grid(i=range(_engines.cores() + 4)), executor=executor)
    assert {cell.results["kernels"] for cell in many} == {_engines.cores() if executor == "serial" else 1}
    assert {cell.results["blas"] for cell in many} == {1}
    few = quiet(tasks.threads, Grid(i=[0]), executor=executor)
    assert [(cell.results["kernels"], cell.results["blas"]) for cell in few] == [(_engines.cores(), 1)]
    if executor in ("processes", "loky"):
        assert {cell.results["openmp"] for cell in many} == {"1"}


def test_the_callers_threads_are_as_before():
    before = tasks.threads(0)
    quiet(tasks.threads, Grid(i=range(9)), executor="serial")
    quiet(tasks.threads, Grid(i=range(9)), executor="threads")
    quiet(tasks.threads, Grid(i=range(9)), executor="processes")
    assert tasks.threads(0) == before


def test_time_limits_leave_nothing_behind():
    """An interpreter that waits for an exception which never comes hangs where it is traced."""
    code = (
        "import sys, sweep_tasks as tasks\n"
        "from genkern import sweep\n"
        "found = sweep.run(tasks.wait, sweep.Grid(i=[0, 1], seconds=[0.0, 5.0]), executor='serial', progress=False,"
        " timeout=0.5)\n"
        "sys.settrace(lambda *event: None)\n"
        "tasks.wait(0, 0.0)\n"
        "sys.settrace(None)\n"
        "print(sorted(cell.status for cell in found))\n"
    )
    environment = {**os.environ, "PYTHONPATH": tasks.PATHS}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, env=environment)
    assert done.stdout.strip() == "['done', 'done', 'timeout', 'timeout']", done.stderr


def test_the_quota_of_a_container_counts(tmp_path):
    assert _engines._quota(tmp_path) is None
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert _engines._quota(tmp_path) is None
    (tmp_path / "cpu.max").write_text("150000 100000\n")
    assert _engines._quota(tmp_path) == 1.5
    (tmp_path / "cpu.max").unlink()
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    for quota, cores in (("-1", None), ("200000", 2.0)):
        (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text(f"{quota}\n")
        assert _engines._quota(tmp_path) == cores


def test_a_stuck_worker_is_stopped():
    """In one long call that no exception reaches: the process goes, and the others' cells do not fail."""
    start = time.monotonic()
    result = quiet(tasks.stuck, Grid(i=range(200)), timeout=1.0)
    assert time.monotonic() - start < 60
    assert [cell.parameters["i"] for cell in result.failed] == [1]
    assert result.failed[0].status == "timeout"
    assert result.failed[0].error == "did not finish within timeout = 1 s"
    assert [cell.results for cell in result if cell.parameters["i"] != 1] == [{"x": i} for i in range(200) if i != 1]


def running(pid):
    """Whether a process has not ended; an orphan stays a zombie where nobody asks for its end."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(
    not os.path.exists(f"/proc/self/task/{os.getpid()}/children"),
    reason="the system does not tell a process's children",
)
def test_a_timeout_ends_what_the_cell_has_started(tmp_path):
    result = quiet(functools.partial(tasks.parent, folder=tmp_path), Grid(i=range(2)), timeout=3.0)
    assert [(cell.parameters["i"], cell.status) for cell in result.failed] == [(1, "timeout")]
    pids = (tmp_path / "pids").read_text().split()
    assert len(pids) == 2
    for pid in pids:
        deadline = time.monotonic() + 10
        while running(pid):
            assert time.monotonic() < deadline, f"process {pid} goes on"
            time.sleep(0.01)


STOPPED = """
import sys, time
from pathlib import Path
from genkern.sweep import Grid, run

def task(i, folder):
    Path(folder, "started").touch()
    for _ in range(5):
        time.sleep(0.1)
    return {}

if __name__ == "__main__":
    print([cell.status for cell in run(task, Grid(i=[0], folder=sys.argv[1:]), progress=False, timeout=1.5)])
"""


def test_no_cell_is_late_for_the_time_that_it_was_stopped(tmp_path):
    (tmp_path / "study.py").write_text(STOPPED)
    process = tasks.child([tmp_path / "study.py"], tmp_path, stdout=subprocess.PIPE, start_new_session=True)
    deadline = time.monotonic() + 60
    while not (tmp_path / "started").exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGSTOP)  # as Ctrl-Z does
    time.sleep(1.6)
    os.killpg(process.pid, signal.SIGCONT)
    assert process.communicate(timeout=60)[0] == "['done']\n"


@pytest.mark.parametrize("executor", ["processes", "loky", "cluster"], indirect=True)
def test_endless_python_code_times_out_on_a_worker(executor):
    result = quiet(tasks.endless, Grid(i=range(30)), executor=executor, timeout=0.5)
    assert [(cell.parameters["i"], cell.status) for cell in result.failed] == [(1, "timeout")]
    assert len(result) == 30


@pytest.mark.parametrize("executor", ["processes", "loky", "cluster"], indirect=True)
def test_a_cell_that_kills_its_workers_is_one_failure(executor):
    result = quiet(tasks.deadly, Grid(i=range(40)), executor=executor)
    assert [(cell.parameters["i"], cell.status) for cell in result.failed] == [(1, "crashed")]
    assert "its worker process died 3 times in this cell" in result.failed[0].error
    assert [cell.results for cell in result if cell.parameters["i"] != 1] == [{"x": i} for i in range(40) if i != 1]


@pytest.mark.parametrize("executor", ["serial", "threads", "processes", "loky"], indirect=True)
def test_shared_arrays_are_read_only(executor):
    X = np.zeros(3)
    result = quiet(functools.partial(tasks.add_up, X=X), Grid(i=range(1, 4)), executor=executor)
    assert {cell.error for cell in result} == {"ValueError: output array is read-only"}
    assert not X.any()
    assert X.flags.writeable


def test_ctrl_c_of_a_task_is_its_own():
    result = run(tasks.interrupted, Grid(i=range(4)), progress=False)
    assert [(cell.status, cell.error) for cell in result.failed] == [("failed", "KeyboardInterrupt")]


def test_a_broken_executor_of_the_users_is_named_and_resumed(tmp_path):
    grid = Grid(i=[*range(2, 200), 1])
    with (
        futures.ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as executor,
        pytest.raises(GenkernError, match=r"the executor broke \(BrokenProcessPool.*run again with the same store"),
    ):
        quiet(tasks.deadly, grid, executor=executor, store=tmp_path / "s")
    assert len(quiet(tasks.deadly, grid.where(lambda i: i != 1), executor="serial", store=tmp_path / "s")) == 198


def test_a_batch_that_a_broken_executor_forgot():
    class Forgetful(futures.Executor):
        _broken = False

        def submit(self, *arguments):
            self._broken = "a worker is gone"
            return futures.Future()

    with pytest.raises(GenkernError, match=r"the executor broke \(BrokenExecutor: a worker is gone"):
        quiet(tasks.square, Grid(i=range(3)), executor=Forgetful())


def test_an_executor_of_the_users_is_left_running():
    with futures.ThreadPoolExecutor(2) as executor:
        quiet(tasks.square, Grid(i=range(10)), executor=executor)
        assert executor.submit(int).result() == 0


def test_no_more_cells_are_under_way_than_needed():
    """A sweep draws its cells as it goes."""

    class Counting(futures.ThreadPoolExecutor):
        under_way = most = 0

        def submit(self, *arguments):
            future = super().submit(*arguments)
            self.under_way += 1
            self.most = max(self.most, self.under_way)
            future.add_done_callback(lambda _: setattr(self, "under_way", self.under_way - 1))
            return future

    with Counting(2) as executor:
        quiet(tasks.square, Grid(i=range(2000)), executor=executor)
        assert 1 <= executor.most <= 4


def test_a_dask_client_that_is_there_is_used_and_left_open(cluster):
    from distributed import Client

    with Client(cluster) as client:
        client.wait_for_workers(2)
        before = set(client.nthreads())
        result = quiet(tasks.wait, Grid(i=range(20), seconds=[0.01]), executor="dask")
        assert {cell.results["pid"] for cell in result} <= set(client.run(os.getpid).values())
        assert client.submit(int, pure=False).result() == 0
        assert set(client.nthreads()) == before
    with Client(cluster, set_as_default=False) as client:
        result = quiet(tasks.wait, Grid(i=range(20), seconds=[0.01]), executor=client.get_executor(pure=False))
        assert len(result) == 20


def test_dask_workers_come_and_go():
    """One, then three, then one again."""
    distributed = pytest.importorskip("distributed", reason="distributed is not installed")
    with distributed.LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=":0") as made:

        def scale(recorded, cells, failed):
            made.scale(1 if recorded > 0.7 * cells else 3)

        grid = Grid(i=range(200), seconds=[0.03])
        result = run(tasks.wait, grid, executor=made.scheduler_address, progress=scale)
        assert not result.failed
        assert len(result) == 200
        assert len({cell.results["pid"] for cell in result}) >= 2


@pytest.mark.parametrize(("executor", "module"), [("loky", "loky"), ("dask", "distributed"), ("mpi", "mpi4py.futures")])
def test_a_missing_package_names_its_extra(executor, module, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(
        BackendUnavailable, match=rf"executor='{executor}' cannot run: pip install 'genkern\[{executor}\]'"
    ):
        quiet(tasks.square, Grid(i=[1]), executor=executor)


def test_no_scheduler_at_the_address():
    dask = pytest.importorskip("dask", reason="dask is not installed")
    with (
        dask.config.set({"distributed.comm.timeouts.connect": "0.5s"}),
        pytest.raises(OSError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:9"),
    ):
        quiet(tasks.square, Grid(i=[1]), executor="tcp://127.0.0.1:9")


SCRIPT = """
import sys
from genkern.sweep import Grid, run

def task(i):
    return {"square": i * i}

GUARD
    result = run(task, Grid(i=range(5)), progress=False, store=sys.argv[1])
    print(result.task, [cell.results["square"] for cell in result])
"""


def output(code, *arguments):
    process = tasks.child(code, *arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


def test_a_task_of_a_script(tmp_path):
    script = tmp_path / "study.py"
    script.write_text(SCRIPT.replace("GUARD", 'if __name__ == "__main__":'))
    code, out, err = output([str(script)], tmp_path / "s")
    assert (code, out, err) == (0, "study:task [0, 1, 4, 9, 16]\n", "")
    if importlib.util.find_spec("loky"):
        script.write_text(script.read_text().replace("progress=False", "progress=False, executor='loky'"))
        assert output([str(script)], tmp_path / "loky") == (0, "study:task [0, 1, 4, 9, 16]\n", "")
    script.write_text(SCRIPT.replace("GUARD", "if True:"))
    code, _, err = output([str(script)], tmp_path / "other")
    assert code == 1
    assert 'a script must start its sweep under if __name__ == "__main__"' in err.splitlines()[-1]


def test_a_task_of_an_interactive_session(tmp_path):
    code = SCRIPT.replace("GUARD", "if True:")
    status, _, err = output(["-c", code], tmp_path / "s")
    assert status == 1
    assert err.splitlines()[-1].startswith(
        "TypeError: task must be importable for executor='processes', got __main__:task"
    )
    assert not (tmp_path / "s").exists()
    status, out, _ = output(
        ["-c", code.replace("progress=False", "progress=False, executor='threads'")], tmp_path / "s"
    )
    assert (status, out) == (0, "__main__:task [0, 1, 4, 9, 16]\n")


@pytest.mark.parametrize(("executor", "module"), [("loky", "loky"), ("dask", "distributed")])
def test_no_engine_of_processes_takes_a_task_of_an_interactive_session(executor, module, monkeypatch):
    pytest.importorskip(module, reason=f"{module} is not installed")
    monkeypatch.setattr(sweep_task, "_name", lambda function: (None, "__main__:task"))
    with pytest.raises(TypeError, match=f"task must be importable for executor='{executor}', got __main__:task"):
        quiet(tasks.square, Grid(i=[1]), executor=executor)


def test_a_task_that_workers_cannot_load(tmp_path, monkeypatch):
    (tmp_path / "fleeting.py").write_text("def task(i):\n    return {}\n")
    monkeypatch.syspath_prepend(tmp_path)
    import fleeting

    (tmp_path / "fleeting.py").unlink()
    shutil.rmtree(tmp_path / "__pycache__", ignore_errors=True)
    with pytest.raises(GenkernError, match=r"a worker process cannot load the task: ModuleNotFoundError.*fleeting"):
        quiet(fleeting.task, Grid(i=range(3)))


def test_small_cells_cost_less_than_a_millisecond():
    start = time.perf_counter()
    result = quiet(tasks.square, Grid(i=range(10_000)), executor="processes")
    seconds = time.perf_counter() - start
    assert result.status().done == 10_000
    assert seconds < 10.0, "with the start of the workers"


def test_every_worker_is_kept_busy():
    """With cells that wait, which measure the engine; the best of three runs, as others use the cores."""
    shares = []
    for _ in range(3):
        table = quiet(tasks.wait, Grid(i=range(100), seconds=[0.02]), executor="processes").to_pandas()
        workers = table.groupby("pid")
        assert len(workers) == _engines.cores()
        shares.append(min((of.end - of.start).sum() / (of.end.max() - of.start.min()) for _, of in workers))
    assert max(shares) > 0.9


MEMORY = """
import resource, sys, sweep_tasks as tasks
from genkern.sweep import Grid, run
seen = {}
def look(recorded, cells, failed):
    if recorded % 10000 < 200:
        pages = int(open("/proc/self/statm").read().split()[1])
        seen[recorded // 10000] = pages * resource.getpagesize() / 2**20
run(tasks.square, Grid(i=range(100000)), executor="serial", progress=look)
print(seen[2], seen[10])
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="no /proc here")
def test_memory_is_flat():
    code, out, err = output(["-c", MEMORY])
    assert code == 0, err
    early, late = map(float, out.split())
    assert late - early < 8, "MiB more after 100,000 cells than after 20,000"
