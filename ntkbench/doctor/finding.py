"""What a check says."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Finding:
    """One line of a report.

    Attributes:
        check: what was looked at.
        state: `ok`; `note`, which leaves results as they are; `problem`, with which they cannot be trusted or come by.
        found: what is there.
        mend: what to do about it; empty where there is nothing to do.
    """

    check: str
    state: Literal["ok", "note", "problem"]
    found: str
    mend: str = ""
