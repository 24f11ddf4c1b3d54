"""TEST ONLY: builds the emulated kernels of a family, once per content, into a shared library.

The text of csrc/cuda/<family>.cu is preprocessed as NVRTC sees it, its dynamic shared memory is given a pointer, and
what comes out is compiled by the host's C++ compiler under emulator_cuda.hpp.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
CSRC = HERE.parents[1] / "csrc"
HEADERS = sorted(HERE.glob("emulator*.hpp"))
# The kernels are compiled for a GPU with --fmad=false: a fused multiply-add stands where they ask for it.
FLAGS = ("-std=c++17", "-fPIC", "-fvisibility=default", "-ffp-contract=off", "-fno-gnu-unique", "-Wall", "-Wextra",
         "-Wno-unknown-pragmas", "-Wno-unused-function", "-Wno-psabi")  # fmt: skip
_DYNAMIC = re.compile(r"extern\s+__shared__\s+(?:__align__\s*\(\s*\d+\s*\)\s*)?(.+?)\s+(\w+)\s*\[\s*\]\s*;")
_ENTRY = re.compile(
    r'extern\s+"C"\s+__global__\s+(?:void\s+)?(?:__launch_bounds__\s*\(([^()]*(?:\([^()]*\)[^()]*)*)\)\s*)?(?:void\s+)?'
    r"(\w+)\s*\("
)


@functools.cache
def compiler() -> str | None:
    """The C++ compiler, or None where there is none that works. (The emulator needs a linker of Linux, too.)"""
    if sys.platform != "linux":
        return None
    for name in (os.environ.get("CXX", "g++"), "c++"):
        found = shutil.which(name)
        if found and not subprocess.run([found, "-E", "-x", "c++", os.devnull], capture_output=True).returncode:
            return found
    return None


def preprocessed(code: str, csrc: Path = CSRC) -> str:
    """The source as NVRTC sees it, headers included, CUDA's own words left as they are."""
    command = [
        str(compiler()), "-E", "-x", "c++", "-std=c++17", "-D__CUDACC__", "-D__CUDACC_RTC__", "-D__CUDA_ARCH__=800",
        f"-I{csrc}", "-",
    ]  # fmt: skip
    done = subprocess.run(command, input=code, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"the kernels cannot be preprocessed:\n{done.stderr[-8000:]}")
    return done.stdout


def name_of(code: str, csrc: Path = CSRC) -> str:
    """Which source a text is (a digest of headers may stand at its end)."""
    return next((path.stem for path in sources(csrc) if code.startswith(path.read_text())), "kernels")


def sources(csrc: Path = CSRC) -> list[Path]:
    """Every .cu file."""
    return sorted(csrc.glob("cuda/*.cu"))


def entries(text: str) -> dict[str, str]:
    """Kernels of a preprocessed source, each with the number of threads in its launch bounds (0: none)."""
    return {name: (bounds or "0").split(",")[0].strip() for bounds, name in _ENTRY.findall(text)}


def generated(code: str, csrc: Path = CSRC, replay: bool = False) -> str:
    """The C++ source of the emulated kernels."""
    text = preprocessed(f'# 1 "{name_of(code, csrc)}.cu"\n{code}', csrc)
    table = ", ".join(f"EMULATOR_ENTRY({name}, {bound})" for name, bound in entries(text).items())
    text = _DYNAMIC.sub(r"EMULATOR_DYNAMIC(\1, \2);", text)
    return (
        f'#include "emulator_cuda.hpp"\n#include "emulator_replay.hpp"\n{text}\n'
        f'# 1 "table of kernels"\n{"EMULATOR_REPLAY" if replay else "EMULATOR_EXPORT"}({table})\n'
    )


def build(code: str, *flags: str, csrc: Path = CSRC, optimize: str = "-O2", replay: bool = False) -> Path:
    """The library of a source (or a program: emulator_replay.hpp), from the cache where nothing has changed."""
    text, stem = generated(code, csrc, replay), name_of(code, csrc)
    native = ("-march=native",) if platform.machine() in ("x86_64", "AMD64") else ()
    options = (*FLAGS, *native, optimize, *flags)
    key = hashlib.sha256(
        "\0".join([text, *options, str(compiler()), _processor(), *(path.read_text() for path in HEADERS)]).encode()
    ).hexdigest()[:20]
    folder = Path(tempfile.gettempdir()) / f"genkern-emulated-{os.getuid()}"
    library = folder / f"{stem}-{key}{'' if replay else '.so'}"
    if library.exists():
        return library
    folder.mkdir(mode=0o700, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as work:
        file = Path(work) / f"{stem}.cpp"
        file.write_text(text)
        command = [
            str(compiler()),
            *options,
            *(() if replay else ("-shared",)),
            f"-I{HERE}",
            str(file),
            "-o",
            f"{work}/library",
        ]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"the emulated kernels of {stem}.cu do not compile:\n{done.stderr[-8000:]}")
        os.replace(f"{work}/library", library)
    return library


@functools.cache
def _processor() -> str:
    """What -march=native means here: a library built on another machine may hold other instructions."""
    try:
        return next(line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("flags"))
    except (OSError, StopIteration):
        return platform.processor()


class Kernel:
    """One emulated kernel: its parameters as letters (see emulator_launch.hpp), its launch bound, and a launch."""

    def __init__(self, library: ctypes.CDLL, index: int) -> None:
        self._library, self._index = library, index
        self.name: str = library.emulator_name(index).decode()
        self.bound: int = library.emulator_bound(index)
        letters = ctypes.create_string_buffer(1024)
        library.emulator_parameters(index, letters)
        self.parameters: list[str] = letters.value.decode().split()

    def __call__(self, grid: tuple[int, ...], block: tuple[int, ...], shared: int, values: list[ctypes._SimpleCData],
                 reversed_order: bool = False) -> str | None:  # fmt: skip
        """Run it; what is wrong, or None."""
        sizes = [(ctypes.c_uint * 3)(*triple) for triple in (grid, block)]
        pointers = (ctypes.c_void_p * max(len(values), 1))(*(ctypes.addressof(value) for value in values))
        error = self._library.emulator_launch(self._index, *sizes, shared, pointers, int(reversed_order))
        return None if error is None else error.decode()


@functools.cache
def load(library: Path) -> dict[str, Kernel]:
    """The kernels of a library by name."""
    loaded = ctypes.CDLL(str(library), mode=os.RTLD_LOCAL | os.RTLD_NOW)
    loaded.emulator_name.restype = loaded.emulator_launch.restype = ctypes.c_char_p
    loaded.emulator_launch.argtypes = [
        ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p, ctypes.c_int,
    ]  # fmt: skip
    kernels = (Kernel(loaded, i) for i in range(loaded.emulator_entries()))
    return {kernel.name: kernel for kernel in kernels}
