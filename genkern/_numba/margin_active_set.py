"""The dual active-set method of Goldfarb and Idnani (1983) for one hard-margin problem, compiled by Numba."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from genkern._numba._driver import jit
from genkern._numba.margin_factor import add, copy, dot, equality, project, remove, solve

Array = np.ndarray[Any, Any]
EPS = 2.0**-52
DEPENDENT = 64 * EPS  # distance from the span of the active points, relative to the terms of the sum
LIST, SHARE = 32, 0.3  # see csrc/cpu/margin_active_set.inc
SOLVED, CERTIFICATE, UNDECIDED = 0, 1, 2


@jit
def slack(z: Array, w: Array, value: float, norms: float, precise: bool) -> float:
    """What the margin `value` of z misses, 0 where that may be rounding; `norms` is ``||z|| ||w||``."""
    terms = norms
    if precise:
        terms = 0.0
        for j in range(len(z)):
            terms += abs(z[j] * w[j])
    return 1.0 - value if 1.0 - value > 8 * EPS * (1.0 + terms) else 0.0


@jit
def listing(
    Z: Array, norms: Array, closed: Array, w: Array, w_norm: float, precise: bool, candidates: Array, score: Array
) -> int:
    """The most violated points in order, by distance from their half spaces; returns how many."""
    listed, worst = 0, 0.0
    for i in range(len(Z)):
        value = dot(Z[i], w)
        own = (1.0 - value) / max(norms[i], 1e-300)
        if not own > worst or closed[i] or slack(Z[i], w, value, norms[i] * w_norm, precise) == 0.0:
            continue
        place = listed if listed < LIST else LIST - 1
        listed = min(listed + 1, LIST)
        while place > 0 and score[place - 1] < own:
            score[place], candidates[place] = score[place - 1], candidates[place - 1]
            place -= 1
        score[place], candidates[place] = own, i
        worst = score[LIST - 1] if listed == LIST else 0.0
    return listed


@jit
def candidate(
    Z: Array, norms: Array, closed: Array, w: Array, w_norm: float, precise: bool, candidates: Array, score: Array,
    state: Array,
) -> int:  # fmt: skip
    """The point that enters, -1 if none is violated; `state` has the length of the list and its largest violation."""
    fresh = False
    while True:
        if fresh:
            state[0] = listing(Z, norms, closed, w, w_norm, precise, candidates, score)
            state[1] = score[0]
        kept, best, chosen = 0, 0.0, -1
        for q in range(int(state[0])):
            i = candidates[q]
            missing = slack(Z[i], w, dot(Z[i], w), norms[i] * w_norm, precise)
            if missing == 0.0 or closed[i]:
                continue
            candidates[kept] = i
            kept += 1
            if missing / max(norms[i], 1e-300) > best:
                best, chosen = missing / max(norms[i], 1e-300), i
        state[0] = kept
        if fresh or (chosen >= 0 and best >= SHARE * state[1]):
            return chosen
        fresh = True


@jit
def run(Z: Array, norms: Array, max_iter: int, w: Array, a: Array, rows: Array, Q: Array, R: Array) -> tuple[int, int]:
    """Leaves w, a and rows (s), or a certificate in a and rows (s + 1); returns the outcome and s."""
    n, d = Z.shape
    most = min(n, d)
    c, r, u = np.zeros(most + 1), np.zeros(most + 1), np.zeros(d)
    closed = np.zeros(n, np.uint8)  # 1 active, 2 no progress with it: left out until there is some
    candidates, score, state = np.zeros(LIST, np.int64), np.zeros(LIST), np.zeros(2)
    s, steps, precise, settled, w_norm = 0, 0, False, False, 0.0
    for j in range(d):
        w[j] = 0.0
    while steps < max_iter:
        enters = candidate(Z, norms, closed, w, w_norm, precise, candidates, score, state)
        if enters < 0:
            settled = precise or s == 0
            if settled:
                break
            precise = True  # once more, with a better w and a finer sieve
            equality(Z, rows, Q, R, s, w, a)
            w_norm = math.sqrt(dot(w, w))
            continue
        violation, multiplier = 1.0 - dot(Z[enters], w), 0.0
        length = project(Q, s, Z[enters], c, u)
        while True:
            copy(c, r, s)
            solve(R, s, r)
            terms, partial, leaves = norms[enters], math.inf, -1
            for k in range(s):
                terms += abs(r[k]) * norms[rows[k]]
                if r[k] > 0.0 and a[k] < partial * r[k]:
                    partial, leaves = a[k] / r[k], k
            dependent = s == most or not math.sqrt(length) > DEPENDENT * terms
            full = math.inf if dependent else violation / length
            if full == math.inf and leaves < 0:
                if violation < 0.5:  # z = sum r_j z_j with r <= 0 has margin 0 or less; this is rounding
                    closed[enters] = 2
                    break
                for k in range(s):
                    a[k] = -r[k]
                a[s], rows[s] = 1.0, enters
                return CERTIFICATE, s
            steps += 1
            t = min(full, partial)
            for k in range(s):
                a[k] = max(a[k] - t * r[k], 0.0)
            multiplier += t
            if not dependent:
                add(t, u, w, d)
                violation -= t * length
            if full <= partial:
                copy(c, R[s], s)
                R[s, s] = math.sqrt(length)
                for j in range(d):
                    Q[s, j] = u[j] / R[s, s]
                rows[s], closed[enters], a[s] = enters, 1, multiplier
                s += 1
                before = w_norm
                if precise:
                    equality(Z, rows, Q, R, s, w, a)
                w_norm = math.sqrt(dot(w, w))
                if w_norm > before * (1.0 + 2 * EPS):
                    for i in range(n):
                        closed[i] &= 1
                else:
                    closed[enters] |= 2
                break
            closed[rows[leaves]] &= 2
            for k in range(leaves, s - 1):
                rows[k], a[k] = rows[k + 1], a[k + 1]
            remove(Q, R, s, leaves, c, u)
            s -= 1
            length = dot(u, u)
    if not settled:
        equality(Z, rows, Q, R, s, w, a)
    return SOLVED, s
