"""Rooflines by hand, and the meter of memory; part of the ordinary tests."""

import numpy as np
import pytest

from ntkbench.performance import memory
from tests.performance import products
from tests.performance.clock import Clock
from tests.performance.primitives import PRIMITIVES
from tests.performance.workloads import dense, images


def test_a_dense_ntk_by_hand() -> None:
    n, m, d = 6, 7, 3
    forward, backward = d * m + m * m + m, m * m
    gram = (d + m) + (m + m) + m
    assert products.flops(products.ntk(dense(n, m, 2, d))) == 2 * n * (forward + backward) + n**2 * gram


def test_a_trace_pairs_no_two_outputs() -> None:
    w = dense(6, 7, 2, 3, outputs=4)
    saved = products.flops(products.ntk(w, "full")) - products.flops(products.ntk(w, "trace"))
    assert saved == 6**2 * (2 * 7) * (4**2 - 4)


def test_a_symmetric_kernel_is_one_triangle() -> None:
    """Of images, the readout's inputs, and gradients or pairs of positions; of limiting kernels, the inputs."""
    few, many = (images(n=8, side=side, channels=1, width=4, depth=1) for side in (1, 16))
    assert products.ntk(few)[-3:] == [(1, 8, 4, 4), (1, 8, 9, 4), (1, 8, 4, 4)]
    assert products.ntk(many)[-3:] == [(1, 8, 1024, 4), (8, 4, 256, 9), (1, 8, 36, 4)]
    assert products.limiting(dense(8, 1, d=5)) == [(1, 8, 5, 4)]
    assert products.limiting(images(8, 3, 2, 1)) == [(9, 8, 2, 4)]
    assert products.limiting(images(8, 3, 2, 1, readout="global_average")) == [(1, 72, 2, 36)]


def test_convolutions_take_the_cheaper_route() -> None:
    few, many = (products.ntk(images(n=8, side=side, channels=1, width=4, depth=1)) for side in (1, 16))
    assert (1, 8, 4, 4) in few
    assert (8, 4, 256, 9) in many


@pytest.mark.parametrize("primitive", PRIMITIVES, ids=str)
def test_shapes_are_whole_and_names_are_unique(primitive: object) -> None:
    shapes = primitive.products  # type: ignore[attr-defined]
    assert all(len(shape) == 4 and all(isinstance(k, int) and k >= 1 for k in shape) for shape in shapes)
    assert [str(other) for other in PRIMITIVES].count(str(primitive)) == 1


def test_a_round_repeats_short_calls_and_work_adds_to_it() -> None:
    done: list[int] = []
    clock = Clock(lambda: done.append(1))
    clock.calibrate()
    assert clock.calls % 2 == 0
    done.clear()
    clock.repeat(1.5)
    assert len(done) == 1.5 * clock.calls


@pytest.mark.skipif(
    not (memory.PROCESS / "clear_refs").exists(), reason="the peak of resident memory is reset through Linux's /proc"
)
def test_temporaries_count_towards_the_peak() -> None:
    raised = memory.growth(lambda: np.ones(2**23).sum())
    assert raised is not None
    assert 60 < raised / 2**20 < 80
