from collections.abc import Callable
from typing import Any

import numpy as np

_Array = np.ndarray[Any, Any]

# support
def available_isas() -> list[str]: ...
def blas_thread_switch() -> str: ...
def isa() -> str: ...

# features
def activate(activation: str, values: _Array) -> _Array: ...
def normal(seed: int, stream: int, start: int, columns: int, rows: int) -> _Array: ...
def philox4x32(counter: tuple[int, int, int, int], key: tuple[int, int]) -> tuple[int, int, int, int]: ...
def random_features(
    X: _Array,
    out: _Array,
    *,
    activation: str,
    seed: int,
    start: int,
    weights: str,
    bandwidth: float,
    n_threads: int,
) -> None: ...
def uniform(seed: int, stream: int, start: int, columns: int, rows: int) -> _Array: ...

# least_squares
def gd_path(
    X: _Array,
    y: _Array,
    steps: _Array,
    step_size: _Array,
    momentum: float,
    nesterov: bool,
    rcond: float,
    coef: _Array,
    divergent: _Array,
    n_threads: int,
) -> None: ...
def lstsq(
    X: _Array,
    y: _Array,
    ridge: _Array,
    rcond: float,
    coef: _Array,
    rank: _Array,
    residual_norm: _Array,
    status: _Array,
    n_threads: int,
) -> None: ...
def ridge_path(X: _Array, y: _Array, ridges: _Array, rcond: float, coef: _Array, n_threads: int) -> None: ...
def singular_values(X: _Array, s: _Array, n_threads: int) -> None: ...

# logistic
def logistic_path(
    X: _Array,
    y: _Array,
    steps: _Array,
    step_size: _Array,
    init: _Array,
    coef: _Array,
    log_loss: _Array,
    margin: _Array,
    norm: _Array,
    error: _Array,
    status: _Array,
    *,
    loss: str,
    algorithm: str,
    schedule: str,
    momentum: float,
    p: float,
    continued: bool,
    rtol: float,
    progress: Callable[[float], object] | None,
    n_threads: int,
) -> None: ...
def margin_weights(loss: str, u: _Array) -> _Array: ...

# margin
def max_margin(
    X: _Array,
    y: _Array,
    tol: float,
    max_iter: int,
    coef: _Array,
    margin: _Array,
    dual: _Array,
    support: _Array,
    gap: _Array,
    separable: _Array,
    status: _Array,
    n_threads: int,
) -> None: ...

# curves
def width_curve(
    data: Any,
    widths: _Array,
    ridges: _Array,
    rcond: float,
    unit: float,
    method: str,
    measured: Any,
    hook: Callable[[int], object] | None,
    n_threads: int,
) -> None: ...
def sample_curve(
    data: Any,
    samples: _Array,
    ridges: _Array,
    rcond: float,
    unit: float,
    method: str,
    measured: Any,
    hook: Callable[[int], object] | None,
    n_threads: int,
) -> None: ...
def random_feature_curve(
    data: Any,
    widths: _Array,
    seeds: list[int],
    law: dict[str, Any],
    ridges: _Array,
    rcond: float,
    unit: float,
    method: str,
    measured: Any,
    hook: Callable[[int], object] | None,
    n_threads: int,
) -> None: ...
