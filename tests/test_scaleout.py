"""A study on several devices: schedules that can be worked out by hand, bounds, and the published table."""

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ntkbench import config
from ntkbench.cli import app
from ntkbench.performance import scaleout
from ntkbench.performance.planning import Job

ROOT = Path(__file__).resolve().parent.parent


def job(stage: str, seconds: float | None, case: str = "a", backend: str = "", claim: str = "f/c") -> Job:
    return Job(stage, claim, case, backend, seconds, None)


THREE = [job("measure", 3, "a"), job("measure", 2, "b"), job("measure", 2, "c")]


@pytest.mark.parametrize(("devices", "seconds"), [(1, 7), (2, 4), (3, 3), (64, 3)])
def test_the_longest_job_that_can_start_starts_first(devices: int, seconds: float) -> None:
    assert scaleout.makespan(THREE, devices) == seconds
    assert scaleout.makespan(THREE[::-1], devices) == seconds


def test_a_job_waits_for_what_it_reads() -> None:
    """b's inputs are late: its measurement begins at 5, and all that follows hangs on that."""
    jobs = [
        job("inputs", 1, "a"), job("inputs", 5, "b"), job("measure", 2, "a", "torch"), job("measure", 2, "b", "torch"),
        job("crosscheck", 1, "a"), job("crosscheck", 1, "b"), job("analyse", 1, ""), job("figures", 4, ""),
        job("collect", 1, "", claim=""), job("performance", 3, "", "torch", ""), job("scaling", 1, "", claim=""),
        job("paper", 1, "", claim=""),
    ]  # fmt: skip
    assert scaleout.makespan(jobs[:4], 2) == 7
    assert scaleout.makespan(jobs, 2) == 5 + 2 + 1 + 1 + 4 + 1
    assert scaleout.makespan([one for one in jobs if one.stage != "figures"], 2) == 5 + 2 + 3 + 1 + 1


def test_what_only_reads_takes_no_device() -> None:
    assert scaleout.makespan([job("inputs", 3, case) for case in "abcd"], 1) == 3


def test_a_job_of_unknown_length_takes_no_time() -> None:
    assert scaleout.makespan([*THREE, job("measure", None, "d")], 1) == 7


def test_a_study_is_no_shorter_than_its_longest_job_or_its_share_of_the_work() -> None:
    jobs = scaleout.planned(config.load(ROOT / "workflow" / "config" / "smoke.yaml"))
    seconds = [one.seconds or 0.0 for one in jobs if one.stage in scaleout.ON_DEVICES]
    found = [scaleout.makespan(jobs, devices) for devices in (1, 3, 1000)]
    assert found == sorted(found, reverse=True)
    for devices, took in zip((1, 3, 1000), found, strict=True):
        assert took >= max(max(seconds), sum(seconds) / devices)
    assert found[0] <= sum(one.seconds or 0.0 for one in jobs)


def test_a_device_that_is_twice_as_fast_takes_half_as_long() -> None:
    jobs = scaleout.planned(config.load(ROOT / "workflow" / "config" / "smoke.yaml"))
    claims = frozenset({"hierarchy/depth"})
    once, twice = (
        scaleout.only(jobs, scaleout.Measured(claims, "a device", {"torch": speed, "jax": speed})) for speed in (1.0, 2.0)
    )
    assert {one.claim for one in once} == claims
    assert scaleout.makespan(once, 2) == pytest.approx(2 * scaleout.makespan(twice, 2))


def test_the_command_takes_devices_and_refuses_what_is_no_run(tmp_path: Path) -> None:
    study = str(ROOT / "workflow" / "config" / "smoke.yaml")
    gpu = str(ROOT / "results" / "reference" / "gpu")
    done = CliRunner().invoke(app, ["scaleout", study, "--devices", "2", "--devices", "5", "--measured", gpu])
    assert done.exit_code == 0
    assert re.findall(r"^\| (\d+) \|", done.output, re.MULTILINE) == ["2", "5"]
    usual = CliRunner().invoke(app, ["scaleout", study, "--measured", gpu])
    assert re.findall(r"^\| (\d+) \|", usual.output, re.MULTILINE) == ["1", "8", "64"]
    refused = CliRunner().invoke(app, ["scaleout", study, "--measured", str(tmp_path)])
    assert refused.exit_code == 2
    assert f"{tmp_path.name}.yaml is missing" in refused.output


def test_times_have_the_unit_that_suits_them() -> None:
    jobs = [job("measure", 90, "a", "torch"), job("measure", 7200, "b", "torch")]
    told = scaleout.table(jobs, scaleout.Measured(frozenset({"f/c"}), "a device", {"torch": 100.0}), [1])
    assert "| 1 | 2 h | 1.0 | 73 s |" in told
    assert "2 measurement jobs, 0 of unknown length. The longest, f/c b in torch, takes 2 h of the plan, 99%" in told
    alone = scaleout.table(jobs[:1], scaleout.Measured(frozenset({"f/other"}), "a device", {"torch": 100.0}), [1])
    assert "| 1 | 90 s | 1.0 | none |" in alone
    assert "1 measurement job, 0 of unknown length" in alone


def test_where_no_length_is_known_none_is_the_longest() -> None:
    jobs = [job("measure", None, "a", "torch"), job("paper", 1, "", claim="")]
    told = scaleout.table(jobs, scaleout.Measured(frozenset({"f/other"}), "a device", {"torch": 100.0}), [1])
    assert "- Whole study: 1 measurement job, 1 of unknown length.\n" in told


def test_the_published_estimate_is_what_the_command_prints() -> None:
    text = (ROOT / "docs" / "clusters.md").read_text(encoding="utf-8")
    (published,) = re.findall(r"<!-- scaleout: ntkbench scaleout paper -->\n(.*?)\n<!-- /scaleout -->", text, re.DOTALL)
    study = config.load(ROOT / "workflow" / "config" / "paper.yaml")
    measured = scaleout.read_measured(ROOT / "results" / "reference" / "gpu")
    assert scaleout.table(scaleout.planned(study), measured, [1, 8, 64]) == published
