"""Two hundred spoilt studies: each is valid and plans, or is refused before any job, naming key, value and mend."""

import copy
import math
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
import yaml
from hypothesis import Phase, given, note, settings
from hypothesis import strategies as st

from ntkbench import config
from ntkbench.config import reading, study
from ntkbench.performance import planning
from tests.badinput.messages import faults
from tests.badinput.mutations import spoilt, spoilt_text
from tests.test_costs import RATES
from tests.tiny import TINY

STUDIES = {
    path.stem: path for path in (Path(__file__).parents[2] / "workflow" / "config").glob("*.yaml") if path.stem != "paper"
}
PARSED = {name: reading.read_yaml(path, ()) for name, path in STUDIES.items()}


def outcome(path: Path, raw: Any) -> str:
    """`plans` or `refused`; AssertionError for anything between."""
    try:
        loaded = config.load(path)
    except config.ConfigError as error:
        assert faults(str(error), path, raw) == []
        return "refused"
    planned = planning.jobs(loaded, RATES, 2)
    assert len(planned) > len(loaded.cases)
    for job in planned:
        assert job.seconds is None or (math.isfinite(job.seconds) and job.seconds >= 0), job
        assert job.memory is None or job.memory > 0, job
    return "plans"


def counted(examples: int, write: Callable[[Random], tuple[Path, Any]]) -> Counter[str]:
    """How many of so many studies plan, and how many are refused."""
    found: Counter[str] = Counter()

    # A seed does not shrink to a simpler study; what is printed is the study's file.
    @settings(max_examples=examples, phases=[Phase.generate])
    @given(st.randoms(use_true_random=True))
    def every_one(draw: Random) -> None:
        path, raw = write(draw)
        note(path.read_bytes().decode(errors="backslashreplace")[:5000])
        found[outcome(path, raw)] += 1

    every_one()
    return found


def test_a_study_with_spoilt_values_plans_or_is_refused_by_key_value_and_mend(tmp_path: Path) -> None:
    def write(draw: Random) -> tuple[Path, Any]:
        raw = spoilt(PARSED, draw)
        path = tmp_path / f"{raw['study'] if raw.get('study') in ('smoke', 'default') else 'smoke'}.yaml"
        path.write_text(yaml.safe_dump(raw, sort_keys=False, allow_unicode=True), encoding="utf-8")
        return path, raw

    found = counted(200, write)
    assert found["refused"] >= 100
    assert found["plans"] >= 10


def test_a_study_with_spoilt_text_plans_or_is_refused_by_its_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "smoke.yaml"
    begin = "\n\n".join(STUDIES["smoke"].read_text(encoding="utf-8").split("\n\n")[:3]) + "\n"

    def write(draw: Random) -> tuple[Path, Any]:
        path.write_bytes(spoilt_text(begin, draw))
        try:
            return path, reading.read_yaml(path, ())
        except config.ConfigError:
            return path, None

    path.write_text(begin, encoding="utf-8")
    assert outcome(path, reading.read_yaml(path, ())) == "plans"
    found = counted(100, write)
    assert found["refused"] >= 80
    assert not (tmp_path / "owned").exists()


GOOD = "  seed = -1: must be at least 0"


@pytest.mark.parametrize(
    ("problem", "fault"),
    [
        (GOOD, None),
        ("  threads = null: must be a whole number", "does not show the value"),
        ("  seed = -2: must be at least 0", "does not show the value"),
        ("  seed: must be at least 0", "does not show the value"),
        ("  sed = -1: must be at least 0", "names no key"),
        ("  claims.hierarchy/truncation.cases.plan = {}: remove it", "names no key"),
        ("  seed = -1: negative", "has no mend"),
        ("  seed = -1: Input should be greater than or equal to 0", "another's words"),
        ("  memory_gib: is missing; add it", None),
    ],
)
def test_the_check_of_messages_can_fail(problem: str, fault: str | None) -> None:
    raw = {**TINY, "seed": -1, "threads": 1}
    raw = {key: value for key, value in raw.items() if key != "backends"} if fault is None else raw
    found = faults(f"tiny.yaml has 1 problem:\n{problem}", Path("tiny.yaml"), raw)
    assert (found == []) if fault is None else any(fault in one for one in found), found


def test_a_message_that_miscounts_or_names_no_file_is_found() -> None:
    raw = {**TINY, "seed": -1}
    assert any("does not count" in one for one in faults(f"tiny.yaml has 2 problems:\n{GOOD}", Path("tiny.yaml"), raw))
    assert any("not name the file" in one for one in faults(f"it has 1 problem:\n{GOOD}", Path("tiny.yaml"), raw))
    for text, fault in (("no valid YAML: mend it", "names no place"), ("unreadable", "has no mend"), ("a\nb", "more than one")):
        assert any(fault in one for one in faults(f"tiny.yaml {text}", Path("tiny.yaml"), None))


def test_the_words_of_the_library_below_are_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if nobody had translated them."""
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump({**TINY, "seed": -1}))
    assert outcome(path, {**TINY, "seed": -1}) == "refused"
    monkeypatch.setattr(study, "of_type", lambda error: error["msg"])
    with pytest.raises(AssertionError, match="another's words"):
        outcome(path, {**TINY, "seed": -1})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"claims": None}, "  claims = null: must be a section, with keys of its own"),
        ({"widths": 16}, "  claims.hierarchy/truncation.defaults.widths = 16: must be a list; write [16]"),
        (
            {"widths": [0, 16]},
            "  claims.hierarchy/truncation.defaults.widths = [0, 16]: width must be a whole number of at least 1, got 0",
        ),
        ({"dataset": "shpere"}, ".defaults.dataset = \"shpere\": dataset 'shpere' is unknown; did you mean 'sphere'?"),
        ({"activation": "Tanh"}, ".defaults.activation = \"Tanh\": activation 'Tanh' is unknown; did you mean 'tanh'?"),
        ({"integrator": "rk45"}, ".defaults.integrator = \"rk45\": integrator 'rk45' is unknown; did you mean 'rk4'?"),
        ({"depth": 10**9}, ".defaults.depth = 1000000000: depth must be at most"),
        ({"study": "reference"}, '  study = "reference": is where the published run is; choose another name'),
    ],
)
def test_what_was_once_told_badly(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    raw = copy.deepcopy(TINY)
    (raw if set(change) <= set(TINY) else raw["claims"]["hierarchy/truncation"]["defaults"]).update(change)
    path = tmp_path / f"{raw['study']}.yaml"
    path.write_text(yaml.safe_dump(raw))
    with pytest.raises(config.ConfigError) as caught:
        config.load(path)
    assert message in str(caught.value)
    assert faults(str(caught.value), path, raw) == []


@pytest.mark.parametrize("name", ["../smoke", "/etc/passwd", "a/b", "", ".", "..", "a\x00b", "-x", "<b>", 7, None])
def test_an_option_names_a_study_of_the_folder_and_no_path(name: Any) -> None:
    with pytest.raises(config.ConfigError, match=r"--config study=.*: a study must be named with"):
        config.from_options(STUDIES["smoke"].parent, {"study": name})


def test_a_pipe_or_a_large_file_is_no_study(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "large.yaml").write_text("#" * (reading.MOST_BYTES + 1))
    with pytest.raises(config.ConfigError, match=r"pipe.yaml is no file; give"):
        config.load(tmp_path / "pipe.yaml")
    with pytest.raises(config.ConfigError, match=r"large.yaml has 1048577 bytes, a study 1048576 at most; write"):
        config.load(tmp_path / "large.yaml")
