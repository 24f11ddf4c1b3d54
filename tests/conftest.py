"""What every test file shares: the backends, and the warnings that are no errors."""

import os

import pytest

from genkern import _registry

# Interpreters that tests start must find the genkern under test too, and not the checkout in their working directory.
os.environ["PYTHONSAFEPATH"] = "1"

BACKENDS = ("reference", "cpp", "numba")


def require(name):
    """Skip the test where a backend is missing, visibly; fail it where GENKERN_TEST_BACKENDS names the backend."""
    reason = _registry.unavailable(name)
    if reason is not None:
        if name in os.environ.get("GENKERN_TEST_BACKENDS", "").split(","):
            pytest.fail(f"GENKERN_TEST_BACKENDS asks for {name}, but {reason}")
        pytest.skip(f"{name}: {reason}")


@pytest.fixture(params=BACKENDS)
def backend(request):
    """Every backend in turn. One that runs but lacks the function under test is no skip: the test fails."""
    require(request.param)
    return request.param


@pytest.fixture
def native():
    """The compiled module itself."""
    require("cpp")
    from genkern import _native

    return _native
