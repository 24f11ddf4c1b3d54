"""Early stopping against ridge regression: the two constants of Ali, Kolter and Tibshirani (AISTATS 2019).

Gradient flow on ``||y - X w||^2 / (2n)`` from 0 keeps the share ``1 - exp(-t s)`` of each eigenvalue s of ``X^T X / n``
at time t; ridge regression with the penalty ``ridge ||w||^2`` on the *mean* of squares (`lstsq`'s ridge over n, that of
`ridge_risk`) keeps ``s / (s + ridge)``. Gradient descent (`gd_path`) with steps that are small against ``1 / s_max^2``
follows the flow: k steps are the time ``n k step_size``.

EARLY_STOPPING_BOUND
    For every X, every true coefficient vector and every t > 0, the expected squared error of the coefficients of the
    flow at time t is at most this times that of ridge regression at ``ridge = 1 / t``; so is the risk on new inputs,
    averaged over a signal of random direction. It is ``max_x ((1 - exp(-x)) (1 + x) / x)^2``, approached where all
    eigenvalues are ``1.793282 / t`` and noise is all there is. The paper rounds it to 1.69.
OPTIMAL_STOPPING_BOUND
    With a signal of random direction and ``alpha = signal n / (noise p)``, both risks of the flow at ``t = alpha``, and
    so those of the flow stopped best, are at most this times those of ridge regression at its optimum ``1 / alpha``,
    which are the least. It is ``max_x (exp(-2x) + (1 - exp(-x))^2 / x) (1 + x)``, attained by the flow at ``t = alpha``
    where all eigenvalues are ``3.213564 / alpha``. The paper's first version rounds it to 1.22.
"""

EARLY_STOPPING_BOUND = 1.685909058278325
OPTIMAL_STOPPING_BOUND = 1.2146618408349492
