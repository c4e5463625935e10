"""Rows of CSV and TSV files, one at a time."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from rnnext._locks import lock_free_in_children
from rnnext.datasets._lines import lines_of, names_in, plain_suffix

_LONGEST_FIELD = 2**31 - 1  # what the csv module accepts everywhere; its default of 131,072 refuses long reviews

_SAID = {  # in place of the csv module's words, which are for programmers
    "new-line character": "a carriage return that is not within quotes, expected lines that end with LF or CR LF",
    "unexpected end of data": "the field that begins with a quote here has no quote at its end",
}
_limit = lock_free_in_children()  # held while the csv module's limit is changed


def csv_rows(path: Path, columns: Sequence[str], delimiter: str | None = None) -> Iterator[tuple[int, tuple[str, ...]]]:
    """For each row the line on which it begins, and its fields of those columns. Blank lines are skipped.

    Without `delimiter` it is a tab in files named .tsv, in others a comma, or a semicolon where the header has one and no
    comma, as spreadsheets write where the comma is for decimals. ValueError names the file and line of an error.
    """
    begin = 1  # the line on which the current row begins: a quoted field may continue over many more
    with lines_of(path) as lines:
        if delimiter is None:
            delimiter, lines = _delimiter(path, lines)
        reader = csv.reader(lines, delimiter=delimiter, strict=True)
        try:
            while (header := _next(reader)) == []:
                begin = reader.line_num + 1
            if header is None:
                raise ValueError(f"{path}: empty, expected a header line")
            if any("\0" in name for name in header):
                raise ValueError(f"{path}:{begin}: the header has NUL in it, expected text")
            places = [_column(path, header, name) for name in columns]
            begin = reader.line_num + 1
            while (row := _next(reader)) is not None:
                line, begin = begin, reader.line_num + 1
                if not row:
                    continue
                if len(row) != len(header):
                    raise ValueError(f"{path}:{line}: {len(row)} columns, expected {len(header)} as in the header")
                yield line, tuple(row[place] for place in places)
        except csv.Error as error:
            found = next((said for words, said in _SAID.items() if words in str(error)), error)
            raise ValueError(f"{path}:{begin}: {found}") from error


def _delimiter(path: Path, lines: Iterator[str]) -> tuple[str, Iterator[str]]:
    """What separates the columns, and the lines again from the first on."""
    if plain_suffix(path) == ".tsv":
        return "\t", lines
    looked_at: list[str] = []
    for line in lines:
        looked_at.append(line)
        if line.strip():
            break
    header = looked_at[-1] if looked_at else ""
    return ";" if ";" in header and "," not in header else ",", chain(looked_at, lines)


def _next(reader: Any) -> list[str] | None:
    """The next row, with fields of any length, or None. The whole process shares the limit, so it is reset after each row."""
    with _limit:
        limit = csv.field_size_limit(_LONGEST_FIELD)
        try:
            found: list[str] | None = next(reader, None)
            return found
        finally:
            csv.field_size_limit(limit)


def _column(path: Path, header: Sequence[str], name: str) -> int:
    if name not in header:
        raise ValueError(f"{path}: no column {name!r}; found {names_in(header)}")
    if header.count(name) > 1:
        raise ValueError(f"{path}: has {header.count(name)} columns {name!r}, expected one")
    return header.index(name)
