"""The programs beside the frameworks, and what the surroundings set."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ntkbench.doctor.finding import Finding
from ntkbench.doctor.packages import ENVIRONMENT

PROFILE = Path("profiles/default/config.yaml")
DOCUMENT = """#set text(font: "Libertinus Serif")
#show math.equation: set text(font: "New Computer Modern Math")
#show raw: set text(font: "DejaVu Sans Mono")
The kernel $K_2$ of `ntkbench`.
"""
"""One line in the fonts of the paper."""
HEEDED = (
    "XLA_FLAGS", "JAX_PLATFORMS", "JAX_ENABLE_X64", "PJRT_NPROC", "CUDA_VISIBLE_DEVICES", "CUBLAS_WORKSPACE_CONFIG",
    "NVIDIA_TF32_OVERRIDE", "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS",
    "PYTHONPATH", "SNAKEMAKE_PROFILE",
)  # fmt: skip
"""Variables that change what the frameworks do or which code runs."""


def check() -> Iterator[Finding]:
    """Typesetting, the workflow, the surroundings."""
    yield _typesetting()
    yield _workflow()
    yield _surroundings()


def _typesetting() -> Finding:
    try:
        from ntkbench.report.paper import PaperError, render
    except ImportError as error:
        return Finding("typesetting", "problem", f"the paper's code cannot be imported: {error}", ENVIRONMENT)
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "line.typ"
        source.write_text(DOCUMENT, encoding="utf-8")
        try:
            render(source)
        # A typst out of its range may not know what it is asked for.
        except (PaperError, TypeError) as error:
            return Finding("typesetting", "problem", str(error), ENVIRONMENT)
    return Finding("typesetting", "ok", "a line in the fonts of the paper compiles")


def _workflow() -> Finding:
    """Whether Snakemake starts, and finds the profile that lies beside the Snakefile."""
    command = [sys.executable, "-m", "snakemake", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        told = (done.stderr.strip().splitlines() or ["no word"])[-1]
        return Finding("workflow", "problem", f"snakemake does not start: {told}", ENVIRONMENT)
    told = f"snakemake {done.stdout.strip()}"
    if not Path("Snakefile").is_file():
        return Finding("workflow", "note", f"{told}; there is no Snakefile here", "studies run in a checkout")
    if not PROFILE.is_file():
        mend = "without it a run reruns too little or too much and stops at the first failure: restore it"
        return Finding("workflow", "problem", f"{told}; {PROFILE} is missing", mend)
    return Finding("workflow", "ok", f"{told}, with {PROFILE}")


def _surroundings() -> Finding:
    told = ", ".join(f"{name}={os.environ[name]}" for name in HEEDED if name in os.environ)
    if told:
        return Finding("surroundings", "note", told, "unset them if they are not meant for these runs")
    return Finding("surroundings", "ok", "no variable is set that frameworks or the workflow heed")
