"""Data sets by name, with what is known of them before they are fetched, and files and folders by path."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rnnext.datasets import _imdb, _reviews
from rnnext.datasets._dataset import TextDataset
from rnnext.datasets._files import file_dataset, part_file


@dataclass(frozen=True)
class DatasetInfo:
    """What is known of a data set. `rows` are the numbers of training and of test rows."""

    name: str
    alias: str  # a shorter name
    task: str
    rows: tuple[int, int]
    classes: tuple[str, ...]
    licence: str
    source: str
    load: Callable[[], TextDataset] = field(repr=False)

    def to_dict(self) -> dict[str, Any]:
        """All fields that JSON can hold."""
        return {name: value for name, value in vars(self).items() if name != "load"}


_CATALOGUE = (
    DatasetInfo(
        "movie_sentences",
        "movies",
        "English sentences of film reviews: sentiment",
        (8437, 2129),
        _reviews.SENTIMENT,
        _reviews.LICENCE,
        _reviews.RATED_SOURCE,
        _reviews.movie_sentences,
    ),
    DatasetInfo(
        "product_sentences",
        "products",
        "English sentences of product reviews: sentiment",
        (2874, 726),
        _reviews.SENTIMENT,
        _reviews.LICENCE,
        _reviews.RATED_SOURCE,
        _reviews.product_sentences,
    ),
    DatasetInfo(
        "chinese_reviews",
        "chinese",
        "Chinese reviews of books, hotels, goods: sentiment",
        (13915, 3443),
        _reviews.SENTIMENT,
        _reviews.LICENCE,
        _reviews.CHINESE_SOURCE,
        _reviews.chinese_reviews,
    ),
    DatasetInfo(
        "imdb",
        "imdb",
        "English film reviews: sentiment",
        (25000, 25000),
        _imdb.NAMES,
        _imdb.LICENCE,
        _imdb.SOURCE,
        _imdb.imdb,
    ),
)


class DatasetTable(tuple[DatasetInfo, ...]):
    """A tuple of the data sets that prints as a table."""

    __slots__ = ()

    def __repr__(self) -> str:
        rows = [("name", "task", "train + test", "classes", "licence")]
        for each in self:
            name = each.name if each.name == each.alias else f"{each.name}, {each.alias}"
            counts = " + ".join(f"{count:,}" for count in each.rows)
            rows.append((name, each.task, counts, ", ".join(each.classes), each.licence))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
        shown = [lines[0], "-" * (sum(widths) + 8)]
        for line, each in zip(lines[1:], self, strict=True):
            shown += [line, f"  from {each.source}"]
        return "\n".join(shown)


def info() -> DatasetTable:
    """Names, tasks, rows, classes, licences and sources of the data sets; prints as a table."""
    return DatasetTable(_CATALOGUE)


def load(
    name: str | os.PathLike[str],
    path: str | os.PathLike[str] | None = None,
    *,
    test: str | os.PathLike[str] | None = None,
    text: str | None = None,
    label: str | None = None,
) -> TextDataset:
    """The data set with that name or alias (`info()` lists them), or else the file or folder at that path.

    `path` says where the IMDB reviews are. `labelled_rows` describes files: `text` and `label` name their columns (default:
    "text" and "label"), `test` names another file to be measured on; without it one text in five is held out. An archive
    (.tar.gz) must be that of the IMDB reviews; a folder must be what was in it, or have a file called train and one called
    test. ValueError for what is none of these, and for an option that does not apply.
    """
    columns = {"text": text or "text", "label": label or "label"}
    for each in _CATALOGUE:
        if os.fspath(name) in (each.name, each.alias):
            if each.name == "imdb":
                _refuse(each, test=test)
                return _imdb.imdb(path, **columns)
            _refuse(each, path=path, test=test, text=text, label=label)
            return each.load()
    if path is not None:
        raise ValueError(f"load: path is {os.fspath(path)!r}, expected None: {os.fspath(name)!r} is not imdb")
    found = Path(name)
    if not found.exists():  # not is_file: a pipe is as good as a file, since it is read only once
        raise ValueError(f"{found}: neither a file nor one of {', '.join(_names())}")
    if found.is_dir() or found.name.endswith(_imdb.ARCHIVES):
        if test is not None:
            raise ValueError(f"load: test is {os.fspath(test)!r}, expected None: {found} has a test part of its own")
        if not found.is_dir() or (found / "aclImdb").is_dir() or (found / "train").is_dir():
            return _imdb.imdb(found)
        return file_dataset(part_file(found, "train"), test=part_file(found, "test"), **columns)
    return file_dataset(found, test=test, **columns)


def _names() -> list[str]:
    return sorted({name for each in _CATALOGUE for name in (each.name, each.alias)})


def _refuse(each: DatasetInfo, **options: object) -> None:
    """ValueError for an option that is given."""
    for option, value in options.items():
        if value is not None:
            raise ValueError(
                f"load: {option} is {str(value)!r}, expected None: it is for a file, and {each.name} is a data set"
            )
