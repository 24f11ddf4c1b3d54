"""The problems on which the continuation of `logistic_path` has to prove itself.

They and their seeds were fixed before the solver existed and are never to be changed: a problem on which it fails, or
refuses, counts against it. Each is a pair (X, y) with the default step size of gradient descent from zero.
"""

import numpy as np

from genkern import problems


def random_labels(n, d, seed):
    """Gaussian inputs and coin-flip labels: separable more often than not while n < 2 d."""
    rng = np.random.default_rng([20261124, n, d, seed])
    return rng.standard_normal((n, d)), rng.choice([-1.0, 1.0], n)


def clouds(n, d, distance, seed):
    """Two Gaussian clouds whose centres are `distance` apart, and a column of ones."""
    rng = np.random.default_rng([20261124, n, d, seed])
    y = np.where(np.arange(n) % 2 == 0, 1.0, -1.0)
    X = rng.standard_normal((n, d))
    X[:, 0] += 0.5 * distance * y
    return np.column_stack([X, np.ones(n)]), y


def known_margin(n, d, margin, seed):
    p = problems.separable(n, d, margin=margin, seed=seed)
    return p.X, p.y


def scaled_columns(n, d, seed):
    """Separable, with columns whose scales span two decades."""
    X, y = known_margin(n, d, 1.0, seed)
    return X * np.logspace(-1, 1, d), y


def nearly_tied(excess, seed):
    """Support vectors of margin 1 along the first axis, and others whose margin is 1 + excess."""
    rng = np.random.default_rng([20261124, seed])
    across = rng.standard_normal((3, 3))
    support = np.concatenate([across, -across])
    along = np.array([1.0, 1.0, 1.0, 1.0, 1.0 + excess, 1.0 + 2 * excess])
    others = np.column_stack([2.0 + rng.random(6), rng.standard_normal((6, 3))])
    Z = np.concatenate([np.column_stack([along, support]), others])
    y = np.where(np.arange(len(Z)) % 2 == 0, 1.0, -1.0)
    return y[:, None] * Z, y


def digits(first, second, n):
    p = problems.digits(n_train=n, classes=[first, second], targets="signs")
    return np.column_stack([p.X, np.ones(n)]), p.y


def mixed(seed):
    """Two coordinates in which the data overlaps, and two in which the rest of it is separable."""
    rng = np.random.default_rng([20261124, seed])
    overlap = np.column_stack([rng.standard_normal((8, 2)), np.zeros((8, 2))])
    rest = np.column_stack([rng.standard_normal((6, 2)), 0.5 + rng.random(6), rng.standard_normal(6)])
    y = np.where(np.arange(14) % 2 == 0, 1.0, -1.0)
    return y[:, None] * np.concatenate([overlap, rest]), y


PROBLEMS = {
    "random labels 11x8": lambda: random_labels(11, 8, 1),
    "random labels 6x10": lambda: random_labels(6, 10, 2),
    "random labels 20x40": lambda: random_labels(20, 40, 3),
    "random labels 12x7": lambda: random_labels(12, 7, 4),
    "random labels 30x20": lambda: random_labels(30, 20, 5),
    "known margin 30x5": lambda: known_margin(30, 5, 1.0, 6),
    "known margin 32x8": lambda: known_margin(32, 8, 0.3, 7),
    "known margin 20x3": lambda: known_margin(20, 3, 2.0, 8),
    "known margin 15x6": lambda: known_margin(15, 6, 0.1, 9),
    "known margin 50x10": lambda: known_margin(50, 10, 0.5, 10),
    "known margin 8x16": lambda: known_margin(8, 16, 1.0, 11),
    "known margin 100x4": lambda: known_margin(100, 4, 0.2, 12),
    "clouds 24x3": lambda: clouds(24, 3, 6.0, 13),
    "clouds 16x5": lambda: clouds(16, 5, 5.0, 14),
    "clouds 40x2": lambda: clouds(40, 2, 8.0, 15),
    "clouds 12x20": lambda: clouds(12, 20, 1.0, 16),
    "clouds 60x6": lambda: clouds(60, 6, 7.0, 17),
    "scaled columns 20x6": lambda: scaled_columns(20, 6, 18),
    "scaled columns 40x4": lambda: scaled_columns(40, 4, 19),
    "scaled columns 10x12": lambda: scaled_columns(10, 12, 20),
    "soudry": lambda: (problems.soudry().X, problems.soudry().y),
    "nearly tied 1e-2": lambda: nearly_tied(1e-2, 21),
    "nearly tied 1e-4": lambda: nearly_tied(1e-4, 22),
    "digits 0/1": lambda: digits(0, 1, 360),
    "not separable 40x3": lambda: random_labels(40, 3, 23),
    "not separable 100x10": lambda: random_labels(100, 10, 24),
    "not separable clouds 60x4": lambda: clouds(60, 4, 1.5, 25),
    "not separable clouds 30x2": lambda: clouds(30, 2, 2.0, 26),
    "mixed a": lambda: mixed(27),
    "mixed b": lambda: mixed(28),
}
