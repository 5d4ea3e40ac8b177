"""From a number in the paper back to its table, measurements, inputs, code and command, every link checked on the way."""

from ntkbench.trace.chain import follow
from ntkbench.trace.link import Link
from ntkbench.trace.places import Place, matching, places
from ntkbench.trace.run import Run

__all__ = ["Link", "Place", "Run", "follow", "matching", "places"]
