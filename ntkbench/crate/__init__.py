"""A run as a Workflow Run RO-Crate: the workflow, one action with its inputs and outputs, hashes and versions.

What a run does not record (who started it) is left out.
"""

from pathlib import Path

from ntkbench import files
from ntkbench.crate import contents, entities
from ntkbench.crate.entities import METADATA
from ntkbench.crate.times import times
from ntkbench.trace.run import Run

__all__ = ["METADATA", "build", "times"]


def build(run: Run, output: Path) -> Path:
    """Write the crate of a run into a new folder.

    Files keep the places that they have in the checkout.

    Returns:
        The metadata file.

    Raises:
        ValueError: if `output` holds anything, or a result is a link, which may lead to what is no result.
        RecordError: if a table is damaged or not what its note says, or the crate cannot be written.
    """
    if output.exists() and any(output.iterdir()):
        raise ValueError(f"{output} is not empty: name a new folder, or remove it")
    found = dict(contents.results(run))
    contents.refuse_other(found)
    taken = [(file, place) for place, (file, _) in found.items()]
    for source, place in [*contents.workflow_files(), (run.study_file, contents.study(run)), *taken]:
        contents.put(source, output / place)
    files.write_json(output / METADATA, {"@context": entities.CONTEXT, "@graph": entities.graph(run, output, found)})
    return output / METADATA
