"""The CUDA sources, compiled for real: by NVRTC without a GPU, and by nvcc where it is installed."""

import re
import shutil
import subprocess

import pytest
from gpu import compile, nvrtc, resources

SOURCES = {path.stem: path for path in compile.sources()}
REGISTERS = 65536  # of a multiprocessor, and of a block
SHARED = 48 << 10  # that a block has without asking

needs_nvrtc = pytest.mark.skipif(not nvrtc.libraries(), reason="NVRTC: pip install nvidia-cuda-nvrtc-cu12")
needs_compiler = pytest.mark.skipif(compile.compiler() is None, reason="launch bounds are read by a C++ compiler")


def code_of(stem):
    return SOURCES[stem].read_text()


@needs_nvrtc
@needs_compiler
@pytest.mark.parametrize("version", nvrtc.libraries() or ["none"])
@pytest.mark.parametrize("architecture", resources.ARCHITECTURES)
@pytest.mark.parametrize("stem", SOURCES)
def test_resources(stem, architecture, version):
    """Nothing spills, a block of the largest size fits, and the table tells the truth."""
    measured_with, rows = resources.table()
    found = resources.measured(SOURCES[stem], architecture, version)
    assert {kernel for kernel, _ in found} == set(resources.bounds(SOURCES[stem]))
    for (kernel, _), row in found.items():
        assert row["spilled_bytes"] == 0, f"{kernel} spills {row['spilled_bytes']} bytes"
        threads = row["threads"] or 1024
        granted = -(-row["registers"] * 32 // 256) * 256 // 32  # registers go to warps in units of 256
        assert threads * granted <= REGISTERS, f"{kernel}: {threads} threads of {granted} registers"
        assert row["shared_bytes"] <= SHARED
    if version == measured_with:
        mine = {key: row for key, row in rows.items() if key in found}
        assert found == mine, "python tests/gpu/resources.py --write"


def test_the_table_has_every_kernel():
    kernels = set()
    for stem in SOURCES:
        kernels |= set(compile.entries(compile.preprocessed(code_of(stem)))) if compile.compiler() else set()
    if not kernels:
        pytest.skip("a C++ compiler finds the kernels")
    assert {kernel for kernel, _ in resources.table()[1]} == kernels


@needs_nvrtc
@pytest.mark.parametrize("stem", SOURCES)
def test_vector_loads(stem):
    """Kernels that a header's line `16-byte loads:` names have such loads of global memory."""
    code = code_of(stem)
    ptx = nvrtc.compiled(code, "sm_80")
    for line in re.findall(r"^// *16-byte loads: (.+)$", code, re.MULTILINE):
        for kernel in re.split(r"[, ]+", line.strip(". ")):
            for suffix, load in (("f32", r"v4\.(f32|u32|b32)"), ("f64", r"v2\.(f64|u64|b64)")):
                assert re.search(rf"ld\.global[\w.]*\.{load}", ptx.entry(f"{kernel}_{suffix}")), f"{kernel}_{suffix}"


@needs_nvrtc
def test_nothing_is_contracted():
    """A fused multiply-add stands where a kernel asks for it, and only there."""
    kernel = 'extern "C" __global__ void k(double* x) { x[0] = %s; }'
    assert "fma.rn.f64" not in nvrtc.compiled(kernel % "x[1] * x[2] + x[3]", "sm_80").ptx
    assert "fma.rn.f64" in nvrtc.compiled(kernel % "fma(x[1], x[2], x[3])", "sm_80").ptx


@pytest.mark.parametrize("stem", SOURCES)
def test_headers_count(stem):
    header = code_of(stem).split("#include")[0]
    for word in ("Method", "Cost", "Source"):
        assert re.search(rf"^// *{word}: ", header, re.MULTILINE), f"{stem}.cu tells no {word}"
    assert "flops" in header and re.search("bytes|numbers|once|twice", header), f"{stem}.cu counts no flops or no bytes"


@pytest.mark.parametrize("stem", SOURCES)
def test_nvcc(stem, tmp_path):
    nvcc = shutil.which("nvcc")
    if nvcc is None or compile.compiler() is None:
        pytest.skip("nvcc, or the C++ compiler that it calls, is not installed")
    command = [nvcc, "-cubin", "-arch=sm_90", "-std=c++17", "--fmad=false", f"-I{compile.CSRC}", str(SOURCES[stem])]
    done = subprocess.run([*command, "-o", str(tmp_path / "kernels")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "warning" not in done.stderr, done.stderr
