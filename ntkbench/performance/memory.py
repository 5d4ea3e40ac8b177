"""What one call takes of this process's memory, as Linux counts it."""

import ctypes
import gc
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

PROCESS = Path("/proc/self")


def growth(run: Callable[[], object]) -> int | None:
    """Bytes by which the process is larger at its largest during one call than before it: temporaries and result.

    Returns:
        None where the system does not tell.
    """
    if not sys.platform.startswith("linux"):
        return None
    # What earlier calls have freed goes back to the system first, or it would be taken again unseen.
    gc.collect()
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
    try:
        # Linux forgets the largest size so far when it is told to; without that only a larger one than any before would show.
        (PROCESS / "clear_refs").write_text("5", encoding="ascii")
        before = _status("VmRSS")
    except OSError:
        return None
    run()
    return _status("VmHWM") - before


def _status(name: str) -> int:
    """Bytes of an entry of the process's status."""
    (line,) = [line for line in (PROCESS / "status").read_text("ascii").splitlines() if line.startswith(f"{name}:")]
    return 1024 * int(line.split()[1])
