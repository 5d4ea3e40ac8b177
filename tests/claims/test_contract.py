"""Every claim keeps the contract of `ntkbench.claims.base`."""

import re
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest

import ntkbench.claims
from ntkbench.claims import FAMILIES, all_claims, get
from ntkbench.claims.base import Claim

CLAIMS = list(all_claims().values())


def test_a_claim_is_found_by_its_place():
    files = {p for family in FAMILIES for p in (Path(ntkbench.claims.__file__).parent / family).glob("[!_]*.py")}
    assert {f"{p.parent.name}/{p.stem}" for p in files} == set(all_claims())


def test_every_family_has_a_claim():
    assert {claim_id.split("/")[0] for claim_id in all_claims()} == set(FAMILIES)


def test_unknown_claim_is_refused_by_name():
    with pytest.raises(ValueError, match="unknown claim 'hierarchy/truncated'.*hierarchy/truncation"):
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
    common = {"dataset": "sphere", "train_size": 4, "input_dim": 8, "depth": 1, "widths": (8, 16), "seeds": 2}
    flow = {"step": 0.5, "times": (1.0,), "integrator": "rk4"}
    tanh = claim.case_type(activation="tanh", **common, **flow)
    control = claim.case_type(activation="tanh", control="mean_field", **common, **flow)
    for case in (tanh, control):
        assert smooth.applies(case)
        assert not relu.applies(case)
