"""Lines of UTF-8 files that may be compressed; every error names the file, and the line where there is one."""

from __future__ import annotations

import bz2
import gzip
import lzma
import zlib
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

COMPRESSED = (".gz", ".xz", ".bz2")
_OTHERS = {  # by their first bytes, which no text in UTF-8 has
    b"PK\x03\x04": "a zip archive, which a workbook is, too",
    b"PAR1\x15": "a Parquet file",
    b"\x1f\x8b": "compressed by gzip",
    b"\xfd7zXZ": "compressed by xz",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
}
_LONGEST_NAME = 40  # letters of a column's name that an error shows


def names_in(header: Iterable[str]) -> str:
    """Columns' names for an error. Where a file has no header, these are its first text and label."""
    return ", ".join(repr(name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]}…") for name in header)


def plain_suffix(path: Path) -> str:
    """The suffix of a file's name that tells its format, in lower case: ".csv" for `a.CSV.gz`."""
    *_, before, last = ["", "", *(suffix.lower() for suffix in path.suffixes)]
    return before if last in COMPRESSED else last


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


@contextmanager
def lines_of(path: Path) -> Iterator[Iterator[str]]:
    """The decoded lines of a file, compressed or not. ValueError if it is damaged, OSError if it cannot be read."""
    try:
        with _opened(path) as file:
            yield decoded_lines(path, file)
    except (EOFError, OSError, lzma.LZMAError, zlib.error) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # an error of the system, such as a missing file; those of gzip and bz2 are about the content
        raise ValueError(f"{path}: damaged ({error})") from error


def decoded_lines(origin: object, file: Iterable[bytes]) -> Iterator[str]:
    """Lines of UTF-8 without a byte order mark; decoded one by one, so that a ValueError names the line of a bad byte."""

    def decoded(number: int, raw: bytes) -> str:
        for begin, what in _OTHERS.items() if number == 1 else ():
            if raw.startswith(begin):
                endings = ", ".join(COMPRESSED)
                raise ValueError(f"{origin}: is {what}; expected UTF-8, compressed only if its name ends with {endings}")
        try:
            return raw.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            found = f"byte 0x{error.object[error.start]:02x} at offset {error.start} is not UTF-8"
            raise ValueError(f"{origin}:{number}: {found}") from None

    return (decoded(number, raw) for number, raw in enumerate(file, 1))
