"""Every check of a device by one command: `python -m tests.gpu`, which `make test-gpu` does; about eight minutes at most.

The core tests computed there, a cross-check of the smoke study in float64 and in float32, and `ntkbench doctor`. It needs
torch and jax, what `ntkbench doctor` asks for, and pytest with hypothesis; plugins of pytest may be missing. What it finds
goes to `tests/gpu/results.json` and `tests/environments/deviations/`, which are meant to be committed: they are what
docs/gpu.md and the cross-check's tolerances rest on.

Exits with 1 if a test failed or anything did not come to its end.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ntkbench.config import gpu_present
from ntkbench.provenance import environment
from tests.environments import core, ladder

RESULTS = Path(__file__).resolve().parent / "results.json"
TESTS, DEVIATIONS = 200, 110
"""Seconds after which the core tests are ended, and the comparison of one precision."""
# The project's own options name plugins that may be missing.
OPTIONS = ("-o", "addopts=", "--import-mode=importlib", "-m", "not performance")


def doctor() -> list[dict[str, str]]:
    """What it says, which need not be sound: a busy machine is worth a note."""
    command = [sys.executable, "-m", "ntkbench", "doctor", "smoke", "--json"]
    done = subprocess.run(command, cwd=core.ROOT, capture_output=True, text=True, check=False)
    if not done.stdout:
        return [{"check": "doctor", "state": "problem", "found": done.stderr[-500:], "mend": ""}]
    told: list[dict[str, str]] = json.loads(done.stdout)
    return told


def deviations(device: str, precision: str, workers: int) -> dict[str, Any]:
    """Of the smoke study: how many observables were compared, and the rung that they ask for; each number is in its table."""
    command = [sys.executable, "-m", "tests.environments.deviations", device, precision, "--workers", str(workers)]
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        code = core.within(DEVIATIONS, command, log, {"OMP_NUM_THREADS": "1"})
        last = (log.read_text(encoding="utf-8", errors="replace").strip().splitlines() or ["no word"])[-1]
    if code != 0:
        return {"unfinished": f"ended after {DEVIATIONS} s" if code is None else last}
    rung = ladder.rung(ladder.measured()[precision, device], (precision, device))
    return {"told": last, "seconds": round(time.monotonic() - start), "rung_by_rule": rung}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="cpu to try the command itself")
    parser.add_argument("--workers", type=int, default=max(1, (os.cpu_count() or 1) // 2), help="processes at a time")
    parser.add_argument("--output", type=Path, default=RESULTS)
    asked = parser.parse_args()
    if asked.device == "cuda" and not gpu_present():
        print("no NVIDIA GPU answers: nothing was tested", file=sys.stderr)
        return 1
    start = time.monotonic()
    variables = {"NTKBENCH_TEST_DEVICE": asked.device, "OMP_NUM_THREADS": "1"}
    tests = core.run(Path(sys.executable), asked.workers, TESTS, OPTIONS, **variables)
    print(f"core tests: {dict(tests.counts)}, {len(tests.wrong)} wrong, {tests.seconds:.0f} s. {tests.unfinished}", flush=True)
    parts = {precision: deviations(asked.device, precision, asked.workers) for precision in ("float64", "float32")}
    for precision, told in parts.items():
        print(f"{precision}: {told}", flush=True)
    found: dict[str, Any] = {
        "device": asked.device,
        "environment": environment(),
        "core_tests": asdict(tests),
        "deviations": parts,
        "doctor": doctor(),
        "seconds": round(time.monotonic() - start),
    }
    asked.output.write_text(json.dumps(found, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    print(
        f"{asked.output}, {found['seconds']} s; {sum(one['state'] == 'problem' for one in found['doctor'])} problems by doctor"
    )
    return int(not tests.passed or any("unfinished" in told for told in parts.values()))


if __name__ == "__main__":
    sys.exit(main())
