"""Two runs of a study side by side: what came out again, how nearly, and what is different in the two."""

from ntkbench.comparison.levels import Level, Outcome
from ntkbench.comparison.observables import ComparedObservable
from ntkbench.comparison.page import html_page
from ntkbench.comparison.runs import Run, read_run
from ntkbench.comparison.side_by_side import ClaimSummary, Comparison, Difference, compare
from ntkbench.comparison.verdicts import ComparedVerdict, compare_verdicts

__all__ = [
    "ClaimSummary",
    "ComparedObservable",
    "ComparedVerdict",
    "Comparison",
    "Difference",
    "Level",
    "Outcome",
    "Run",
    "compare",
    "compare_verdicts",
    "html_page",
    "read_run",
]
