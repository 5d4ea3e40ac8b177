"""From a number back to what it was made of: every link is checked, and made again where that is cheap."""

from ntkbench.trace.link import Link, of_paper
from ntkbench.trace.of_claim import of_claim
from ntkbench.trace.of_study import of_costs, of_study
from ntkbench.trace.places import CHECK, COST, EXAMPLE, SETTING, STUDY
from ntkbench.trace.run import Run


def follow(run: Run, address: str) -> list[Link]:
    """The links from the paper to the command that makes it again, in this order.

    Args:
        address: of a verdict, `<claim>/<expectation>/<case>`; of a claim; or as `places` gives it.

    Raises:
        ValueError: for an address that this study does not have.
    """
    first, _, rest = address.partition("/")
    if first == COST:
        return of_costs(run)
    if first in (STUDY, SETTING):
        return of_study(run, address)
    claim = next(iter(run.study.cases)) if first == EXAMPLE else "/".join((rest if first == CHECK else address).split("/")[:2])
    if claim not in run.study.cases:
        raise ValueError(f"the study {run.study.name} has no {address}; it has the claims {', '.join(run.study.cases)}")
    parts = address.split("/") if first not in (CHECK, EXAMPLE) else []
    expectation, case = (parts[2], parts[3]) if len(parts) == 4 else (None, None)
    links = of_claim(run, claim, expectation, case)
    name = "example" if first == EXAMPLE else "claims"
    return [*of_paper(run, (name,), links), *links]
