"""Minimum-norm regression on a part of isotropic features: the limiting risk, and the exact one at finite size."""

from __future__ import annotations

from typing import Any

import numpy as np

from genkern import _arrays, _checks
from genkern.theory import _arguments
from genkern.theory.ridge import Risk

Array = np.ndarray[Any, Any]


def misspecified_risk(gamma: Any, *, signal: Any, noise: Any, captured: Any) -> Risk:
    r"""Limiting risk of minimum-norm regression that sees only a part of the features.

    The model is ``y = <x, beta> + <w, theta> + eps`` with x and w isotropic and independent, and regression is on x
    alone, without ridge. With the signal ``r = ||beta||^2 + ||theta||^2``, of which the share c = `captured` is
    beta's, the part that is not seen acts as noise, ``s = noise + r (1 - c)``:

    .. math::
        \text{bias} = r (1 - c) + r c (1 - 1/\gamma)_+, \qquad
        \text{variance} = s \frac{\gamma}{1 - \gamma} \;(\gamma < 1), \quad \frac{s}{\gamma - 1} \;(\gamma > 1).

    Parameters
    ----------
    gamma : array (...)
        Features *seen* per sample, p / n >= 0; `inf` is a sample of no size.
    signal : array (...)
        r, all of the signal, seen or not.
    noise : array (...)
        Variance of eps.
    captured : array (...)
        Share in [0, 1] of the signal in the features seen.

    Returns
    -------
    Risk
        Excess risk over `noise`. The bias contains the loss ``r (1 - c)`` that no estimator on x avoids; the variance
        is over eps and w of the training samples. Infinite at ``gamma = 1`` (variance, unless s = 0).

    Raises
    ------
    ValueError, TypeError
        Numbers out of range, or shapes that do not broadcast.

    Notes
    -----
    Valid in the limit, for independent entries of mean 0 and variance 1; at finite size the error is of order 1/n away
    from ``gamma = 1``. `finite_sample_risk` is the exact mean for Gaussian features, with ``captured = p / d``.

    References
    ----------
    T. Hastie, A. Montanari, S. Rosset, R. J. Tibshirani, "Surprises in high-dimensional ridgeless least squares
    interpolation", Annals of Statistics 50 (2022).
    """
    arguments = {"gamma": gamma, "signal": signal, "noise": noise, "captured": captured}
    (g, r2, sigma2, c), wrap = _arguments.numbers(infinite=("gamma",), **arguments)
    if np.any(c > 1):
        raise ValueError(f"captured must be <= 1, got {c[c > 1].flat[0]}")
    shape = _arguments.batch_shape(gamma=g, signal=r2, noise=sigma2, captured=c)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        bias = r2 * (1.0 - c) + r2 * c * np.where(g > 1, (g - 1.0) / g, 0.0)
        bias = np.where(g == np.inf, r2, bias)
        unit = np.where(g < 1, g / (1.0 - g), 1.0 / (g - 1.0))
    variance = _arguments.product(_arguments.total(sigma2, r2 * (1.0 - c)), np.where(g == 1, np.inf, unit))
    bias, variance = np.broadcast_to(bias, shape), np.broadcast_to(variance, shape)
    return Risk(wrap(bias), wrap(variance), wrap(_arguments.total(bias, variance)))


def finite_sample_risk(n: Any, p: Any, d: Any, *, signal: Any, noise: Any) -> Any:
    r"""Exact mean test error of least squares on p of d isotropic Gaussian features, drawn at random, from n samples.

    With ``y = <x, beta> + eps`` in d dimensions and minimum-norm regression on p coordinates drawn without
    replacement, the mean over samples, coordinates and a new pair (x, y) is

    .. math::
        \Bigl((1 - \tfrac pd) \|\beta\|^2 + \sigma^2\Bigr) \Bigl(1 + \frac{p}{n - p - 1}\Bigr) \quad (p \le n - 2), \\
        \|\beta\|^2 \Bigl(1 - \frac{n}{d} \Bigl(2 - \frac{d - n - 1}{p - n - 1}\Bigr)\Bigr)
        + \sigma^2 \Bigl(1 + \frac{n}{p - n - 1}\Bigr) \quad (p \ge n + 2),

    and infinite for p from n - 1 to n + 1.

    Parameters
    ----------
    n, p, d : array (...) of whole numbers
        Samples, features used, and features in all: ``p <= d``.
    signal : array (...)
        ``||beta||^2``, over all d features.
    noise : array (...)
        Variance of eps.

    Returns
    -------
    array (...)
        Mean squared error on new data, *noise included*: `noise` more than an excess risk. Without samples or features
        it is ``signal + noise``. `inf` is a mean that does not exist; a factor `signal` or `noise` of 0 removes it.

    Raises
    ------
    ValueError, TypeError
        Numbers that are not whole or out of range, or shapes that do not broadcast.

    Notes
    -----
    Exact for Gaussian features. Near ``p = n`` the error of single samples has heavy tails, and averages over few
    samples fall short of the mean.

    References
    ----------
    L. Breiman, D. Freedman, "How many variables should be entered in a regression equation?", Journal of the American
    Statistical Association 78 (1983); M. Belkin, D. Hsu, J. Xu, "Two models of double descent for weak features", SIAM
    Journal on Mathematics of Data Science 2 (2020).
    """
    counts = {"n": n, "p": p, "d": d}
    library = _arrays.library_of(counts | {"signal": signal, "noise": noise})
    samples, used, features = (_checks.whole_numbers(name, value) for name, value in counts.items())
    (r2, sigma2), _ = _arguments.numbers(signal=signal, noise=noise)
    shape = _arguments.batch_shape(n=samples, p=used, d=features, signal=r2, noise=sigma2)
    samples, used, features, r2, sigma2 = (
        np.broadcast_to(view, shape) for view in (samples, used, features, r2, sigma2)
    )
    if np.any(used > features):
        at = tuple(int(i) for i in np.argwhere(used > features)[0])
        raise ValueError(f"p must be <= d, got p = {used[at]:.0f} and d = {features[at]:.0f}")
    unseen = _arguments.ratio(features - used, features)
    gap = np.abs(used - samples) - 1.0  # degrees of freedom that are left
    inflation = np.where(gap > 0, 1.0 + _arguments.ratio(np.minimum(used, samples), np.maximum(gap, 0.0)), np.inf)
    inflation = np.where((used == 0) | (samples == 0), 1.0, inflation)
    # For p > n the part of beta that is seen adds |beta_seen|^2 (1 - n/p) on average: a sum of positive terms.
    kept = np.where(used > samples, _arguments.ratio(used - samples, features), 0.0)
    seen = np.where(samples == 0, _arguments.ratio(used, features), kept)
    unfitted = _arguments.total(r2 * unseen, sigma2)
    result = _arguments.total(r2 * seen, _arguments.product(unfitted, inflation))
    return _arguments.wrapper(library)(result)
