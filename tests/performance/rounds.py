"""What a run of the benchmarks stored: pytest-benchmark's file, read into raw rounds."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

Key = tuple[str, str, str, str]
"""Quantity, size, framework, precision."""


@dataclass(frozen=True)
class Measured:
    """One primitive in one framework and precision; seconds per call of each round.

    Attributes:
        ours, roofline: rounds that took turns, equally many.
        peer: fewer, one at least where there is a peer.
        products: the matrix products of the roofline, (count, rows, inner, columns) each.
        peak_mib, peer_peak_mib: memory of one call; None where unknown.
    """

    ours: np.ndarray
    roofline: np.ndarray
    peer: np.ndarray
    products: tuple[tuple[int, ...], ...]
    flops: float
    first_call: float
    peak_mib: float | None
    peer_peak_mib: float | None


@dataclass(frozen=True)
class Run:
    """All of one run; `processor` and `versions` are for people, `device` and `threads` must agree for a comparison."""

    processor: str
    versions: str
    device: str
    threads: int
    measured: dict[Key, Measured]

    def __str__(self) -> str:
        return f"{self.processor} ({self.device}), {self.threads} threads; {self.versions}"


def read(path: Path) -> Run:
    """Every benchmark of a run.

    Raises:
        ValueError: where the file holds something else, rounds that took no positive time, or mixed devices or threads.
    """
    if not path.is_file():
        raise ValueError(f"{path} is missing: `make benchmark RUN_FILE={path}` makes it; BASE= and NEW= name other runs")
    try:
        stored = json.loads(path.read_text())
        found = [(benchmark["extra_info"], benchmark["stats"]["data"]) for benchmark in stored["benchmarks"]]
        entries = [(_key(info), _measured(seconds, info), _settings(info)) for info, seconds in found]
        processor = str(stored["machine_info"]["processor"])
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"{path} is no file of `make benchmark`: make it again") from None
    measured: dict[Key, Measured] = {}
    for key, rounds, _ in entries:
        if key in measured:
            raise ValueError(f"{path} has {key} twice: give one run's file")
        if not all(np.all(np.isfinite(r) & (r > 0)) for r in (rounds.ours, rounds.roofline, rounds.peer)):
            raise ValueError(f"{path} has rounds of {label(key)} that are no positive numbers of seconds: run `make benchmark`")
        measured[key] = rounds
    if not measured:
        raise ValueError(f"{path} holds no benchmarks: run `make benchmark`")
    settings = {used for *_, used in entries}
    if len(settings) > 1:
        raise ValueError(f"{path} mixes {sorted(settings)}: ratios are meant within one device and number of threads")
    ((device, device_name, threads),) = settings
    versions = ", ".join(sorted({f"{info['framework']} {info['version']}" for info, _ in found}))
    return Run(device_name if device == "cuda" else processor, versions, device, threads, measured)


def _key(info: dict[str, Any]) -> Key:
    return info["quantity"], info["size"], info["framework"], info["precision"]


def _settings(info: dict[str, Any]) -> tuple[str, str, int]:
    return info["device"], info["device_name"], info["threads"]


def _measured(seconds: list[float], info: dict[str, Any]) -> Measured:
    return Measured(
        ours=np.array(seconds, dtype=float) / info["calls"],
        roofline=np.array(info["roofline_rounds"], dtype=float),
        peer=np.array(info["peer_rounds"], dtype=float),
        products=tuple(tuple(shape) for shape in info["products"]),
        flops=info["flops"],
        first_call=info["first_call_seconds"],
        peak_mib=info["peak_mib"],
        peer_peak_mib=info["peer_peak_mib"],
    )


def label(key: Key) -> str:
    """A key in words."""
    quantity, size, framework, precision = key
    return f"{quantity}, {size}, {framework}, {precision}"
