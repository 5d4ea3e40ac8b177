import functools
import math
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pytest

from ntkbench.claims.base import Case, Claim
from ntkbench.seeding import rng
from ntkbench.tables import COLUMNS
from ntkbench.verdicts.decide import Row, decide, holm
from ntkbench.verdicts.expectations import Bound, Equivalence, Identity, Paired, Rate

WIDTHS = (16, 32, 64, 128, 256)
RNG = functools.partial(rng, 7)


def text(name: str, quantity: str = "q", control: str = "broken") -> dict[str, Any]:
    return {"name": name, "statement": "s", "source": "key, Theorem 1", "quantity": quantity, "control": control}


@dataclass(frozen=True, kw_only=True)
class SomeCase(Case):
    violated: str = ""


class SomeClaim(Claim):
    """What `decide` reads; the rest is empty."""

    id = "family/some"
    title = statement = source = assumptions = limitations = caption = ""
    reference_ids = figure = ()
    controls = quantities = growth = {}  # noqa: RUF012
    case_type = SomeCase
    expectations = (Rate(**text("rate"), exponent=-1.0, margin=0.2),)

    def __init__(self, *expectations: Any) -> None:
        if expectations:
            self.expectations = expectations

    prepare = measure = summarize = None

    def violations(self, case: SomeCase, summaries: Any) -> list[str]:
        return [case.violated] if case.violated else []


def case(control: str | None = None, **changes: Any) -> SomeCase:
    plain = {"dataset": "sphere", "train_size": 4, "input_dim": 3, "activation": "tanh", "depth": 1, "seeds": 8}
    return SomeCase(**plain | changes, widths=WIDTHS, control=control)


def power(exponent: float, spread: float = 0.05, draw: int = 0, **more: np.ndarray) -> dict[int, dict[str, np.ndarray]]:
    generator = np.random.default_rng(draw)
    return {w: {"q": w**exponent * np.exp(spread * generator.standard_normal(8)), **more} for w in WIDTHS}


def study(exponent: float = -1.0, control: float = 0.0, **changes: Any) -> dict[str, Any]:
    return {"plain": (case(**changes), power(exponent)), "flat": (case("broken"), power(control, draw=1))}


AGREES = {"plain": True, "flat": True, "other": True, "bent": True}


def one(claim: SomeClaim, cases: dict[str, Any], crosscheck: dict[str, bool] = AGREES) -> Row:
    (row,) = decide(claim, {"torch": cases}, crosscheck, RNG)
    return row


def test_columns_are_those_of_the_table() -> None:
    assert [f.name for f in fields(Row)] == list(COLUMNS["verdicts"])


def test_supported_row_in_full() -> None:
    row = one(SomeClaim(), study())
    assert row.ci_low < row.estimate < row.ci_high
    assert row.estimate == pytest.approx(-1.0, abs=0.1)
    assert row.p_value <= 0.025
    assert (row.claim, row.expectation, row.kind, row.source) == ("family/some", "rate", "rate", "key, Theorem 1")
    assert (row.backend, row.case, row.expected, row.margin) == ("torch", "plain", "-1", 0.2)
    assert (row.verdict, row.control, row.seeds, row.range) == ("supported", "broken: contradicted", 8, "m=64..256")
    assert row.reason == ""


@pytest.mark.parametrize(("exponent", "verdict"), [(-1.0, "supported"), (-0.3, "contradicted"), (-0.8, "inconclusive")])
def test_verdicts(exponent: float, verdict: str) -> None:
    assert one(SomeClaim(), study(exponent)).verdict == verdict


def test_a_control_that_is_not_contradicted_makes_it_invalid() -> None:
    row = one(SomeClaim(), study(control=-1.0))
    assert (row.verdict, row.control) == ("invalid", "broken: supported")
    assert row.reason == "the negative control flat came out supported, not contradicted"
    row = one(SomeClaim(), study(control=-0.8))
    assert (row.verdict, row.control) == ("invalid", "broken: inconclusive")


def test_every_control_of_the_kind_must_be_contradicted() -> None:
    cases = study() | {"other": (case("broken"), power(-1.0, draw=2))}
    row = one(SomeClaim(), cases)
    assert (row.verdict, row.control) == ("invalid", "broken: contradicted, supported")
    assert "control other" in row.reason


def test_controls_of_another_kind_or_elsewhere_do_not_count() -> None:
    cases = {"plain": study()["plain"], "flat": (case("else"), power(0.0))}
    row = one(SomeClaim(), cases)
    assert (row.verdict, row.control) == ("invalid", "broken: missing")
    assert row.reason == "the study has no negative control of kind broken"
    here = SomeClaim(Rate(**text("rate"), exponent=-1.0, margin=0.2, where={"activation": ("tanh",)}))
    assert one(here, {"plain": study()["plain"], "flat": (case("broken", activation="erf"), power(0.0))}).verdict == "invalid"


def test_a_control_that_is_not_finite_was_not_contradicted() -> None:
    cases = study()
    cases["flat"][1][32]["q"][0] = np.nan
    row = one(SomeClaim(), cases)
    assert (row.verdict, row.control) == ("invalid", "broken: invalid")
    assert "q is not finite for 1 of 8 seeds at width 32" in row.reason


def test_a_case_that_is_not_finite_is_invalid_without_numbers() -> None:
    cases = study()
    cases["plain"][1][16]["q"][0] = np.inf
    row = one(SomeClaim(), cases)
    assert row.verdict == "invalid"
    assert all(math.isnan(x) for x in (row.estimate, row.ci_low, row.ci_high, row.p_value))
    assert row.reason == "q is not finite for 1 of 8 seeds at width 16"


@pytest.mark.parametrize(
    ("crosscheck", "reason"),
    [
        ({"plain": False, "flat": True}, "the cross-check of plain failed"),
        ({"plain": True, "flat": False}, "the cross-check of flat failed"),
        ({"flat": True}, "plain was not cross-checked"),
        ({"plain": True}, "flat was not cross-checked"),
    ],
)
def test_crosscheck_of_case_and_control_must_agree(crosscheck: dict[str, bool], reason: str) -> None:
    row = one(SomeClaim(), study(), crosscheck)
    assert (row.verdict, row.reason) == ("invalid", reason)
    assert row.estimate == pytest.approx(-1.0, abs=0.1)


def test_broken_assumption_makes_it_invalid() -> None:
    row = one(SomeClaim(), study(violated="the loss rose"))
    assert (row.verdict, row.reason) == ("invalid", "the loss rose")


def test_broken_assumption_of_a_control_makes_what_it_vouches_for_invalid() -> None:
    claim = SomeClaim(
        Rate(**text("rate"), exponent=-1.0, margin=0.2), Rate(**text("vouched", control="else"), exponent=-1.0, margin=0.2)
    )
    cases = study() | {"other": (case("else"), power(0.0, draw=2))}
    cases["flat"] = (case("broken", violated="the loss rose"), cases["flat"][1])
    rows = {row.expectation: row for row in decide(claim, {"torch": cases}, AGREES, RNG)}
    assert (rows["rate"].verdict, rows["rate"].control) == ("invalid", "broken: contradicted")
    assert rows["rate"].reason == "flat: the loss rose"
    assert (rows["vouched"].verdict, rows["vouched"].reason) == ("supported", "")
    both = study(violated="the step is too long") | {"flat": cases["flat"]}
    assert one(SomeClaim(), both).reason == "the step is too long; flat: the loss rose"


def test_assumptions_of_a_control_are_asked_with_its_own_summaries() -> None:
    class Asked(SomeClaim):
        def violations(self, case: SomeCase, summaries: Any) -> list[str]:
            return [f"{case.control} {summaries[256]['q'].mean():.3g}"]

    cases = study()
    own, control = (f"{c.control} {summaries[256]['q'].mean():.3g}" for c, summaries in cases.values())
    assert one(Asked(), cases).reason == f"{own}; flat: {control}"


def test_rows_are_every_expectation_on_every_case_it_applies_to_per_backend() -> None:
    claim = SomeClaim(
        Rate(**text("rate"), exponent=-1.0, margin=0.2),
        Bound(**text("bound"), exponent=-0.5, margin=0.1, where={"activation": ("erf",)}),
    )
    cases = study() | {
        "other": (case(activation="erf"), power(-1.0, draw=3)),
        "bent": (case("broken", activation="erf"), power(0.0)),
    }
    rows = decide(claim, {"torch": cases, "jax": cases}, AGREES, RNG)
    names = [(r.backend, r.expectation, r.case) for r in rows]
    assert names == [(b, e, c) for b in ("torch", "jax") for e, c in (("rate", "plain"), ("rate", "other"), ("bound", "other"))]
    assert all(r.verdict == "supported" for r in rows)
    # The same numbers in both backends: the same resamples, and so the same rows.
    assert [(r.estimate, r.ci_low, r.p_value) for r in rows[:3]] == [(r.estimate, r.ci_low, r.p_value) for r in rows[3:]]


def test_verdicts_depend_on_the_root_and_on_nothing_else() -> None:
    rows = [decide(SomeClaim(), {"torch": study()}, AGREES, functools.partial(rng, root)) for root in (7, 7, 8)]
    assert rows[0] == rows[1]
    assert rows[0][0].ci_low != rows[2][0].ci_low
    assert rows[0][0].estimate == rows[2][0].estimate


def test_the_generator_is_named_by_claim_expectation_and_case() -> None:
    names: list[tuple[str, ...]] = []

    def recorded(*name: str) -> np.random.Generator:
        names.append(name)
        return RNG(*name)

    claim = SomeClaim(Rate(**text("rate"), exponent=-1.0, margin=0.2), Bound(**text("bound"), exponent=-1.0, margin=0.2))
    cases = study() | {"other": study()["plain"]}
    rows = decide(claim, {"torch": cases, "jax": cases}, AGREES, recorded)
    of_a_backend = [("verdict", "family/some", e, c) for e in ("rate", "bound") for c in ("plain", "flat", "other")]
    assert sorted(names) == sorted(2 * of_a_backend)
    # The same numbers in another case are other draws: their intervals differ, though not their estimates.
    plain, other = (
        next(r for r in rows if (r.backend, r.expectation, r.case) == ("torch", "rate", c)) for c in ("plain", "other")
    )
    assert plain.estimate == other.estimate
    assert plain.ci_low != other.ci_low


def test_kinds_and_what_they_expect() -> None:
    identity, paired = text("identity", "i"), text("paired", "d")
    claim = SomeClaim(
        Bound(**text("bound"), exponent=-1.0, margin=0.2),
        Identity(**identity, tolerance=1e-10),
        Equivalence(**paired | {"name": "equivalence"}, value=0.5, margin=0.2),
        Paired(**paired, size=0.1, sign=0),
        Paired(**paired | {"name": "more"}, size=0.1, sign=1),
        Paired(**paired | {"name": "less"}, size=0.1, sign=-1),
    )
    scatter = 0.02 * np.random.default_rng(5).standard_normal(8)
    cases = {
        "plain": (case(), power(-1.0, i=np.full(8, 1e-14), d=0.5 + scatter)),
        "flat": (case("broken"), power(0.0, i=np.full(8, 1e-3), d=scatter)),
    }
    rows = {r.expectation: r for r in decide(claim, {"torch": cases}, AGREES, RNG)}
    assert {n: (r.kind, r.expected, r.margin) for n, r in rows.items()} == {
        "bound": ("bound", "<= -1", 0.2),
        "identity": ("identity", "0", 1e-10),
        "equivalence": ("equivalence", "0.5", 0.2),
        "paired": ("paired", "!= 0", 0.1),
        "more": ("paired", "> 0", 0.1),
        "less": ("paired", "< 0", 0.1),
    }
    assert {n: r.verdict for n, r in rows.items()} == {
        "bound": "supported", "identity": "supported", "equivalence": "supported", "paired": "supported", "more": "supported",
        "less": "contradicted",
    }  # fmt: skip
    assert math.isnan(rows["identity"].p_value)


def test_holm_counts_the_statistical_rows_of_one_backend() -> None:
    """A row that alone would be supported is not, beside enough others; identities and other backends do not count."""
    lonely = {"plain": (case(), power(-1.0, spread=0.21)), "flat": (case("broken"), power(0.0, draw=1))}
    alone = one(SomeClaim(), lonely)
    assert 0.025 / 20 < alone.p_value <= 0.025
    assert alone.verdict == "supported"
    crowd = {f"case-{k}": (case(), power(-0.8, draw=k)) for k in range(40)}
    agrees = AGREES | dict.fromkeys(crowd, True)
    crowded = decide(SomeClaim(), {"torch": lonely | crowd}, agrees, RNG)[0]
    assert (crowded.estimate, crowded.verdict) == (alone.estimate, "inconclusive")
    assert "the interval alone would support it" in crowded.reason
    elsewhere = decide(SomeClaim(), {"torch": lonely, "jax": lonely | crowd}, agrees, RNG)[0]
    assert elsewhere == alone
    exact = [Identity(**text(f"identity-{k}", "i"), tolerance=1.0) for k in range(40)]
    with_exact = {
        n: (c, {w: s | {"i": np.full(8, float(c.control is not None) * 2)} for w, s in q.items()})
        for n, (c, q) in lonely.items()
    }
    beside = decide(SomeClaim(*SomeClaim.expectations, *exact), {"torch": with_exact}, AGREES, RNG)
    assert beside[0].p_value == alone.p_value
    assert {r.verdict for r in beside} == {"supported"}


def test_holm_counts_for_contradiction_too() -> None:
    """A row that alone would be contradicted is not, beside enough others; identities and other backends do not count."""
    lonely = {"plain": (case(), power(-0.6, spread=0.3)), "flat": (case("broken"), power(0.0, draw=1))}
    alone = one(SomeClaim(), lonely)
    assert 0.025 / 20 < alone.p_value <= 0.025
    assert alone.verdict == "contradicted"
    crowd = {f"case-{k}": (case(), power(-0.8, draw=k)) for k in range(40)}
    agrees = AGREES | dict.fromkeys(crowd, True)
    crowded = decide(SomeClaim(), {"torch": lonely | crowd}, agrees, RNG)[0]
    assert (crowded.estimate, crowded.verdict) == (alone.estimate, "inconclusive")
    assert "the interval alone would contradict it" in crowded.reason
    elsewhere = decide(SomeClaim(), {"torch": lonely, "jax": lonely | crowd}, agrees, RNG)[0]
    assert elsewhere == alone
    exact = [Identity(**text(f"identity-{k}", "i"), tolerance=1.0) for k in range(40)]
    broken = {n: (c, {w: s | {"i": np.full(8, 2.0)} for w, s in q.items()}) for n, (c, q) in lonely.items()}
    beside = decide(SomeClaim(*SomeClaim.expectations, *exact), {"torch": broken}, AGREES, RNG)
    assert beside[0].p_value == alone.p_value
    assert {r.verdict for r in beside} == {"contradicted"}


def test_rival_readings_are_judged_and_counted_like_the_rest() -> None:
    """Their rejection is reported as a finding: as a family of their own they would add a chance of error."""
    rate, reading = text("rate"), text("reading")
    cases = {f"case-{k}": (case(), power(-1.0, spread=0.2, draw=k)) for k in range(4)} | {"flat": study()["flat"]}
    verdicts = []
    for rival in ({}, {"rival_to": "rate"}):
        claim = SomeClaim(Rate(**rate, exponent=-1.0, margin=0.2), Bound(**reading, exponent=-1.5, margin=0.2, **rival))
        verdicts.append(decide(claim, {"torch": cases}, dict.fromkeys(cases, True), RNG))
    assert verdicts[0] == verdicts[1]
    alone = decide(SomeClaim(Rate(**rate, exponent=-1.0, margin=0.2)), {"torch": cases}, dict.fromkeys(cases, True), RNG)
    assert min(row.p_value for row in alone) < min(row.p_value for row in verdicts[1] if row.expectation == "rate")


def test_large_families_get_enough_resamples_to_be_decided(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ntkbench.verdicts.decide.RESAMPLES", 99)
    cases = {f"case-{k}": (case(), power(-1.0, spread=0.001, draw=k)) for k in range(20)}
    cases["flat"] = (case("broken"), power(0.0))
    rows = decide(SomeClaim(), {"torch": cases}, dict.fromkeys(cases, True), RNG)
    assert {r.verdict for r in rows} == {"supported"}


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.9]) == [1.0, 1.0]
    assert holm([]) == []
