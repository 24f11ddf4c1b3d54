"""Build of the compiled module; everything else is declared in pyproject.toml.

GENKERN_NO_EXTENSION=1   install without the compiled module (no compiler is used; the numba backend runs)
GENKERN_SANITIZE=...     build with -fsanitize=..., for example "address,undefined" or "thread"
GENKERN_WERROR=1         treat compiler warnings as errors
"""

import os
import shutil
import sys
from glob import glob

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildPython(build_py):
    """The sources of the CUDA kernels go into the package, which compiles them where there is a GPU."""

    def run(self) -> None:
        """Copy them beside the Python files."""
        super().run()
        if self.editable_mode:  # they are found in the checkout
            return
        for path in [*glob("csrc/cuda/*.cu"), *glob("csrc/cuda/*.hpp"), *glob("csrc/device/*.hpp")]:
            target = os.path.join(self.build_lib, "genkern", "_csrc", *path.split("/")[1:])
            os.makedirs(os.path.dirname(target), exist_ok=True)
            shutil.copyfile(path, target)


ext_modules = []
if os.environ.get("GENKERN_NO_EXTENSION", "0") in ("", "0"):
    if sys.platform == "win32":
        raise SystemExit("the kernels need GCC or Clang: set GENKERN_NO_EXTENSION=1 to install without them")
    from pybind11.setup_helpers import ParallelCompile, Pybind11Extension

    headers = sorted(glob("csrc/**/*.hpp", recursive=True) + glob("csrc/**/*.inc", recursive=True))

    def needs_recompile(object_file: str, source: str) -> bool:
        """Every object depends on every header: simple, and never stale."""
        if not os.path.exists(object_file):
            return True
        return os.stat(object_file).st_mtime < max(os.stat(path).st_mtime for path in [source, "setup.py", *headers])

    ParallelCompile("GENKERN_BUILD_JOBS", needs_recompile=needs_recompile, default=0).install()
    extension = Pybind11Extension(
        "genkern._native",
        sorted(glob("csrc/**/*.cpp", recursive=True)),
        include_dirs=["csrc"],
        depends=[*headers, "setup.py"],
        cxx_std=17,
    )
    # No fast-math and no implicit contraction: a fused multiply-add stands where a kernel asks for it.
    extension.extra_compile_args += [
        "-O3", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math", "-Wall", "-Wextra", "-pthread",
    ]  # fmt: skip
    if sys.platform == "linux":
        # GCC warns of vector arguments whose passing depends on the instruction set; ours are all inlined.
        extension.extra_compile_args += ["-Wno-psabi"]
        extension.extra_link_args += ["-pthread", "-ldl"]
    if sanitizers := os.environ.get("GENKERN_SANITIZE"):
        extension.extra_compile_args += [
            f"-fsanitize={sanitizers}",
            "-fno-omit-frame-pointer",
            "-g",
            "-O1",
        ]
        extension.extra_link_args += [f"-fsanitize={sanitizers}"]
    if os.environ.get("GENKERN_WERROR", "0") not in ("", "0"):
        extension.extra_compile_args += ["-Werror"]
    ext_modules.append(extension)

setup(ext_modules=ext_modules, cmdclass={"build_py": BuildPython})
