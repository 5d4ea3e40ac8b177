"""From a finished run to the published one."""

from datetime import date
from pathlib import Path
from typing import Annotated

import typer

from ntkbench.cli.app import app
from ntkbench.cli.output import or_exit
from ntkbench.cli.runs import STUDIES, Results, run_folder
from ntkbench.units import counted


@app.command()
def publish(
    results: Results,
    reference: Annotated[Path, typer.Argument(help="The published run.")] = Path("results/reference"),
) -> None:
    """Copy a finished, clean run of the published study to results/reference, and add its verdicts to the history."""
    from ntkbench import config
    from ntkbench import publish as publishing

    run = run_folder(results)

    def copy() -> list[Path]:
        study = config.load(STUDIES / f"{run.resolve().name}.yaml")
        return publishing.publish(run, reference, study, date.today())

    written = or_exit(copy)
    typer.echo(f"{counted(len(written), 'file')} written to {reference}")
    typer.echo(f"Now say in {reference / 'README.md'} what was found, and bring docs/ up to date: `ntkbench catalogue --write`")
