"""The Tracy-Widom laws of the largest eigenvalue, as Fredholm determinants."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from genkern import _arrays, _checks
from genkern.theory import _arguments

Array = np.ndarray[Any, Any]
_LOW, _HIGH = -10.0, 14.0  # outside, F is 0 or 1 up to 1e-17
_DEGREE = 112  # of the interpolation, which is exact to rounding from about 105 on
_NODES, _END = 56, 16.0  # of the quadrature; Ai(16) is 4e-20, and from 50 nodes on there is nothing left but rounding


def tracy_widom_cdf(s: Any, beta: Any) -> Any:
    r"""Distribution function of the Tracy-Widom law for real (beta 1) or complex (beta 2) matrices.

    .. math::
        F_1(s) = \det(I - A_s), \qquad F_2(s) = \det(I - A_s) \det(I + A_s), \qquad
        (A_s f)(x) = \int_0^\infty \mathrm{Ai}(x + y + s) f(y) \, dy.

    The largest eigenvalue l of ``X^T X``, with X real, Gaussian, of n rows and p columns, centred by ``mu = (sqrt(n -
    1) + sqrt p)^2`` and scaled by ``(sqrt(n - 1) + sqrt p) (1 / sqrt(n - 1) + 1 / sqrt p)^{1/3}``, follows F_1 in the
    limit.

    Parameters
    ----------
    s : array (...)
        Centred and scaled eigenvalue, any real number.
    beta : array (...)
        1 or 2.

    Returns
    -------
    array (...)
        In [0, 1]. The absolute error is below 1e-13, not the relative one: far in the left tail (F below 1e-14) the
        result is noise of that size or 0.

    Raises
    ------
    ValueError, TypeError
        `beta` other than 1 and 2, NaN, arguments that are not real, shapes that do not broadcast.

    Notes
    -----
    Both functions are entire: they are interpolated once per process from determinants at Chebyshev points (half a
    second), which converge exponentially in the nodes of a Gauss-Legendre rule. The second determinant splits the one
    of the Airy kernel, whose divided differences would lose digits.

    References
    ----------
    C. A. Tracy, H. Widom, Communications in Mathematical Physics 159 (1994) and 177 (1996); F. Bornemann, Mathematics
    of Computation 79 (2010), for the method; I. M. Johnstone, Annals of Statistics 29 (2001), for the centring.
    """
    library = _arrays.library_of({"s": s, "beta": beta})
    points, which = _checks.real_numbers("s", s), _checks.nonnegative("beta", beta)
    if not np.all((which == 1) | (which == 2)):
        raise ValueError(f"beta must be 1 or 2, got {which[(which != 1) & (which != 2)].flat[0]}")
    shape = _arguments.batch_shape(s=points, beta=which)
    points, which = np.broadcast_to(points, shape), np.broadcast_to(which, shape)
    result = np.empty(shape)
    for b in (1, 2):
        chosen = which == b
        if np.any(chosen):
            result[chosen] = _interpolated(points[chosen], b)
    return _arguments.wrapper(library)(result)


def _interpolated(s: Array, beta: int) -> Array:
    t = (2.0 * np.clip(s, _LOW, _HIGH) - (_LOW + _HIGH)) / (_HIGH - _LOW)
    F = np.clip(np.polynomial.chebyshev.chebval(t, _coefficients()[:, beta - 1]), 0.0, 1.0)
    inside: Array = np.where(s <= _LOW, 0.0, np.where(s >= _HIGH, 1.0, F))
    return inside


@cache
def _coefficients() -> Array:
    """Chebyshev coefficients of F_1 and F_2 on [_LOW, _HIGH]: (_DEGREE + 1, 2)."""
    t = np.polynomial.chebyshev.chebpts1(_DEGREE + 1)
    F = np.array([_determinants(s) for s in (_LOW + _HIGH) / 2.0 + (_HIGH - _LOW) / 2.0 * t])
    coefficients: Array = np.polynomial.chebyshev.chebvander(t, _DEGREE).T @ F * (2.0 / len(t))
    coefficients[0] /= 2.0
    return coefficients


@cache
def _rule() -> tuple[Array, Array]:
    return np.polynomial.legendre.leggauss(_NODES)


def _determinants(s: float) -> tuple[float, float]:
    """F_1(s) and F_2(s), by eigenvalues of the discretized operator with the kernel Ai(x + y + s) on x, y > 0."""
    from scipy.special import airy  # takes longer to import than all of genkern

    t, w = _rule()
    length = _END - s
    x, w = length * (t + 1.0) / 2.0, length * w / 2.0
    rows, columns = np.tril_indices(_NODES)
    A = np.zeros((_NODES, _NODES))
    A[rows, columns] = np.sqrt(w[rows] * w[columns]) * airy(x[rows] + x[columns] + s)[0]
    values = np.linalg.eigvalsh(A)  # reads the lower triangle
    first = float(np.prod(1.0 - values))
    return first, first * float(np.prod(1.0 + values))
