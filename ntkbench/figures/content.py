"""What a panel draws from."""

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from ntkbench.claims.base import Case, Claim, Panel
from ntkbench.figures import series
from ntkbench.figures.places import Places
from ntkbench.figures.series import Line

FIRST, SECOND = "torch", "jax"
"""Drawn as filled marks and as open squares."""


@dataclass(frozen=True)
class Content:
    """All that a panel draws from.

    Attributes:
        claim, panel: as data.
        cases: name -> case, regular cases and controls, in the order of the study.
        quantities, verdicts: tidy tables, of this claim.
        places: of quantities and cases among colours, marks and dashes, the same in all panels of the figure.
        letters: that fit on a line as wide as the panel.
    """

    claim: Claim
    panel: Panel
    cases: Mapping[str, Case]
    quantities: pd.DataFrame
    verdicts: pd.DataFrame
    places: Places
    letters: int

    @property
    def backends(self) -> list[str]:
        """Those in the table, in the order in which they are drawn."""
        return backends(self.quantities)

    def lines(self) -> list[Line]:
        """What the panel draws; ValueError if there is nothing."""
        return series.lines(self.claim, self.panel, self.cases, self.quantities)


def backends(quantities: pd.DataFrame) -> list[str]:
    """Those in the table, torch first, so that jax is drawn over it."""
    return sorted(quantities["backend"].unique(), key=lambda name: (name != FIRST, name))
