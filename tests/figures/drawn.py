"""Figures of synthetic tables, and what was drawn in them."""

from collections.abc import Mapping

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure

from ntkbench.claims import Claim
from ntkbench.claims.base import Case, Panel
from ntkbench.figures import compose
from tests.figures import synthetic


def composed(claim: Claim, table: pd.DataFrame | None = None, cases: Mapping[str, Case] | None = None) -> Figure:
    cases = cases or synthetic.cases()[claim.id]
    slopes = synthetic.PLANTED[claim.id]
    table = synthetic.table(claim, cases, slopes) if table is None else table
    return compose(claim, table, synthetic.verdicts(claim, cases, slopes), cases=cases)


def with_panels(claim: Claim, *panels: Panel) -> Claim:
    other: Claim = type("Other", (type(claim),), {"figure": panels})()
    return other


def bars(axes: Axes) -> dict[str, ErrorbarContainer]:
    """Label (`case|backend`) -> what errorbar drew."""
    return {str(c.get_label()).removeprefix("_"): c for c in axes.containers if isinstance(c, ErrorbarContainer)}
