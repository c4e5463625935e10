"""The Large Movie Review Dataset (Maas et al. 2011) in the forms in which people have it."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import re
import tarfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np

from rnnext.datasets._dataset import TextDataset, divided
from rnnext.datasets._fetch import cache_folder
from rnnext.datasets._files import part_file, read_file

NAMES = ("negative", "positive")
_LABELS = {"0": 0, "neg": 0, "negative": 0, "1": 1, "pos": 1, "positive": 1}
_FILE = re.compile(r"(train|test)/(neg|pos)/(\d+)_\d+\.txt\Z")
LICENCE = "none stated; cite Maas et al. 2011"
SOURCE = "aclImdb_v1.tar.gz at ai.stanford.edu/~amaas/data/sentiment"
ARCHIVES = (".tar.gz", ".tgz", ".tar")
_COMPRESSED: dict[bytes, Callable[..., Any]] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ": lzma.open}
_IN_CACHE = ("aclImdb", "aclImdb_v1.tar.gz", "imdb")

_Rows = tuple[list[str], list[int]]


def _from_folder(root: Path) -> Iterator[tuple[str, bytes]]:
    for part in ("train", "test"):
        for label in ("neg", "pos"):
            for path in (root / part / label).glob("*.txt"):
                yield f"{part}/{label}/{path.name}", path.read_bytes()


def _from_archive(path: Path) -> Iterator[tuple[str, bytes]]:
    """The archive is read in memory, as a stream. Nothing is extracted, so a member's name cannot lead anywhere."""
    try:
        with path.open("rb") as raw, _unpacked(raw) as file, tarfile.open(fileobj=file, mode="r|") as tar:
            for member in tar:
                found = tar.extractfile(member) if member.isfile() and _FILE.search(member.name) else None
                if found is not None:
                    yield member.name, found.read()
            _check_end(tar)
    except (tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # an error of the system; those of gzip and bz2 are about the content
        raise ValueError(f"{path}: not an archive, or a damaged one ({error})") from error


def _unpacked(raw: Any) -> IO[bytes]:
    """The decompressed file, by its first bytes: tarfile's own decompression would not notice that a file is cut off."""
    begin = raw.peek(8)
    for magic, opened in _COMPRESSED.items():
        if begin.startswith(magic):
            file: IO[bytes] = opened(raw)
            return file
    return raw  # type: ignore[no-any-return]


def _check_end(tar: tarfile.TarFile) -> None:
    """EOFError unless the last member is followed by at least a block of zeros and nothing else: tarfile would not mind."""
    stream: Any = tar.fileobj
    if stream.tell() < tar.offset + tarfile.BLOCKSIZE:
        raise EOFError("it ends before its end-of-archive mark")
    while rest := stream.read(1 << 20):
        if rest.strip(b"\0"):
            raise EOFError("it goes on behind its last file")


def _from_files(files: Iterator[tuple[str, bytes]], origin: Path) -> dict[str, _Rows]:
    """Train and test rows in order of the number in a review's name; of each number the negative review comes first."""
    found: dict[str, list[tuple[int, int, str]]] = {"train": [], "test": []}
    for name, content in files:
        if match := _FILE.search(name):
            part, label, number = match.groups()
            try:
                found[part].append((int(number), _LABELS[label], content.decode("utf-8")))
            except UnicodeDecodeError as error:
                raise ValueError(f"{origin}: {name} is not UTF-8 ({error})") from error
    for part, rows in found.items():
        if not rows:
            raise ValueError(f"{origin}: no reviews found, expected files like {part}/pos/0_9.txt")
        rows.sort()
    return {part: ([text for *_, text in rows], [label for _, label, _ in rows]) for part, rows in found.items()}


def _from_csv(path: Path, text: str, label: str) -> _Rows:
    texts, labels = read_file(path, text=text, label=label)
    for row, found in enumerate(labels, 1):
        if found.lower() not in _LABELS:
            raise ValueError(f"{path}: row {row} has the label {found!r}, expected one of {', '.join(_LABELS)}")
    return texts, [_LABELS[found.lower()] for found in labels]


def _in_cache() -> Path:
    for name in _IN_CACHE:
        if (path := cache_folder() / name).exists():
            return path
    raise FileNotFoundError(
        f"imdb: path is None and {cache_folder()} has none of {', '.join(_IN_CACHE)}: get the reviews from {SOURCE} and put"
        " them there, or say where they are"
    )


def imdb(path: str | os.PathLike[str] | None = None, *, text: str = "text", label: str = "label") -> TextDataset:
    """IMDB film reviews, positive or negative, from what is at `path`, or else in `cache_folder()`.

    That may be the original folder `aclImdb` or its archive (.tar.gz); a folder with train.csv and test.csv, or with such files
    of another kind that `labelled_rows` reads; or one such file, of which one text in five is held out. `text` and `label` name
    their columns; labels are 0 and 1, neg and pos, or negative and positive. ValueError if it is something else or damaged,
    FileNotFoundError if there is nothing.
    """
    path = _in_cache() if path is None else Path(path)
    if path.is_dir():
        root = path / "aclImdb" if (path / "aclImdb").is_dir() else path
        if (root / "train").is_dir():
            parts = _from_files(_from_folder(root), path)
        else:
            parts = {part: _from_csv(part_file(root, part), text, label) for part in ("train", "test")}
    elif path.name.endswith(ARCHIVES):
        parts = _from_files(_from_archive(path), path)
    else:
        return divided(*_from_csv(path, text, label), name="imdb", label_names=NAMES, licence=LICENCE, source=str(path))
    (train_texts, train_labels), (test_texts, test_labels) = parts["train"], parts["test"]
    return TextDataset(
        name="imdb",
        train_texts=train_texts,
        train_labels=np.array(train_labels, np.int32),
        test_texts=test_texts,
        test_labels=np.array(test_labels, np.int32),
        label_names=NAMES,
        licence=LICENCE,
        source=str(path),
    )
