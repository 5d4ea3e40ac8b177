"""The code that a record names by its hash: this checkout's, or that of a commit."""

import re
import subprocess
import tempfile
from functools import cache
from pathlib import Path

from ntkbench.provenance import PACKAGE, ROOT, code_hash
from ntkbench.stages.dependencies import stage_code, stage_hash


@cache
def at_commit(commit: str, stage: str, claim: str, backend: str | None) -> str | None:
    """The hash that a stage's code had at a commit; None if the repository does not have it, or not such code.

    What `stage_hash` is for the checkout, over the files as git keeps them.
    """
    folder = _files_of(commit)
    if folder is None:
        return None
    root = Path(folder.name)
    try:
        return code_hash(stage_code(stage, claim, backend, root), root)
    except ValueError:
        return None


def told(recorded: str, facts: dict[str, object], stage: str, claim: str, backend: str | None = None) -> tuple[bool, bool, str]:
    """Where the code of a record is.

    Args:
        recorded: the hash in the record.
        facts: the `environment` of the record.

    Returns:
        Whether it is anywhere, whether it is this checkout's, and both in words.
    """
    commit = str(facts["commit"])
    named = f"commit {commit[:12]}" + (" with uncommitted changes" if facts["dirty"] else "")
    then = at_commit(commit, stage, claim, backend)
    if recorded == stage_hash(stage, claim, backend):
        doubt = "" if then == recorded or facts["dirty"] else ", whose code is another" if then else ", which is not here"
        return True, True, f"{recorded[:12]}, that of this checkout; made at {named}{doubt}"
    if recorded == then:
        return True, False, f"{recorded[:12]}, changed since: {named} has it, this checkout another"
    why = "which the repository here does not have" if then is None else "whose code has another hash"
    return False, False, f"{recorded[:12]} is neither this checkout's nor that of {named}, {why}"


@cache
def _files_of(commit: str) -> tempfile.TemporaryDirectory[str] | None:
    """The package as a commit has it, in a folder that lasts as long as this process."""
    if not re.fullmatch("[0-9a-f]{40}", commit):
        return None
    archive = subprocess.run(["git", "-C", str(ROOT), "archive", commit, PACKAGE], capture_output=True, check=False)
    if archive.returncode != 0:
        return None
    folder = tempfile.TemporaryDirectory(prefix="ntkbench-code-")
    subprocess.run(["tar", "-x", "-C", folder.name], input=archive.stdout, check=True)
    return folder
