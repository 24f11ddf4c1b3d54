"""Compiled kernels of generalization theory."""

from genkern import errors, problems, studies, theory
from genkern._registry import backends
from genkern.features import random_features
from genkern.least_squares import LstsqResult, gd_path, lstsq, ridge_path, singular_values

__version__ = "0.1.0"

__all__ = [
    "LstsqResult",
    "__version__",
    "backends",
    "errors",
    "gd_path",
    "lstsq",
    "problems",
    "random_features",
    "ridge_path",
    "singular_values",
    "studies",
    "theory",
]
