"""What fit, evaluate and predict accept, checked once and cut into batches. Knows rows, labels and weights; knows no model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

Values: TypeAlias = npt.NDArray[Any]
_Index: TypeAlias = npt.NDArray[np.int64] | slice


class Batch(NamedTuple):
    """Some rows of x, and where their tokens are (None: everywhere)."""

    x: Values  # [B, ...]
    mask: npt.NDArray[np.bool_] | None  # [B, T]


@dataclass(frozen=True)
class Rows:
    """Rows of one array, or of sequences of different length that lie end to end in `flat`."""

    flat: Values
    offsets: npt.NDArray[np.int64] | None = None  # [N + 1], where each sequence begins; None: rows are flat's own

    def __len__(self) -> int:
        return len(self.flat) if self.offsets is None else len(self.offsets) - 1

    def lengths(self) -> npt.NDArray[np.int64]:
        """Steps of each row, [N]; 1 where rows have no steps."""
        if self.offsets is None:
            return np.full(len(self.flat), self.flat.shape[1] if self.flat.ndim > 1 else 1)
        return np.diff(self.offsets)

    @property
    def row_shape(self) -> tuple[int | None, ...]:
        """Of one row, None where it varies."""
        return self.flat.shape[1:] if self.offsets is None else (None, *self.flat.shape[1:])

    def batch(self, index: _Index) -> Batch:
        """The named rows; sequences are filled up at the end, with a mask."""
        if self.offsets is None:
            return Batch(self.flat[index], None)
        begin, end = self.offsets[:-1][index], self.offsets[1:][index]
        lengths = end - begin
        steps = np.arange(lengths.max(initial=0))
        mask = steps < lengths[:, None]
        at = np.where(mask, begin[:, None] + steps, 0)
        if not len(self.flat):
            return Batch(np.zeros((*mask.shape, *self.flat.shape[1:]), self.flat.dtype), mask)
        x = self.flat[at]
        x[~mask] = 0
        return Batch(x, mask)


def rows_of(x: object, *, who: str, name: str = "x") -> Rows:
    """x as rows: an array of numbers [N, ...], or a list of arrays or lists of different length.

    TypeError or ValueError says what came where it is neither, or where an array of floats is not finite.
    """
    if isinstance(x, np.ndarray) and x.dtype != np.object_:
        if x.ndim < 2:
            raise ValueError(f"{who}: {name} has shape {x.shape}, expected at least 2 dimensions, [N, T] or [N, T, I]")
        return Rows(_numbers(x, who, name))
    if not isinstance(x, Sequence | np.ndarray) or isinstance(x, str | bytes):
        raise TypeError(f"{who}: {name} is a {type(x).__name__}, expected a NumPy array or a list of sequences")
    rows = [np.asarray(row) for row in x]
    if not rows:
        raise ValueError(f"{who}: {name} is empty, expected at least one row")
    filled = [row for row in rows if row.size] or rows
    for n, row in enumerate(rows):
        if row.size and (row.ndim != filled[0].ndim or row.shape[1:] != filled[0].shape[1:]):
            expected = ("T", *filled[0].shape[1:])
            raise ValueError(f"{who}: {name}[{n}] has shape {row.shape}, expected ({', '.join(map(str, expected))})")
        if row.size and row.dtype.kind != filled[0].dtype.kind:
            raise TypeError(f"{who}: {name}[{n}] has dtype {row.dtype}, expected {filled[0].dtype} as the rows before it")
    if filled[0].ndim < 1:
        raise TypeError(f"{who}: {name}[0] is a {type(x[0]).__name__}, expected a sequence of ids or of vectors")
    offsets = np.zeros(len(rows) + 1, np.int64)
    np.cumsum([len(row) for row in rows], out=offsets[1:])
    flat = np.concatenate([row for row in rows if row.size]) if any(row.size for row in rows) else np.zeros(0, np.int32)
    return Rows(_numbers(flat, who, name), offsets)


def _numbers(x: Values, who: str, name: str) -> Values:
    if x.dtype.kind == "f":
        if not np.isfinite(x).all():
            at = tuple(int(i) for i in np.argwhere(~np.isfinite(x))[0])
            raise ValueError(f"{who}: {name} has {x[at]} at {at}, expected finite numbers")
        return x if x.dtype == np.float32 else x.astype(np.float32)
    if x.dtype.kind not in "iu":
        raise TypeError(f"{who}: {name} has dtype {x.dtype}, expected numbers")
    return x


def labels_of(y: object, rows: int, *, who: str, name: str = "y") -> Values:
    """y as an array with one entry for each row, [N] or [N, ...]; ValueError or TypeError says what came."""
    array = np.asarray(y)
    if array.dtype.kind == "b":
        array = array.astype(np.int32)
    if array.dtype.kind not in "fiu":
        raise TypeError(f"{who}: {name} has dtype {array.dtype}, expected numbers")
    if array.ndim == 0 or len(array) != rows:
        raise ValueError(f"{who}: {name} has shape {array.shape}, expected {rows} labels, one for each row of x")
    return _numbers(array, who, name)


def weights_of(
    sample_weight: object, class_weight: Mapping[int, float] | None, y: Values, *, who: str
) -> npt.NDArray[np.float32] | None:
    """The weight of each row [N], from one for each row and one for each class; None if there is neither."""
    weights: npt.NDArray[np.float32] | None = None
    if sample_weight is not None:
        weights = np.asarray(sample_weight, dtype=np.float32)
        if weights.shape != (len(y),):
            raise ValueError(f"{who}: sample_weight has shape {weights.shape}, expected ({len(y)},), one for each row of x")
        if not np.isfinite(weights).all() or (weights < 0).any():
            raise ValueError(f"{who}: sample_weight has numbers that are negative or not finite")
    if class_weight:
        classes = y.argmax(axis=1) if y.ndim == 2 and y.shape[1] > 1 else y.reshape(len(y), -1)[:, 0].astype(np.int64)
        unknown = [name for name in class_weight if not isinstance(name, int | np.integer)]
        if unknown:
            raise TypeError(f"{who}: class_weight has the key {unknown[0]!r}, expected class numbers")
        each = np.array([class_weight.get(int(c), 1.0) for c in classes], np.float32)
        weights = each if weights is None else weights * each
    return weights
