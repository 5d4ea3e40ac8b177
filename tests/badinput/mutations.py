"""Ways to spoil a study: in its values, and in its text."""

import copy
from collections.abc import Iterator, Mapping
from random import Random
from typing import Any

from ntkbench.backends import BACKENDS
from ntkbench.data import SOURCES
from ntkbench.networks import ACTIVATIONS

Place = tuple[Any, ...]

VALUES: tuple[Any, ...] = (
    *(None, True, False, "", "text", "16", 1.5, -1, 0, 1, 2, 10**5, 10**9, 10**9 + 1, 10**40, -(10**40), 1e-300, 1e300, -0.0),
    *(float("nan"), float("inf"), -float("inf"), [], {}, [16], {"a": 1}, [None], [[8, 16]], ["8", "16"], [0, 16], [-8, 16]),
    *([16, 16], [32, 16], [8, 10**9], [8, float("inf")], [0.3, 0.7], "2020-02-30", "1:30", "\x1b[31mred", "a\nb", "\u202e"),
    *("../x", "/etc", "x\x00y", "<script>alert(1)</script>", "a" * 300),
)
NAMES = (*ACTIVATIONS, *SOURCES, *BACKENDS, "float32", "cuda", "euler", "rk4", "mean_field", "shuffled_top")
NEW_KEYS = (
    "sed",
    "Widths",
    "width",
    "one_output",
    "adjustable",
    "__class__",
    "",
    " ",
    "a.b",
    "a\nb",
    "../x",
    "<b>",
    "ключ",
    "cases",
)
NEW_CLAIMS = ("hierarchy/truncatoin", "hierarchy", "gap/Hierarchy", "", "../../etc/passwd", "dream/claim")


def places(value: Any, at: Place = ()) -> Iterator[Place]:
    """Of every value in a study, the whole of it apart."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in inner:
        yield (*at, key)
        yield from places(part, (*at, key))


def _misspelt(name: str, draw: Random) -> str:
    kind = draw.choice(("swap", "drop", "double", "capital", "dash"))
    if len(name) < 2 or kind == "capital":
        return name.upper()
    k = draw.randrange(len(name) - 1)
    match kind:
        case "swap":
            return name[:k] + name[k + 1] + name[k] + name[k + 2 :]
        case "drop":
            return name[:k] + name[k + 1 :]
        case "double":
            return name[:k] + name[k] + name[k:]
    return name.replace("_", "-") if "_" in name else f"{name}-"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def spoilt(studies: Mapping[str, Mapping[str, Any]], draw: Random) -> dict[str, Any]:
    """One or two claims of one of the studies, once or twice spoilt."""
    whole = studies[draw.choice(sorted(studies))]
    kept = draw.sample(sorted(whole["claims"]), draw.choice((1, 2)))
    study = copy.deepcopy({**whole, "claims": {id_: whole["claims"][id_] for id_ in kept}})
    if draw.random() < 0.7:
        study.pop("performance", None)
    for _ in range(draw.choice((1, 1, 2))):
        _spoil(study, draw)
    return study


KINDS = (
    "delete",
    "rename",
    "add",
    "value",
    "value",
    "near",
    "shape",
    "twin",
    "scale",
    "scale",
    "scale",
    "more",
    "more",
    "more",
)


def _spoil(study: dict[str, Any], draw: Random) -> None:
    everywhere = list(places(study))
    # Sections near the top have few places, and would hardly ever be drawn among all.
    depth = draw.choice((1, 2, 3, 4, 9, 9, 9))
    *above, key = draw.choice([place for place in everywhere if len(place) <= depth] or everywhere)
    inner: Any = study
    for name in above:
        inner = inner[name]
    value = inner[key]
    match draw.choice(KINDS):
        case "delete":
            del inner[key]
        case "rename" if isinstance(key, str):
            inner[_misspelt(key, draw)] = inner.pop(key)
        case "add" if isinstance(inner, dict):
            pool = NEW_CLAIMS if above == ["claims"] else NEW_KEYS
            inner[draw.choice(pool)] = copy.deepcopy(draw.choice((value, *VALUES)))
        case "near":
            name = value if isinstance(value, str) else draw.choice(NAMES)
            inner[key] = _misspelt(name, draw) if draw.random() < 0.5 else draw.choice(NAMES)
        case "shape":
            inner[key] = value[0] if isinstance(value, list) and value else [copy.deepcopy(value)]
        case "scale" if _is_number(value):
            inner[key] = draw.choice(
                (-value, 2 * value, value * 10**6, value / 3, float(value), value + 1, value - 1, str(value))
            )
        case "more" if _is_number(value):
            inner[key] = draw.choice((2, 3, 10**3)) * value
        case "more" if isinstance(value, list) and all(map(_is_number, value)):
            factor = draw.choice((2, 3, 10**3))
            inner[key] = [factor * part for part in value]
        case "twin" if isinstance(inner, dict):
            inner[f"{key}-again"] = copy.deepcopy(value)
        case _:
            inner[key] = copy.deepcopy(draw.choice(VALUES))


BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 10)}]\n" for k in range(1, 12)
)
LINES = (
    *("seed: 1", "seed: !!python/object/apply:os.system ['touch owned']", "x: !!python/name:os.system", "threads: !!int one"),
    *("x: !new:os.system", "study: !!binary aGk=", "claims: !!set {a, b}", "? [a, b]\n: 1", "1: 2", "null: 1", "2020-01-01: 1"),
    *("seed: 2020-13-45", "x: &a [*a]", "x: *nowhere", BOMB, "\tseed: 1", "seed: [", "}", "%YAML 9.9", "---\nseed: 1"),
    *("seed: " + "9" * 5000, 'study: "\\ud800"', "x: " + "[" * 3000 + "]" * 3000, "@", "seed: 'open", "x: {<<: 1}", "<<: [1]"),
    *("threads: !!float x", "x: !!bool maybe", "true: 1", "=: =", "x: " + "long " * 300_000),
)
OTHERS = (b"", b"\n", b"# nothing\n", b"---\n...\n", b"null\n", b"{}\n", b"- a\n", b"7\n", b"text\n", b"[[[]]]\n")
RAW = (b"\xff\xfe", b"\xe9", b"\x00", b"\x80 study", b"\xef\xbb\xbf", b"\x07")


def spoilt_text(text: str, draw: Random) -> bytes:
    """A study's file that is cut, filled with what is no study, or not text at all."""
    lines = text.splitlines()
    at = draw.randrange(len(lines) + 1)
    match draw.choice(("line", "line", "line", "bytes", "cut", "doubled", "other")):
        case "line":
            head, tail = lines[:at], lines[at:]
            return "\n".join([*head, draw.choice(LINES), *tail]).encode()
        case "bytes":
            return "\n".join(lines[:at]).encode() + draw.choice(RAW) + "\n".join(lines[at:]).encode()
        case "cut":
            return text[: draw.randrange(len(text) + 1)].encode()
        case "doubled":
            return "\n".join([*lines[:at], *lines[max(0, at - 1) : at], *lines[at:]]).encode()
    return draw.choice((*OTHERS, draw.randbytes(40)))
