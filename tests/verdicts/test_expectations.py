"""Which expectations are rival readings, and of what."""

import pytest

from ntkbench.claims import all_claims
from ntkbench.claims.base import Claim
from ntkbench.verdicts.expectations import Bound, Expectation, Rate

RIVALS = [(claim, e) for claim in all_claims().values() for e in claim.expectations if e.rival_to is not None]


def allows(expectation: Expectation, exponent: float) -> bool:
    assert isinstance(expectation, Rate | Bound)
    beyond = exponent - expectation.exponent
    return beyond <= expectation.margin and (isinstance(expectation, Bound) or beyond >= -expectation.margin)


def test_rival_readings_are_these() -> None:
    assert {(claim.id, e.name): e.rival_to for claim, e in RIVALS} == {
        ("hierarchy/sizes", "bound_read_as_sharp_3"): "size_3_flow",
        ("hierarchy/sizes", "bound_read_as_sharp_5"): "size_5_flow",
        ("hierarchy/truncation", "formula_read_at_p3"): "error_p3",
        ("hierarchy/truncation", "formula_read_at_p5"): "error_p5",
        ("gap/equivalence", "distance_without_f0"): "distance",
    }


@pytest.mark.parametrize(("claim", "rival"), RIVALS, ids=lambda found: getattr(found, "name", ""))
def test_a_rival_reading_is_set_against_a_statement_of_the_same_cases(claim: Claim, rival: Expectation) -> None:
    (other,) = (e for e in claim.expectations if e.name == rival.rival_to)
    assert other.rival_to is None
    assert rival.control == other.control
    assert other.where.items() <= rival.where.items()
    if rival.quantity == other.quantity:
        assert isinstance(rival, Rate | Bound)
        assert isinstance(other, Rate)
        assert not allows(rival, other.exponent)
        assert not allows(other, rival.exponent)
