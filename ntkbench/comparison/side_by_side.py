"""Whether one run reproduces another, by a rule that says what the two must have in common."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

from ntkbench.comparison.levels import Level, Outcome
from ntkbench.comparison.observables import ComparedObservable, compare_observables, disagreements
from ntkbench.comparison.runs import Run
from ntkbench.comparison.verdicts import NOT_HERE, NOT_THERE, ComparedVerdict, compare_verdicts

_OF_THE_RUN = ("study", "measured_seconds", "peak_memory_bytes", "results_version", "root")
"""Facts that say what was run or what it cost, not where."""


@dataclass(frozen=True)
class Difference:
    """A fact of the environment that the two runs do not share, as text; `none` where one lacks it."""

    fact: str
    here: str
    there: str


@dataclass(frozen=True)
class ClaimSummary:
    """A claim in two runs.

    Attributes:
        observables, verdicts: the lowest level that any of them reached, None where none was compared.
        outcomes: how many observables and verdicts have each outcome.
    """

    claim: str
    observables: Level | None
    verdicts: Level | None
    outcomes: Mapping[Outcome, int]

    @property
    def outcome(self) -> Outcome:
        """Of the whole claim."""
        return _worst(self.outcomes)


@dataclass(frozen=True)
class Comparison:
    """Two runs side by side.

    Attributes:
        verdicts, observables: every row; no observables where they are of other draws or a run keeps tables only.
        required: the level that verdicts must reach; observables must reach `Level.ROUNDING`.
        why: why that level, in a sentence.
        unmatched: verdicts that one run alone has, where the two are of different studies: these are not listed.
        differences: what is different in the environments.
    """

    verdicts: Sequence[ComparedVerdict]
    observables: Sequence[ComparedObservable]
    required: Level
    why: str
    unmatched: int
    differences: Sequence[Difference]

    @property
    def rows(self) -> list[ComparedVerdict | ComparedObservable]:
        """Verdicts, then observables."""
        return [*self.verdicts, *self.observables]

    @property
    def outcome(self) -> Outcome:
        """Of the whole: *differs* where anything differs, else *lost*, else *reproduced* where anything was compared."""
        return _worst(Counter(row.outcome for row in self.rows))

    def claims(self) -> list[ClaimSummary]:
        """One summary per claim, in order of name."""
        rows = sorted(self.rows, key=lambda row: row.claim)
        summaries = []
        for claim, group in groupby(rows, key=lambda row: row.claim):
            found = list(group)
            observables, verdicts = (
                min((row.level for row in found if isinstance(row, kind) and row.level is not None), default=None)
                for kind in (ComparedObservable, ComparedVerdict)
            )
            summaries.append(ClaimSummary(claim, observables, verdicts, Counter(row.outcome for row in found)))
        return summaries


def compare(run: Run, reference: Run, *, across_versions: bool = False) -> Comparison:
    """Compare a run with a reference by the level that their draws let expect.

    Two runs of one study from the same root in the same precision have the same draws, whatever the machine, the number of
    threads, the order of the jobs, the device and the versions of libraries: verdicts and observables must agree *within
    rounding*. From another root or in another precision, of another study, or where the root was not recorded, verdicts must
    agree *within interval*, and observables are compared only if root and precision are the same. Two runs of one study and
    root must ask the same in every verdict and case, or these differ; of others they are not comparable then. Where this run's
    own cross-check failed, it differs. Runs of different results versions are *not comparable* at all: the code that made them
    gives other results on purpose.

    Args:
        across_versions: compare results of different versions all the same.

    Raises:
        RecordError: if a record is missing or damaged.
        ValueError: if a run has two verdicts for one question.
    """
    same_study = run.study == reference.study
    names_differ = None not in (run.study, reference.study) and not same_study
    required, why = _required(run, reference)
    versions = (run.results_version, reference.results_version)
    verdicts = compare_verdicts(
        run.verdicts, reference.verdicts, required, _rounding(run, reference), same_questions=run.asks_as(reference)
    )
    unmatched = 0
    if names_differ:
        shared = [row for row in verdicts if row.reason not in (NOT_HERE, NOT_THERE)]
        verdicts, unmatched = shared, len(verdicts) - len(shared)
    observables: list[ComparedObservable] = []
    if versions[0] != versions[1] and not across_versions:
        here, there = ("none" if version is None else str(version) for version in versions)
        why = f"the results version is {here} here, {there} there"
        verdicts = [replace(row, level=None, outcome="not comparable", reason=why) for row in verdicts]
    else:
        compared = compare_observables(run, reference) if _same_draws(run, reference) else ()
        observables = [*disagreements(run), *compared]
    return Comparison(verdicts, observables, required, why, unmatched, _differences(run.facts, reference.facts))


def _worst(outcomes: Mapping[Outcome, int]) -> Outcome:
    order: tuple[Outcome, ...] = ("differs", "lost", "reproduced")
    return next((outcome for outcome in order if outcomes.get(outcome)), "not comparable")


def _required(run: Run, reference: Run) -> tuple[Level, str]:
    if run.root is None or reference.root is None:
        return Level.INTERVAL, "a root was not recorded, so that draws may be others"
    if run.root != reference.root:
        return Level.INTERVAL, f"other draws: the root is {run.root} here, {reference.root} there"
    if not _same_draws(run, reference):
        here, there = (", ".join(sorted(of.precisions)) or "not recorded" for of in (run, reference))
        return Level.INTERVAL, f"the precision is {here} here, {there} there"
    if run.study != reference.study:
        return Level.INTERVAL, "another study, whose cases may have other settings"
    return Level.ROUNDING, "the same draws: one study, one root, one precision"


def _same_draws(run: Run, reference: Run) -> bool:
    same_root = run.root is not None and run.root == reference.root
    return same_root and len(run.precisions) == 1 and run.precisions == reference.precisions


def _rounding(run: Run, reference: Run) -> dict[tuple[str, str], float]:
    """What both cross-checks allow, the smaller of the two."""
    shared = run.rounding.keys() & reference.rounding.keys()
    return {key: min(run.rounding[key], reference.rounding[key]) for key in shared}


def _differences(here: Mapping[str, Any], there: Mapping[str, Any]) -> list[Difference]:
    mine, theirs = dict(_flat(here)), dict(_flat(there))
    names = [name for name in {**mine, **theirs} if mine.get(name) != theirs.get(name)]
    return [Difference(name, mine.get(name, "none"), theirs.get(name, "none")) for name in names]


def _flat(facts: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Facts as text by dotted names; `torch threads` for those of a backend, several devices joined."""
    for name, value in sorted(facts.items()):
        if name == "backends":
            for backend, devices in sorted(value.items()):
                for fact in sorted({fact for device in devices for fact in device}):
                    yield f"{backend} {fact}", ", ".join(dict.fromkeys(str(device.get(fact)) for device in devices))
        elif name == "versions":
            yield from ((f"version of {package}", str(version)) for package, version in sorted(value.items()))
        elif name not in _OF_THE_RUN:
            yield name, str(value)
