"""Figures are composed and drawn within their style."""

from collections.abc import Iterator

import pytest

from ntkbench.figures import style


@pytest.fixture(autouse=True)
def _styled() -> Iterator[None]:
    with style.style():
        yield
