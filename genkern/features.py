"""Random features: a wide first layer with random weights, or a kernel's random Fourier features."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from genkern import _checks, _registry

ACTIVATIONS = ("identity", "relu", "erf", "tanh", "cos", "sin", "sign", "rff")
WEIGHTS = ("gaussian", "sphere")
_WORDS = 2**64


def random_features(
    X: Any,
    width: int,
    *,
    activation: str | Callable[[float], float] = "relu",
    seed: int = 0,
    start: int = 0,
    weights: str = "gaussian",
    bandwidth: float = 1.0,
    dtype: Any = None,
    out: Any = None,
    backend: str | None = None,
    n_threads: int | None = None,
) -> Any:
    r"""Random features of the rows of a matrix.

    Column j of the result is

    .. math:: \phi_j(x) = \sigma(\langle w_j, x \rangle / \sqrt d),

    with :math:`w_j` a function of the seed and of the number ``start + j`` alone. So
    ``random_features(X, 100)[:, 40:]`` equals ``random_features(X, 60, start=40)`` to the last bit, and a wider
    call repeats the columns of a narrower one: features are nested.

    Parameters
    ----------
    X : array (n, d)
        Inputs, one row each. There is no batch axis: reshape to two axes and back.
    width : int
        Number of features, >= 0.
    activation : str or function, default "relu"
        ``identity``, ``relu``, ``erf``, ``tanh``, ``cos``, ``sin``, ``sign`` (0 at 0); ``rff``, random Fourier features
        :math:`\sqrt 2 \cos(\langle w_j, x \rangle / \text{bandwidth} + b_j)` without the :math:`\sqrt d`, whose inner
        products tend to the kernel :math:`\exp(-\|x - x'\|^2 / (2\,\text{bandwidth}^2))` times the width [2]_; or a
        function of one real number, plain Python or numba-jitted. The numba backend compiles it into the loop, once for
        a function and dtype (values that it captures are frozen then); the reference backend calls it element by
        element; the cpp and cupy backends cannot take it.
    seed : int, default 0
        In [0, 2^64).
    start : int, default 0
        Number of the first feature; ``start + width`` may be up to 2^64.
    weights : {"gaussian", "sphere"}, default "gaussian"
        Standard normal :math:`w_j`, or :math:`w_j = \sqrt d\, g_j / \|g_j\|` with :math:`g_j` that normal vector:
        uniform on the sphere of radius :math:`\sqrt d`.
    bandwidth : float, default 1.0
        Of ``rff``, > 0; an error with any other activation.
    dtype : float32 or float64, optional
        Of the computation and the result; that of X by default.
    out : array (n, width), optional
        Where the result goes: C-contiguous, of the result's dtype, in the library of X, apart from X.
    backend : {"reference", "cpp", "numba", "cupy"}, optional
        By default cpp, numba for a function of your own, and cupy for an X on a GPU.
    n_threads : int, optional
        All the cores that this process may use by default. The result does not depend on it.

    Returns
    -------
    array (n, width)
        In the library of X. A row of X with a NaN or an infinity gives a row of NaN.

    Raises
    ------
    ValueError, TypeError
        For a bad argument, and for a function that numba cannot compile. What the function itself raises comes
        through.
    BackendUnavailable, DeviceMismatch
        If the requested backend cannot run, or not where X lives.

    Notes
    -----
    Entry i of :math:`w_j` is a normal number of Philox4x32-10 [1]_ under the key (seed low word, seed high word):
    counter (i // 2, j low word, j high word, 0), the words (0, 1) and (2, 3) make uniforms
    ``((word >> 11) + 1/2) 2^-53``, and Box and Muller's cosine branch is the entry of even i, the sine branch that of
    the odd one after it. The phase :math:`b_j` is :math:`2 \pi` times the first uniform of counter
    (0, j low word, j high word, 1). These numbers are the same bits on every machine and backend; float32 ones are the
    float64 ones rounded. The products are summed over d in a fixed order (in float32 natively), which on one machine
    and backend gives the same bits for any `n_threads`, `start` and subset of rows. cpp's tanh is accurate to 2.6
    ULP, erf to 1 (float32: 1.5), cos and sin to 1. The cupy backend sums in the same order and evaluates the same
    functions, so that its bits are those of cpp, but for cosines and sines of arguments beyond 1e6.

    References
    ----------
    .. [1] J. K. Salmon, M. A. Moraes, R. O. Dror, D. E. Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
    .. [2] A. Rahimi, B. Recht, "Random features for large-scale kernel machines", NIPS 2007.

    Examples
    --------
    >>> import numpy as np
    >>> from genkern import random_features
    >>> F = random_features(np.eye(2), 3, activation="identity", seed=1)
    >>> F.shape
    (2, 3)
    """
    (view,), library = _checks.device_arrays(X=X)
    if view.ndim != 2:
        raise ValueError(f"X must have shape (n, d), got {view.shape}")
    n = view.shape[0]
    width = _checks.integer("width", width, low=0, high=(2**63 - 1) // (8 * max(n, 1)))
    seed = _checks.integer("seed", seed, low=0, high=_WORDS - 1)
    start = _checks.integer("start", start, low=0, high=_WORDS - width)
    result_dtype = _checks.real_dtype("dtype", dtype, view.dtype)
    law, backend = check_law(activation, weights, bandwidth, result_dtype, backend, library.device)
    threads = _checks.threads(n_threads)
    implementation = _registry.resolve("random_features", backend, library.device)
    result = _checks.output(out, (n, width), result_dtype, library, {"X": view})
    if view.dtype != result_dtype:
        with np.errstate(over="ignore"):  # what overflows is infinite, so its row is NaN
            view = view.astype(result_dtype)
    implementation(
        view,
        result,
        seed=seed,
        start=start if width else 0,  # 2^64 with no columns at all is no 64-bit number
        n_threads=threads,
        **law,
    )
    return library.result(result, out)


def check_law(
    activation: Any, weights: Any, bandwidth: Any, dtype: np.dtype[Any], backend: str | None, device: int | None
) -> tuple[dict[str, Any], str | None]:
    """The law of random features as keywords of the kernels, and the backend: numba for a function of the user's."""
    weights = _checks.choice("weights", weights, WEIGHTS)
    bandwidth = _checks.real_number("bandwidth", bandwidth, low=0.0, strict=True)
    if callable(activation):
        backend = backend if backend is not None else "numba" if device is None else "cupy"
        if backend in ("cpp", "cupy"):
            raise ValueError(
                f"activation must be one of {', '.join(ACTIVATIONS)} with backend={backend!r}, got a function: "
                f"backend='numba' compiles it in{'' if backend == 'cpp' else ', for arrays in host memory'}"
            )
    else:
        activation = _checks.choice("activation", activation, ACTIVATIONS)
    if activation == "rff":
        with np.errstate(all="ignore"):
            scale = dtype.type(1.0) / dtype.type(bandwidth)
        if not (np.isfinite(scale) and scale > 0):
            raise ValueError(f"bandwidth must be a number whose reciprocal {dtype} can hold, got {bandwidth}")
    elif bandwidth != 1.0:
        raise ValueError(f"bandwidth must be 1.0 unless activation='rff', got {bandwidth} with {activation!r}")
    return {"activation": activation, "weights": weights, "bandwidth": bandwidth}, backend
