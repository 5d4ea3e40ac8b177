"""Whom to cite."""

from typing import Annotated

import typer

from ntkbench.cli.app import app
from ntkbench.cli.output import or_exit


@app.command()
def cite(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[ID]...", help="Claims and methods; the software where none is given.")
    ] = None,
    known: Annotated[bool, typer.Option("--list", help="List what can be cited, with the keys of its papers.")] = False,
) -> None:
    """Print BibTeX of the software, or of the papers that claims and methods rest on."""
    from ntkbench import citation

    if known:
        for name, keys in citation.keys().items():
            typer.echo(f"{name}: {', '.join(keys)}")
        return
    found = or_exit(lambda: citation.cited(names or ()))
    typer.echo("\n\n".join(entry.bibtex() for entry in found))
    if not names and not {"doi", "url"} & found[0].fields.keys():
        mend = "add to the entry where you have it from, and the commit"
        typer.echo(f"{citation.FILE} names neither a DOI nor a repository: {mend}", err=True)
