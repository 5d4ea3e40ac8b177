"""The data files: those that are shipped, and the larger sets from a local folder or fetched once. All checked by sha256."""

import gzip
import hashlib
import io
import math
import os
import tarfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from ntkbench.data.published import CIFAR10, FASHION_MNIST, MNIST, BinaryArchive, IdxSet

FOLDER_VARIABLE = "NTKBENCH_DATA"
"""Environment variable: the folder whose subfolders `fashion-mnist`, `mnist`, `cifar-10-batches-bin` hold the larger sets."""

SUBSET = Path(__file__).parent / "files" / "fashion_mnist_subset.npz"
SUBSET_SHA256 = "11d08f7b47bb61a926537e2c9d0cdbcf5f2c39df5f8fad4519f94fe299e108f0"

UCI = Path(__file__).parent / "files" / "uci_tabular.npz"
UCI_SHA256 = "08aa8882282206fe4f091dd6f354d4280efef5138d5047fa5c132e64b3f2b3bf"

GET_ANEW = "get the file anew"

MOST_BYTES = 2**28
"""Of a download, a file and what is inside, each: the largest, CIFAR-10's archive, has 170 MB."""

IMAGE_BYTES = 32 * 32 * 3
"""Of one record of CIFAR-10, after the byte of its label: all of red, then green, then blue, each row by row."""


class DataUnavailable(RuntimeError):
    """A data file is missing, damaged, or cannot be fetched."""


def fashion_mnist_subset() -> dict[str, np.ndarray]:
    """`x_train` (4000, 28, 28), `y_train` (4000,), `x_test` (2000, 28, 28), `y_test` (2000,), uint8, from the package.

    Raises:
        DataUnavailable: if the file is missing or not the one that was shipped.
    """
    return _shipped(SUBSET, SUBSET_SHA256)


def uci_tabular() -> dict[str, np.ndarray]:
    """For every set `NAME` of `files/PROVENANCE.md`: `x_NAME` (N, d) and `y_NAME` (N,), class numbers from 0, from the package.

    Raises:
        DataUnavailable: if the file is missing or not the one that was shipped.
    """
    return _shipped(UCI, UCI_SHA256)


def fashion_mnist_full() -> tuple[np.ndarray, np.ndarray]:
    """Images (70000, 28, 28) and labels (70000,), uint8, the 60,000 of the training set first.

    Read from `$NTKBENCH_DATA/fashion-mnist/` where that variable is set (Debian's package dataset-fashion-mnist makes
    `/usr/share/datasets`), else fetched once from the data set's repository by pooch and kept in the user's cache.

    Raises:
        DataUnavailable: if a file is missing, damaged, or cannot be fetched.
    """
    return _idx_set(FASHION_MNIST)


def mnist() -> tuple[np.ndarray, np.ndarray]:
    """As `fashion_mnist_full`, from `$NTKBENCH_DATA/mnist/` or a public copy: the authors' own page asks for a password."""
    return _idx_set(MNIST)


def cifar10() -> tuple[np.ndarray, np.ndarray]:
    """Images (60000, 32, 32, 3), height, width, channel, and labels (60000,), uint8, the 50,000 of the training set first.

    Of the binary version, which is read without unpickling: from `$NTKBENCH_DATA/cifar-10-batches-bin/`, the folder that its
    archive makes, where that variable is set, else from the archive, fetched once by pooch and kept in the user's cache.

    Raises:
        DataUnavailable: as `fashion_mnist_full`.
    """
    images, labels = zip(*(_parse_records(*file) for file in _members(CIFAR10)), strict=True)
    return np.concatenate(images), np.concatenate(labels)


def _shipped(path: Path, sha256: str) -> dict[str, np.ndarray]:
    payload = _read(path, mend := "reinstall ntkbench")
    _verify(path, payload, sha256, mend)
    with np.load(io.BytesIO(payload), allow_pickle=False) as arrays:
        return dict(arrays)


def _idx_set(of: IdxSet) -> tuple[np.ndarray, np.ndarray]:
    folder = os.environ.get(FOLDER_VARIABLE)
    instead = f"whose subfolder {of.folder} holds {', '.join(of.files)}"
    arrays = []
    for name, published in of.files.items():
        path = Path(folder) / of.folder / name if folder else _fetch(of.folder, of.url, name, published.gzipped, instead)
        content = _decompress(path, _read(path, GET_ANEW))
        _verify(path, content, published.content, GET_ANEW)
        arrays.append(_parse_idx(path, content))
    train_images, train_labels, test_images, test_labels = arrays
    return np.concatenate([train_images, test_images]), np.concatenate([train_labels, test_labels])


def _members(of: BinaryArchive) -> list[tuple[Path, bytes]]:
    """Path and content of each member, verified."""
    if folder := os.environ.get(FOLDER_VARIABLE):
        found = [(path := Path(folder) / of.folder / name, _read(path, GET_ANEW)) for name in of.files]
    else:
        instead = f"whose subfolder {of.folder} holds {', '.join(of.files)}"
        archive = _fetch(of.folder, of.url, of.archive, of.sha256, instead)
        found = [(archive / name, content) for name, content in _unpack(archive, of).items()]
    for (path, content), sha256 in zip(found, of.files.values(), strict=True):
        _verify(path, content, sha256, GET_ANEW)
    return found


def _unpack(archive: Path, of: BinaryArchive) -> dict[str, bytes]:
    try:
        with tarfile.open(archive, "r:gz") as opened:
            return {name: _member(archive, opened, f"{of.folder}/{name}") for name in of.files}
    except (OSError, EOFError, KeyError, zlib.error, tarfile.TarError) as error:
        raise DataUnavailable(f"{archive} is no whole archive of {of.folder} ({error}); {GET_ANEW}") from error


def _member(archive: Path, opened: tarfile.TarFile, name: str) -> bytes:
    """Read where it lies: nothing is written to the disk, so that no name in an archive leads anywhere."""
    found = opened.getmember(name)
    if not found.isreg():
        raise DataUnavailable(f"{archive} has no file in {name}; {GET_ANEW}")
    _small_enough(archive / name, found.size)
    content = opened.extractfile(found)
    return content.read() if content else b""


def _small_enough(path: Path, size: int) -> None:
    if size > MOST_BYTES:
        raise DataUnavailable(f"{path} has more than {MOST_BYTES} bytes, which no file of the data sets has; {GET_ANEW}")


def _read(path: Path, mend: str) -> bytes:
    try:
        with path.open("rb") as file:
            payload = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise DataUnavailable(f"cannot read {path} ({error.strerror}); {mend}") from error
    _small_enough(path, len(payload))
    return payload


def _verify(path: Path, payload: bytes, sha256: str, mend: str) -> None:
    found = hashlib.sha256(payload).hexdigest()
    if found != sha256:
        raise DataUnavailable(f"{path} is damaged or another file: sha256 {found}, expected {sha256}; {mend}")


def _fetch(folder: str, url: str, name: str, sha256: str, instead: str) -> Path:
    instead = f"set {FOLDER_VARIABLE} to a folder {instead}"
    try:
        import pooch  # type: ignore[import-untyped]
    except ImportError as error:
        raise DataUnavailable(f"fetching {name} needs the package pooch; install it, or {instead}") from error
    store = pooch.create(path=pooch.os_cache("ntkbench") / folder, base_url=url, registry={name: sha256})
    try:
        return Path(store.fetch(name, downloader=_download))
    except (OSError, ValueError) as error:
        raise DataUnavailable(f"cannot fetch {url}{name} (no network?): {error}; or {instead}") from error


class _Bounded(io.FileIO):
    """A file that takes `MOST_BYTES` at most: a server may send more than it should, and checksums come afterwards."""

    def write(self, data: Any) -> int:
        if self.tell() + len(data) > MOST_BYTES:
            raise ValueError(f"the server sends more than {MOST_BYTES} bytes")
        return super().write(data)


def _download(url: str, output_file: str, store: Any) -> None:
    """A downloader of pooch."""
    import pooch

    with _Bounded(output_file, "wb") as file:
        pooch.HTTPDownloader()(url, file, store)


def _decompress(path: Path, payload: bytes) -> bytes:
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(payload)) as file:
            content = file.read(MOST_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DataUnavailable(f"{path} is no whole gzip file ({error}); {GET_ANEW}") from error
    _small_enough(path, len(content))
    return content


def _parse_idx(path: Path, content: bytes) -> np.ndarray:
    """An idx file of unsigned bytes: two zero bytes, type 8, number of axes, each length as big-endian int32, the data."""
    if len(content) < 4 or content[:3] != b"\x00\x00\x08" or len(content) < 4 + 4 * content[3]:
        raise DataUnavailable(f"{path} is no idx file of unsigned bytes")
    header = 4 + 4 * content[3]
    shape = tuple(np.frombuffer(content[4:header], dtype=">i4").tolist())
    if len(content) != header + math.prod(shape):
        raise DataUnavailable(f"{path} has {len(content) - header} bytes of data, its header announces shape {shape}")
    return np.frombuffer(content, dtype=np.uint8, offset=header).reshape(shape)


def _parse_records(path: Path, content: bytes) -> tuple[np.ndarray, np.ndarray]:
    """CIFAR-10's records: one byte of label, then `IMAGE_BYTES` of pixels."""
    if not content or len(content) % (1 + IMAGE_BYTES):
        raise DataUnavailable(f"{path} has {len(content)} bytes, no whole number of records of {1 + IMAGE_BYTES}")
    records = np.frombuffer(content, dtype=np.uint8).reshape(-1, 1 + IMAGE_BYTES)
    return records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), records[:, 0]
