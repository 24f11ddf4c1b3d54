"""The train side of nested curves: what one block of columns does to the factorization."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np

from genkern._curve_algebra import Algebra
from genkern._curve_basis import DEPENDENT, ZERO, Basis, Condition

Array = Any  # of the algebra's library
Places = np.ndarray[Any, Any]

SMALL = 1e3  # squared norm of X up to which I + X^T X is formed
QR, ORTHOGONAL, WOODBURY, SVD = 1, 2, 3, 4  # codes of `_curve_data.METHODS`


@dataclass
class Step:
    """What a block of columns does (formulas in `_curve_engine`). Of its columns, a are active; the rest are 0."""

    method: int
    active: Places  # (a,) places of the active columns in the block
    X: Array  # (r, a)
    H: Array  # (a, a) lower triangle: the transpose of the H of the formulas
    z: Array  # (a, K)
    q: Array  # (rows, a) of qr: the new directions
    G: Array  # (r, a) X H^{-1} of the formulas
    tails: Array  # (a, a) H^{-1} of the formulas, an upper triangle
    correction: Array | None = None  # (r, a) of woodbury: S += (T + D) correction^T
    reflectors: Any = None  # of orthogonal: what `Algebra.absorb` has done to [L, Q^T F_b]


class Factor:
    """``F = Q L V^T`` of the columns taken in so far, or ``J = L^{-1} Q^T`` alone, and right-hand sides (rows, K)."""

    def __init__(self, algebra: Algebra, rows: int, size: int, rhs: Array, tolerance: float) -> None:
        self.algebra = algebra
        self.basis = Basis(algebra, rows, size, tolerance)
        self.L = algebra.xp.zeros((size, size))  # C order: its transpose is what tpqrt takes
        self.J: Array | None = None
        self.whole = False  # J acts on columns themselves, not on their coordinates
        self.rhs = rhs
        self.residual = rhs.copy()
        self.u = algebra.xp.zeros((0, rhs.shape[1]))
        self.condition = Condition(algebra)

    @classmethod
    def diagonal(cls, algebra: Algebra, rhs: Array, entry: float) -> Factor:
        """Start from ``L = entry I`` with ``Q = I``."""
        n = len(rhs)
        self = cls(algebra, n, n, rhs, 0.0)
        self.basis.Q[...], self.basis.start = algebra.xp.eye(n), 0
        self.L[...] = entry * algebra.xp.eye(n)
        self.u = rhs / entry
        return self

    @property
    def triangle(self) -> Array:
        """The part of L that is in use."""
        return self.L[self.basis.start :, self.basis.start :]

    @property
    def Q(self) -> Array:
        """The part of the basis that is in use."""
        return self.basis.Q[:, self.basis.start :]

    def fresh(self) -> Array:
        """``L^{-1} Q^T rhs``."""
        if self.J is None:
            return self.algebra.solve(self.triangle, self.Q.T @ self.rhs)
        return self.J @ (self.rhs if self.whole else self.Q.T @ self.rhs)

    def back(self, B: Array) -> Array:
        """``L^{-T} B``, in coordinates (or whole)."""
        return self.algebra.solve(self.triangle, B, transposed=True) if self.J is None else self.J.T @ B

    def classify(
        self, F: Array, norms: Places | None = None, used: Places | None = None
    ) -> tuple[Array, Array, Array, Places]:
        """`Basis.project`, or no more than what J needs once it takes columns as they are: which are `used`, not 0."""
        if not self.whole or used is None:
            return self.basis.project(F, norms)
        xp, kinds = self.algebra.xp, np.where(used, DEPENDENT, ZERO)
        return F, xp.zeros((0, F.shape[1])), xp.zeros((len(self.rhs), 0)), kinds

    def columns(self, A: Array, active: Places) -> Array:
        """The active columns of A."""
        return A if len(active) == A.shape[1] else A[:, self.algebra.device(active)]

    def norms(self, step: Step) -> Array:
        """Squared norms (a + 1, K) of the coefficients before the step and after each of its active columns."""
        xp, u, G, tails, z = self.algebra.xp, self.u, step.G, step.tails, step.z
        values = xp.empty((len(step.active) + 1, u.shape[1]))
        values[0] = xp.sum(u**2, axis=0)
        together = max(1, self.algebra.numbers // max(1, G.size))
        for k in range(0, u.shape[1], together):
            part = slice(k, k + together)
            moved = u[:, None, part] - xp.cumsum(G[:, :, None] * z[:, part], axis=1)
            tail = xp.cumsum(tails[:, :, None] * z[:, part], axis=1)
            values[1:, part] = xp.sum(moved**2, axis=0) + xp.sum(tail**2, axis=0)
        return values

    def assess(self, L: Array) -> Condition:
        """Singular values that L would have, from the estimates so far."""
        condition = copy.copy(self.condition)
        condition.update(L)
        return condition

    def rising(self, A: Array, W: Array, q: Array, active: Places) -> Step:
        """Columns in new directions q: ``F = Q A + q W``."""
        solve, eye = self.algebra.solve, self.algebra.xp.eye
        X, H = solve(self.triangle, self.columns(A, active)), self.columns(W, active).T
        return Step(QR, active, X, H, q.T @ self.residual, q, solve(H, X.T).T, solve(H, eye(len(H))).T)

    def dependent(self, A: Array, active: Places) -> Step:
        """Columns within the span of Q, by their coordinates (by themselves if J is whole)."""
        a, xp, solve = len(active), self.algebra.xp, self.algebra.solve
        A = self.columns(A, active)
        X = solve(self.triangle, A) if self.J is None else self.J @ A
        gram = X.T @ X
        if float(xp.trace(gram)) < SMALL:
            H = self.algebra.cholesky(xp.eye(a) + gram)  # its eigenvalues are from 1 to 1 + SMALL
            G, tails = solve(H, X.T).T, solve(H, xp.eye(a)).T
        else:  # the Gram matrix has squared what is large in X: [I; X] = [tails; G] H^T by reflectors
            Q, R = xp.linalg.qr(xp.concatenate([xp.eye(a), X]))
            sign = xp.where(xp.diagonal(R) < 0, -1.0, 1.0)
            H, G, tails = (sign[:, None] * R).T, Q[a:] * sign, xp.triu(Q[:a] * sign)
        step = Step(ORTHOGONAL, active, X, H, G.T @ self.u, xp.zeros((len(self.rhs), 0)), G, tails)
        if self.J is not None:  # X (I + H)^-T = G - G (I + H)^-T
            step.method, step.correction = WOODBURY, G - solve(H + xp.eye(a), G.T).T
        return step

    def rows(self, step: Step) -> Array:
        """Rows (a, n) with ``z = rows @ rhs``; before `commit`."""
        if step.method == QR:
            return step.q.T
        back = self.back(step.G).T
        return back if self.whole else back @ self.Q.T

    def place(self, A: Array, W: Array, active: Places) -> Array:
        """Write new columns of L in front and return the larger triangle; it counts from `commit` on."""
        start, g = self.basis.start, len(active)
        first = start - g
        self.L[:, first:start] = 0.0
        self.L[start:, first:start] = self.columns(A, active)[:, ::-1]
        self.L[first:start, first:start] = self.columns(W, active)[::-1, ::-1]
        return self.L[first:, first:]

    def commit(self, step: Step, A: Array) -> None:
        """Take the step; u follows."""
        a, moved = len(step.active), self.u - step.G @ step.z
        if a == 0:
            return
        if step.method == QR:
            self.residual -= step.q @ step.z
            self.basis.append(step.q)
            self.u = self.algebra.xp.concatenate([(step.tails @ step.z)[::-1], moved])
        elif step.method == ORTHOGONAL:
            start = self.basis.start
            self.L[start:, start:], step.reflectors = self.algebra.absorb(self.triangle, self.columns(A, step.active))
            self.u = self.fresh()
        else:
            if self.J is None or step.correction is None:
                raise AssertionError("woodbury without J")
            self.J -= step.correction @ (step.G.T @ self.J)
            self.u = self.fresh()

    def invert(self) -> None:
        """Go over to J."""
        self.whole = self.basis.start == 0
        self.J = self.algebra.solve(self.triangle, self.Q.T if self.whole else self.algebra.xp.eye(len(self.triangle)))
