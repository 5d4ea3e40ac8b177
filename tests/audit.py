"""Known vulnerabilities of what the lock pins: `python -m tests.audit PIP_AUDIT REQUIREMENTS...`, which `make audit` calls.

A package of which the vulnerability service knows nothing is told as not audited: no answer is no clean bill.
Exit code 0: all packages audited, nothing known; 1: something known; 2: not all audited.
"""

import json
import subprocess
import sys
from typing import Any


def summary(report: str, errors: str) -> tuple[int, str]:
    """Exit code and words for what pip-audit printed as JSON, and on stderr."""
    try:
        packages: list[dict[str, Any]] = json.loads(report)["dependencies"]
    except (ValueError, KeyError, TypeError):
        last = (errors.strip().splitlines() or ["no reason given"])[-1]
        return 2, f"NOT AUDITED: the vulnerability service gave no answer ({last[:200]})"
    known = [f"{one['name']} {one['version']}: {found['id']}" for one in packages for found in one.get("vulns", [])]
    skipped = [one["name"] for one in packages if "vulns" not in one]
    audited = f"{len(packages) - len(skipped)} of {len(packages)} packages audited"
    lines = [f"KNOWN: {line}" for line in known]
    if skipped or not packages:
        lines.append(f"NOT AUDITED: {', '.join(skipped) or 'anything'}")
    return (1 if known else 2 if skipped or not packages else 0), "\n".join(
        [*lines, f"{audited}, {len(known)} vulnerabilities known"]
    )


def main(command: str, *requirements: str) -> int:
    """Ask, and say what came of it."""
    files = [part for path in requirements for part in ("--requirement", path)]
    options = ["--disable-pip", "--no-deps", "--format", "json", "--progress-spinner", "off"]
    done = subprocess.run([command, *options, *files], capture_output=True, text=True, check=False)
    code, words = summary(done.stdout, done.stderr)
    print(words)
    return code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
