"""TEST ONLY: what the tests of descent on a GPU share: problems, options, and the launches of a call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from gpu.memory import LOG

DTYPES = [np.float64, np.float32]
ALGORITHMS = ("gd", "normalized", "heavy_ball", "accelerated", "sign", "coordinate", "mirror")
FIELDS = ("coef", "log_loss", "loss", "margin", "norm", "error", "status")
MEASURE = ["measure_margins", "measure_chunks", "measure_points"]  # of every call, at its end


def problem(n: int, d: int, batch: tuple[int, ...] = (), dtype: Any = np.float64, seed: int = 0) -> tuple[Any, Any]:
    """Normal inputs and random labels."""
    rng = np.random.default_rng([n, d, seed])
    return rng.standard_normal((*batch, n, d)).astype(dtype), rng.choice([-1.0, 1.0], (*batch, n)).astype(dtype)


def options_of(algorithm: str) -> dict[str, Any]:
    """Of `logistic_path`, every step run on the GPU."""
    options: dict[str, Any] = {"algorithm": algorithm, "method": "exact", "backend": "cupy"}
    return options | ({"p": 3.0} if algorithm == "mirror" else {})


def logged(call: Callable[[], Any]) -> tuple[Any, list[Any], list[str]]:
    """Its result, the launches it makes, and what it copies back or waits for."""
    launches, downloads = len(LOG.launches), len(LOG.downloads)
    result = call()
    return result, LOG.launches[launches:], LOG.downloads[downloads:]


def names(launches: list[Any]) -> list[str]:
    """Of the kernels, without the family and the dtype."""
    return [launch.kernel.removeprefix("logistic_").rsplit("_", 1)[0] for launch in launches]
