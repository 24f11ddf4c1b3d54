"""Where gradient descent on separable data tends to: w(t) = w_hat log t + w_tilde + o(1)."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import optimize

from genkern.theory import gd_direction_limit

Array = np.ndarray[Any, Any]
_TIGHT = 1e-8  # points with a margin below 1 + this are on the margin


def offset(Z: Array, w_hat: Array, step_size: float) -> tuple[Array, Array]:
    """The part of w_tilde in the span of the points on the margin, and an orthonormal basis (r, d) of that span.

    Those points (rows of Z) alone have the same hard margin, and span themselves: theory knows their limit.
    """
    on_margin = Z[Z @ w_hat <= 1.0 + _TIGHT]
    _, tilde = gd_direction_limit(on_margin, np.ones(len(on_margin)), step_size=step_size)
    _, s, Vt = np.linalg.svd(on_margin, full_matrices=False)
    return tilde, Vt[s > 1e-10 * s[0]]


def limits(Z: Array, w_hat: Array, w_tilde: Array, step_size: float) -> dict[str, float]:
    """The constants of the 1 / log t laws and of the loss.

    ``log t ||w/||w|| - w_hat/||w_hat|| ||`` -> "direction"; ``log t (1 - margin / largest margin)`` -> "margin";
    ``t L`` -> "loss".
    """
    square = float(w_hat @ w_hat)
    across = w_tilde - w_hat * (w_tilde @ w_hat) / square
    on_margin = Z[Z @ w_hat <= 1.0 + _TIGHT]
    return {
        "direction": float(np.linalg.norm(across) / np.sqrt(square)),
        "margin": float(w_tilde @ w_hat / square - (on_margin @ w_tilde).min()),
        "loss": square / step_size,
    }


def slowest_exponent(Z: Array, w_hat: Array, dual: Array) -> float:
    """The least p of the terms t^-p that w(t) - w_hat log t - w_tilde consists of.

    Linearised about the limit, the part in the span of the points on the margin follows ``d delta / d log t = -A
    delta`` with ``A = sum_n alpha_n z_n z_n^T``; points beyond the margin add terms with p = their margin - 1.
    """
    margins = Z @ w_hat
    rates = np.linalg.eigvalsh((Z.T * dual) @ Z)
    return float(min(rates[rates > 1e-9 * rates[-1]][0], (margins[margins > 1.0 + _TIGHT] - 1.0).min(initial=np.inf)))


def largest_margin(Z: Array, order: float) -> float:
    """``max_w min_i <z_i, w> / ||w||`` in the l_1 or the l_inf norm, by a linear program with margins of 1."""
    n, d = Z.shape
    if order == 1:  # w = u - v, u and v >= 0
        found = optimize.linprog(np.ones(2 * d), A_ub=np.hstack([-Z, Z]), b_ub=-np.ones(n), bounds=(0, None))
    else:  # |w_j| <= r
        one, zero = np.ones((d, 1)), np.zeros((n, 1))
        A = np.block([[-Z, zero], [np.eye(d), -one], [-np.eye(d), -one]])
        b = np.concatenate([-np.ones(n), np.zeros(2 * d)])
        found = optimize.linprog(np.r_[np.zeros(d), 1.0], A_ub=A, b_ub=b, bounds=(None, None))
    if found.status != 0:
        raise RuntimeError(f"the linear program of the l_{order:g} margin failed: {found.message}")
    return 1.0 / float(found.fun)
