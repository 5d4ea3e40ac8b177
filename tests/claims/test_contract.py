"""Every claim keeps the contract of `ntkbench.claims.base`."""

import importlib
import re
from dataclasses import FrozenInstanceError
from pathlib import Path

import numpy as np
import pytest

import ntkbench.claims
from ntkbench.backends import Backend
from ntkbench.claims import FAMILIES, all_claims, get
from ntkbench.claims.base import Claim
from ntkbench.crosscheck import TOLERANCES
from tests.claims.tiny import CONVERGENCE, case_of

CLAIMS = list(all_claims().values())

SPLIT = {claim.id for claim in CLAIMS if claim.id.startswith("gap/")} - {"gap/kernel_methods"}
"""Whose replicates are splits or networks of one pool of images; tabular sets are the replicates of the other."""

LOOSEST = 1e-3
"""Largest relative difference of two float64 computations that may still count as agreement."""


def test_a_claim_is_found_by_its_place():
    files = {p for family in FAMILIES for p in (Path(ntkbench.claims.__file__).parent / family).glob("[!_]*.py")}
    assert {f"{p.parent.name}/{p.stem}" for p in files} == set(all_claims())


def test_every_family_has_a_claim():
    assert {claim_id.split("/")[0] for claim_id in all_claims()} == set(FAMILIES)


def test_unknown_claim_is_refused_by_name():
    with pytest.raises(ValueError, match="claim 'hierarchy/truncated' is unknown; did you mean 'hierarchy/truncation'"):
        get("hierarchy/truncated")


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.id)
def test_claims_are_complete(claim: Claim):
    for name in ("title", "statement", "source", "assumptions", "limitations", "caption"):
        assert len(getattr(claim, name)) > 10, name
    assert claim.reference_ids
    assert claim.figure
    assert claim.expectations
    assert claim.controls
    assert re.fullmatch(r"[a-z]+/[a-z_]+", claim.id)


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.id)
def test_expectations_and_panels_speak_of_declared_things(claim: Claim):
    names = [e.name for e in claim.expectations]
    assert len(names) == len(set(names))
    case_fields = set(claim.case_type.__dataclass_fields__)
    for e in claim.expectations:
        assert e.control in claim.controls
        assert e.quantity in claim.quantities
        assert e.control_quantity is None or e.control_quantity in claim.quantities
        assert set(e.where) <= case_fields
    for panel in claim.figure:
        assert set(panel.quantities) <= set(claim.quantities)
        assert set(panel.where) <= case_fields


def test_expectations_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        CLAIMS[0].expectations[0].margin = 1.0


def test_an_expectation_applies_to_its_cases_and_its_control_only():
    claim = get("constancy/gradient_flow")
    smooth, relu, _ = claim.expectations
    for control in (None, "mean_field"):
        case = case_of(claim.id, activation="tanh", control=control)
        assert smooth.applies(case)
        assert not relu.applies(case)


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.id)
def test_what_may_be_adjusted_in_a_control_is_a_field_of_its_case(claim: Claim):
    assert {"control", "widths", "seeds"} <= claim.case_type.adjustable <= set(claim.case_type.__dataclass_fields__)


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.id)
def test_a_claim_measures_and_summarizes_what_it_declares(claim: Claim, backend: Backend):
    everything = {"statistic": "bias", "depth": 2} if claim.id == CONVERGENCE else {}
    for control in (None, *claim.controls):
        case = case_of(claim.id, control=control, **everything)
        arrays = claim.measure(backend, case, claim.prepare(case, 1), 8, 1)
        assert set(claim.growth) <= set(arrays)
        for name, array in arrays.items():
            assert np.isfinite(array).all(), name
            allowed = TOLERANCES["float64", "cpu"] * claim.growth.get(name, 1.0)
            assert TOLERANCES["float64", "cpu"] <= allowed <= LOOSEST, name
        summary = claim.summarize(case, arrays, 8)
        assert set(claim.quantities) <= set(summary)
        for name, values in summary.items():
            assert values.shape in {(2,), (2, len(claim.along(case)))}, name
        assert all(isinstance(problem, str) for problem in claim.violations(case, {8: summary}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"controls": {"other": "something else"}}, "names control '.*'; the claim declares other"),
        ({"quantities": {"other": "something else"}}, "names quantity '.*'; the claim declares other"),
    ],
)
def test_a_claim_that_speaks_of_what_it_does_not_declare_is_refused(
    change: dict[str, dict[str, str]], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = CLAIMS[0]
    strange = type("Strange", (type(claim),), change)()
    monkeypatch.setattr(importlib.import_module(f"ntkbench.claims.{claim.id.replace('/', '.')}"), "CLAIM", strange)
    with pytest.raises(TypeError, match=message):
        all_claims.__wrapped__()


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({}, "panel 'At initialization' of several quantities names label 'size_2'; the claim declares $"),
        (get("hierarchy/sizes").labels | {"size_2": "$K_3$"}, "panel 'At initialization' draws two quantities of one label"),
        (get("hierarchy/sizes").labels | {"extent": "extent"}, "labels names quantity 'extent'; the claim declares size_2"),
    ],
)
def test_what_a_panel_of_several_quantities_draws_has_a_label_of_its_own(labels: dict[str, str], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        type("Strange", (type(get("hierarchy/sizes")),), {"labels": labels}).check_declared()


@pytest.mark.parametrize(
    ("claim", "message"),
    [
        (None, "constancy/gradient_flow.py has no claim: end it with CLAIM"),
        (all_claims()["hierarchy/sizes"], "has a claim of id 'hierarchy/sizes': make it 'constancy/gradient_flow'"),
    ],
)
def test_a_file_without_a_claim_of_its_name_is_refused(
    claim: Claim | None, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.import_module("ntkbench.claims.constancy.gradient_flow"), "CLAIM", claim)
    with pytest.raises(TypeError, match=message):
        all_claims.__wrapped__()


def test_a_claim_that_leaves_something_out_is_refused_by_name():
    with pytest.raises(TypeError, match="claim Empty lacks id, title, statement.*growth"):
        type("Empty", (Claim,), {})


@pytest.mark.parametrize("claim_id", sorted(SPLIT))
def test_intervals_over_splits_of_one_pool_say_that_they_speak_of_its_average(claim_id: str):
    assert "average over splits of this pool" in get(claim_id).limitations
