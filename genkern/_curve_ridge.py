"""Nested curves with a positive ridge: the train side. See `_curve_engine`."""

from __future__ import annotations

from typing import Any

import numpy as np

from genkern._curve_algebra import Algebra
from genkern._curve_engine import EPS, FAST_ERROR, SAFETY, SVD_MARGIN, TINY, Block, Restart, Train
from genkern._curve_factor import Factor, Places

Array = Any  # of the algebra's library
Numbers = np.ndarray[Any, Any]  # in host memory: what decides

SHRINKAGE = 1e2  # the woodbury form takes in all columns from sqrt(ridge) I if these are at most so much larger
LOST = 1e-4  # coefficients whose squared norm is a smaller share of what it was subtracted from are summed up anew


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
