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
SHRINKAGE = 1e2  # the woodbury form takes in all columns from sqrt(ridge) I if these are at most so much larger
SVD_MARGIN = 0.1  # an SVD decides once the condition number exceeds this share of 1 / rcond
CANCELLATION = 1e-3  # a block ends where the coefficients have shrunk by this factor: sums over it have lost digits
SAFETY = 2.0  # of every error estimate
LOST = 1e-4  # coefficients whose squared norm is a smaller share of what it was subtracted from are summed up anew


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
    """The train side: takes in columns, a block at a time. The two ways to do so are `Plain` and `Ridge`."""

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


class Plain(Train):
    """Ridge 0."""

    def _try(self, norms_of_F: Numbers, A: Array, W: Array, q: Array, active: Places) -> Block | int:
        factor, count, new, xp = self.outer, len(norms_of_F), q.shape[1] > 0, self.algebra.xp
        if new and factor.J is not None:
            raise Restart
        s_max = float(np.sqrt(self.squares + np.sum(norms_of_F**2)))
        after = factor.assess(factor.place(A, W, active)) if new else factor.condition
        if factor.J is None:
            doubtful = self.method == "svd" or not s_max * self._cutoff(count) <= SVD_MARGIN * after.s_min
        else:
            doubtful = False
            if self.method == "auto" and SAFETY * EPS * s_max > 100 * FAST_ERROR * self.began:
                raise Restart
        if doubtful and count > 1:
            return 1
        step = factor.rising(A, W, q, active) if new else factor.dependent(A, active)
        states = np.searchsorted(active, np.arange(count), side="right")
        norms = factor.norms(step)
        sizes = self.algebra.host(xp.sqrt(norms))
        short = self._shrunk(sizes, states)
        if short < count:
            return short
        train = xp.sum(factor.residual**2, axis=0) * xp.ones((len(active) + 1, 1))
        if new:
            changes = factor.residual[:, None, :] - xp.cumsum(step.q[:, :, None] * step.z, axis=1)
            train[1:] = xp.sum(changes**2, axis=0)
        rows = factor.rows(step) if self.samples else xp.zeros((0, self.n))
        factor.commit(step, A)
        if factor.J is not None:
            ratio = s_max / self.began
        elif new:
            factor.condition = after
            ratio = after.s_max / max(after.s_min, TINY)
        else:
            before = after.s_min
            factor.condition = factor.assess(factor.triangle)
            ratio = factor.condition.s_max / max(factor.condition.s_min if count == 1 else before, TINY)
        full = factor.basis.start == 0
        if full:
            train[-1 if new else slice(None)] = 0.0
        block = Block(step, count, states, float(ratio), full, norms, train, rows)
        self._freshen(block, factor, sizes)
        if block.u is not None:
            norms[-1] = xp.sum(block.u**2, axis=0)
        if doubtful:
            self._svd(block, factor, self._cutoff(count))
        elif self.fast and factor.J is None and (full or (not new and self.steady >= self.block)):
            s_min = factor.condition.s_min
            if self.method == "woodbury" or SAFETY * EPS * s_max < FAST_ERROR * s_min:
                self.began = s_min
                factor.invert()
        return block

    def apply(self, S: Array) -> Array:
        back = self.outer.back(S.T).T
        return back if self.outer.whole else back @ self.outer.Q.T

    def _svd(self, block: Block, factor: Factor, cutoff: float) -> None:
        """Solve the width after a block of one column by the SVD of L, if that cuts or is asked for."""
        condition = factor.condition
        if self.method != "svd" and condition.s_max * cutoff <= SVD_MARGIN * condition.s_min:
            return
        if len(factor.triangle) == 0:
            return
        xp = self.algebra.xp
        found = self.algebra.svd(factor.triangle)
        self.limit, self.blocks = 1, 8  # the next block starts from these predictions, which are not those of u
        if found is None:
            self._unsolved(block)
            return
        U, s, Vt = found
        values = self.algebra.host(s)
        kept = int(np.sum(values > cutoff * values[0]))
        U = U[:, :kept]
        block.inverse = (Vt[:kept].T / s[:kept]) @ U.T
        C = factor.Q.T @ self.rhs
        block.u = block.inverse @ C
        block.norms[-1] = xp.sum(block.u**2, axis=0)
        dropped = factor.Q @ (C - U @ (U.T @ C))
        block.full = kept == len(values) and block.full
        block.train[-1] = 0.0 if block.full else xp.sum((factor.residual + dropped) ** 2, axis=0)
        block.condition = float(values[0] / values[kept - 1])

    def _unsolved(self, block: Block) -> None:
        """NaN for the width after the block: its SVD has not converged."""
        xp, r = self.algebra.xp, len(self.outer.triangle)
        block.inverse, block.u = xp.full((r, r), np.nan), xp.full((r, self.rhs.shape[1]), np.nan)
        block.norms[-1] = block.train[-1] = block.condition = np.nan


class Ridge(Train):
    """A positive ridge. `outer` finds the rank of F and gives coordinates; `inner` works on these."""

    def __init__(
        self, algebra: Algebra, rhs: Array, rcond: float, unit: float, method: str, fast: bool, samples: bool,
        ridge: float,
    ) -> None:  # fmt: skip
        super().__init__(algebra, rhs, rcond, unit, method, fast, samples)
        self.ridge, self.root, self.augmented = ridge, float(np.sqrt(ridge)), True
        self.inner = Factor(algebra, 2 * self.n, self.n, algebra.xp.zeros((2 * self.n, rhs.shape[1])), 0.0)
        self.residual = rhs.copy()  # y - F w of the augmented form

    def begin_again(self) -> None:
        """From n columns on: all columns again, from ``L = sqrt(ridge) I``."""
        expected = 4 * float(np.sqrt(self.squares + self.ridge))
        self.inner = Factor.diagonal(self.algebra, self.outer.basis.Q.T @ self.rhs, self.root)
        self.augmented, self.width, self.squares, self.limit = False, 0, 0.0, self.block
        if self.fast and (self.method == "woodbury" or expected < SHRINKAGE * self.root):
            self.began = self.root
            self.inner.invert()

    def apply(self, S: Array) -> Array:
        back = self.inner.back(S.T).T
        if self.augmented:
            back = (back @ self.inner.Q.T)[:, : self.n]
        return back @ self.outer.basis.Q.T

    def _hand_over(self, s_max: float, s_min: float) -> None:
        cheap = self.method == "woodbury" or SAFETY * EPS * s_max < FAST_ERROR * s_min
        if self.fast and self.inner.J is None and cheap:
            self.began = s_min
            self.inner.invert()

    def _try(self, norms_of_F: Numbers, A: Array, W: Array, q: Array, active: Places) -> Block | int:
        outer, inner, count, g, xp = self.outer, self.inner, len(norms_of_F), q.shape[1], self.algebra.xp
        if g and not self.augmented and count > 1:
            return 1
        s_max = float(np.sqrt(self.squares + np.sum(norms_of_F**2)))
        after = outer.assess(outer.place(A, W, active)) if g else outer.condition
        doubtful = self.method == "svd" or not s_max * self._cutoff(count) <= SVD_MARGIN * after.s_min
        if doubtful and count > 1:
            return 1
        start = outer.basis.start
        coordinates = xp.zeros((self.n, count))
        coordinates[start:] = A
        coordinates[start - g : start] = W[::-1]
        found = (q.T @ self.rhs)[::-1]
        inner.rhs[:start] = inner.residual[:start] = 0.0
        inner.rhs[start - g : start] = inner.residual[start - g : start] = found
        if self.augmented:
            below = xp.zeros((self.n, count))
            below[self.width : self.width + count] = self.root * xp.eye(count)
            columns = xp.concatenate([coordinates, below])
            inner_A, inner_W, inner_q, kinds = inner.classify(columns, np.sqrt(norms_of_F**2 + self.ridge))
            if len(kinds) < count:
                return len(kinds)
            active = np.arange(count)
            inner.place(inner_A, inner_W, active)
            step = inner.rising(inner_A, inner_W, inner_q, active)
            mapped = outer.Q @ inner_q[start : self.n] + q[:, ::-1] @ inner_q[start - g : start]
            norms = inner.norms(step)
            changes = self.residual[:, None, :] - xp.cumsum(mapped[:, :, None] * step.z, axis=1)
            train = xp.concatenate([xp.sum(self.residual[:, None, :] ** 2, axis=0), xp.sum(changes**2, axis=0)])
            sizes = self.algebra.host(xp.sqrt(norms))
        else:
            if g:
                inner.u = inner.fresh()
            inner_A = coordinates
            step = inner.dependent(coordinates, active)
            whole = inner.norms(step)
            alpha, moves = inner.back(inner.u), inner.back(step.G)
            path = alpha[:, None, :] - xp.concatenate(
                [xp.zeros((self.n, 1, alpha.shape[1])), xp.cumsum(moves[:, :, None] * step.z, axis=1)], axis=1
            )
            penalty = self.ridge * xp.sum(path**2, axis=0)
            outside = outer.residual - q @ (q.T @ outer.residual)
            lost = whole - penalty < LOST * whole
            norms, train = xp.maximum(whole - penalty, 0.0), xp.sum(outside**2, axis=0) + self.ridge * penalty
            told = self.algebra.host(xp.concatenate([xp.sqrt(whole), lost[1:].any(axis=0, keepdims=True)]))
            sizes, some_lost = told[:-1], told[-1].any()
        states = np.searchsorted(active, np.arange(count), side="right")
        short = self._shrunk(sizes, states)
        if short < count:
            return short
        rows, alphas = xp.zeros((0, self.n)), None
        if not self.augmented and some_lost:
            basis = outer.basis.Q.copy()
            basis[:, start - g : start] = q[:, ::-1]
            alphas = xp.moveaxis(xp.tensordot(basis, path, axes=1), 1, 0)
        if self.samples:
            rows = mapped.T if self.augmented else inner.rows(step) @ outer.basis.Q.T
            if g and not self.augmented:
                rows = rows + inner.rows(step)[:, start - g : start] @ q[:, ::-1].T
        if self.augmented:
            self.residual = changes[:, -1]
        elif g and inner.J is not None:
            self.began = self.root
        if g:
            outer.residual -= q @ (q.T @ outer.residual)
            outer.basis.append(q)
            outer.condition = after
        inner.commit(step, inner_A)
        if inner.J is not None:
            ratio = np.sqrt(s_max**2 + self.ridge) / self.began
            if self.method == "auto" and SAFETY * EPS * ratio > 100 * FAST_ERROR:
                raise Restart
        else:
            # Directions that no column has yet are apart from the rest: their entries of L do not count.
            seen = inner.basis.start if self.augmented else outer.basis.start
            before = inner.condition.s_min if self.width else self.root
            inner.condition = inner.assess(inner.L[seen:, seen:])
            least = min(before, inner.condition.s_min) if count > 1 else inner.condition.s_min
            ratio = inner.condition.s_max / max(least, TINY)
            if not self.augmented and self.width + count >= self.n - 1:
                self._hand_over(float(np.sqrt(s_max**2 + self.ridge)), inner.condition.s_min)
        block = Block(step, count, states, float(ratio), outer.basis.start == 0, norms, train, rows)
        self._freshen(block, inner, sizes)
        block.doubtful, block.alphas = doubtful, alphas
        return block
