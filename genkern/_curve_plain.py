"""Nested curves without a ridge: the train side. See `_curve_engine`."""

from __future__ import annotations

from typing import Any

import numpy as np

from genkern._curve_engine import EPS, FAST_ERROR, SAFETY, SVD_MARGIN, TINY, Block, Restart, Train
from genkern._curve_factor import Factor, Places

Array = Any  # of the algebra's library
Numbers = np.ndarray[Any, Any]  # in host memory: what decides


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
