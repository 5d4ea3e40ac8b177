"""Numbers as the paper prints them, and as a reader types them. The rules are those of `paper/lib.typ`."""

import math
import re
from decimal import ROUND_HALF_UP, Decimal

DECIMALS = {"rate": 2, "bound": 2, "equivalence": 2, "paired": 3}
"""Of an estimate, by the kind of its expectation; an identity has two significant digits."""

_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")
_POWER = re.compile(r"(?P<mantissa>\d(?:\.\d+)?)(?:[·⋅×*]|x)10\^?\(?(?P<exponent>-?\d+)\)?")


def fixed(number: float, digits: int = 2) -> str:
    """With so many decimals, halves away from zero; a zero has no sign."""
    scaled = math.floor(abs(number) * 10**digits + 0.5)
    text = str(Decimal(scaled).scaleb(-digits).quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP))
    return f"-{text}" if number < 0 and scaled > 0 else text


def scientific(number: float) -> str:
    """Two significant digits; as `2.1e-14` where the paper has a power of ten."""
    if number == 0:
        return "0"
    exponent = math.floor(math.log10(abs(number)))
    if -2 <= exponent <= 2:
        return fixed(number, max(0, 1 - exponent))
    if abs(number) / 10.0**exponent >= 9.95:  # 9.99e-16 is 1.0e-15
        exponent += 1
    return f"{fixed(number / 10.0**exponent, 1)}e{exponent}"


def points(number: int) -> str:
    """A number of points: from 1000 on two digits, rounded down."""
    unit = 10 ** (len(str(number)) - 2) if number >= 1000 else 1
    return str(number // unit * unit)


def estimate(number: float, kind: str) -> str:
    """An estimate or an end of its interval."""
    return fixed(number, DECIMALS[kind]) if kind in DECIMALS else scientific(number)


def typed(text: str) -> str:
    """What a reader copied from the PDF, in plain characters: `−2.1 · 10⁻¹⁴` is `-2.1e-14`."""
    plain = re.sub(r"\s", "", text).replace("−", "-").translate(_SUPERSCRIPTS)
    return _POWER.sub(r"\g<mantissa>e\g<exponent>", plain)


def rounds_to(number: float, text: str) -> bool:
    """Whether `number`, to the digits of `text`, is `text`; with a percent sign, a hundred times the number."""
    share = text.endswith("%")
    text = text.removesuffix("%")
    digits = re.fullmatch(r"-?\d+(?:\.(\d+))?(?:e(-?\d+))?", text)
    if digits is None:
        return False
    exponent = int(digits[2] or 0)
    scaled = (100 * number if share else number) / 10.0**exponent
    return fixed(scaled, len(digits[1] or "")) == text.partition("e")[0]
