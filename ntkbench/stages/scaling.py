"""Stage 7: the timings of all backends in one table, the exponents fitted to them, and their figure."""

from collections.abc import Sequence
from pathlib import Path

from ntkbench import lineage
from ntkbench.figures.scaling import draw
from ntkbench.performance.scaling import table, timings
from ntkbench.tables import read_table, write_table


def scaling(parts: Sequence[Path], performance: Path, exponents: Path, figure: Path) -> None:
    """Join the backends' timings, fit them and draw them.

    Args:
        parts: the csv of each backend, in the order in which their rows shall stand.
        performance, exponents: the csv files to write.
        figure: its path without suffix.

    Raises:
        RecordError: if a part is missing, damaged, foreign or without rows, or an output cannot be written.
    """
    rows = [row for part in parts for row in timings(lineage.check(part))]
    write_table(performance, "performance", rows)
    write_table(exponents, "scaling", table(rows))
    draw(read_table(performance, "performance"), figure)
    for output in (performance, exponents, figure.with_suffix(".svg"), figure.with_suffix(".png")):
        lineage.note(output, "scaling", parts)
