"""Corpora larger than memory: token files, which fit, evaluate and predict take in place of a list of sequences."""

from __future__ import annotations

import contextlib
import mmap
import os
from array import array
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from rnnext._checks import number
from rnnext._inputs import Rows, RowSource
from rnnext.saving import errors_name, keep_mode, scratch

__all__ = ["TokenFile", "TokenWriter"]

_END: Any = object()
_MAGIC = b"RNNXTOK1"
_HEADER = np.dtype([("magic", "S8"), ("rows", "<i8"), ("ids", "<i8"), ("low", "<i8"), ("high", "<i8"), ("labels", "S8")])
_KEPT = 128 << 20  # bytes of the file that may be in memory
_LARGEST = 1 << 53  # up to here float64, in which labels are collected, holds every whole number exactly
_AROUND = 64 << 10  # bytes that the system loads around a page that is read (fault-around)


class TokenFile(RowSource):
    """Sequences of ids, with a label each, in a memory-mapped file.

    `file[n]` is (ids, label). What has been read leaves the memory again, so memory use stays small however large the file is.
    The file: a header (48 bytes), int32 ids end to end, int64 offsets [N + 1], labels [N] (int64 or float32); little-endian.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """FileNotFoundError if there is no such file, ValueError if it is not a token file or is damaged."""
        self.path = Path(path)
        with open(self.path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            found = file.read(_HEADER.itemsize)
            if len(found) < _HEADER.itemsize or not found.startswith(_MAGIC):
                raise ValueError(f"{self.path}: not a token file")
            header = np.frombuffer(found, _HEADER)[0]
            rows, ids, dtype = int(header["rows"]), int(header["ids"]), header["labels"].decode(errors="replace")
            if rows < 1 or ids < 0 or dtype not in ("<i8", "<f4"):
                raise ValueError(f"{self.path}: damaged, its header says {rows} rows, {ids} ids and labels {dtype!r}")
            labels = np.dtype(dtype)
            expected = _HEADER.itemsize + 4 * ids + 8 * (rows + 1) + labels.itemsize * rows
            if size != expected:
                raise ValueError(f"{self.path}: damaged, it has {size} bytes, expected {expected}")
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        begin = _HEADER.itemsize + 4 * ids
        self.ids: npt.NDArray[np.int32] = np.frombuffer(self._map, "<i4", ids, _HEADER.itemsize)
        # Offsets and labels are copied: 16 bytes a row, wanted in any order.
        self.offsets: npt.NDArray[np.int64] = np.frombuffer(self._map, "<i8", rows + 1, begin).astype(np.int64)
        self.labels: npt.NDArray[Any] = np.array(np.frombuffer(self._map, labels, rows, begin + 8 * (rows + 1)))
        self.ids_range = (int(header["low"]), int(header["high"]))
        if self.offsets[0] != 0 or self.offsets[-1] != ids or (np.diff(self.offsets) < 0).any():
            raise ValueError(f"{self.path}: damaged, its offsets do not ascend from 0 to {ids}")
        self._read = 0

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, n: int) -> tuple[npt.NDArray[np.int32], Any]:
        n = range(len(self))[n]
        return np.array(self.ids[self.offsets[n] : self.offsets[n + 1]]), self.labels[n]

    def rows(self) -> Rows:
        return Rows(self.ids, self.offsets, source=self)

    def was_read(self, rows: int, ids: npt.NDArray[Any]) -> None:
        low, high = self.ids_range
        if ids.size and (ids.min() < min(low, 0) or ids.max() > high):  # 0 also fills rows up
            found = f"ids from {ids.min()} to {ids.max()}"
            raise ValueError(f"{self.path}: damaged, it has {found}, its header says {low} to {high}")
        self._read += rows * _AROUND + ids.nbytes
        if self._read >= _KEPT and hasattr(self._map, "madvise"):
            self._map.madvise(mmap.MADV_DONTNEED)  # the pages stay in the system's cache, as long as it has room
            self._read = 0

    @staticmethod
    def write(path: str | os.PathLike[str], rows: Iterable[npt.ArrayLike], labels: Iterable[float]) -> TokenFile:
        """Write sequences and labels as they come, and open the file. ValueError if there are not as many labels as rows."""
        each_label = iter(labels)
        with TokenWriter(path) as writer:
            for count, ids in enumerate(rows):
                if (label := next(each_label, _END)) is _END:
                    raise ValueError(f"TokenFile.write: labels has {count} labels, expected one for each row, which are more")
                writer.add(ids, label)
            if next(each_label, _END) is not _END:
                raise ValueError("TokenFile.write: labels has more labels than there are rows, expected one for each row")
        return TokenFile(path)


class TokenWriter:
    """Writes a token file row by row: `with TokenWriter(path) as writer: writer.add(ids, label)`.

    The finished file takes its place when the block ends; after an exception whatever was there stays. It takes 16 bytes of
    memory a row. Labels are int64, or float32 if one of them is not whole.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """FileExistsError if `path` exists and is not a file."""
        self.path = Path(os.path.realpath(path))
        if self.path.exists() and not self.path.is_file():
            raise FileExistsError(f"TokenWriter: path is {os.fspath(path)!r}, expected a file's, or one where nothing is")

    def __enter__(self) -> TokenWriter:
        with contextlib.ExitStack() as stack:
            with errors_name(self.path):
                self._new = stack.enter_context(scratch(self.path))
                self._file = stack.enter_context(self._new.open("wb"))
                keep_mode(self._file.fileno(), self.path)
            self._ending = stack.pop_all()
        self._file.write(bytes(_HEADER.itemsize))
        self._ends, self._labels = array("q", [0]), array("d")
        self._low, self._high = np.iinfo(np.int32).max, 0
        return self

    def add(self, ids: npt.ArrayLike, label: float) -> None:
        """Write a sequence [T] of whole numbers from 0 on, and its label. TypeError or ValueError for anything else."""
        row = np.asarray(ids)
        if row.ndim != 1 or (row.size and row.dtype.kind not in "iu"):
            raise TypeError(
                f"TokenWriter: ids has shape {row.shape} and dtype {row.dtype}, expected a sequence of whole numbers"
            )
        number("TokenWriter", "label", label, -_LARGEST, _LARGEST, expected="a finite number, at most 2^53")
        if row.size:
            low, high = int(row.min()), int(row.max())
            if low < 0 or high > np.iinfo(np.int32).max:
                raise ValueError(f"TokenWriter: ids are from {low} to {high}, expected 0 to {np.iinfo(np.int32).max}")
            self._low, self._high = min(self._low, low), max(self._high, high)
        with errors_name(self.path):
            self._file.write(row.astype("<i4").tobytes())
        self._ends.append(self._ends[-1] + len(row))
        self._labels.append(float(label))

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        with self._ending:
            try:
                if error is not None:
                    raise error
                with errors_name(self.path):
                    self._finish()
            except BaseException:
                with contextlib.suppress(OSError):  # where something did not fit on the disk, what is buffered does not either
                    self._file.close()
                raise

    def _finish(self) -> None:
        labels, ends = np.frombuffer(self._labels), np.frombuffer(self._ends, np.int64)
        if not len(labels):
            raise ValueError(f"TokenWriter: there is no row for {self.path}, expected at least one")
        dtype = "<i8" if (labels == np.floor(labels)).all() else "<f4"
        self._file.write(ends.astype("<i8").tobytes())
        self._file.write(labels.astype(dtype).tobytes())
        header = np.array((_MAGIC, len(labels), ends[-1], min(self._low, self._high), self._high, dtype.encode()), _HEADER)
        self._file.seek(0)
        self._file.write(header.tobytes())
        self._file.flush()
        os.fsync(self._file.fileno())
        os.replace(self._new, self.path)
