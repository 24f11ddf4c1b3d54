"""Orthonormal basis of the columns seen so far, with the decision which columns are new directions."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.linalg import solve_triangular

Array = np.ndarray[Any, Any]

ZERO, NEW, DEPENDENT = 0, 1, 2


class Basis:
    """``Q`` (rows, size), filled from its last column backwards: columns `start` .. size - 1 are orthonormal.

    Filled backwards, the factor L of ``F = Q L V^T`` stays lower triangular when a direction is added in front. A
    column whose part outside the basis is below `tolerance` times its norm is no new direction.
    """

    def __init__(self, rows: int, size: int, tolerance: float) -> None:
        self.rows, self.size, self.start, self.tolerance = rows, size, size, tolerance
        self.Q = np.zeros((rows, size), order="F")

    def project(self, F: Array) -> tuple[Array, Array, Array, Array]:
        """Coordinates of columns F (n, b), new directions, and the kind of each column.

        Returns A (rank, b), W (g, b), q (n, g), kinds (b,) with ``F = Q A + q W`` for as many leading columns as are
        of one kind (columns of zeros go with either).
        """
        Q = self.Q[:, self.start :]
        b = F.shape[1]
        norms = np.linalg.norm(F, axis=0)
        A = Q.T @ F
        kinds = np.where(norms > 0, DEPENDENT, ZERO)
        if self.start == 0:
            return A, np.zeros((0, b)), np.zeros((self.rows, 0)), kinds
        E = F - Q @ A
        again = Q.T @ E
        E -= Q @ again
        A += again
        W, q = np.zeros((b, b)), np.zeros((self.rows, b), order="F")
        found, count = 0, b
        for j in range(b):
            if kinds[j] == ZERO:
                continue
            e = E[:, j]
            for _ in range(2):
                h = q[:, :found].T @ e
                e = e - q[:, :found] @ h
                W[:found, j] += h
            length = np.linalg.norm(e)
            if length < 0.1 * norms[j]:  # what cancelled may have left components in the basis
                for _ in range(2):
                    h, g = Q.T @ e, q[:, :found].T @ e
                    e = e - Q @ h - q[:, :found] @ g
                    A[:, j] += h
                    W[:found, j] += g
                length = np.linalg.norm(e)
            if length > self.tolerance * norms[j] and found < self.start:
                if found == 0 and np.any(kinds[:j] == DEPENDENT):
                    count = j
                    break
                kinds[j] = NEW
                q[:, found], W[found, j] = e / length, length
                found += 1
            elif found:
                count = j
                break
        return A[:, :count], W[:found, :count], q[:, :found], kinds[:count]

    def append(self, q: Array) -> None:
        """Add directions q (n, g), the first one last."""
        g = q.shape[1]
        self.Q[:, self.start - g : self.start] = q[:, ::-1]
        self.start -= g


class Condition:
    """Estimates of a growing triangle's extreme singular values, by power iterations that go on block by block."""

    def __init__(self) -> None:
        self.small = self.large = np.zeros(0)
        self.s_max, self.s_min = 0.0, np.inf

    def update(self, L: Array) -> None:
        """Look at L (r, r), lower triangular; new rows and columns are in front."""
        r = len(L)
        if r == 0:
            return
        ones = np.full(r - len(self.small), 1.0 / np.sqrt(r))
        self.small, self.large = np.concatenate([ones, self.small]), np.concatenate([ones, self.large])
        with np.errstate(all="ignore"):
            for _ in range(3):  # to length 1 after each factor: squares must not leave the range
                x, first = _unit(solve_triangular(L, self.small, lower=True, check_finite=False))
                self.small, second = _unit(solve_triangular(L, x, lower=True, trans=1, check_finite=False))
                inverse = np.sqrt(first) * np.sqrt(second)
                y, first = _unit(L.T @ self.large)
                self.large, second = _unit(L @ y)
                length = np.sqrt(first) * np.sqrt(second)
        if np.isfinite(inverse) and np.isfinite(length):
            self.s_min, self.s_max = float(1.0 / inverse), float(length)
        else:
            self.s_min, self.small, self.large = 0.0, np.full(r, r**-0.5), np.full(r, r**-0.5)


def _unit(x: Array) -> tuple[Array, Any]:
    """The vector scaled to length 1, and its length."""
    length = np.linalg.norm(x)
    return x / length, length
