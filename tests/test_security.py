"""Nothing from outside runs here: no pickles, no bombs, no ways out of a folder, no markup in the report."""

import ast
import gzip
import hashlib
import html
import http.server
import io
import json
import pickle
import re
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jinja2
import numpy as np
import pytest
import yaml
from docutils import core

from ntkbench import config, records
from ntkbench.data import DataUnavailable, files
from ntkbench.data.published import CIFAR10, MNIST
from ntkbench.files import RecordError
from tests import audit
from tests.tiny import TINY

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "ntkbench"

# What may run code


ALLOWED = {
    ("config/reading.py", "yaml.load"): "with a loader made of yaml.SafeLoader that refuses every tag of a class",
    ("trace/code.py", "subprocess.run"): "git and tar, as lists: the commit is 40 hexadecimal digits, the archive git's own",
    ("doctor/frameworks.py", "subprocess.run"): "this interpreter, as a list, for a check in a process of its own",
    ("doctor/tools.py", "subprocess.run"): "versions of git, make and the like, as lists without any text from a file",
    ("config/device.py", "subprocess.run"): "nvidia-smi -L, as a list",
    ("stages/session.py", "subprocess.run"): "squeue, as a list without any text from a file",
    ("provenance.py", "subprocess.run"): "git on this checkout, as a list",
    ("claims/__init__.py", "importlib.import_module"): "the claims' own files, found in the package's folder",
    ("backends/__init__.py", "importlib.import_module"): "`torch` or `jax`, checked against that list before",
    ("performance/workloads.py", "importlib.import_module"): "the backend's own module, by the name of a loaded backend",
    ("performance/timing.py", "importlib.import_module"): "frameworks by constants and by the names of a study's backends",
}
"""By file and call: why it is no danger."""

FORBIDDEN_IMPORTS = ("pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve")
NAMES = ("eval", "exec", "compile", "__import__")
SUSPECTS = re.compile(
    r"(torch\.load|torch\.jit\.load|joblib\.load|pd\.read_pickle|pandas\.read_pickle|yaml\.(unsafe_load|full_load|load|load_all)|"
    r"os\.(system|popen|exec\w*|spawn\w*)|subprocess\.\w+|importlib\.(import_module|__import__)|shutil\.unpack_archive|"
    r"runpy\.\w+|code\.interact|.*\.extractall|.*\.extract|np\.fromfile|np\.memmap)"
)
HARMLESS = ("subprocess.TimeoutExpired", "subprocess.CalledProcessError", "subprocess.CompletedProcess", "subprocess.PIPE")


def suspects(source: str) -> Iterator[tuple[str, int]]:
    """Calls and imports that may run what a file says, with their lines."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            yield from ((name, node.lineno) for name in modules if name.split(".")[0] in FORBIDDEN_IMPORTS)
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
        if called in NAMES or (SUSPECTS.fullmatch(called) and called not in HARMLESS):
            yield called, node.lineno
        if re.fullmatch(r"(np|numpy)\.(load|save|savez|savez_compressed)", called) and given.get("allow_pickle") != "False":
            yield f"{called} without allow_pickle=False", node.lineno
        if given.get("shell", "False") != "False":
            yield "shell", node.lineno


def places() -> Iterator[tuple[str, str, int]]:
    for file in [*sorted(PACKAGE.rglob("*.py")), *sorted((ROOT / "workflow").rglob("*.py"))]:
        place = file.relative_to(PACKAGE if file.is_relative_to(PACKAGE) else ROOT).as_posix()
        yield from ((place, name, line) for name, line in suspects(file.read_text(encoding="utf-8")))


def test_what_may_run_code_is_listed_with_its_reason() -> None:
    found = list(places())
    assert [f"{place}:{line} {name}" for place, name, line in found if (place, name) not in ALLOWED] == []
    assert set(ALLOWED) == {(place, name) for place, name, _ in found}


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("import pickle", "pickle"),
        ("from joblib import load", "joblib"),
        ("np.load(path)", "np.load without allow_pickle=False"),
        ("np.load(path, allow_pickle=True)", "np.load without allow_pickle=False"),
        ("torch.load(path)", "torch.load"),
        ("yaml.unsafe_load(text)", "yaml.unsafe_load"),
        ("eval(text)", "eval"),
        ("subprocess.run('ls', shell=True)", "shell"),
        ("tarfile.open(path).extractall(folder)", "tarfile.open(path).extractall"),
        ("os.system('ls')", "os.system"),
    ],
)
def test_the_scan_sees_what_may_run_code(source: str, name: str) -> None:
    assert name in [found for found, _ in suspects(source)]


def test_the_rules_of_the_workflow_have_no_shell() -> None:
    for file in [ROOT / "Snakefile", *sorted((ROOT / "workflow" / "rules").glob("*.smk"))]:
        text = file.read_text(encoding="utf-8")
        assert not re.search(r"^\s*(shell|run|wrapper|cwl):", text, re.MULTILINE), file
        assert not re.search(r"\b(eval|exec|os\.system|pickle)\b", text), file


# Pickles


class Malicious:
    """Unpickling it makes a file."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def malicious_npz(path: Path, owned: Path, name: str = "provenance") -> Path:
    array = np.empty(1, dtype=object)
    array[0] = Malicious(owned)
    np.savez(path, **{name: array}, allow_pickle=True)
    return path


def test_a_pickle_in_an_array_would_run_but_for_our_refusal(tmp_path: Path) -> None:
    owned = tmp_path / "owned"
    path = malicious_npz(tmp_path / "a.npz", owned)
    with pytest.raises(RecordError, match="Object arrays cannot be loaded"):
        records.read_record(path)
    with pytest.raises(RecordError):
        records.read_facts(path)
    assert not owned.exists()
    # The file is a real danger to who allows it.
    with np.load(path, allow_pickle=True) as opened:
        opened["provenance"]
    assert owned.exists()


@pytest.mark.parametrize("form", ["pickle", "npy"])
def test_a_bare_pickle_is_no_record(tmp_path: Path, form: str) -> None:
    owned, path = tmp_path / "owned", tmp_path / "a.npz"
    array = np.empty(1, dtype=object)
    array[0] = Malicious(owned)
    if form == "npy":
        with path.open("wb") as file:
            np.save(file, array, allow_pickle=True)
    else:
        path.write_bytes(pickle.dumps(Malicious(owned)))
    with pytest.raises(RecordError, match="no npz archive"):
        records.read_record(path)
    assert not owned.exists()


def test_a_shipped_file_that_was_replaced_is_not_even_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    owned = tmp_path / "owned"
    path = malicious_npz(tmp_path / "a.npz", owned, "x_train")
    monkeypatch.setattr(files, "SUBSET", path)
    with pytest.raises(DataUnavailable, match="damaged or another file"):
        files.fashion_mnist_subset()
    monkeypatch.setattr(files, "SUBSET_SHA256", hashlib.sha256(path.read_bytes()).hexdigest())
    with pytest.raises(ValueError, match="Object arrays cannot be loaded"):
        files.fashion_mnist_subset()
    assert not owned.exists()


# Bombs, and ways out of archives


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> int:
    """Limits that a test can reach."""
    monkeypatch.setattr(files, "MOST_BYTES", 2**16)
    return 2**16


def test_the_limit_lets_every_published_file_pass() -> None:
    images_of_mnist, batch_of_cifar, archive_of_cifar = 16 + 60_000 * 28 * 28, 10_000 * (1 + files.IMAGE_BYTES), 170_052_171
    assert max(images_of_mnist, batch_of_cifar, archive_of_cifar) < files.MOST_BYTES < 2 * archive_of_cifar


def test_a_gzip_bomb_is_not_unpacked(small: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = gzip.compress(bytes(100 * small))
    assert len(bomb) < small / 5
    folder = tmp_path / MNIST.folder
    folder.mkdir()
    for name in MNIST.files:
        (folder / name).write_bytes(bomb)
    monkeypatch.setenv(files.FOLDER_VARIABLE, str(tmp_path))
    with pytest.raises(DataUnavailable, match="more than 65536 bytes"):
        files.mnist()
    next(folder.glob("train-images*")).write_bytes(bytes(2 * small))
    with pytest.raises(DataUnavailable, match="more than 65536 bytes"):
        files.mnist()


def archive_of(path: Path, *entries: tarfile.TarInfo, content: bytes = b"") -> Path:
    with tarfile.open(path, "w:gz") as opened:
        for entry in entries:
            opened.addfile(entry, io.BytesIO(content) if entry.isreg() else None)
    return path


def entry(name: str, size: int = 0, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.size, made.type, made.linkname = size, kind, target
    return made


def test_a_member_of_an_archive_is_limited(small: int, tmp_path: Path) -> None:
    size = 100 * small
    path = archive_of(tmp_path / "a.tar.gz", entry(f"{CIFAR10.folder}/data_batch_1.bin", size), content=bytes(size))
    with pytest.raises(DataUnavailable, match="more than 65536 bytes"):
        files._unpack(path, CIFAR10)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE])
def test_only_files_are_read_from_an_archive(tmp_path: Path, kind: bytes) -> None:
    name = f"{CIFAR10.folder}/data_batch_1.bin"
    path = archive_of(tmp_path / "a.tar.gz", entry(name, kind=kind, target="/etc/passwd"))
    with pytest.raises(DataUnavailable, match=r"has no file in .*data_batch_1.bin"):
        files._unpack(path, CIFAR10)


def test_names_in_an_archive_lead_nowhere(tmp_path: Path) -> None:
    inside = [entry(f"{CIFAR10.folder}/{name}", 3) for name in CIFAR10.files]
    outside = [entry("../owned", 3), entry(str(tmp_path / "owned"), 3), entry("link", kind=tarfile.SYMTYPE, target="/")]
    (tmp_path / "in").mkdir()
    path = archive_of(tmp_path / "in" / "a.tar.gz", *outside, *inside, content=b"abc")
    assert set(files._unpack(path, CIFAR10).values()) == {b"abc"}
    assert sorted(tmp_path.rglob("*")) == [tmp_path / "in", path]


def test_a_record_that_unpacks_to_more_than_it_holds_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    header = io.BytesIO()
    np.save(header, np.zeros(10**7), allow_pickle=False)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr("8/f.npy", header.getvalue())
        opened.writestr("provenance.npy", b"")
    assert path.stat().st_size < 10**6
    with pytest.raises(RecordError, match="damaged"):
        records.read_record(path)


@pytest.fixture
def endless(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    """The address of a server that never stops sending."""

    class Endless(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            try:
                while True:
                    self.wfile.write(bytes(2**14))
            except OSError:
                pass

        def log_message(self, *_: object) -> None:
            pass

    for proxy in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(proxy, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv(files.FOLDER_VARIABLE, raising=False)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Endless) as listening:
        thread = threading.Thread(target=listening.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{listening.server_port}/"
        listening.shutdown()
        thread.join()


def test_a_download_is_cut_where_it_is_too_large(
    small: int, endless: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "MNIST", replace(MNIST, url=endless))
    with pytest.raises(DataUnavailable, match="the server sends more than 65536 bytes"):
        files.mnist()
    assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file()] == []


def test_what_is_fetched_comes_encrypted_and_has_a_checksum() -> None:
    assert CIFAR10.url.startswith("https://")
    assert MNIST.url.startswith("https://")
    hashes = [CIFAR10.sha256, *CIFAR10.files.values(), *(h for of in MNIST.files.values() for h in (of.gzipped, of.content))]
    assert all(re.fullmatch("[0-9a-f]{64}", sha256) for sha256 in hashes)


# Paths and markup


BAD_NAMES = ("../x", "/x", "x/../../y", "a\x00b", "<script>alert(1)</script>", "a b", "-x", ".x", "x" * 300, "a\nb", "x\u202ey")


@pytest.mark.parametrize("name", BAD_NAMES)
@pytest.mark.parametrize("what", ["study", "case", "curve"])
def test_no_name_of_a_study_leads_out_of_a_folder_or_holds_markup(tmp_path: Path, name: str, what: str) -> None:
    """Names become parts of paths and are shown in the report: this is the only place that lets them in."""
    raw = yaml.safe_load(yaml.safe_dump(TINY))
    cases = raw["claims"]["hierarchy/truncation"]["cases"]
    match what:
        case "study":
            raw["study"] = name
        case "case":
            cases[name] = cases.pop("plain")
        case "curve":
            raw["performance"] = {"curves": {name: {"quantity": "ntk", "axis": "points", "sizes": [2, 4]}}}
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(raw))
    with pytest.raises(config.ConfigError, match=f"a {what} must be named with"):
        config.load(path)


def test_a_study_that_is_a_link_is_of_its_own_name(tmp_path: Path) -> None:
    """What a run writes goes by the link's name, not to where the link leads."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "other.yaml").write_text(yaml.safe_dump(TINY))
    (tmp_path / "tiny.yaml").symlink_to(tmp_path / "elsewhere" / "other.yaml")
    assert config.load(tmp_path / "tiny.yaml").name == "tiny"
    with pytest.raises(config.ConfigError, match="must equal the file's name"):
        config.load(tmp_path / "elsewhere" / "other.yaml")


# The report


ATTACK = "<script>alert(1)</script> .. raw:: html\n\n   <b>x</b>\n\n`x <javascript:alert(1)>`_ |x| *y*"


def caption(statement: str) -> str:
    """The text beside a figure in the report, as HTML, made as Snakemake makes it: jinja, then docutils."""
    params = {"title": statement, "claim": "convergence/initialization", "statement": statement, "caption": statement}
    template = (ROOT / "workflow" / "report" / "figure.rst").read_text(encoding="utf-8")
    text = jinja2.Template(template).render(snakemake=SimpleNamespace(params=SimpleNamespace(**params)))
    return str(core.publish_parts(text, writer="html")["body"])


@pytest.mark.parametrize(
    "statement", [ATTACK, ".. raw:: html\n\n   <script>alert(1)</script>", ".. include:: /etc/passwd", "- a\n- b", "====\na"]
)
def test_a_claims_words_are_text_in_the_report(statement: str) -> None:
    shown = caption(statement)
    assert "<script" not in shown
    assert "javascript:" not in re.sub(r">[^<]*<", "><", shown)
    assert "root:" not in shown
    assert html.unescape(re.sub(r"<[^>]*>", "", shown)).count(" ".join(statement.split())) == 3


def test_the_check_of_the_report_can_fail() -> None:
    assert "<script" in core.publish_parts(".. raw:: html\n\n   <script>alert(1)</script>", writer="html")["body"]


# Dependencies


def package(name: str, *known: str) -> dict[str, Any]:
    return {"name": name, "version": "1", "vulns": [{"id": one} for one in known]}


@pytest.mark.parametrize(
    ("packages", "code", "words"),
    [
        ([package("a"), package("b")], 0, "2 of 2 packages audited, 0 vulnerabilities known"),
        ([package("a", "CVE-1"), {"name": "b", "skip_reason": "not found"}], 1, "KNOWN: a 1: CVE-1\nNOT AUDITED: b"),
        ([package("a"), {"name": "b", "skip_reason": "not found"}], 2, "NOT AUDITED: b\n1 of 2 packages audited"),
        ([], 2, "NOT AUDITED: anything"),
    ],
)
def test_an_audit_passes_only_if_every_package_was_audited(packages: list[dict[str, Any]], code: int, words: str) -> None:
    found = audit.summary(json.dumps({"dependencies": packages}), "")
    assert found[0] == code
    assert words in found[1]


def test_an_audit_without_an_answer_says_so() -> None:
    assert audit.summary("", "Traceback\nConnectionError: no route") == (
        2,
        "NOT AUDITED: the vulnerability service gave no answer (ConnectionError: no route)",
    )
