"""A figure's files."""

import io
from pathlib import Path

from matplotlib.figure import Figure

from ntkbench import files

METADATA = {"png": {"Software": None}, "svg": {"Date": None, "Creator": "ntkbench"}}


def write(figure: Figure, stem: Path) -> None:
    """Writes `<stem>.svg` and `<stem>.png`, each atomically; equal figures give equal bytes. Within `style.style()`."""
    for kind, metadata in METADATA.items():
        image = io.BytesIO()
        figure.savefig(image, format=kind, metadata=metadata)
        files.write_bytes(stem.with_name(f"{stem.name}.{kind}"), image.getvalue())
        # Laid out by now, which takes as long as drawing; by the png, whose formulas are the taller ones.
        figure.set_layout_engine("none")
