"""Hard margins: genkern and the QP solvers that a user would call instead, on real data.

The peers are values of `backend`. Each is a function Z -> coef of one problem, Z (n, d) the rows y_i x_i; a user loops
over a batch. float64 only: the peers know nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import genkern
from genkern import problems

from .common import THREADS, finished, host, median_seconds, place, set_threads

Array = np.ndarray[Any, Any]
DATA = ("digits-01", "digits-38", "digits-49", "breast-cancer")
ITEMS = 1000  # of a batch, each four fifths of the points in a random order


def problem(name: str) -> tuple[Array, Array]:
    """X (n, d) with a bias column, y (n). Frozen: other data makes old timings incomparable."""
    if name == "breast-cancer":
        try:
            from sklearn.datasets import load_breast_cancer
        except ImportError as error:
            raise NotImplementedError(f"the data comes with scikit-learn: {error}") from error
        X, y = load_breast_cancer(return_X_y=True)
        X, y = (X - X.mean(axis=0)) / X.std(axis=0), np.where(y > 0, 1.0, -1.0)
    else:
        images = problems.digits(n_train=1797, n_test=0, targets="labels")
        first, second = int(name[-2]), int(name[-1])
        chosen = np.isin(images.y, (first, second))
        X, y = images.X[chosen], np.where(images.y[chosen] == first, 1.0, -1.0)
    return np.column_stack([X, np.ones(len(y))]), y


def batch(name: str, items: int = ITEMS) -> tuple[Array, Array]:
    """`items` problems of one data set."""
    X, y = problem(name)
    rng = np.random.Generator(np.random.PCG64([20261124, len(y)]))
    rows = np.stack([rng.permutation(len(y))[: len(y) * 4 // 5] for _ in range(items)])
    return X[rows], y[rows]


def _daqp(Z: Array) -> Array:
    import daqp

    n, d = Z.shape
    sense = np.zeros(n, np.int32)
    return np.asarray(daqp.solve(np.eye(d), np.zeros(d), Z, np.full(n, 1e30), np.ones(n), sense)[0])


def _quadprog(Z: Array) -> Array:
    import quadprog

    n, d = Z.shape
    return np.asarray(quadprog.solve_qp(np.eye(d), np.zeros(d), Z.T, np.ones(n))[0])


def _nnls(Z: Array) -> Array:
    from scipy.optimize import nnls

    n, d = Z.shape
    A, b = np.vstack([Z.T, np.ones(n)]), np.r_[np.zeros(d), 1.0]
    residual = b - A @ nnls(A, b)[0]
    return np.asarray(-residual[:d] / residual[d])


PEERS: dict[str, Callable[[Array], Array]] = {"daqp": _daqp, "quadprog": _quadprog, "scipy-nnls": _nnls}
OURS = ("cpp", "numba", "reference", "cupy")
BACKENDS = [*OURS, *PEERS]


class _Margin:
    timeout = 120.0
    repeat = (3, 7, 5.0)
    warmup_time = 0.2

    def prepare(self, X: Array, y: Array, backend: str) -> None:
        """One problem or a batch of them, for a call that returns coef."""
        self.X, self.y = X, y
        if backend in PEERS:
            Z = y[..., None] * X
            solve = PEERS[backend]
            self.call = (lambda: solve(Z)) if Z.ndim == 2 else (lambda: np.stack([solve(item) for item in Z]))
        else:
            self.call = lambda: genkern.max_margin(X, y, backend=backend, n_threads=THREADS).coef
        try:
            if backend == "cupy":
                points, labels = place(backend, X, y)
                self.call = finished(backend, lambda: genkern.max_margin(points, labels).coef)
            self.call()
        except (ImportError, genkern.errors.BackendUnavailable) as error:
            raise NotImplementedError(f"{backend}: {error}") from error
        set_threads(THREADS)

    def error(self) -> float:
        """Relative error of the first problem, against the definition, whose gap proves it."""
        first = (0,) * (self.X.ndim - 2)
        exact = genkern.max_margin(self.X[first], self.y[first], backend="reference").coef
        return float(np.linalg.norm(host(self.call())[first] - exact) / np.linalg.norm(exact))

    def track_error(self, data: str, backend: str) -> float:
        return self.error()


class MaxMargin(_Margin):
    """One problem."""

    params = (list(DATA), BACKENDS)
    param_names = ("data", "backend")

    def setup(self, data: str, backend: str) -> None:
        self.prepare(*problem(data), backend)

    def time_max_margin(self, data: str, backend: str) -> None:
        self.call()

    def track_ns_per_problem(self, data: str, backend: str) -> float:
        return median_seconds(self.call) * 1e9


class MaxMarginBatch(_Margin):
    """A batch of ITEMS problems."""

    params = (list(DATA), BACKENDS)
    param_names = ("data", "backend")

    def setup(self, data: str, backend: str) -> None:
        if backend == "reference":
            raise NotImplementedError("the reference is not made for this size")
        self.prepare(*batch(data), backend)

    def time_max_margin(self, data: str, backend: str) -> None:
        self.call()

    def track_ns_per_problem(self, data: str, backend: str) -> float:
        return median_seconds(self.call) * 1e9 / ITEMS


for _class in (MaxMargin, MaxMarginBatch):
    _class.track_ns_per_problem.unit = "ns"  # type: ignore[attr-defined]
    _class.track_error.unit = "relative error"  # type: ignore[attr-defined]
del _class  # a second name would make report.py measure the class twice
