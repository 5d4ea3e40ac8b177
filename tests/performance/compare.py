"""Which primitives became slower: `python -m tests.performance.compare BASE NEW`.

Rounds of ours and of the roofline took turns. Each stretch of a few rounds gives one ratio, of ours at its fastest to the
roofline at its fastest: minima leave out what other programs held up, and the roofline beside it leaves out a machine that
slows down while it measures, and the speed of another machine. A primitive became slower if its new ratios are larger
than `SMALLEST` times its old ones by a one-sided Mann-Whitney test, at `LEVEL` after Holm's correction over all
primitives that are compared. Changes below `SMALLEST` are let pass.

Exits with 0 where nothing became slower, with 1 where something did, with 2 where the runs cannot be compared.
"""

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.stats import mannwhitneyu

from tests.performance.ratios import table
from tests.performance.rounds import Key, Measured, Run, label, read

SMALLEST = 1.15
LEVEL = 0.05
STRETCH, FEWEST = 4, 8
"""Rounds of a stretch, and the least number of stretches: with fewer no change at all would be seen through the correction, and
primitives with fewer rounds are not compared."""


@dataclass(frozen=True)
class Change:
    """One primitive in two runs: median ratio to the roofline in each, and the p-value after Holm's correction."""

    key: Key
    before: float
    now: float
    p: float

    @property
    def slower(self) -> bool:
        return self.p <= LEVEL


def compare(base: Run, new: Run) -> list[Change]:
    """All primitives that both runs have with the same roofline and rounds enough, the most slowed first.

    Raises:
        ValueError: if there is none, or the runs used different devices or threads.
    """
    for name in ("device", "threads"):
        before, now = getattr(base, name), getattr(new, name)
        if before != now:
            raise ValueError(
                f"not comparable: {name} {before} in the base and {now} in the new run; run it as the base was run"
            )
    keys = [key for key in shared(base, new) if not redefined(key, base, new) and not too_few(key, base, new)]
    if not keys:
        raise ValueError(f"not comparable: the runs have no primitive in common with the same roofline and {FEWEST} rounds")
    ratios = [(relative(base.measured[key]), relative(new.measured[key])) for key in keys]
    values = holm(np.array([slowed(*pair) for pair in ratios]))
    changes = [
        Change(key, float(np.median(before)), float(np.median(now)), float(p))
        for key, (before, now), p in zip(keys, ratios, values, strict=True)
    ]
    return sorted(changes, key=lambda change: change.before / change.now)


def shared(base: Run, new: Run) -> list[Key]:
    """The primitives of both runs."""
    return [key for key in new.measured if key in base.measured]


def too_few(key: Key, base: Run, new: Run) -> bool:
    """Whether one of the runs has too few rounds of the primitive for any change to be seen."""
    return any(min(len(run.measured[key].ours), len(run.measured[key].roofline)) < FEWEST for run in (base, new))


def redefined(key: Key, base: Run, new: Run) -> bool:
    """Whether the primitive is measured against other matrix products now."""
    return base.measured[key].products != new.measured[key].products


def relative(measured: Measured) -> np.ndarray:
    """The ratio to the roofline in each stretch of rounds."""
    count = max(FEWEST, len(measured.ours) // STRETCH)
    stretches = zip(np.array_split(measured.ours, count), np.array_split(measured.roofline, count), strict=True)
    return np.array([ours.min() / roofline.min() for ours, roofline in stretches])


def slowed(before: np.ndarray, now: np.ndarray) -> float:
    """The p-value of "at most `SMALLEST` times slower"."""
    return float(mannwhitneyu(now, SMALLEST * before, alternative="greater").pvalue)


def holm(p: np.ndarray) -> np.ndarray:
    """Holm's step-down adjusted p-values."""
    order = np.argsort(p)
    adjusted = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    found = np.empty_like(p)
    found[order] = np.minimum(adjusted, 1.0)
    return found


def report(base: Run, new: Run, changes: list[Change]) -> str:
    """What became slower, and what was not compared."""
    lines = []
    if base.processor != new.processor:
        lines.append(f"Another machine: {base.processor} before; ratios to the roofline leave its speed out")
    for words, keys in (
        ("only in the base", [key for key in base.measured if key not in new.measured]),
        ("only in the new run", [key for key in new.measured if key not in base.measured]),
        ("with another roofline", [key for key in shared(base, new) if redefined(key, base, new)]),
        ("too few rounds", [key for key in shared(base, new) if too_few(key, base, new) and not redefined(key, base, new)]),
    ):
        if keys:
            lines.append(f"Not compared, {words}: {'; '.join(map(label, keys))}")
    slower = [change for change in changes if change.slower]
    if slower:
        columns = ("slower", "ours/roofline before", "now", "change", "p")
        cells = [(label(c.key), f"{c.before:.3g}", f"{c.now:.3g}", f"x {c.now / c.before:.2f}", f"{c.p:.1g}") for c in slower]
        lines.append(table(columns, cells))
    worst = changes[0]
    lines.append(
        f"{len(changes)} primitives compared, {len(slower)} became slower by more than {SMALLEST - 1:.0%}; "
        f"the largest change is x {worst.now / worst.before:.2f} ({label(worst.key)})"
    )
    return "\n".join(lines)


def main() -> None:
    """Print the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("base", type=Path, help="the stored run")
    parser.add_argument("new", type=Path, nargs="?", help="the run in question")
    paths = parser.parse_args()
    if paths.new is None:
        parser.error("there is no run to compare: `make benchmark` makes one")
    try:
        base, new = read(paths.base), read(paths.new)
        changes = compare(base, new)
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    print(report(base, new, changes))
    sys.exit(any(change.slower for change in changes))


if __name__ == "__main__":
    main()
