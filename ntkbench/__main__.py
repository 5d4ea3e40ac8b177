"""`python -m ntkbench` is the command `ntkbench`."""

from ntkbench.cli import app

app()
