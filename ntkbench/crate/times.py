"""When the jobs of a run began and ended, by Snakemake's notes."""

import base64
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from ntkbench import files


def times(checkout: Path, places: Iterable[str]) -> dict[str, str]:
    """Start of the first and end of the last of the jobs that made some files, as Snakemake noted them, if it did."""
    folder = checkout / ".snakemake" / "metadata"
    wanted, spans = set(places), []
    for file in folder.rglob("*") if folder.is_dir() else ():
        # A long name is cut into folders whose names begin with @.
        coded = "".join(part.removeprefix("@") for part in file.relative_to(folder).parts)
        try:
            name = base64.b64decode(coded, validate=True).decode()
            spans += [(noted["starttime"], noted["endtime"]) for noted in [files.read_json(file)] if name in wanted]
        except (ValueError, KeyError, files.RecordError):
            continue
    if not spans:
        return {}
    ends = {"startTime": min(start for start, _ in spans), "endTime": max(end for _, end in spans)}
    return {name: datetime.fromtimestamp(second, UTC).isoformat(timespec="seconds") for name, second in ends.items()}
