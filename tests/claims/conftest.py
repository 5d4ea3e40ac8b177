"""A claim sees a backend through its contract only, and that backends agree is tested elsewhere: one of them is enough here."""

import pytest

from ntkbench.backends import Backend, load


@pytest.fixture(scope="session")
def backend() -> Backend:
    return load("torch", device="cpu", threads=1)
