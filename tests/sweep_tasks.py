"""Tasks of the sweep tests, in a module that worker processes can import."""

import os
import time

import numpy as np

import genkern


def plain(n, seed):
    rng = np.random.default_rng([n, seed])
    return {
        "mean": float(rng.normal(size=n).mean()),
        "values": rng.normal(size=3),
        "name": f"{n}-{seed}",
        "even": n % 2 == 0,
    }


def tiny(i):
    return {"square": i * i}


def busy(i, work=20000):
    total = 0
    for k in range(work):
        total += k * i
    return {"total": total}


def fit(n, d, seed):
    problem = genkern.problems.gaussian(n, d, seed=seed)
    return {"coef": genkern.lstsq(problem.X, problem.y).coef}


def mixed(i):
    if i == 1:
        raise ValueError("one is bad")
    if i == 2:
        return {"x": float("nan")}
    if i == 3:
        time.sleep(60)
    if i == 4:
        os.kill(os.getpid(), 9)
    if i == 5:
        return [1, 2]
    return {"x": float(i)}
