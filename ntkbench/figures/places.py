"""Which colour, dashes and mark a line has: chosen once for a figure, the same in all of its panels.

Where every panel draws one quantity, colours tell cases apart. Where a panel draws several, a quantity has a colour and a mark
throughout the figure, which it shares with those of its label, and dashes tell cases apart; but for a panel of one quantity
that names no order, in which colours do.
Order p, of a truncation or of a kernel, is at place p - 2 of colours and marks wherever a quantity's name ends with it; others
come after the orders. Controls are grey and have their quantity's mark.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from ntkbench.claims.base import Case, Claim, Panel

ORDER = re.compile(r"_p?([2-6])(?=_|$)")
"""As quantities name it: `error_p4_path`, `size_3_flow`."""
LOWEST, HIGHEST = 2, 6


@dataclass(frozen=True)
class Places:
    """Places among colours, marks and dashes.

    Attributes:
        several: whether any panel draws several quantities.
        quantities: quantity -> place.
        cases: regular case -> place.
    """

    several: bool
    quantities: Mapping[str, int]
    cases: Mapping[str, int]

    def by_quantity(self, panel: Panel) -> bool:
        """Whether the panel's colours tell quantities apart, and not cases."""
        return self.several and (len(panel.drawn) > 1 or ORDER.search(panel.drawn[0]) is not None)


def of_figure(claim: Claim, cases: Mapping[str, Case]) -> Places:
    """The places in the figure of a claim, for the cases of a study."""
    several = any(len(panel.drawn) > 1 for panel in claim.figure)
    return Places(several, _of_quantities(claim), _of_cases(claim, cases))


def of_order(order: int) -> int:
    """The place of an order among the colours and marks."""
    return order - LOWEST


def _of_quantities(claim: Claim) -> dict[str, int]:
    shown = dict.fromkeys(name for panel in claim.figure for name in panel.drawn)
    orders = {name: int(found[1]) for name in shown if (found := ORDER.search(name))}
    others = list(dict.fromkeys(claim.label(name) for name in shown if name not in orders))
    first = of_order(HIGHEST) + 1 if orders else 0
    return {name: of_order(orders[name]) if name in orders else first + others.index(claim.label(name)) for name in shown}


def _of_cases(claim: Claim, cases: Mapping[str, Case]) -> dict[str, int]:
    """The first place that no case beside it in any panel has."""
    regular = {name: case for name, case in cases.items() if case.control is None}
    chosen = [{name for name, case in regular.items() if panel.selects(case)} for panel in claim.figure]
    places: dict[str, int] = {}
    for name in regular:
        beside = {other for group in chosen if name in group for other in group}
        taken = {places[other] for other in beside if other in places}
        places[name] = min(set(range(len(regular))) - taken)
    return places
