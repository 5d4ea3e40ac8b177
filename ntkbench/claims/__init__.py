"""The claims, found by their place: `ntkbench/claims/<family>/<name>.py` defines `CLAIM`."""

import difflib
import importlib
from functools import cache
from pathlib import Path

from ntkbench.claims.base import Case, Claim, Panel, TrainingCase

FAMILIES = ("convergence", "constancy", "hierarchy", "gap")


@cache
def all_claims() -> dict[str, Claim]:
    """Every claim by id, in the order of the families and then of the file names."""
    here = Path(__file__).parent
    claims = {}
    for family in FAMILIES:
        for file in sorted((here / family).glob("*.py")):
            if file.stem != "__init__":
                claim: Claim = importlib.import_module(f"ntkbench.claims.{family}.{file.stem}").CLAIM
                claims[claim.id] = claim
    return claims


def get(claim_id: str) -> Claim:
    """The claim with this id; KeyError-free: ValueError names the known ones."""
    if claim_id not in all_claims():
        of_family = [known for known in all_claims() if known.startswith(f"{claim_id}/")]
        near = of_family or difflib.get_close_matches(claim_id, all_claims(), n=1)
        told = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(all_claims())}"
        raise ValueError(f"unknown claim {claim_id!r}; {told}")
    return all_claims()[claim_id]


__all__ = ["FAMILIES", "Case", "Claim", "Panel", "TrainingCase", "all_claims", "get"]
