"""Compiled kernels of generalization theory."""

from genkern import errors, problems, studies, theory
from genkern._registry import backends
from genkern.features import random_features
from genkern.least_squares import LstsqResult, gd_path, lstsq, ridge_path, singular_values
from genkern.logistic import LogisticPath, logistic_path
from genkern.margin import MaxMargin, max_margin

__version__ = "0.1.0"

__all__ = [
    "LogisticPath",
    "LstsqResult",
    "MaxMargin",
    "__version__",
    "backends",
    "errors",
    "gd_path",
    "logistic_path",
    "lstsq",
    "max_margin",
    "problems",
    "random_features",
    "ridge_path",
    "singular_values",
    "studies",
    "theory",
]
