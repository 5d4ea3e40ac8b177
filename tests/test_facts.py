"""What a run says of itself is of the kinds that a run writes, or it is damaged."""

import json
from pathlib import Path

import pytest

from ntkbench.facts import read_environment
from ntkbench.files import RecordError
from tests.scratch import ROOT


@pytest.mark.parametrize("text", ["[1]", '{"backends": [1]}', '{"backends": {"torch": 3}}', '{"versions": 3}', '{"commit": 3}'])
def test_facts_of_another_kind_are_damage(tmp_path: Path, text: str) -> None:
    (tmp_path / "environment.json").write_text(text)
    with pytest.raises(RecordError, match="is damaged: it"):
        read_environment(tmp_path / "environment.json")


def test_what_a_run_wrote_is_read_and_what_is_needed_must_be_there() -> None:
    path = ROOT / "results" / "reference" / "environment.json"
    assert read_environment(path, ("study", "commit")) == json.loads(path.read_text(encoding="utf-8"))
    with pytest.raises(RecordError, match="is damaged: it does not say colour; "):
        read_environment(path, ("study", "colour"))
