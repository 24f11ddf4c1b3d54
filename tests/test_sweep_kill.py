"""Sweeps under kill -9: of the parent, again and again and inside commits, of workers, and Ctrl-C."""

import contextlib
import functools
import mmap
import os
import signal
import subprocess
import threading
import time

import numpy as np
import pytest
import sweep_tasks as tasks

import genkern
from genkern.sweep import Grid, run

pytestmark = pytest.mark.filterwarnings(*tasks.WARNINGS)
CELLS, KILLS = 2000, 20
# Says in a byte of a shared file, which outlives the process, whether it is inside a commit.
PARENT = """
import functools, mmap, sys, sweep_tasks as tasks
from genkern.sweep import Grid, _store, run

def commit(self, original=_store.Store._commit):
    flag[0] = 1
    original(self)
    flag[0] = 0

if __name__ == "__main__":
    folder, cells, executor, seconds = sys.argv[1], int(sys.argv[2]), sys.argv[3], float(sys.argv[4])
    with open(folder + "/flag", "r+b") as file:
        flag = mmap.mmap(file.fileno(), 1)
    _store.Store._commit = commit
    _store.COMMIT_SECONDS = 0.05
    task = functools.partial(tasks.mark, folder=folder, seconds=seconds)
    run(task, Grid(i=range(cells)), store=folder + "/s.sweep", executor=executor, progress=False)
"""


class Sweep:
    """A sweep in another process, and what its cells have left behind."""

    def __init__(self, folder, cells, executor="processes", seconds=0.002):
        self.folder, self.store = folder, folder / "s.sweep"
        self._arguments = (folder, cells, executor, seconds)
        (folder / "parent.py").write_text(PARENT)
        (folder / "flag").write_bytes(b"\0")
        (folder / "started").touch()
        self._log, self._rest = open(folder / "started"), ""  # noqa: SIM115
        self.started, self.pids = set(), set()
        with open(folder / "flag", "r+b") as file:
            self.flag = mmap.mmap(file.fileno(), 1)

    def start(self, **options):
        self.process = tasks.child([self.folder / "parent.py"], *self._arguments, **options)

    def look(self):
        """Read on in the log of started cells; a line that crosses a page may be there in part."""
        *lines, self._rest = (self._rest + self._log.read()).split("\n")
        for line in lines:
            cell, pid = map(int, line.split())
            self.started.add(cell)
            self.pids.add(pid)
        return len(self.started)

    def wait_for(self, cells):
        deadline = time.monotonic() + 120
        while self.look() < cells and self.process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.001)

    def wait_for_commit(self):
        deadline = time.monotonic() + 30
        while not self.flag[0] and self.process.poll() is None and time.monotonic() < deadline:
            pass

    def recorded(self):
        if not self.store.exists():
            return set()
        return {cell.parameters["i"] for cell in genkern.sweep.open(self.store)}

    def close(self):
        self._log.close()
        self.flag.close()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


def gone(pids):
    """Whether the processes end within some seconds; one that nobody has buried yet counts."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        alive = set()
        for pid in pids:
            with contextlib.suppress(OSError, IndexError):
                os.kill(pid, 0)
                with open(f"/proc/{pid}/stat") as file:
                    if file.read().rpartition(")")[2].split()[0] == "Z":
                        continue
                alive.add(pid)
        if not alive:
            return True
        time.sleep(0.05)
    return False


def uninterrupted(folder, cells, seconds=0.002):
    (folder / "serial").mkdir()
    task = functools.partial(tasks.mark, folder=str(folder), seconds=seconds)
    # The time that a cell waits is part of the sweep's identity, so it is the same here, and is not waited for.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "sleep", lambda seconds: None)
        run(task, Grid(i=range(cells)), store=folder / "serial" / "s", executor="serial", progress=False)
    (folder / "started").unlink()
    return tasks.content(folder / "serial" / "s")


def test_the_parent_killed_at_twenty_moments_and_resumed(tmp_path):
    """Moments uniform over the work; every third one waits for the next commit, which the others hit by chance."""
    expected = uninterrupted(tmp_path, CELLS)
    sweep = Sweep(tmp_path, CELLS)
    moments = (np.arange(KILLS) + np.random.default_rng(0).uniform(size=KILLS)) * (CELLS / (KILLS + 1))
    in_flight = in_commit = 0
    before = set()
    try:
        for i, moment in enumerate(moments):
            sweep.start()
            sweep.wait_for(moment)
            if i % 3 == 0:
                sweep.wait_for_commit()
            assert sweep.process.poll() is None, "killed while it runs"
            sweep.process.kill()
            assert sweep.process.wait() == -signal.SIGKILL
            in_commit += sweep.flag[0]
            sweep.flag[0] = 0
            sweep.look()
            recorded = sweep.recorded()
            assert recorded >= before, "what was committed stays"
            assert recorded <= sweep.started
            in_flight += len(sweep.started) > len(recorded)
            before = recorded
        assert gone(sweep.pids), "workers end when their parent is gone"
        sweep.start()
        assert sweep.process.wait(timeout=120) == 0
    finally:
        sweep.close()
    assert in_flight >= 15
    assert in_commit >= 3
    assert tasks.content(sweep.store) == expected
    assert not list(tmp_path.glob("s.sweep-*"))


@pytest.mark.parametrize("executor", ["loky", "dask"])
def test_the_workers_of_a_killed_parent_end(executor, tmp_path):
    """In the middle of a cell too."""
    tasks.need(executor)
    sweep = Sweep(tmp_path, 100, executor, 600.0)
    sweep.start(stderr=subprocess.DEVNULL)
    try:
        sweep.wait_for(2)
    finally:
        sweep.close()
    assert gone(sweep.pids)


@contextlib.contextmanager
def killer(folder, kills, period):
    """Kill a worker that has just started a cell, again and again."""
    over, killed = threading.Event(), []

    def work():
        while not over.wait(period) and len(killed) < kills:
            with contextlib.suppress(OSError, IndexError):
                whole, _, _ = (folder / "started").read_text().rpartition("\n")
                pid = int(whole.splitlines()[-1].split()[1])
                if pid not in killed and pid != os.getpid():
                    os.kill(pid, signal.SIGKILL)
                    killed.append(pid)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield killed
    finally:
        over.set()
        thread.join()


@pytest.mark.parametrize(("executor", "kills"), [("processes", 8), ("loky", 3), ("dask", 3)])
def test_killed_workers_lose_nothing(executor, kills, tmp_path):
    tasks.need(executor)
    expected = uninterrupted(tmp_path, 600, 0.01)
    task = functools.partial(tasks.mark, folder=str(tmp_path), seconds=0.01)
    with killer(tmp_path, kills, 0.25) as killed:
        result = run(task, Grid(i=range(600)), store=tmp_path / "s", executor=executor, progress=False)
    assert len(killed) == kills, "while cells were under way"
    assert not result.failed
    assert tasks.content(tmp_path / "s") == expected


@pytest.mark.parametrize("executor", ["serial", "threads", "processes"])
def test_ctrl_c_ends_all_and_keeps_what_is_done(executor, tmp_path):
    sweep = Sweep(tmp_path, CELLS, executor, 0.01)
    sweep.start(stderr=subprocess.PIPE, start_new_session=True)
    try:
        sweep.wait_for(60)
        os.killpg(sweep.process.pid, signal.SIGINT)  # as a terminal does: to the workers too
        _, err = sweep.process.communicate(timeout=60)
    finally:
        sweep.close()
    assert sweep.process.returncode == -signal.SIGINT
    assert err.count("Traceback") == 1, err
    assert err.splitlines()[-1] == "KeyboardInterrupt"
    assert gone(sweep.pids - {sweep.process.pid})
    sweep = Sweep(tmp_path, CELLS, executor)
    assert len(sweep.recorded()) >= 30
    assert not list(tmp_path.glob("s.sweep-*")) and not list(tmp_path.glob("*.lock"))
    sweep._log.close()
    sweep.flag.close()
