"""Orthonormal basis of the columns seen so far, with the decision which columns are new directions."""

from __future__ import annotations

from typing import Any

import numpy as np

from genkern._curve_algebra import Algebra

Array = Any  # of the algebra's library, but for the kinds

ZERO, NEW, DEPENDENT = 0, 1, 2
CLEAR = 0.1  # share of a column that is left outside the basis: what cancelled has cost no more than a digit


class Basis:
    """``Q`` (rows, size), filled from its last column backwards: columns `start` .. size - 1 are orthonormal.

    Filled backwards, the factor L of ``F = Q L V^T`` stays lower triangular when a direction is added in front. A
    column whose part outside the basis is below `tolerance` times its norm is no new direction.
    """

    def __init__(self, algebra: Algebra, rows: int, size: int, tolerance: float) -> None:
        self.algebra = algebra
        self.rows, self.size, self.start, self.tolerance = rows, size, size, tolerance
        self.Q = algebra.xp.zeros((rows, size), order="F")

    def project(
        self, F: Array, norms: np.ndarray[Any, Any] | None = None
    ) -> tuple[Array, Array, Array, np.ndarray[Any, Any]]:
        """Coordinates of columns F (n, b), whose norms may be known, new directions, and the kind of each column.

        Returns A (rank, b), W (g, b), q (n, g), kinds (b,) with ``F = Q A + q W`` for as many leading columns as are
        of one kind (columns of zeros go with either).
        """
        xp, Q = self.algebra.xp, self.Q[:, self.start :]
        if norms is None:
            norms = self._norms(F)
        A = Q.T @ F
        kinds = np.where(norms > 0, DEPENDENT, ZERO)
        if self.start == 0:
            return A, xp.zeros((0, F.shape[1])), xp.zeros((self.rows, 0)), kinds
        E = F - Q @ A
        again = Q.T @ E
        E -= Q @ again
        A += again
        lengths = self._norms(E)
        if np.all(lengths >= CLEAR * norms) and np.all(norms > 0) and len(norms) <= self.start:
            found = self._orthonormal(E, lengths)
            if found is not None and np.all(found[2] >= CLEAR * norms):
                return A, found[1], found[0], np.full(len(norms), NEW)
        elif np.all(lengths < CLEAR * norms, where=norms > 0):
            e, found = E, A
            for _ in range(2):
                h = Q.T @ e
                e, found = e - Q @ h, found + h
            if np.all(self._norms(e) <= self.tolerance * norms):
                return found, xp.zeros((0, len(norms))), xp.zeros((self.rows, 0)), kinds
        return self._one_by_one(Q, E, A, norms, kinds)

    def _norms(self, F: Array) -> np.ndarray[Any, Any]:
        return self.algebra.host(self.algebra.xp.linalg.norm(F, axis=0))

    def _orthonormal(self, E: Array, lengths: np.ndarray[Any, Any]) -> tuple[Array, Array, np.ndarray[Any, Any]] | None:
        """Orthonormal q (n, b), W (b, b) with ``E = q W``, W's diagonal: by Cholesky factors, twice; None if in vain.

        Unlike reflections it mixes no rows: beside rows of ``sqrt(ridge) I`` small ones keep their digits. What shows
        that the first factor was one is the Gram matrix after it: within 0.1 of I by its Frobenius norm it is positive
        definite, so that the second factor is one too.
        """
        xp, solve, b = self.algebra.xp, self.algebra.solve, len(lengths)
        scale = self.algebra.device(lengths)
        q, W = E / scale, xp.diag(scale)
        for _ in range(2):
            gram = q.T @ q
            L = self.algebra.cholesky(gram)
            if L is None:
                return None
            q, W = solve(L, q.T).T, L.T @ W
        distance = xp.linalg.norm(gram - xp.eye(b))
        told = self.algebra.host(xp.concatenate([distance.reshape(1), xp.diagonal(W)]))
        return (q, W, told[1:]) if told[0] < 0.1 else None

    def _one_by_one(
        self, Q: Array, E: Array, A: Array, norms: np.ndarray[Any, Any], kinds: np.ndarray[Any, Any]
    ) -> tuple[Array, Array, Array, np.ndarray[Any, Any]]:
        """`project` where columns are of several kinds: E (n, b) is what is left of them outside Q."""
        xp, b = self.algebra.xp, len(norms)
        W, q = xp.zeros((b, b)), xp.zeros((self.rows, b), order="F")
        found, count = 0, b
        for j in range(b):
            if kinds[j] == ZERO:
                continue
            e = E[:, j]
            for _ in range(2):
                h = q[:, :found].T @ e
                e = e - q[:, :found] @ h
                W[:found, j] += h
            length = float(xp.linalg.norm(e))
            if length < CLEAR * norms[j]:  # what cancelled may have left components in the basis
                for _ in range(2):
                    h, g = Q.T @ e, q[:, :found].T @ e
                    e = e - Q @ h - q[:, :found] @ g
                    A[:, j] += h
                    W[:found, j] += g
                length = float(xp.linalg.norm(e))
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

    def __init__(self, algebra: Algebra) -> None:
        self.algebra = algebra
        self.small = self.large = algebra.xp.zeros(0)
        self.s_max, self.s_min = 0.0, np.inf

    def update(self, L: Array) -> None:
        """Look at L (r, r), lower triangular; new rows and columns are in front."""
        r, xp, solve, multiply = len(L), self.algebra.xp, self.algebra.solve, self.algebra.multiply
        if r == 0:
            return
        ones = xp.full(r - len(self.small), 1.0 / np.sqrt(r))
        small, large = xp.concatenate([ones, self.small]), xp.concatenate([ones, self.large])
        with np.errstate(all="ignore"):
            for _ in range(3):  # to length 1 after each factor: squares must not leave the range
                x, first = self._unit(solve(L, small))
                small, second = self._unit(solve(L, x, transposed=True))
                inverse = xp.sqrt(first) * xp.sqrt(second)
                y, first = self._unit(multiply(L, large, transposed=True))
                large, second = self._unit(multiply(L, y))
                length = xp.sqrt(first) * xp.sqrt(second)
        inverse, length = (float(value) for value in self.algebra.host(xp.stack([inverse, length])))
        self.small, self.large = small, large
        if np.isfinite(inverse) and np.isfinite(length):
            with np.errstate(divide="ignore"):
                self.s_min, self.s_max = float(np.divide(1.0, inverse)), length
        else:
            self.s_min, self.small, self.large = 0.0, xp.full(r, r**-0.5), xp.full(r, r**-0.5)

    def _unit(self, x: Array) -> tuple[Array, Array]:
        """The vector scaled to length 1, and its length."""
        length = self.algebra.xp.linalg.norm(x)
        return x / length, length
