"""Verdicts of two runs, row by row."""

import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from ntkbench import comparison, tables
from ntkbench.comparison import ComparedVerdict, Level, compare_verdicts, side_by_side
from ntkbench.files import RecordError
from ntkbench.seeding import rng
from tests.canary.study import STORED

REFERENCE = Path(__file__).resolve().parent.parent / "results" / "reference"


def row(**changes: Any) -> dict[str, Any]:
    plain = {
        "claim": "family/some", "expectation": "rate", "kind": "rate", "source": "key", "backend": "torch", "expected": "-1",
        "estimate": -1.0, "ci_low": -1.3, "ci_high": -0.7, "verdict": "supported", "control": "broken: contradicted",
        "seeds": 8, "range": "m=64..256", "case": "plain", "margin": 0.2, "p_value": 0.001, "reason": "",
    }  # fmt: skip
    return plain | changes


def one(mine: dict[str, Any], theirs: dict[str, Any], *settings: Any) -> ComparedVerdict:
    (compared,) = compare_verdicts([mine], [theirs], *settings)
    return compared


def test_a_run_reproduces_itself() -> None:
    compared = one(row(), row())
    assert (compared.claim, compared.expectation, compared.case, compared.backend) == ("family/some", "rate", "plain", "torch")
    assert (compared.verdict, compared.reference_verdict) == ("supported", "supported")
    assert (compared.difference, compared.level, compared.outcome, compared.reason) == (0.0, Level.BITWISE, "reproduced", "")


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
def test_other_questions_are_not_comparable_or_differ_where_they_should_be_the_same(change: dict[str, Any]) -> None:
    (name, value), *_ = change.items()
    compared = one(row(), row(**change))
    assert (compared.level, compared.outcome) == (None, "not comparable")
    assert compared.reason == f"{name} is {row()[name]} here, {value} there"
    (wrong,) = compare_verdicts([row()], [row(**change)], same_questions=True)
    assert (wrong.level, wrong.outcome, wrong.reason) == (Level.APART, "differs", compared.reason)


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
    compared = compare_verdicts([row(), here], [there, row(), bad])
    assert [(c.case, c.outcome, c.reason) for c in compared] == [
        ("plain", "reproduced", ""),
        ("new", "not comparable", "not in the reference"),
        ("old", "lost", "not in this run"),
        ("bad", "not comparable", "not in this run"),
    ]
    assert (compared[1].estimate, compared[1].verdict, compared[1].reference_verdict) == (-1.0, "supported", "")
    assert math.isnan(compared[2].estimate)


def test_backends_are_compared_apart() -> None:
    compared = compare_verdicts([row(), row(backend="jax", verdict="contradicted")], [row(), row(backend="jax")])
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
        compare_verdicts([row()], [row(), row()])
    short = row()
    del short["margin"]
    with pytest.raises(ValueError, match="a verdict row of this run lacks margin"):
        compare_verdicts([short], [row()])


ROUNDING = {("family/some", "plain"): 1e-6}


@pytest.mark.parametrize(
    ("change", "level"),
    [
        ({}, Level.BITWISE),
        ({"p_value": 0.0011}, Level.ROUNDING),
        ({"estimate": -1 - 9e-7}, Level.ROUNDING),
        ({"ci_low": -1.3 + 9e-7}, Level.ROUNDING),
        ({"estimate": -1 - 2e-6}, Level.INTERVAL),
        ({"ci_high": -0.7 + 2e-6}, Level.INTERVAL),
        ({"ci_high": math.inf}, Level.INTERVAL),
        ({"estimate": -1.5}, Level.APART),
        ({"verdict": "contradicted"}, Level.APART),
    ],
)
def test_levels(change: dict[str, Any], level: Level) -> None:
    for required in Level:
        compared = one(row(**change), row(), required, ROUNDING)
        assert compared.level == level
        assert compared.outcome == ("reproduced" if level >= required else "differs")
        assert bool(compared.reason) == (level < required)


def test_rounding_is_of_the_estimate_where_that_is_large() -> None:
    large = row(estimate=-100.0, ci_low=-101.0, ci_high=-99.0)
    assert one(large | {"estimate": -100 - 9e-5}, large, Level.ROUNDING, ROUNDING).outcome == "reproduced"
    assert one(large | {"estimate": -100 - 2e-4}, large, Level.ROUNDING, ROUNDING).outcome == "differs"


def test_what_differs_by_more_than_rounding_says_by_how_much() -> None:
    compared = one(row(estimate=-1.0001), row(), Level.ROUNDING, ROUNDING)
    expected = "the same draws, yet rounding allows 1e-06, estimate or interval differ by 0.0001, within the intervals"
    assert compared.reason == expected
    assert "its cross-check is missing" in one(row(estimate=-1.0001), row(), Level.ROUNDING).reason


def test_the_order_of_rows_does_not_matter() -> None:
    rows = [row(case=f"case {k}", estimate=float(-k)) for k in range(5)]
    compared = compare_verdicts(rows, rows[::-1])
    assert [c.case for c in compared] == [r["case"] for r in rows]
    assert all(c.level == Level.BITWISE for c in compared)


def test_what_torch_and_jax_found_of_the_same_draws_is_within_rounding() -> None:
    """The allowance of estimates on real ones: two programs that share the draws alone, in every row of the published run."""
    rows = tables.read_rows(REFERENCE / "verdicts.csv", "verdicts")
    rounding: dict[tuple[str, str], float] = {}
    for entry in tables.read_rows(REFERENCE / "crosscheck.csv", "crosscheck"):
        key = (entry["claim"], entry["case"])
        rounding[key] = max(entry["allowed"], rounding.get(key, 0.0))
    torch, jax = ([{**r, "backend": ""} for r in rows if r["backend"] == backend] for backend in ("torch", "jax"))
    compared = [c for c in compare_verdicts(torch, jax, Level.ROUNDING, rounding) if c.level is not None]
    assert len(compared) > 350
    assert [c for c in compared if c.outcome != "reproduced"] == []
    # Another estimate of the table in its place would not pass for rounding.
    moved = [{**r, "estimate": r["estimate"] * 1.01} for r in torch if r["kind"] != "identity" and r["estimate"]]
    wrong = [c for c in compare_verdicts(moved, jax, Level.ROUNDING, rounding) if c.level is not None and c.estimate]
    assert sum(c.outcome == "differs" for c in wrong) > 0.95 * len([c for c in wrong if c.verdict])


def estimated(truth: float, root: int, pairs: int, seeds: int = 16) -> list[dict[str, Any]]:
    """Means of normal draws around a truth with their 95% intervals, one per case."""
    draws = truth + rng(root, "draws").standard_normal((pairs, seeds))
    half = stats.t.ppf(0.975, seeds - 1) * draws.std(axis=1, ddof=1) / math.sqrt(seeds)
    means = draws.mean(axis=1)
    return [
        row(case=str(k), estimate=float(m), ci_low=float(m - h), ci_high=float(m + h))
        for k, (m, h) in enumerate(zip(means, half, strict=True))
    ]


def test_runs_of_the_same_truth_agree_at_the_stated_rate_and_a_shift_is_caught() -> None:
    pairs = 4000
    here, there = estimated(0.0, 1, pairs), estimated(0.0, 2, pairs)
    agreed = np.mean([c.outcome == "reproduced" for c in compare_verdicts(here, there)])
    # 95%, and a little more by Student's factor; four standard errors of the count.
    assert 0.95 - 4 * math.sqrt(0.95 * 0.05 / pairs) < agreed < 0.975
    shifted = estimated(2.0, 3, pairs)
    assert np.mean([c.outcome == "reproduced" for c in compare_verdicts(shifted, there)]) < 0.01
    # As the same draws they would not pass: hardly any two agree to rounding.
    rounding = {("family/some", str(k)): 1e-6 for k in range(pairs)}
    exact = compare_verdicts(here, there, Level.ROUNDING, rounding)
    assert np.mean([c.outcome == "reproduced" for c in exact]) < 0.001


def test_verdicts_that_are_all_reversed_differ_though_they_ask_otherwise_as_well() -> None:
    published = comparison.read_run(REFERENCE)
    other = {"supported": "contradicted", "contradicted": "supported", "inconclusive": "contradicted", "invalid": "invalid"}
    reversed_ = [{**row, "verdict": other[row["verdict"]], "seeds": f"{row['seeds']}0"} for row in published.verdicts]
    run = replace(published, verdicts=reversed_)
    compared = comparison.compare(run, published)
    valid = sum(row["verdict"] != "invalid" for row in published.verdicts)
    assert valid > 800
    assert sum(row.outcome == "differs" for row in compared.verdicts) == valid
    assert {claim.outcome for claim in compared.claims()} == {compared.outcome} == {"differs"}
    # Of another root they may ask otherwise, but nothing is reproduced then.
    compared = comparison.compare(replace(run, facts={**run.facts, "root": 1}), published)
    assert {claim.outcome for claim in compared.claims()} == {compared.outcome} == {"not comparable"}


def test_rounding_is_the_smaller_of_what_both_cross_checks_allow() -> None:
    runs = [comparison.Run(Path(), [], {("a", "b"): allowed}, {}, {}) for allowed in (1e-10, 1e-3)]
    assert side_by_side._rounding(*runs) == side_by_side._rounding(*runs[::-1]) == {("a", "b"): 1e-10}


def test_an_identity_that_fails_has_an_error_that_is_found_again() -> None:
    rows = [row for row in tables.read_rows(REFERENCE / "verdicts.csv", "verdicts") if row["kind"] == "identity"]
    failed = [row for row in rows if row["verdict"] == "contradicted"]
    moved = [{**row, "estimate": 100 * row["estimate"]} for row in rows]
    found = compare_verdicts(moved, rows, Level.ROUNDING, {(row["claim"], row["case"]): 1e-10 for row in rows})
    assert failed
    assert {row.reference_verdict for row in found if row.outcome == "differs"} == {"contradicted"}


def test_a_measurement_that_one_run_lacks_is_lost(tmp_path: Path) -> None:
    shutil.copytree(STORED, tmp_path / "run")
    next((tmp_path / "run" / "measurements").glob("*/*/plain/torch.npz")).unlink()
    runs = [comparison.read_run(folder) for folder in (tmp_path / "run", STORED)]
    compared = comparison.compare(*runs)
    assert compared.outcome == "lost"
    assert [row.reason for row in compared.observables if row.outcome == "lost"] == ["not in this run"]
    (row,) = [row for row in comparison.compare(*runs[::-1]).observables if row.outcome != "reproduced"]
    assert (row.outcome, row.reason) == ("not comparable", "not in the reference")


def test_a_run_whose_backends_disagree_reproduces_nothing(tmp_path: Path) -> None:
    shutil.copytree(STORED, tmp_path / "run")
    path = tmp_path / "run" / "crosscheck.csv"
    first, *others = tables.read_rows(path, "crosscheck")
    tables.write_table(path, "crosscheck", [first | {"agrees": False, "max_rel": 0.5}, *others])
    run, reference = (comparison.read_run(folder) for folder in (tmp_path / "run", STORED))
    compared = comparison.compare(run, reference)
    assert compared.outcome == "differs"
    (row,) = [row for row in compared.observables if row.outcome != "reproduced"]
    assert (row.claim, row.case, row.backend, row.quantity) == (first["claim"], first["case"], "torch, jax", first["quantity"])
    assert row.reason.startswith("the cross-check failed: torch and jax are 0.5 apart, rounding allows ")
    assert comparison.compare(reference, run).outcome == "reproduced"


@pytest.mark.parametrize("other", ["plain/jax.npz", "shuffled/torch.npz"])
def test_a_record_of_another_backend_or_case_than_its_place_says_is_refused(tmp_path: Path, other: str) -> None:
    shutil.copytree(STORED, tmp_path / "run")
    folder = tmp_path / "run" / "measurements" / "hierarchy" / "truncation"
    shutil.copyfile(folder / other, folder / "plain" / "torch.npz")
    with pytest.raises(RecordError, match="is foreign: its (case|backend) is"):
        comparison.compare(comparison.read_run(tmp_path / "run"), comparison.read_run(STORED))
