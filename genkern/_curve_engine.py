"""Nested curves in any array library: the algorithms of the compiled kernels, for GPUs and for installs without them.

The problem is ``B_p = T_p F_p^+`` for growing p, applied to right-hand sides: train columns f (n), test columns t (m).
``F_p = Q L V^T``, ``S = T_p V``, ``u = L^{-1} Q^T rhs``, predictions ``S u``. A block of columns is one `Step`: with
``X = L^{-1} Q^T F_b`` and an upper triangle H,

    D = (T_b - S X) H^{-1},   pred_i = pred_0 + sum_{j <= i} D_j z_j,
    w_i = [u - sum_j G_j z_j; sum_j (H^{-1})_j z_j],   G = X H^{-1},   in the basis [V, unit vectors of the block].

* New directions, ``F_b = Q A + q W``: ``H = W``, ``z = q^T rhs``.
* Dependent columns: ``H^T H = I + X^T X``, ``z = G^T u``. L and S take them in by an orthogonal transformation
  (tpqrt), or, with ``J = L^{-1} Q^T`` in the place of L, by the square-root form of Woodbury's formula (Andrews 1968)

    J -= X (I + H)^{-1} G^T J,   S += (T_b + D) (I + H^T)^{-1} X^T.

A positive ridge is the minimum-norm problem on ``[F, sqrt(ridge) I]``: up to n - 1 columns by new directions of columns
with the rows ``sqrt(ridge) I`` below, from n columns on by dependent columns from ``L = sqrt(ridge) I``; both see the
coordinates of F in the basis of its own columns, so that a dependent column is one exactly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from genkern._curve_algebra import Algebra
from genkern._curve_factor import ORTHOGONAL, Factor, Places, Step

Array = Any  # of the algebra's library
Numbers = np.ndarray[Any, Any]  # in host memory: what decides

EPS = float(np.finfo(np.float64).eps)
TINY = float(np.finfo(np.float64).tiny)
FAST_ERROR = 1e-10  # of the woodbury form where it takes over, by its estimate
SVD_MARGIN = 0.1  # an SVD decides once the condition number exceeds this share of 1 / rcond
CANCELLATION = 1e-3  # a block ends where the coefficients have shrunk by this factor: sums over it have lost digits
SAFETY = 2.0  # of every error estimate


class Restart(Exception):
    """A column was not what the woodbury form had assumed: go through all columns again without it."""


@dataclass
class Block:
    """One step as the test side sees it."""

    step: Step
    count: int  # columns
    states: Places  # (count,) number of active columns up to each
    condition: float
    full: bool  # full row rank after it
    norms: Array  # (a + 1, K) squared norm of the coefficients
    train: Array  # (a + 1, K) squared norm of the training residual
    rows: Array  # (a, n) of sample curves: z = rows @ rhs
    alphas: Array | None = None  # (a + 1, n, K) where norms have lost digits to a large ridge: coefficients F_p^T alpha
    u: Array | None = None  # fresh coefficients after the block, in the basis V
    inverse: Array | None = None  # of svd (one column): pseudo-inverse of L with its cutoff, (r, r)
    doubtful: bool = False  # with a ridge: an SVD of the columns so far is to decide what is cut off


class Train:
    """The train side: takes in columns, a block at a time, as `_curve_plain.Plain` or `_curve_ridge.Ridge` does."""

    def __init__(
        self, algebra: Algebra, rhs: Array, rcond: float, unit: float, method: str, fast: bool, samples: bool
    ) -> None:
        n, self.algebra = len(rhs), algebra
        self.n, self.rhs, self.rcond, self.unit, self.samples = n, rhs, rcond, unit, samples
        self.method, self.fast = method, fast and method in ("auto", "woodbury")
        self.width, self.squares, self.steady = 0, 0.0, 0
        self.block = self.limit = int(np.clip(n // 4, 8, 128))
        self.peak, self.blocks = np.zeros(rhs.shape[1]), 0
        self.began = 0.0  # smallest singular value where woodbury began
        self.outer = Factor(algebra, n, n, rhs, n * max(unit if np.isnan(rcond) else min(unit, rcond), EPS))

    def plan(self, F: Array, norms: Numbers, used: Numbers) -> Block:
        """Take in as many of the columns F (n, b), with their norms and whether they are not 0, as make one step."""
        while True:
            A, W, q, kinds = self.outer.classify(F, norms, used)
            count = len(kinds)
            block = self._try(norms[:count], A, W, q, np.flatnonzero(kinds))
            if isinstance(block, Block):
                break
            F, norms, used = F[:, :block], norms[:block], used[:block]
        if block.count < self.limit:
            self.limit = 2 * block.count
        self.limit = min(2 * self.limit, self.block)
        self.width += block.count
        self.squares += float(np.sum(norms[: block.count] ** 2))
        self.steady = self.steady + block.count if q.shape[1] == 0 else 0
        return block

    def _try(self, norms_of_F: Numbers, A: Array, W: Array, q: Array, active: Places) -> Block | int:
        """A block of as many columns, or how many to try instead."""
        raise NotImplementedError

    def apply(self, S: Array) -> Array:
        """``S L^{-1} Q^T``: rows (n) of the operator that takes right-hand sides to predictions."""
        raise NotImplementedError

    def _cutoff(self, count: int) -> float:
        return self.unit * max(self.n, self.width + count) if np.isnan(self.rcond) else self.rcond

    def _shrunk(self, sizes: Numbers, states: Places) -> int:
        """How many columns until sums over the block have lost digits."""
        if self.samples or len(states) == 1:
            return len(states)
        highest = np.maximum.accumulate(np.maximum(sizes, self.peak))
        small = np.any(sizes < CANCELLATION * highest, axis=1)[states]
        return int(np.argmax(small)) + 1 if small.any() else len(states)

    def _freshen(self, block: Block, factor: Factor, sizes: Numbers) -> None:
        """Decide whether the predictions after the block are to be made anew, and what they then are made of."""
        self.blocks += 1
        self.peak = np.maximum(self.peak, sizes.max(axis=0))
        if block.step.method == ORTHOGONAL or self.blocks >= 8 or np.any(sizes[-1] < 0.03 * self.peak):
            block.u = factor.u = factor.fresh()
            self.peak, self.blocks = sizes[-1], 0
