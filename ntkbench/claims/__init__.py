"""The claims, found by their place: `ntkbench/claims/<family>/<name>.py` defines `CLAIM`."""

import importlib
from functools import cache
from pathlib import Path

from ntkbench import names
from ntkbench.claims.base import Case, Claim, Panel, TrainingCase

FAMILIES = ("convergence", "constancy", "hierarchy", "gap")


@cache
def all_claims() -> dict[str, Claim]:
    """Every claim by id, in the order of the families and then of the file names.

    Raises:
        TypeError: for a file that defines no `CLAIM`, or one of another id than its place, or whose expectations or figure name
            what it does not declare.
    """
    here = Path(__file__).parent
    claims: dict[str, Claim] = {}
    for family in FAMILIES:
        for file in sorted((here / family).glob("*.py")):
            if file.stem != "__init__":
                place = f"{family}/{file.stem}"
                claim = getattr(importlib.import_module(f"ntkbench.claims.{family}.{file.stem}"), "CLAIM", None)
                if not isinstance(claim, Claim):
                    raise TypeError(f"ntkbench/claims/{place}.py has no claim: end it with CLAIM, an instance of its class")
                if claim.id != place:
                    raise TypeError(f"ntkbench/claims/{place}.py has a claim of id {claim.id!r}: make it {place!r}")
                claim.check_declared()
                claims[claim.id] = claim
    return claims


def get(claim_id: str) -> Claim:
    """The claim with this id; ValueError names the nearest known one, or those of the family that was given."""
    if claim_id in FAMILIES:
        of_family = (known for known in all_claims() if known.startswith(f"{claim_id}/"))
        raise ValueError(f"claim {claim_id!r} is a family of claims; choose one of {', '.join(of_family)}")
    names.check("claim", claim_id, all_claims())
    return all_claims()[claim_id]


__all__ = ["FAMILIES", "Case", "Claim", "Panel", "TrainingCase", "all_claims", "get"]
