"""The data files: the subset that is shipped, and the full set from a local folder or fetched once. All checked by sha256."""

import gzip
import hashlib
import io
import math
import os
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

FOLDER_VARIABLE = "NTKBENCH_DATA"
"""Environment variable: the folder whose subfolder `fashion-mnist` holds the four files of the full set."""

SUBSET = Path(__file__).parent / "files" / "fashion_mnist_subset.npz"
SUBSET_SHA256 = "11d08f7b47bb61a926537e2c9d0cdbcf5f2c39df5f8fad4519f94fe299e108f0"

FULL_URL = "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/"


@dataclass(frozen=True)
class Published:
    """sha256 of a file as its authors publish it, gzipped, and of what is inside (repackagers compress anew)."""

    gzipped: str
    content: str


FULL = {
    "train-images-idx3-ubyte.gz": Published(
        gzipped="3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        content="c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    ),
    "train-labels-idx1-ubyte.gz": Published(
        gzipped="a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        content="bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    ),
    "t10k-images-idx3-ubyte.gz": Published(
        gzipped="346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        content="5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    ),
    "t10k-labels-idx1-ubyte.gz": Published(
        gzipped="67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
        content="0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    ),
}


class DataUnavailable(RuntimeError):
    """A data file is missing, damaged, or cannot be fetched."""


def fashion_mnist_subset() -> dict[str, np.ndarray]:
    """`x_train` (4000, 28, 28), `y_train` (4000,), `x_test` (2000, 28, 28), `y_test` (2000,), uint8, from the package.

    Raises:
        DataUnavailable: if the file is missing or not the one that was shipped.
    """
    payload = _read(SUBSET, mend := "reinstall ntkbench")
    _verify(SUBSET, payload, SUBSET_SHA256, mend)
    with np.load(io.BytesIO(payload), allow_pickle=False) as arrays:
        return dict(arrays)


def fashion_mnist_full() -> tuple[np.ndarray, np.ndarray]:
    """Images (70000, 28, 28) and labels (70000,), uint8, the 60,000 of the training set first.

    Read from `$NTKBENCH_DATA/fashion-mnist/` where that variable is set (Debian's package dataset-fashion-mnist makes
    `/usr/share/datasets`), else fetched once from the data set's repository by pooch and kept in the user's cache.

    Raises:
        DataUnavailable: if a file is missing, damaged, or cannot be fetched.
    """
    folder = os.environ.get(FOLDER_VARIABLE)
    arrays = []
    for name, published in FULL.items():
        path = Path(folder) / "fashion-mnist" / name if folder else _fetch(name, published.gzipped)
        content = _decompress(path, _read(path, mend := "get the file anew"))
        _verify(path, content, published.content, mend)
        arrays.append(_parse_idx(path, content))
    train_images, train_labels, test_images, test_labels = arrays
    return np.concatenate([train_images, test_images]), np.concatenate([train_labels, test_labels])


def _read(path: Path, mend: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataUnavailable(f"cannot read {path} ({error.strerror}); {mend}") from error


def _verify(path: Path, payload: bytes, sha256: str, mend: str) -> None:
    found = hashlib.sha256(payload).hexdigest()
    if found != sha256:
        raise DataUnavailable(f"{path} is damaged or another file: sha256 {found}, expected {sha256}; {mend}")


def _fetch(name: str, sha256: str) -> Path:
    instead = f"set {FOLDER_VARIABLE} to a folder whose subfolder fashion-mnist holds {', '.join(FULL)}"
    try:
        import pooch  # type: ignore[import-untyped]
    except ImportError as error:
        raise DataUnavailable(f"fetching {name} needs the package pooch; install it, or {instead}") from error
    store = pooch.create(path=pooch.os_cache("ntkbench") / "fashion-mnist", base_url=FULL_URL, registry={name: sha256})
    try:
        return Path(store.fetch(name))
    except (OSError, ValueError) as error:
        raise DataUnavailable(f"cannot fetch {FULL_URL}{name} (no network?): {error}; or {instead}") from error


def _decompress(path: Path, payload: bytes) -> bytes:
    try:
        return gzip.decompress(payload)
    except (OSError, EOFError, zlib.error) as error:
        raise DataUnavailable(f"{path} is no whole gzip file ({error}); get the file anew") from error


def _parse_idx(path: Path, content: bytes) -> np.ndarray:
    """An idx file of unsigned bytes: two zero bytes, type 8, number of axes, each length as big-endian int32, the data."""
    if len(content) < 4 or content[:3] != b"\x00\x00\x08" or len(content) < 4 + 4 * content[3]:
        raise DataUnavailable(f"{path} is no idx file of unsigned bytes")
    header = 4 + 4 * content[3]
    shape = tuple(np.frombuffer(content[4:header], dtype=">i4").tolist())
    if len(content) != header + math.prod(shape):
        raise DataUnavailable(f"{path} has {len(content) - header} bytes of data, its header announces shape {shape}")
    return np.frombuffer(content, dtype=np.uint8, offset=header).reshape(shape)
