"""Where the files of a case lie in the folder of a run, `results/<study>`, and how a claim's figure is called."""

from pathlib import Path


def inputs(run: Path, claim: str, case: str) -> Path:
    """The record of a case's data."""
    return run / "inputs" / claim / f"{case}.npz"


def measurement(run: Path, claim: str, case: str, backend: str) -> Path:
    """The record of a case's measurement."""
    return run / "measurements" / claim / case / f"{backend}.npz"


def crosscheck(run: Path, claim: str, case: str) -> Path:
    """The cross-check of a case."""
    return run / "crosscheck" / claim / f"{case}.csv"


def figure(claim: str) -> str:
    """The name of a claim's figure in `paper/figures`, without its ending."""
    return claim.replace("/", "-")
