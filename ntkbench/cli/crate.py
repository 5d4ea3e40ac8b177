"""A run as a crate that others can cite, archive and check."""

from pathlib import Path
from typing import Annotated

import typer

from ntkbench.cli.app import app
from ntkbench.cli.output import or_exit
from ntkbench.cli.runs import STUDIES, Results, finished_run

Output = Annotated[Path | None, typer.Option(help="A new folder; build/crate/STUDY by default.")]
Paper = Annotated[Path, typer.Option(help="The folder of the paper that was made of the run.")]


@app.command()
def crate(results: Results, output: Output = None, paper: Paper = Path("paper")) -> None:
    """Export a run as a Workflow Run RO-Crate: workflow, study, results with hashes, versions, all in one folder."""
    from ntkbench import crate as crates
    from ntkbench.trace import Run

    def export() -> Path:
        run = Run.open(finished_run(results), STUDIES, paper)
        return crates.build(run, output or Path("build/crate") / run.study.name)

    metadata = or_exit(export)
    typer.echo(
        f"{metadata} describes the crate in {metadata.parent}; validate it: rocrate-validator validate {metadata.parent}"
    )
