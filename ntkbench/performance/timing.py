"""Seconds and memory of one primitive at one size, beside the same matrix products alone, in a process of its own."""

import importlib
import multiprocessing
import signal
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from ntkbench import backends
from ntkbench.backends.base import Backend
from ntkbench.performance.memory import growth
from ntkbench.performance.workloads import Workload

SHORT = 0.02
"""Seconds: a round of a shorter call is repeated to last about as long."""


class TimingFailed(Exception):
    """A size cannot be measured; the message names it and why."""


@dataclass(frozen=True)
class Timing:
    """What one size took.

    Attributes:
        seconds, roofline_seconds: minima over rounds, of the primitive and of its bare matrix products.
        ratio: median over rounds of the one over the other, measured in turns.
        first_seconds: of the first call, compilation included.
        peak_bytes: by which the process grew during one call after the first; None where the system does not tell.
        rounds: that were taken.
        device: where it ran.
    """

    seconds: float
    roofline_seconds: float
    ratio: float
    first_seconds: float
    peak_bytes: int | None
    rounds: int
    device: str


def measure(workload: Workload, backend: Backend, rounds: int) -> Timing:
    """Time a workload in this process."""
    run = workload.bind(backend)
    products = backend.matrix_products(workload.products)
    start = time.perf_counter()
    run()
    backend.synchronize()
    first = time.perf_counter() - start
    products()
    times = [(_round(run), _round(products)) for _ in range(rounds)]
    return Timing(
        seconds=min(ours for ours, _ in times),
        roofline_seconds=min(bare for _, bare in times),
        ratio=statistics.median(ours / bare for ours, bare in times),
        first_seconds=first,
        peak_bytes=growth(run) if backend.device == "cpu" else None,
        rounds=rounds,
        device=backend.device,
    )


def _round(run: Callable[[], object]) -> float:
    """Seconds of one call, over repeated calls where it is short."""
    start = time.perf_counter()
    run()
    once = time.perf_counter() - start
    repeats = int(SHORT / max(once, 1e-6))
    if repeats < 2:
        return once
    start = time.perf_counter()
    for _ in range(repeats):
        run()
    return (time.perf_counter() - start) / repeats


def measure_apart(workload: Workload, backend: str, rounds: int, **settings: Any) -> Timing:
    """As `measure`, in a fork of this process, so that no size inherits the memory or the compiled programs of another.

    The framework is imported before the fork, once for all sizes, and started after it, in the child alone; what starting it
    has imported as well, the parent imports for the next child.

    Args:
        backend: its name; settings: of its constructor.

    Raises:
        TimingFailed: if the child ends without a result, for instance for want of memory.
    """
    importlib.import_module(f"ntkbench.backends.{backend}")
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_child, args=(sender, workload, backend, rounds, settings))
    child.start()
    sender.close()
    found: Timing | str = ""
    with suppress(EOFError):
        while not isinstance(message := receiver.recv(), Timing | str):
            _import(message)
        found = message
    child.join()
    if isinstance(found, str):
        killed = f"it was killed (signal {-(child.exitcode or 0)}), perhaps for want of memory"
        why = found or (killed if (child.exitcode or 0) < 0 else "it failed, as said above")
        raise TimingFailed(f"{workload} in {backend}: {why}")
    return found


def _import(modules: Iterable[str]) -> None:
    for module in modules:
        with suppress(ImportError):
            importlib.import_module(module)


def _child(sender: Connection, workload: Workload, backend: str, rounds: int, settings: dict[str, Any]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C reaches the parent too, which says what to do
    before = set(sys.modules)
    try:
        engine = backends.load(backend, **settings)
        sender.send([name for name, module in sys.modules.items() if name not in before and module is not None])
        sender.send(measure(workload, engine, rounds))
    except (ValueError, MemoryError, np.linalg.LinAlgError, backends.BackendUnavailable) as error:
        sender.send(f"{type(error).__name__}: {error}")
