"""Result of a study, and how it is saved: all files or none."""

from __future__ import annotations

import io
import json
import math
import os
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, eq=False)
class StudyResult:
    """What a study measured.

    Attributes
    ----------
    claim : str
        Name of the study.
    parameters : mapping
        Every parameter as used, defaults included.
    curves : mapping of str to array
        The measured curves and their axes; the study's docstring gives names and shapes.
    theory : mapping of str to array, or None
        The closed forms on the same axes; None where none applies.
    numbers : mapping
        The figures that the claim rests on.
    report : mapping
        Version of genkern, state of the backends, seconds by stage.
    table : str
        The numbers as a short table.
    """

    claim: str
    parameters: Mapping[str, Any]
    curves: Mapping[str, Array]
    theory: Mapping[str, Array] | None
    numbers: Mapping[str, Any]
    report: Mapping[str, Any]
    table: str = field(repr=False)
    draw: Callable[[StudyResult], Any] = field(repr=False)

    def plot(self) -> Any:
        """Draw the study; returns a `matplotlib.figure.Figure` (needs the extra ``genkern[plot]``)."""
        return self.draw(self)

    def summary(self) -> dict[str, Any]:
        """Everything but the curves, ready for JSON (NaN and infinities become None)."""
        parts = {"claim": self.claim, "parameters": self.parameters, "numbers": self.numbers, **self.report}
        plain: dict[str, Any] = _plain(parts)
        return plain

    def save(self, out: str | os.PathLike[str]) -> None:
        """Write ``figure.png``, ``results.npz`` and ``summary.json`` to the folder `out`, which is made if need be.

        All three are first written in full under other names; an error leaves the folder as it was.

        Raises
        ------
        OSError
            The folder cannot be written to; one line says which and why.
        ImportError
            matplotlib is not installed.
        """
        folder = prepare(out)
        arrays = dict(self.curves) | {f"theory_{name}": value for name, value in (self.theory or {}).items()}
        packed = io.BytesIO()
        np.savez_compressed(packed, allow_pickle=False, **arrays)
        image = io.BytesIO()
        self.plot().savefig(image, format="png", dpi=300)
        text = json.dumps(self.summary(), indent=2, allow_nan=False) + "\n"
        write_all(
            folder,
            {"figure.png": image.getvalue(), "results.npz": packed.getvalue(), "summary.json": text.encode()},
        )


def prepare(out: str | os.PathLike[str]) -> Path:
    """Make the folder; raise now, not after a long run, if it cannot be written to."""
    folder = Path(out)
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".genkern-{secrets.token_hex(4)}"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        for path in made:
            if path.is_dir():
                path.rmdir()
        raise OSError(error.errno, f"cannot write to {folder}: {error.strerror or error}") from error
    return folder


def write_all(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write all files or none: each in full beside its place, then all renamed."""
    token = secrets.token_hex(4)
    staged = {folder / name: folder / f".{name}.{token}" for name in files}
    try:
        for (target, stage), data in zip(staged.items(), files.values(), strict=True):
            if target.is_dir():
                raise OSError(f"{target.name} is a folder")
            with open(stage, "wb") as handle:
                handle.write(data)
                handle.flush()
                os.fsync(handle.fileno())
        for target, stage in staged.items():
            os.replace(stage, target)
    except OSError as error:
        raise OSError(error.errno, f"cannot save to {folder}: {error.strerror or error}") from error
    finally:
        for stage in staged.values():
            stage.unlink(missing_ok=True)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, (list, tuple, range)):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
