"""Data sets from a specification, in numpy, without a network."""

from ntkbench.data.dataset import Dataset
from ntkbench.data.files import DataUnavailable
from ntkbench.data.source import Source
from ntkbench.data.sources import SOURCES, check, load

__all__ = ["SOURCES", "DataUnavailable", "Dataset", "Source", "check", "load"]
