"""Data sets from a specification, in numpy, without a network."""

from ntkbench.data.dataset import Dataset
from ntkbench.data.sources import SOURCES, load

__all__ = ["SOURCES", "Dataset", "load"]
