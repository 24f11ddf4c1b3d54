"""A spike of a covariance in the spectrum of a sample: the transition of Baik, Ben Arous and Péché."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from genkern import _arrays, _checks
from genkern.theory import _arguments


@dataclass(frozen=True, eq=False)
class SpikedCovariance:
    """The largest sample eigenvalue and its eigenvector, under one spike.

    Attributes
    ----------
    eigenvalue : array (...)
        Limit of the largest eigenvalue of ``X^T X / n``.
    cosine_squared : array (...)
        Limit of the squared cosine between its eigenvector and the spike's direction; 0 where the spike is lost.
    """

    eigenvalue: Any
    cosine_squared: Any


def spiked_covariance(spike: Any, gamma: Any) -> SpikedCovariance:
    r"""Phase transition of a spike: where the largest sample eigenvalue goes, and whether its direction is found.

    The covariance is the identity but for one eigenvalue l = `spike`. Then, almost surely,

    .. math::
        \lambda_1 \to l \Bigl(1 + \frac{\gamma}{l - 1}\Bigr), \qquad
        \cos^2 \to \frac{1 - \gamma / (l - 1)^2}{1 + \gamma / (l - 1)} \qquad (l > 1 + \sqrt{\gamma}),

    and the upper edge ``(1 + sqrt gamma)^2`` and 0 for smaller spikes.

    Parameters
    ----------
    spike : array (...)
        The eigenvalue itself, > 0, in units of the variance of all other directions. Several spikes act each alone.
    gamma : array (...)
        Features per sample p / n > 0.

    Returns
    -------
    SpikedCovariance
        `eigenvalue`, `cosine_squared`, of the shape that the arguments broadcast to.

    Raises
    ------
    ValueError, TypeError
        Arguments out of range, not real, or of shapes that do not broadcast.

    Notes
    -----
    Valid for independent entries with four moments, in the limit. Spikes below ``1 - sqrt gamma``, which move the
    *smallest* eigenvalue, are treated as any lost spike, since they leave the largest where it is.

    References
    ----------
    J. Baik, G. Ben Arous, S. Péché, Annals of Probability 33 (2005); D. Paul, Statistica Sinica 17 (2007).
    """
    library = _arrays.library_of({"spike": spike, "gamma": gamma})
    ell, g = _checks.positive("spike", spike), _checks.positive("gamma", gamma)
    _arguments.batch_shape(spike=ell, gamma=g)
    excess = ell - 1.0
    found = excess > np.sqrt(g)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        relative = g / excess
        outlier = ell * (1.0 + relative)
        cosine = (1.0 - relative / excess) / (1.0 + relative)
    wrap = _arguments.wrapper(library)
    return SpikedCovariance(wrap(np.where(found, outlier, (1.0 + np.sqrt(g)) ** 2)), wrap(np.where(found, cosine, 0.0)))
