"""The files of a published run against the hashes that were published with them: changed, lost, or put there since."""

from collections.abc import Iterator
from pathlib import Path

from ntkbench.config import Study
from ntkbench.files import RecordError, read_json
from ntkbench.publish import FILES, fingerprint, places


def listed(folder: Path) -> dict[str, str] | None:
    """The hash of each published file; None for a run that was published without.

    Raises:
        RecordError: if the list is damaged, or names a file that does not lie in the folder.
    """
    path = folder / FILES
    if not path.is_file():
        return None
    hashes = read_json(path)
    if not isinstance(hashes, dict) or not all(isinstance(sha, str) for sha in hashes.values()):
        raise RecordError(f"{path} is damaged: it is no mapping of files to hashes")
    for name in hashes:
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise RecordError(f"{path} is damaged: it names {name}, which is not in {folder}")
    return hashes


def faults(folder: Path, study: Study, hashes: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Each file that is not as it was published, by its place in the folder, and what is wrong with it."""
    for name, published in hashes.items():
        path = folder / name
        try:
            found = fingerprint(path)
        except RecordError as error:
            yield name, str(error)
            continue
        if found != published:
            yield name, f"{path} is not the published one: its sha256 is {found[:12]}, {FILES} has {published[:12]}"
    for name in places(study):
        if name not in hashes and (folder / name).exists():
            yield name, f"{folder / name} was not published: {FILES} does not have it"
