"""Studies: one claim of the field each, from data through kernels to a figure and its numbers.

``genkern.studies.<claim>.run(**parameters)`` returns a `StudyResult`; ``genkern <claim>`` does so from a shell.
"""

from __future__ import annotations

import importlib
from types import ModuleType

from genkern.studies._result import StudyResult

__all__ = ["CLAIMS", "StudyResult", "load"]

# Name on the command line -> (module, the claim in one line).
CLAIMS: dict[str, tuple[str, str]] = {
    "benign-overfitting": ("benign_overfitting", "Interpolating noise is harmless or ruinous by the covariance's tail"),
    "double-descent": ("double_descent", "Risk peaks at the interpolation threshold and falls again with width"),
    "epoch-descent": (
        "epoch_descent",
        "At the threshold gradient descent falls, then climbs the peak: stopping early pays",
    ),
    "implicit-bias": ("implicit_bias", "Gradient descent from zero picks the minimum-norm interpolator"),
    "interpolation-threshold": (
        "interpolation_threshold",
        "At as many features as samples the variance diverges, the bias does not",
    ),
    "max-margin": ("max_margin", "Gradient descent on separable data goes to the max margin like 1/log t"),
    "phase-diagram": (
        "phase_diagram",
        "Features per sample and ridge make a map of the risk, and theory draws the same",
    ),
    "random-features-theory": (
        "random_features_theory",
        "The risk of random features is a closed form, and tells its sources",
    ),
    "ridge-descent": ("ridge_descent", "Ridge flattens the peak over the width, and the best ridge has none"),
    "sample-descent": ("sample_descent", "More data can hurt: risk peaks where samples are as many as features"),
    "spectra": ("spectra", "Sample eigenvalues follow Marchenko-Pastur, their edge Tracy-Widom, spikes a transition"),
}


def load(claim: str) -> ModuleType:
    """Module of a claim, imported when first needed."""
    return importlib.import_module(f"genkern.studies.{CLAIMS[claim][0]}")


def __getattr__(name: str) -> ModuleType:
    if name in {module for module, _ in CLAIMS.values()}:
        return importlib.import_module(f"genkern.studies.{name}")
    raise AttributeError(f"module 'genkern.studies' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, *(module for module, _ in CLAIMS.values())])
