"""A copy of the checkout without results, to run the workflow in: `python tests/scratch.py FOLDER`."""

import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("ntkbench", "workflow", "profiles")


def copy_checkout(destination: Path) -> None:
    """Copy what the workflow needs, sources only.

    Raises:
        FileExistsError: if `destination` holds a copy already.
    """
    destination.mkdir(parents=True, exist_ok=True)
    for folder in FOLDERS:
        shutil.copytree(ROOT / folder, destination / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy2(ROOT / "Snakefile", destination)
    made = shutil.ignore_patterns("main.pdf", "figures", "generated")
    shutil.copytree(ROOT / "paper", destination / "paper", ignore=made)


if __name__ == "__main__":
    copy_checkout(Path(sys.argv[1]))
