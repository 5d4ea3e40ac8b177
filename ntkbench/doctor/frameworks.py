"""Each framework in a process of its own, as the jobs of a run have it: device, flags, threads, and whether both agree."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from ntkbench.backends import BACKENDS
from ntkbench.config import gpu_present
from ntkbench.crosscheck import Measurement, StructureMismatch, compare, device_of
from ntkbench.doctor.finding import Finding
from ntkbench.doctor.packages import ENVIRONMENT
from ntkbench.doctor.probe import GROWTH
from ntkbench.files import RecordError
from ntkbench.provenance import ROOT
from ntkbench.records import read_record, unflatten
from ntkbench.stages.session import THREAD_VARIABLES

PATIENCE = 300
"""Seconds after which a framework counts as hung; on a busy core it takes 30."""
FLAGS = {"tf32": False, "deterministic": True, "precision": "float64"}
"""What a backend must have switched its framework to."""
SINGLE = 1e-5
"""What float32 may differ from float64 by: ten times what it does, a tenth of what products with ten bits of mantissa would."""


@dataclass(frozen=True)
class Probe:
    """What `ntkbench.doctor.probe` found of one framework.

    Attributes:
        facts: `backends.Backend.facts`.
        pools: threads of each library that has some.
        single_precision: relative deviation of float32 from float64.
        seconds: from the import of the framework on.
        measured: numbers to compare.
    """

    facts: Mapping[str, Any]
    pools: Mapping[str, int]
    single_precision: float
    seconds: float
    measured: Measurement


class ProbeFailed(Exception):
    """The framework does not start or does not compute; the message is its last word."""


def probe(name: str) -> Probe:
    """Ask for one thread, in the way in which the workflow does."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "probe.npz"
        path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        environment = os.environ | dict.fromkeys(THREAD_VARIABLES, "1") | {"PYTHONPATH": path}
        # -P: a package that lies in the working directory is not the one to examine.
        command = [sys.executable, "-P", "-m", "ntkbench.doctor.probe", name, str(output)]
        try:
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            raise ProbeFailed(f"no answer within {PATIENCE} s") from None
        if done.returncode:
            raise ProbeFailed((done.stderr.strip().splitlines() or [f"ended with exit code {done.returncode}"])[-1])
        try:
            record = read_record(output)
        except RecordError as error:
            raise ProbeFailed(f"what it computed cannot be read: {error}") from None
    told = {name: record.facts[name] for name in ("pools", "single_precision", "seconds")}
    return Probe(facts=record.facts["backend_facts"], measured=unflatten(record.arrays), **told)


def check() -> Iterator[Finding]:
    """Every framework alone, then one against the other."""
    probes = {}
    for name in BACKENDS:
        try:
            probes[name] = probe(name)
        except ProbeFailed as error:
            yield Finding(name, "problem", str(error), ENVIRONMENT)
        else:
            yield from _alone(name, probes[name])
    if len(probes) == len(BACKENDS):
        yield _agreement(probes)


def _alone(name: str, found: Probe) -> Iterator[Finding]:
    facts = found.facts
    build = build_of(name, str(facts["version"]))
    yield Finding(name, "ok", f"{facts['version']} ({build} build), started and computed in {found.seconds:.0f} s")
    yield _device(name, build, facts)
    yield _precision(name, found)
    yield _threads(name, found)


def _precision(name: str, found: Probe) -> Finding:
    wrong = [f"{flag} is {found.facts.get(flag)}" for flag, wanted in FLAGS.items() if found.facts.get(flag) != wanted]
    if not found.single_precision <= SINGLE:
        wrong.append(f"float32 differs from float64 by {found.single_precision:.1g}, {SINGLE:.0e} is allowed")
    if wrong:
        mend = "a version or a setting of the framework that the backend does not know: take the pinned one"
        return Finding(f"{name} precision", "problem", "; ".join(wrong), mend)
    told = ", ".join(f"{flag} {found.facts[flag]}" for flag in FLAGS)
    return Finding(f"{name} precision", "ok", f"{told}; float32 differs from float64 by {found.single_precision:.1g}")


def _threads(name: str, found: Probe) -> Finding:
    counts = {f"{name} itself": found.facts["threads"], **found.pools}
    more = {library: count for library, count in counts.items() if count != 1}
    if more:
        told = ", ".join(f"{library} runs {count}" for library, count in more.items())
        mend = "jobs side by side would fight for the cores: unset what overrides " + " and ".join(THREAD_VARIABLES)
        return Finding(f"{name} threads", "problem", f"asked for one thread, {told}", mend)
    return Finding(f"{name} threads", "ok", f"one, as asked for, in {', '.join(found.pools) or 'the framework'}")


def build_of(name: str, version: str) -> str:
    """`cuda` or `cpu`: torch's version says it, jax has a plugin for it."""
    if name == "torch":
        return "cuda" if "+cu" in version else "cpu"
    plugins = (distribution.name for distribution in metadata.distributions())
    return "cuda" if any(plugin.startswith("jax-cuda") and plugin.endswith("plugin") for plugin in plugins) else "cpu"


def _device(name: str, build: str, facts: Mapping[str, Any]) -> Finding:
    """A GPU that a study's `device: auto` passes by is worth a word, since nothing else will say it."""
    check, device = f"{name} device", facts["device"]
    if device == "cuda":
        return Finding(check, "ok", f"device: auto takes {facts['device_name']}")
    if not gpu_present():
        return Finding(check, "ok", "device: auto takes the CPU; no NVIDIA GPU answers here")
    why = f"the {build} build" if build == "cpu" else "see CUDA_VISIBLE_DEVICES, JAX_PLATFORMS and the driver"
    mend = "make environment ACCELERATOR=cuda" if build == "cpu" else "mend the driver, or set device: cpu in the study"
    return Finding(check, "problem", f"device: auto takes the CPU though an NVIDIA GPU answers: {why}", mend)


def _agreement(probes: Mapping[str, Probe]) -> Finding:
    """The same small networks in both, by the rule of a study's cross-check."""
    first, second = (probes[name] for name in BACKENDS)
    device = device_of(first.facts, second.facts)
    mend = "results of neither can be trusted here: `make environment` anew; if that does not help, report the versions"
    named = {"claim": "doctor", "case": "probe"}
    try:
        rows = compare(first.measured, second.measured, GROWTH, str(first.facts["precision"]), device, **named)
    except StructureMismatch as error:
        return Finding("cross-check", "problem", str(error), mend)
    if wrong := [row for row in rows if not row.agrees]:
        told = ", ".join(f"{row.quantity} by {row.max_rel:.2g} (allowed {row.allowed:.0e})" for row in wrong)
        return Finding("cross-check", "problem", f"torch and jax differ in {told}", mend)
    worst = max(rows, key=lambda row: row.max_rel / row.allowed)
    told = f"{len(rows)} observables agree, {worst.quantity} the least: {worst.max_rel:.1g} of {worst.allowed:.0e} allowed"
    return Finding("cross-check", "ok", told)
