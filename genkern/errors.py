"""Exceptions of genkern. Bad arguments raise ``ValueError`` or ``TypeError``; bad *data* becomes a ``status``."""


class GenkernError(Exception):
    """Base of the exceptions below."""


class BackendUnavailable(GenkernError):
    """The requested backend cannot run here; the message says why."""


class DeviceMismatch(GenkernError):
    """The arrays of one call live on different devices."""


class StoreMismatch(GenkernError):
    """A store belongs to another task, version or parameter set."""


class CellFailed(GenkernError):
    """A cell of a sweep failed, and the sweep was to end then."""
