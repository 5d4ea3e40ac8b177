"""Streams depend on their name and nothing else."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ntkbench.seeding import rng

PINNED = 793361002011761680

axes = st.lists(st.one_of(st.integers(-5, 1000), st.text(max_size=6)), max_size=4)


@given(st.integers(0, 2**63), axes)
def test_equal_names_give_equal_streams(root: int, names: list[int | str]) -> None:
    first, second = rng(root, *names).standard_normal(5), rng(root, *names).standard_normal(5)
    np.testing.assert_array_equal(first, second)


@given(st.integers(0, 2**63), axes, axes)
def test_different_names_give_different_streams(root: int, one: list[int | str], two: list[int | str]) -> None:
    # The separator is part of no name in this project: "a/str:b" and "a", "b" would share a stream.
    if one != two and not any("/" in name for name in (*one, *two) if isinstance(name, str)):
        assert (rng(root, *one).standard_normal(5) != rng(root, *two).standard_normal(5)).all()


def test_a_number_and_its_text_are_different_names() -> None:
    assert rng(0, 1).integers(2**62) != rng(0, "1").integers(2**62)


def test_roots_give_different_streams() -> None:
    draws = {int(rng(root, "parameters").integers(2**62)) for root in range(100)}
    assert len(draws) == 100


def test_the_global_generator_is_neither_read_nor_moved() -> None:
    np.random.seed(1)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    one = rng(3, "a").standard_normal(4)
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002
    np.random.seed(2)  # noqa: NPY002
    np.testing.assert_array_equal(one, rng(3, "a").standard_normal(4))


def test_the_stream_is_pinned() -> None:
    """A published study stays reproducible only while these numbers stay what they are."""
    assert rng(20190918, "parameters", "width", 256, "seed", 3).integers(2**62) == PINNED


@pytest.mark.parametrize("root", [-1, 0.5, True, "0"])
def test_roots_that_are_no_integers_are_refused(root: Any) -> None:
    with pytest.raises(ValueError, match="non-negative integer"):
        rng(root, "a")


@pytest.mark.parametrize("axis", [1.0, True, None, b"a"])
def test_names_are_text_and_integers(axis: Any) -> None:
    with pytest.raises(ValueError, match="text and integers"):
        rng(0, axis)


def test_names_of_numpy_and_of_python_are_the_same() -> None:
    assert rng(np.int64(2), np.int32(-3), np.str_("a")).integers(2**62) == rng(2, -3, "a").integers(2**62)
