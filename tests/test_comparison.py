import math
from typing import Any

import pytest

from ntkbench.comparison import ComparisonRow, compare_runs


def row(**changes: Any) -> dict[str, Any]:
    plain = {
        "claim": "family/some", "expectation": "rate", "kind": "rate", "source": "key", "backend": "torch", "expected": "-1",
        "estimate": -1.0, "ci_low": -1.3, "ci_high": -0.7, "verdict": "supported", "control": "broken: contradicted",
        "seeds": 8, "range": "m=64..256", "case": "plain", "margin": 0.2, "p_value": 0.001, "reason": "",
    }  # fmt: skip
    return plain | changes


def one(mine: dict[str, Any], theirs: dict[str, Any]) -> ComparisonRow:
    (compared,) = compare_runs([mine], [theirs])
    return compared


def test_a_run_reproduces_itself() -> None:
    compared = one(row(), row())
    assert (compared.claim, compared.expectation, compared.case, compared.backend) == ("family/some", "rate", "plain", "torch")
    assert (compared.verdict, compared.reference_verdict) == ("supported", "supported")
    assert (compared.difference, compared.outcome, compared.reason) == (0.0, "reproduced", "")


def test_estimates_may_differ_by_the_joint_half_width() -> None:
    theirs = row(estimate=-1.499, ci_low=-1.9, ci_high=-1.1)
    compared = one(row(), theirs)
    assert compared.allowed == pytest.approx(0.5)
    assert compared.outcome == "reproduced"
    compared = one(row(), theirs | {"estimate": -1.501})
    assert compared.outcome == "differs"
    assert compared.reason == "the estimates differ by 0.501, their intervals allow 0.5"


def test_verdicts_must_be_the_same() -> None:
    compared = one(row(verdict="inconclusive"), row())
    assert (compared.outcome, compared.reason) == ("differs", "inconclusive here, supported there")


def test_text_as_read_from_a_file_is_the_same_as_numbers() -> None:
    text = {name: str(value) for name, value in row().items()} | {"margin": "0.20", "seeds": "8"}
    assert one(text, row()).outcome == "reproduced"
    assert one(row(), text).estimate == -1.0


@pytest.mark.parametrize(
    "change", [{"seeds": 16}, {"range": "m=16..64"}, {"margin": 0.1}, {"expected": "-2"}, {"kind": "bound"}]
)
def test_other_questions_are_not_comparable(change: dict[str, Any]) -> None:
    (name, value), *_ = change.items()
    compared = one(row(), row(**change))
    assert compared.outcome == "not comparable"
    assert compared.reason == f"{name} is {row()[name]} here, {value} there"


@pytest.mark.parametrize(
    ("mine", "theirs", "outcome", "where"),
    [
        ("invalid", "supported", "lost", "this run"),
        ("invalid", "contradicted", "lost", "this run"),
        ("invalid", "inconclusive", "lost", "this run"),
        ("supported", "invalid", "not comparable", "the reference"),
        ("invalid", "invalid", "not comparable", "this run and the reference"),
    ],
)
def test_invalid_is_lost_unless_the_reference_is_invalid_too(mine: str, theirs: str, outcome: str, where: str) -> None:
    compared = one(row(verdict=mine, estimate=""), row(verdict=theirs))
    assert (compared.outcome, compared.reason) == (outcome, f"invalid in {where}")
    assert math.isnan(compared.estimate)


def test_invalid_is_lost_though_the_question_is_another() -> None:
    compared = one(row(verdict="invalid", seeds=0, range=""), row())
    assert (compared.outcome, compared.reason) == ("lost", "invalid in this run")


def test_rows_of_one_run_only_are_listed() -> None:
    here, there, bad = row(case="new"), row(case="old"), row(case="bad", verdict="invalid")
    compared = compare_runs([row(), here], [there, row(), bad])
    assert [(c.case, c.outcome, c.reason) for c in compared] == [
        ("plain", "reproduced", ""),
        ("new", "not comparable", "not in the reference"),
        ("old", "lost", "not in this run"),
        ("bad", "not comparable", "not in this run"),
    ]
    assert (compared[1].estimate, compared[1].verdict, compared[1].reference_verdict) == (-1.0, "supported", "")
    assert math.isnan(compared[2].estimate)


def test_backends_are_compared_apart() -> None:
    compared = compare_runs([row(), row(backend="jax", verdict="contradicted")], [row(), row(backend="jax")])
    assert [c.outcome for c in compared] == ["reproduced", "differs"]


def test_identities_are_compared_by_verdict_since_their_estimate_is_rounding() -> None:
    mine, theirs = (row(kind="identity", estimate=e, ci_low=e, ci_high=e) for e in (1e-15, 3e-15))
    assert one(mine, theirs).outcome == "reproduced"
    assert one(mine | {"verdict": "contradicted"}, theirs).outcome == "differs"
    assert one(mine | {"kind": "paired"}, theirs | {"kind": "paired"}).outcome == "differs"


def test_unresolved_estimates() -> None:
    nothing = row(verdict="inconclusive", estimate=math.nan, ci_low=-math.inf, ci_high=math.inf)
    assert one(nothing, nothing).outcome == "reproduced"
    compared = one(nothing, row(verdict="inconclusive"))
    assert (compared.outcome, compared.reason) == ("differs", "there is an estimate in one run only")
    unbounded = row(verdict="inconclusive", estimate=-3.0, ci_low=-math.inf)
    assert one(unbounded, row(verdict="inconclusive")).outcome == "reproduced"


def test_bad_tables_are_refused() -> None:
    with pytest.raises(ValueError, match="the reference has two verdict rows for family/some, rate, plain, torch"):
        compare_runs([row()], [row(), row()])
    short = row()
    del short["margin"]
    with pytest.raises(ValueError, match="a verdict row of this run lacks margin"):
        compare_runs([short], [row()])
