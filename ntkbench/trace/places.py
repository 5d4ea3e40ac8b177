"""Where in the paper's generated numbers each printed number stands, and under which address it is traced."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ntkbench.trace import printed

STUDY, CHECK, SETTING, EXAMPLE, COST = "study", "crosscheck", "setting", "example", "scaling"
"""First parts of the addresses of what is no verdict; that of a verdict is `<claim>/<expectation>/<case>`."""


@dataclass(frozen=True)
class Place:
    """One printed number.

    Attributes:
        address: what it is traced by; numbers that have the same origin share it.
        where: `claims.json claims[3].expectations[0]...`, the place in `paper/generated`.
        what: it in words: `torch, estimate`.
        value: as the JSON has it.
        text: as the paper prints it, in plain characters.
    """

    address: str
    where: str
    what: str
    value: float
    text: str


def places(content: Mapping[str, Any]) -> list[Place]:
    """Every number that the paper prints and that was measured or set.

    Args:
        content: `study`, `claims`, `scaling` and `example`, as `ntkbench.report.paper` makes them; the last two may be missing.
    """
    found = [place for k, claim in enumerate(content["claims"]) for place in _of_claim(claim, f"claims.json [{k}]")]
    found += _of_study(content["study"])
    if content.get("example") is not None:
        found += _of_example(content["example"])
    if content.get("scaling") is not None:
        found += _of_scaling(content["scaling"])
    return found


def matching(known: list[Place], number: str) -> tuple[list[Place], bool]:
    """The places that print a number, and whether they print it just so.

    Args:
        number: as a reader typed it; where nothing is printed so, places whose value is `number` to its digits are taken.
    """
    text = printed.typed(number)
    if exact := [place for place in known if place.text == text]:
        return exact, True
    return [place for place in known if printed.rounds_to(place.value, text)], False


def _of_claim(claim: Mapping[str, Any], where: str) -> Iterator[Place]:
    for i, expectation in enumerate(claim["expectations"]):
        for j, row in enumerate(expectation["rows"]):
            address = f"{claim['id']}/{expectation['name']}/{row['case']}"
            for k, of in enumerate(row["estimates"]):
                for key, words in (("estimate", "estimate"), ("low", "lower end"), ("high", "upper end")):
                    if isinstance(of[key], float):
                        place = f"{where}.expectations[{i}].rows[{j}].estimates[{k}].{key}"
                        text = printed.estimate(of[key], expectation["kind"])
                        yield Place(address, place, f"{of['backend']}, {words}", of[key], text)
    for name, count in claim["counts"].items():
        yield Place(claim["id"], f"{where}.counts.{name}", f"verdicts {name}", count, str(count))
    if claim["crosscheck"] is not None:
        yield from _of_check(claim["crosscheck"], f"{CHECK}/{claim['id']}", f"{where}.crosscheck")
    for i, case in enumerate(claim["cases"]):
        for key in ("train_size", "test_size", "input_dim", "depth", "seeds"):
            address = f"{SETTING}/{claim['id']}/{case['name']}"
            yield Place(address, f"{where}.cases[{i}].{key}", key.replace("_", " "), case[key], str(case[key]))


def _of_check(check: Mapping[str, Any], address: str, where: str) -> Iterator[Place]:
    for key in ("largest", "median"):
        if check[key] is not None:
            yield Place(address, f"{where}.{key}", f"{key} difference", check[key], printed.scientific(check[key]))
    for key in ("max_rel", "allowed"):
        if isinstance(value := check["nearest"][key], float):
            words = f"{check['nearest']['quantity']} of {check['nearest']['case']}, nearest to its tolerance: {key}"
            yield Place(address, f"{where}.nearest.{key}", words, value, printed.scientific(value))
    for key in ("comparisons", "agree"):
        yield Place(address, f"{where}.{key}", key, check[key], str(check[key]))


def _of_study(study: Mapping[str, Any]) -> Iterator[Place]:
    for key in ("claims", "expectations", "unasked", "cases", "controls", "judged"):
        yield Place(f"{STUDY}/{key}", f"study.json {key}", key, study[key], str(study[key]))
    for name, count in study["counts"].items():
        yield Place(f"{STUDY}/counts", f"study.json counts.{name}", f"verdicts {name}", count, str(count))
    for key in ("seeds", "widths"):
        for end, value in zip(("least", "most"), study[key], strict=True):
            yield Place(f"{STUDY}/{key}", f"study.json {key}", f"{key}, {end}", value, str(value))
    for name, seconds in study["seconds"].items():
        text = printed.fixed(seconds, 0) if seconds < 120 else printed.fixed(seconds / 60, 0)
        yield Place(f"{STUDY}/seconds", f"study.json seconds.{name}", f"{name}, seconds of measuring", seconds, text)
    for name, gib in study["peak_memory_gib"].items():
        text = printed.fixed(gib, 1)
        yield Place(f"{STUDY}/memory", f"study.json peak_memory_gib.{name}", f"{name}, GiB at most", gib, text)
    if study["crosscheck"] is not None:
        yield from _of_check(study["crosscheck"], f"{STUDY}/crosscheck", "study.json crosscheck")


def _of_example(example: Mapping[str, Any]) -> Iterator[Place]:
    for k, row in enumerate(example["widths"]):
        for backend in (name for name in row if name not in ("width", "seeds") and row[name] is not None):
            words = f"{backend}, location of {example['quantity']} at width {row['width']}"
            text = printed.scientific(row[backend])
            yield Place(EXAMPLE, f"example.json widths[{k}].{backend}", words, row[backend], text)


def _of_scaling(scaling: Mapping[str, Any]) -> Iterator[Place]:
    for k, curve in enumerate(scaling["curves"]):
        address = f"{COST}/{curve['name']}"
        if curve["flops"] is not None:
            yield Place(
                address,
                f"scaling.json curves[{k}].flops",
                "exponent of the counted operations",
                curve["flops"],
                printed.fixed(curve["flops"]),
            )
        for i, of in enumerate(curve["backends"]):
            where, backend = f"scaling.json curves[{k}].backends[{i}]", of["backend"]
            for key, text in (("ratio", printed.fixed(of["ratio"], 1)), ("seconds", printed.scientific(of["seconds"]))):
                yield Place(address, f"{where}.{key}", f"{backend}, {key} at the largest size", of[key], text)
            for key in ("time", "memory"):
                for end, value in (of[key] or {}).items():
                    if isinstance(value, float):
                        words = f"{backend}, exponent of {key}: {end}"
                        yield Place(address, f"{where}.{key}.{end}", words, value, printed.fixed(value))
    for k, row in enumerate(scaling["affordable"]["rows"]):
        for key, budget in (("time", "seconds"), ("memory", "gib")):
            for i, points in enumerate(row[key]):
                words = (
                    f"{row['backend']}, most points at order {row['order']} within {scaling['affordable'][budget][i]} {budget}"
                )
                place = f"scaling.json affordable.rows[{k}].{key}[{i}]"
                yield Place(f"{COST}/affordable", place, words, points, printed.points(points))
    for k, naive in enumerate(scaling["naive"]):
        for i, of in enumerate(naive["backends"]):
            for key in (name for name in ("times", "memory") if of[name] is not None):
                text = printed.fixed(of[key], 1 if of[key] < 10 else 0)
                place = f"scaling.json naive[{k}].backends[{i}].{key}"
                yield Place(f"{COST}/{naive['name']}", place, f"{of['backend']}, naive over fast: {key}", of[key], text)
