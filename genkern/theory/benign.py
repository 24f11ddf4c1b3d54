"""Benign overfitting: whether a covariance lets an interpolator get away with fitting noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from genkern import _arrays, _checks
from genkern.theory import _arguments, ranks
from genkern.theory.ridge import ridge_risk

Array = np.ndarray[Any, Any]

BENIGN_TERMS = ("r_0 / n", "k* / n", "n / R_k*")
"""What has to vanish along a benign sequence, in the order of the last axis of `BenignReport.terms`."""
BENIGN_LEVEL = 0.1
"""A term at or above this level, at the largest n given, is reported as failing."""


@dataclass(frozen=True, eq=False)
class BenignReport:
    """What the theory of benign overfitting says about a sequence of covariances and sample sizes.

    Attributes
    ----------
    critical_index : array (...)
        k*, `inf` where there is none.
    terms : array (..., 3)
        The three quantities that vanish along a benign sequence, named by `BENIGN_TERMS`: ``r_0 / n`` (the signal can
        be estimated), ``k* / n`` (few directions are fitted) and ``n / R_k*`` (the noise is spread over many others).
        The last two are `inf` where k* is.
    bound : array (...)
        ``k* / n + n / R_k*``: the variance per unit of noise is this up to constants, above and below.
    variance : array (...)
        Variance per unit of noise itself, the limit of `ridge_risk` without ridge at ``gamma = p / n``.
    failing : array (..., 3) of bool
        Terms that fail along the sequence; without the axis of the sequence.
    benign : array (...) of bool
        No term fails.
    """

    critical_index: Any
    terms: Any
    bound: Any
    variance: Any
    failing: Any
    benign: Any


def benign_overfitting(eigenvalues: Any, n: Any, *, b: Any = 1.0) -> BenignReport:
    r"""Is the minimum-norm interpolator of noisy labels benign along a sequence of sample sizes, and if not, why.

    A sequence of covariances is benign if ``r_0 / n``, ``k* / n`` and ``n / R_k*`` all go to 0; then the excess risk
    of the minimum-norm interpolator does, though it fits the noise. With constants c,

    .. math::
        \frac{\sigma^2}{c} \Bigl(\frac{k^*}{n} + \frac{n}{R_{k^*}}\Bigr) \le \text{variance} \le
        c \, \sigma^2 \Bigl(\frac{k^*}{n} + \frac{n}{R_{k^*}}\Bigr), \qquad
        \text{bias} \le c \, \|\beta\|^2 \lambda_1 \max\Bigl(\sqrt{\frac{r_0}{n}}, \frac{r_0}{n}\Bigr),

    if k* is below n / c, and a variance of at least ``noise / c`` otherwise.

    Parameters
    ----------
    eigenvalues : array (..., p)
        Eigenvalues of the covariance, >= 0, in any order; one for all sample sizes, or one for each.
    n : array (...)
        Samples, whole numbers >= 1. The *last* axis is the sequence, smallest n first. A single number is a sequence
        of one.
    b : array (...)
        Constant > 0 in the definition of k*.

    Returns
    -------
    BenignReport
        `critical_index`, `terms`, `bound`, `variance` for each n; `failing`, `benign` for each sequence.

    Raises
    ------
    ValueError, TypeError
        Arguments out of range, not real, or of shapes that do not broadcast.

    Notes
    -----
    No limit can be read off finitely many n, so the verdict is a rule: a term fails if at the last n it is
    `BENIGN_LEVEL` or more, or not below its value at the first n of two or more. Sequences that are benign only
    logarithmically, such as ``k^{-1} log^{-beta}`` with ``beta > 1``, fail it at every n within reach, and their exact
    variance does not fall there either. In theory (Theorem 6) the powers ``k^{-alpha} log^{-beta}(k + 1)`` of infinite
    dimension are benign only for ``alpha = 1`` and ``beta > 1``, and ``exp(-k / tau) + eps_n`` for ``k <= p_n`` is
    exactly if ``p_n / n`` diverges, ``eps_n p_n / n`` vanishes and ``eps_n p_n`` vanishes at most as fast as
    ``n exp(-o(n))``.

    The bound takes inputs of independent sub-Gaussian coordinates in the basis of the covariance. `variance` is exact
    for n and p both large, and `inf` where exactly n eigenvalues are positive.

    References
    ----------
    Bartlett et al. (2020) as in `effective_ranks`, Theorems 4 and 6. In the spectra tried, the
    exact variance is 0.45 to 1.25 times the bound with ``b = 1`` as long as ``k* < n``; it is more where p is a few n
    only, ``n / (p - n)`` against ``n / p`` for p equal eigenvalues, and the bound says little where ``k* > n``.

    Examples
    --------
    >>> import numpy as np
    >>> from genkern.theory import benign_overfitting
    >>> report = benign_overfitting(np.exp(-np.arange(1.0, 10001.0)) + 0.01, 400)
    >>> float(report.critical_index), float(report.bound.round(5)), float(report.variance.round(5))
    (1.0, 0.04335, 0.04294)
    """
    library = _arrays.library_of({"eigenvalues": eigenvalues, "n": n, "b": b})
    s, samples, constant = ranks.spectrum(eigenvalues), ranks.samples_of(n), _checks.positive("b", b)
    shape = _arguments.batch_shape(eigenvalues=s.shape[:-1], n=samples, b=constant)
    if not np.all(s[..., 0] > 0):
        raise ValueError("eigenvalues must not all be 0")
    r, R = ranks.ranks_of(s)
    k = np.broadcast_to(ranks.first_index(r, ranks.level(constant, samples)), shape)
    missing = np.isinf(k)
    at = np.where(missing, 0, k).astype(np.intp)
    tail = np.take_along_axis(np.broadcast_to(R, (*shape, R.shape[-1])), at[..., None], axis=-1)[..., 0]
    head = k / samples
    spread = np.where(missing, np.inf, _arguments.ratio(np.broadcast_to(samples, shape), tail))
    terms = np.stack([np.broadcast_to(r[..., 0] / samples, shape), head, spread], axis=-1)
    variance = ridge_risk(s.shape[-1] / samples, noise=1.0, eigenvalues=s).variance
    variance = np.where(
        np.count_nonzero(s, axis=-1) == samples, np.inf, variance
    )  # where rounding would keep it finite

    last, first = (terms[..., -1, :], terms[..., 0, :]) if samples.ndim and shape[-1] else (terms, terms)
    failing = ~(last < BENIGN_LEVEL)
    if samples.ndim and samples.shape[-1] > 1:
        failing |= (last > 0) & ~(last < first)
    wrap = _arguments.wrapper(library)
    finish = library.wrap if failing.ndim else (lambda array: array)
    benign = np.asarray(~failing.any(axis=-1))
    return BenignReport(
        wrap(k),
        wrap(terms),
        wrap(head + spread),
        wrap(np.broadcast_to(variance, shape)),
        finish(failing),
        library.wrap(benign) if benign.ndim or library is not _arrays.NUMPY else benign[()],
    )
