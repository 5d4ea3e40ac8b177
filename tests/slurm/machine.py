"""What the check needs of a machine: Debian's Slurm, and the executor in a folder of its own."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PACKAGES = ("slurm-wlm", "munge")
EXECUTOR = Path("requirements/slurm.txt")
DENIED = "#!/bin/sh\nexit 101\n"
"""Of policy-rc.d: no package may start its service."""


class Lacking(Exception):
    """The check cannot run here; the message says what is not there."""


@contextmanager
def slurm() -> Iterator[None]:
    """Slurm and munge, installed if they are not there, then removed afterwards with what came with them.

    Raises:
        Lacking: if this is no Linux, its user not root, or they are not to be had.
    """
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        raise Lacking("Slurm's daemons are started as root, on Linux")
    before = _installed()
    if all(package in before for package in PACKAGES):
        yield
        return
    if shutil.which("apt-get") is None:
        raise Lacking("Slurm is not installed, and there is no apt to install it")
    try:
        _install()
        yield
    finally:
        if came := sorted(_installed() - before):
            _apt("purge", *came)
            print(f"removed {len(came)} packages that were installed for this", flush=True)


def _installed() -> set[str]:
    if shutil.which("dpkg-query") is None:
        return set(PACKAGES) if shutil.which("slurmctld") and shutil.which("munged") else set()
    listed = subprocess.run(
        ["dpkg-query", "--show", "--showformat=${db:Status-Status} ${Package}\n"], capture_output=True, text=True, check=True
    )
    return {line.split()[1] for line in listed.stdout.splitlines() if line.startswith("installed ")}


def _install() -> None:
    policy = Path("/usr/sbin/policy-rc.d")
    made = not policy.exists()
    if made:
        policy.write_text(DENIED, encoding="utf-8")
        policy.chmod(0o755)
    try:
        options = ("install", "--no-install-recommends", *PACKAGES)
        if _apt(*options):
            _apt("update")
            if told := _apt(*options):
                raise Lacking(f"apt has no {' and '.join(PACKAGES)}: {told.strip().splitlines()[-1]}")
    finally:
        if made:
            policy.unlink()


def _apt(*options: str) -> str:
    """What it says against it, nothing if it succeeds."""
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(["apt-get", "-y", *options], env=environment, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stderr or "apt-get failed"


def executor(folder: Path) -> Path:
    """The folder in which Snakemake finds its Slurm executor, installed from the pinned list if it is not there.

    Raises:
        Lacking: if the package index does not have it.
    """
    stamp = folder / EXECUTOR.name
    if not stamp.exists() or stamp.read_bytes() != EXECUTOR.read_bytes():
        shutil.rmtree(folder, ignore_errors=True)
        options = ["--quiet", "--no-deps", "--require-hashes", "--target", str(folder), "-r", str(EXECUTOR)]
        environment = {**os.environ, "PIP_CONSTRAINT": "/dev/null", "PIP_USER": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
        done = subprocess.run(
            [sys.executable, "-m", "pip", "install", *options], env=environment, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise Lacking(f"the executor cannot be installed: {done.stderr.strip().splitlines()[-1]}")
        shutil.copy(EXECUTOR, stamp)
    return folder
