"""How long a study takes on several devices."""

from pathlib import Path
from typing import Annotated

import typer

from ntkbench.cli.app import app
from ntkbench.cli.output import or_exit
from ntkbench.cli.runs import study_file

MEASURED = Path("results/reference/gpu")


@app.command()
def scaleout(
    study: Annotated[Path, typer.Argument(metavar="STUDY", help="A study's name, for instance paper, or its file.")],
    devices: Annotated[list[int] | None, typer.Option(min=1, help="How many; may be given again. [default: 1, 8, 64]")] = None,
    measured: Annotated[Path, typer.Option(help="A run on the device: its study file and environment.json.")] = MEASURED,
) -> None:
    """Estimate a study's length on several devices, as a Markdown table.

    The whole study in hours of the plan, which are those of one CPU core: what a device makes of them is not known but for the
    claims that were measured on one. Their part is in that device's hours, extrapolated to the study's sizes.
    """
    from ntkbench import config
    from ntkbench.performance import scaleout as estimates

    found = or_exit(lambda: config.load(study_file(study)))
    speed = or_exit(lambda: estimates.read_measured(measured))
    typer.echo(estimates.table(found, speed, devices or [1, 8, 64]))
