"""Rows of different lengths as one array."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from rnnext._checks import whole_number_or_none

__all__ = ["pad_sequences"]

_SIDES = ("pre", "post")


def _checked_lengths(sequences: Any) -> list[int]:
    if isinstance(sequences, str | bytes) or not hasattr(sequences, "__len__"):
        raise TypeError(f"pad_sequences: sequences is a {type(sequences).__name__}, expected a list of rows")
    try:
        lengths = [len(row) for row in sequences]
    except TypeError:
        for index, row in enumerate(sequences):
            if not hasattr(row, "__len__") or np.ndim(row) == 0:
                raise TypeError(f"pad_sequences: sequences[{index}] is {row!r}, expected a list or an array") from None
        raise
    return lengths


def _check_arguments(maxlen: object, padding: object, truncating: object) -> None:
    whole_number_or_none("pad_sequences", "maxlen", maxlen, 0)
    for name, side in (("padding", padding), ("truncating", truncating)):
        if side not in _SIDES:
            raise ValueError(f"pad_sequences: {name} is {side!r}, expected 'pre' or 'post'")


def _item_shape(first: tuple[int, Any] | None) -> tuple[int, ...]:
    """The shape of each step, () or `(D,)`, from the first row that is not empty."""
    if first is None:
        return ()
    try:
        shape: tuple[int, ...] = np.shape(first[1])[1:]
    except ValueError as error:
        raise ValueError(f"pad_sequences: sequences[{first[0]}] has items of different shapes ({error})") from error
    return shape


def _converted(row: Any, index: int, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """One row as an array of that type. A value that the type cannot hold is an error; a cast would wrap it around."""
    array: npt.NDArray[Any]
    if isinstance(row, str | bytes):
        raise TypeError(f"pad_sequences: sequences[{index}] is {row!r}, expected a list or an array")
    try:
        given = np.asarray(row) if dtype.kind in "iu" else row  # NumPy before 2 wraps the numbers of a list around, too
        if dtype.kind in "iu" and given.dtype.kind in "iu" and not np.can_cast(given.dtype, dtype):
            limits = np.iinfo(dtype)
            if given.min() < limits.min or given.max() > limits.max:
                raise OverflowError(f"values from {given.min()} to {given.max()}")
        array = np.asarray(given, dtype)
    except (ValueError, TypeError, OverflowError, FloatingPointError) as error:
        message = f"pad_sequences: sequences[{index}] cannot be an array of {dtype} ({error})"
        raise (TypeError if isinstance(error, TypeError) else ValueError)(message) from error
    return array


def pad_sequences(
    sequences: Sequence[Any] | npt.NDArray[Any],
    maxlen: int | None = None,
    dtype: npt.DTypeLike = "int32",
    padding: Literal["pre", "post"] = "pre",
    truncating: Literal["pre", "post"] = "pre",
    value: float | str = 0.0,
) -> npt.NDArray[Any]:
    """One array `[N, maxlen]` of N rows of any lengths; `[N, maxlen, D]` if each row is `[T, D]`.

    Shorter rows are padded with `value` at the side that `padding` names, longer ones cut at the side that `truncating` names.
    Without `maxlen` nothing is cut: the longest row determines it. Strings of any length need `dtype=object`.

    Integer dtypes drop the fractions of floats, as in Keras. TypeError or ValueError names the index of a row that is not a
    list or an array, that has another shape than the first one, or whose values the dtype cannot hold otherwise.
    """
    _check_arguments(maxlen, padding, truncating)
    lengths = _checked_lengths(sequences)
    if maxlen is None:
        if not lengths:
            raise ValueError("pad_sequences: sequences is empty, expected at least one row where maxlen is None")
        maxlen = max(lengths)
    item = np.dtype(dtype)
    if isinstance(value, str) and item.kind not in "OUS":
        raise ValueError(f"pad_sequences: value is {value!r}, expected a number with dtype {item}; object holds strings")
    trailing = _item_shape(next(((index, row) for index, row in enumerate(sequences) if len(row)), None))
    with np.errstate(invalid="raise"):  # NaN has no integer
        try:
            padded: npt.NDArray[Any] = np.full((len(lengths), maxlen, *trailing), value, item)
        except (ValueError, TypeError, OverflowError, FloatingPointError) as error:
            raise ValueError(f"pad_sequences: value is {value!r}, expected what {item} can hold ({error})") from error
        if maxlen == 0:
            return padded
        for index, (row, length) in enumerate(zip(sequences, lengths, strict=True)):
            if not length:
                continue
            if length > maxlen:
                row = row[-maxlen:] if truncating == "pre" else row[:maxlen]
                length = maxlen
            array = _converted(row, index, item)
            if array.shape[1:] != trailing or len(array) != length:
                raise ValueError(
                    f"pad_sequences: sequences[{index}] has items of shape {array.shape[1:]}, expected {trailing} as in the"
                    f" first row that is not empty"
                )
            if padding == "pre":
                padded[index, maxlen - length :] = array
            else:
                padded[index, :length] = array
    return padded
