"""The published matrix is what its file says, and its combinations are those that the project supports."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.specifiers import SpecifierSet

from ntkbench import config
from ntkbench.claims import FAMILIES
from ntkbench.tables import read_rows, write_table
from tests.matrix import __main__ as matrix
from tests.matrix import table
from tests.matrix.combinations import Combination, NotInstalled, bounds, combinations, install, interpreter, oldest
from tests.matrix.variations import CLAIMS, STUDY, Variation, variations
from tests.pins import torch_pin
from tests.test_reproduction import Change, unchanged, write_run

ROWS = table.read(matrix.PUBLISHED)


def test_the_page_shows_the_file() -> None:
    page = matrix.PAGE.read_text(encoding="utf-8")
    assert table.put_into(page, table.markdown(ROWS)) == page


def test_every_variation_has_its_rows() -> None:
    assert [(row["variation"], row["backend"]) for row in ROWS] == [
        (variation.name, backend) for variation in variations() for backend in matrix.BACKENDS
    ]
    for row in ROWS:
        assert row["status"] in ("base", "run", "failed") or row["status"].startswith("not run: ")
        assert (row["status"] == "run") == bool(row["observables_bitwise"])
        assert row["status"] != "run" or float(row["worst_of_allowed"]) < math.inf
    assert {row["status"] for row in ROWS if row["variation"] == "base"} == {"base"}


def test_the_study_has_all_families() -> None:
    assert {claim.partition("/")[0] for claim in CLAIMS} == set(FAMILIES)


def test_the_study_is_valid(tmp_path: Path) -> None:
    for variation in variations():
        (tmp_path / f"{STUDY}.yaml").write_text(yaml.safe_dump(variation.study(), sort_keys=False), encoding="utf-8")
        assert config.load(tmp_path / f"{STUDY}.yaml").threads == variation.threads


def test_backwards_is_the_same_study_in_reverse() -> None:
    forwards, backwards = (Variation("one", combinations()[0], "", backwards=order) for order in (False, True))
    first, second = (
        [(claim, case) for claim, section in of.study()["claims"].items() for case in section["cases"]]
        for of in (forwards, backwards)
    )
    assert second == first[::-1]
    assert {**forwards.study(), "claims": None} == {**backwards.study(), "claims": None}
    assert forwards.study()["claims"] == backwards.study()["claims"]
    *single, whole = backwards.targets()
    assert len(single) == 2 * len(CLAIMS)
    assert sorted(target for targets in single for target in targets) == sorted(
        f"results/matrix/measurements/{claim}/{case}/{backend}.npz" for claim, case in first for backend in ("torch", "jax")
    )
    assert [whole] == list(forwards.targets())


def test_each_variation_changes_one_thing() -> None:
    base, *others = variations()
    for other in others:
        changed = [
            other.combination != base.combination,
            other.threads != base.threads,
            other.backwards != base.backwards,
        ]
        assert sum(changed) == 1


def test_combinations_lie_within_what_the_project_allows_and_reach_its_ends() -> None:
    found = {combination.name: combination.versions() for combination in combinations()}
    for versions in found.values():
        for package in ("torch", "jax"):
            assert versions[package] in bounds(package)
        assert versions["jax"] == versions["jaxlib"]
    assert found["oldest-torch"]["torch"] == oldest("torch")
    assert found["oldest-jax"]["jax"] == oldest("jax")
    assert {combination.python for combination in combinations()} == {"3.11", "3.12"}
    assert found["locked"]["torch"] == torch_pin()
    # Python alone differs.
    assert found["python-3.12"]["jax"] == found["locked"]["jax"] != found["newest"]["jax"]
    assert found["python-3.12"]["numpy"] == found["locked"]["numpy"] != found["newest"]["numpy"]


def test_bounds_are_those_of_the_project() -> None:
    assert bounds("torch") == SpecifierSet(">=2.11,<2.14")
    assert oldest("torch") == "2.11.0"
    with pytest.raises(ValueError, match="dream is no dependency"):
        bounds("dream")


def test_what_is_not_there_is_not_run(tmp_path: Path) -> None:
    assert interpreter("3.1") is None
    missing = Combination("dream", "3.1", "2.13.0", {}, "a Python that nobody has")
    with pytest.raises(NotInstalled, match=r"no python3\.1 on the path"):
        install(missing, tmp_path / "dream")
    assert list(tmp_path.iterdir()) == []


def made(folder: Path, change: Change = unchanged, **settings: Any) -> Path:
    facts = {"python": "3.11.7", "processor": "one", "platform": "two", "cpus": 2}
    return write_run(folder, change, versions={"numpy": "3"}, **facts, **settings)


def test_rows_count_what_agrees_and_what_does_not(tmp_path: Path) -> None:
    def scaled(arrays: Any) -> None:
        arrays[8]["f"] = arrays[8]["f"] * (1 + 1e-13)
        arrays[8]["K2"] = arrays[8]["K2"] * 1.5

    base, other = made(tmp_path / "base"), made(tmp_path / "other", scaled)
    verdicts = read_rows(other / "verdicts.csv", "verdicts")
    write_table(other / "verdicts.csv", "verdicts", [{**row, "verdict": "invalid"} for row in verdicts])
    variation = variations()[1]
    torch, jax = matrix.rows_of(variation, other, base, "abc")
    levels = ("bitwise", "within_rounding", "apart", "not_compared")
    assert [torch[f"observables_{level}"] for level in levels] == ["0", "1", "1", "0"]
    assert [jax[f"observables_{level}"] for level in levels] == ["2", "0", "0", "0"]
    # Lost verdicts count as apart.
    assert [jax[f"verdicts_{level}"] for level in levels] == ["0", "0", "1", "0"]
    assert torch["worst_observable"].endswith("K2")
    assert float(torch["worst_of_allowed"]) > 1e6
    assert (torch["python"], torch["commit"], torch["status"]) == ("3.11.7", "abc", "run")
    lines = table.markdown([torch, jax]).splitlines()
    assert "1 within rounding, 1 apart" in lines[2]
    assert "all 2 bitwise" in lines[2]
    assert {row["status"] for row in matrix.rows_of(variation, base, base, "abc")} == {"base"}


def test_a_run_that_there_is_not_has_no_numbers(tmp_path: Path) -> None:
    rows = matrix.rows_of(variations()[1], "not run: no python3.1 on the path", tmp_path, "abc")
    assert all(row["status"] == "not run: no python3.1 on the path" for row in rows)
    assert all(row["observables_bitwise"] == row["commit"] == "" for row in rows)
    assert "not run: no python3.1" in table.markdown(rows)


@pytest.fixture
def python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Puts a shell script in the place of every environment's Python, and two variations in that of all."""
    monkeypatch.setattr(matrix, "PUBLISHED", tmp_path / "matrix.csv")
    monkeypatch.setattr(matrix, "PAGE", tmp_path / "page.md")
    monkeypatch.setattr(matrix, "variations", lambda: variations()[:2])
    (tmp_path / "page.md").write_text(f"before\n{table.START}\n{table.END}\nafter\n", encoding="utf-8")

    def put(script: str) -> None:
        program = tmp_path / "python"
        program.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        program.chmod(0o755)
        monkeypatch.setattr(matrix, "install", lambda *_: program)

    return put


def whole(folder: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr("sys.argv", ["matrix", str(folder)])
    return matrix.main()


@pytest.mark.parametrize(("change", "code"), [(None, 0), ("other", 1)])
def test_all_is_run_compared_and_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, python: Callable[[str], None], change: str | None, code: int
) -> None:
    def moved(arrays: Any) -> None:
        arrays[8]["f"] = arrays[8]["f"] * 1.1

    made(tmp_path / "base")
    made(tmp_path / "threads-2", moved if change else unchanged)
    python(f'mkdir -p results; echo "$@" > arguments; cp -r {tmp_path}/$(basename $PWD) results/{STUDY}')
    assert whole(tmp_path / "runs", monkeypatch) == code
    found = (tmp_path / "runs" / "threads-2" / "arguments").read_text(encoding="utf-8").split()
    assert found == f"-m snakemake --cores 2 results/{STUDY}/environment.json --config study={STUDY} summary=False".split()
    rows = table.read(tmp_path / "matrix.csv")
    assert [(row["variation"], row["status"]) for row in rows] == [
        (name, status) for name, status in (("base", "base"), ("threads-2", "run")) for _ in matrix.BACKENDS
    ]
    page = (tmp_path / "page.md").read_text(encoding="utf-8")
    assert page.startswith("before\n")
    assert page.endswith("after\n")
    assert table.markdown(rows) in page
    # What is finished is kept.
    python("exit 1")
    assert whole(tmp_path / "runs", monkeypatch) == code


def test_a_run_that_fails_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, python: Callable[[str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    made(tmp_path / "base")
    python(
        f"test $(basename $PWD) = base || {{ echo broken >&2; exit 1; }}; mkdir results; cp -r {tmp_path}/base results/{STUDY}"
    )
    assert whole(tmp_path / "runs", monkeypatch) == 1
    assert "broken" in capsys.readouterr().err
    assert {row["status"] for row in table.read(tmp_path / "matrix.csv")} == {"base", "failed"}
