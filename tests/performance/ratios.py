"""Ratios within one run: `python -m tests.performance.ratios benchmark.json`.

Every ratio is one of medians over rounds, with a 95% percentile bootstrap interval for which the rounds of both sides are drawn
anew independently. Where one side has a single round, no interval is given.
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from tests.performance.rounds import Key, Measured, read

RESAMPLES = 2000
COLUMNS = (
    "quantity",
    "size",
    "framework",
    "precision",
    "ours [ms]",
    "GFLOP/s",
    "peer/ours",
    "ours/roofline",
    "torch/jax",
    "first call [s]",
    "peak [MiB]",
    "peer's",
)


def rows(measured: dict[Key, Measured]) -> Iterator[tuple[str, ...]]:
    """One row per quantity, size, framework and precision; a dash where there is nothing to compare with."""
    for key in sorted(measured):
        found = measured[key]
        torch, jax = (measured.get((*key[:2], name, key[3])) for name in ("torch", "jax"))
        milliseconds = 1e3 * float(np.median(found.ours))
        yield (
            *key,
            f"{milliseconds:.3g}",
            f"{found.flops / milliseconds / 1e6:.3g}",
            ratio(found.peer, found.ours),
            ratio(found.ours, found.roofline),
            ratio(torch.ours, jax.ours) if torch and jax else "-",
            f"{found.first_call:.2g}",
            _mib(found.peak_mib),
            _mib(found.peer_peak_mib),
        )


def ratio(above: np.ndarray, below: np.ndarray) -> str:
    """`median(above) / median(below)`, with its interval where both have rounds to draw from."""
    if not (len(above) and len(below)):
        return "-"
    center = f"{np.median(above) / np.median(below):.3g}"
    if min(len(above), len(below)) == 1:
        return center
    draw = np.random.default_rng(0)
    medians = [np.median(draw.choice(side, (RESAMPLES, len(side))), axis=1) for side in (above, below)]
    low, high = np.quantile(medians[0] / medians[1], [0.025, 0.975])
    return f"{center} ({low:.3g}..{high:.3g})"


def _mib(peak: float | None) -> str:
    return "-" if peak is None else f"{peak:.3g}"


def table(columns: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Columns aligned with spaces."""
    widths = [max(map(len, column)) for column in zip(columns, *lines, strict=True)]
    padded = ("  ".join(map(str.ljust, line, widths)).rstrip() for line in (columns, *lines))
    return "\n".join(padded)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", type=Path, help="file written by pytest --benchmark-json")
    try:
        run = read(parser.parse_args().path)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    print(f"{run}\nratios of medians over rounds, 95% bootstrap intervals")
    print(table(COLUMNS, list(rows(run.measured))))


if __name__ == "__main__":
    main()
