"""What fit, evaluate and predict accept, checked once and cut into batches. Knows rows, labels and weights; knows no model."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from rnnext._checks import number

Values: TypeAlias = npt.NDArray[Any]
Weights: TypeAlias = npt.NDArray[np.float32]
_Index: TypeAlias = npt.NDArray[np.int64] | slice

_LARGEST = float(np.finfo(np.float32).max)
_LARGEST_WHOLE = 1 << 24  # up to here float32 holds every whole number exactly
_CHECKED_AT_ONCE = 1 << 22  # numbers: a memory-mapped file is not loaded as a whole to be checked


class Batch(NamedTuple):
    """Some rows, and a mask of where they have tokens (None: everywhere)."""

    x: Values  # [B, ...]
    mask: npt.NDArray[np.bool_] | None  # [B, T]


@dataclass(frozen=True)
class Rows:
    """Rows of one array, or sequences of different lengths that are stored end to end in `flat`."""

    flat: Values
    offsets: npt.NDArray[np.int64] | None = None  # [N + 1], where each sequence begins; None: rows are flat's own
    dtype: np.dtype[Any] | None = None  # of batches; None: that of flat
    source: RowSource | None = None  # the owner of flat's memory, where that is a file

    def __len__(self) -> int:
        return len(self.flat) if self.offsets is None else len(self.offsets) - 1

    @property
    def row_shape(self) -> tuple[int | None, ...]:
        """The shape of a row; None where it varies."""
        return self.flat.shape[1:] if self.offsets is None else (None, *self.flat.shape[1:])

    def batch(self, index: _Index, *, at_end: bool = False) -> Batch:
        """The rows at `index`. Sequences are padded with 0, behind them or with `at_end` before them, and have a mask."""
        if self.offsets is None:
            # Row by row, also if x lies in memory as a DataFrame does, column by column: that changes how sums are rounded.
            return Batch(np.ascontiguousarray(self.flat[index], self.dtype), None)
        begin, end = self.offsets[:-1][index], self.offsets[1:][index]
        lengths = end - begin
        steps = np.arange(lengths.max(initial=0))
        mask = steps < lengths[:, None]
        x = np.zeros((*mask.shape, *self.flat.shape[1:]), self.dtype or self.flat.dtype)
        filled = mask[:, ::-1] if at_end else mask
        x[filled] = self.flat[(begin[:, None] + steps)[mask]]
        if self.source is not None:
            self.source.was_read(len(lengths), x)
        return Batch(x, filled)

    def part(self, begin: int, end: int) -> Rows:
        """Rows [begin, end), not copied."""
        if self.offsets is None:
            return replace(self, flat=self.flat[begin:end])
        return replace(self, offsets=self.offsets[begin : end + 1])

    @property
    def range(self) -> tuple[Any, Any]:
        """The smallest and the largest number; there must be at least one."""
        if self.source is not None:
            return self.source.ids_range
        return np.minimum.reduce(self.flat, axis=None), np.maximum.reduce(self.flat, axis=None)

    def converted(self, dtype: np.dtype[Any]) -> Rows:
        """The same rows with batches of another dtype. Rows in a file stay there, and each batch is converted."""
        if dtype == (self.dtype or self.flat.dtype):
            return self
        if isinstance(self.flat, np.memmap) or self.source is not None:
            return replace(self, dtype=dtype)
        return replace(self, flat=self.flat.astype(dtype))

    def place(self, index: int) -> tuple[int, ...]:
        """Row and position of the entry of `flat` at a flat index."""
        first, *rest = (int(i) for i in np.unravel_index(index, self.flat.shape))
        if self.offsets is None:
            return (first, *rest)
        row = int(np.searchsorted(self.offsets, first, side="right")) - 1
        return (row, first - int(self.offsets[row]), *rest)


class RowSource:
    """Rows in a file, with their labels: what `data.TokenFile` is to this module."""

    labels: Values  # [N]
    ids_range: tuple[int, int]  # the lowest and the highest id

    def rows(self) -> Rows:
        """The rows, not copied."""
        raise NotImplementedError(f"{type(self).__name__}: rows is not defined")

    def was_read(self, rows: int, ids: Values) -> None:
        """Told that `rows` rows with these ids were read, and may leave the memory again. ValueError if they are damaged."""


class Examples(NamedTuple):
    """Rows, their labels and their weights (None: all equal)."""

    x: Rows
    y: Rows
    weights: Weights | None  # [N], or [N, T] for labels of steps

    def part(self, begin: int, end: int) -> Examples:
        """Examples [begin, end), not copied."""
        return Examples(
            self.x.part(begin, end), self.y.part(begin, end), None if self.weights is None else self.weights[begin:end]
        )


def is_rows(x: object) -> bool:
    """Whether x is meant as rows, not as a source of batches. What is neither counts as rows, and is refused as such later."""
    if isinstance(x, Sequence | Mapping | RowSource) or hasattr(x, "__array__"):
        return True
    return not (hasattr(x, "__iter__") or (hasattr(x, "__len__") and hasattr(x, "__getitem__")))


def rows_of(x: object, *, who: str, name: str = "x") -> Rows:
    """x as rows: an array of numbers [N, ...], what NumPy converts to one (a DataFrame, a tensor), or a list of sequences.

    TypeError or ValueError if it is none of these, if it has no row, or if a number is not finite.
    """
    if isinstance(x, RowSource):
        rows = x.rows()
    elif isinstance(x, np.ndarray) and x.dtype != np.object_:
        if x.ndim < 2:
            raise ValueError(f"{who}: {name} has shape {x.shape}, expected at least 2 dimensions, [N, T] or [N, T, I]")
        rows = Rows(x)
    elif isinstance(x, Sequence | np.ndarray) and not isinstance(x, str | bytes):
        rows = _sequences(x, who, name)
    elif hasattr(x, "__array__"):
        return rows_of(np.asarray(x), who=who, name=name)
    else:
        raise TypeError(f"{who}: {name} is a {type(x).__name__}, expected a NumPy array or a list of sequences")
    if not len(rows):
        raise ValueError(f"{who}: {name} is empty, expected at least one row")
    return _of_numbers(rows, who, name)


def _sequences(x: Sequence[Any] | Values, who: str, name: str) -> Rows:
    """Sequences [T] or [T, I], end to end."""
    rows = [_sequence(row, n, who, name) for n, row in enumerate(x)]
    # An empty list does not tell type and shape of what it could hold, but an empty array of vectors does.
    empty = next((row for row in rows if row.ndim > 1), np.zeros(0, np.int32))
    first = next((row for row in rows if row.size), empty)
    for n, row in enumerate(rows):
        if row.size and row.shape[1:] != first.shape[1:]:
            expected = ", ".join(["T", *map(str, first.shape[1:])])
            raise ValueError(f"{who}: {name}[{n}] has shape {row.shape}, expected ({expected}) as the rows before it")
        if row.size and row.dtype.kind != first.dtype.kind:
            raise TypeError(f"{who}: {name}[{n}] has dtype {row.dtype}, expected {first.dtype} as the rows before it")
    offsets = np.zeros(len(rows) + 1, np.int64)
    np.cumsum([len(row) if row.size else 0 for row in rows], out=offsets[1:])
    return Rows(np.concatenate([first[:0], *(row for row in rows if row.size)]), offsets)


def _sequence(row: Any, n: int, who: str, name: str) -> Values:
    try:
        array = np.asarray(row)
    except ValueError as error:
        raise ValueError(f"{who}: {name}[{n}] has entries of different shapes ({error})") from error
    if array.ndim == 0 or array.dtype.kind not in "biuf":
        what = f"is a {type(row).__name__}" if array.ndim == 0 else f"has dtype {array.dtype}"
        raise TypeError(f"{who}: {name}[{n}] {what}, expected a sequence of ids or of vectors")
    return array


def _of_numbers(rows: Rows, who: str, name: str) -> Rows:
    """The same rows, floats as float32 and bools as int32. TypeError or ValueError unless all are finite numbers."""
    x = rows.flat
    if x.dtype.kind in "iu":
        return rows
    if x.dtype.kind == "b":
        return rows.converted(np.dtype(np.int32))
    if x.dtype.kind != "f":
        raise TypeError(f"{who}: {name} has dtype {x.dtype}, expected numbers")
    at = first_that_is_not(x, lambda part: np.isfinite(part) if x.itemsize <= 4 else np.abs(part) <= _LARGEST)
    if at is not None:
        place = ", ".join(map(str, rows.place(at)))
        raise ValueError(f"{who}: {name} has {x.flat[at]} at {place}, expected finite numbers of float32")
    return rows.converted(np.dtype(np.float32))


def first_that_is_not(x: Values, condition: Callable[[Values], npt.NDArray[np.bool_]]) -> int | None:
    """The flat index of the first number that does not meet the condition; None if all do."""
    step = max(1, _CHECKED_AT_ONCE // max(1, math.prod(x.shape[1:])))
    for begin in range(0, len(x), step):
        holds = condition(x[begin : begin + step])
        if not holds.all():
            return begin * math.prod(x.shape[1:]) + int(np.argmin(holds))
    return None


def first_that_is_no_id(x: Values) -> int | None:
    """The flat index of the first float that is not whole, or so large that it may be rounded; None if there is none."""
    return first_that_is_not(x, lambda part: (part == np.rint(part)) & (np.abs(part) < _LARGEST_WHOLE))


def _only_output(given: object, rows: int) -> Any:
    """The array alone where there is a list of it, as for a model of several outputs; everything else as it is."""
    if isinstance(given, list | tuple) and len(given) == 1 and hasattr(given[0], "shape") and len(given[0]) == rows > 1:
        return given[0]
    return given


def labels_of(y: object, rows: int, *, who: str, name: str = "y") -> Rows:
    """y as an array with one entry for each row, [N] or [N, ...], or as sequences of different lengths.

    ValueError for another number of rows, TypeError or ValueError for what is not a finite number.
    """
    y = _only_output(y, rows)
    lengths = {len(row) if hasattr(row, "__len__") else None for row in y} if isinstance(y, list | tuple) else set()
    found = _sequences(y, who, name) if isinstance(y, list | tuple) and len(lengths) > 1 else Rows(np.asarray(y))
    if found.flat.ndim == 0 or len(found) != rows:
        what = f"{len(found)} sequences" if found.offsets is not None else f"shape {found.flat.shape}"
        raise ValueError(f"{who}: {name} has {what}, expected {rows} labels, one for each row of x")
    return _of_numbers(found, who, name)


def weights_of(sample_weight: object, y: Rows, *, who: str, name: str = "sample_weight") -> Weights | None:
    """The weight of each row [N], or of each of its steps [N, T]; None if `sample_weight` is None."""
    if sample_weight is None:
        return None
    try:
        array = np.asarray(_only_output(sample_weight, len(y)))
    except ValueError as error:
        raise ValueError(f"{who}: {name} has entries of different shapes ({error})") from error
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{who}: {name} has dtype {array.dtype}, expected numbers")
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim not in (1, 2) or len(array) != len(y):
        raise ValueError(f"{who}: {name} has shape {array.shape}, expected ({len(y)},), one for each row of x")
    if not ((array >= 0) & (array <= _LARGEST)).all():
        raise ValueError(f"{who}: {name} has numbers that are negative or not finite, or beyond float32")
    return array.astype(np.float32)


def class_weights_of(class_weight: Mapping[int, float], y: Rows, *, who: str) -> Weights:
    """The weight of each row by its class, [N]; 1 for a class that is not named."""
    if not isinstance(class_weight, Mapping):
        raise TypeError(f"{who}: class_weight is a {type(class_weight).__name__}, expected a dict from classes to weights")
    for key, weight in class_weight.items():
        if not isinstance(key, int | float | np.number | np.bool_) or key != np.rint(key):
            raise TypeError(f"{who}: class_weight has the key {key!r}, expected class numbers")
        if not isinstance(weight, int | float | np.number) or not 0 <= weight <= _LARGEST:
            raise ValueError(f"{who}: class_weight has {weight!r} for class {key}, expected 0 to {_LARGEST:.3g}")
    if y.offsets is not None or y.flat.ndim > 2:
        raise ValueError(f"{who}: class_weight is for one label a row, but y has {y.row_shape} a row")
    one_hot = y.flat.ndim == 2 and y.flat.shape[1] > 1
    classes = y.flat.argmax(axis=1) if one_hot else np.rint(y.flat.reshape(-1)).astype(np.int64)
    weights = np.ones(len(classes), np.float32)
    for key, weight in class_weight.items():
        weights[classes == key] = weight
    return weights


def weighted_by_class(examples: Examples, class_weight: Mapping[int, float] | None, *, who: str) -> Examples:
    """The examples, their weights multiplied by those of their classes."""
    if class_weight is None:
        return examples
    by_class = class_weights_of(class_weight, examples.y, who=who)
    if examples.weights is not None:
        with np.errstate(over="ignore"):
            by_class = examples.weights * by_class.reshape(-1, *(1,) * (examples.weights.ndim - 1))
        if not np.isfinite(by_class).all():
            raise ValueError(f"{who}: sample_weight times class_weight is beyond float32")
    return examples._replace(weights=by_class)


def examples_of(data: tuple[Any, ...], *, who: str, names: tuple[str, str, str] = ("x", "y", "sample_weight")) -> Examples:
    """(x, y, sample_weight) as examples; errors use the given `names`."""
    x, y, sample_weight = data
    if isinstance(x, list | tuple) and len(x) == 1:  # as for a model of several inputs
        shape: tuple[int, ...] = getattr(x[0], "shape", ())
        if len(shape) > 1 and hasattr(y, "__len__") and len(y) == shape[0] > 1:
            raise ValueError(f"{who}: {names[0]} is a list of one array {tuple(shape)}, expected the array itself")
    rows = rows_of(x, who=who, name=names[0])
    if y is None and isinstance(x, RowSource):
        y = x.labels
    labels = labels_of(y, len(rows), who=who, name=names[1])
    return Examples(rows, labels, weights_of(sample_weight, labels, who=who, name=names[2]))


def checksum(examples: Examples) -> int:
    """Of the labels and the weights: the same for the same data, and hardly ever for others."""
    found = zlib.crc32(np.ascontiguousarray(examples.y.flat).data)
    return found if examples.weights is None else zlib.crc32(np.ascontiguousarray(examples.weights).data, found)


def split_off(examples: Examples, share: float, *, who: str) -> tuple[Examples, Examples]:
    """(the first rows, the last ones), the last ones being the share `share` of all."""
    if not 0 < number(who, "validation_split", share) < 1:
        raise ValueError(f"{who}: validation_split is {share}, expected more than 0 and less than 1")
    rows = len(examples.x)
    kept = int(rows * (1 - share))
    if kept in (0, rows):
        raise ValueError(f"{who}: validation_split is {share} of {rows} rows, which leaves one part empty")
    return examples.part(0, kept), examples.part(kept, rows)
