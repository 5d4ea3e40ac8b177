"""Counts, and seconds and bytes to two digits: what is planned is not known better, and who reads of a run wants no more."""


def duration(seconds: float | None) -> str:
    """In the unit that suits them; None is not known."""
    if seconds is None:
        return "not known"
    number, unit = (seconds, "s") if seconds < 99 else (seconds / 60, "min") if seconds < 5940 else (seconds / 3600, "h")
    return f"{_rounded(number)} {unit}"


def counted(number: int, noun: str) -> str:
    """`1 case`, `2 cases`."""
    return f"{number} {noun}" + ("" if number == 1 else "s")


def gib(memory: float) -> str:
    """Memory in GiB, without the unit."""
    return _rounded(memory / 2**30)


def gigabytes(count: float) -> str:
    """Files in units of 10^9 bytes."""
    return f"{_rounded(count / 1e9)} GB"


def _rounded(number: float) -> str:
    return f"{float(f'{number:.2g}'):g}"
