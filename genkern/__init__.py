"""Compiled kernels of generalization theory."""

from genkern import errors
from genkern._registry import backends

__version__ = "0.1.0"

__all__ = ["__version__", "backends", "errors"]
