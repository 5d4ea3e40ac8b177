"""Whether an installation can be trusted: what is there, what is wrong with it, and what to do about it."""

from collections.abc import Iterator
from pathlib import Path

from ntkbench.doctor import frameworks, machine, packages, tools
from ntkbench.doctor.finding import Finding


def examine(study: Path, results: Path) -> Iterator[Finding]:
    """Each check in turn, as soon as it is done; about 40 seconds in all on one core, most of them in the two frameworks.

    Args:
        study: the file of the study that shall run here.
        results: the folder that runs write to; nothing stays in it.
    """
    yield from packages.check()
    yield from frameworks.check()
    yield from machine.check(study, results)
    yield from tools.check()


__all__ = ["Finding", "examine"]
