"""TEST ONLY: NVRTC from its wheel, by ctypes: what a GPU's driver would be given, without a GPU."""

from __future__ import annotations

import ctypes
import functools
import importlib.metadata
import re
from dataclasses import dataclass

from genkern._cupy._launch import ADDED, OPTIONS
from gpu.compile import CSRC

PACKAGES = ("nvidia-cuda-nvrtc-cu12", "nvidia-cuda-nvrtc")  # the table of resources is the first one's


@dataclass(frozen=True)
class Resources:
    """What ptxas says of one kernel."""

    registers: int
    spilled: int  # bytes stored and loaded
    stack: int
    shared: int  # static


@functools.cache
def libraries() -> dict[str, ctypes.CDLL]:
    """Every NVRTC that is installed as a wheel, by its version; the first is the one of the table of resources."""
    found = {}
    for package in PACKAGES:
        try:
            files = importlib.metadata.files(package) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        for file in files:
            if re.fullmatch(r"libnvrtc\.so\.\d+", file.name):
                loaded = ctypes.CDLL(str(file.locate()))
                major, minor = ctypes.c_int(), ctypes.c_int()
                loaded.nvrtcVersion(ctypes.byref(major), ctypes.byref(minor))
                found[f"{major.value}.{minor.value}"] = loaded
    return found


@dataclass(frozen=True)
class Compiled:
    """The text for the driver and the log of the compilers."""

    ptx: str
    log: str

    def resources(self) -> dict[str, Resources]:
        """Of every kernel, as ptxas tells."""
        found = {}
        pattern = (
            r"Compiling entry function '(\w+)' for '\w+'\s.*?(\d+) bytes stack frame, (\d+) bytes spill stores, "
            r"(\d+) bytes spill loads\s.*?Used (\d+) registers([^\n]*)"
        )
        for name, stack, stores, loads, registers, rest in re.findall(pattern, self.log, re.DOTALL):
            shared = re.search(r"(\d+) bytes smem", rest)
            found[name] = Resources(
                int(registers), int(stores) + int(loads), int(stack), int(shared[1]) if shared else 0
            )
        return found

    def entry(self, name: str) -> str:
        """The PTX of one kernel."""
        start = self.ptx.index(f".entry {name}(")
        end = self.ptx.find(".visible .entry", start)
        return self.ptx[start : end if end >= 0 else None]


def compiled(code: str, architecture: str, version: str | None = None) -> Compiled:
    """Compile for one architecture ("sm_80"), with the options of genkern's launches."""
    assert libraries(), "NVRTC is not installed: pip install nvidia-cuda-nvrtc-cu12"
    return _compiled(code, architecture, version or next(iter(libraries())))


@functools.cache
def _compiled(code: str, architecture: str, version: str) -> Compiled:
    nvrtc = libraries()[version]
    program = ctypes.c_void_p()
    options = [*OPTIONS, *ADDED, f"-I{CSRC}", f"--gpu-architecture={architecture}", "--ptxas-options=-v"]
    texts = (ctypes.c_char_p * len(options))(*(option.encode() for option in options))
    _check(nvrtc, nvrtc.nvrtcCreateProgram(ctypes.byref(program), code.encode(), b"kernels.cu", 0, None, None))
    try:
        status = nvrtc.nvrtcCompileProgram(program, len(options), texts)
        log = _text(nvrtc, program, "ProgramLog")
        if status:
            raise RuntimeError(f"NVRTC refuses the kernels for {architecture}:\n{log}")
        return Compiled(_text(nvrtc, program, "PTX"), log)
    finally:
        nvrtc.nvrtcDestroyProgram(ctypes.byref(program))


def _text(nvrtc: ctypes.CDLL, program: ctypes.c_void_p, what: str) -> str:
    size = ctypes.c_size_t()
    _check(nvrtc, getattr(nvrtc, f"nvrtcGet{what}Size")(program, ctypes.byref(size)))
    buffer = ctypes.create_string_buffer(size.value)
    _check(nvrtc, getattr(nvrtc, f"nvrtcGet{what}")(program, buffer))
    return buffer.value.decode()


def _check(nvrtc: ctypes.CDLL, status: int) -> None:
    if status:
        nvrtc.nvrtcGetErrorString.restype = ctypes.c_char_p
        raise RuntimeError(f"NVRTC: {nvrtc.nvrtcGetErrorString(status).decode()}")
