"""Gradient descent continued in log time: burn-in, modified equation, error estimate.

With z_i the rows of Z, s_i = -l'(u_i), D_i = l''(u_i), u = Z w, one step w += eta Z^T s is the flow of

    dw/dt = eta Z^T [ s + eta/2 D v + eta^2 (D p / 3 - l''' v^2 / 12) ],   v = K s,  p = K D v,  K = Z Z^T,

up to O(eta^4); the next term is eta^4 Z^T [ D K (D p / 4 - l''' v^2 / 12) - l''' v p / 12 ]. This is the modified
equation of Euler's method (Hairer, Lubich, Wanner, Geometric Numerical Integration, IX). It is solved in tau = log t,
in coordinates c of w = origin + Q c, where Z = L Q^T and Q has rank(Z) orthonormal columns (Q = I for n >= d). Numbers
of order 1/t are held times t, as exp(tau - u), so nothing under- or overflows up to t = 1e300.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numpy.polynomial import legendre

Array = np.ndarray[Any, Any]
STAGES = 8
FLOOR = 2.0**-40  # of the estimate: rounding of some 10^7 steps of a plain loop, and of the solver
_FIRST = 256  # first count from which the flow is tried
_LONGEST = 2.0**22  # burn-in at most, and at most _FLOPS
_FLOPS = 4e10
_TAIL = 2e-14  # of the polynomial in each step of the solver, relative to ||w||
_CONVERGED = 1e-15  # last change of Newton's iteration, or
_NOISE = 1e-7  # less than this and no longer shrinking: rounding, which the estimate sees
_ITERATIONS, _TURNS, _REJECTIONS = 30, 2000, 30
_SWEEPS, _OFF_DIAGONAL = 20, 1e-3


@cache
def collocation() -> tuple[Array, Array, Array]:
    """Radau's nodes on (0, 1] behind a 0, the derivative at them, and the last two Legendre coefficients."""
    difference = np.zeros(STAGES + 1)
    difference[-1], difference[-2] = 1.0, -1.0  # P_s - P_{s-1} vanishes at 1
    roots = np.sort(legendre.legroots(difference))
    x = np.concatenate([[-1.0], roots])
    x[-1] = 1.0
    vandermonde = legendre.legvander(x, STAGES)
    inverse = np.linalg.inv(vandermonde)
    slopes = np.stack([legendre.legval(x, legendre.legder(row)) for row in np.eye(STAGES + 1)], axis=1)
    return (x + 1.0) / 2.0, 2.0 * (slopes @ inverse), inverse


class Flow:
    """The modified equation of one problem."""

    def __init__(self, iterates: Any) -> None:
        self.eta, self.exponential, self.terms = iterates.eta, iterates.loss.name == "exponential", 3
        Z = iterates.Z
        self.Q = np.eye(Z.shape[1])
        if Z.shape[0] < Z.shape[1]:
            _, s, Vt = np.linalg.svd(Z, full_matrices=False)
            self.Q = Vt[s > 1e-13 * s.max(initial=0.0)].T
        self.L = Z @ self.Q
        largest = np.linalg.norm(self.L, axis=1).max(initial=0.0)
        # Where ||w|| is smaller, no margin is above 1e-4, and errors are relative to this instead.
        self.least_norm = 1e-4 / largest if largest > 0 else 1.0
        self.origin = iterates.w - self.Q @ (self.Q.T @ iterates.w)  # stays what it is, and Z @ origin = 0

    def derivatives(self, tau: float, u: Array) -> tuple[Array, Array, Array]:
        """The numbers t s, D and -l''' at the margins u."""
        if self.exponential:
            e = np.exp(-u)
            return np.exp(tau - u), e, e
        e = np.exp(-np.abs(u))
        high, low = np.where(u > 0, e, 1.0) / (1.0 + e), np.where(u > 0, 1.0, e) / (1.0 + e)  # s, 1 - s
        return np.where(u > 0, np.exp(tau - np.maximum(u, 0.0)) / (1.0 + e), np.exp(tau) * high), high * low, (
            high * low * (low - high)
        )  # fmt: skip

    def velocity(self, tau: float, c: Array) -> Array:
        """Derivative of c by tau."""
        ts, D, third = self.derivatives(tau, self.L @ c)
        tv = self.L @ (self.L.T @ ts)
        tp = self.L @ (self.L.T @ (D * tv))
        bend = third * tv * np.exp(-tau) / 12.0
        high = D * tp / 3.0 + bend * tv
        if self.terms == 4:
            high = high + self.eta * (D * (self.L @ (self.L.T @ (D * tp / 4.0 + bend * tv))) + bend * tp)
        velocity: Array = self.eta * (self.L.T @ (ts + self.eta * (D * tv / 2.0 + self.eta * high)))
        return velocity

    def curvature(self, tau: float, c: Array) -> Array:
        """The matrix t eta H: the stiff part of the Jacobian with its sign turned."""
        _, D, _ = self.derivatives(tau, self.L @ c)
        matrix: Array = (self.L.T * (D * (self.eta * np.exp(tau)))) @ self.L
        return matrix

    def modes(self, tau: float, c: Array, V: Array) -> Array:
        """The Jacobian's diagonal in the basis V, second and third order included."""
        _, D, _ = self.derivatives(tau, self.L @ c)
        h = self.eta * (D @ (self.L @ V) ** 2)
        result: Array = np.exp(tau) * (h * (1.0 + h * (0.5 + h / 3.0)))
        return result


def eigenvectors(H: Array, h: float) -> Array:
    """Orthonormal V with V^T H V near diagonal, each entry relative to its row and its column.

    Where one part of the data converges and another one diverges, H has entries of 1e300 beside entries of 1: Jacobi's
    rotations keep them apart where LAPACK mixes them.
    """
    sizes = np.diag(H)
    if np.all(1e8 * np.maximum(sizes, 1.0) > sizes.max(initial=0.0)):
        return np.asarray(np.linalg.eigh(H)[1])
    H, V = H.copy(), np.eye(len(H))
    for _ in range(_SWEEPS):
        quiet = True
        for i in range(len(H)):
            for j in range(i):
                a, b, off = H[i, i], H[j, j], H[i, j]
                if abs(off) <= _OFF_DIAGONAL * np.sqrt(a + 1.0 / h) * np.sqrt(b + 1.0 / h):
                    continue
                quiet = False
                ratio = (b - a) / (2.0 * off)
                t = np.copysign(1.0, ratio) / (abs(ratio) + np.hypot(1.0, ratio))
                cosine = 1.0 / np.hypot(1.0, t)
                rotation = np.array([[cosine, t * cosine], [-t * cosine, cosine]])
                pair = [i, j]
                H[pair] = rotation.T @ H[pair]
                H[:, pair] = H[:, pair] @ rotation
                V[:, pair] = V[:, pair] @ rotation
        if quiet:
            break
    return V


def step(flow: Flow, tau: float, c: Array, slope: Array, h: float) -> tuple[Array, float, float]:
    """Values (stages + 1, r) of the collocation polynomial on [tau, tau + h], its tail, and rounding seen in it.

    Both are relative to ||w||; the tail is infinite where Newton's iteration does not converge.
    """
    x, derivative, coefficients = collocation()
    times = tau + h * x
    values = c + np.outer(h * x, slope)
    V = eigenvectors(flow.curvature(tau, c), h)
    scale = max(float(np.sqrt(np.sum(c * c) + np.sum(flow.origin**2))), flow.least_norm)
    previous, stalled, matrices = np.inf, 0, np.empty(0)
    for iteration in range(_ITERATIONS):
        if iteration in (0, 2, 5):  # the first values are only a straight line
            modes = np.stack([flow.modes(t, value, V) for t, value in zip(times[1:], values[1:], strict=True)])
            matrices = derivative[None, 1:, 1:] / h + modes.T[:, :, None] * np.eye(STAGES)
        velocities = np.stack([flow.velocity(t, value) for t, value in zip(times[1:], values[1:], strict=True)])
        residual = (derivative[1:] @ (values - c)) / h - velocities
        change = np.linalg.solve(matrices, (residual @ V).T[..., None])[..., 0].T @ V.T
        values[1:] -= change
        size = float(np.abs(change).max(initial=0.0)) / scale
        if not np.isfinite(size) or (iteration > 3 and size > max(2.0 * previous, _NOISE)):
            break
        stalled = stalled + 1 if size > 0.7 * previous else 0
        if size < _CONVERGED or (stalled > 1 and size < _NOISE):
            tail = np.abs(coefficients[-2:] @ (values - c)).max(axis=0)
            return values, float(np.linalg.norm(tail)) / scale, size
        previous = size
    return values, np.inf, 0.0


def solve(flow: Flow, terms: int, begin: float, w: Array, times: Array) -> Array:
    """The flow of 3 or 4 terms from w at t = begin, at the later times (k,): coefficients (k, d).

    There are fewer of them where the solver cannot go on.
    """
    flow.terms = terms
    _, derivative, coefficients = collocation()
    tau, c = np.log(begin), flow.Q.T @ w
    targets = np.log(times)
    path = np.empty((len(times), len(w)))
    done, h, turn, rejected = 0, 0.25, 0, 0
    seen, refused = 0.0, np.inf  # rounding: in Newton's iteration, or a tail that a shorter step does not make smaller
    slope = flow.velocity(tau, c)
    while done < len(times) and turn < _TURNS and rejected < _REJECTIONS:
        turn += 1
        h = min(h, (targets[-1] - tau) * (1.0 + 1e-15))
        values, tail, rounding = step(flow, tau, c, slope, h)
        seen = max(0.9 * seen, rounding, tail / 20.0 if refused / 2.0 < tail < _NOISE else 0.0)
        tolerance = max(_TAIL, 20.0 * seen)
        if not tail <= tolerance:
            refused = tail
            h *= max(0.2, 0.8 * (tolerance / tail) ** (1.0 / STAGES)) if np.isfinite(tail) else 0.3
            rejected += 1
            continue
        rejected, refused = 0, np.inf
        end = tau + h
        while done < len(times) and targets[done] <= end:
            share = 2.0 * (targets[done] - tau) / h - 1.0
            weights = legendre.legvander(np.array([share]), STAGES)[0] @ coefficients
            path[done] = flow.origin + flow.Q @ (c + weights @ (values - c))
            done += 1
        slope = derivative[-1] @ (values - c) / h
        tau, c = end, values[-1]
        h *= min(2.0, 0.9 * (tolerance / max(tail, 1e-300)) ** (1.0 / STAGES))
    return path[:done]


def continued(iterates: Any, steps: Array, rtol: float, report: Callable[[float], None]) -> tuple[Array, Array]:
    """Iterates (t, d) and their estimated relative error (t,)."""
    n, d = iterates.Z.shape
    budget = min(_LONGEST, max(2.0**14, _FLOPS / max(4.0 * n * min(n, d), 1.0)))
    path, error = np.full((len(steps), d), np.nan), np.zeros(len(steps))
    done, count, before = 0, _FIRST, None
    target = max(1e-3 * rtol, FLOOR / 2.0)
    flow = None
    while True:
        while done < len(steps) and steps[done] <= count:
            iterates.advance(steps[done])
            path[done], error[done] = iterates.w, 0.0
            done += 1
        if done == len(steps):
            return path, error
        iterates.advance(count)
        report(0.9 * count / budget)
        if not np.isfinite(iterates.w).all():
            path[done:], error[done:] = np.nan, 0.0
            return path, error
        flow = Flow(iterates) if flow is None else flow
        # What the flow does wrong from here on is an eighth of what it did in the last half of the steps, or less.
        if before is not None and (defect(flow, count, before, iterates.w) / 4.0 <= target or count >= budget):
            path[done:], error[done:] = follow(flow, count, before, iterates.w, steps[done:])
            if (error <= rtol).all() or np.isinf(error).any() or count >= budget:
                return path, error
        before = iterates.w.copy()
        count *= 2


def defect(flow: Flow, count: int, before: Array, now: Array) -> float:
    """Relative error of the flow over the last half of the steps."""
    path = solve(flow, 3, count / 2, before, np.array([float(count)]))
    return float(distance(flow, now, path[0])) if len(path) else np.inf


def distance(flow: Flow, a: Array, b: Array) -> Array:
    """Relative distances of points on the last axis."""
    size = np.maximum(np.linalg.norm(a, axis=-1), flow.least_norm)
    return np.asarray(np.linalg.norm(a - b, axis=-1) / size)


def follow(flow: Flow, count: int, before: Array, now: Array, times: Array) -> tuple[Array, Array]:
    """The flow from `now`, and its error: the difference from one of a term more that started at half the steps.

    NaN and infinite where the solver could not go on.
    """
    path, error = np.full((len(times), len(now)), np.nan), np.full(len(times), np.inf)
    found = solve(flow, 3, float(count), now, times)
    path[: len(found)] = found
    other = solve(flow, 4, count / 2, before, times[: len(found)])
    error[: len(other)] = np.maximum(FLOOR, 1.5 * distance(flow, path[: len(other)], other))
    return path, error
