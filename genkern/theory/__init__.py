"""Closed forms and fixed points of generalization theory, to be drawn beside every measured curve.

All arguments broadcast, results are float64, signal and noise are variances. A risk that diverges is `inf`.
"""

from genkern.theory.ridge import Risk, effective_ridge, optimal_ridge, ridge_risk

__all__ = [
    "Risk",
    "effective_ridge",
    "optimal_ridge",
    "ridge_risk",
]
