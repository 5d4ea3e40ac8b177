import copy
import math
from collections.abc import Callable
from dataclasses import asdict, fields
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ntkbench.crosscheck import TOLERANCES, CrosscheckRow, StructureMismatch, compare
from ntkbench.tables import COLUMNS

Arrays = dict[int, dict[str, np.ndarray]]

SEEDS, TIMES, POINTS = 4, 3, 5


def measured() -> Arrays:
    """A measurement with the shapes that occur: square and rectangular K2, K4, trajectories, a seedless limit, counts."""
    draw = np.random.default_rng(0)
    return {
        width: {
            "K2": draw.standard_normal((SEEDS, POINTS, POINTS)),
            "K2_test": draw.standard_normal((SEEDS, POINTS, POINTS + 2)),
            "K4": draw.standard_normal((SEEDS, POINTS, POINTS, POINTS, POINTS)),
            "f": draw.standard_normal((SEEDS, TIMES, POINTS, 1)),
            "K2_limit": draw.standard_normal((POINTS, POINTS)),
            "steps": draw.integers(1, 100, (SEEDS,)),
        }
        for width in (16, 64)
    }


def rows(
    first: Arrays, second: Arrays, growth: dict[str, float] | None = None, precision: str = "float64", device: str = "cpu"
) -> dict[str, CrosscheckRow]:
    compared = compare(first, second, growth or {}, precision, device, claim="family/some", case="plain")
    assert [r.quantity for r in compared] == sorted(first[16])
    return {r.quantity: r for r in compared}


def test_columns_are_those_of_the_table() -> None:
    assert [f.name for f in fields(CrosscheckRow)] == list(COLUMNS["crosscheck"])


def test_equal_measurements_agree_exactly() -> None:
    for row in rows(measured(), measured()).values():
        assert asdict(row) == {
            "claim": "family/some", "case": "plain", "quantity": row.quantity, "max_abs": 0.0, "max_rel": 0.0,
            "allowed": 1e-10, "agrees": True,
        }  # fmt: skip


def test_rounding_passes() -> None:
    second = measured()
    for arrays in second.values():
        for name in set(arrays) - {"steps"}:
            arrays[name] = arrays[name] * (1 + 1e-14 * np.random.default_rng(1).uniform(-1, 1, arrays[name].shape))
    compared = rows(measured(), second)
    assert all(r.agrees for r in compared.values())
    assert 0 < compared["K2"].max_rel < 2e-14


def change_one(arrays: Arrays) -> None:
    arrays[64]["K2"][2, 3, 1] += 1e-8


def transpose(arrays: Arrays) -> None:
    arrays[16]["K2"] = arrays[16]["K2"].swapaxes(1, 2)


def transpose_limit(arrays: Arrays) -> None:
    arrays[64]["K2_limit"] = arrays[64]["K2_limit"].T


def swap_indices_of_k4(arrays: Arrays) -> None:
    arrays[64]["K4"] = arrays[64]["K4"].swapaxes(3, 4)


def swap_seeds(arrays: Arrays) -> None:
    arrays[64]["f"] = arrays[64]["f"][[1, 0, 2, 3]]


def swap_seeds_everywhere(arrays: Arrays) -> None:
    for of_width in arrays.values():
        for name in set(of_width) - {"K2_limit"}:
            of_width[name] = of_width[name][::-1]


def swap_times(arrays: Arrays) -> None:
    arrays[16]["f"] = arrays[16]["f"][:, ::-1]


def through_float32(arrays: Arrays) -> None:
    arrays[16]["K2"] = arrays[16]["K2"].astype(np.float32).astype(np.float64)


def flip_a_sign(arrays: Arrays) -> None:
    arrays[16]["K2_test"][0, 0, 0] *= -1


def count_one_more(arrays: Arrays) -> None:
    arrays[16]["steps"][0] += 1


def swap_widths(arrays: Arrays) -> None:
    arrays[16], arrays[64] = arrays[64], arrays[16]


def set_nan(arrays: Arrays) -> None:
    arrays[16]["f"][0, 0, 0, 0] = np.nan


def set_infinity(arrays: Arrays) -> None:
    arrays[64]["f"][0, 0, 0, 0] = -np.inf


VALUE_MUTATIONS = [
    change_one, transpose, transpose_limit, swap_indices_of_k4, swap_seeds, swap_seeds_everywhere, swap_times, through_float32,
    flip_a_sign, count_one_more, swap_widths, set_nan, set_infinity,
]  # fmt: skip


@pytest.mark.parametrize("mutate", VALUE_MUTATIONS)
@pytest.mark.parametrize("swapped", [False, True])
def test_mutations_of_values_are_caught(mutate: Callable[[Arrays], None], swapped: bool) -> None:
    original, mutated = measured(), measured()
    mutate(mutated)
    changed = {n for n in original[16] if any(not np.array_equal(original[w][n], mutated[w][n]) for w in (16, 64))}
    assert changed
    pair = (mutated, original) if swapped else (original, mutated)
    assert {name for name, row in rows(*pair).items() if not row.agrees} == changed


def drop_width(arrays: Arrays) -> None:
    del arrays[64]


def add_width(arrays: Arrays) -> None:
    arrays[128] = arrays[64]


def drop_observable(arrays: Arrays) -> None:
    del arrays[64]["K4"]


def add_observable(arrays: Arrays) -> None:
    arrays[64]["K6"] = arrays[64]["K4"]


def drop_a_seed(arrays: Arrays) -> None:
    arrays[16]["f"] = arrays[16]["f"][:-1]


def transpose_rectangular(arrays: Arrays) -> None:
    arrays[16]["K2_test"] = arrays[16]["K2_test"].swapaxes(1, 2)


def broadcastable(arrays: Arrays) -> None:
    arrays[16]["K2_limit"] = arrays[16]["K2_limit"][None]


def to_float32(arrays: Arrays) -> None:
    arrays[64]["K2"] = arrays[64]["K2"].astype(np.float32)


def to_integers(arrays: Arrays) -> None:
    arrays[64]["steps"] = arrays[64]["steps"].astype(np.float64)


@pytest.mark.parametrize(
    ("mutate", "message"),
    [
        (drop_width, "width 64 is in one measurement only"),
        (add_width, "width 128 is in one measurement only"),
        (drop_observable, "K4 at width 64 is in one measurement only"),
        (add_observable, "K6 at width 64 is in one measurement only"),
        (drop_a_seed, r"f at width 16 has shape \(\d, 3, 5, 1\) in one measurement and \(\d, 3, 5, 1\) in the other"),
        (transpose_rectangular, "K2_test at width 16 has shape"),
        (broadcastable, "K2_limit at width 16 has shape"),
        (to_float32, r"K2 at width 64 is float\d\d in one measurement and float\d\d in the other"),
        (to_integers, "steps at width 64 is"),
    ],
)
@pytest.mark.parametrize("swapped", [False, True])
def test_measurements_of_different_things_are_refused(mutate: Callable[[Arrays], None], message: str, swapped: bool) -> None:
    pair = [measured(), measured()]
    mutate(pair[swapped])
    with pytest.raises(StructureMismatch, match=f"family/some, plain: .*{message}"):
        rows(pair[0], pair[1])


def test_all_faults_are_named_at_once() -> None:
    mutated = measured()
    drop_a_seed(mutated)
    to_float32(mutated)
    with pytest.raises(StructureMismatch, match=r"f at width 16 .*; K2 at width 64"):
        rows(measured(), mutated)


def test_single_precision_on_both_sides_is_refused_where_double_was_asked_for() -> None:
    both = measured()
    to_float32(both)
    with pytest.raises(StructureMismatch, match="K2 at width 64 is float32, the study asks for float64"):
        rows(both, both)
    assert rows(both, both, precision="float32")["K2"].agrees


@pytest.mark.parametrize(
    "empty", [{}, {16: {}}, {16: {"f": np.zeros((0, 3))}}, {16: {"f": np.array(["a"])}}, {16: {"f": np.array([1j])}}]
)
def test_nothing_to_compare_is_no_agreement(empty: dict[int, Any]) -> None:
    with pytest.raises(StructureMismatch):
        compare(empty, copy.deepcopy(empty), {}, "float64", "cpu", claim="c", case="d")


def test_divergence_in_both_is_no_agreement_and_told_from_divergence_in_one() -> None:
    both = measured()
    set_nan(both)
    row = rows(both, copy.deepcopy(both))["f"]
    assert math.isnan(row.max_abs)
    assert math.isnan(row.max_rel)
    assert not row.agrees
    row = rows(both, measured())["f"]
    assert (row.max_abs, row.max_rel, row.agrees) == (math.inf, math.inf, False)
    # The worst over the widths: divergence of both at one width does not hide that of one at another, nor a difference it.
    other = copy.deepcopy(both)
    set_infinity(other)
    assert rows(both, other)["f"].max_rel == math.inf
    other = copy.deepcopy(both)
    other[64]["f"][0, 0, 0, 0] += 1.0
    assert math.isnan(rows(both, other)["f"].max_rel)


def test_difference_is_relative_to_the_scale_at_its_width() -> None:
    first = {16: {"f": np.array([1e-6, 4e-6])}, 64: {"f": np.array([-2e3, 1.0])}}
    second = {16: {"f": np.array([1e-6, 4e-6 + 1e-12])}, 64: {"f": np.array([-2e3, 1.0 + 1e-5])}}
    (row,) = compare(first, second, {}, "float64", "cpu", claim="c", case="d")
    assert row.max_abs == pytest.approx(1e-5, rel=1e-6)
    assert row.max_rel == pytest.approx(1e-12 / 4e-6, rel=1e-3)
    assert not row.agrees


def test_zero_up_to_rounding_agrees_with_zero_and_not_with_a_small_number() -> None:
    def against_zero(value: float) -> CrosscheckRow:
        zero, other = {16: {"K3": np.zeros((2, 2))}}, {16: {"K3": np.array([[0.0, value], [0.0, 0.0]])}}
        return compare(zero, other, {}, "float64", "cpu", claim="c", case="d")[0]

    assert against_zero(0.0).max_rel == 0.0
    assert against_zero(3e-19).agrees
    assert against_zero(1e-15).agrees
    assert not against_zero(1e-14).agrees
    assert not against_zero(1e-8).agrees


@given(factor=st.floats(1, 1e3), excess=st.sampled_from([0.99, 1.01]), pair=st.sampled_from(sorted(TOLERANCES)))
def test_growth_multiplies_the_tolerance_of_its_observable_alone(factor: float, excess: float, pair: tuple[str, str]) -> None:
    base = TOLERANCES[pair]
    first = {16: {"a": np.array([-1.0, 0.0]), "b": np.array([1.0, 0.0])}}
    second = {16: {"a": np.array([-1.0, excess * base * factor]), "b": np.array([1.0, excess * base])}}
    a, b = compare(first, second, {"a": factor}, *pair, claim="c", case="d")
    assert (a.allowed, b.allowed) == (base * factor, base)
    assert a.agrees == b.agrees == (excess < 1)


@pytest.mark.parametrize(("off", "agrees"), [(0.49, True), (0.51, False), (1.0, False), (2.0, False)])
def test_no_growth_lets_pass_what_is_off_by_half_of_its_scale(off: float, agrees: bool) -> None:
    """Else zeros in the place of a measurement (off by 1) or its opposite (by 2) would agree with it."""
    first = {16: {"error_p4": np.array([1.0, 0.3], dtype=np.float32)}}
    second = {16: {"error_p4": np.array([1.0 - off, 0.3 * (1 - off)], dtype=np.float32)}}
    (row,) = compare(first, second, {"error_p4": 1e7}, "float32", "cpu", claim="c", case="d")
    assert (row.allowed, row.agrees) == (0.5, agrees)
    assert row.max_rel == pytest.approx(off, rel=1e-6)


def test_unsigned_integers_do_not_wrap() -> None:
    first, second = {16: {"n": np.array([3], dtype=np.uint8)}}, {16: {"n": np.array([4], dtype=np.uint8)}}
    assert compare(first, second, {}, "float64", "cpu", claim="c", case="d")[0].max_abs == 1.0


def test_unknown_precision_device_and_growth_are_refused() -> None:
    with pytest.raises(ValueError, match="no tolerance for precision 'float16' on device 'cpu'; known: float64/cpu"):
        rows(measured(), measured(), precision="float16")
    with pytest.raises(ValueError, match="on device 'auto'"):
        rows(measured(), measured(), device="auto")
    for factor in (0.5, math.inf, math.nan):
        with pytest.raises(ValueError, match="growth of f must be finite and at least 1"):
            rows(measured(), measured(), growth={"f": factor})
