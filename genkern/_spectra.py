"""Covariance spectra of the Gaussian problems, in closed form and with portable bits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from genkern import _checks, _portable, _random

Array = np.ndarray[Any, Any]

# Every spectrum with its parameters and their defaults.
PARAMETERS: dict[str, dict[str, Any]] = {
    "isotropic": {},
    "power_law": {"exponent": 1.0},
    "power_log": {"exponent": 1.0, "log_exponent": 2.0},
    "spiked": {"spikes": (10.0,)},
    "two_atom": {"atoms": (4.0, 0.5), "fraction": 0.5},
    "exp_floor": {"decay": 1.0, "floor": 0.01},
}


def eigenvalues(
    d: int,
    spectrum: str | Sequence[float] | Array = "isotropic",
    *,
    exponent: float | None = None,
    log_exponent: float | None = None,
    spikes: Sequence[float] | float | None = None,
    atoms: Sequence[float] | None = None,
    fraction: float | None = None,
    decay: float | None = None,
    floor: float | None = None,
) -> Array:
    """Eigenvalues of a covariance, largest first, exactly as the formula gives them (no trace is normalised).

    ========================  =====================================================================================
    `spectrum`                eigenvalue k = 1..d
    ========================  =====================================================================================
    ``"isotropic"``           1
    ``"power_law"``           `k^-exponent` (default 1)
    ``"power_log"``           `k^-exponent * log((k+1) e/2)^-log_exponent` (defaults 1, 2)
    ``"spiked"``              `spikes`, largest first (default one of 10), then 1; a spike is the eigenvalue itself
    ``"two_atom"``            `atoms[0]` for the first `round(fraction * d)`, then `atoms[1]` (defaults (4, 0.5), 0.5)
    ``"exp_floor"``           `exp(-k/decay) + floor` (defaults 1, 0.01)
    an array `(d,)`           the values given, in the order given
    ========================  =====================================================================================

    Parameters
    ----------
    d : int
        Number of eigenvalues, at least 1.
    spectrum : str or array
        One of the rows above.
    exponent, log_exponent, spikes, atoms, fraction, decay, floor
        Parameters of the named spectrum. One that the spectrum does not have is an error.

    Returns
    -------
    array (d,)
        float64.

    Notes
    -----
    `power_log` with exponent 1 and log_exponent > 1, and `exp_floor` with a floor that shrinks with n, are the two
    families of benign spectra in Bartlett, Long, Lugosi and Tsigler (2020), Theorem 6. They use log((k+1) e/2), which
    is positive from k = 1 on.
    """
    d = _checks.integer("d", d, low=1)
    given = {
        "exponent": exponent,
        "log_exponent": log_exponent,
        "spikes": spikes,
        "atoms": atoms,
        "fraction": fraction,
        "decay": decay,
        "floor": floor,
    }
    chosen = {name: value for name, value in given.items() if value is not None}
    if not isinstance(spectrum, str):
        if chosen:
            raise ValueError(f"{next(iter(chosen))} must not be given with an array of eigenvalues")
        values = _checks.nonnegative("spectrum", spectrum)
        if values.shape != (d,):
            raise ValueError(f"spectrum must have shape ({d},), got {values.shape}")
        return values.copy()
    _checks.choice("spectrum", spectrum, tuple(PARAMETERS))
    for name in chosen:
        if name not in PARAMETERS[spectrum]:
            known = ", ".join(PARAMETERS[spectrum]) or "none"
            raise ValueError(f"{name} must not be given with spectrum {spectrum!r} (its parameters: {known})")
    return _named(d, spectrum, PARAMETERS[spectrum] | chosen)


def _named(d: int, spectrum: str, p: dict[str, Any]) -> Array:
    for name in ("exponent", "log_exponent", "floor"):
        if name in p:
            p[name] = _checks.real_number(name, p[name], low=0.0)
    k = np.arange(1.0, d + 1.0)
    if spectrum == "power_law":
        return _portable.power(k, -p["exponent"])
    if spectrum == "power_log":
        # log((k+1) e/2) = 1 + log((k+1)/2)
        logs = 1.0 + _random.log((k + 1.0) / 2.0)
        return _portable.power(k, -p["exponent"]) * _portable.power(logs, -p["log_exponent"])
    if spectrum == "exp_floor":
        decay = _checks.real_number("decay", p["decay"], low=0.0, strict=True)
        return _portable.exp(np.maximum(-k / decay, -1000.0)) + float(p["floor"])
    values = np.ones(d)
    if spectrum == "spiked":
        spikes = np.sort(np.atleast_1d(_checks.nonnegative("spikes", p["spikes"])))[::-1]
        if spikes.ndim != 1 or len(spikes) > d:
            raise ValueError(f"spikes must be at most d = {d} numbers, got shape {spikes.shape}")
        values[: len(spikes)] = spikes
    elif spectrum == "two_atom":
        atoms = _checks.nonnegative("atoms", p["atoms"])
        if atoms.shape != (2,):
            raise ValueError(f"atoms must be two numbers, got shape {atoms.shape}")
        share = _checks.real_number("fraction", p["fraction"], low=0.0, high=1.0)
        first = round(share * d)
        values[:first], values[first:] = atoms
    return values
