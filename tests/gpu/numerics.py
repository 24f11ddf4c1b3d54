"""TEST ONLY: the functions of CuPy that genkern calls, by way of NumPy and SciPy, for standin.py."""

from __future__ import annotations

import itertools
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import scipy.linalg

from gpu import operators  # noqa: F401 (gives the arrays their arithmetic)
from gpu.array import allocate, ndarray, own, unwrap, wrap
from gpu.memory import LOG

Function = Callable[..., Any]

# Functions of arrays of the GPU that give such arrays. Each name is CuPy's too.
NAMES = (
    "abs", "add", "all", "any", "arctan2", "argmax", "argmin", "argsort", "atleast_1d", "atleast_2d", "broadcast_to",
    "clip", "concatenate", "copysign", "cos", "cumsum", "diag", "diagonal", "divide", "dot", "einsum", "equal",
    "exp", "expand_dims", "expm1", "fabs", "floor", "flip", "frexp", "greater", "hypot", "isfinite", "isinf", "isnan",
    "ldexp", "log", "log1p", "logical_and", "logical_not", "logical_or", "matmul", "max", "maximum", "mean", "min",
    "minimum",
    "mod", "moveaxis", "multiply", "nan_to_num", "negative", "outer", "power", "prod", "ravel", "reciprocal",
    "repeat", "reshape", "roll", "searchsorted", "sign", "sin", "sort", "split", "sqrt", "square", "squeeze", "stack",
    "subtract", "sum", "swapaxes", "take", "take_along_axis", "tensordot", "tile", "trace", "transpose", "tril",
    "triu", "vdot", "where",
)  # fmt: skip
# Functions that make arrays.
MAKERS = ("arange", "eye", "full", "identity", "linspace", "ones", "zeros", "tri")
LIKE = ("empty_like", "full_like", "ones_like", "zeros_like")
CONSTANTS = ("nan", "inf", "pi", "newaxis", "float32", "float64", "int8", "int32", "int64", "uint8", "uint32", "uint64",
             "bool_", "dtype")  # fmt: skip


def _function(name: str) -> Function:
    function = getattr(np, name)

    def call(*args: Any, **options: Any) -> Any:
        if not any(isinstance(value, ndarray) for value in _leaves((*args, *options.values()))):
            raise TypeError(f"cupy.{name} needs an array of the GPU")
        out = options.pop("out", None)
        with np.errstate(all="ignore"):
            result = function(*map(unwrap, args), **{key: unwrap(value) for key, value in options.items()})
        if out is not None:
            if not np.can_cast(result.dtype, out.dtype, "same_kind") or out.shape != result.shape:
                raise ValueError(
                    f"cupy.{name}: out has shape {out.shape} {out.dtype}, result {result.shape} {result.dtype}"
                )
            out.host[...] = result
            return out
        return wrap(result, tuple(_leaves(args)))

    return call


def _maker(name: str) -> Function:
    function = getattr(np, name)
    return lambda *args, **options: own(function(*map(unwrap, args), **options))


def _leaves(values: Any) -> Any:
    for value in values:
        if isinstance(value, (tuple, list)):
            yield from _leaves(value)
        else:
            yield value


def _asarray(value: Any, dtype: Any = None, *, order: str = "K", copy: bool = False) -> ndarray:
    if isinstance(value, ndarray):
        dtype = value.dtype if dtype is None else np.dtype(dtype)
        return value.astype(dtype, order=order if order in "CF" else "K", copy=copy)
    if isinstance(value, (list, tuple)) and any(isinstance(item, ndarray) for item in _leaves(value)):
        raise NotImplementedError("a list of arrays of the GPU: cupy.stack")
    host = np.array(value, dtype=dtype, order=order if order in "CF" else "K")
    LOG.uploads.append(host.shape)
    return own(host)


def _contiguous(order: str) -> Function:
    return lambda value, dtype=None: _asarray(value, dtype, order=order)


def _asnumpy(value: Any) -> Any:
    return value.get() if isinstance(value, ndarray) else np.asarray(value)


def _from_dlpack(value: Any) -> ndarray:
    """Of a tensor of another library: tests give one that carries an array of ours."""
    return value if isinstance(value, ndarray) else value.standin


# A test's matrices whose SVD does not converge: it says so for one that it is given.
UNCONVERGED: list[Callable[[Any], bool]] = []
SETTINGS = types.SimpleNamespace(linalg="ignore")


@contextmanager
def errstate(*, linalg: str) -> Iterator[None]:
    """With "raise" CuPy looks at devInfo after every factorization, which waits for the device."""
    assert linalg in ("ignore", "raise")
    before, SETTINGS.linalg = SETTINGS.linalg, linalg
    try:
        yield
    finally:
        SETTINGS.linalg = before


# cuSOLVER neither raises nor warns for what it cannot do, unless CuPy is told to: what it could not compute is not
# defined, here NaN.
def _quiet(function: Function, shapes: Callable[..., Any]) -> Function:
    def call(a: ndarray, *args: Any, **options: Any) -> Any:
        _floating(a)
        batch = a.shape[:-2]
        empty = shapes(a, *args, **options)
        several = isinstance(empty[0], tuple)
        results = [allocate((*batch, *shape), a.dtype) for shape in (empty if several else (empty,))]
        for item in itertools.product(*map(range, batch)):
            try:
                found = function(a.host[item], *args, **options)
            except (np.linalg.LinAlgError, ValueError):
                if SETTINGS.linalg == "raise":
                    raise
                continue
            for result, value in zip(results, found if several else (found,), strict=True):
                result.host[item] = value
        if SETTINGS.linalg == "raise":
            LOG.downloads.append("devInfo")
        return tuple(results) if several else results[0]

    return call


def _floating(a: Any) -> None:
    if not isinstance(a, ndarray) or a.dtype.kind != "f":
        raise TypeError(f"cupy.linalg needs a floating-point array of the GPU, got {type(a).__name__}")


def _cholesky(a: ndarray) -> ndarray:
    """Of a matrix that is not positive definite: half a factor, the rest as it was or half updated."""
    _floating(a)
    found, info = scipy.linalg.lapack.dpotrf(a.host, lower=1, clean=1)
    if SETTINGS.linalg == "raise":
        LOG.downloads.append("devInfo")
        if info != 0:
            raise np.linalg.LinAlgError("devInfo = 1")
    return own(np.ascontiguousarray(found))


class _Generator:
    """As `cupy.random.Generator`, with other numbers."""

    def __init__(self, seed: int) -> None:
        self.host = np.random.default_rng(seed)

    def standard_normal(self, size: Any, dtype: Any = float) -> ndarray:
        return own(self.host.standard_normal(size, dtype))


def _svd_shapes(a: ndarray, full_matrices: bool = True, compute_uv: bool = True) -> Any:
    n, d = a.shape[-2:]
    k = min(n, d)
    full = ((n, n), (k,), (d, d)) if full_matrices else ((n, k), (k,), (k, d))
    return full if compute_uv else (k,)


def _qr_shapes(a: ndarray, mode: str = "reduced") -> Any:
    n, d = a.shape[-2:]
    k = min(n, d)
    return {"reduced": ((n, k), (k, d)), "complete": ((n, n), (n, d)), "r": (k, d)}[mode]


def _qr(a: Any, mode: str = "reduced") -> Any:
    found = np.linalg.qr(a, mode)
    return found if mode == "r" else tuple(found)


def _triangular(
    a: ndarray, b: ndarray, trans: int = 0, lower: bool = False, unit_diagonal: bool = False, overwrite_b: bool = False,
    check_finite: bool = False,
) -> ndarray:  # fmt: skip
    """CuPy's has no batch axes."""
    if check_finite:
        raise AssertionError("check_finite synchronises")
    _floating(a)
    if a.ndim != 2:
        raise ValueError("expected a square matrix")
    diagonal = np.ones(len(a)) if unit_diagonal else np.diagonal(a.host)
    if not diagonal.all():
        return own(np.full(b.shape, np.nan, b.dtype))
    return own(scipy.linalg.solve_triangular(
        a.host, b.host, trans=trans, lower=lower, unit_diagonal=unit_diagonal, check_finite=False
    ))  # fmt: skip


def _svd(a: Any, *args: Any, **options: Any) -> Any:
    found = np.linalg.svd(a, *args, **options)
    if not any(spoiled(a) for spoiled in UNCONVERGED):
        return found
    if SETTINGS.linalg == "raise":
        raise np.linalg.LinAlgError("devInfo = 1")
    return tuple(map(np.ones_like, found)) if isinstance(found, tuple) else np.ones_like(found)  # finite, and wrong


class _Linalg:
    """The names of `cupy.linalg`."""

    svd = staticmethod(_quiet(_svd, _svd_shapes))
    qr = staticmethod(_quiet(_qr, _qr_shapes))
    cholesky = staticmethod(_cholesky)
    eigvalsh = staticmethod(_quiet(np.linalg.eigvalsh, lambda a, UPLO="L": a.shape[-1:]))
    eigh = staticmethod(_quiet(lambda a, UPLO="L": tuple(np.linalg.eigh(a, UPLO)),
                               lambda a, UPLO="L": (a.shape[-1:], a.shape[-2:])))  # fmt: skip

    @staticmethod
    def norm(a: ndarray, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:
        return own(np.linalg.norm(a.host, ord, axis, keepdims))


def names() -> dict[str, Any]:
    """What stands in the module `cupy`."""
    found: dict[str, Any] = {name: _function(name) for name in NAMES if hasattr(np, name)}
    found |= {name: getattr(np, name) for name in CONSTANTS}
    for name in MAKERS:
        found[name] = _maker(name)
    for name in LIKE:
        found[name] = _maker(name)
    found["empty_like"] = lambda a, dtype=None: allocate(a.shape, a.dtype if dtype is None else dtype)
    return found | {
        "array": lambda value, dtype=None, copy=True, order="K": _asarray(value, dtype, order=order, copy=copy),
        "asarray": _asarray,
        "asnumpy": _asnumpy,
        "ascontiguousarray": _contiguous("C"),
        "asfortranarray": _contiguous("F"),
        "empty": lambda shape, dtype=float, order="C": allocate(shape, dtype, order),
        "from_dlpack": _from_dlpack,
        "isscalar": np.isscalar,
        "linalg": _Linalg,
        "get_default_memory_pool": lambda: types.SimpleNamespace(free_all_blocks=lambda: None),
        "random": types.SimpleNamespace(default_rng=_Generator),
        "may_share_memory": lambda a, b: np.may_share_memory(a.host, b.host),
        "shares_memory": lambda a, b: np.may_share_memory(a.host, b.host),
    }


def cupyx_names() -> dict[str, Any]:
    """What stands in the module `cupyx.scipy.linalg`."""
    return {"solve_triangular": _triangular}
