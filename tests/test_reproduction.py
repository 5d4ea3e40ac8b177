"""Whole runs side by side: made-up ones, of which what was changed is known."""

import re
from collections.abc import Callable, Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ntkbench import claims, files, records, tables
from ntkbench.comparison import Comparison, Level, compare, html_page, read_run
from ntkbench.comparison.observables import STRUCTURE
from ntkbench.seeding import rng
from tests.test_records import VERDICT

CLAIM, CASE = "convergence/initialization", "tanh-1"
BACKENDS = ("torch", "jax")
OBSERVABLES = ("K2", "f")

Change = Callable[[dict[int, dict[str, np.ndarray]]], None]


def unchanged(_: dict[int, dict[str, np.ndarray]]) -> None:
    pass


def write_run(
    folder: Path,
    change: Change = unchanged,
    *,
    root: int = 7,
    settings: Mapping[str, Any] | None = None,
    verdict: Mapping[str, Any] | None = None,
    claim: str = CLAIM,
    **facts: Any,
) -> Path:
    """A run of one case, whose draws follow from the root; `change` alters what torch measured."""
    measured = {width: {name: rng(root, name, width).standard_normal((4, 3)) for name in OBSERVABLES} for width in (8, 16)}
    parameters = {"widths": [8, 16], "seeds": 4, "train_size": 3, **(settings or {})}
    inputs = folder / "inputs" / claim / f"{CASE}.npz"
    records.write_record(inputs, {"x": np.zeros(2)}, {"root": root, "parameters": parameters})
    precision = facts.pop("precision", "float64")
    for backend in BACKENDS:
        arrays = {width: dict(of_width) for width, of_width in measured.items()}
        if backend == "torch":
            change(arrays)
        of_backend = {"device": "cpu", "precision": precision, "threads": facts.get("threads", 1)}
        path = folder / "measurements" / claim / CASE / f"{backend}.npz"
        place = {"kind": "measurement", "claim": claim, "case": CASE, "backend": backend}
        records.write_record(path, records.flatten(arrays), {**place, "backend_facts": of_backend})
    rows = [{**VERDICT, "claim": claim, "case": CASE, "backend": backend, **(verdict or {})} for backend in BACKENDS]
    tables.write_table(folder / "verdicts.csv", "verdicts", rows)
    agreed = {"claim": claim, "case": CASE, "max_abs": 0.0, "max_rel": 0.0, "allowed": 1e-9, "agrees": True}
    tables.write_table(folder / "crosscheck.csv", "crosscheck", [{**agreed, "quantity": name} for name in OBSERVABLES])
    of_backend = {"version": "1.0", "precision": precision, "threads": facts.pop("threads", 1)}
    backends = {name: [of_backend] for name in BACKENDS}
    plain = {"study": "small", "root": root, "results_version": 1, "backends": backends, "versions": {"numpy": "2.0"}}
    files.write_json(folder / "environment.json", plain | facts)
    return folder


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return write_run(tmp_path / "base")


@pytest.fixture
def against(tmp_path: Path, base: Path) -> Callable[..., Comparison]:
    """Compares a run with the base."""

    def made(change: Change = unchanged, *, across_versions: bool = False, **settings: Any) -> Comparison:
        other = write_run(tmp_path / "other", change, **settings)
        return compare(read_run(other), read_run(base), across_versions=across_versions)

    return made


def levels(compared: Comparison) -> dict[tuple[str, str], Level | None]:
    return {(row.backend, row.quantity): row.level for row in compared.observables}


def test_the_same_draws_give_the_same_bytes(against: Callable[..., Comparison]) -> None:
    compared = against()
    assert compared.outcome == "reproduced"
    assert compared.required == Level.ROUNDING
    assert levels(compared) == {(backend, name): Level.BITWISE for backend in BACKENDS for name in OBSERVABLES}
    (claim,) = compared.claims()
    assert (claim.claim, claim.observables, claim.verdicts) == (CLAIM, Level.BITWISE, Level.BITWISE)
    assert claim.outcome == "reproduced"
    assert compared.differences == []


def test_a_change_below_what_is_allowed_is_rounding_and_one_above_differs(against: Callable[..., Comparison]) -> None:
    def moved(by: float) -> Change:
        def change(arrays: dict[int, dict[str, np.ndarray]]) -> None:
            arrays[16]["K2"] = arrays[16]["K2"].copy()
            arrays[16]["K2"][0, 0] += by * np.abs(arrays[16]["K2"]).max()

        return change

    compared = against(moved(5e-11))
    assert compared.outcome == "reproduced"
    assert levels(compared)["torch", "K2"] == Level.ROUNDING
    assert levels(compared)["torch", "f"] == Level.BITWISE
    assert compared.claims()[0].observables == Level.ROUNDING
    compared = against(moved(1e-8))
    assert compared.outcome == "differs"
    (row,) = [row for row in compared.observables if row.outcome == "differs"]
    assert (row.backend, row.quantity, row.level) == ("torch", "K2", Level.APART)
    assert row.reason == "it is off by 1e-08 of its scale, rounding allows 1e-10"


def test_the_tolerance_is_that_of_the_cross_check_with_its_growth(tmp_path: Path) -> None:
    name, growth = max(claims.get("hierarchy/truncation").growth.items(), key=lambda item: item[1])
    assert growth > 1e3

    def moved(arrays: dict[int, dict[str, np.ndarray]]) -> None:
        for of_width in arrays.values():
            of_width[name] = of_width.pop("K2") * (1 + 1e-8)

    def renamed(arrays: dict[int, dict[str, np.ndarray]]) -> None:
        for of_width in arrays.values():
            of_width[name] = of_width.pop("K2")

    runs = [
        read_run(write_run(tmp_path / folder, change, claim="hierarchy/truncation"))
        for folder, change in (("a", moved), ("b", renamed))
    ]
    (row,) = [row for row in compare(*runs).observables if row.quantity == name]
    assert (row.level, row.allowed) == (Level.ROUNDING, 1e-10 * growth)


def test_bytes_tell_apart_what_is_equal(tmp_path: Path) -> None:
    """0 and -0."""

    def zero(sign: float) -> Change:
        def change(arrays: dict[int, dict[str, np.ndarray]]) -> None:
            arrays[8]["f"] = sign * np.zeros((4, 3))

        return change

    runs = [read_run(write_run(tmp_path / name, zero(sign))) for name, sign in (("plus", 1.0), ("minus", -1.0))]
    (row,) = [row for row in compare(*runs).observables if (row.backend, row.quantity) == ("torch", "f")]
    assert (row.max_rel, row.level) == (0.0, Level.ROUNDING)


def test_seeds_in_another_order_differ(against: Callable[..., Comparison]) -> None:
    def swapped(arrays: dict[int, dict[str, np.ndarray]]) -> None:
        arrays[8]["f"] = arrays[8]["f"][[1, 0, 2, 3]]

    compared = against(swapped)
    assert [(row.backend, row.quantity) for row in compared.observables if row.outcome == "differs"] == [("torch", "f")]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda arrays: arrays.pop(16), "width 16 is in one measurement only"),
        (lambda arrays: arrays[8].pop("f"), "f at width 8 is in one measurement only"),
        (lambda arrays: arrays[8].update(f=arrays[8]["f"][:3]), "f at width 8 has shape (3, 3) in one measurement"),
        (lambda arrays: arrays[8].update(f=arrays[8]["f"].astype("float32")), "f at width 8 is float32 in one measurement"),
    ],
)
def test_what_one_run_lacks_is_named(against: Callable[..., Comparison], change: Change, reason: str) -> None:
    compared = against(change)
    (row,) = [row for row in compared.observables if row.outcome == "differs"]
    assert (row.backend, row.quantity, row.level) == ("torch", STRUCTURE, Level.APART)
    assert row.reason.startswith(reason)


def nan_at(place: tuple[int, int], value: float = 0.0) -> Change:
    def change(arrays: dict[int, dict[str, np.ndarray]]) -> None:
        arrays[8]["f"] = arrays[8]["f"].copy()
        arrays[8]["f"][place] = np.nan
        arrays[8]["f"][3, 2] += value

    return change


def test_what_is_not_finite_in_one_run_differs(against: Callable[..., Comparison]) -> None:
    compared = against(nan_at((0, 0)))
    (row,) = [row for row in compared.observables if row.outcome == "differs"]
    assert row.reason.startswith("it is off by inf")


def test_training_that_diverged_in_both_is_bitwise_or_not_comparable(tmp_path: Path) -> None:
    base = read_run(write_run(tmp_path / "base", nan_at((0, 0))))
    alike = read_run(write_run(tmp_path / "alike", nan_at((0, 0))))
    assert levels(compare(alike, base))["torch", "f"] == Level.BITWISE
    moved = compare(read_run(write_run(tmp_path / "moved", nan_at((0, 0), 1e-13))), base)
    (row,) = [row for row in moved.observables if row.outcome == "not comparable"]
    assert (row.quantity, row.level, row.reason) == ("f", None, "not finite in both, at the same places")


def test_another_root_is_compared_by_intervals(against: Callable[..., Comparison]) -> None:
    near = {"estimate": VERDICT["estimate"] + 0.01}
    compared = against(root=8, verdict=near)
    assert (compared.required, compared.outcome) == (Level.INTERVAL, "reproduced")
    assert compared.why == "other draws: the root is 8 here, 7 there"
    assert list(compared.observables) == []
    # The same estimates from the same root are a fault.
    compared = against(verdict=near)
    assert compared.outcome == "differs"
    assert [row.level for row in compared.verdicts] == [Level.INTERVAL] * 2


def test_another_precision_is_compared_by_intervals(against: Callable[..., Comparison]) -> None:
    compared = against(precision="float32")
    assert (compared.required, list(compared.observables)) == (Level.INTERVAL, [])
    assert compared.why == "the precision is float32 here, float64 there"


def test_a_run_that_does_not_tell_its_root_is_compared_by_intervals(tmp_path: Path, base: Path) -> None:
    facts = files.read_json(base / "environment.json")
    del facts["root"]
    for name in ("verdicts.csv", "crosscheck.csv"):
        files.write_bytes(tmp_path / "old" / name, (base / name).read_bytes())
    files.write_json(tmp_path / "old" / "environment.json", facts)
    compared = compare(read_run(tmp_path / "old"), read_run(base))
    assert (compared.required, compared.outcome) == (Level.INTERVAL, "reproduced")
    assert "was not recorded" in compared.why


def test_tables_alone_of_the_same_draws_must_agree_to_rounding(tmp_path: Path, base: Path) -> None:
    published = tmp_path / "published"
    for name in ("verdicts.csv", "crosscheck.csv", "environment.json"):
        files.write_bytes(published / name, (base / name).read_bytes())
    compared = compare(read_run(base), read_run(published))
    assert (compared.required, compared.outcome, list(compared.observables)) == (Level.ROUNDING, "reproduced", [])
    tables.write_table(published / "verdicts.csv", "verdicts", [{**row, "estimate": -0.34} for row in read_run(base).verdicts])
    assert compare(read_run(base), read_run(published)).outcome == "differs"


def test_cases_of_other_settings_are_not_comparable_and_of_the_same_study_differ(against: Callable[..., Comparison]) -> None:
    compared = against(settings={"train_size": 4}, study="another")
    assert compared.required == Level.INTERVAL
    assert {row.reason for row in compared.observables} == {"train_size is 4 here, 3 there"}
    assert {row.outcome for row in compared.observables} == {"not comparable"}
    compared = against(settings={"train_size": 4})
    assert {row.reason for row in compared.observables} == {"train_size is 4 here, 3 there"}
    assert {row.outcome for row in compared.observables} == {"differs"}


@pytest.mark.parametrize(("value", "same"), [(0, True), (3, False)])
def test_a_field_that_one_run_does_not_know_yet_had_its_default(
    against: Callable[..., Comparison], value: int, same: bool
) -> None:
    compared = against(settings={"test_size": value})
    assert all(row.outcome == ("reproduced" if same else "differs") for row in compared.observables)
    assert same or "test_size is 3" in compared.observables[0].reason


def test_an_unknown_claim_is_not_comparable(tmp_path: Path) -> None:
    runs = [read_run(write_run(tmp_path / name, claim="gap/forgotten")) for name in "ab"]
    assert {row.outcome for row in compare(*runs).observables} == {"not comparable"}


@pytest.mark.parametrize("version", [2, None])
def test_results_of_other_versions_are_compared_if_asked(against: Callable[..., Comparison], version: int | None) -> None:
    compared = against(results_version=version)
    assert compared.outcome == "not comparable"
    assert compared.why == f"the results version is {version or 'none'} here, 1 there"
    assert {row.outcome for row in compared.verdicts} == {"not comparable"}
    assert against(results_version=version, across_versions=True).outcome == "reproduced"


def test_what_is_different_in_the_two_is_told(against: Callable[..., Comparison]) -> None:
    compared = against(threads=2, versions={"numpy": "2.1", "scipy": "1.0"}, cpus=4, measured_seconds={"jax": 1.0})
    assert [(d.fact, d.here, d.there) for d in compared.differences] == [
        ("jax threads", "2", "1"),
        ("torch threads", "2", "1"),
        ("cpus", "4", "none"),
        ("version of numpy", "2.1", "2.0"),
        ("version of scipy", "1.0", "none"),
    ]
    assert compared.outcome == "reproduced"


def test_a_damaged_measurement_is_refused(base: Path) -> None:
    path = base / "measurements" / CLAIM / CASE / "torch.npz"
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(files.RecordError, match="torch.npz is damaged"):
        compare(read_run(base), read_run(base))


class Page(HTMLParser):
    """Tags, attributes and text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_holds_everything_and_nothing_from_elsewhere(against: Callable[..., Comparison]) -> None:
    compared = against(verdict={"estimate": -0.9, "ci_low": -0.91, "ci_high": -0.89})
    text = html_page(compared, "mine", "theirs")
    page = Page(text)
    assert page.attributes == {"lang", "charset", "class"}
    assert not {"script", "img", "link", "iframe", "a"} & set(page.tags)
    assert not re.search(r"https?:|url\(|@import", text)
    assert page.tags.count("table") == 3
    assert page.tags.count("tr") == (1 + 1) + (1 + 2) + (1 + 4)
    for expected in ("mine against theirs: differs", CLAIM, "K2", "the estimates differ by 0.567", "Nothing that was recorded"):
        assert expected in page.text


def test_what_comes_from_a_run_is_escaped(against: Callable[..., Comparison]) -> None:
    evil = "<script>alert('x')</script>&\""
    compared = against(processor=evil, verdict={"verdict": "contradicted"})
    text = html_page(compared, evil, "theirs")
    assert "<script" not in text
    assert "script" not in Page(text).tags
    assert Page(text).text.count(evil) == 3  # title, heading, processor
