"""A measured risk curve: arrays with named axes, ways to look at them, and a file that runs no code when loaded."""

from __future__ import annotations

import contextlib
import io
import os
import secrets
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from genkern import _arrays, _checks

Array = np.ndarray[Any, Any]

# Axes that each measured array has beyond the batch: s seeds, r ridges, t values, k targets.
_AXES = {
    "train_risk": "srtk",
    "test_risk": "srtk",
    "coef_norm": "srtk",
    "test_error": "srt",
    "bias": "srtk",
    "variance": "srtk",
    "method": "srt",
    "error": "srt",
    "threshold": "s",
}
_OPTIONAL = ("test_error", "bias", "variance", "threshold", "seeds", "ridges")
_FORMAT = "genkern risk curve 1"


@dataclass(frozen=True, eq=False)
class RiskCurve:
    """Risks along one axis: the width, the number of samples, the ridge or the number of steps.

    Arrays are of the caller's library, `method` and `values` always NumPy's, as is what the methods below make of them.
    The axes of the measured arrays are
    ``(..., [s,] [r,] t[, k])``: batch, seeds (if a sequence was given), ridges (if a sequence was given), the curve's
    own axis, targets (if y has the axis k).

    Attributes
    ----------
    axis : str
        "width", "samples", "ridge" or "step".
    values : array (t,)
        Where on the axis the curve was measured.
    train_risk, test_risk : array (..., [s,] [r,] t[, k])
        Mean over points of the squared error; with `noise`, the mean over draws of that. The penalty is no part of it.
        `train_risk` is exactly 0 where the features interpolate (full row rank, ridge 0).
    coef_norm : array (..., [s,] [r,] t[, k])
        Euclidean norm of the coefficients; with `noise`, the mean over draws.
    test_error : array (..., [s,] [r,] t) or None
        0-1 error, with ``classify=True``: share of test points whose largest output is not that of the largest target
        (one target: whose sign differs; an output of 0 is wrong unless the target is 0).
    bias, variance : array (..., [s,] [r,] t[, k]) or None
        With `noise`: ``mean_x (E_q f(x) - y_test)^2`` and ``mean_x Var_q f(x)`` (divisor q) over the q draws.
    method : array of str (..., [s,] [r,] t)
        Which algorithm solved each point; "" where the data was not finite.
    error : array (..., [s,] [r,] t)
        Estimated relative error of the test risk from rounding (the largest over targets and draws).
    threshold : array (..., [s]) or None
        First width (number of samples) at which the matrix has full row (column) rank; NaN if none up to the last.
    seeds : array (s,) or None
        The seeds, where they are an axis.
    ridges : array (r,) or None
        The ridges, where they are an axis.
    """

    axis: str
    values: Any
    train_risk: Any
    test_risk: Any
    coef_norm: Any
    test_error: Any
    bias: Any
    variance: Any
    method: Any
    error: Any
    threshold: Any
    seeds: Any = None
    ridges: Any = None

    def to_xarray(self) -> Any:
        """`xarray.Dataset` with labelled dimensions (needs the package xarray)."""
        try:
            import xarray
        except ImportError as error:
            raise ImportError(f"to_xarray needs xarray: pip install 'genkern[studies]' ({error})") from error
        variables = {name: (self._dimensions(name), value) for name, value in self._measured().items()}
        coordinates = {self.axis: self.values}
        if self.seeds is not None:
            coordinates["seed"] = self.seeds
        if self.ridges is not None:
            coordinates["ridge"] = self.ridges
        return xarray.Dataset(variables, coords=coordinates)

    def to_pandas(self) -> Any:
        """`pandas.DataFrame`, one row for each point of each curve (needs the packages pandas and xarray)."""
        try:
            import pandas  # noqa: F401
        except ImportError as error:
            raise ImportError(f"to_pandas needs pandas: pip install 'genkern[studies]' ({error})") from error
        return self.to_xarray().to_dataframe().reset_index()

    def quantiles(self, q: Any) -> dict[str, Array]:
        """Quantiles over seeds of every risk, error and norm.

        Parameters
        ----------
        q : float or sequence of float
            In [0, 1]. A sequence adds a leading axis.

        Returns
        -------
        dict of str to array
            "train_risk", "test_risk", "coef_norm" and, where measured, "test_error", "bias", "variance", without the
            axis of the seeds. Seeds that are NaN at a point are left out there.

        Raises
        ------
        ValueError
            The curve has no axis of seeds, or q is outside [0, 1].
        """
        if self.seeds is None or len(self.seeds) == 0:
            raise ValueError("quantiles need an axis of seeds: give seeds as a sequence, not an empty one")
        levels = _checks.nonnegative("q", q)
        _checks.at_most_one_axis("q", levels)
        if np.any(levels > 1):
            raise ValueError(f"q must be in [0, 1], got {levels[levels > 1].flat[0]}")
        found = {}
        for name in ("train_risk", "test_risk", "coef_norm", "test_error", "bias", "variance"):
            value = self._measured().get(name)
            if value is None:
                continue
            axis = self._dimensions(name).index("seed")
            bad = np.all(np.isnan(value), axis=axis, keepdims=True)
            quantile = np.nanquantile(np.where(bad, 0.0, value), levels, axis=axis)
            found[name] = np.where(np.squeeze(bad, axis=axis), np.nan, quantile)
        return found

    def plot(self, ax: Any = None) -> Any:
        """Draw test and train risk over the axis (needs matplotlib); returns the `matplotlib.axes.Axes`.

        Targets are summed. Seeds and batch axes become a median line with a band between the quartiles; each ridge
        is a line of its own. A vertical line marks the median threshold.
        """
        from genkern import plots

        return plots.risk_curve(self, ax)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the curve to an npz file (no pickle in it); an error leaves what was there before.

        Raises
        ------
        OSError
            The file cannot be written.
        """
        target = Path(path)
        stage = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
        arrays = {name: value for name, value in self._arrays().items() if value is not None}
        packed = io.BytesIO()  # NumPy's own writer leaves a half-open archive behind on a full disk
        np.savez_compressed(packed, allow_pickle=False, format=np.array(_FORMAT), **arrays)
        try:
            with open(stage, "wb") as handle:
                handle.write(packed.getbuffer())
                handle.flush()
                os.fsync(handle.fileno())
            os.replace(stage, target)
        except OSError as error:
            raise OSError(error.errno, f"cannot save to {target}: {error.strerror or error}") from error
        finally:
            with contextlib.suppress(OSError):  # there is none if all went well, or if it could not be made
                stage.unlink()

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> RiskCurve:
        """Read a curve that `save` has written, as NumPy arrays.

        Raises
        ------
        OSError
            The file cannot be read.
        ValueError
            It is not a saved curve, or damaged.
        """
        try:
            with open(path, "rb") as handle, np.load(handle, allow_pickle=False) as stored:
                if str(stored["format"]) != _FORMAT:
                    raise ValueError("another format")
                arrays: dict[str, Any] = {field.name: None for field in fields(cls)}
                for name in arrays:
                    if name in stored.files or name not in _OPTIONAL:
                        arrays[name] = stored[name]
            arrays["axis"] = str(arrays["axis"])
            return cls(**arrays)
        except OSError:
            raise
        except Exception as error:  # zipfile, zlib and NumPy each have their own
            raise ValueError(f"{path} is not a curve saved by genkern, or damaged ({error})") from error

    def _arrays(self) -> dict[str, Any]:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {
            name: value if value is None or isinstance(value, str) else _arrays.to_host(name, value)
            for name, value in values.items()
        }

    def _measured(self) -> dict[str, Array]:
        return {name: value for name, value in self._arrays().items() if name in _AXES and value is not None}

    def _dimensions(self, name: str) -> list[str]:
        """Names of the axes of a measured array."""
        method_axes = np.ndim(self.method)
        own = 1 + (self.seeds is not None) + (self.ridges is not None)
        batch = [f"batch_{i}" for i in range(method_axes - own)]
        targets = np.ndim(self.train_risk) > method_axes
        present = {"s": self.seeds is not None, "r": self.ridges is not None, "t": True, "k": targets}
        labels = {"s": "seed", "r": "ridge", "t": self.axis, "k": "target"}
        return batch + [labels[letter] for letter in _AXES[name] if present[letter]]
