"""Data files: what is shipped, the larger sets from a folder or from a server, and every way they can be broken."""

import functools
import gzip
import hashlib
import http.server
import io
import shutil
import struct
import sys
import tarfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ntkbench.data import DataUnavailable, files
from ntkbench.data.published import CIFAR10, FASHION_MNIST, MNIST, Published

SIZES = {"train-images-idx3-ubyte.gz": (5, 28, 28), "train-labels-idx1-ubyte.gz": (5,)}
SIZES |= {"t10k-images-idx3-ubyte.gz": (3, 28, 28), "t10k-labels-idx1-ubyte.gz": (3,)}


def idx(array: np.ndarray) -> bytes:
    """The true format: magic number, lengths, bytes."""
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


READERS: dict[str, Callable[[], tuple[np.ndarray, np.ndarray]]] = {
    "FASHION_MNIST": files.fashion_mnist_full,
    "MNIST": files.mnist,
}
"""The sets of four files, by their names in `ntkbench.data.files`."""


@pytest.fixture(params=READERS)
def small_set(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Path, dict[str, np.ndarray], str]:
    """Four small files in the true format, below `tmp_path`; their checksums stand in for the real ones."""
    draw = np.random.default_rng(0)
    real = {"FASHION_MNIST": FASHION_MNIST, "MNIST": MNIST}[request.param]
    folder = tmp_path / real.folder
    folder.mkdir()
    arrays, published = {}, {}
    for name, shape in SIZES.items():
        arrays[name] = draw.integers(0, 256, shape, dtype=np.uint8)
        content = idx(arrays[name])
        (folder / name).write_bytes(packed := gzip.compress(content, mtime=1))
        published[name] = Published(hashlib.sha256(packed).hexdigest(), hashlib.sha256(content).hexdigest())
    monkeypatch.setattr(files, request.param, replace(real, files=published))
    monkeypatch.delenv(files.FOLDER_VARIABLE, raising=False)
    return folder, arrays, request.param


SmallSet = tuple[Path, dict[str, np.ndarray], str]


def check_contents(small: SmallSet) -> None:
    images, labels = READERS[small[2]]()
    train_images, train_labels, test_images, test_labels = small[1].values()
    np.testing.assert_array_equal(images, np.concatenate([train_images, test_images]))
    np.testing.assert_array_equal(labels, np.concatenate([train_labels, test_labels]))


def test_the_subset_is_what_its_provenance_says() -> None:
    arrays = files.fashion_mnist_subset()
    assert {name: (array.shape, str(array.dtype)) for name, array in arrays.items()} == {
        "x_train": ((4000, 28, 28), "uint8"),
        "y_train": ((4000,), "uint8"),
        "x_test": ((2000, 28, 28), "uint8"),
        "y_test": ((2000,), "uint8"),
    }
    assert files.SUBSET_SHA256 in (files.SUBSET.parent / "PROVENANCE.md").read_text(encoding="utf-8")
    uci = files.uci_tabular()
    assert files.UCI_SHA256 in (files.UCI.parent / "PROVENANCE.md").read_text(encoding="utf-8")
    assert {array.dtype.kind for array in uci.values()} <= {"u", "f"}
    assert "2017 Zalando SE" in (files.SUBSET.parent / "LICENSE-fashion-mnist.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("damage", [lambda b: b[:-1], lambda b: b[:100] + bytes([b[100] ^ 1]) + b[101:], lambda b: b""])
def test_a_damaged_subset_is_named(damage: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "subset.npz"
    broken.write_bytes(damage(files.SUBSET.read_bytes()))  # type: ignore[operator]
    monkeypatch.setattr(files, "SUBSET", broken)
    with pytest.raises(DataUnavailable, match=r"subset\.npz is damaged or another file: sha256 [0-9a-f]{64}.*reinstall"):
        files.fashion_mnist_subset()


def test_a_missing_subset_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "SUBSET", tmp_path / "subset.npz")
    with pytest.raises(DataUnavailable, match=r"cannot read .*subset\.npz \(No such file"):
        files.fashion_mnist_subset()


def test_full_set_from_a_folder(small_set: SmallSet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(files.FOLDER_VARIABLE, str(small_set[0].parent))
    check_contents(small_set)


def test_files_compressed_anew_are_the_same_files(small_set: SmallSet, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, arrays, _ = small_set
    for name, array in arrays.items():
        (folder / name).write_bytes(gzip.compress(idx(array), compresslevel=1, mtime=2))
    monkeypatch.setenv(files.FOLDER_VARIABLE, str(folder.parent))
    check_contents(small_set)


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        (None, "cannot read .*t10k-labels"),
        (b"", "t10k-labels-idx1-ubyte.gz"),
        (b"not gzip", "t10k-labels.* is no whole gzip file"),
        (gzip.compress(idx(np.arange(3, dtype=np.uint8)), mtime=0)[:-6], "t10k-labels.* is no whole gzip file"),
        (gzip.compress(idx(np.array([1, 1, 1], dtype=np.uint8)), mtime=0), "t10k-labels.* is damaged or another file"),
    ],
)
def test_a_broken_file_in_the_folder_is_named(
    payload: bytes | None, message: str, small_set: SmallSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _, name = small_set
    broken = folder / "t10k-labels-idx1-ubyte.gz"
    broken.unlink()
    if payload is not None:
        broken.write_bytes(payload)
    monkeypatch.setenv(files.FOLDER_VARIABLE, str(folder.parent))
    with pytest.raises(DataUnavailable, match=message):
        READERS[name]()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x00\x00\x08", "no idx file"),
        (b"\x00\x00\x0d\x01\x00\x00\x00\x01\x00\x00\x00\x00", "no idx file"),
        (b"\x00\x00\x08\x03\x00\x00", "no idx file"),
        (idx(np.zeros(4, dtype=np.uint8))[:-1], r"3 bytes of data, its header announces shape \(4,\)"),
    ],
)
def test_malformed_idx_is_refused(content: bytes, message: str) -> None:
    with pytest.raises(DataUnavailable, match=message):
        files._parse_idx(Path("x.gz"), content)


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Path, str]]:
    """An empty folder behind a local web server, with its address, and an empty cache."""
    folder = tmp_path / "served"
    folder.mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    handler = functools.partial(Quiet, directory=str(folder))
    for proxy in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(proxy, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as listening:
        thread = threading.Thread(target=listening.serve_forever)
        thread.start()
        yield folder, f"http://127.0.0.1:{listening.server_port}/"
        listening.shutdown()
        thread.join()


@pytest.fixture
def server(served: tuple[Path, str], small_set: SmallSet, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The served folder, with the small set in it."""
    shutil.copytree(small_set[0], served[0], dirs_exist_ok=True)
    monkeypatch.setattr(files, small_set[2], replace(getattr(files, small_set[2]), url=served[1]))
    return served[0]


def test_full_set_is_fetched_once(server: Path, small_set: SmallSet) -> None:
    check_contents(small_set)
    shutil.rmtree(server)
    check_contents(small_set)


def test_a_wrong_download_is_refused(server: Path, small_set: SmallSet) -> None:
    (server / "train-labels-idx1-ubyte.gz").write_bytes(b"something else")
    with pytest.raises(DataUnavailable, match="cannot fetch http.*train-labels.*NTKBENCH_DATA"):
        READERS[small_set[2]]()


def test_no_network_is_said_and_what_to_do_instead(server: Path, small_set: SmallSet, monkeypatch: pytest.MonkeyPatch) -> None:
    name = small_set[2]
    monkeypatch.setattr(files, name, replace(getattr(files, name), url="http://127.0.0.1:9/"))
    folder = getattr(files, name).folder
    with pytest.raises(
        DataUnavailable, match=rf"cannot fetch http.*no network\?.*set NTKBENCH_DATA to a folder.*{folder} holds"
    ):
        READERS[name]()


def test_without_pooch_the_message_names_it(small_set: SmallSet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(DataUnavailable, match="needs the package pooch"):
        READERS[small_set[2]]()


def records(labels: np.ndarray, images: np.ndarray) -> bytes:
    """CIFAR-10's binary version: label, then red, green and blue, each row by row."""
    return b"".join(bytes([label]) + image.transpose(2, 0, 1).tobytes() for label, image in zip(labels, images, strict=True))


@pytest.fixture
def small_cifar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, np.ndarray, np.ndarray]:
    """Six files of two records each in the true format, and their archive; its path, all images and all labels."""
    draw = np.random.default_rng(1)
    images, labels = draw.integers(0, 256, (12, 32, 32, 3), dtype=np.uint8), draw.integers(0, 10, 12, dtype=np.uint8)
    folder = tmp_path / CIFAR10.folder
    folder.mkdir()
    checksums = {}
    for k, name in enumerate(CIFAR10.files):
        content = records(labels[2 * k : 2 * k + 2], images[2 * k : 2 * k + 2])
        (folder / name).write_bytes(content)
        checksums[name] = hashlib.sha256(content).hexdigest()
    archive = tmp_path / CIFAR10.archive
    with tarfile.open(archive, "w:gz") as opened:
        opened.add(folder, CIFAR10.folder)
    sha256 = hashlib.sha256(archive.read_bytes()).hexdigest()
    monkeypatch.setattr(files, "CIFAR10", replace(CIFAR10, files=checksums, sha256=sha256))
    monkeypatch.delenv(files.FOLDER_VARIABLE, raising=False)
    return archive, images, labels


def test_cifar10_from_a_folder(small_cifar: tuple[Path, np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch) -> None:
    archive, images, labels = small_cifar
    monkeypatch.setenv(files.FOLDER_VARIABLE, str(archive.parent))
    found_images, found_labels = files.cifar10()
    np.testing.assert_array_equal(found_images, images)
    np.testing.assert_array_equal(found_labels, labels)
    broken = archive.parent / CIFAR10.folder / "data_batch_3.bin"
    broken.write_bytes(broken.read_bytes()[:-1])
    with pytest.raises(DataUnavailable, match="data_batch_3.bin is damaged or another file"):
        files.cifar10()
    broken.unlink()
    with pytest.raises(DataUnavailable, match="cannot read .*data_batch_3.bin"):
        files.cifar10()


def test_cifar10_is_fetched_once(
    served: tuple[Path, str], small_cifar: tuple[Path, np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    archive, images, labels = small_cifar
    monkeypatch.setattr(files, "CIFAR10", replace(files.CIFAR10, url=served[1]))
    with pytest.raises(DataUnavailable, match="cannot fetch http.*cifar-10-binary.tar.gz.*set NTKBENCH_DATA"):
        files.cifar10()
    shutil.copy(archive, served[0])
    for _ in range(2):
        found_images, found_labels = files.cifar10()
        np.testing.assert_array_equal(found_images, images)
        np.testing.assert_array_equal(found_labels, labels)
        shutil.rmtree(served[0], ignore_errors=True)


@pytest.mark.parametrize("content", [b"not an archive", b""])
def test_what_is_no_archive_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.tar.gz").write_bytes(content)
    with pytest.raises(DataUnavailable, match=r"a\.tar\.gz is no whole archive of cifar-10-batches-bin"):
        files._unpack(tmp_path / "a.tar.gz", CIFAR10)


def test_an_archive_that_lacks_a_member_is_named(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as opened:
        entry = tarfile.TarInfo(f"{CIFAR10.folder}/data_batch_1.bin")
        entry.size = 3
        opened.addfile(entry, io.BytesIO(b"abc"))
    with pytest.raises(DataUnavailable, match="data_batch_2.bin"):
        files._unpack(tmp_path / "a.tar.gz", CIFAR10)


@pytest.mark.parametrize("size", [0, 3072, 3074])
def test_records_of_another_length_are_refused(size: int) -> None:
    with pytest.raises(DataUnavailable, match=f"{size} bytes, no whole number of records of 3073"):
        files._parse_records(Path("x.bin"), bytes(size))
