"""The command line: a module per group of commands, in the order of `ntkbench --help`."""

from ntkbench.cli import catalogue, findings, studies, compare  # noqa: F401, I001
from ntkbench.cli.app import app

__all__ = ["app"]
