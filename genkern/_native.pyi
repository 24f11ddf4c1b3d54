from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

# support
def available_isas() -> list[str]: ...
def blas_thread_switch() -> str: ...
def isa() -> str: ...

# features
def activate(activation: str, values: Array) -> Array: ...
def normal(seed: int, stream: int, start: int, columns: int, rows: int) -> Array: ...
def philox4x32(counter: tuple[int, int, int, int], key: tuple[int, int]) -> tuple[int, int, int, int]: ...
def random_features(
    X: Array,
    out: Array,
    *,
    activation: str,
    seed: int,
    start: int,
    weights: str,
    bandwidth: float,
    n_threads: int,
) -> None: ...
def uniform(seed: int, stream: int, start: int, columns: int, rows: int) -> Array: ...

# least_squares
def gd_path(
    X: Array,
    y: Array,
    steps: Array,
    step_size: Array,
    momentum: float,
    nesterov: bool,
    rcond: float,
    coef: Array,
    divergent: Array,
    n_threads: int,
) -> None: ...
def lstsq(
    X: Array,
    y: Array,
    ridge: Array,
    rcond: float,
    coef: Array,
    rank: Array,
    residual_norm: Array,
    status: Array,
    n_threads: int,
) -> None: ...
def ridge_path(X: Array, y: Array, ridges: Array, rcond: float, coef: Array, n_threads: int) -> None: ...
def singular_values(X: Array, s: Array, n_threads: int) -> None: ...
