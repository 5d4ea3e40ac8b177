"""The application that every command is added to."""

from typing import Annotated

import typer

from ntkbench import __version__

app = typer.Typer(
    name="ntkbench",
    help="Which claims about the Neural Tangent Kernel hold, in which range, and how sure are we?",
    no_args_is_help=True,
    rich_markup_mode="markdown",  # paragraphs flow; else the lines of a docstring's later ones stay as they are
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """What every command shares."""
