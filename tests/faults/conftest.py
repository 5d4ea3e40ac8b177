import os
import shutil
from pathlib import Path

import pytest

from ntkbench import claims
from ntkbench.report import paper
from ntkbench.stages.session import THREAD_VARIABLES
from tests.faults.stages import CLAIM_ID, Cheap, Places
from tests.figures import timings
from tests.workflow.conftest import finished, finished_once, fresh  # noqa: F401


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two finished studies, `tiny` and `other`, that differ in their seed."""
    root = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        rows = timings.rows("smoke")
        prepare(patch, root)
        Places("other", root=2).make(rows)
        Places().make(rows)
    return root


def prepare(patch: pytest.MonkeyPatch, root: Path) -> None:
    patch.chdir(root)
    patch.setattr(claims, "get", lambda claim: {CLAIM_ID: Cheap()}[claim])
    patch.setattr(paper, "build", lambda *arguments, **named: Path("paper/main.pdf").write_text("built"))
    for name in THREAD_VARIABLES:
        patch.setenv(name, os.environ.get(name, "1"))


@pytest.fixture
def made(made_once: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Places:
    """The study `tiny` beside `other`, in the working directory; a copy for each test."""
    shutil.copytree(made_once, tmp_path / "made")
    prepare(monkeypatch, tmp_path / "made")
    return Places()
