"""The train side of nested curves: what one block of columns does to the factorization."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.linalg import lapack, solve_triangular

from genkern._numba._curve_basis import DEPENDENT, ZERO, Basis, Condition

Array = np.ndarray[Any, Any]

SMALL = 1e3  # squared norm of X up to which I + X^T X is formed
QR, ORTHOGONAL, WOODBURY, SVD = 1, 2, 3, 4  # codes of `_curve_data.METHODS`


def solve(L: Array, B: Array, *, transposed: bool = False) -> Array:
    """``L^{-1} B`` or ``L^{-T} B`` for a lower triangle L."""
    if L.size == 0 or B.size == 0:
        return np.zeros(B.shape)
    return np.asarray(solve_triangular(L, B, lower=True, trans=int(transposed), check_finite=False))


@dataclass
class Step:
    """What a block of columns does (formulas in `_curve_engine`). Of its columns, a are active; the rest are 0."""

    method: int
    active: Array  # (a,) places of the active columns in the block
    X: Array  # (r, a)
    H: Array  # (a, a) lower triangle: the transpose of the H of the formulas
    z: Array  # (a, K)
    q: Array  # (rows, a) of qr: the new directions
    G: Array  # (r, a) X H^{-1} of the formulas
    tails: Array  # (a, a) H^{-1} of the formulas, an upper triangle
    correction: Array | None = None  # (r, a) of woodbury: S += (T + D) correction^T
    reflectors: tuple[Array, Array] | None = None  # of orthogonal: V and T of tpqrt


class Factor:
    """``F = Q L V^T`` of the columns taken in so far, or ``J = L^{-1} Q^T`` alone, and right-hand sides (rows, K)."""

    def __init__(self, rows: int, size: int, rhs: Array, tolerance: float) -> None:
        self.basis = Basis(rows, size, tolerance)
        self.L = np.zeros((size, size))  # C order: its transpose is what tpqrt takes
        self.J: Array | None = None
        self.whole = False  # J acts on columns themselves, not on their coordinates
        self.rhs = rhs
        self.residual = rhs.copy()
        self.u = np.zeros((0, rhs.shape[1]))
        self.condition = Condition()

    @classmethod
    def diagonal(cls, rhs: Array, entry: float) -> Factor:
        """Start from ``L = entry I`` with ``Q = I``."""
        n = len(rhs)
        self = cls(n, n, rhs, 0.0)
        self.basis.Q[...], self.basis.start = np.eye(n), 0
        self.L[...] = entry * np.eye(n)
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
            return solve(self.triangle, self.Q.T @ self.rhs)
        return np.asarray(self.J @ (self.rhs if self.whole else self.Q.T @ self.rhs))

    def back(self, B: Array) -> Array:
        """``L^{-T} B``, in coordinates (or whole)."""
        return solve(self.triangle, B, transposed=True) if self.J is None else np.asarray(self.J.T @ B)

    def classify(self, F: Array) -> tuple[Array, Array, Array, Array]:
        """`Basis.project`, or no more than what J needs once it takes columns as they are."""
        if not self.whole:
            return self.basis.project(F)
        kinds = np.where(np.any(F != 0, axis=0), DEPENDENT, ZERO)
        return F, np.zeros((0, F.shape[1])), np.zeros((len(self.rhs), 0)), kinds

    def norms(self, step: Step) -> Array:
        """Squared norms (a + 1, K) of the coefficients before the step and after each of its active columns."""
        values = np.empty((len(step.active) + 1, self.u.shape[1]))
        G, tails = step.G, step.tails
        for k in range(values.shape[1]):
            u = self.u[:, k]
            values[0, k] = u @ u
            moved = u[:, None] - np.cumsum(G * step.z[:, k], axis=1)
            values[1:, k] = np.sum(moved**2, axis=0) + np.sum(np.cumsum(tails * step.z[:, k], axis=1) ** 2, axis=0)
        return values

    def assess(self, L: Array) -> Condition:
        """Singular values that L would have, from the estimates so far."""
        condition = copy.copy(self.condition)
        condition.update(L)
        return condition

    def rising(self, A: Array, W: Array, q: Array, active: Array) -> Step:
        """Columns in new directions q: ``F = Q A + q W``."""
        X, H = solve(self.triangle, A[:, active]), W[:, active].T
        return Step(QR, active, X, H, q.T @ self.residual, q, solve(H, X.T).T, solve(H, np.eye(len(H))).T)

    def dependent(self, A: Array, active: Array) -> Step:
        """Columns within the span of Q, by their coordinates (by themselves if J is whole)."""
        a = len(active)
        X = solve(self.triangle, A[:, active]) if self.J is None else self.J @ A[:, active]
        gram = X.T @ X
        if np.trace(gram) < SMALL:
            H = np.linalg.cholesky(np.eye(a) + gram)
            G, tails = solve(H, X.T).T, solve(H, np.eye(a)).T
        else:  # the Gram matrix has squared what is large in X: [I; X] = [tails; G] H^T by reflectors
            Q, R = np.linalg.qr(np.concatenate([np.eye(a), X]))
            sign = np.where(np.diag(R) < 0, -1.0, 1.0)
            H, G, tails = (sign[:, None] * R).T, Q[a:] * sign, np.triu(Q[:a] * sign)
        step = Step(ORTHOGONAL, active, X, H, G.T @ self.u, np.zeros((len(self.rhs), 0)), G, tails)
        if self.J is not None:  # X (I + H)^-T = G - G (I + H)^-T
            step.method, step.correction = WOODBURY, G - solve(H + np.eye(a), G.T).T
        return step

    def rows(self, step: Step) -> Array:
        """Rows (a, n) with ``z = rows @ rhs``; before `commit`."""
        if step.method == QR:
            return step.q.T
        back = self.back(step.G).T
        return back if self.whole else np.asarray(back @ self.Q.T)

    def place(self, A: Array, W: Array, active: Array) -> Array:
        """Write new columns of L in front and return the larger triangle; it counts from `commit` on."""
        start, g = self.basis.start, len(active)
        for j, column in enumerate(active):
            self.L[:, start - 1 - j] = 0.0
            self.L[start:, start - 1 - j] = A[:, column]
            self.L[start - g : start, start - 1 - j] = W[::-1, column]
        return self.L[start - g :, start - g :]

    def commit(self, step: Step, A: Array) -> None:
        """Take the step; u follows."""
        a, moved = len(step.active), self.u - step.G @ step.z
        if a == 0:
            return
        if step.method == QR:
            self.residual -= step.q @ step.z
            self.basis.append(step.q)
            self.u = np.concatenate([(step.tails @ step.z)[::-1], moved])
        elif step.method == ORTHOGONAL:
            start, r = self.basis.start, len(self.triangle)
            upper, V, T, info = lapack.dtpqrt(0, min(r, 32), self.triangle.T, np.asfortranarray(A[:, step.active].T))
            if info != 0:
                raise AssertionError(f"tpqrt: argument {-info}")
            self.L[start:, start:] = np.triu(upper).T
            step.reflectors = V, T
            self.u = self.fresh()
        else:
            if self.J is None or step.correction is None:
                raise AssertionError("woodbury without J")
            self.J -= step.correction @ (step.G.T @ self.J)
            self.u = self.fresh()

    def invert(self) -> None:
        """Go over to J."""
        self.whole = self.basis.start == 0
        self.J = solve(self.triangle, self.Q.T if self.whole else np.eye(len(self.triangle)))
