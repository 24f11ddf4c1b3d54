"""Closed forms and fixed points of generalization theory, to be drawn beside every measured curve.

All arguments broadcast, results are float64, signal and noise are variances. A risk that diverges is `inf`.
"""

from genkern.theory.activations import ActivationMoments, activation_moments
from genkern.theory.benign import BENIGN_LEVEL, BENIGN_TERMS, BenignReport, benign_overfitting
from genkern.theory.cross_validation import gcv, loo_cv
from genkern.theory.early_stopping import EARLY_STOPPING_BOUND, OPTIMAL_STOPPING_BOUND
from genkern.theory.implicit_bias import gd_direction_limit
from genkern.theory.isotropic import finite_sample_risk, misspecified_risk
from genkern.theory.random_features import RandomFeaturesRisk, RiskDecomposition, random_features_risk
from genkern.theory.ranks import critical_index, effective_ranks
from genkern.theory.ridge import Risk, effective_ridge, optimal_ridge, ridge_risk
from genkern.theory.spectra import (
    marchenko_pastur_cdf,
    marchenko_pastur_pdf,
    marchenko_pastur_quantile,
    marchenko_pastur_stieltjes,
)
from genkern.theory.spikes import SpikedCovariance, spiked_covariance
from genkern.theory.tracy_widom import tracy_widom_cdf

__all__ = [
    "BENIGN_LEVEL",
    "BENIGN_TERMS",
    "EARLY_STOPPING_BOUND",
    "OPTIMAL_STOPPING_BOUND",
    "ActivationMoments",
    "BenignReport",
    "RandomFeaturesRisk",
    "Risk",
    "RiskDecomposition",
    "SpikedCovariance",
    "activation_moments",
    "benign_overfitting",
    "critical_index",
    "effective_ranks",
    "effective_ridge",
    "finite_sample_risk",
    "gcv",
    "gd_direction_limit",
    "loo_cv",
    "marchenko_pastur_cdf",
    "marchenko_pastur_pdf",
    "marchenko_pastur_quantile",
    "marchenko_pastur_stieltjes",
    "misspecified_risk",
    "optimal_ridge",
    "random_features_risk",
    "ridge_risk",
    "spiked_covariance",
    "tracy_widom_cdf",
]
