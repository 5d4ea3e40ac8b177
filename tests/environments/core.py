"""The core tests: what an environment or a device must pass before anything that is measured there counts.

Backends, the hierarchy, infinite width, networks, the claims' contract, the cross-check, records. A file after another in one
process, or dealt to several processes; a process that is too slow is ended, and what it had done still counts.
"""

import os
import re
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PLACES = (
    "tests/backends",
    "tests/hierarchy",
    "tests/limits",
    "tests/networks",
    "tests/claims/test_contract.py",
    "tests/test_crosscheck.py",
    "tests/test_records.py",
)
LEFT_OUT = (
    "tests/backends/test_any_model.py",
    "tests/backends/test_budgets.py",
    "tests/backends/test_contracted_hierarchy.py",
    "tests/hierarchy/test_prediction.py",
    "tests/hierarchy/test_several_outputs.py",
    "tests/hierarchy/test_truncation_error.py",
)
"""Two thirds of the seconds: kernels of models that no study has, blocks, and long ways through what other files test."""
RESULT = re.compile(r"^(\S+\.py::.*?) (PASSED|FAILED|ERROR|SKIPPED|XFAIL|XPASS)\b")


@dataclass(frozen=True)
class Outcome:
    """Of all core tests.

    Attributes:
        counts: word of pytest, in small letters -> tests.
        wrong: the tests that failed, by name.
        unfinished: why a process did not come to its end, empty if all did.
        seconds: from the first start to the last end.
    """

    counts: Mapping[str, int]
    wrong: tuple[str, ...]
    unfinished: str
    seconds: float

    @property
    def passed(self) -> bool:
        """Whether every test ran and none failed."""
        return not self.wrong and not self.unfinished and self.counts.get("passed", 0) > 0


def files() -> list[str]:
    """The files of the core tests, relative to the root."""
    places = [ROOT / place for place in PLACES]
    found = [path for place in places for path in ([place] if place.is_file() else sorted(place.glob("test_*.py")))]
    return [name for path in found if (name := path.relative_to(ROOT).as_posix()) not in LEFT_OUT]


def run(python: Path, workers: int = 1, limit: float = 1800, options: Sequence[str] = (), **variables: str) -> Outcome:
    """Run them with a Python and the variables given.

    Args:
        python: of the environment.
        workers: processes.
        limit: seconds after which a process is ended.
        options: for pytest, in place of the project's `addopts`.
    """
    shares = [files()[first::workers] for first in range(workers)]
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(workers) as pool:
        logs = [Path(folder) / f"{number}.log" for number in range(workers)]
        ends = list(pool.map(lambda share, log: _process(python, share, log, limit, options, variables), shares, logs))
        texts = [log.read_text(encoding="utf-8", errors="replace") for log in logs]
    return outcome("\n".join(texts), "; ".join(filter(None, ends)), time.monotonic() - start)


def outcome(log: str, unfinished: str, seconds: float) -> Outcome:
    """What a log of `pytest -v` tells, as far as it goes."""
    found = [match.groups() for line in log.splitlines() if (match := RESULT.match(line))]
    counts = Counter(word.lower() for _, word in found)
    wrong = tuple(sorted({name for name, word in found if word in ("FAILED", "ERROR", "XPASS")}))
    return Outcome(dict(counts), wrong, unfinished, seconds)


def _process(
    python: Path, share: Sequence[str], log: Path, limit: float, options: Sequence[str], variables: Mapping[str, str]
) -> str:
    """Why it did not come to its end, if it did not."""
    command = [str(python), "-m", "pytest", "-v", "-p", "no:cacheprovider", "--tb=short", *options, *share]
    code = within(limit, command, log, variables)
    if code is None:
        return f"ended after {limit:.0f} s: {share[0]} and {len(share) - 1} more"
    if code in (0, 1):
        return ""
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return f"pytest ended with {code}: {lines[-1] if lines else 'no word'}"


def within(limit: float, command: Sequence[str], log: Path, variables: Mapping[str, str]) -> int | None:
    """The exit code of a command, or None if it took longer; then it is killed with all that it had started."""
    with log.open("w", encoding="utf-8") as file:
        process = subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, **variables}, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            return process.wait(limit)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return None
