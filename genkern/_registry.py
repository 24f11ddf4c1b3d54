"""The one table (function, backend) -> implementation, imported when first used."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from genkern.errors import BackendUnavailable, DeviceMismatch

BACKENDS = ("reference", "cpp", "numba", "cupy")

_TABLE: dict[str, dict[str, str]] = {
    "lstsq": {
        "reference": "genkern._reference.least_squares",
        "cpp": "genkern._native",
        "numba": "genkern._numba.least_squares",
        "cupy": "genkern._cupy.least_squares",
    },
    "ridge_path": {
        "reference": "genkern._reference.least_squares",
        "cpp": "genkern._native",
        "numba": "genkern._numba.least_squares",
        "cupy": "genkern._cupy.least_squares_paths",
    },
    "gd_path": {
        "reference": "genkern._reference.least_squares",
        "cpp": "genkern._native",
        "numba": "genkern._numba.least_squares",
        "cupy": "genkern._cupy.least_squares_paths",
    },
    "singular_values": {
        "reference": "genkern._reference.least_squares",
        "cpp": "genkern._native",
        "numba": "genkern._numba.least_squares",
        "cupy": "genkern._cupy.least_squares",
    },
    "logistic_path": {
        "reference": "genkern._reference.logistic",
        "cpp": "genkern._native",
        "numba": "genkern._numba.logistic",
        "cupy": "genkern._cupy.logistic",
    },
    "max_margin": {
        "reference": "genkern._reference.margin",
        "cpp": "genkern._native",
        "numba": "genkern._numba.margin",
    },
    "random_feature_curve": {
        "reference": "genkern._reference.curves",
        "cpp": "genkern._native",
        "numba": "genkern._numba.curves",
        "cupy": "genkern._cupy.curves",
    },
    "random_features": {
        "reference": "genkern._reference.features",
        "cpp": "genkern._native",
        "numba": "genkern._numba.features",
        "cupy": "genkern._cupy.features",
    },
    "sample_curve": {
        "reference": "genkern._reference.curves",
        "cpp": "genkern._native",
        "numba": "genkern._numba.curves",
        "cupy": "genkern._cupy.curves",
    },
    "width_curve": {
        "reference": "genkern._reference.curves",
        "cpp": "genkern._native",
        "numba": "genkern._numba.curves",
        "cupy": "genkern._cupy.curves",
    },
}


def unavailable(backend: str, device: int | None = None) -> str | None:
    """Why a backend cannot run on this machine, or None if it can; cupy on a GPU, by default the current one."""
    if backend == "cupy":  # by the device and the hour
        reason: str | None = importlib.import_module("genkern._cupy._available").unavailable(device)
        return reason
    return _unavailable_on_host(backend)


@cache
def _unavailable_on_host(backend: str) -> str | None:
    if backend == "cpp":
        if importlib.util.find_spec("genkern._native") is None:
            if (Path(__file__).parents[1] / "csrc").is_dir():
                return (
                    "this genkern is a source checkout without a compiled module; "
                    "start Python in another folder, or build it with pip install -e ."
                )
            return "the compiled module genkern._native is not installed (built with GENKERN_NO_EXTENSION=1?)"
        try:
            importlib.import_module("genkern._native").isa()
        except (ImportError, ValueError, RuntimeError) as error:
            return f"the compiled module does not load: {error}"
    elif backend == "numba":
        try:
            importlib.import_module("numba")
        except ImportError as error:
            return f"numba does not import: {error}"
    return None


@cache
def default_backend() -> str:
    """Backend of host arrays when the caller names none: numba only where there is no compiled module.

    A compiled module that is there and does not run is an error to be told, not a reason to be slow.
    """
    return "cpp" if importlib.util.find_spec("genkern._native") is not None else "numba"


def resolve(function: str, backend: str | None, device: int | None = None) -> Callable[..., Any]:
    """Implementation of a public function by a backend; None follows the arrays: cupy where they live on a GPU.

    `device` is the number of that GPU, None for arrays in host memory.
    """
    if backend is not None and (not isinstance(backend, str) or backend not in BACKENDS):
        raise ValueError(f"backend must be None or one of {', '.join(BACKENDS)}, got {backend!r}")
    if backend is None:
        backend = default_backend() if device is None else "cupy"
    reason = unavailable(backend, device)
    if reason is not None:
        raise BackendUnavailable(f"backend={backend!r} cannot run: {reason}")
    implementation = _implementation(function, backend)
    if backend == "cupy" and device is None:
        raise DeviceMismatch(
            "backend='cupy' works on arrays of a GPU, got arrays in host memory: cupy.asarray(...) first"
        )
    if backend != "cupy" and device is not None:
        raise DeviceMismatch(
            f"backend={backend!r} works on arrays in host memory, got arrays on a GPU: cupy.asnumpy(...) first, or "
            "leave backend out"
        )
    return implementation


@cache
def _implementation(function: str, backend: str) -> Callable[..., Any]:
    table = _TABLE[function]
    if backend not in table:
        raise BackendUnavailable(
            f"backend={backend!r} cannot run: {function} has no {backend} version (it has {', '.join(table)})"
        )
    implementation: Callable[..., Any] = getattr(importlib.import_module(table[backend]), function)
    return implementation


def backends() -> dict[str, str]:
    """State of every backend on this machine: "available (...)" or "unavailable: reason"."""
    default = default_backend()
    report = {}
    for backend in BACKENDS:
        reason = unavailable(backend)
        if reason is not None:
            report[backend] = f"unavailable: {reason}"
            continue
        details = ["default"] if backend == default else []
        if backend == "cpp":
            native = importlib.import_module("genkern._native")
            details.append(f"instruction set {native.isa()} of {', '.join(native.available_isas())}")
            switch = native.blas_thread_switch()
            details.append(f"BLAS threads held by {switch}" if switch else "BLAS threads cannot be held")
        elif backend == "numba":
            details.append(f"numba {importlib.import_module('numba').__version__}")
        elif backend == "cupy":
            details += ["default of GPU arrays", importlib.import_module("genkern._cupy._available").description()]
        report[backend] = "available" + (f" ({'; '.join(details)})" if details else "")
    return report
