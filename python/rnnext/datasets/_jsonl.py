"""Rows of files with a JSON object on each line."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rnnext.datasets._lines import lines_of, names_in


def jsonl_rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Each line's number and its fields of those names; numbers and truth values as JSON writes them. Blank lines are skipped.

    ValueError names file and line of what is not an object, lacks a field, or has a list, an object or null in it.
    """
    with lines_of(path) as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                raise ValueError(f"{path}:{number}: not JSON ({error}), expected an object on each line") from error
            except RecursionError as error:
                raise ValueError(f"{path}:{number}: lists or objects in each other too deeply to be read") from error
            if not isinstance(row, dict):
                raise ValueError(f"{path}:{number}: a JSON {type(row).__name__}, expected an object on each line")
            yield number, tuple(_field(f"{path}:{number}", row, name) for name in columns)


def _field(origin: str, row: dict[str, Any], name: str) -> str:
    if name not in row:
        raise ValueError(f"{origin}: no field {name!r}; found {names_in(row)}")
    value = row[name]
    if isinstance(value, str):
        return value
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    raise ValueError(f"{origin}: {name!r} is {json.dumps(value)[:40]}, expected a string, a number or a truth value")
