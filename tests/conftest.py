"""What every test file shares: the backends, and the warnings that are no errors."""

import os

import pytest

from genkern import _registry

# Interpreters that tests start must find the genkern under test too, and not the checkout in their working directory.
os.environ["PYTHONSAFEPATH"] = "1"

BACKENDS = ("reference", "cpp", "numba")


@pytest.fixture(params=BACKENDS)
def backend(request):
    """Every backend in turn. A missing one is a visible skip, a failure where GENKERN_TEST_BACKENDS names it.

    A backend that runs but lacks the function under test is neither: the test fails.
    """
    reason = _registry.unavailable(request.param)
    if reason is not None:
        if request.param in os.environ.get("GENKERN_TEST_BACKENDS", "").split(","):
            pytest.fail(f"GENKERN_TEST_BACKENDS asks for {request.param}, but {reason}")
        pytest.skip(f"{request.param}: {reason}")
    return request.param
