"""Texts and labels of files: CSV, TSV, JSON lines, or a text a line; compressed or not."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from rnnext.datasets._csv import csv_rows
from rnnext.datasets._dataset import TextDataset, divided
from rnnext.datasets._jsonl import jsonl_rows
from rnnext.datasets._lines import COMPRESSED, lines_of, plain_suffix

_WHOLE_NUMBER = re.compile(r"-?[0-9]+")
_JSON_LINES = (".jsonl", ".ndjson", ".json")


def _rows(path: Path, columns: Sequence[str], delimiter: str | None) -> Iterator[tuple[int, tuple[str, ...]]]:
    return jsonl_rows(path, columns) if plain_suffix(path) in _JSON_LINES else csv_rows(path, columns, delimiter)


def labelled_rows(
    path: str | os.PathLike[str], *, text: str = "text", label: str = "label", delimiter: str | None = None
) -> Iterator[tuple[str, str]]:
    """Text and label of each row of a UTF-8 file of any length, one at a time.

    Files named .jsonl, .ndjson or .json have a JSON object on each line. All others are CSV with a header line, separated by
    `delimiter`, or else by tabs in .tsv and elsewhere by commas (semicolons if the header has these and no comma); quotes mean
    the same in all. Any of them may be compressed: .gz, .xz or .bz2. Blank lines are skipped.
    ValueError names the file and the line of a row with a wrong number of columns, an empty label or a NUL in it, a bad quote
    or bytes that are not UTF-8; where a column is missing, it lists those that were found.
    """
    path = Path(path)
    for line, (found, name) in _rows(path, (text, label), delimiter):
        if not name.strip():
            raise ValueError(f"{path}:{line}: the label (column {label!r}) is empty")
        if "\0" in name:
            raise ValueError(f"{path}:{line}: the label (column {label!r}) is {name!r}, expected one without NUL")
        yield found, name.strip()


def text_rows(path: str | os.PathLike[str], *, text: str = "text", delimiter: str | None = None) -> Iterator[str]:
    """Only the texts of a file that `labelled_rows` could read, or the lines of a .txt file, one at a time."""
    path = Path(path)
    if plain_suffix(path) == ".txt":
        with lines_of(path) as lines:
            for line in lines:
                yield line.rstrip("\r\n")
        return
    for _, (found,) in _rows(path, (text,), delimiter):
        yield found


def read_file(
    path: str | os.PathLike[str], *, text: str = "text", label: str = "label", delimiter: str | None = None
) -> tuple[list[str], list[str]]:
    """All texts and labels of a file, as `labelled_rows` reads them. ValueError also if there is no row."""
    rows = list(labelled_rows(path, text=text, label=label, delimiter=delimiter))
    if not rows:
        raise ValueError(f"{path}: {'no rows' if plain_suffix(Path(path)) in _JSON_LINES else 'a header and no rows'}")
    return [row[0] for row in rows], [row[1] for row in rows]


def _ordered(labels: Iterable[str]) -> tuple[str, ...]:
    """Distinct labels, by value if all are whole numbers, else alphabetically."""
    found = set(labels)
    if all(_WHOLE_NUMBER.fullmatch(label) for label in found):
        return tuple(sorted(found, key=lambda label: (int(label), label)))
    return tuple(sorted(found))


def part_file(folder: Path, part: str) -> Path:
    """The file called `part` in a folder, such as "train.csv.xz". FileNotFoundError if there is none."""
    for form in (".csv", ".tsv", *_JSON_LINES):
        for pressed in ("", *COMPRESSED):
            if (path := folder / f"{part}{form}{pressed}").is_file():
                return path
    raise FileNotFoundError(f"{folder}: neither a folder {part} nor a file {part}.csv (.tsv, .jsonl; .gz, .xz, .bz2)")


def label_numbers(labels: Sequence[str], label_names: Sequence[str], origin: str, *, first_row: int = 1) -> list[int]:
    """The index of each label in `label_names`. ValueError names the label of `origin` that is not there, and its row."""
    numbers = {name: index for index, name in enumerate(label_names)}
    for row, label in enumerate(labels, first_row):
        if label not in numbers:
            raise ValueError(f"{origin}: row {row} has the label {label!r}, expected one of {', '.join(label_names)}")
    return [numbers[label] for label in labels]


def file_dataset(
    path: str | os.PathLike[str],
    *,
    test: str | os.PathLike[str] | None = None,
    text: str = "text",
    label: str = "label",
    delimiter: str | None = None,
) -> TextDataset:
    """A data set from a file that `labelled_rows` reads, and a `test` file; without that, one text in five is held out.

    ValueError if there are fewer than two labels, or if the test file has labels that are not in the first file.
    """
    texts, labels = read_file(path, text=text, label=label, delimiter=delimiter)
    label_names = _ordered(labels)
    if len(label_names) < 2:
        raise ValueError(f"{path}: every row has the label {label_names[0]!r}, expected two labels or more")
    name, numbers = Path(path).name, label_numbers(labels, label_names, str(path))
    if test is None:
        return divided(texts, numbers, name=name, label_names=label_names, licence="unknown", source=str(path))
    test_texts, test_labels = read_file(test, text=text, label=label, delimiter=delimiter)
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
