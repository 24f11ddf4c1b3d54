"""TEST ONLY: what genkern calls of cuBLAS itself, on the memory that pointers of the stand-in's arrays point to."""

from __future__ import annotations

import ctypes
import types
from typing import Any

import numpy as np
import scipy.linalg.blas

from gpu.memory import CURRENT, Memory

HANDLE = 1 << 20  # and the number of the device


class Pointer(int):
    """An address in the memory of a device, which knows that memory."""

    memory: Memory

    @classmethod
    def of(cls, address: int, memory: Memory) -> Pointer:
        self = cls(address)
        self.memory = memory
        return self


def _matrix(pointer: Any, rows: int, columns: int, leading: int) -> np.ndarray[Any, Any]:
    """The matrix that lies there column by column; all of it must be memory of the current device."""
    assert isinstance(pointer, Pointer), f"cuBLAS needs a pointer to a GPU's memory, got {pointer!r}"
    assert pointer.memory.device == CURRENT.device, "memory of another device"
    assert leading >= max(1, rows), f"a leading dimension of {leading} for {rows} rows"
    offset = int(pointer) - pointer.memory.raw.ctypes.data
    found = np.ndarray((rows, columns), np.float64, pointer.memory.raw.data, offset, (8, 8 * leading))
    if found.size:
        low, high = np.lib.array_utils.byte_bounds(found)
        start = pointer.memory.bytes.ctypes.data
        assert start <= low and high <= start + pointer.memory.nbytes, "cuBLAS would reach outside of an array"
    return found


def _number(address: int) -> float:
    assert not isinstance(address, Pointer), "scalars are read from host memory"
    return ctypes.c_double.from_address(address).value


def get_cublas_handle() -> int:
    return HANDLE + CURRENT.device


def dtrsm(
    handle: int, side: int, uplo: int, trans: int, diag: int, m: int, n: int, alpha: int, A: Any, lda: int, B: Any,
    ldb: int,
) -> None:  # fmt: skip
    """Divides by zero without a word, as cuBLAS does; the other triangle is never read."""
    assert handle == get_cublas_handle(), "the handle of another device"
    order = n if side == cublas.CUBLAS_SIDE_RIGHT else m
    triangle, sides = _matrix(A, order, order, lda), _matrix(B, m, n, ldb)
    lower = uplo == cublas.CUBLAS_FILL_MODE_LOWER
    with np.errstate(all="ignore"):
        sides[...] = scipy.linalg.blas.dtrsm(
            _number(alpha), triangle, sides, side=side, lower=lower, trans_a=trans, diag=diag
        )


def dgemv(
    handle: int, trans: int, m: int, n: int, alpha: int, A: Any, lda: int, x: Any, incx: int, beta: int, y: Any,
    incy: int,
) -> None:  # fmt: skip
    """``y = alpha op(A) x + beta y``, where y is not read if beta is 0."""
    assert handle == get_cublas_handle() and incx == incy == 1
    matrix = _matrix(A, m, n, lda)
    matrix = matrix.T if trans == cublas.CUBLAS_OP_T else matrix
    given, result = (_matrix(p, size, 1, max(1, size)) for p, size in ((x, matrix.shape[1]), (y, matrix.shape[0])))
    factor = _number(beta)
    with np.errstate(all="ignore"):
        result[...] = _number(alpha) * (matrix @ given) + (factor * result if factor else 0.0)


cublas = types.SimpleNamespace(
    CUBLAS_OP_N=0, CUBLAS_OP_T=1, CUBLAS_FILL_MODE_LOWER=0, CUBLAS_FILL_MODE_UPPER=1, CUBLAS_SIDE_LEFT=0,
    CUBLAS_SIDE_RIGHT=1, CUBLAS_DIAG_NON_UNIT=0, CUBLAS_DIAG_UNIT=1, dtrsm=dtrsm, dgemv=dgemv,
)  # fmt: skip
