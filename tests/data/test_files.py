"""Data files: the shipped subset, the full set from a folder or from a server, and every way they can be broken."""

import functools
import gzip
import hashlib
import http.server
import shutil
import struct
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from ntkbench.data import DataUnavailable, files
from ntkbench.data.files import Published

SIZES = {"train-images-idx3-ubyte.gz": (5, 28, 28), "train-labels-idx1-ubyte.gz": (5,)}
SIZES |= {"t10k-images-idx3-ubyte.gz": (3, 28, 28), "t10k-labels-idx1-ubyte.gz": (3,)}


def idx(array: np.ndarray) -> bytes:
    """The true format: magic number, lengths, bytes."""
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


@pytest.fixture
def small_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, dict[str, np.ndarray]]:
    """Four small files in the true format below `tmp_path/fashion-mnist`; their checksums stand in for the real ones."""
    draw = np.random.default_rng(0)
    folder = tmp_path / "fashion-mnist"
    folder.mkdir()
    arrays, published = {}, {}
    for name, shape in SIZES.items():
        arrays[name] = draw.integers(0, 256, shape, dtype=np.uint8)
        content = idx(arrays[name])
        (folder / name).write_bytes(packed := gzip.compress(content, mtime=1))
        published[name] = Published(hashlib.sha256(packed).hexdigest(), hashlib.sha256(content).hexdigest())
    monkeypatch.setattr(files, "FULL", published)
    monkeypatch.delenv(files.FOLDER_VARIABLE, raising=False)
    return folder, arrays


def check_contents(arrays: dict[str, np.ndarray]) -> None:
    images, labels = files.fashion_mnist_full()
    train_images, train_labels, test_images, test_labels = arrays.values()
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


def test_full_set_from_a_folder(small_set: tuple[Path, dict[str, np.ndarray]], monkeypatch: pytest.MonkeyPatch) -> None:
    folder, arrays = small_set
    monkeypatch.setenv(files.FOLDER_VARIABLE, str(folder.parent))
    check_contents(arrays)


def test_files_compressed_anew_are_the_same_files(
    small_set: tuple[Path, dict[str, np.ndarray]], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, arrays = small_set
    for name, array in arrays.items():
        (folder / name).write_bytes(gzip.compress(idx(array), compresslevel=1, mtime=2))
    monkeypatch.setenv(files.FOLDER_VARIABLE, str(folder.parent))
    check_contents(arrays)


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
    payload: bytes | None, message: str, small_set: tuple[Path, dict[str, np.ndarray]], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _ = small_set
    broken = folder / "t10k-labels-idx1-ubyte.gz"
    broken.unlink()
    if payload is not None:
        broken.write_bytes(payload)
    monkeypatch.setenv(files.FOLDER_VARIABLE, str(folder.parent))
    with pytest.raises(DataUnavailable, match=message):
        files.fashion_mnist_full()


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
def server(small_set: tuple[Path, dict[str, np.ndarray]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The small set behind a local web server, and an empty cache; yields the served folder."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    handler = functools.partial(Quiet, directory=str(small_set[0]))
    for proxy in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(proxy, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as listening:
        thread = threading.Thread(target=listening.serve_forever)
        thread.start()
        monkeypatch.setattr(files, "FULL_URL", f"http://127.0.0.1:{listening.server_port}/")
        yield small_set[0]
        listening.shutdown()
        thread.join()


def test_full_set_is_fetched_once(server: Path, small_set: tuple[Path, dict[str, np.ndarray]]) -> None:
    check_contents(small_set[1])
    shutil.rmtree(server)
    check_contents(small_set[1])


def test_a_wrong_download_is_refused(server: Path) -> None:
    (server / "train-labels-idx1-ubyte.gz").write_bytes(b"something else")
    with pytest.raises(DataUnavailable, match="cannot fetch http.*train-labels.*NTKBENCH_DATA"):
        files.fashion_mnist_full()


def test_no_network_is_said_and_what_to_do_instead(server: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "FULL_URL", "http://127.0.0.1:9/")
    with pytest.raises(DataUnavailable, match=r"cannot fetch http.*no network\?.*set NTKBENCH_DATA to a folder"):
        files.fashion_mnist_full()


def test_without_pooch_the_message_names_it(small_set: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(DataUnavailable, match="needs the package pooch"):
        files.fashion_mnist_full()
