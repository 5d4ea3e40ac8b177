"""Peak memory of primitives, in a process of its own: `python -m tests.performance.memory BACKEND PRECISION THREADS`.

One line in, the number of a primitive and `ours` or `peer`; one line out, the MiB by which a call, after a first one,
raises the process's resident memory at its worst: temporaries and result. `unknown` on a GPU, whose memory this does not
see, and where the system does not say.
"""

import importlib
import os
import subprocess
import sys
from pathlib import Path

from ntkbench.backends import load
from ntkbench.performance.memory import growth
from tests.performance.primitives import PRIMITIVES

ROOT = Path(__file__).resolve().parent.parent.parent
# Freed memory goes back to the system at once, so that the peak counts nothing that a call has freed already.
RETURNED = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536", "MALLOC_TOP_PAD_": "0"}


class Meter:
    """A process for one backend and precision that measures whatever it is asked to."""

    def __init__(self, backend: str, precision: str, threads: int):
        command = [sys.executable, "-m", "tests.performance.memory", backend, precision, str(threads)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=os.environ | RETURNED
        )

    def peak_mib(self, primitive: int, variant: str) -> float | None:
        """MiB; None where they cannot be known.

        Raises:
            RuntimeError: if the process died.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{primitive} {variant}\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline().strip()
        if not answer:
            raise RuntimeError(f"the process that measures memory died at {PRIMITIVES[primitive]}, {variant}")
        return None if answer == "unknown" else float(answer)

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


def main(name: str, precision: str, threads: str) -> None:
    """Answer until the input ends."""
    backend, peers = (
        load(name, precision=precision, threads=int(threads)),
        importlib.import_module(f"tests.performance.peers_{name}"),
    )
    for request in sys.stdin:
        number, variant = request.split()
        primitive = PRIMITIVES[int(number)]
        run = primitive.ours(backend) if variant == "ours" else primitive.peer(peers, backend)
        run()
        raised = growth(run) if backend.device == "cpu" else None
        print("unknown" if raised is None else raised / 2**20, flush=True)
        del run


if __name__ == "__main__":
    main(*sys.argv[1:])
