"""Our NTK against neural-tangents' structured derivatives, on the same inputs and in turn: `make benchmark-peers`.

Exits with 1 where the kernels differ.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from ntkbench.backends import BACKENDS, Backend, load
from tests.performance.clock import Clock
from tests.performance.ratios import ratio, table
from tests.performance.workloads import Workload, dense

ROOT = Path(__file__).resolve().parent.parent.parent
PYTHON = ROOT / "build" / "peers" / "bin" / "python"
THREADS = os.environ.get("NTKBENCH_BENCHMARK_THREADS", "1")
SIZES = ((dense(256, 256), "float64"), (dense(1024, 1024), "float64"), (dense(512, 4096), "float32"))
ROUNDS, SECONDS = (4, 20), 12.0
AGREEMENT = {"float64": 1e-10, "float32": 1e-3}
COLUMNS = ("size", "precision", "framework", "ours [ms]", "neural-tangents [ms]", "neural-tangents/ours", "deviation")


class Peer:
    """neural-tangents in its own process and environment."""

    def __init__(self, w: Workload, precision: str, folder: Path):
        inputs, kernel = folder / "inputs.npz", folder / "kernel.npy"
        np.savez(inputs, x=w.x(precision), **{k: np.ascontiguousarray(v[0, 0].T) for k, v in w.theta(precision).items()})
        worker = Path(__file__).with_name("neural_tangents_worker.py")
        # Isolated: neither the modules beside the worker nor flags of this process's jax are meant for it.
        command = [str(PYTHON), "-I", str(worker), str(inputs), str(kernel), THREADS]
        env = {key: value for key, value in os.environ.items() if key != "XLA_FLAGS"}
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env)
        self._answer()
        self.kernel = np.load(kernel)

    def round(self) -> float:
        """Seconds of one call."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return float(self._answer())

    def close(self) -> None:
        """End the process."""
        self._process.communicate()

    def _answer(self) -> str:
        assert self._process.stdout is not None
        answer = self._process.stdout.readline().strip()
        if not answer:
            raise RuntimeError("neural-tangents died: its message stands above")
        return answer


def row(backend: Backend, w: Workload, precision: str, peer: Peer) -> tuple[tuple[str, ...], bool]:
    """A row of the table, and whether the kernels agree."""
    theta, x = w.theta(precision), w.x(precision)
    ours = Clock(lambda: backend.ntk(w.net, theta, x))
    seconds = ours.calibrate() + ours.calls * peer.round()
    theirs: list[float] = []
    for _ in range(int(min(max(SECONDS / seconds, ROUNDS[0]), ROUNDS[1]))):
        theirs.append(sum(peer.round() for _ in range(ours.calls)) / ours.calls)
        ours.round()
    deviation = np.abs(ours.value[0] - peer.kernel).max() / np.abs(peer.kernel).max()
    times = [f"{1e3 * np.median(rounds):.3g}" for rounds in (ours.rounds, theirs)]
    compared = ratio(np.array(theirs), np.array(ours.rounds))
    cells = (str(w), precision, backend.name, *times, compared, f"{deviation:.1g}")
    return cells, deviation <= AGREEMENT[precision]


def main() -> None:
    """Print the table."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for w, precision in SIZES:
            peer = Peer(w, precision, Path(folder))
            rows += [
                row(load(b, device="cpu", precision=precision, threads=int(THREADS)), w, precision, peer) for b in BACKENDS
            ]
            peer.close()
    print("neural-tangents 0.6.5, jax 0.4.25, structured derivatives, jitted; ratios of medians, 95% bootstrap intervals")
    print(table(COLUMNS, [cells for cells, _ in rows]))
    if not all(agree for _, agree in rows):
        sys.exit("kernels differ")


if __name__ == "__main__":
    main()
