"""The rule that says what became slower, on rounds as noisy machines give them; part of the ordinary tests."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.performance import compare, rounds
from tests.performance.synthetic import entry, written

PRIMITIVES, ROUNDS = 40, 40


def run(folder: Path, name: str, draw: np.random.Generator, noise: str, slower: dict[int, float] | None = None) -> Path:
    """A run on a machine of random speed that drifts, of primitives whose true ratios to the roofline are 1 to 4."""
    benchmarks, machine = [], draw.uniform(0.3, 3.0)
    for primitive in range(PRIMITIVES):
        drift = np.exp(0.05 * draw.standard_normal(ROUNDS).cumsum())
        ours, roofline = (machine * drift * disturbed(draw, noise) for _ in range(2))
        ours *= (1 + 3 * primitive / PRIMITIVES) * (slower or {}).get(primitive, 1.0)
        benchmarks.append(entry(list(ours), list(roofline), size=f"n={primitive}"))
    return written(folder / f"{name}.json", *benchmarks, processor=name)


def disturbed(draw: np.random.Generator, noise: str) -> np.ndarray:
    quiet = np.exp(0.05 * draw.standard_normal(ROUNDS))
    if noise == "quiet":
        return quiet
    # One round in five is held up, by a factor without a mean.
    return quiet * np.where(draw.uniform(size=ROUNDS) < 0.2, 1 + draw.pareto(1.0, ROUNDS), 1.0)


@pytest.mark.parametrize("noise", ["quiet", "heavy-tailed"])
def test_a_slowdown_is_caught_and_nothing_else(tmp_path: Path, noise: str) -> None:
    draw = np.random.default_rng(1)
    slowed = {3: 1.5, 17: 1.5, 31: 1.5}
    base, new = (rounds.read(run(tmp_path, *args)) for args in (("a", draw, noise), ("b", draw, noise, slowed)))
    found = [change for change in compare.compare(base, new) if change.slower]
    assert sorted(change.key[1] for change in found) == ["n=17", "n=3", "n=31"]
    assert all(1.3 < change.now / change.before < 1.7 for change in found)


@pytest.mark.parametrize("noise", ["quiet", "heavy-tailed"])
def test_equal_runs_raise_no_alarm(tmp_path: Path, noise: str) -> None:
    draw = np.random.default_rng(2)
    alarms = 0
    for _ in range(20):
        base, new = (rounds.read(run(tmp_path, name, draw, noise)) for name in "ab")
        alarms += any(change.slower for change in compare.compare(base, new))
    assert alarms <= 1


def test_many_primitives_at_the_edge_raise_few_alarms(tmp_path: Path) -> None:
    """All just as much slower as is let pass: each alone would raise an alarm in one pair of runs out of twenty."""
    draw = np.random.default_rng(5)
    edge = dict.fromkeys(range(PRIMITIVES), compare.SMALLEST)
    alarms = 0
    for _ in range(20):
        base, new = (rounds.read(run(tmp_path, *args)) for args in (("a", draw, "quiet"), ("b", draw, "quiet", edge)))
        alarms += any(change.slower for change in compare.compare(base, new))
    assert alarms <= 3


def test_eight_rounds_show_a_slowdown_among_many_primitives_and_fewer_are_not_compared(tmp_path: Path) -> None:
    def read(name: str, count: int, seconds: float) -> rounds.Run:
        others = [entry([1.0] * 8, [1.0] * 8, size=f"n={i}") for i in range(10, 90)]
        return rounds.read(written(tmp_path / name, entry([seconds] * count, [1.0] * count), *others))

    seen = compare.compare(read("a", 8, 1.0), read("b", 8, 10.0))
    assert [change.key[1] for change in seen if change.slower] == ["n=2"]
    for counts in ((7, 8), (8, 7), (3, 3)):
        base, new = read("a", counts[0], 1.0), read("b", counts[1], 10.0)
        changes = compare.compare(base, new)
        said = compare.report(base, new, changes)
        assert len(changes) == 80
        assert "Not compared, too few rounds: ntk, n=2, torch, float64" in said
        assert "80 primitives compared" in said


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 0.0, -1.0])
@pytest.mark.parametrize("side", ["ours", "roofline"])
def test_rounds_that_took_no_positive_time_are_refused_by_name(tmp_path: Path, bad: float, side: str) -> None:
    given = {"ours": [1.0] * 9, "roofline": [1.0] * 9} | {side: [1.0] * 8 + [bad]}
    with pytest.raises(ValueError, match="rounds of ntk, n=2, torch, float64 that are no positive"):
        rounds.read(written(tmp_path / "bad.json", entry(**given)))


@pytest.mark.parametrize("text", ["[]", '{"bench', '{"benchmarks": [{"extra_info": {}, "stats": {"data": [1]}}]}'])
def test_files_of_something_else_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "bad.json").write_text(text)
    with pytest.raises(ValueError, match="no file of `make benchmark`"):
        rounds.read(tmp_path / "bad.json")


def test_small_changes_are_let_pass(tmp_path: Path) -> None:
    draw = np.random.default_rng(3)
    base, new = (rounds.read(run(tmp_path, *args)) for args in (("a", draw, "quiet"), ("b", draw, "quiet", {5: 1.1})))
    assert not any(change.slower for change in compare.compare(base, new))


def test_holm_by_hand() -> None:
    np.testing.assert_allclose(compare.holm(np.array([0.02, 0.001, 0.9, 0.02])), [0.06, 0.004, 0.9, 0.06])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"threads": 2}, "threads 1 in the base and 2"),
        ({"device": "cuda"}, "device"),
        ({"size": "n=3"}, "no primitive in common"),
    ],
)
def test_what_cannot_be_compared_is_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    base = rounds.read(written(tmp_path / "a.json", entry([1.0], [1.0])))
    with pytest.raises(ValueError, match=message):
        compare.compare(base, rounds.read(written(tmp_path / "b.json", entry([1.0], [1.0], **changes))))


def main_on(monkeypatch: pytest.MonkeyPatch, *paths: Path) -> int:
    monkeypatch.setattr(sys, "argv", ["compare", *map(str, paths)])
    with pytest.raises(SystemExit) as exit_:
        compare.main()
    return int(exit_.value.code)


def test_the_command_says_what_and_exits_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    draw = np.random.default_rng(4)
    base, new = run(tmp_path, "abacus", draw, "quiet"), run(tmp_path, "quipu", draw, "quiet", {7: 1.5})
    assert main_on(monkeypatch, base, base) == 0
    assert main_on(monkeypatch, base, new) == 1
    said = capsys.readouterr().out
    assert "Another machine: abacus" in said
    assert "ntk, n=7, torch, float64" in said
    assert "40 primitives compared, 1 became slower by more than 15%" in said
    assert main_on(monkeypatch, base, tmp_path / "missing.json") == 2


def test_a_roofline_of_other_products_is_not_compared(tmp_path: Path) -> None:
    kept = entry([1.0] * 9, [1.0] * 9, size="n=1")
    base, new = (
        rounds.read(written(tmp_path / name, kept, entry([1.0] * 9, [seconds] * 9, products=[[1, 1, 1, inner]])))
        for name, seconds, inner in (("a", 1.0, 1), ("b", 0.1, 2))
    )
    changes = compare.compare(base, new)
    assert [change.key[1] for change in changes] == ["n=1"]
    assert "Not compared, with another roofline: ntk, n=2" in compare.report(base, new, changes)
