"""Effective ranks of the tails of a covariance, and the index from which on a tail acts as a ridge."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from genkern import _arrays, _checks
from genkern.theory import _arguments

Array = np.ndarray[Any, Any]


def spectrum(eigenvalues: Any) -> Array:
    """Eigenvalues, largest first along the last axis."""
    s = _checks.nonnegative("eigenvalues", eigenvalues)
    _checks.minimum_axes("eigenvalues", s, 1, "(..., p)")
    if s.shape[-1] == 0:
        raise ValueError(f"eigenvalues must have at least one entry, got shape {s.shape}")
    return -np.sort(-s, axis=-1)


def ranks_of(s: Array) -> tuple[Array, Array]:
    """r_k and R_k of sorted eigenvalues, by sums from the smallest up in units of the largest of each tail.

    With t = s_{k+2} / s_{k+1}, r_k = 1 + t r_{k+1} and r_k^2 / R_k = 1 + t^2 (the same of k + 1): nothing overflows,
    underflows or cancels, and r_k <= R_k <= r_k^2 survives rounding.
    """
    p = s.shape[-1]
    r, R = np.zeros((2, *s.shape))
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where(s[..., 1:] > 0, s[..., 1:] / s[..., :-1], 0.0)
    for row in np.ndindex(s.shape[:-1]):
        ratios = t[row].tolist()
        ranks, sums = [0.0] * p, [0.0] * p
        last = int(np.count_nonzero(s[row])) - 1
        one = two = 1.0
        for k in range(last, -1, -1):
            if k < last:
                one = 1.0 + ratios[k] * one
                two = 1.0 + ratios[k] * ratios[k] * two
            ranks[k], sums[k] = one, one * (one / two)
        r[row], R[row] = ranks, sums
    return r, R


def effective_ranks(eigenvalues: Any) -> tuple[Any, Any]:
    r"""Both effective ranks of every tail of a covariance.

    .. math::
        r_k = \frac{\sum_{i > k} \lambda_i}{\lambda_{k+1}}, \qquad
        R_k = \frac{\bigl(\sum_{i > k} \lambda_i\bigr)^2}{\sum_{i > k} \lambda_i^2}, \qquad
        1 \le r_k \le R_k \le r_k^2 .

    Parameters
    ----------
    eigenvalues : array (..., p)
        Eigenvalues of the covariance, >= 0, in any order.

    Returns
    -------
    r, R : array (..., p)
        Entry k belongs to the tail without the k largest eigenvalues, k = 0..p-1; 0 where that tail is all 0. Both
        are pure numbers. Relative error below ``p`` rounding units.

    Raises
    ------
    ValueError, TypeError
        Eigenvalues that are negative, not finite or not real, or none at all.

    References
    ----------
    P. L. Bartlett, P. M. Long, G. Lugosi, A. Tsigler, "Benign overfitting in linear regression", PNAS 117 (2020),
    Definition 3 and Lemma 5.

    Examples
    --------
    >>> from genkern.theory import effective_ranks
    >>> r, R = effective_ranks([2.0, 1.0, 1.0])
    >>> r.tolist(), R.round(4).tolist()
    ([2.0, 2.0, 1.0], [2.6667, 2.0, 1.0])
    """
    wrap = _arguments.wrapper(_arrays.library_of({"eigenvalues": eigenvalues}))
    r, R = ranks_of(spectrum(eigenvalues))
    return wrap(r), wrap(R)


def level(constant: Array, samples: Array) -> Array:
    """What r_k has to reach, ``b n``; `inf` beyond float64."""
    with np.errstate(over="ignore"):
        product: Array = constant * samples
    return product


def first_index(r: Array, level: Array) -> Array:
    """Smallest k with r_k >= level, inf if there is none; r of shape (..., p), level (...)."""
    shape = np.broadcast_shapes(r.shape[:-1], level.shape)
    index = np.empty(shape)
    r, level = np.broadcast_to(r, (*shape, r.shape[-1])), np.broadcast_to(level, shape)
    for item in np.ndindex(shape):  # a comparison of all at once would take p times the memory
        reached = r[item] >= level[item]
        k = int(np.argmax(reached))
        index[item] = k if reached[k] else math.inf
    return index


def critical_index(eigenvalues: Any, n: Any, *, b: Any = 1.0) -> Any:
    r"""Number of large eigenvalues that have to be set apart before the rest acts as a ridge.

    .. math::
        k^* = \min \{ k \ge 0 : r_k \ge b n \}.

    Parameters
    ----------
    eigenvalues : array (..., p)
        Eigenvalues of the covariance, >= 0, in any order.
    n : array (...)
        Samples, whole numbers >= 1.
    b : array (...)
        Constant > 0 of the definition, which the theory leaves open (a universal one above 1); say which was used.

    Returns
    -------
    array (...)
        Whole numbers in float64; `inf` where no tail is that rich, and the theory finds no benign overfitting.

    Raises
    ------
    ValueError, TypeError
        Arguments out of range, not real, or of shapes that do not broadcast.

    References
    ----------
    Bartlett et al. (2020) as in `effective_ranks`, Theorem 4.
    """
    library = _arrays.library_of({"eigenvalues": eigenvalues, "n": n, "b": b})
    s, samples, constant = spectrum(eigenvalues), samples_of(n), _checks.positive("b", b)
    _arguments.batch_shape(eigenvalues=s.shape[:-1], n=samples, b=constant)
    return _arguments.wrapper(library)(first_index(ranks_of(s)[0], level(constant, samples)))


def samples_of(n: Any) -> Array:
    """Sample sizes, whole numbers >= 1."""
    samples = _checks.whole_numbers("n", n)
    if np.any(samples < 1):
        raise ValueError(f"n must be >= 1, got {samples[samples < 1].flat[0]}")
    return samples
