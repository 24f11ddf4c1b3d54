"""Compiled kernels of generalization theory."""

from genkern import errors, problems, studies, sweep, theory
from genkern._registry import backends
from genkern.curves import RiskCurve, epoch_curve, random_feature_curve, ridge_curve, sample_curve, width_curve
from genkern.features import random_features
from genkern.least_squares import LstsqResult, lstsq, singular_values
from genkern.least_squares_paths import gd_path, ridge_path
from genkern.logistic import LogisticPath, logistic_path
from genkern.margin import MaxMargin, max_margin

__version__ = "0.1.0"

__all__ = [
    "LogisticPath",
    "LstsqResult",
    "MaxMargin",
    "RiskCurve",
    "__version__",
    "backends",
    "epoch_curve",
    "errors",
    "gd_path",
    "logistic_path",
    "lstsq",
    "max_margin",
    "problems",
    "random_feature_curve",
    "random_features",
    "ridge_curve",
    "ridge_path",
    "sample_curve",
    "singular_values",
    "studies",
    "sweep",
    "theory",
    "width_curve",
]
