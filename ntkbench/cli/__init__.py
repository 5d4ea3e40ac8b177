"""The command line: a module per group of commands, in the order of `ntkbench --help`.

A command imports what it works with when it is called: `--help` would wait a second for all of it.
"""

from ntkbench.cli import catalogue, cite, findings, studies, scaleout, compare, publish, trace, crate, doctor  # noqa: F401, I001
from ntkbench.cli.app import app

__all__ = ["app"]
