"""Text and label columns of CSV and TSV files."""

from __future__ import annotations

import bz2
import csv
import gzip
import lzma
import os
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np

from rnnext.datasets._dataset import TextDataset, divided

_WHOLE_NUMBER = re.compile(r"-?[0-9]+")
_LONGEST_FIELD = 2**31 - 1  # what the csv module accepts everywhere; its default of 131,072 refuses long reviews


def _opened(path: Path) -> AbstractContextManager[Iterable[bytes]]:
    match path.suffix.lower():
        case ".gz":
            return gzip.open(path, "rb")
        case ".xz":
            return lzma.open(path, "rb")
        case ".bz2":
            return bz2.open(path, "rb")
        case _:
            return path.open("rb")


def decoded_lines(origin: object, file: Iterable[bytes]) -> Iterator[str]:
    """Lines of UTF-8, a byte order mark left out; decoded one by one, so that a ValueError names the line of a bad byte."""

    def decoded(number: int, raw: bytes) -> str:
        try:
            return raw.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            found = f"byte 0x{error.object[error.start]:02x} at offset {error.start} is not UTF-8"
            raise ValueError(f"{origin}:{number}: {found}") from None

    return (decoded(number, raw) for number, raw in enumerate(file, 1))


def _column(path: Path, header: Sequence[str], name: str) -> int:
    if name not in header:
        raise ValueError(f"{path}: no column {name!r}; found {', '.join(map(repr, header))}")
    return header.index(name)


def _rows(path: Path, reader: Any, columns: tuple[str, str]) -> Iterator[tuple[str, str]]:
    begin = 1  # the line on which the row at hand begins: a quoted field may go on for many more
    try:
        header = next(reader, None)
        if header is None:
            raise ValueError(f"{path}: empty, expected a header line")
        text, label = (_column(path, header, name) for name in columns)
        begin = reader.line_num + 1
        for row in reader:
            line, begin = begin, reader.line_num + 1
            if not row:
                continue
            if len(row) != len(header):
                raise ValueError(f"{path}:{line}: {len(row)} columns, expected {len(header)} as in the header")
            if not row[label].strip():
                raise ValueError(f"{path}:{line}: the label (column {columns[1]!r}) is empty")
            yield row[text], row[label].strip()
    except csv.Error as error:
        raise ValueError(f"{path}:{begin}: {error}") from error


def read_csv(
    path: str | os.PathLike[str], *, text: str = "text", label: str = "label", delimiter: str | None = None
) -> tuple[list[str], list[str]]:
    """Texts and labels, as they are written, of a UTF-8 CSV file with a header line; it may be compressed (.gz, .xz, .bz2).

    Without `delimiter`, a name in .tsv means tabs and any other commas; quotes mean the same in both. Blank lines are skipped.
    ValueError names the file and the line of a row with a wrong number of columns, an empty label, a bad quote or bytes that
    are not UTF-8, and the columns found where one is missing.
    """
    path = Path(path)
    if delimiter is None:
        delimiter = "\t" if ".tsv" in [suffix.lower() for suffix in path.suffixes[-2:]] else ","
    limit = csv.field_size_limit(_LONGEST_FIELD)
    try:
        with _opened(path) as file:
            reader = csv.reader(decoded_lines(path, file), delimiter=delimiter, strict=True)
            rows = list(_rows(path, reader, (text, label)))
    except (EOFError, OSError, lzma.LZMAError, zlib.error) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the system's, such as a file that is not there; gzip and bz2 mean the content by theirs
        raise ValueError(f"{path}: damaged ({error})") from error
    finally:
        csv.field_size_limit(limit)
    if not rows:
        raise ValueError(f"{path}: a header and no rows")
    return [row[0] for row in rows], [row[1] for row in rows]


def _ordered(labels: Iterable[str]) -> tuple[str, ...]:
    """Distinct labels: by value where all are whole numbers, else alphabetically."""
    found = set(labels)
    if all(_WHOLE_NUMBER.fullmatch(label) for label in found):
        return tuple(sorted(found, key=lambda label: (int(label), label)))
    return tuple(sorted(found))


def label_numbers(labels: Sequence[str], label_names: Sequence[str], origin: str) -> list[int]:
    """The index of each label in `label_names`; ValueError says which label of `origin` is not among them."""
    numbers = {name: index for index, name in enumerate(label_names)}
    for row, label in enumerate(labels, 1):
        if label not in numbers:
            raise ValueError(f"{origin}: row {row} has the label {label!r}, expected one of {', '.join(label_names)}")
    return [numbers[label] for label in labels]


def csv_dataset(
    path: str | os.PathLike[str],
    *,
    test: str | os.PathLike[str] | None = None,
    text: str = "text",
    label: str = "label",
    delimiter: str | None = None,
) -> TextDataset:
    """A data set of a file as `read_csv` takes, and of another one for the test; without it, one text in five is held out.

    ValueError if there are fewer than two labels, or if the test file has labels that are not in the first.
    """
    texts, labels = read_csv(path, text=text, label=label, delimiter=delimiter)
    label_names = _ordered(labels)
    if len(label_names) < 2:
        raise ValueError(f"{path}: every row has the label {label_names[0]!r}, expected two labels or more")
    name, numbers = Path(path).name, label_numbers(labels, label_names, str(path))
    if test is None:
        return divided(texts, numbers, name=name, label_names=label_names, licence="unknown", source=str(path))
    test_texts, test_labels = read_csv(test, text=text, label=label, delimiter=delimiter)
    return TextDataset(
        name=name,
        train_texts=texts,
        train_labels=np.array(numbers, np.int32),
        test_texts=test_texts,
        test_labels=np.array(label_numbers(test_labels, label_names, str(test)), np.int32),
        label_names=label_names,
        licence="unknown",
        source=f"{path}, {test}",
    )
