"""How long a study takes on several devices."""

from pathlib import Path
from typing import Annotated

import typer

from ntkbench.cli.app import app
from ntkbench.cli.output import or_exit
from ntkbench.cli.runs import study_file

DEVICES = [1, 8, 64]
MEASURED = Path("results/reference/gpu")


@app.command()
def scaleout(
    study: Annotated[Path, typer.Argument(metavar="STUDY", help="A study's name, for instance paper, or its file.")],
    devices: Annotated[list[int], typer.Option(min=1, help="How many; may be given again.")] = DEVICES,
    measured: Annotated[Path, typer.Option(help="A run on the device: its study file and environment.json.")] = MEASURED,
) -> None:
    """Estimate a study's length on several devices, as a Markdown table.

    The whole study in time of the plan, which is that of one CPU core: what a device makes of it is not known but for the
    claims that were measured on one. Their part is in that device's time, extrapolated to the study's sizes.
    """
    from ntkbench import config
    from ntkbench.performance import scaleout as estimates

    found = or_exit(lambda: config.load(study_file(study)))
    speed = or_exit(lambda: estimates.read_measured(measured))
    typer.echo(estimates.table(estimates.planned(found), speed, devices))
