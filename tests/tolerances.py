"""The one table of tolerances: multiples of ``eps * max(n, d)``, eps of the dtype under test, unless said otherwise."""

import numpy as np

# Normwise backward error of a least-squares solution, relative to ||X||_2. Theory has a low-degree polynomial in the
# size here; all problems measure below 2.
LSTSQ_BACKWARD = 4
# Component of the coefficients in the null space of X, relative to their norm; times s_max / s_min of the kept modes.
LSTSQ_NULL_SPACE = 4
# Relative difference of two solutions, times the condition number of the problem.
LSTSQ_FORWARD = 16
# Relative to s_max.
SINGULAR_VALUES = 4
# Relative error of a residual norm, as a multiple of ||X|| ||coef|| + ||y||.
RESIDUAL_NORM = 4
# A filter of a one-dimensional problem, in units of eps: error over what a relative eps in the step size and in the
# momentum does to the exact value, plus one rounding.
FILTER = 4
# Decimal digits that a solution of a reference data set may have less than NumPy's: noise of one rounding path.
NIST_DIGITS = 0.5
# Sums of d products: times eps sqrt(d) and the root of the sum of their squares.
FEATURE_PRODUCT = 2
# Relative difference of two hard-margin solutions, in units of eps max ||x_i|| / margin.
MARGIN_FORWARD = 8
# Relative difference from other solvers of hard margins.
MARGIN_PEERS = 1e-9
# Rounding in a reported gap itself.
MARGIN_GAP = 1e-14
# What a certificate leaves of its sum, relative to the terms, in units of eps.
MARGIN_CERTIFICATE = 4
# Units in the last place of the compiled activations, in float64 and in float32.
ACTIVATION_ULPS = {
    "identity": (0, 0),
    "relu": (0, 0),
    "erf": (1.1, 1.5),
    "tanh": (2.6, 2.6),
    "cos": (1.0, 0.6),
    "sin": (1.0, 0.6),
    "sign": (0, 0),
    "rff": (2.5, 2.5),
}
# Errors and certificates in bench/gpu_report.py's table of small problems, in units of eps.
GPU_REPORT = 1e4
# Nested curves against fresh solves: relative, at least CURVE_RELATIVE, and CURVE_CONDITION eps times the condition
# number of the features in use.
CURVE_RELATIVE = 1e-9
CURVE_CONDITION = 10
# How far below the true error the estimate of a curve may lie, and in what share of cases it may lie lower still.
CURVE_ESTIMATE = 10
CURVE_DISHONEST = 0.05
# Distribution functions, absolute; a Marchenko-Pastur density, relative, over the distance of x from the nearer edge in
# units of the support's width; its Stieltjes transform, relative.
DISTRIBUTION = 1e-12
MP_DENSITY = 1e-15
MP_STIELTJES = 4e-15
# Equations of the limit of gradient descent, relative to the largest weight of the support.
DIRECTION_LIMIT = 1e-12
# Effective ranks, relative and times the number of eigenvalues.
EFFECTIVE_RANKS = 4e-16
# Iterates of gradient descent, times (steps + n + d) eps and the largest norm of the path: a step is a contraction and
# rounds once for every term of its sums, in its own order.
DESCENT_STEP = 4
# Units in the last place of the compiled weights of the margin losses, in float64 and in float32.
WEIGHT_ULPS = 1.0
# Relative error of a closed form or of a root of a fixed point, at any distance from a threshold: against mpmath.
THEORY = 1e-12
# The same for a closed form of a few operations.
THEORY_EXPLICIT = 2e-15
# Relative difference of the leave-one-out formula and of leaving one out, for well-conditioned problems.
THEORY_LOO = 1e-9


def unit(dtype, n=1, d=1):
    """Eps of the dtype times the larger side of the problem."""
    return float(np.finfo(dtype).eps) * max(n, d, 1)
