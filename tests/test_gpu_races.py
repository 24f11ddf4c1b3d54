"""Kernels under the thread sanitizer, which sees a missing barrier, and under the address sanitizer."""

import contextlib
import functools
import re
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import pytest
from gpu import compile, races, standin
from gpu.calls import CALLS

SOURCES = {path.stem: path for path in compile.sources()}
SAMPLES = (compile.HERE / "samples.cu").read_text()


@functools.cache
def works(sanitizer):
    """Can the compiler build, and this machine run, a program with the sanitizer?"""
    try:
        with tempfile.TemporaryDirectory() as folder:
            return races.run(races.program(SAMPLES, sanitizer), [], Path(folder)).returncode == 0
    except (RuntimeError, OSError, subprocess.SubprocessError):
        return False


@functools.cache
def launches_of(stem):
    """Small launches of every kernel of a source, in both precisions."""
    with standin.installed() as cupy:
        made = races.recorded(lambda: [CALLS[stem](cupy, dtype) for dtype in (np.float32, np.float64)])
    return races.some(launch for launch in made if launch.source == stem)


@pytest.fixture(params=["thread", "address"])
def sanitizer(request):
    if compile.compiler() is None or not works(request.param):
        pytest.skip(f"no program can be built and run with -fsanitize={request.param}")
    return request.param


@pytest.mark.parametrize("stem", SOURCES)
def test_nothing_is_found(sanitizer, stem, tmp_path):
    done = races.run(races.program(SOURCES[stem].read_text(), sanitizer), launches_of(stem), tmp_path)
    assert done.returncode == 0 and not done.stderr, done.stderr


def test_a_removed_barrier_is_found(sanitizer, tmp_path):
    """Each barrier of the features' kernels in turn: the thread sanitizer misses it."""
    if sanitizer != "thread":
        pytest.skip("barriers are the thread sanitizer's")
    code = SOURCES["features"].read_text()
    barriers = [match.start() for match in re.finditer(r"__syncthreads\(\);", code)]
    assert len(barriers) >= 3
    for at in barriers:
        without = code[:at] + "               ;" + code[at + len("__syncthreads();") :]
        done = races.run(races.program(without, sanitizer), launches_of("features"), tmp_path)
        line = code.count("\n", 0, at) + 1
        assert done.returncode == 66 and "data race" in done.stderr, f"the barrier in line {line} is not missed"


def sample(kernel, arguments, shared=0):
    """The recorded launch of a kernel of samples.cu with 64 threads."""
    with standin.installed() as cupy:
        options = ("--std=c++17", "--fmad=false", f"-I{compile.CSRC}")
        function = cupy.RawModule(code=SAMPLES, options=options).get_function(kernel)
        given = [cupy.zeros(64, value) if isinstance(value, type) else value for value in arguments]

        def call():
            with contextlib.suppress(standin.EmulationError):
                function((1,), (64,), given, shared_mem=shared)

        return races.recorded(call)


@pytest.mark.parametrize("kernel, arguments, shared, verdict, word", [
    ("sample_sum_f32", (np.float32, np.float32, 64), 256, {"thread": 0, "address": 0}, ""),
    ("sample_race", (np.float32,), 0, {"thread": 66, "address": 0}, "data race"),
    ("sample_outside", (np.float32, np.int64(64)), 0, {"thread": 0, "address": 1}, "heap-buffer-overflow"),
])  # fmt: skip
def test_what_is_found(sanitizer, tmp_path, kernel, arguments, shared, verdict, word):
    done = races.run(races.program(SAMPLES, sanitizer), sample(kernel, arguments, shared), tmp_path)
    assert done.returncode == verdict[sanitizer], done.stderr
    assert word in done.stderr or not verdict[sanitizer]
